"""Exercises of the chapter on streams."""

import asyncio
from collections.abc import AsyncGenerator

import anyio
from litestar import Litestar, WebSocket, websocket, websocket_stream
from litestar.exceptions import WebSocketException
from litestar.handlers import send_websocket_stream

from exercises import Exercise, Mistake, Mutant, Trial
from snippets.closing import close
from snippets.lifecycle import lifecycle
from snippets.streams import push
from snippets.testing.client import Closed

NUMBER = "The number travels alone, and not as part of a JSON object."
PYTHON = "This is how Python writes a `dict` down, and no JSON."
OTHER_KIND = "JSON tells 3 from 3.0, and 1 from `true`."
NO_LAST = "The countdown ends before it has reached 0."
OTHER_WAY = "The countdown begins at the wrong end."
NEVER_ENDS = "All has been said, and the stream goes on."


@websocket_stream("/steep")
async def steep_stub() -> AsyncGenerator[object, None]:
    yield 3  # Your turn.


@websocket_stream("/steep")
async def steep_solution() -> AsyncGenerator[object, None]:
    for minutes in range(3, -1, -1):
        yield {"minutes": minutes}
    yield "ready"


@websocket("/steep")
async def steep_another(socket: WebSocket) -> None:
    await socket.accept()
    for minutes in (3, 2, 1, 0):
        await socket.send_json({"minutes": minutes})
    await socket.send_text("ready")
    await socket.close()


async def counts_down(trial: Trial) -> None:
    """Counts the minutes down from 3 to 0, as JSON."""
    likely = {
        "text '[0-9]": NUMBER,
        "text \"{'": PYTHON,
        "text 'ready'": NO_LAST,
        "text '{.*([.]0|true)": OTHER_KIND,
        "text '{.*0": OTHER_WAY,
    }
    async with trial.connect("/steep") as ws:
        for minutes in (3, 2, 1, 0):
            await trial.expect_json(ws, {"minutes": minutes}, likely)


async def says_ready(trial: Trial) -> None:
    """Says at last that it is `ready`, as plain text."""
    async with trial.connect("/steep") as ws:
        for _ in range(4):
            await ws.receive()
        await trial.expect(ws, "ready")


async def ends_by_itself(trial: Trial) -> None:
    """Closes with code 1000 when all has been said."""
    async with trial.connect("/steep") as ws:
        for _ in range(5):
            await ws.receive()
        await trial.expect(ws, Closed(1000), {"text|waiting": NEVER_ENDS})


steep = Exercise(
    task="Write a stream at `/steep` that counts down the 3 minutes for which "
    'tea has to steep. It sends `{"minutes": 3}` and so on, as JSON, down to '
    '`{"minutes": 0}`, then the text `ready`, all without a pause, and closes '
    "with code 1000.",
    stub=steep_stub,
    checks=[counts_down, says_ready, ends_by_itself],
    tip="Does Litestar look at the annotation or at the value to decide what "
    "goes out as text and what as JSON? And what does it do when a generator "
    "has nothing more to yield?",
    right=[steep_solution, steep_another],
    mutants=[
        Mutant(
            Mistake.MISCONFIGURED,
            {"AsyncGenerator[object, None]": "AsyncIterator[object]"}
            | {"@web": "from collections.abc import AsyncIterator\n\n@web"},
        ),
        Mutant(NUMBER, {'{"minutes": minutes}': "minutes"}),
        Mutant(PYTHON, {'{"minutes": minutes}': 'str({"minutes": minutes})'}),
        Mutant(OTHER_KIND, {": minutes}": ": float(minutes)}"}),
        Mutant(OTHER_KIND, {": minutes}": ": minutes == 1 or minutes}"}),
        Mutant(NO_LAST, {"range(3, -1, -1)": "range(3, 0, -1)"}),
        Mutant(OTHER_WAY, {"range(3, -1, -1)": "range(4)"}),
        Mutant(Mistake.QUOTED, {'"ready"': "'\"ready\"'"}),
        Mutant(
            NEVER_ENDS,
            {'    yield "ready"': '    while True:\n        yield "ready"'},
        ),
        Mutant(
            Mistake.RAISED,
            {'yield "ready"': 'yield "ready"\n    raise StopAsyncIteration'},
        ),
    ],
)


NOT_PUT_AWAY = "The client has left, and nobody put the pot away."
UNFINISHED = (
    "Somebody began to put the pot away, and was stopped at the first `await`."
)
TWICE = "The pot was put away more than once."
NO_NOTICE = (
    "The client has left, and the stream waits for the next cup: who would "
    "have noticed?"
)
WRAPPED = (
    "What was raised did not arrive as it was: see what the handler raised, "
    "and what is around it."
)
POURED_FIRST = "The pot is empty from the start, and somebody waits for a cup."
SAID_1000 = "The pot is empty, and the client was told 1000: all is well."


class Pot:
    """A pot of tea that somebody has to put away in the end.

    Args:
        cups: How many cups are poured at once.
        more: Whether there is a next one, which never gets ready.
    """

    def __init__(self, cups: int, *, more: bool = False) -> None:
        self.cups = cups + more
        self.state = "on the table"
        self.times = 0
        self._ready = cups

    async def pour(self) -> str:
        """Pour the next cup; it takes as long as it takes."""
        if not self._ready:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        self._ready -= 1
        self.cups -= 1
        return "a cup of tea"

    async def put_away(self) -> None:
        """Wash it and put it away, which takes a moment."""
        self.times += 1
        self.state = "half washed"
        await asyncio.sleep(0)
        self.state = "put away"


