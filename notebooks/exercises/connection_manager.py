"""Exercises of the chapter on the connection manager."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from litestar.params import FromPath

from exercises import Exercise, Mistake, Mutant, Trial
from exercises._report import described
from snippets.connections import Connection, ConnectionManager
from snippets.lifecycle import lifecycle
from snippets.streams import pushing
from snippets.testing.buffered import Buffered
from snippets.testing.client import Closed

NOTHING = "There are news, and the client hears nothing."
WAITED = "`tell` has to be a function that does not wait: it was not called."
TOO_MANY = "The client was slow, and heard more old news than it should."
OLD_KEPT = "The newest were dropped, and the old ones were kept."
TOO_FEW = "Some news were dropped though there was room for them."
SHUFFLED = "The news came in another order."
SHARED = "Two clients each hear a part of the news: do they share an outbox?"
STILL_FOLLOWS = "The client has left, and somebody still follows the wire."
STILL_WRITES = "The client has left, and the writer still waits for news."
NOT_QUIET = "A client has left, as clients do, and it ended in an exception."
UNHEARD = (
    "Does anybody receive? The handler has not heard that the client left."
)


class Wire:
    """Where news come from, at any time.

    Attributes:
        followers: What is called with each news.
        unwaited: Whether one of them would have to be awaited.
    """

    def __init__(self) -> None:
        self.followers: list[Callable[[str], object]] = []
        self.unwaited = False

    def follow(self, tell: Callable[[str], object]) -> None:
        """Have a function called with each news."""
        self.followers.append(tell)

    def unfollow(self, tell: Callable[[str], object]) -> None:
        """Call it no more."""
        self.followers.remove(tell)

    def happen(self, *news: str) -> None:
        """Have something happen."""
        for each in news:
            for tell in self.followers:
                called = tell(each)
                if asyncio.iscoroutine(called):
                    self.unwaited = True
                    called.close()  # else Python warns


async def a_moment() -> None:
    """Let others run, for longer than a message is on its way."""
    for _ in range(50):
        await asyncio.sleep(0)


def ticker_stub(wire: Wire) -> Litestar:
    @websocket("/news")
    async def ticker(socket: WebSocket) -> None:
        outbox: deque[str] = deque()
        async with lifecycle(socket):
            wire.follow(outbox.append)  # Your turn.
            async for _ in socket.iter_data("text"):
                pass

    return Litestar([ticker])


def ticker_solution(wire: Wire) -> Litestar:
    @websocket("/news")
    async def ticker(socket: WebSocket) -> None:
        outbox: deque[str] = deque(maxlen=3)
        filled = asyncio.Event()

        def tell(news: str) -> None:
            outbox.append(news)  # a full deque drops its oldest
            filled.set()

        async def write() -> None:
            with suppress(WebSocketDisconnect):
                while await filled.wait():
                    while outbox:
                        await socket.send_text(outbox.popleft())
                    filled.clear()

        async with lifecycle(socket):
            wire.follow(tell)
            writer = asyncio.create_task(write())
            try:
                async for _ in socket.iter_data("text"):
                    pass
            finally:
                wire.unfollow(tell)
                writer.cancel()

    return Litestar([ticker])


def ticker_by_queue(wire: Wire) -> Litestar:
    @websocket("/news")
    async def ticker(socket: WebSocket) -> None:
        outbox: asyncio.Queue[str] = asyncio.Queue(3)

        def tell(news: str) -> None:
            if outbox.full():
                outbox.get_nowait()
            outbox.put_nowait(news)

        async def news() -> AsyncGenerator[str, None]:
            while True:
                yield await outbox.get()

        async with lifecycle(socket), pushing(news(), socket.send_text):
            wire.follow(tell)
            try:
                async for _ in socket.iter_data("text"):
                    pass
            finally:
                wire.unfollow(tell)

    return Litestar([ticker])


_LEFT = """            finally:
                wire.unfollow(tell)
                writer.cancel()
"""
_READS = """                async for _ in socket.iter_data("text"):
                    pass
"""
_DROPS_NEWEST = """            if len(outbox) < 3:
                outbox.append(news)
            filled.set()
"""
_OUTBOX = """        outbox: deque[str] = deque(maxlen=3)
        filled = asyncio.Event()

"""
_ROUTE = '    @websocket("/news")\n'
_SHARED = f"""    outbox: deque[str] = deque(maxlen=3)
    filled = asyncio.Event()

{_ROUTE}"""
_ONE_BY_ONE = """                    while outbox:
                        await socket.send_text(outbox.popleft())
                    filled.clear()
