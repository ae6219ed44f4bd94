"""What is said about errors on a WebSocket, and about who is told of them."""

import asyncio
import contextlib
import io
import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from litestar import (
    Controller,
    Litestar,
    Router,
    WebSocket,
    websocket,
    websocket_listener,
)
from litestar.di import NamedDependency, Provide
from litestar.exceptions import (
    HTTPException,
    NotAuthorizedException,
    WebSocketDisconnect,
    WebSocketException,
)
from litestar.logging import LoggingConfig
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.testing import TestClient

from snippets.testing import Closed, connect
from snippets.testing.server import serve

from .conftest import hear

Socket = WebSocket[Any, Any, Any]


def noting(into: list[Exception]) -> Any:
    async def note(error: Exception, scope: object) -> None:
        into.append(error)

    return note


async def test_exception_handlers_are_not_for_websockets():
    """`exception_handlers={LookupError: ...}` answers errors of a WebSocket
    → false: on no layer; `after_exception` hooks are told, and only told.
    """
    called: list[str] = []
    told: list[Exception] = []

    def on(layer: str) -> dict[int | type[Exception], Any]:
        def answer(request: object, error: Exception) -> None:
            called.append(layer)

        return {LookupError: answer, 500: answer}

    class Chat(Controller):
        exception_handlers = on("controller")

        @websocket("/", exception_handlers=on("handler"))
        async def chat(self, socket: Socket) -> None:
            await socket.accept()
            raise LookupError("no such room")

    router = Router(
        "/", route_handlers=[Chat], exception_handlers=on("router")
    )
    app = Litestar(
        [router], exception_handlers=on("app"), after_exception=[noting(told)]
    )
    _, closed = await hear(app)
    assert (closed.code, closed.reason) == (4500, "Internal Server Error")
    assert called == []
    assert [type(error) for error in told] == [LookupError]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
async def test_a_status_is_no_close_code(status: int):
    """`HTTPException(status_code=404)` closes with 4404
    → false: with 4500, whatever the status; its detail is the reason.
    """

    @websocket("/")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        raise HTTPException("not this time", status_code=status)

    _, closed = await hear(Litestar([chat]))
    assert (closed.code, closed.reason) == (4500, "not this time")


async def test_the_words_of_some_errors_travel():
    """The client of a handler that failed is not told why
    → half true: of a bug it is not; of Litestar's exceptions it gets the
    detail.
    """

    @websocket("/{kind:str}")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        if socket.path_params["kind"] == "bug":
            raise LookupError("user 7 has no key")
        raise NotAuthorizedException("user 7 has no key")

    app = Litestar([chat])
    reasons = []
    for kind in ("bug", "litestar"):
        async with connect(app, f"/{kind}") as client:
            assert [message async for message in client] == []
            assert client.closed is not None
            reasons.append(client.closed.reason)
    assert reasons == ["Internal Server Error", "user 7 has no key"]


async def test_debug_changes_nothing_for_the_client():
    """With `debug=True` the client gets the traceback
    → false: it sees the same as without; the log gets it.
    """

    @websocket("/")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        raise LookupError("no such room")

    seen, logged = [], []
    for debug in (False, True):
        lines: list[str] = []

        def note(
            logger: Any, scope: Any, trace: list[str], lines: Any = lines
        ) -> None:
            lines.extend(trace)

        logging = LoggingConfig(
            exception_logging_handler=note, configure_root_logger=False
        )
        app = Litestar([chat], debug=debug, logging_config=logging)
        async with serve(app) as server, server.connect("/") as client:
            assert [message async for message in client] == []
            seen.append(str(client.closed))
        logged.append(any("no such room" in line for line in lines))
    assert seen == ["4500 'Internal Server Error'"] * 2
    assert logged == [False, True]


@pytest.mark.parametrize("hook", ["on_accept", "on_disconnect"])
async def test_a_hook_that_fails_is_not_always_seen(hook: str):
    """A client sees that a hook of its listener has failed
    → half true: `on_accept` closes with 4500; when `on_disconnect` fails, the
    client has left.
    """
    told: list[Exception] = []

    async def fail(socket: Socket) -> None:
        raise LookupError(hook)

    hooks: dict[str, Any] = {hook: fail}

    @websocket_listener("/", **hooks)
    async def listen(data: str) -> str:
        return data

    app = Litestar([listen], after_exception=[noting(told)])
    async with connect(app) as client:
        if hook == "on_accept":
            with pytest.raises(Closed, match="4500"):
                await client.receive()
        else:
            await client.send("tea?")
            await client.receive()
            await client.close()
            assert str(client.closed) == "1000"
    assert [type(error) for error in told] == [LookupError]


async def test_a_clean_up_that_fails_hides_the_error_before_it():
    """`after_exception` is told what the handler raised
    → half true: if the clean-up of a dependency fails, too, it is told of
    that, and has to look for the cause.
    """
    told: list[Exception] = []

    async def table() -> AsyncGenerator[str, None]:
        try:
            yield "table 3"
        finally:
            raise LookupError("clean-up")

    @websocket("/", dependencies={"table": Provide(table)})
    async def chat(socket: Socket, table: NamedDependency[str]) -> None:
        await socket.accept()
        raise ValueError("handler")

    await hear(Litestar([chat], after_exception=[noting(told)]))
    (group,) = told
    assert isinstance(group, ExceptionGroup)
    assert [type(error) for error in group.exceptions] == [LookupError]
    assert isinstance(group.__cause__, ValueError)


