"""What is said about handlers, the socket and the end of a connection."""

import asyncio
import importlib
from importlib.metadata import requires
from typing import Any

import litestar
import litestar.connection
import litestar.handlers
import litestar.status_codes
import pytest
from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import (
    ImproperlyConfiguredException,
    NotAuthorizedException,
    WebSocketDisconnect,
    WebSocketException,
)
from litestar.handlers import WebsocketRouteHandler
from litestar.logging import LoggingConfig
from websockets.asyncio.client import connect as open_connection

from snippets.testing import Refused, connect
from snippets.testing.server import serve

from .conftest import hear

Socket = WebSocket[Any, Any, Any]


async def test_the_parameter_must_be_called_socket():
    """A handler's parameter is called `websocket`
    → false: the app is not even made; it must be called `socket`.
    """

    @websocket("/")
    async def wrong(websocket: Socket) -> None:
        await websocket.accept()

    with pytest.raises(ImproperlyConfiguredException, match="a 'socket' par"):
        Litestar([wrong])

    @websocket("/")
    async def right(socket: Socket) -> None:
        await socket.close()

    Litestar([right])


def test_a_handler_is_async_and_returns_none_and_takes_no_data():
    """A `@websocket` handler is `async`, returns `None` and gets no `data`
    → true: anything else is refused when the app is made.
    """

    def not_async(socket: Socket) -> None: ...

    async def answers(socket: Socket) -> str:
        return "hello"

    async def takes_data(socket: Socket, data: str) -> None: ...

    wrong: list[tuple[Any, str]] = [
        (not_async, "must be asynchronous"),
        (answers, "must return 'None'"),
        (takes_data, "The data kwarg is not supported"),
    ]
    for handler, complaint in wrong:
        with pytest.raises(ImproperlyConfiguredException, match=complaint):
            Litestar([websocket("/")(handler)])


def test_a_handler_is_made_by_decorating():
    """`WebsocketRouteHandler(function, path="/")` makes a handler
    → false: its first argument is the path; decorate the function.
    """

    async def chat(socket: Socket) -> None: ...

    with pytest.raises(TypeError, match="multiple values for argument 'path'"):
        WebsocketRouteHandler(chat, path="/")  # ty: ignore

    Litestar([WebsocketRouteHandler("/")(chat)])


@pytest.mark.parametrize(
    "wrong", [{"connection_lifespan": []}, {"gaurds": []}], ids=str
)
def test_an_unknown_keyword_ends_up_in_opt(wrong: dict[str, Any]):
    """A decorator refuses keywords that it does not know
    → false: they go into `opt` without a word, so a typo just disappears.
    """

    @websocket("/", **wrong)
    async def chat(socket: Socket) -> None: ...

    Litestar([chat])
    assert chat.opt == wrong


def test_what_is_imported_from_where():
    """Handlers are imported from `litestar.handlers.websocket_handlers`
    → half true: all is in `litestar.handlers`, the decorators in `litestar`.
    """
    deep = importlib.import_module("litestar.handlers.websocket_handlers")
    for name in ("websocket", "websocket_listener", "websocket_stream"):
        assert getattr(litestar, name) is getattr(deep, name)
    for name in ("WebsocketListener", "send_websocket_stream"):
        assert getattr(litestar.handlers, name) is getattr(deep, name)
        assert not hasattr(litestar, name)


def test_starlette_is_not_used():
    """`WebSocketDisconnect` and `WebSocketState` come from Starlette
    → false: Litestar does not use it; see `litestar.exceptions`.
    """
    assert not any("starlette" in name for name in requires("litestar") or ())
    # It is here for a benchmark only, and what it raises is something else.
    theirs = importlib.import_module("starlette.websockets")
    assert not issubclass(theirs.WebSocketDisconnect, WebSocketDisconnect)
    assert not issubclass(WebSocketDisconnect, theirs.WebSocketDisconnect)
    assert issubclass(WebSocketDisconnect, WebSocketException)


def test_iter_data_has_a_mode_instead_of_siblings():
    """A socket has `iter_text()` and `iter_bytes()`
    → false: it is `iter_data(mode="text")` and `iter_data(mode="binary")`.
    """
    for name in ("iter_text", "iter_bytes"):
        assert not hasattr(WebSocket, name)
    for name in ("iter_data", "iter_json", "iter_msgpack"):
        assert hasattr(WebSocket, name)