"""
_ALL_AT_ONCE = """                    batch = list(outbox)
                    outbox.clear()
                    filled.clear()
                    for each in batch:
                        await socket.send_text(each)
"""
_PUT = """            outbox.append(news)  # a full deque drops its oldest
            filled.set()
"""


async def tells_all_news(trial: Trial) -> None:
    """Tells all news in their order to a client that reads."""
    wire = Wire()
    trial.build(wire)
    async with trial.stalled("/news", buffer=10_000) as ws:
        await a_moment()
        for number in range(8):
            wire.happen(f"news {number}")
            likely = {"waiting": WAITED if wire.unwaited else NOTHING}
            await trial.expect(ws, f"news {number}", likely)
        wire.happen(*_news(8, 11))
        await _hears(trial, ws, _news(8, 11))
        async with trial.stalled("/news", buffer=10_000) as another:
            await a_moment()
            wire.happen(*_news(11, 14))
            await _hears(trial, ws, _news(11, 14), SHARED)
            await _hears(trial, another, _news(11, 14), SHARED)


async def keeps_the_three_newest(trial: Trial) -> None:
    """Keeps the three newest for a client that does not read."""
    wire = Wire()
    trial.build(wire)
    async with trial.stalled("/news") as ws:
        await a_moment()
        for number in range(2):
            wire.happen(f"news {number}")
            await a_moment()
        await ws.full()  # one is on its way, and one waits for room
        wire.happen(*_news(2, 10))
        await _hears(trial, ws, _news(0, 2) + _news(7, 10))
        wire.happen(*_news(10, 13))  # at once, for who takes all of them
        await ws.full()
        wire.happen(*_news(13, 20))
        await _hears(trial, ws, _news(10, 12) + _news(17, 20))
        wire.happen("news 20")  # and nothing before it
        await _hears(trial, ws, ["news 20"])


def _news(first: int, end: int) -> list[str]:
    return [f"news {number}" for number in range(first, end)]


async def _hears(
    trial: Trial, ws: Buffered, wanted: list[str], instead: str = ""
) -> None:
    """Expect these news; if others come, wait for all that come.

    Args:
        trial: The trial.
        ws: Who hears them.
        wanted: The news.
        instead: What it means if others come; if not given, that is guessed.
    """
    came: list[str] = []
    while came != wanted and len(came) < 20:  # or it goes on for ever
        heard = await trial.next(ws)
        if isinstance(heard, TimeoutError) and came:
            break
        if not str(heard).startswith("news"):
            likely = {"waiting": instead or NOTHING}
            trial.miss(_listed(wanted), described(heard), likely)
        came.append(str(heard))
    if came != wanted:
        likely = {"news": instead or _mixed_up(came, wanted)}
        trial.miss(_listed(wanted), _listed(came), likely)


def _listed(news: list[str]) -> str:
    return ", ".join(news).replace(", news", ",")


def _mixed_up(came: list[str], wanted: list[str]) -> str:
    if len(came) > len(wanted):
        return TOO_MANY
    if sorted(came) == sorted(wanted):
        return SHUFFLED
    return OLD_KEPT if len(came) == len(wanted) else TOO_FEW


async def ends_with_the_client(trial: Trial) -> None:
    """Ends when the client leaves, without an exception or a follower."""
    wire = Wire()
    trial.build(wire)
    async with trial.connect("/news") as ws:
        await a_moment()
        wire.happen("news")
        await ws.receive()
    trial.expect_no_exception({".": NOT_QUIET})
    if wire.followers:
        likely = {"a wire": STILL_FOLLOWS}
        trial.miss("a wire that nobody follows", "a wire with one", likely)
    if _left_behind():
        likely = {"a task": STILL_WRITES}
        trial.miss("no task left behind", "a task that still waits", likely)


def _left_behind() -> list[asyncio.Task[object]]:
    """List the tasks that belong to an answer, and not to a notebook."""
    mine = asyncio.current_task()
    found = []
    for task in asyncio.all_tasks():
        frame = getattr(task.get_coro(), "cr_frame", None)
        module = frame.f_globals["__name__"] if frame else ""
        ours = module.partition(".")[0] in ("__main__", "exercises")
        if ours and task is not mine:
            found.append(task)
    return found


ticker = Exercise(
    task="Write `create_ticker(wire)` with a handler at `/news`. "
    "`wire.follow(tell)` has the function `tell` called with each news, a "
    "text, until `wire.unfollow(tell)`. Send each to the client as text. "
    "`tell` must not wait, and what waits for a slow client must never be "
    "more than the **three newest**. When the client leaves, nobody follows "
    "the wire any more, and the handler ends without an exception.",
    stub=ticker_stub,
    checks=[tells_all_news, keeps_the_three_newest, ends_with_the_client],
    tip="Two tasks: one receives, though nothing comes, because it learns "
    "that the client has left. The other writes. And between the wire and the "
    "writer there is a list that never has more than three.",
    right=[ticker_solution, ticker_by_queue],
    mutants=[
        Mutant(TOO_MANY, {"deque(maxlen=3)": "deque()"}),
        Mutant(TOO_FEW, {"deque(maxlen=3)": "deque(maxlen=2)"}),
        Mutant(TOO_FEW, {"deque(maxlen=3)": "deque(maxlen=1)"}),
        Mutant(OLD_KEPT, {_PUT: _DROPS_NEWEST}),
        Mutant(SHUFFLED, {"outbox.popleft()": "outbox.pop()"}),
        Mutant(SHARED, {_OUTBOX: "", _ROUTE: _SHARED}),
        Mutant(TOO_MANY, {_ONE_BY_ONE: _ALL_AT_ONCE}),
        Mutant(WAITED, {"def tell": "async def tell"}),
        Mutant(STILL_FOLLOWS, {_LEFT: _LEFT.replace("unfollow", "follow")}),
        Mutant(STILL_WRITES, {_LEFT: _LEFT.replace("writer.", "# ")}),
        Mutant(
            Mistake.LINGERS,
            {_READS: "                await asyncio.Event().wait()\n"},
        ),
    ],
)


LEAKED = "An error ended the connection, and the seat is still taken."
LATE = "The connection was closed, and the seat is free only later."
TWICE = "A seat was freed twice: by then it may be somebody else's."
REFUSED = "Somebody was refused, and a seat is taken nevertheless."
NEVER = (
    "The visitor has left, and the seat is still taken. If you give `at_end` "
    "a function, what is it called with?"
)
NO_SEAT = "Somebody is here, and has no seat."
NAMESAKE = "Two have one name, one has left, and both seats are free."


class Room:
    """A reading room with two seats.

    Attributes:
        manager: Who is here.
        taken: By whom seats are taken.
        surplus: Who freed a seat that was not taken.
    """

    def __init__(self) -> None:
        self.manager = ConnectionManager(max_connections=2)
        self.taken: list[str] = []
        self.surplus: list[str] = []

    def take(self, name: str) -> None:
        """Take a seat."""
        self.taken.append(name)

    def free(self, name: str) -> None:
        """Free a seat."""
        if name in self.taken:
            self.taken.remove(name)
        else:
            self.surplus.append(name)

    def read(self, text: str) -> None:
        """Read, which does not always end well."""
        if text == "fire":
            raise WebSocketException(detail="a fire", code=4001)


def seats_stub(room: Room) -> Litestar:
    @websocket("/seat/{name:str}")
    async def seat(socket: WebSocket, name: FromPath[str]) -> None:
        async with room.manager.connect(socket):
            room.take(name)
            async for text in socket.iter_data("text"):
                room.read(text)
            room.free(name)  # Your turn.

    return Litestar([seat])


def seats_solution(room: Room) -> Litestar:
    @websocket("/seat/{name:str}")
    async def seat(socket: WebSocket, name: FromPath[str]) -> None:
        async with room.manager.connect(socket) as connection:
            room.take(name)
            connection.at_end(lambda _: room.free(name))
            async for text in socket.iter_data("text"):
                room.read(text)

    return Litestar([seat])


def seats_by_user(room: Room) -> Litestar:
    def free(connection: Connection) -> None:
        room.free(str(connection.user))

    @websocket("/seat/{name:str}")
    async def seat(socket: WebSocket, name: FromPath[str]) -> None:
        async with room.manager.connect(socket, user=name) as connection:
            connection.at_end(free)
            room.take(name)
            async for text in socket.iter_data("text"):
                room.read(text)

    return Litestar([seat])


_SEAT = """async with room.manager.connect(socket) as connection:
            room.take(name)
            connection.at_end(lambda _: room.free(name))
            async for text in socket.iter_data("text"):
                room.read(text)