async def test_a_clean_up_that_fails_closes_a_second_time():
    """A clean-up that fails does no harm when the handler has closed
    → false: Litestar closes again, and the server logs a RuntimeError.
    """

    async def table() -> AsyncGenerator[str, None]:
        yield "table 3"
        raise LookupError("clean-up")

    @websocket("/", dependencies={"table": Provide(table)})
    async def chat(socket: Socket, table: NamedDependency[str]) -> None:
        await socket.accept()
        await socket.close()

    async with (
        serve(Litestar([chat])) as server,
        server.connect("/") as client,
    ):
        assert [message async for message in client] == []
        assert str(client.closed) == "1000"
    (line,) = server.log
    assert "RuntimeError: Unexpected ASGI message 'websocket.close'" in line


async def test_a_hook_that_fails_takes_the_close_with_it():
    """A mistake in an `after_exception` hook does no harm
    → false: then Litestar does not close, and the client gets 1006.
    """

    async def note(error: Exception, scope: object) -> None:
        raise LookupError("no log today")

    @websocket("/")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        raise WebSocketException(detail="no more tea", code=4001)

    app = Litestar([chat], after_exception=[note])
    async with serve(app) as server, server.connect("/") as client:
        assert [message async for message in client] == []
        assert client.closed is not None
        assert client.closed.code != 4001
    assert "LookupError: no log today" in "\n".join(server.log)


async def test_raising_a_disconnect_ends_in_two_ways():
    """`raise WebSocketDisconnect(...)` closes the connection
    → half true: in a handler with 1000; a listener takes it for the client's
    leaving and sends no close frame, 1006.
    """

    @websocket("/handler")
    async def handle(socket: Socket) -> None:
        await socket.accept()
        await socket.receive_text()
        raise WebSocketDisconnect(detail="bye")

    @websocket_listener("/listener")
    async def listen(data: str) -> str:
        raise WebSocketDisconnect(detail="bye")

    codes = []
    async with serve(Litestar([handle, listen])) as server:
        for path in ("/handler", "/listener"):
            async with server.connect(path) as client:
                await client.send("tea?")
                assert [message async for message in client] == []
                assert client.closed is not None
                codes.append(client.closed.code)
    assert codes == [1000, 1006]


@pytest.mark.xfail(reason="litestar #4180: open", raises=pytest.fail.Exception)
def test_a_test_client_raises_what_the_handler_raised():
    """`TestClient(raise_server_exceptions=True)` shows a test what failed
    → false: a handler's exception is a close with 4500, and no more.
    """

    @websocket("/")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        raise LookupError("no such room")

    with (
        pytest.raises(LookupError),
        TestClient(Litestar([chat]), raise_server_exceptions=True) as client,
        client.websocket_connect("/") as socket,
        contextlib.suppress(WebSocketDisconnect),
    ):
        socket.receive_text(timeout=5)


async def test_rate_limits_are_not_for_websockets():
    """`RateLimitConfig(("second", 1))` limits what clients send
    → false: neither messages nor handshakes; it looks at HTTP alone.
    """

    @websocket_listener("/")
    async def listen(data: str) -> str:
        return data

    limit = RateLimitConfig(("hour", 1)).middleware
    app = Litestar([listen], middleware=[limit])
    for _ in range(3):
        async with connect(app) as client:
            for _ in range(3):
                await client.send("tea?")
                assert await client.receive() == "tea?"


async def test_a_busy_handler_goes_on_when_its_client_has_left():
    """A handler is cancelled when its client leaves
    → false: it learns of that when it receives or sends, and not before.
    """
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @websocket_listener("/")
    async def listen(data: str) -> None:
        begun.set()
        await go_on.wait()
        done.set()

    async with serve(Litestar([listen])) as server:
        async with server.connect("/") as client:
            await client.send("tea?")
            await begun.wait()
        assert not done.is_set()
        go_on.set()
        async with asyncio.timeout(5):
            await done.wait()


async def test_litestars_log_has_what_a_client_chose(
    caplog: pytest.LogCaptureFixture,
):
    """Litestar's log has nothing in it that a client sent
    → false: it has the path, and the words of exceptions, which quote.
    """

    @websocket("/{name:str}")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        int(await socket.receive_text())

    config = LoggingConfig(
        log_exceptions="always",
        configure_root_logger=False,
        loggers={"litestar": {"handlers": [], "propagate": True}},
    )
    app = Litestar([chat], logging_config=config)
    async with connect(app, "/hunter1") as client:
        await client.send("hunter2")
        assert [message async for message in client] == []
    assert "path='/hunter1'" in caplog.text
    assert "base 10: 'hunter2'" in caplog.text


class NoWords(logging.Formatter):
    """Tells the type of an exception, and not what it says."""

    def formatException(self, ei: Any) -> str:
        return ei[0].__name__


@pytest.mark.parametrize("first", [True, False])
def test_a_formatter_keeps_words_out_of_its_own_handler(
    monkeypatch: pytest.MonkeyPatch, *, first: bool
):
    """A `Formatter` with a `formatException` of its own keeps the words of
    exceptions out of what its handler writes
    → false: `logging` keeps the text that the first handler's formatter has
    made, and gives it to all others. It has to be on each of them.
    """
    texts = [io.StringIO(), io.StringIO()]
    plain, careful = map(logging.StreamHandler, texts)
    careful.setFormatter(NoWords())
    logger = logging.getLogger("of this test")
    handlers = [careful, plain] if first else [plain, careful]
    monkeypatch.setattr(logger, "handlers", handlers)
    monkeypatch.setattr(logger, "propagate", False)
    try:
        int("7 teas")
    except ValueError:
        logger.exception("no answer")
    said = texts[1].getvalue()
    assert said.startswith("no answer")
    assert "ValueError" in said
    assert ("7 teas" in said) == (not first)