async def test_the_state_is_a_string():
    """`socket.client_state` is a `WebSocketState`
    → false: neither exists; `socket.connection_state` is a string.
    """
    assert not hasattr(litestar.connection, "WebSocketState")
    assert not hasattr(WebSocket, "client_state")
    states: list[str] = []

    @websocket("/")
    async def chat(socket: Socket) -> None:
        states.append(socket.connection_state)
        await socket.accept()
        states.append(socket.connection_state)
        await socket.receive_text()
        states.append(socket.connection_state)
        with pytest.raises(WebSocketDisconnect):
            await socket.receive_text()
        states.append(socket.connection_state)

    async with connect(Litestar([chat])) as client:
        await client.send("hello")
    assert states == ["init", "connect", "receive", "disconnect"]


async def test_the_state_does_not_know_of_your_own_close():
    """A send is safe if the connection's state was looked at before
    → false: only receiving changes it; after `close()` it is unchanged.
    """
    states: list[str] = []

    @websocket("/")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        await socket.close()
        states.append(socket.connection_state)
        await socket.send_text("are you still there?")

    with pytest.raises(RuntimeError, match="after sending"):
        async with connect(Litestar([chat])) as client:
            assert [message async for message in client] == []
    assert states == ["connect"]


def test_there_are_constants_for_the_standard_codes_only():
    """`WS_4001_UNAUTHORIZED` is one of Litestar's status codes
    → false: they go from 1000 to 1015; those from 4000 on are yours to name.
    """
    names = [n for n in vars(litestar.status_codes) if n.startswith("WS_")]
    codes = {getattr(litestar.status_codes, name) for name in names}
    assert (min(codes), max(codes)) == (1000, 1015)
    assert "WS_1010_MANDATORY_EXT" in names  # and not ..._EXTENSION


async def test_an_exception_takes_its_detail_by_keyword():
    """`WebSocketException("no", code=4001)` says no
    → false: that is a TypeError, so a 4500; it must be `detail="no"`.
    """

    @websocket("/")
    async def wrong(socket: Socket) -> None:
        await socket.accept()
        raise WebSocketException("no", code=4001)  # ty: ignore

    @websocket("/")
    async def right(socket: Socket) -> None:
        await socket.accept()
        raise WebSocketException(detail="no", code=4001)

    _, closed = await hear(Litestar([wrong]))
    assert str(closed) == "4500 'Internal Server Error'"
    _, closed = await hear(Litestar([right]))
    assert str(closed) == "4001 'no'"


async def test_a_refusal_before_accept_is_an_empty_403():
    """Who is turned away before `accept()` gets the close code and reason
    → false: it is HTTP 403 without a body; to say why, accept and close.
    """
    refusal = WebSocketException(detail="no such token", code=4001)

    @websocket("/raises")
    async def raises(socket: Socket) -> None:
        raise refusal

    @websocket("/closes")
    async def closes(socket: Socket) -> None:
        await socket.close(refusal.code, refusal.detail)

    @websocket("/accepts")
    async def accepts(socket: Socket) -> None:
        await socket.accept()
        raise refusal

    async with serve(Litestar([raises, closes, accepts])) as server:
        for path in ("/raises", "/closes"):
            with pytest.raises(Refused) as refused:
                async with server.connect(path):
                    pass
            assert (refused.value.status, refused.value.body) == (403, "")
        async with server.connect("/accepts") as client:
            assert [message async for message in client] == []
            assert str(client.closed) == "4001 'no such token'"


@pytest.mark.xfail(reason="litestar #4111: open", raises=AssertionError)
async def test_an_http_exception_before_accept_is_answered_as_such():
    """`NotAuthorizedException` before `accept()` is HTTP 401
    → false: it is a 403 like every other refusal.
    """

    @websocket("/")
    async def members_only(socket: Socket) -> None:
        raise NotAuthorizedException("who are you?")

    async with serve(Litestar([members_only])) as server:
        with pytest.raises(Refused) as refused:
            async with server.connect():
                pass
    assert refused.value.status == 401