"""
_FINALLY = """async with room.manager.connect(socket):
            room.take(name)
            try:
                async for text in socket.iter_data("text"):
                    room.read(text)
            finally:
                room.free(name)
"""
_AFTERWARDS = """async with room.manager.connect(socket):
            room.take(name)
            async for text in socket.iter_data("text"):
                room.read(text)
            room.free(name)
"""
_AT_END = "            connection.at_end(lambda _: room.free(name))\n"
_FREE_ALL = """            def free(_):
                while name in room.taken:
                    room.free(name)

            connection.at_end(free)
"""
_READ = "                room.read(text)\n"
_TAKE = "            room.take(name)\n"
_CONNECT = "        async with room.manager.connect(socket) as connection:\n"


async def has_a_seat(trial: Trial) -> None:
    """Takes a seat, and frees it when the visitor leaves."""
    room = Room()
    trial.build(room)
    async with trial.connect("/seat/ada") as ada:
        await ada.send("a book")
        async with trial.connect("/seat/bob"):
            await a_moment()
            _taken(trial, room, ["ada", "bob"], {"seats": NO_SEAT})
        await a_moment()
        _taken(trial, room, ["ada"], {"seats": NEVER})
        _freed_once(trial, room)
        async with trial.connect("/seat/ada"):
            await a_moment()
            _taken(trial, room, ["ada", "ada"], {"seats": NO_SEAT})
        await a_moment()
        likely = {"seats taken by nobody": NAMESAKE, "seats": NEVER}
        _taken(trial, room, ["ada"], likely)
    trial.expect_no_exception()
    _taken(trial, room, [], {"seats": NEVER})


async def frees_it_after_an_error(trial: Trial) -> None:
    """Frees the seat when reading fails, and the visitor hears why."""
    room = Room()
    trial.build(room)
    async with trial.connect("/seat/ada") as ada:
        await ada.send("fire")
        await trial.expect(ada, Closed(4001))
    _taken(trial, room, [], {"seats": LEAKED})


async def frees_it_at_once(trial: Trial) -> None:
    """Frees the seat before `connection.close()` returns, and once."""
    room = Room()
    trial.build(room)
    async with trial.connect("/seat/ada") as ada:
        await a_moment()
        for connection in room.manager:
            connection.close(1001, "we close")
        _taken(trial, room, [], {"seats": LATE})
        await trial.expect(ada, Closed(1001))
    _freed_once(trial, room)


async def leaves_the_refused_outside(trial: Trial) -> None:
    """Takes no seat for somebody whom the manager refuses."""
    room = Room()
    trial.build(room)
    async with trial.connect("/seat/ada"), trial.connect("/seat/bob"):
        await trial.expect_refusal("/seat/eve")
        await a_moment()
        _taken(trial, room, ["ada", "bob"], {"seats": REFUSED})


def _taken(
    trial: Trial, room: Room, wanted: list[str], likely: dict[str, str]
) -> None:
    if room.taken != wanted:
        words = [", ".join(each) or "nobody" for each in (wanted, room.taken)]
        want, came = (f"seats taken by {each}" for each in words)
        trial.miss(want, came, likely)


def _freed_once(trial: Trial, room: Room) -> None:
    if room.surplus:
        freed = "freed more than once"
        trial.miss("freed once", freed, {"freed": TWICE})


seats = Exercise(
    task="There is a leak in this reading room. Who connects to "
    "`/seat/{name}` takes a seat, and whoever closes the connection, the "
    "visitor, the house or an error, the seat must be free **at once**: when "
    "`connection.close()` returns, and not when the handler gets to know. "
    "Each seat is freed once. Find the leak, and mend it.",
    stub=seats_stub,
    checks=[
        has_a_seat,
        frees_it_after_an_error,
        frees_it_at_once,
        leaves_the_refused_outside,
    ],
    tip="What runs on *every* way out, and who is the first to know that a "
    "connection is over? It can call a function of yours.",
    right=[seats_solution, seats_by_user],
    mutants=[
        Mutant(LEAKED, {_SEAT: _AFTERWARDS}),
        Mutant(LATE, {_SEAT: _FINALLY}),
        Mutant(NEVER, {_AT_END: ""}),
        Mutant(NEVER, {"lambda _:": "lambda:"}),
        Mutant(NO_SEAT, {_TAKE: ""}),
        Mutant(
            NO_SEAT,
            {_TAKE: f"            if name not in room.taken:\n    {_TAKE}"},
        ),
        Mutant(NAMESAKE, {_AT_END: _FREE_ALL}),
        Mutant(
            TWICE,
            {_READ: f"{_READ}            room.free(name)\n"},
        ),
        Mutant(REFUSED, {_TAKE: "", _CONNECT: f"{_TAKE[4:]}{_CONNECT}"}),
    ],
)
