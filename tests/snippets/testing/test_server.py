"""serve() runs a real server, and connect() behaves as its wire does."""

import asyncio
import logging
import signal
import socket as sockets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
import pytest
from litestar import Litestar, WebSocket, get, websocket
from litestar.exceptions import NotAuthorizedException, WebSocketException

from snippets.testing import server as module
from snippets.testing.client import (
    ASGIApp,
    Client,
    Closed,
    Refused,
)
from snippets.testing.in_process import connect
from snippets.testing.server import Server, serve

SOON = 0.05
"""A time-out that is meant to pass, and nothing has to happen before it."""

LATER = 0.5
"""One before which something has to happen, on a busy machine, too."""

Socket = WebSocket[Any, Any, Any]
Note = Callable[[object], None]
Handler = Callable[[Socket, Note], Awaitable[None]]
Scenario = Callable[[Client, Note], Awaitable[None]]
IMPLEMENTATIONS = ["websockets-sansio", "wsproto"]


def app_of(handler: Callable[[Socket], Awaitable[None]]) -> ASGIApp:
    """Make an app of one handler, with nothing between it and the server."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await handler(WebSocket(scope, receive, send))

    return app


async def echo_text(socket: Socket) -> None:
    await socket.accept()
    async for text in socket.iter_data("text"):
        await socket.send_text(text)


async def close_at_once(socket: Socket) -> None:
    await socket.accept()
    await socket.close(4000, "bye")


async def fail(socket: Socket) -> None:
    await socket.accept()
    raise Mistake("as planned")


class Mistake(Exception):
    """What goes wrong in these tests."""


def tasks() -> set[asyncio.Task[Any]]:
    """List what runs in this loop, but for the test runner's own tasks."""
    return {
        task
        for task in asyncio.all_tasks()
        if "TestRunner" not in repr(task.get_coro())
    }


@pytest.fixture(autouse=True)
async def nothing_is_left(anyio_backend: str) -> AsyncGenerator[None]:
    before = tasks()
    yield
    if late := tasks() - before:
        _, left = await asyncio.wait(late, timeout=5)
        assert left == set()


# -- connect() and the wire --------------------------------------------------


async def put(socket: Socket, kind: str, **fields: Any) -> None:
    """Send an ASGI message as it is."""
    message: Any = {"type": f"websocket.{kind}", **fields}
    await socket.send(message)


async def echo(socket: Socket, note: Note) -> None:
    await socket.accept()
    while True:
        message: Any = await socket.receive()
        if message["type"] == "websocket.disconnect":
            note((message["code"], message["reason"]))
            return
        await socket.send({**message, "type": "websocket.send"})


async def raise_an_error(socket: Socket, note: Note) -> None:
    await socket.accept()
    raise Mistake


async def raise_a_close(socket: Socket, note: Note) -> None:
    await socket.accept()
    raise WebSocketException(detail="enough", code=4001)


async def return_without_a_close(socket: Socket, note: Note) -> None:
    await socket.accept()
    await socket.send_text("word")


async def close_before_accepting(socket: Socket, note: Note) -> None:
    await socket.close(4003, "not you")


async def fail_before_accepting(socket: Socket, note: Note) -> None:
    raise NotAuthorizedException("not you")


async def never_accept(socket: Socket, note: Note) -> None:
    pass


async def deny(socket: Socket, note: Note) -> None:
    await socket.receive()
    await put(socket, "http.response.start", status=401, headers=[])
    await put(socket, "http.response.body", body=b"log ", more_body=True)
    await put(socket, "http.response.body", body=b"in")


def close_with(code: int, reason: str = "") -> Handler:
    async def close(socket: Socket, note: Note) -> None:
        await socket.accept()
        await socket.close(code, reason)

    return close


async def close_and_listen(socket: Socket, note: Note) -> None:
    await close_with(4000, "bye")(socket, note)
    message: Any = await socket.receive()
    note((message["code"], message["reason"]))


async def close_twice(socket: Socket, note: Note) -> None:
    await close_with(4000)(socket, note)
    try:
        await socket.close(4001)
    except RuntimeError as error:
        note(error)


async def send_after_the_close(socket: Socket, note: Note) -> None:
    await close_with(4000)(socket, note)
    try:
        await socket.send_text("x")
    except RuntimeError as error:
        note(error)


async def send_for_ever(socket: Socket, note: Note) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text("tick")
            await asyncio.sleep(0)
    except OSError:
        note("OSError")


async def wait_for_something_cancelled(socket: Socket, note: Note) -> None:
    await socket.accept()
    task = asyncio.ensure_future(asyncio.Event().wait())
    task.cancel()
    await task


