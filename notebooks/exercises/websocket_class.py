"""Exercises of the chapter on a WebSocket class of one's own."""

from collections.abc import AsyncGenerator
from typing import Any

from litestar import (
    Litestar,
    WebSocket,
    websocket_listener,
    websocket_stream,
)
from litestar.di import NamedDependency, Provide

from exercises import Exercise, Mistake, Mutant, Trial
from exercises._report import described
from exercises._trial import Likely
from snippets.lifecycle import lifecycle
from snippets.testing.client import Refused

PLAIN = "The socket is of Litestar's own class: who says which one it is?"
UNSET = "There is a place for the number, and nobody has put one there."
TOGETHER = "All clients are counted together."
FROM_ZERO = "The first message is number 0 here: it is counted too late."
NOT_BEGUN = "Litestar begins its socket in `__init__`, and that did not run."
NO_ROOM = "`__init__` does not take what Litestar makes a socket with."
NUMBER_LATER = "Who comes later does not begin with 1."


def tally_stub() -> Litestar:
    class TallySocket(WebSocket):
        __slots__ = ("count",)

    @websocket_listener("/tally")
    async def tally(data: str, socket: TallySocket) -> str:
        socket.count += 1  # Your turn.
        return str(socket.count)

    return Litestar([tally])


def tally_solution() -> Litestar:
    class TallySocket(WebSocket):
        __slots__ = ("count",)

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.count = 0

    @websocket_listener("/tally", websocket_class=TallySocket)
    async def tally(data: str, socket: TallySocket) -> str:
        socket.count += 1
        return str(socket.count)

    return Litestar([tally])


def tally_by_state() -> Litestar:
    @websocket_listener("/tally")
    async def tally(data: str, socket: WebSocket) -> str:
        socket.state.count = socket.state.get("count", 0) + 1
        return str(socket.state.count)

    return Litestar([tally])


class Counter:
    """What has been counted so far."""

    def __init__(self) -> None:
        self.count = 0


def tally_by_injection() -> Litestar:
    each = Provide(Counter, sync_to_thread=False)

    @websocket_listener("/tally", dependencies={"counter": each})
    async def tally(data: str, counter: NamedDependency[Counter]) -> str:
        counter.count += 1
        return str(counter.count)

    return Litestar([tally])


_SHARED = {
    '"count",': "",
    "            self.count = 0": "",
    "        def __init__": "        count = 0\n\n        def __init__",
    "socket.count += 1": "TallySocket.count += 1",
}
_STATE = {
    "data: str, socket: TallySocket": "data: str, state: State",
    "socket.count += 1": 'state.count = state.get("count", 0) + 1',
    "str(socket.count)": "str(state.count)",
    "    class TallySocket": (
        "    from litestar.datastructures import State\n\n"
        "    class TallySocket"
    ),
}


async def counts_from_one(trial: Trial) -> None:
    """Answers each message with its number, from 1 on."""
    likely = {
        "close 4500.*'WebSocket' object has no": PLAIN,
        "close 4500.*object has no": UNSET,
        "refused.*TypeError": NO_ROOM,
        "refused.*AttributeError": NOT_BEGUN,
        "text '0'": FROM_ZERO,
    }
    try:
        async with trial.connect("/tally") as ws:
            for number in ("1", "2", "3"):
                await ws.send("tea")
                await trial.expect(ws, number, likely)
    except Refused as refused:
        trial.miss("the connection accepted", described(refused), likely)


async def counts_each_client_apart(trial: Trial) -> None:
    """Counts two clients apart who are here at the same time."""
    async with trial.connect("/tally") as ada, trial.connect("/tally") as bob:
        for number in ("1", "2"):
            for ws in (ada, bob):
                await ws.send("tea")
                await trial.expect(ws, number, {"text": TOGETHER})


async def begins_anew(trial: Trial) -> None:
    """Begins with 1 again for who comes later."""
    for _ in range(2):
        async with trial.connect("/tally") as ws:
            await ws.send("tea")
            await trial.expect(ws, "1", {"text": NUMBER_LATER})


tally = Exercise(
    task="Write a function that makes an app with a listener at `/tally`. It "
    "answers each message with its number, as text: `1`, `2`, `3`. Every "
    "connection is counted apart, and begins with `1`.",
    stub=tally_stub,
    checks=[counts_from_one, counts_each_client_apart, begins_anew],
    tip="Which class does the listener get, and who tells it? And when a "
    "connection begins, what is in its slot?",
    right=[tally_solution, tally_by_state, tally_by_injection],
    mutants=[
        Mutant(PLAIN, {", websocket_class=TallySocket": ""}),
        Mutant(UNSET, {"            self.count = 0": ""}),
        Mutant(
            NOT_BEGUN, {"            super().__init__(*args, **kwargs)\n": ""}
        ),
        Mutant(
            NO_ROOM,
            {
                "self, *args: Any, **kwargs: Any": "self",
                "super().__init__(*args, **kwargs)": "super().__init__({})",
            },
        ),
        Mutant(FROM_ZERO, {"self.count = 0": "self.count = -1"}),
        Mutant(TOGETHER, _SHARED),
        Mutant(TOGETHER, _STATE),
    ],
)


NOT_CHOSEN = (
    "Accepted without a choice: has your `accept()` run, and what did it hand "
    "on?"
)
BEHIND = (
    "A listener accepts with the method of Litestar's own class, unless it is "
    "told to do otherwise."
)
NOT_FIRST = "It was offered, but not in the first place."
NOBODY_ACCEPTS = "Your `accept()` ran, and then nobody has accepted."