async def test_receiving_accepts():
    """Receiving before `accept()` is an error
    → false: receiving or sending accepts; a second `accept()` does nothing.
    """

    @websocket("/")
    async def chat(socket: Socket) -> None:
        await socket.send_text(await socket.receive_text())
        await socket.accept()
        await socket.close()

    heard, closed = await hear(Litestar([chat]), "hello")
    assert (heard, closed.code) == (["hello"], 1000)


async def test_accept_takes_one_subprotocol():
    """`accept(subprotocols=["chat.v1"])` chooses a subprotocol
    → false: it takes one `str`; a list is written out, brackets and all.
    """

    @websocket("/list")
    async def wrong(socket: Socket) -> None:
        await socket.accept(subprotocols=["chat.v1"])  # ty: ignore

    @websocket("/one")
    async def right(socket: Socket) -> None:
        await socket.accept(subprotocols="chat.v1")
        await socket.close()

    offer = ["chat.v1"]
    async with serve(Litestar([wrong, right])) as server:
        with pytest.raises(Refused, match=r"\['chat\.v1'\]"):
            async with server.connect("/list", subprotocols=offer):
                pass
        async with server.connect("/one", subprotocols=offer) as client:
            assert client.subprotocol == "chat.v1"


async def test_accept_takes_headers_as_a_mapping_or_as_bytes():
    """`accept(headers=...)` takes a sequence of pairs of `str`
    → false: a list of them is HTTP 403, a tuple is dropped without a word.
    """
    given: dict[str, Any] = {
        "/list": [("X-Room", "tea")],
        "/tuple": (("X-Room", "tea"),),
        "/bytes": [(b"X-Room", b"tea")],
        "/mapping": {"X-Room": "tea"},
    }

    @websocket(list(given))
    async def chat(socket: Socket) -> None:
        await socket.accept(headers=given[socket.url.path])
        await socket.close()

    async with serve(Litestar([chat])) as server:
        with pytest.raises(Refused, match="403"):
            async with server.connect("/list"):
                pass
        async with server.connect("/tuple") as client:
            assert "x-room" not in client.headers
        for path in ("/bytes", "/mapping"):
            async with server.connect(path) as client:
                assert client.headers["x-room"] == "tea"


async def test_returning_is_not_closing():
    """A handler that is done can just return
    → false: without `close()` the client sees the line go dead, 1006.
    """

    @websocket("/returns")
    async def wrong(socket: Socket) -> None:
        await socket.accept()

    @websocket("/closes")
    async def right(socket: Socket) -> None:
        await socket.accept()
        await socket.close()

    async with serve(Litestar([wrong, right])) as server:
        for path, code in (("/returns", 1006), ("/closes", 1000)):
            async with server.connect(path) as client:
                assert [message async for message in client] == []
                assert client.closed is not None
                assert client.closed.code == code


async def test_except_exception_and_close_fails_at_every_goodbye():
    """A receive loop ends well with `except Exception: await socket.close()`
    → false: it closes who has left, which raises, and calls a bug 1000.
    """
    errors: list[Exception] = []

    async def note(error: Exception, scope: Any) -> None:
        errors.append(error)

    @websocket("/")
    async def wrong(socket: Socket) -> None:
        await socket.accept()
        try:
            while True:
                number = int(await socket.receive_text())
                await socket.send_text(str(1 / number))
        except Exception:  # noqa: BLE001 - the wrong form
            await socket.close()

    app = Litestar([wrong], after_exception=[note])
    async with connect(app):
        pass
    assert [type(error) for error in errors] == [WebSocketDisconnect]
    assert str(errors.pop()) == "connection is disconnected"
    _, closed = await hear(app, "0")
    assert (closed.code, errors) == (1000, [])


async def test_a_loop_over_iter_data_needs_no_except():
    """Every receive loop needs `except WebSocketDisconnect`
    → half true: `receive_*` raises it; `iter_*` ends when the client leaves.
    """
    ends: list[str] = []

    @websocket("/receive")
    async def receives(socket: Socket) -> None:
        with pytest.raises(WebSocketDisconnect):
            await socket.receive_text()
        ends.append("receive_text raised")

    @websocket("/iterate")
    async def iterates(socket: Socket) -> None:
        async for _ in socket.iter_data(mode="text"):
            pass
        ends.append("iter_data ended")

    for path in ("/receive", "/iterate"):
        async with connect(Litestar([receives, iterates]), path):
            pass
    assert ends == ["receive_text raised", "iter_data ended"]