async def look_around(socket: Socket, note: Note) -> None:
    scope: Any = socket.scope
    for key in ("path", "raw_path", "query_string", "subprotocols", "scheme"):
        note((key, scope[key]))
    note((scope["asgi"], scope["http_version"], scope["extensions"]))
    note((socket.headers["x-trace"], socket.cookies))
    await socket.accept(subprotocols="b", headers={"X-Answer": "42"})
    await socket.close()


async def choose_what_was_not_offered(socket: Socket, note: Note) -> None:
    await socket.accept(subprotocols="v9")


async def listen(client: Client, note: Note) -> None:
    async for message in client:
        note(message)
    note(str(client.closed))


async def say_what_comes_back(client: Client, note: Note) -> None:
    for message in ("hello", "", "¡ø🙂", b"\xff\x00", b"", "x" * 2**20):
        await client.send(message)
        note(await client.receive() == message)
    await client.send(b"x" * 2**20)
    note(await client.receive() == b"x" * 2**20)


async def close_with_words(client: Client, note: Note) -> None:
    await client.close(3001, "lunch")
    for call in (client.send("x"), client.receive(), client.receive_json()):
        with pytest.raises(Closed) as caught:
            await call
        note(str(caught.value))
    await client.close()
    note(str(client.closed))


async def close_second(client: Client, note: Note) -> None:
    note(await client.receive())
    await client.close(3001)
    note(str(client.closed))


async def accept_with_text(socket: WebSocket, note: Note) -> None:
    headers: Any = [("X-Answer", "yes")]
    await socket.accept(headers=headers)


async def fail_in_the_block(client: Client, note: Note) -> None:
    raise Mistake


async def leave(client: Client, note: Note) -> None:
    pass


async def leave_after_a_message(client: Client, note: Note) -> None:
    note(await client.receive())


async def read_the_answer(client: Client, note: Note) -> None:
    note((client.subprotocol, client.headers["x-answer"]))
    await listen(client, note)


@dataclass
class Case:
    """A handler, what a client does, and what both of them get."""

    handler: Handler
    scenario: Scenario = listen
    client: list[object] = field(default_factory=list)
    app: list[object] = field(default_factory=list)
    fails: bool = False
    """Whether an error leaves the app, to be logged or raised."""
    wsproto: list[object] | None = None
    """What the client gets from uvicorn's other implementation."""
    path: str = ""
    options: dict[str, Any] = field(default_factory=dict)


AFTER_CLOSE = (
    "Unexpected ASGI message 'websocket.{}', after sending 'websocket.close'."
)
LONG = "x" * 124
CASES = {
    "echo": Case(echo, say_what_comes_back, [True] * 7, [(1000, "")]),
    "client closes": Case(
        echo,
        close_with_words,
        ["3001 'lunch'"] * 4,
        [(3001, "lunch")],
    ),
    "client leaves": Case(echo, leave, app=[(1000, "")]),
    "client fails": Case(echo, fail_in_the_block, ["Mistake()"], [(1000, "")]),
    "send to a gone client": Case(
        send_for_ever, leave_after_a_message, ["tick"], ["OSError"]
    ),
    "error": Case(raise_an_error, client=["4500 'Internal Server Error'"]),
    "error with a code": Case(raise_a_close, client=["4001 'enough'"]),
    "return without a close": Case(
        return_without_a_close, client=["word", "1006"]
    ),
    "waiting for something cancelled": Case(
        wait_for_something_cancelled, client=["1006"], fails=True
    ),
    "close before accept": Case(
        close_before_accepting, client=["Refused: HTTP 403"]
    ),
    "error before accept": Case(
        fail_before_accepting, client=["Refused: HTTP 403"]
    ),
    "headers that are no bytes": Case(
        accept_with_text, client=["Refused: HTTP 403"], wsproto=["1006"]
    ),
    "unknown path": Case(
        echo, client=["Refused: HTTP 403"], path="/nowhere/at/all"
    ),
    "never accepts": Case(
        never_accept, client=["Refused: HTTP 500 'Internal Server Error'"]
    ),
    "denial": Case(deny, client=["Refused: HTTP 401 'log in'"]),
    "own close": Case(close_with(4000, "bye"), client=["4000 'bye'"]),
    "own close, then listening": Case(
        close_and_listen, client=["4000 'bye'"], app=[(4000, "bye")]
    ),
    "close twice": Case(
        close_twice, client=["4000"], app=[AFTER_CLOSE.format("close")]
    ),
    "send after the close": Case(
        send_after_the_close, client=["4000"], app=[AFTER_CLOSE.format("send")]
    ),
    "longest reason": Case(
        close_with(4000, "é" * 61), client=[f"4000 '{'é' * 61}'"]
    ),
    "over-long reason": Case(
        close_with(4000, LONG),
        client=["4500 'Internal Server Error'"],
        wsproto=[f"4000 '{'x' * 123}'"],
    ),
    **{
        f"code {code}": Case(close_with(code), client=[str(code)])
        for code in (1001, 1003, 1007, 1011, 1014, 3000, 4999)
    },
    **{
        f"code {code}": Case(
            close_with(code),
            client=["4500 'Internal Server Error'"],
            wsproto=["1000" if code in (1005, 1006, 1015) else "1006"],
        )
        for code in (999, 1004, 1005, 1006, 1015, 1016, 2999, 5000)
    },
    "what the handshake asks": Case(
        look_around,
        read_the_answer,
        [("b", "42"), "1000"],
        [
            ("path", "/what the handshake asks/ü b"),
            ("raw_path", b"/what%20the%20handshake%20asks/%C3%BC%20b"),
            ("query_string", b"q=1&r=%C3%BC+%26"),
            ("subprotocols", ["a", "b"]),
            ("scheme", "ws"),
            (
                {"version": "3.0", "spec_version": "2.4"},
                "1.1",
                {"websocket.http.response": {}},
            ),
            ("7", {"one": "1", "two": "2"}),
        ],
        path="/what the handshake asks/ü%20b?q=1",
        options={
            "params": {"r": "ü &"},
            "headers": {"X-Trace": "7"},
            "cookies": {"one": "1", "two": "2"},
            "subprotocols": ["a", "b"],
        },
    ),
    "unoffered subprotocol": Case(
        choose_what_was_not_offered,
        client=["Refused: HTTP 101"],
        options={"subprotocols": ["v1"]},
    ),
}


