"""Exercises of the chapter on error handling."""

import asyncio
import json
from collections.abc import Awaitable, Callable

from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import WebSocketException
from litestar.params import FromPath

from exercises import Exercise, Mutant, Trial
from exercises._report import described
from snippets.closing import CloseCode, close
from snippets.lifecycle import lifecycle
from snippets.limits import within
from snippets.messages import (
    ClientMessage,
    Error,
    ErrorCode,
    MessageError,
    converse,
    formats,
)
from snippets.sockets import MessageSocket
from snippets.testing.client import Client, Refused

Brew = Callable[[str], Awaitable[None]]
Enter = Callable[[str], Awaitable[None]]

ENDED = "One order that failed ended the connection."
NO_TIME = "The guest waits, and so does everything else that the guest says."
NOT_CALLED_OFF = "The guest was told, and the kitchen goes on brewing."
NO_WORD = "What has run out may be there later: there is a code for that."
NO_AGAIN = "When may the guest try again? The error has a field for it."
NO_BUG = "This is a bug: to try it again is of no use."
TELLING = "The words of a bug are for the log, not for the guest."
WRONG_TIME = "Too long in the kitchen is `timeout`."
ANY_TIME = (
    "A time-out inside of `brew` is a bug like others. Only yours is a "
    "`timeout`: how can you tell?"
)
CAUGHT = "You catch too much: only what takes too long is a `timeout`."


class OutOf(Exception):
    """There is none left of something."""


class Full(Exception):
    """All tables are taken."""


class Banned(Exception):
    """This guest may not come in."""


def kitchen_stub(brew: Brew) -> Litestar:
    class Order(ClientMessage, tag="order", frozen=True):
        drink: str

    class KitchenSocket(MessageSocket[Order]):
        formats = formats("kitchen", Order)

    async def answer(order: Order) -> None:
        await brew(order.drink)  # Your turn.

    @websocket("/kitchen", websocket_class=KitchenSocket)
    async def kitchen(socket: KitchenSocket) -> None:
        async with lifecycle(socket):
            await converse(socket, answer)

    return Litestar([kitchen])


def kitchen_solution(brew: Brew) -> Litestar:
    class Order(ClientMessage, tag="order", frozen=True):
        drink: str

    class KitchenSocket(MessageSocket[Order]):
        formats = formats("kitchen", Order)

    async def answer(order: Order) -> None:
        try:
            await brew(order.drink)
        except OutOf:
            code, sorry = ErrorCode.UNAVAILABLE, f"no {order.drink} left"
            raise MessageError(code, sorry, retry_after=5) from None

    @websocket("/kitchen", websocket_class=KitchenSocket)
    async def kitchen(socket: KitchenSocket) -> None:
        async with lifecycle(socket):
            await converse(socket, within(0.1, answer))

    return Litestar([kitchen])


def kitchen_by_hand(brew: Brew) -> Litestar:
    class Order(ClientMessage, tag="order", frozen=True):
        drink: str

    class KitchenSocket(MessageSocket[Order]):
        formats = formats("kitchen", Order)

    async def answer(order: Order) -> Error | None:
        late, out = ErrorCode.TIMEOUT, ErrorCode.UNAVAILABLE
        patience = asyncio.timeout(0.1)
        try:
            async with patience:
                await brew(order.drink)
        except TimeoutError:
            if not patience.expired():
                raise
            return Error(late, "it took too long", True, order.ref)
        except OutOf:
            return Error(out, "come later", True, order.ref, 5.0)
        return None

    @websocket("/kitchen", websocket_class=KitchenSocket)
    async def kitchen(socket: KitchenSocket) -> None:
        async with lifecycle(socket):
            await converse(socket, answer)

    return Litestar([kitchen])


class _Kitchen:
    """Brews, in several bad ways."""

    def __init__(self) -> None:
        self.waiting = 0

    async def brew(self, drink: str) -> None:
        match drink:
            case "cocoa":
                raise OutOf(drink)
            case "mocha":
                raise LookupError("no key under the third pot")
            case "old tea":
                raise TimeoutError
            case "cold brew":
                self.waiting += 1
                try:
                    await asyncio.Event().wait()
                finally:
                    self.waiting -= 1


async def _order(trial: Trial, ws: Client, drink: str) -> None:
    """Order something that can be had."""
    await ws.send_json({"type": "order", "drink": drink, "ref": drink})
    ack = {"type": "ack", "ref": drink}
    await trial.expect_json(ws, ack, {"close": ENDED})


