"""Exercises of the chapter on rooms."""

import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import PermissionDeniedException
from litestar.params import FromPath

from exercises import Exercise, Mutant, Trial
from exercises._report import described
from snippets.connections import Connection, ConnectionManager
from snippets.lifecycle import lifecycle
from snippets.messages import MessageError
from snippets.rooms import People, Rooms, check_name
from snippets.testing.client import Client

Ask = Callable[[str, str], Awaitable[bool]]
"""Whether somebody may sit at a table; it takes its time to say so."""

BOTH = "Two asked for the last chair at the same time, and both got it."
THREE = "Three sit at a table for two."
SITS = "Who found no chair has one nevertheless, and nobody else gets it."
ALL_TABLES = "Each table has two chairs of its own."
LET_IN = "Somebody sits down who may not."
ENDED = "A refusal ended the connection: what did `join` raise?"
MIXED_UP = "Who may not join is not told that the table is full."
OVERHEARD = "An answer was for somebody else."
MOVED = "Who asks for a chair at a second table loses that at the first."
AGAIN = "Who asks again and has a chair keeps it, and needs no second one."
NEITHER = "Two asked for the last chair at the same time, and nobody got it."


def tables_stub(ask: Ask) -> Litestar:
    manager = ConnectionManager()

    async def may_join(connection: Connection, table: str) -> bool:
        is_free = len(rooms.members(table)) < 2
        return is_free and await ask(str(connection.user), table)

    rooms = Rooms(manager, may_join)

    @websocket("/games/{name:str}")
    async def games(socket: WebSocket, name: FromPath[str]) -> None:
        async with manager.connect(socket, user=name) as guest:
            async for table in socket.iter_data("text"):
                await rooms.join(guest, table)  # Your turn.

    return Litestar([games])


def tables_solution(ask: Ask) -> Litestar:
    manager = ConnectionManager()

    async def may_join(connection: Connection, table: str) -> bool:
        return await ask(str(connection.user), table)

    rooms = Rooms(manager, may_join)

    @websocket("/games/{name:str}")
    async def games(socket: WebSocket, name: FromPath[str]) -> None:
        async with manager.connect(socket, user=name) as guest:
            async for table in socket.iter_data("text"):
                try:
                    await rooms.join(guest, table)
                except MessageError:
                    guest.send({"refused": table})
                    continue
                if len(rooms.members(table)) > 2:
                    rooms.leave(guest, table)
                    guest.send({"full": table})
                else:
                    guest.send({"joined": table})

    return Litestar([games])


def tables_by_hand(ask: Ask) -> Litestar:
    tables: dict[str, set[WebSocket]] = {}

    @websocket("/games/{name:str}")
    async def games(socket: WebSocket, name: FromPath[str]) -> None:
        async with lifecycle(socket):
            try:
                async for table in socket.iter_data("text"):
                    answer = "refused"
                    if await ask(name, table):
                        seated = tables.setdefault(table, set())
                        is_free = socket in seated or len(seated) < 2
                        answer = "joined" if is_free else "full"
                        if is_free:
                            seated.add(socket)
                    await socket.send_json({answer: table})
            finally:
                for table in [t for t in tables if socket in tables[t]]:
                    tables[table].remove(socket)
                    if not tables[table]:
                        del tables[table]

    return Litestar([games])


class Door:
    """Somebody to ask, who may take a while.

    Attributes:
        ready: When the answers are given.
    """

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.ready.set()

    async def ask(self, name: str, table: str) -> bool:
        """Say whether somebody may sit at a table; Eve may not play go."""
        await asyncio.sleep(0)
        await self.ready.wait()
        return (name, table) != ("eve", "go")


async def _sit(
    trial: Trial, ws: Client, table: str, wanted: str, **mistakes: str
) -> None:
    """Ask for a chair.

    Args:
        trial: The trial.
        ws: Who asks.
        table: Where.
        wanted: The right answer.
        mistakes: What the other answers mean.
    """
    await ws.send(table)
    other = "chess" if table == "go" else "go"
    likely = {"close 4": ENDED, f"text .*{other}": OVERHEARD}
    likely |= {f"text .*{each}": what for each, what in mistakes.items()}
    await trial.expect_json(ws, {wanted: table}, likely)


