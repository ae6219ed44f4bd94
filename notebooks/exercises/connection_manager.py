"""Exercises of the chapter on the connection manager."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from litestar.params import FromPath

from exercises import Exercise, Mistake, Mutant, Trial
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
        wire.happen("news 8", "news 9", "news 10")
        _compare(trial, await _what_waits(ws), ["8", "9", "10"])


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
        wire.happen(*(f"news {number}" for number in range(2, 10)))
        _compare(trial, await _what_waits(ws), ["0", "1", "7", "8", "9"])


async def _what_waits(ws: Buffered) -> list[str]:
    """Receive what can be received now."""
    numbers = []
    await a_moment()
    while ws.held:
        numbers.append(str(await ws.receive()).removeprefix("news "))
        await a_moment()
    return numbers


def _compare(trial: Trial, came: list[str], wanted: list[str]) -> None:
    if came == wanted:
        return
    says = TOO_FEW
    if len(came) > len(wanted):
        says = TOO_MANY
    elif sorted(came) == sorted(wanted):
        says = SHUFFLED
    elif len(came) == len(wanted):
        says = OLD_KEPT
    words = [f"news {', '.join(each)}" for each in (wanted, came)]
    trial.miss(*words, {"news": says})


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
    if room.surplus:
        freed = "freed more than once"
        trial.miss("freed once", freed, {"freed": TWICE})


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
            TWICE,
            {_READ: f"{_READ}            room.free(name)\n"},
        ),
        Mutant(REFUSED, {_TAKE: "", _CONNECT: f"{_TAKE[4:]}{_CONNECT}"}),
    ],
)
