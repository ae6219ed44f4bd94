"""A trial run of a reader's answer, and the mistakes that any answer may show.

A likely mistake is recognised from what the client saw and what the answer
raised, never from the text of the answer.
"""

import asyncio
import inspect
import json
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from types import CoroutineType, FunctionType
from typing import Any, NoReturn

from anyio.lowlevel import checkpoint
from litestar import Controller, Litestar, Router, WebSocket
from litestar.handlers import BaseRouteHandler, WebsocketListener
from litestar.types import Receive, Send

from snippets.testing import Client, Closed, Refused, connect
from snippets.testing.buffered import Buffered, buffered
from snippets.testing.tap import Tap

from ._report import Missed, described, stable

Likely = Mapping[str, str]
"""What wrong values look like (a regular expression for the start of what the
report says came) and the likely mistake, in a sentence."""
NO_GUESS: Likely = {}


class Mistake(StrEnum):
    """What may go wrong in any answer, whatever the exercise."""

    RETURNED = "The handler ended without closing: no close frame was sent."
    WAITS = "The handler sent nothing here: it still waits for something."
    LINGERS = "The handler goes on though its client has gone."
    RAISED = "The handler raised an exception, and Litestar closed with 4500."
    REFUSED = "No handler took this connection, or one raised before accept."
    UNDECIDED = (
        "The handler ended before it had accepted or refused: HTTP 500."
    )
    NOT_OFFERED = (
        "The client was answered with a subprotocol it did not offer."
    )
    QUOTED = "The text was sent as JSON, which puts quotes around it."
    BINARY = "The frame sent is binary, and a text frame was expected."
    CALLED = "The handler was called: hand it over by its name alone."
    BARE = "This is an async function without a decorator, not yet a handler."
    UNEXPECTED = "A server takes other events here: its message says which."
    NO_FRAME = "What was sent is neither text nor bytes."
    AFTER_CLOSE = "The connection was closed, and then more was sent on it."
    NOTHING = "There is nothing here: is a `return` missing?"
    MISCONFIGURED = (
        "Litestar refused this when the app was made; its message says why."
    )


_USUAL: Likely = {
    "(no close|refused).*: Expected ASGI message": Mistake.UNEXPECTED,
    "no close frame": Mistake.RETURNED,
    "waiting for a message|connecting to": Mistake.WAITS,
    "the handler was still running": Mistake.LINGERS,
    "close 4500": Mistake.RAISED,
    r"refused \(HTTP 403\)": Mistake.REFUSED,
    r"refused \(HTTP 500\)": Mistake.UNDECIDED,
    r"refused \(HTTP 101\)": Mistake.NOT_OFFERED,
    "binary": Mistake.BINARY,
    "a coroutine": Mistake.CALLED,
    "an async function": Mistake.BARE,
    "None": Mistake.NOTHING,
    "ClosedResourceError": Mistake.NO_FRAME,
    "RuntimeError: Unexpected ASGI message": Mistake.AFTER_CLOSE,
    "ImproperlyConfiguredException": Mistake.MISCONFIGURED,
}
_WHY = "close 4500|refused|no close|RuntimeError: Unexpected ASGI message"
"""What raises the question what the handler raised."""