async def seats_two(trial: Trial) -> None:
    """Seats two at each table, and tells the third that it is full."""
    trial.build(Door().ask)
    async with (
        trial.connect("/games/ada") as ada,
        trial.connect("/games/bob") as bob,
        trial.connect("/games/cleo") as cleo,
    ):
        await _sit(trial, ada, "chess", "joined", full=ALL_TABLES)
        await _sit(trial, ada, "chess", "joined", full=AGAIN)
        await _sit(trial, bob, "chess", "joined", full=AGAIN)
        full = {"joined": THREE, "refused": MIXED_UP}
        await _sit(trial, cleo, "chess", "full", **full)
        await _sit(trial, cleo, "go", "joined", full=ALL_TABLES)
        await _sit(trial, bob, "go", "joined", full=ALL_TABLES)
        await _sit(trial, ada, "go", "full", **full)
        await _sit(trial, cleo, "chess", "full", joined=MOVED)


async def frees_chairs(trial: Trial) -> None:
    """Has a chair again when somebody has left, and only then."""
    trial.build(Door().ask)
    async with (
        trial.connect("/games/cleo") as cleo,
        trial.connect("/games/dan") as dan,
    ):
        async with trial.connect("/games/ada") as ada:
            await _sit(trial, ada, "chess", "joined", full=ALL_TABLES)
            await _sit(trial, dan, "chess", "joined", full=ALL_TABLES)
            await _sit(trial, cleo, "chess", "full", joined=THREE)
        async with trial.connect("/games/bob") as bob:
            await _sit(trial, bob, "chess", "joined", full=SITS)
            await _sit(trial, dan, "chess", "joined", full=AGAIN)
            await _sit(trial, cleo, "chess", "full", joined=THREE)
        await _sit(trial, cleo, "chess", "joined", full=SITS)


async def refuses(trial: Trial) -> None:
    """Refuses who may not, and the connection goes on."""
    trial.build(Door().ask)
    async with trial.connect("/games/eve") as eve:
        await _sit(trial, eve, "go", "refused", joined=LET_IN, full=MIXED_UP)
        await _sit(trial, eve, "chess", "joined", refused=MIXED_UP)
        async with (
            trial.connect("/games/ada") as ada,
            trial.connect("/games/bob") as bob,
        ):
            for client in (ada, bob):
                await _sit(trial, client, "go", "joined", full=SITS)
            full = {"joined": LET_IN, "full": MIXED_UP}
            await _sit(trial, eve, "go", "refused", **full)


async def seats_one_at_the_last_chair(trial: Trial) -> None:
    """Gives the last chair to one, also if two ask at the same time."""
    door = Door()
    trial.build(door.ask)
    async with (
        trial.connect("/games/ada") as ada,
        trial.connect("/games/bob") as bob,
        trial.connect("/games/cleo") as cleo,
    ):
        await _sit(trial, ada, "chess", "joined", full=ALL_TABLES)
        door.ready.clear()
        for client in (bob, cleo):
            await client.send("chess")
        for _ in range(100):
            await asyncio.sleep(0)  # both are asked for
        door.ready.set()
        came = [described(await trial.next(ws)) for ws in (bob, cleo)]
        if ["joined" in each for each in sorted(came)] != [False, True]:
            likely = {"text .*joined.* and text .*joined": BOTH}
            likely["text .*full.* and text .*full"] = NEITHER
            trial.miss("one chair for two", " and ".join(came), likely)