async def _fails(
    trial: Trial, ws: Client, drink: str, wanted: dict[str, object], says: str
) -> dict[str, object]:
    """Order something that cannot be had, and look at the error."""
    await ws.send_json({"type": "order", "drink": drink, "ref": 7})
    came = await trial.next(ws)
    fields = json.loads(came) if isinstance(came, str) else {}
    full = {"type": "error", "ref": 7} | wanted
    if not full.items() <= fields.items():
        likely = {"close": ENDED, "waiting": NO_TIME}
        if drink != "old tea":
            likely[r'text .*"timeout"'] = CAUGHT
        likely[""] = says
        trial.miss(json.dumps(full), described(came), likely)
    return fields


async def brews(trial: Trial) -> None:
    """Acknowledges what was brewed."""
    trial.build(_Kitchen().brew)
    async with trial.connect("/kitchen") as ws:
        await _order(trial, ws, "tea")
        await _order(trial, ws, "coffee")


async def says_what_has_run_out(trial: Trial) -> None:
    """Answers `unavailable` when something has run out, and when to ask."""
    trial.build(_Kitchen().brew)
    async with trial.connect("/kitchen") as ws:
        wanted: dict[str, object] = {"code": "unavailable", "retryable": True}
        fields = await _fails(trial, ws, "cocoa", wanted, NO_WORD)
        if fields.get("retry_after") != 5:
            came = json.dumps(fields.get("retry_after"))
            trial.miss('"retry_after": 5', came, {"": NO_AGAIN})
        await _order(trial, ws, "tea")


async def gives_up(trial: Trial) -> None:
    """Answers `timeout` when brewing takes too long, and gives it up."""
    kitchen = _Kitchen()
    trial.build(kitchen.brew)
    async with trial.connect("/kitchen") as ws:
        await _fails(trial, ws, "cold brew", {"code": "timeout"}, WRONG_TIME)
        if kitchen.waiting:
            trial.miss("nothing on the stove", "1 pot", {"": NOT_CALLED_OFF})
        await _order(trial, ws, "tea")


async def hides_bugs(trial: Trial) -> None:
    """Answers `internal` to a bug, and no word of it."""
    trial.build(_Kitchen().brew)
    async with trial.connect("/kitchen") as ws:
        bug: dict[str, object] = {"code": "internal"}
        fields = await _fails(trial, ws, "mocha", bug, NO_BUG)
        if "pot" in str(fields["message"]):
            came = str(fields["message"])
            trial.miss("nothing about pots", came, {"": TELLING})
        await _fails(trial, ws, "old tea", bug, ANY_TIME)
        await _order(trial, ws, "tea")


kitchen = Exercise(
    task="Write `create_app(brew)` with a handler at `/kitchen` that takes "
    '`{"type": "order", "drink": "tea"}` and awaits `brew(drink)`. Nothing '
    "that happens there ends the connection. `OutOf` is answered with "
    "`unavailable`, to be tried again after 5 seconds. What takes longer than "
    "0.1 s is given up and answered with `timeout`. Anything else is a bug.",
    stub=kitchen_stub,
    checks=[brews, says_what_has_run_out, gives_up, hides_bugs],
    tip="Who catches what `answer` raises, and what is a `MessageError`? "
    "There is a function in `limits.py` that goes around `answer`.",
    right=[kitchen_solution, kitchen_by_hand],
    mutants=[
        Mutant(NO_AGAIN, {", retry_after=5": ""}),
        Mutant(NO_WORD, {"ErrorCode.UNAVAILABLE": "ErrorCode.FORBIDDEN"}),
        Mutant(NO_BUG, {"except OutOf": "except Exception"}),
        Mutant(
            CAUGHT,
            {
                "except OutOf": (
                    "except LookupError:\n"
                    "            raise MessageError(ErrorCode.TIMEOUT, '')\n"
                    "        except OutOf"
                )
            },
        ),
        Mutant(
            ANY_TIME,
            {
                "except OutOf": (
                    "except TimeoutError:\n"
                    "            raise MessageError(ErrorCode.TIMEOUT, '')\n"
                    "        except OutOf"
                )
            },
        ),
        Mutant(NO_TIME, {"within(0.1, answer)": "answer"}),
        Mutant(
            NOT_CALLED_OFF,
            {
                "await brew(order.drink)": (
                    "await asyncio.shield(brew(order.drink))"
                )
            },
        ),
        Mutant(
            WRONG_TIME,
            {
                "            await brew(order.drink)": (
                    "            await asyncio.wait_for("
                    "brew(order.drink), 0.05)"
                )
            },
        ),
        Mutant(
            TELLING,
            {
                "        except OutOf:": (
                    "        except LookupError as error:\n"
                    "            code = ErrorCode.INTERNAL\n"
                    "            raise MessageError(code, str(error))\n"
                    "        except OutOf:"
                )
            },
        ),
        Mutant(
            ENDED,
            {
                "raise MessageError(code, sorry, retry_after=5)": (
                    "raise WebSocketException(detail=sorry, code=1013)"
                )
            },
        ),
    ],
)