class Stage:
    """An app in which every case has a path, and what its handler noted."""

    def __init__(self) -> None:
        self.notes: list[object] = []
        self.ended = asyncio.Event()
        self.app = Litestar(
            [self.route(name, case) for name, case in CASES.items()],
            openapi_config=None,
            logging_config=None,
        )

    def note(self, what: object) -> None:
        self.notes.append(str(what) if isinstance(what, Exception) else what)

    def route(self, name: str, case: Case) -> Any:
        async def handler(socket: WebSocket) -> None:
            try:
                await case.handler(socket, self.note)
            finally:
                self.ended.set()

        rest = ["/" + name, f"/{name}/{{rest:str}}"]
        return websocket(rest)(handler)

    async def play(
        self,
        connection: AbstractAsyncContextManager[Client],
        case: Case,
    ) -> tuple[list[object], list[object], bool]:
        """Let a client act; tell what it and the app got, and of a failure."""
        saw: list[object] = []
        fails = False
        try:
            async with connection as client:
                try:
                    await case.scenario(client, saw.append)
                except Mistake as error:
                    saw.append(repr(error))
                    raise
        except Mistake:
            pass
        except Refused as refused:
            # Each client has its own words for an answer it does not take.
            short = Refused(101) if refused.status == 101 else refused
            saw.append(f"Refused: {short}")
        except RuntimeError:
            fails = True
        if "nowhere" not in case.path:
            await asyncio.wait_for(self.ended.wait(), 5)
        notes, self.notes = self.notes, []
        self.ended.clear()
        return saw, notes, fails


@pytest.fixture(scope="module")
def here() -> Stage:
    return Stage()


@dataclass
class Wire:
    """A stage that is served."""

    implementation: str
    server: Server
    stage: Stage


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
async def wire(
    request: pytest.FixtureRequest, anyio_backend: str
) -> AsyncGenerator[Wire]:
    stage = Stage()
    async with serve(stage.app, ws=request.param) as server:
        yield Wire(request.param, server, stage)


@pytest.mark.parametrize("name", CASES)
async def test_connect_gets_what_the_wire_brings(
    name: str, here: Stage, wire: Wire
):
    case = CASES[name]
    path = case.path or f"/{name}"
    got = await here.play(connect(here.app, path, **case.options), case)
    assert got == (case.client, case.app, case.fails)

    wire.server.log.clear()
    connection = wire.server.connect(path, **case.options)
    saw, notes, _ = await wire.stage.play(connection, case)
    if wire.implementation == "wsproto" and case.wsproto is not None:
        assert saw == case.wsproto
    else:
        assert saw == case.client
    assert notes == case.app
    if "Refused" not in str(saw[:1]):
        assert bool(wire.server.log) == case.fails


# -- serve() -----------------------------------------------------------------