def tea_stub(pot: Pot) -> Litestar:
    @websocket_stream("/tea")
    async def tea() -> AsyncGenerator[str, None]:
        while pot.cups:
            yield await pot.pour()
        await pot.put_away()  # Your turn.

    return Litestar([tea])


def tea_solution(pot: Pot) -> Litestar:
    async def cups() -> AsyncGenerator[str, None]:
        try:
            while pot.cups:
                yield await pot.pour()
        finally:
            await pot.put_away()
        raise WebSocketException(detail="no more tea", code=4001)

    @websocket("/tea")
    async def tea(socket: WebSocket) -> None:
        async with lifecycle(socket):
            await push(socket, cups(), socket.send_text)

    return Litestar([tea])


def tea_another(pot: Pot) -> Litestar:
    async def cups() -> AsyncGenerator[str, None]:
        try:
            while pot.cups:
                yield await pot.pour()
        finally:
            with anyio.CancelScope(shield=True):
                await pot.put_away()

    @websocket("/tea")
    async def tea(socket: WebSocket) -> None:
        await socket.accept()
        await send_websocket_stream(
            socket, cups(), close=False, listen_for_disconnect=True
        )
        await close(socket, 4001, "no more tea")

    return Litestar([tea])


_PUSH = """async with lifecycle(socket):
            await push(socket, cups(), socket.send_text)
"""
_STREAM = """await socket.accept()
        await send_websocket_stream(
            socket, cups(), listen_for_disconnect=True
        )
"""
_DEAF = """await socket.accept()
        await send_websocket_stream(socket, cups())
"""
_PUT_AWAY = "await pot.put_away()"
_AGAIN = "            await pot.put_away()\n"
_SHIELDED = """with anyio.CancelScope(shield=True):
                await pot.put_away()"""
_POUR = "yield await pot.pour()\n"
_POUR_FIRST = f"""{_POUR}                if not pot.cups:
                    break
"""
_RAISE = 'raise WebSocketException(detail="no more tea", code=4001)'


async def pours_all_cups(trial: Trial) -> None:
    """Sends a text for each cup that is poured."""
    trial.build(Pot(3))
    async with trial.connect("/tea") as ws:
        for _ in range(3):
            await trial.expect(ws, "a cup of tea")


async def cleans_up_when_the_client_leaves(trial: Trial) -> None:
    """Puts the pot away, to the end, when the client leaves before that."""
    pot = Pot(2, more=True)
    trial.build(pot)
    try:
        async with trial.connect("/tea") as ws:
            for _ in range(2):
                await ws.receive()
    except TimeoutError as error:
        trial.miss(
            "the end of the stream", str(error), {"the handler": NO_NOTICE}
        )
    _is_put_away(trial, pot)


async def closes_with_its_own_code(trial: Trial) -> None:
    """Closes with 4001 when the pot is empty, and puts it away then, too."""
    likely = {"close (4500|1011)": WRAPPED, "close 1000": SAID_1000}
    for cups in (1, 0):
        pot = Pot(cups)
        trial.build(pot)
        async with trial.connect("/tea") as ws:
            for _ in range(cups):
                await ws.receive()
            await trial.expect(ws, Closed(4001), likely)
        _is_put_away(trial, pot)
        likely["waiting"] = POURED_FIRST


def _is_put_away(trial: Trial, pot: Pot) -> None:
    likely = {
        "a pot on the table": NOT_PUT_AWAY,
        "a pot half washed": UNFINISHED,
        "a pot put away": TWICE,
    }
    if pot.state != "put away" or pot.times != 1:
        times = f", {pot.times} times" if pot.times > 1 else ""
        trial.miss("a pot put away", f"a pot {pot.state}{times}", likely)


tea = Exercise(
    task="Write `create_app(pot)` with a stream at `/tea` that sends what "
    "`await pot.pour()` returns, as text, for as long as `pot.cups` is not 0. "
    "Then it closes with code 4001. In the end `await pot.put_away()` must "
    "have been done, once and to its end, also if the client leaves while the "
    "next cup is being poured.",
    stub=tea_stub,
    checks=[
        pours_all_cups,
        cleans_up_when_the_client_leaves,
        closes_with_its_own_code,
    ],
    tip="Three questions. Who notices that the client has left, while the "
    "stream waits for a cup? What happens to an `await` after that? And what "
    "does Litestar get to see of an exception from a generator that runs next "
    "to something else?",
    right=[tea_solution, tea_another],
    mutants=[
        Mutant(
            NOT_PUT_AWAY, {"try:": "if True:", "        finally:\n    ": ""}
        ),
        Mutant(UNFINISHED, {_PUSH: _STREAM}),
        Mutant(NO_NOTICE, {_PUSH: _DEAF}),
        Mutant(WRAPPED, {_PUSH: _STREAM, _PUT_AWAY: _SHIELDED}),
        Mutant(SAID_1000, {_RAISE: ""}),
        Mutant(TWICE, {_PUSH: _PUSH + _AGAIN}),
        Mutant(TWICE, {_PUSH: _PUSH + 2 * _AGAIN}),
        Mutant(TWICE, {_PUSH: f"{_STREAM}        {_PUT_AWAY}\n"}),
        Mutant(
            POURED_FIRST,
            {"while pot.cups:": "while True:", _POUR: _POUR_FIRST},
        ),
    ],
)