tables = Exercise(
    task="Write `create_tables(ask)` with a handler at `/games/{name}`. "
    "Each text is the name of a table. `await ask(name, table)` says whether "
    'this guest may sit there; if not, the answer is `{"refused": "chess"}`. '
    'There are two chairs at each table: the answer is `{"joined": "chess"}` '
    'or `{"full": "chess"}`. Who asks for a chair and has it already is '
    "told `joined` again, and who leaves makes room.",
    stub=tables_stub,
    checks=[
        seats_two,
        frees_chairs,
        refuses,
        seats_one_at_the_last_chair,
    ],
    tip="While `ask` is awaited, others sit down. So when can you count who "
    "sits there? And whatever you do after that, do it without an `await`.",
    right=[tables_solution, tables_by_hand],
    mutants=[
        Mutant(
            BOTH,
            {
                "return await ask": (
                    "full[connection] = len(rooms.members(table)) > 1\n"
                    "        return await ask"
                ),
                "    rooms = Rooms": "    full = {}\n    rooms = Rooms",
                "len(rooms.members(table)) > 2": "full.pop(guest, False)",
            },
        ),
        Mutant(THREE, {"members(table)) > 2": "members(table)) > 3"}),
        Mutant(SITS, {"rooms.leave(guest, table)": "pass"}),
        Mutant(
            ALL_TABLES,
            {"len(rooms.members(table)) > 2": "rooms.memberships > 2"},
        ),
        Mutant(
            LET_IN,
            {"return await ask(str(connection.user), table)": "return True"},
        ),
        Mutant(ENDED, {"except MessageError": "except ValueError"}),
        Mutant(MIXED_UP, {'{"refused": table}': '{"full": table}'}),
        Mutant(
            MIXED_UP,
            {
                "                try:\n": (
                    "                seated = rooms.members(table)\n"
                    "                if guest not in seated and seated[1:]:\n"
                    '                    guest.send({"full": table})\n'
                    "                    continue\n"
                    "                try:\n"
                )
            },
        ),
        Mutant(
            MOVED,
            {
                "await rooms.join(guest, table)": (
                    "for each in rooms.of(guest):\n"
                    "                        rooms.leave(guest, each)\n"
                    "                    await rooms.join(guest, table)"
                )
            },
        ),
        Mutant(
            OVERHEARD,
            {
                'guest.send({"joined": table})': (
                    'rooms.send(table, {"joined": table})'
                )
            },
        ),
        Mutant(
            AGAIN,
            {
                "    await rooms.join": "    new = await rooms.join",
                "if len(rooms": "if not new or len(rooms",
            },
        ),
        Mutant(
            NEITHER,
            {
                "if len(rooms.members(table)) > 2:": (
                    "await asyncio.sleep(0)\n"
                    "                if len(rooms.members(table)) > 2:\n"
                    "                    await asyncio.sleep(0)"
                )
            },
        ),
    ],
)


SOCKETS = "Somebody with two tabs is in the list twice."
UNSORTED = "The right names are in the list, and it is not sorted."
ONE_TAB = (
    "One of two tabs was closed, and somebody who is there is not listed."
)
UNTOLD = "Who comes is not told who is there."
OTHERS = (
    "The others are not told that somebody has come or gone, or not within "
    "1.5 s, which is how long the check waits."
)
GONE = "Somebody who has gone is still listed, or somebody is missing."
TOO_EARLY = (
    "Somebody was listed before the news of them, and was gone before there "
    "was any. So no news takes them off the list."
)
ELSEWHERE = "What happens in one room was told in another."
ANY_NAME = "A name that `check_name` refuses was let in."


def corridor_stub() -> Litestar:
    manager = ConnectionManager()

    @websocket("/rooms/{room:str}/{name:str}")
    async def corridor(
        socket: WebSocket, room: FromPath[str], name: FromPath[str]
    ) -> None:
        async with manager.connect(socket, user=name):
            async for _ in socket.iter_data("text"):
                pass  # Your turn.

    return Litestar([corridor])


def corridor_solution() -> Litestar:
    async def may_join(connection: Connection, room: str) -> bool:
        return True

    def here(room: str) -> dict[str, list[str]]:
        return {"here": sorted(map(str, rooms.announced(room)))}

    def announce(room: str, came: People, left: People) -> None:
        rooms.send(room, here(room))

    manager = ConnectionManager()
    rooms = Rooms(manager, may_join, announce=announce)

    @websocket("/rooms/{room:str}/{name:str}")
    async def corridor(
        socket: WebSocket, room: FromPath[str], name: FromPath[str]
    ) -> None:
        check_name(room)
        async with manager.connect(socket, user=name) as connection:
            await rooms.join(connection, room)
            connection.send(here(room))
            async for _ in socket.iter_data("text"):
                pass

    return Litestar([corridor])


def corridor_by_hand() -> Litestar:
    tabs: defaultdict[str, Counter[str]] = defaultdict(Counter)
    manager = ConnectionManager()

    def tell(room: str) -> None:
        members = [each for each in manager if each.socket.state.room == room]
        manager.broadcast({"here": sorted(tabs[room])}, to=members)

    @websocket("/rooms/{room:str}/{name:str}")
    async def corridor(
        socket: WebSocket, room: FromPath[str], name: FromPath[str]
    ) -> None:
        if not re.fullmatch("[a-z0-9][a-z0-9_-]{0,63}", room):
            raise PermissionDeniedException
        socket.state.room = room
        async with manager.connect(socket, user=name):
            try:
                tabs[room][name] += 1
                tell(room)
                async for _ in socket.iter_data("text"):
                    pass
            finally:
                tabs[room][name] -= 1
                tabs[room] += Counter()  # without those who are not there
                tell(room)
                if not tabs[room]:
                    del tabs[room]

    return Litestar([corridor])