async def test_the_raw_receive_returns_the_disconnect():
    """`socket.receive()` raises `WebSocketDisconnect` when the client leaves
    → false: it returns the event, and raises only if it is called again.
    """
    ends: list[str] = []

    @websocket("/")
    async def raw(socket: Socket) -> None:
        await socket.accept()
        ends.append((await socket.receive())["type"])
        with pytest.raises(WebSocketDisconnect):
            await socket.receive()

    async with connect(Litestar([raw])):
        pass
    assert ends == ["websocket.disconnect"]


async def test_only_finally_cleans_up_after_a_bug():
    """`except WebSocketDisconnect` is the place to clean up
    → false: any other exception leaves the member behind; use `finally`.
    """
    members: set[str] = set()

    async def talk(socket: Socket) -> None:
        await socket.accept()
        while True:
            await socket.send_text(str(int(await socket.receive_text())))

    @websocket("/")
    async def wrong(socket: Socket) -> None:
        members.add("wrong")
        try:
            await talk(socket)
        except WebSocketDisconnect:
            members.remove("wrong")

    @websocket("/")
    async def right(socket: Socket) -> None:
        members.add("right")
        try:
            await talk(socket)
        finally:
            members.remove("right")

    for handler in (wrong, right):
        await hear(Litestar([handler]), "two")
    assert members == {"wrong"}


async def test_sending_to_who_has_gone_raises_oserror():
    """Sending to a client that has gone raises `WebSocketDisconnect`
    → half true: on uvicorn it is an `OSError` until the news is received.
    """
    raised: asyncio.Queue[Exception] = asyncio.Queue()

    @websocket("/")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        for _ in range(2):
            try:
                while True:
                    await socket.send_text("tick")
                    await asyncio.sleep(0)
            except Exception as error:  # noqa: BLE001 - to look at it
                raised.put_nowait(error)
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass

    async with serve(Litestar([chat])) as server:
        async with server.connect() as client:
            await client.receive()
        async with asyncio.timeout(5):
            first, second = await raised.get(), await raised.get()
    assert isinstance(first, OSError)
    assert not isinstance(first, WebSocketDisconnect)
    assert isinstance(second, WebSocketDisconnect)


async def test_a_dead_line_has_no_code_to_rely_on():
    """A line that goes dead reaches the app as 1006
    → false: uvicorn says 1005, as if the client had closed without a code.
    """
    code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @websocket("/")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        event: Any = await socket.receive()
        code.set_result(event["code"])

    async with (
        serve(Litestar([chat])) as server,
        open_connection(server.url) as client,
    ):
        client.transport.abort()
        assert await asyncio.wait_for(code, 5) == 1005


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/closes", "4500 'Internal Server Error'"), ("/raises", "1006")],
)
async def test_a_long_reason_breaks_the_close(path: str, expected: str):
    """`close(1011, reason=str(error))` tells the client what happened
    → false: over 123 bytes the code is lost, too; and it may tell secrets.
    """
    long = "x" * 124

    @websocket("/closes")
    async def closes(socket: Socket) -> None:
        await socket.accept()
        await socket.close(1011, long)

    @websocket("/raises")
    async def raises(socket: Socket) -> None:
        await socket.accept()
        raise WebSocketException(detail=long, code=1011)

    async with (
        serve(Litestar([closes, raises])) as server,
        server.connect(path) as client,
    ):
        assert [message async for message in client] == []
        assert str(client.closed) == expected


async def test_errors_are_not_logged():
    """An exception in a handler is logged
    → false: only in debug mode, or with `log_exceptions="always"`.
    """
    logged: list[str] = []

    def note(logger: Any, scope: Any, lines: list[str]) -> None:
        logged.append(lines[-1].strip())

    @websocket("/")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        raise LookupError("no such room")

    default = LoggingConfig(exception_logging_handler=note)
    await hear(Litestar([chat], logging_config=default))
    assert logged == []
    always = LoggingConfig(
        exception_logging_handler=note, log_exceptions="always"
    )
    await hear(Litestar([chat], logging_config=always))
    assert logged == ["LookupError: no such room"]