OUT = "This guest may not come in, and is welcome."
BUG_IN = "A bug has let a guest in: what comes after writing it down?"
NOT_4403 = "`Banned` is the guest's own trouble, and has a code of its own."
NOT_1013 = "A full café is full for a while: there is a code that says so."
UNKNOWN = (
    "`lifecycle` makes 1011 of what it does not know, at the end of its "
    "block. So where do you catch what `enter` raises?"
)
ACCUSED = "This was our mistake, and the code says that it was the guest's."
BLABBED = "The reason tells the guest what went wrong inside."
SILENT = "A bug that nobody writes down is there for ever."
QUOTED = "The words of this error quote the guest, and now the log does."
NAMED = "The guest's name is in your line, and a guest has sent it."
NO_NEWS = "A full café is no mistake of ours: nothing for this log."
REFUSED_EARLY = "Before the accept no code travels: accept first."


def door_stub(enter: Enter, log: list[str]) -> Litestar:
    @websocket("/door/{name:str}")
    async def door(socket: WebSocket, name: FromPath[str]) -> None:
        async with lifecycle(socket):
            await enter(name)  # Your turn.
            await socket.send_text("welcome")

    return Litestar([door])


def door_solution(enter: Enter, log: list[str]) -> Litestar:
    @websocket("/door/{name:str}")
    async def door(socket: WebSocket, name: FromPath[str]) -> None:
        async with lifecycle(socket):
            try:
                await enter(name)
            except Full:
                code = CloseCode.TRY_AGAIN_LATER
                raise WebSocketException(detail="full", code=code) from None
            except Banned:
                code = CloseCode.FORBIDDEN
                raise WebSocketException(detail="not you", code=code) from None
            except Exception as error:
                log.append(type(error).__name__)
                raise
            await socket.send_text("welcome")

    return Litestar([door])


def door_by_table(enter: Enter, log: list[str]) -> Litestar:
    codes = {Full: CloseCode.TRY_AGAIN_LATER, Banned: CloseCode.FORBIDDEN}

    @websocket("/door/{name:str}")
    async def door(socket: WebSocket, name: FromPath[str]) -> None:
        await socket.accept()
        try:
            await enter(name)
        except Exception as error:  # noqa: BLE001 - it goes into the log
            kind = type(error)
            if kind not in codes:
                log.append(f"/door: {kind.__name__}")
            internal = CloseCode.INTERNAL_ERROR
            await close(socket, codes.get(kind, internal), "sorry")
        else:
            await socket.send_text("welcome")
            await close(socket)

    return Litestar([door])


async def _enter(name: str) -> None:
    match name:
        case "bob":
            raise Full(name)
        case "eve":
            raise Banned(name)
        case "ada":
            return
        case _:
            raise LookupError(f"{name} is on no list")


LIKELY = {"refused": REFUSED_EARLY, "text 'welcome'": OUT}


async def _turned_away(
    trial: Trial, name: str, code: int, says: str
) -> tuple[str, list[str]]:
    """Connect somebody who cannot come in.

    Returns:
        The reason, and what the log has then.
    """
    log: list[str] = []
    trial.build(_enter, log)
    wanted, likely = f"close {code}", {**LIKELY, "close": says}
    if code == CloseCode.INTERNAL_ERROR:
        likely["text 'welcome'"] = BUG_IN
    else:
        likely = {"close 1011": UNKNOWN} | likely
    try:
        async with trial.connect(f"/door/{name}") as ws:
            came = await trial.next(ws)
            if not described(came).startswith(wanted):
                trial.miss(wanted, described(came), likely)
            return getattr(came, "reason", ""), log
    except Refused as refused:
        trial.miss(wanted, described(refused), likely)