TEA, CAKE = {"ada", "bob", "cleo"}, {"dan", "eve", "fay"}
"""Who is ever in these rooms."""
PATIENCE = 1.5
"""For how many time-outs to wait for news, where anything is told at all."""


class Visitor:
    """Somebody in a room, who is told who is there, sooner or later.

    Attributes:
        here: Who was on the last list.
    """

    def __init__(self, trial: Trial, client: Client, room: str) -> None:
        self.trial, self.client = trial, client
        self.known = TEA if room == "tea" else CAKE
        self.patience = PATIENCE * client.timeout
        self.here: list[str] = []

    async def sees(self, *names: str, mistake: str, untold: str) -> None:
        """Expect to be told that these are there, after any other lists.

        Args:
            names: Who is there.
            mistake: What it means if only other lists come.
            untold: What it means if none comes.
        """
        wanted: object = {"here": [*names]}
        likely, came = {"waiting": untold}, None
        while came != wanted:
            heard = await self.trial.next(self.client)
            if not isinstance(heard, str):
                came = came or heard
                break
            came = self._read(heard)
            likely = {"text": self._mistake(names) or mistake}
            if not {*self.here} <= self.known:
                break
        if came != wanted:
            shown = json.dumps(came) if isinstance(came, dict) else came
            expected = described(json.dumps(wanted))
            self.trial.miss(expected, described(shown), likely)

    async def hears_of(self, name: str) -> None:
        """Wait for a list that somebody is on."""
        while name not in self.here:
            heard = await self.trial.next(self.client)
            if not isinstance(heard, str):
                likely = {"waiting": OTHERS}
                wanted = f"a list with {name!r}"
                self.trial.miss(wanted, described(heard), likely)
            self._read(heard)

    def _read(self, text: str) -> object:
        self.client.timeout = self.patience
        message = _loaded(text)
        here = message.get("here") if isinstance(message, dict) else None
        self.here = [*map(str, here)] if isinstance(here, list) else []
        return message

    def _mistake(self, wanted: Sequence[str]) -> str:
        """Say what is wrong with the last list, whoever should be on it."""
        if not {*self.here} <= self.known:
            return ELSEWHERE
        if len({*self.here}) < len(self.here):
            return SOCKETS
        return UNSORTED if {*self.here} == {*wanted} else ""


