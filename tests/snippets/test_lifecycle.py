"""Whatever ends a connection, its client is told once, and truly."""

import asyncio
import socket as sockets
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from litestar import Litestar, WebSocket, websocket, websocket_listener
from litestar.exceptions import (
    NotAuthorizedException,
    WebSocketDisconnect,
    WebSocketException,
)
from litestar.types import Receive, Scope, Send
from websockets.asyncio.client import connect as open_connection

from snippets.closing import close
from snippets.lifecycle import lifecycle
from snippets.testing import Client, Closed, connect
from snippets.testing.server import Server, serve

Socket = WebSocket[Any, Any, Any]
Act = Callable[[Socket], Awaitable[None]]
SOON = 0.05
"""A time-out that is meant to pass, and nothing has to happen before it."""


class Mistake(Exception):
    """What goes wrong in these tests."""


async def end(socket: Socket) -> None:
    """Do nothing, so that the block ends, or the listener listens on."""


async def fail(socket: Socket) -> None:
    raise Mistake("a secret")


async def raise_a_close(socket: Socket) -> None:
    raise WebSocketException(detail="enough", code=4001)


async def raise_a_clean_close(socket: Socket) -> None:
    raise WebSocketException(detail="done", code=1000)


async def raise_a_close_that_cannot_be_sent(socket: Socket) -> None:
    raise WebSocketException(detail="x" * 200, code=1006)


async def raise_an_http_error(socket: Socket) -> None:
    raise NotAuthorizedException("log in again")


async def close_directly(socket: Socket) -> None:
    await socket.close(4000, "bye")


async def close_with_closing(socket: Socket) -> None:
    await close(socket, 4000, "bye")


async def close_twice(socket: Socket) -> None:
    await close(socket, 4000, "bye")
    await close(socket, 4002, "bye again")


async def close_and_send(socket: Socket) -> None:
    await close(socket, 4000, "bye")
    await socket.send_text("one more thing")


async def close_and_listen(socket: Socket) -> None:
    await close(socket, 4000, "bye")
    await socket.receive_text()


async def close_and_raise_a_close(socket: Socket) -> None:
    await close(socket, 4000, "bye")
    raise WebSocketException(detail="enough", code=4001)


async def meet_anothers_leaving(socket: Socket) -> None:
    raise WebSocketDisconnect(detail="somebody else has gone", code=1001)


async def fail_in_a_task_group(socket: Socket) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(raise_a_close(socket))


async def send_what_cannot_be_encoded(socket: Socket) -> None:
    await socket.send_json({"x": object()})


async def close_and_fail(socket: Socket) -> None:
    await close(socket, 4000, "bye")
    raise Mistake("a secret")


@dataclass
class Way:
    """A way to end a connection, and what should come of it."""

    act: Act
    ending: str
    logged: bool = False
    """Whether the server has a reason to log an error."""


ENDS = [
    Way(fail, "1011 'internal error'"),
    Way(raise_a_close, "4001 'enough'"),
    Way(raise_a_clean_close, "1000 'done'"),
    Way(raise_a_close_that_cannot_be_sent, f"1011 '{'x' * 120}…'"),
    Way(raise_an_http_error, "4401 'log in again'"),
    Way(close_directly, "4000 'bye'"),
    Way(close_with_closing, "4000 'bye'"),
    Way(close_twice, "4000 'bye'"),
    Way(close_and_send, "4000 'bye'"),
    Way(close_and_listen, "4000 'bye'"),
    Way(close_and_raise_a_close, "4000 'bye'"),
    Way(meet_anothers_leaving, "1011 'internal error'"),
    Way(fail_in_a_task_group, "4001 'enough'"),
    Way(send_what_cannot_be_encoded, "1011 'internal error'"),
    # The error is a bug, and the log has to say so.
    Way(close_and_fail, "4000 'bye'", logged=True),
]