async def test_the_server_is_ready_when_it_says_so():
    async with serve(app_of(echo_text)) as server:
        for _ in range(3):
            async with server.connect() as client:
                await client.send("hello")
                assert await client.receive() == "hello"
        assert server.log == []
    with pytest.raises(OSError, match=r"refused|failed"):
        async with server.connect():
            pytest.fail("nobody is connected")


async def test_http_goes_the_same_way():
    @get("/hello")
    async def hello() -> str:
        return "hello"

    app = Litestar([hello], openapi_config=None, logging_config=None)
    async with serve(app) as server, httpx.AsyncClient() as http:
        answer = await http.get(server.http_url + "/hello")
    assert answer.text == "hello"


async def test_a_message_may_be_larger_than_a_browser_would_mind():
    async def send_much(socket: Socket) -> None:
        await socket.accept()
        await socket.send_text("x" * 2**21)
        await socket.close()

    async with serve(app_of(send_much)) as server, server.connect() as client:
        assert len(await client.receive()) == 2**21


@pytest.mark.parametrize(
    ("implementation", "protocol"),
    [
        ("wsproto", "WSProtocol"),
        ("websockets-sansio", "WebSocketsSansIOProtocol"),
    ],
)
async def test_options_go_to_uvicorn(implementation: str, protocol: str):
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        seen.append(type(receive.__self__).__name__)
        await close_at_once(WebSocket(scope, receive, send))

    options = {"ws": implementation, "headers": [("x-answer", "42")]}
    async with serve(app, **options) as server, server.connect() as client:
        assert client.headers["X-Answer"] == "42"
    assert seen == [protocol]


async def test_the_log_has_a_line_for_every_error():
    async with serve(app_of(fail)) as server:
        for _ in range(2):
            async with server.connect() as client:
                with pytest.raises(Closed, match="1006"):
                    await client.receive()
    line = "Exception in ASGI application: Mistake: as planned"
    assert server.log == [line] * 2


async def test_the_log_keeps_warnings_and_leaves_out_the_rest(
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.DEBUG)

    async def chat(socket: Socket) -> None:
        logger = logging.getLogger("uvicorn.error")
        logger.info("hm")
        logger.warning("look %s", "out")
        await close_at_once(socket)

    async with serve(app_of(chat)) as server, server.connect() as client:
        assert [message async for message in client] == []
    assert server.log == ["look out"]
    assert not [r for r in caplog.records if r.name == "uvicorn.error"]


async def test_servers_can_run_side_by_side_each_with_its_log():
    async with AsyncExitStack() as stack:
        other = serve(app_of(fail))
        one = await other.__aenter__()
        two = await stack.enter_async_context(serve(app_of(echo_text)))
        assert one.port != two.port
        async with one.connect() as client:
            with pytest.raises(Closed):
                await client.receive()
        await other.__aexit__(None, None, None)  # before its neighbour
        async with two.connect() as client:
            await client.send("still here")
            assert await client.receive() == "still here"
    assert len(one.log) == 1
    assert two.log == []


async def test_logger_and_signals_are_as_before():
    def state() -> tuple[object, ...]:
        logger = logging.getLogger("uvicorn.error")
        return (
            *(logger.level, logger.propagate, logger.disabled),
            *(logger.handlers[:], logger.filters[:]),
        )

    def handlers() -> list[object]:
        return [
            signal.getsignal(number)
            for number in (signal.SIGINT, signal.SIGTERM)
        ]

    logger_before, signals_before = state(), handlers()
    async with serve(app_of(echo_text)):
        assert handlers() == signals_before
    assert (state(), handlers()) == (logger_before, signals_before)


# -- when it cannot start ----------------------------------------------------


async def never_served() -> None:
    pytest.fail("the app is served")


async def test_a_failure_at_the_start_is_reported_with_what_was_logged():
    async def no_database() -> None:
        raise Mistake("no database")

    app = Litestar([], on_startup=[no_database], logging_config=None)
    with pytest.raises(RuntimeError) as caught:
        async with serve(app):
            await never_served()
    first, *rest = str(caught.value).splitlines()
    assert first == "the app did not start:"
    assert "Mistake: no database" in rest[0]
    assert rest[-1] == "Application startup failed. Exiting."


async def test_a_port_that_is_taken_is_reported():
    with sockets.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match="address already in use"):
            async with serve(app_of(echo_text), port=port):
                await never_served()


async def test_an_error_of_uvicorn_itself_is_raised_as_it_is():
    with pytest.raises(Exception, match="nonsense"):
        async with serve(app_of(echo_text), ws="nonsense:nonsense"):
            await never_served()