class Trial:
    """One run of an answer: what a check connects and compares with.

    Args:
        answer: What the reader handed in.
        timeout: How long any single wait may last, in seconds.

    Attributes:
        missed: The first thing that was expected and did not come.
        ran: Whether the answer got as far as a connection.
    """

    def __init__(self, answer: object, timeout: float) -> None:
        self.missed: Missed | None = None
        self.ran = False
        self._answer, self._timeout = answer, timeout
        self._tap: Tap | None = None
        self._raised: BaseException | None = None
        self._app = self._serve  # one object: connect() knows an app by its id

    def build(self, *arguments: object) -> None:
        """Make an app of the answer, calling it if it is a plain function.

        `connect()` does this by itself for answers that take no arguments.

        Args:
            arguments: What to call it with; the task says what it takes.

        Raises:
            Missed: No app can be made of the answer.
        """
        made: object
        try:
            made = _app(self._answer, arguments)
        except Exception as error:  # noqa: BLE001 - the report says it
            made = error
        if isinstance(made, Litestar):
            made.after_exception.append(self._note)
            if made.websocket_class is WebSocket:
                made.websocket_class = _TakesTurns
        elif _is_asgi(made):
            made = _taking_turns(made)
        else:
            wanted = "a handler, or a function that makes an app"
            self.miss(wanted, _kind(made))
        self._tap = Tap(made)

    def connect(
        self, path: str, **options: Any
    ) -> AbstractAsyncContextManager[Client]:
        """Connect to the answer; options are those of `testing.connect()`."""
        if self._tap is None:
            self.build()
        assert self._tap is not None
        return connect(self._app, path, timeout=self._timeout, **options)

    def stalled(
        self, path: str, **options: Any
    ) -> AbstractAsyncContextManager[Buffered]:
        """Connect a client that reads when it is asked to, and not before.

        Its connection holds one message; the next `send` waits.
        """
        if self._tap is None:
            self.build()
        options = {"buffer": 1, "timeout": self._timeout, **options}
        return buffered(self._app, path, **options)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        assert self._tap is not None
        self.ran = self.ran or scope["type"] == "websocket"
        try:
            await self._tap(scope, receive, send)
        except (asyncio.CancelledError, SystemExit) as error:
            if is_cancelled():
                raise
            # The answer raised it: it must not end the check, or the kernel.
            self._raised = error
        except Exception as error:
            if scope["type"] == "websocket":
                self._raised = self._raised or error
            raise

    async def next(self, ws: Client) -> object:
        """Wait for the next frame, the close, or the end of patience."""
        try:
            return await ws.receive()
        except (Closed, TimeoutError) as error:
            return error

    async def expect(
        self, ws: Client, wanted: object, likely: Likely = NO_GUESS
    ) -> None:
        """Wait for the next frame, or the close, and compare as `same()`."""
        self.same(await self.next(ws), wanted, likely)

    async def expect_json(
        self, ws: Client, wanted: object, likely: Likely = NO_GUESS
    ) -> None:
        """Wait for the next frame: JSON, spaced and ordered in any way."""
        came = await self.next(ws)
        written = json.dumps(wanted, sort_keys=True)
        if not isinstance(came, str) or _rewritten(came) != written:
            twice = {r"""text '"[{\[]""": Mistake.QUOTED}
            self.same(came, json.dumps(wanted), {**likely, **twice})

    async def expect_refusal(
        self,
        path: str,
        likely: Likely = NO_GUESS,
        **options: Any,
    ) -> None:
        """Connect, and expect a refusal before the connection is accepted."""
        wanted = "refused (HTTP 400 to 499)"
        try:
            async with self.connect(path, **options) as ws:
                then = described(await self.next(ws))
                self.miss(wanted, f"accepted, then {then}", likely)
        except Refused as refused:
            if not 400 <= refused.status <= 499:
                self.miss(wanted, described(refused), likely)

    def expect_no_exception(self, likely: Likely = NO_GUESS) -> None:
        """Expect that nothing has been raised, once a connection is over."""
        if self._raised:
            self.miss("no exception", described(self._raised), likely)

    def same(
        self, came: object, wanted: object, likely: Likely = NO_GUESS
    ) -> None:
        """Compare what came with what is wanted.

        Args:
            came: A frame, a `Closed`, a `Refused`, or any other value.
            wanted: The same; the reason of a `Closed` does not count.
            likely: Mistakes of this exercise; the usual ones are known.

        Raises:
            Missed: They differ.
        """
        if type(came) is type(wanted) and _core(came) == _core(wanted):
            return
        if isinstance(wanted, str):
            quoted = re.escape(described(json.dumps(wanted)))
            likely = {**likely, quoted: Mistake.QUOTED}
        self.miss(described(wanted), described(came), likely)

    def miss(
        self, expected: str, came: str, likely: Likely = NO_GUESS
    ) -> NoReturn:
        """Say in words what was missed.

        Args:
            expected: What should have come.
            came: What came.
            likely: Mistakes of this exercise; the usual ones are known.

        Raises:
            Missed: Always.
        """
        raised = described(self._raised) if self._raised else came
        if raised != came and re.match(_WHY, came):
            came += f", after the handler raised {raised}"
        guesses = [*likely.items(), *_USUAL.items()]
        says = next(
            (says for like, says in guesses if re.match(like, came)), ""
        )
        # Four events are a handshake and one exchange: the report says it.
        events = self._tap.events if self._tap else ()
        for event in events:
            if event.kind == "exception":
                event.payload = stable(str(event.payload))
        frames = self._tap.diagram() if self._tap and events[4:] else None
        self.missed = self.missed or Missed(expected, came, says, frames)
        raise self.missed

    async def _note(self, error: Exception, _scope: object) -> None:
        self._raised = error