def house_stub() -> Litestar:
    class HouseSocket(WebSocket):
        async def accept(
            self, subprotocols: str | None = None, headers: Any = None
        ) -> None:
            chosen = "house.v1"  # Your turn.
            await super().accept(subprotocols or chosen, headers)

    @websocket_stream("/menu")
    async def menu() -> AsyncGenerator[str, None]:
        yield "tea"

    @websocket_listener("/order")
    async def order(data: str) -> str:
        return f"one {data}"

    return Litestar([menu, order])


def house_solution() -> Litestar:
    class HouseSocket(WebSocket):
        async def accept(
            self, subprotocols: str | None = None, headers: Any = None
        ) -> None:
            offered = self.scope["subprotocols"]
            chosen = "house.v1" if "house.v1" in offered else None
            await super().accept(subprotocols or chosen, headers)

    @websocket_stream("/menu")
    async def menu() -> AsyncGenerator[str, None]:
        yield "tea"

    @websocket_listener("/order", connection_lifespan=lifecycle)
    async def order(data: str) -> str:
        return f"one {data}"

    return Litestar([menu, order], websocket_class=HouseSocket)


async def accept_in_this_house(socket: WebSocket) -> None:
    """Accept without a class of one's own."""
    offered = socket.scope["subprotocols"]
    known = [name for name in offered if name == "house.v1"]
    await socket.accept(known[0] if known else None)


def house_by_function() -> Litestar:
    @websocket_stream("/menu", listen_for_disconnect=False)
    async def menu(socket: WebSocket) -> AsyncGenerator[str, None]:
        await accept_in_this_house(socket)
        yield "tea"

    @websocket_listener(
        "/order", connection_accept_handler=accept_in_this_house
    )
    async def order(data: str) -> str:
        return f"one {data}"

    return Litestar([menu, order])


class EventSocket(WebSocket):
    """A socket that looks at the event of each accept, whoever sends it."""

    __slots__ = ()

    def send_wrapper(self, send: Any) -> Any:
        """Put the subprotocol into the event."""

        async def wrapped(event: Any) -> None:
            offered = self.scope["subprotocols"]
            if event["type"] == "websocket.accept" and "house.v1" in offered:
                event = event | {"subprotocol": "house.v1"}
            await send(event)

        return super().send_wrapper(wrapped)


def house_by_event() -> Litestar:
    @websocket_stream("/menu")
    async def menu() -> AsyncGenerator[str, None]:
        yield "tea"

    @websocket_listener("/order")
    async def order(data: str) -> str:
        return f"one {data}"

    return Litestar([menu, order], websocket_class=EventSocket)


async def chooses_in_a_stream(trial: Trial) -> None:
    """Chooses `house.v1` on `/menu`, wherever it stands among the offers."""
    await _chooses(trial, "/menu", {"subprotocol None": NOT_CHOSEN})


async def chooses_in_a_listener(trial: Trial) -> None:
    """Chooses `house.v1` on `/order`, too."""
    await _chooses(trial, "/order", {"subprotocol None": BEHIND})


async def _chooses(trial: Trial, path: str, likely: Likely) -> None:
    usual = {
        r"refused \(HTTP [45]": NOBODY_ACCEPTS,
        "waiting|connecting": NOBODY_ACCEPTS,
    }
    for offered in (["house.v1"], ["guest.v1", "house.v1"]):
        try:
            async with trial.connect(path, subprotocols=offered) as ws:
                chosen = f"subprotocol {ws.subprotocol}"
        except Refused as refused:
            chosen = described(refused)
        if chosen != "subprotocol house.v1":
            wanted = f"subprotocol house.v1 of {offered}"
            trial.miss(wanted, chosen, {**likely, **usual})
        likely = {"subprotocol None": NOT_FIRST}


async def serves_everybody(trial: Trial) -> None:
    """Serves also those who offer nothing, and chooses nothing for them."""
    for offered, chosen in (([], None), (["house.v1"], "house.v1")):
        async with trial.connect("/menu", subprotocols=offered) as ws:
            await trial.expect(ws, "tea")
        async with trial.connect("/order", subprotocols=offered) as ws:
            await ws.send("cake")
            await trial.expect(ws, "one cake")
            if ws.subprotocol != chosen:
                trial.miss(f"subprotocol {chosen}", str(ws.subprotocol))


house = Exercise(
    task="Write a function that makes an app with the stream `/menu` and the "
    "listener `/order`, both as they are below. Who offers the subprotocol "
    "`house.v1` is accepted with it, on both; who offers nothing is accepted "
    "without.",
    stub=house_stub,
    checks=[chooses_in_a_stream, chooses_in_a_listener, serves_everybody],
    tip="Three questions. Who gets to know of your class? What does the "
    "client offer, and where does it say so? And which of the two accepts "
    "without asking the class, until it is told to?",
    right=[house_solution, house_by_event, house_by_function],
    mutants=[
        Mutant(NOT_CHOSEN, {", websocket_class=HouseSocket": ""}),
        Mutant(NOT_CHOSEN, {"subprotocols or chosen, ": "subprotocols, "}),
        Mutant(BEHIND, {", connection_lifespan=lifecycle": ""}),
        Mutant(NOT_FIRST, {"in offered else": "in offered[:1] else"}),
        Mutant(
            Mistake.NOT_OFFERED, {' if "house.v1" in offered else None': ""}
        ),
        Mutant(
            NOBODY_ACCEPTS,
            {"await super().accept(subprotocols or chosen, headers)": "pass"},
        ),
    ],
)