async def stuck_at_start(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "lifespan"
    await receive()
    await asyncio.Event().wait()


async def test_an_app_that_does_not_start_in_time_is_reported(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "_PATIENCE", SOON)
    with pytest.raises(RuntimeError, match=r"no answer within 0\.05 s"):
        async with serve(stuck_at_start):
            await never_served()


async def test_a_start_can_be_cancelled():
    async def cancel_at_start(_: Any, receive: Any, send: Any) -> None:
        await receive()
        scope.cancel()
        await asyncio.Event().wait()

    with anyio.CancelScope() as scope:
        async with serve(cancel_at_start):
            await never_served()
    assert scope.cancelled_caught


# -- when it stops -----------------------------------------------------------


async def test_a_client_that_is_still_there_is_told():
    async with AsyncExitStack() as clients:
        async with serve(app_of(echo_text)) as server:
            client = await clients.enter_async_context(server.connect())
        with pytest.raises(Closed, match=r"^1012$"):
            await client.receive()
    assert server.log == []


async def test_a_handler_that_is_stuck_is_cancelled():
    cancelled = []

    async def wait_for_ever(socket: Socket) -> None:
        await socket.accept()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    app = app_of(wait_for_ever)
    options = {"timeout_graceful_shutdown": SOON}
    async with serve(app, **options) as server, server.connect():
        pass
    assert cancelled == [True]
    assert "Cancel 1 running task(s)" in server.log[0]


async def test_the_lifespan_ends_with_the_server():
    events: list[str] = []
    app = Litestar(
        [],
        on_startup=[lambda: events.append("start")],
        on_shutdown=[lambda: events.append("stop")],
        logging_config=None,
    )
    async with serve(app):
        assert events == ["start"]
    assert events == ["start", "stop"]


async def test_an_app_that_does_not_stop_is_reported(
    monkeypatch: pytest.MonkeyPatch,
):
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    app = Litestar([], on_shutdown=[wait_for_ever], logging_config=None)
    with pytest.raises(RuntimeError, match="the app did not stop"):
        async with serve(app):
            # uvicorn takes 0.2 s to ask the app to stop.
            monkeypatch.setattr(module, "_PATIENCE", LATER)


async def test_an_error_in_the_block_stops_the_server():
    with pytest.raises(Mistake):
        async with serve(app_of(echo_text)):
            raise Mistake


async def test_a_cancelled_block_stops_the_server():
    events: list[str] = []
    stop = [lambda: events.append("stop")]
    app = Litestar([], on_shutdown=stop, logging_config=None)
    with anyio.CancelScope() as scope:
        async with serve(app):
            scope.cancel()
            await asyncio.Event().wait()
    assert scope.cancelled_caught
    assert events == ["stop"]


async def test_a_server_that_fails_meanwhile_is_reported():
    called = asyncio.Event()

    async def fail_to_notify() -> None:
        called.set()
        raise Mistake

    app = app_of(echo_text)
    with pytest.raises(Mistake):
        async with serve(
            app, callback_notify=fail_to_notify, timeout_notify=0
        ):
            await asyncio.wait_for(called.wait(), 5)


# -- the client --------------------------------------------------------------


async def test_a_handshake_that_times_out_says_so():
    async def think(socket: Socket) -> None:
        await asyncio.Event().wait()

    app = app_of(think)
    async with serve(app, timeout_graceful_shutdown=SOON) as server:
        with pytest.raises(TimeoutError) as caught:
            async with server.connect("/thinker", timeout=LATER):
                pytest.fail("nobody is connected")
    text = "connecting to /thinker: the app neither accepted nor refused"
    assert str(caught.value) == f"{text} within 0.5 s"


async def test_a_wait_that_times_out_loses_no_message():
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(app_of(echo_text)))
        connection = server.connect(timeout=9)
        client = await stack.enter_async_context(connection)
        assert client.timeout == 9
        client.timeout = SOON  # for this wait alone
        with pytest.raises(TimeoutError, match="waiting for a message"):
            await client.receive()
        client.timeout = 9
        await client.send("still here")
        assert await client.receive() == "still here"


async def test_a_client_that_closes_second_knows_who_was_first():
    async def close_and_say_so(socket: Socket) -> None:
        await close_at_once(socket)
        closed.set()

    closed = asyncio.Event()
    app = app_of(close_and_say_so)
    async with serve(app) as server, server.connect() as client:
        await asyncio.wait_for(closed.wait(), 5)
        await until_it_says_so(client)
        await client.close(1000, "second")
        assert str(client.closed) == "4000 'bye'"


async def until_it_says_so(client: Client) -> None:
    """Send until the close has arrived."""
    while True:
        try:
            await client.send("x")
        except Closed:
            return