class _TakesTurns(WebSocket):
    """A WebSocket that lets others run once its client has gone.

    Litestar's raises then, without waiting: in a loop that swallows all
    errors nothing else would ever run again. Before that it must not wait
    where a server does not: streams run into themselves if it does.
    """

    __slots__ = ()  # no room for more than there is in Litestar's own

    def receive_wrapper(self, receive: Receive) -> Receive:
        return _in_turn(super().receive_wrapper(receive))

    def send_wrapper(self, send: Send) -> Send:
        return _in_turn(super().send_wrapper(send))


_TakesTurns.__name__ = WebSocket.__name__  # the one that readers know


def _taking_turns(app: Any) -> Any:
    """Wrap a plain ASGI app, whose `receive` after the end never waits."""

    async def in_turns(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, _in_turn(receive), _in_turn(send))

    return in_turns


def _in_turn(call: Any) -> Any:
    async def called_in_turn(*arguments: Any) -> Any:
        try:
            message = await call(*arguments)
        except Exception:
            await checkpoint()
            raise
        if message and message["type"] == "websocket.disconnect":
            await checkpoint()
        return message

    return called_in_turn


def _rewritten(text: str) -> str:
    """Write JSON in one way: 3 stays other than 3.0, and 1 than true."""
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except ValueError:
        return text


def _core(seen: object) -> object:
    match seen:
        case Closed():
            return seen.code
        case Refused():
            return seen.status
    return seen


def _app(answer: Any, arguments: tuple[object, ...]) -> object:
    if inspect.isfunction(answer) and not inspect.iscoroutinefunction(answer):
        answer = answer(*arguments)
    routes = BaseRouteHandler | Router  # an app is a router, too
    if isinstance(answer, routes) and not isinstance(answer, Litestar):
        return Litestar([answer], logging_config=None, openapi_config=None)
    classes = Controller | WebsocketListener
    if inspect.isclass(answer) and issubclass(answer, classes):
        return Litestar([answer], logging_config=None, openapi_config=None)
    return answer


def _is_asgi(answer: Any) -> bool:
    names = ["scope", "receive", "send"]
    is_async = inspect.iscoroutinefunction(answer)
    return is_async and list(inspect.signature(answer).parameters) == names


def _kind(answer: object) -> str:
    match answer:
        case CoroutineType():
            answer.close()  # else Python warns that nobody awaited it
            return f"a coroutine of {answer.__name__}()"
        case FunctionType():
            return f"an async function, {answer.__name__}"
        case type():
            return f"the class {answer.__name__}"
    return described(answer)


def is_cancelled() -> bool:
    """Whether somebody wants the running task to stop."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