async def lets_in(trial: Trial) -> None:
    """Says welcome to Ada, and closes with 1000."""
    log: list[str] = []
    trial.build(_enter, log)
    async with trial.connect("/door/ada") as ws:
        await trial.expect(ws, "welcome")
        came = await trial.next(ws)
        if not described(came).startswith("close 1000"):
            trial.miss("close 1000", described(came))
    if log:
        trial.miss("nothing in the log", str(log), {"": NO_NEWS})


async def turns_away(trial: Trial) -> None:
    """Closes with 1013 when the café is full, with 4403 for the banned."""
    for name, code, says in (("bob", 1013, NOT_1013), ("eve", 4403, NOT_4403)):
        _, log = await _turned_away(trial, name, code, says)
        if log:
            trial.miss("nothing in the log", str(log), {"": NO_NEWS})


async def admits_bugs(trial: Trial) -> None:
    """Closes with 1011 after a bug, and does not say which."""
    reason, _ = await _turned_away(trial, "mallory", 1011, ACCUSED)
    if "list" in reason or "LookupError" in reason:
        trial.miss("a reason without the cause", reason, {"": BLABBED})


async def writes_bugs_down(trial: Trial) -> None:
    """Writes one line into `log`: what it was, and nothing of the guest's."""
    _, log = await _turned_away(trial, "mallory", 1011, ACCUSED)
    if len(log) != 1 or "LookupError" not in log[0]:
        trial.miss("a line with LookupError", str(log), {"": SILENT})
    if "mallory" in log[0]:
        says = QUOTED if "on no list" in log[0] else NAMED
        trial.miss("a line without the name", log[0], {"": says})


door = Exercise(
    task="Write `create_app(enter, log)` with a handler at "
    "`/door/{name:str}`. It accepts, awaits `enter(name)`, sends `welcome` "
    "and closes with 1000. If `enter` raises `Full`, it closes with 1013, if "
    "it raises `Banned`, with 4403. Anything else is a bug: 1011, without a "
    "word about it, and one line in the list `log`, which gets no others, "
    "that has the name of the exception's class, and nothing that the guest "
    "has sent.",
    stub=door_stub,
    checks=[lets_in, turns_away, admits_bugs, writes_bugs_down],
    tip="`lifecycle` accepts, and closes with 1011 what it does not know. "
    "What does it do with a `WebSocketException`? And what would be in the "
    "log with `repr(error)`?",
    right=[door_solution, door_by_table],
    mutants=[
        Mutant(NOT_1013, {"CloseCode.TRY_AGAIN_LATER": "CloseCode.FORBIDDEN"}),
        Mutant(NOT_4403, {"CloseCode.FORBIDDEN": "CloseCode.TRY_AGAIN_LATER"}),
        Mutant(
            ACCUSED,
            {
                "type(error).__name__)\n                raise": (
                    "type(error).__name__)\n"
                    "                raise WebSocketException("
                    "detail='not you', code=4403) from None"
                )
            },
        ),
        Mutant(
            BLABBED,
            {
                "type(error).__name__)\n                raise": (
                    "type(error).__name__)\n"
                    "                raise WebSocketException("
                    "detail=str(error), code=1011) from None"
                )
            },
        ),
        Mutant(SILENT, {"log.append(type(error).__name__)": "log.clear()"}),
        Mutant(QUOTED, {"type(error).__name__": "repr(error)"}),
        Mutant(
            NAMED,
            {"type(error).__name__": "f'{name}: {type(error).__name__}'"},
        ),
        Mutant(
            BUG_IN,
            {
                "type(error).__name__)\n                raise": (
                    "type(error).__name__)"
                )
            },
        ),
        Mutant(
            UNKNOWN,
            {
                "            except Full:\n": (
                    "            except OverflowError:\n"
                )
            },
        ),
        Mutant(
            NO_NEWS,
            {
                "            except Full:\n": (
                    "            except Full as error:\n"
                    "                log.append(str(error))\n"
                )
            },
        ),
        Mutant(
            OUT,
            {
                "                code = CloseCode.FORBIDDEN\n"
                "                raise WebSocketException("
                'detail="not you", code=code) from None': (
                    "                pass"
                )
            },
        ),
        Mutant(
            REFUSED_EARLY,
            {
                "        async with lifecycle(socket):\n": (
                    "        await enter(name)\n"
                    "        async with lifecycle(socket):\n"
                )
            },
        ),
    ],
)