def _loaded(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


@asynccontextmanager
async def _visit(
    trial: Trial, room: str, name: str
) -> AsyncGenerator[Visitor]:
    async with trial.connect(f"/rooms/{room}/{name}") as client:
        yield Visitor(trial, client, room)


async def tells_who_is_there(trial: Trial) -> None:
    """Tells who comes, and all others in the room, who is there."""
    async with _visit(trial, "tea", "cleo") as cleo:
        await cleo.sees("cleo", mistake=OTHERS, untold=UNTOLD)
        async with _visit(trial, "tea", "ada") as ada:
            await ada.sees("ada", "cleo", mistake=GONE, untold=UNTOLD)
            await cleo.sees("ada", "cleo", mistake=GONE, untold=OTHERS)
        await cleo.sees("cleo", mistake=GONE, untold=TOO_EARLY)


async def counts_people(trial: Trial) -> None:
    """Lists people, however many tabs each of them has."""
    async with _visit(trial, "tea", "cleo") as cleo:
        await cleo.sees("cleo", mistake=OTHERS, untold=UNTOLD)
        async with _visit(trial, "tea", "ada") as laptop:
            await laptop.sees("ada", "cleo", mistake=GONE, untold=UNTOLD)
            await cleo.sees("ada", "cleo", mistake=GONE, untold=OTHERS)
            async with _visit(trial, "tea", "ada") as phone:
                await phone.sees("ada", "cleo", mistake=GONE, untold=UNTOLD)
            async with _visit(trial, "tea", "bob"):
                all_three = "ada", "bob", "cleo"
                await cleo.sees(*all_three, mistake=ONE_TAB, untold=OTHERS)
            one_less = {"mistake": ONE_TAB, "untold": TOO_EARLY}
            await cleo.sees("ada", "cleo", **one_less)
        await cleo.sees("cleo", mistake=GONE, untold=TOO_EARLY)


async def takes_off_who_has_gone(trial: Trial) -> None:
    """Leaves nobody on a list who has gone, however soon."""
    async with _visit(trial, "tea", "cleo") as cleo:
        await cleo.sees("cleo", mistake=OTHERS, untold=UNTOLD)
        for _ in range(3):  # in case that one is slow, and becomes news
            async with AsyncExitStack() as tabs:
                async with _visit(trial, "tea", "ada"):
                    visit = _visit(trial, "tea", "cleo")
                    phone = await tabs.enter_async_context(visit)
                await phone.sees("cleo", mistake=TOO_EARLY, untold=UNTOLD)
    for room in ("cake", "wine"):  # also in case that one is slow
        async with _visit(trial, room, "fay") as fay:
            await fay.sees("fay", mistake=OTHERS, untold=UNTOLD)
            async with _visit(trial, room, "dan"):
                await asyncio.sleep(0.001)  # she comes later than he
                async with _visit(trial, room, "eve"):
                    await fay.hears_of("dan")
                # Now he is news, and she is not, and will not be.
                if "eve" in fay.here:
                    early = {"mistake": TOO_EARLY, "untold": TOO_EARLY}
                    await fay.sees("dan", "fay", **early)


async def keeps_rooms_apart(trial: Trial) -> None:
    """Tells in a room only what happens in it."""
    wrong = {"mistake": GONE, "untold": OTHERS}
    async with _visit(trial, "tea", "ada") as ada:
        await ada.sees("ada", **wrong)
        async with (
            _visit(trial, "cake", "dan") as dan,
            _visit(trial, "cake", "eve"),
        ):
            await dan.sees("dan", "eve", **wrong)
            async with _visit(trial, "tea", "cleo"):
                await ada.sees("ada", "cleo", **wrong)


async def refuses_names(trial: Trial) -> None:
    """Refuses what is no name of a room, before it accepts."""
    likely = {"accepted": ANY_NAME}
    for name in ("Tea", "tea%0A", "-tea", "x" * 65):
        await trial.expect_refusal(f"/rooms/{name}/ada", likely)
    async with _visit(trial, "x" * 64, "ada") as ada:
        await ada.sees("ada", mistake=OTHERS, untold=UNTOLD)


corridor = Exercise(
    task="Write `create_corridor()` with a handler at "
    "`/rooms/{room}/{name}`. Who connects is in that room. All in a room are "
    'sent `{"here": ["ada", "bob"]}`, sorted, when somebody has come or gone. '
    "And each new connection is sent a list at once: of those whom the others "
    "have been told of, so perhaps without itself. Who has gone must not stay "
    "on anybody's list. People count, not tabs, and nothing is told in other "
    "rooms. What `check_name` refuses is refused before the connection is "
    "accepted.",
    stub=corridor_stub,
    checks=[
        tells_who_is_there,
        counts_people,
        takes_off_who_has_gone,
        keeps_rooms_apart,
        refuses_names,
    ],
    tip="`announce` is called for people, and not at once. Who comes wants to "
    "know at once, though, and a second tab of somebody is no news at all, "
    "except to that tab. `people` or `announced`: which of them fits what is "
    "announced later?",
    right=[corridor_solution, corridor_by_hand],
    mutants=[
        Mutant(
            SOCKETS,
            {
                "sorted(map(str, rooms.announced(room)))": (
                    "sorted(str(each.user) for each in rooms.members(room))"
                )
            },
        ),
        Mutant(
            UNSORTED,
            {
                "sorted(map(str, rooms.announced(room)))": (
                    "sorted(map(str, rooms.announced(room)), reverse=True)"
                )
            },
        ),
        Mutant(TOO_EARLY, {"rooms.announced(room)": "rooms.people(room)"}),
        Mutant(
            TOO_EARLY,
            {
                "rooms.send(room, here(room))": (
                    'rooms.send(room, {"here": sorted(rooms.people(room))})'
                )
            },
        ),
        Mutant(
            ONE_TAB,
            {
                "                pass\n": (
                    "                pass\n"
                    "            for tab in manager.of(name):\n"
                    "                rooms.leave(tab, room)\n"
                )
            },
        ),
        Mutant(UNTOLD, {"            connection.send(here(room))\n": ""}),
        Mutant(OTHERS, {", announce=announce": ""}),
        Mutant(
            ELSEWHERE,
            {"rooms.send(room, here(room))": "manager.broadcast(here(room))"},
        ),
        Mutant(ANY_NAME, {"        check_name(room)\n": ""}),
        Mutant(
            ANY_NAME,
            {
                "        check_name(room)\n": (
                    "        if not re.match('^[a-z0-9][a-z0-9_-]{,63}$', "
                    "room):\n"
                    "            raise PermissionDeniedException\n"
                )
            },
        ),
    ],
)