class Host:
    """An app that does what a test chooses, as a handler or a listener."""

    def __init__(self) -> None:
        self.act: Act = end
        self.notes: list[str] = []
        self.closes: list[Any] = []
        self.errors: list[BaseException] = []
        self.log: list[str] = []
        self.inside, self.ended = asyncio.Event(), asyncio.Event()
        self.connect: Callable[[str], AbstractAsyncContextManager[Client]]
        self.server: Server
        self.litestar = Litestar(
            [
                websocket("/handler")(self.handler),
                websocket("/accepted")(self.accepted),
                websocket("/timed")(self.timed),
                websocket("/scoped")(self.scoped),
                websocket_listener(
                    "/listener", connection_lifespan=self.lifespan
                )(self.listener),
                websocket_listener("/plain", connection_lifespan=lifecycle)(
                    self.plain
                ),
            ],
            after_exception=[self.after_exception],
            openapi_config=None,
            logging_config=None,
        )

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write down every close that leaves the app."""

        async def watched(message: Any) -> None:
            await send(message)
            if message["type"] == "websocket.close":
                self.closes.append((message["code"], message["reason"]))

        await self.litestar(scope, receive, watched)

    async def after_exception(self, error: Exception, scope: Scope) -> None:
        self.errors.append(error)

    async def handler(self, socket: WebSocket) -> None:
        try:
            async with lifecycle(socket):
                self.inside.set()
                await self.act(socket)
            self.notes.append("after")
        finally:
            self.notes.append("finally")
            self.ended.set()

    async def accepted(self, socket: WebSocket) -> None:
        await socket.accept(headers={"X-Room": "lobby"})
        async with lifecycle(socket):
            await socket.send_text("hello")

    async def timed(self, socket: WebSocket) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as limit, lifecycle(socket):
                limit.reschedule(0)  # time is up, but not before the accept
                await asyncio.Event().wait()

    async def scoped(self, socket: WebSocket) -> None:
        with anyio.CancelScope() as scope:
            async with lifecycle(socket):
                scope.cancel()
                await asyncio.Event().wait()

    @asynccontextmanager
    async def lifespan(self, socket: WebSocket) -> AsyncGenerator[None]:
        try:
            async with lifecycle(socket):
                self.inside.set()
                yield
            self.notes.append("after")
        finally:
            self.notes.append("finally")
            self.ended.set()

    async def listener(self, data: str, socket: WebSocket) -> None:
        await self.act(socket)

    async def plain(self, data: str, socket: WebSocket) -> str:
        await self.act(socket)
        return data.upper()

    def prepare(self, act: Act) -> None:
        self.act = act
        for diary in (self.notes, self.closes, self.errors, self.log):
            diary.clear()
        self.inside.clear()
        self.ended.clear()

    async def visit(self, act: Act, path: str) -> str:
        """Connect, make the app act, and tell how the connection ended."""
        self.prepare(act)
        async with self.connect(path) as client:
            if path != "/handler":
                await client.send("go")
            async for _ in client:
                pass
            ending = str(client.closed)
        if path != "/plain":
            await asyncio.wait_for(self.ended.wait(), 5)
        return ending


@pytest.fixture(
    scope="module", params=["in process", "websockets-sansio", "wsproto"]
)
async def host(
    request: pytest.FixtureRequest, anyio_backend: str
) -> AsyncGenerator[Host]:
    host = Host()
    if request.param == "in process":
        host.connect = lambda path: connect(host.app, path)
        yield host
    else:
        async with serve(host.app, ws=request.param) as server:
            host.server = server
            host.connect, host.log = server.connect, server.log
            yield host


@pytest.mark.parametrize("path", ["/handler", "/listener", "/plain"])
@pytest.mark.parametrize("way", ENDS, ids=lambda way: way.act.__name__)
async def test_every_ending_closes_once_with_the_right_code(
    host: Host, way: Way, path: str
):
    try:
        assert await host.visit(way.act, path) == way.ending
        failed = bool(host.log)
    except RuntimeError:  # what connect() raises, a server logs
        failed = True
    assert len(host.closes) == 1
    assert failed == way.logged


async def test_the_end_of_the_block_closes_with_1000(host: Host):
    assert await host.visit(end, "/handler") == "1000"
    assert host.closes == [(1000, "")]
    assert host.notes == ["after", "finally"]
    assert host.errors == host.log == []


async def test_the_error_is_the_cause_of_the_close(host: Host):
    await host.visit(fail, "/handler")
    assert [type(error) for error in host.errors] == [WebSocketException]
    assert isinstance(host.errors[0].__cause__, Mistake)
    assert host.notes == ["finally"]


async def test_a_listener_answers_until_it_ends(host: Host):
    host.prepare(end)
    async with host.connect("/plain") as client:
        for word in ("one", "two"):
            await client.send(word)
            assert await client.receive() == word.upper()
    assert host.closes == host.errors == host.log == []


async def test_a_connection_may_be_accepted_before(host: Host):
    host.prepare(end)
    async with host.connect("/accepted") as client:
        assert client.headers["x-room"] == "lobby"
        assert [message async for message in client] == ["hello"]
        assert str(client.closed) == "1000"


@pytest.mark.parametrize("path", ["/timed", "/scoped"])
async def test_a_block_that_is_cancelled_closes_with_1011(
    host: Host, path: str
):
    host.prepare(end)
    async with host.connect(path) as client:
        assert [message async for message in client] == []
        assert str(client.closed) == "1011 'cancelled'"
    assert host.closes == [(1011, "cancelled")]
    assert host.errors == host.log == []


async def test_in_a_task_group_a_leaving_client_is_no_error(host: Host):
    async def two_tasks(socket: Socket) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listen(socket))
            tasks.create_task(asyncio.Event().wait())

    host.prepare(two_tasks)
    async with host.connect("/handler"):
        await asyncio.wait_for(host.inside.wait(), 5)
    await asyncio.wait_for(host.ended.wait(), 5)
    assert_it_ended_quietly(host)


async def test_several_errors_at_once_close_with_1011(host: Host):
    async def two_failures(socket: Socket) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(raise_a_close(socket))
            tasks.create_task(fail(socket))

    ending = await host.visit(two_failures, "/handler")
    assert ending == "1011 'internal error'"


async def test_a_close_from_elsewhere_stands(host: Host):
    # What a room does with a client that has to go.
    async def listen(socket: Socket) -> None:
        closing = asyncio.ensure_future(close(socket, 4409, "elsewhere"))
        async for _ in socket.iter_data("text"):
            pass
        assert await closing

    assert await host.visit(listen, "/handler") == "4409 'elsewhere'"
    assert host.notes == ["after", "finally"]
    assert host.closes == [(4409, "elsewhere")]
    assert host.errors == host.log == []


# -- a client that goes ------------------------------------------------------


async def listen(socket: Socket) -> None:
    await socket.receive_text()


async def iterate(socket: Socket) -> None:
    async for _ in socket.iter_data("text"):
        pass


async def speak(socket: Socket) -> None:
    while True:
        await socket.send_text("tick")
        await asyncio.sleep(0)


def assert_it_ended_quietly(host: Host) -> None:
    assert host.notes == ["after", "finally"]
    assert host.errors == host.log == []


@pytest.mark.parametrize("act", [listen, iterate, speak])
@pytest.mark.parametrize("code", [1000, 3001])
async def test_a_client_may_close(host: Host, act: Act, code: int):
    host.prepare(act)
    async with host.connect("/handler") as client:
        await asyncio.wait_for(host.inside.wait(), 5)
        await client.close(code)
    await asyncio.wait_for(host.ended.wait(), 5)
    assert_it_ended_quietly(host)


async def test_a_client_may_leave_a_listener(host: Host):
    host.prepare(end)
    async with host.connect("/listener"):
        await asyncio.wait_for(host.inside.wait(), 5)
    await asyncio.wait_for(host.ended.wait(), 5)
    assert_it_ended_quietly(host)
    assert host.closes == []


@pytest.mark.parametrize(
    "host", ["websockets-sansio", "wsproto"], indirect=True
)
@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize(
    ("act", "path"),
    [
        (listen, "/handler"),
        (iterate, "/handler"),
        (speak, "/handler"),
        (end, "/listener"),
    ],
)
async def test_a_client_may_vanish(host: Host, act: Act, path: str, how: str):
    host.prepare(act)
    client = await open_connection(host.server.url + path, proxy=None)
    await asyncio.wait_for(host.inside.wait(), 5)
    if how == "RST":
        # Closing a socket that may not linger resets the connection.
        socket: sockets.socket = client.transport.get_extra_info("socket")
        linger = struct.pack("ii", 1, 0)
        socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, linger)
    client.transport.abort()
    await asyncio.wait_for(host.ended.wait(), 5)
    assert_it_ended_quietly(host)
    await asyncio.wait_for(client.wait_closed(), 5)


async def test_a_client_that_is_gone_is_always_a_websocket_disconnect(
    host: Host,
):
    seen: list[object] = []

    async def send_until_it_fails(socket: Socket) -> None:
        try:
            await speak(socket)
        except WebSocketDisconnect as gone:
            seen.extend((gone.code, isinstance(gone.__cause__, OSError)))
            raise

    host.prepare(send_until_it_fails)
    async with host.connect("/handler") as client:
        await client.receive()
    await asyncio.wait_for(host.ended.wait(), 5)
    assert seen == [1006, True]
    assert_it_ended_quietly(host)


# -- a server that stops -----------------------------------------------------


@pytest.mark.parametrize("ws", ["websockets-sansio", "wsproto"])
@pytest.mark.parametrize("path", ["/handler", "/listener"])
async def test_a_server_that_stops_ends_who_listens(ws: str, path: str):
    host = Host()
    host.prepare(iterate)
    async with serve(host.app, ws=ws) as server:
        connection = server.connect(path)
        client = await connection.__aenter__()
        await asyncio.wait_for(host.inside.wait(), 5)
    with pytest.raises(Closed, match=r"^1012$"):
        await client.receive()
    await connection.__aexit__(None, None, None)
    assert server.log == []
    assert_it_ended_quietly(host)


async def test_a_server_that_stops_cancels_who_does_not_listen():
    async def sleep(socket: Socket) -> None:
        await asyncio.Event().wait()

    host = Host()
    host.prepare(sleep)
    async with serve(host.app, timeout_graceful_shutdown=SOON) as server:
        connection = server.connect("/handler")
        client = await connection.__aenter__()
        await asyncio.wait_for(host.inside.wait(), 5)
    with pytest.raises(Closed, match=r"^1012$"):
        await client.receive()
    await connection.__aexit__(None, None, None)
    assert host.notes == ["finally"]
    assert host.closes == host.errors == []
