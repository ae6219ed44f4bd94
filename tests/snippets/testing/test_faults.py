"""Each client misbehaves as it says, and the app meets it as it would."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from litestar import WebSocket

from snippets.testing import faults
from snippets.testing.buffered import Buffered
from snippets.testing.client import Closed, Refused
from snippets.testing.faults import flood, half_open, reset, stalled, vanish
from snippets.testing.in_process import connect
from snippets.testing.server import Server, serve
from snippets.testing.wire import Raw, raw

SOON = 0.1
"""A time-out that is meant to pass, and nothing has to happen before it."""

KIB = 1024
PIECE = bytes(64 * KIB)
ENOUGH = 1000
"""How many pieces no buffer of a kernel takes."""

Socket = WebSocket[Any, Any, Any]
IMPLEMENTATIONS = ["websockets-sansio", "wsproto"]
TCP = Path("/proc/net/tcp")


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


async def soon(happened: asyncio.Event) -> None:
    """Wait for what has to happen."""
    async with asyncio.timeout(5):
        await happened.wait()


class App:
    """An app that does what the path says, and notes what it meets."""

    def __init__(self) -> None:
        self.sent = 0
        self.heard: list[Any] = []
        self.error: OSError | None = None
        self.ended = asyncio.Event()
        self.enough = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        ws = Socket(scope, receive, send)
        await ws.accept()
        try:
            await getattr(self, scope["path"][1:])(ws)
        finally:
            self.ended.set()

    async def talk(self, ws: Socket) -> None:
        try:
            while self.sent < ENOUGH and not self.enough.is_set():
                await ws.send_bytes(PIECE)
                self.sent += 1
        except OSError as error:
            self.error = error
            raise
        await ws.close(4000)

    async def echo(self, ws: Socket) -> None:
        while True:
            message: Any = await ws.receive()
            if message["type"] == "websocket.disconnect":
                self.heard.append(message["code"])
                return
            self.heard.append(message["text"])
            await ws.send_text(message["text"])

    async def listen_to_ten(self, ws: Socket) -> None:
        for _ in range(10):
            self.heard.append(await ws.receive_text())
        await self.enough.wait()

    async def close_after_ten(self, ws: Socket) -> None:
        for _ in range(10):
            self.heard.append(await ws.receive_text())
        await ws.close(4000)

    async def listen(self, ws: Socket) -> None:
        async for text in ws.iter_data("text"):
            self.heard.append(text)

    async def stands_still(self) -> None:
        """Wait until it sends no more."""
        sent = -1
        async with asyncio.timeout(30):
            while sent < self.sent:
                sent = self.sent
                await asyncio.sleep(SOON)


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture(params=IMPLEMENTATIONS)
async def server(
    request: pytest.FixtureRequest, anyio_backend: str, app: App
) -> AsyncGenerator[Server]:
    async with serve(app, ws=request.param, ws_ping_interval=None) as running:
        yield running


@pytest.fixture(params=["in process", *IMPLEMENTATIONS])
async def target(
    request: pytest.FixtureRequest, anyio_backend: str, app: App
) -> AsyncGenerator[Any]:
    """The app, or a server that runs it."""
    if request.param == "in process":
        yield app
    else:
        options: Any = {"ws": request.param, "ws_ping_interval": None}
        async with serve(app, **options) as running:
            yield running


# -- stalled -----------------------------------------------------------------


async def test_a_send_to_a_stalled_client_waits(target: Any, app: App):
    async with stalled(target, "/talk"):
        await app.stands_still()
        assert 0 < app.sent < ENOUGH
        assert not app.ended.is_set()


async def test_it_gets_an_oserror_when_the_client_is_gone(
    target: Any, app: App
):
    async with stalled(target, "/talk"):
        await app.stands_still()
    await soon(app.ended)
    assert isinstance(app.error, OSError)


async def test_a_client_that_reads_again_misses_nothing(target: Any, app: App):
    async with stalled(target, "/talk") as client:
        await app.stands_still()
        app.enough.set()
        assert await client.resume() == [PIECE] * app.sent
        assert str(client.closed) == "4000"


async def test_a_stalled_client_may_vanish_before_its_block_ends(
    target: Any, app: App
):
    async with stalled(target, "/talk") as client:
        await app.stands_still()
        client.vanish()
        await soon(app.ended)
    assert isinstance(app.error, OSError)


async def test_in_process_the_number_of_bytes_is_exact(app: App):
    async with stalled(app, "/talk", buffer=200 * KIB) as client:
        assert isinstance(client, Buffered)
        await client.full()
        assert client.taken == 256 * KIB
        assert app.sent == 4


@pytest.mark.skipif(not TCP.exists(), reason="only Linux shows its queues")
async def test_on_the_wire_the_server_s_kernel_is_full(
    server: Server, app: App
):
    async with stalled(server, "/talk", buffer=8 * KIB) as client:
        assert isinstance(client, Raw)
        await app.stands_still()
        kept = client._line.recv(1 << 20, socket.MSG_PEEK)
        waiting = queue(server.port)
        assert 0 < len(kept) <= 8 * KIB
        assert waiting > len(kept)
        # The rest is in uvicorn: what it takes before send() waits.
        rest = app.sent * (len(PIECE) + 10) - waiting - len(kept)
        assert 64 * KIB < rest < 200 * KIB


def queue(port: int) -> int:
    """Count the bytes that the kernel has not got rid of."""
    rows = [line.split() for line in TCP.read_text().splitlines()[1:]]
    (sizes,) = (
        row[4]
        for row in rows
        if row[1].endswith(f":{port:04X}") and row[3] == "01"
    )
    return int(sizes.partition(":")[0], 16)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_pings_are_not_answered(implementation: str, app: App):
    pings: Any = {"ws_ping_interval": 0.05, "ws_ping_timeout": 0.05}
    async with (
        serve(app, ws=implementation, **pings) as server,
        stalled(server, "/echo") as client,
    ):
        await soon(app.ended)
        assert await client.resume() == []
        assert str(client.closed) == "1011 'keepalive ping timeout'"


# -- gone --------------------------------------------------------------------


async def test_who_vanishes_says_no_goodbye(target: Any, app: App):
    async with vanish(target, "/echo") as client:
        await client.send("hello")
        assert await client.receive() == "hello"
    await soon(app.ended)
    assert app.heard == ["hello", 1005]


async def test_a_reset_is_met_as_a_loss(server: Server, app: App):
    async with reset(server, "/echo") as client:
        await client.send("hello")
        assert await client.receive() == "hello"
    await soon(app.ended)
    assert app.heard == ["hello", 1005]


@pytest.mark.parametrize(
    ("leave", "end"),
    [(vanish, b""), (reset, ConnectionResetError), (stalled, b"")],
)
async def test_what_tcp_says_of_it(
    leave: Callable[..., Any], end: bytes | type[OSError]
):
    ends: asyncio.Queue[object] = asyncio.Queue()

    async def serve_one(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        try:
            ends.put_nowait(await reader.read(100))
        except OSError as error:
            ends.put_nowait(type(error))
        writer.close()

    listening = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    async with listening:
        server = Server(listening.sockets[0].getsockname()[1], [])
        async with leave(server):
            pass
        async with asyncio.timeout(5):
            assert await ends.get() == end


# -- half open ---------------------------------------------------------------


async def test_until_it_is_cut_all_is_well(server: Server, app: App):
    async with half_open(server, "/echo", subprotocols=["a"]) as client:
        assert client.subprotocol is None
        assert "upgrade" in client.headers
        for text in ("hello", "x" * 200_000):
            await client.send(text)
            assert await client.receive() == text
    await soon(app.ended)
    assert app.heard[-1] == 1000


async def test_a_close_arrives_in_both_directions(server: Server, app: App):
    async with half_open(server, "/close_after_ten") as client:
        for _ in range(10):
            await client.send("x")
        with pytest.raises(Closed, match="4000"):
            await client.receive()
    async with half_open(server, "/echo") as client:
        await client.close(4001)
    assert app.heard[-1] == 4001


async def test_then_nothing_arrives_and_nobody_is_told(
    server: Server, app: App
):
    async with half_open(server, "/echo") as client:
        client.cut()
        await client.send("into the void")
        client.timeout = SOON
        with pytest.raises(TimeoutError):
            await client.receive()
        assert app.heard == []
        assert not app.ended.is_set()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_the_server_s_pings_find_out(implementation: str, app: App):
    pings: Any = {"ws_ping_interval": 0.25, "ws_ping_timeout": 0.25}
    async with (
        serve(app, ws=implementation, **pings) as server,
        half_open(server, "/listen") as client,
    ):
        client.cut()
        await soon(app.ended)
        client.timeout = SOON
        with pytest.raises(TimeoutError):  # the client knows nothing
            await client.receive()


async def test_leaving_a_cut_line_does_not_wait_for_an_answer(server: Server):
    async with half_open(server, "/echo", timeout=10) as client:
        client.cut()
        began = time.monotonic()
    assert time.monotonic() - began < 5


async def test_what_a_client_sends_while_it_is_cut_is_lost(
    server: Server, app: App
):
    async with half_open(server, "/echo") as client:
        await client.send("before")
        await client.receive()
        client.cut()
        await client.send("after")
    await soon(app.ended)
    assert app.heard == ["before", 1005]


async def test_a_refusal_comes_through():
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.close"})

    async with serve(refuse) as server:
        with pytest.raises(Refused, match="403"):
            async with half_open(server):
                pass


async def test_a_server_that_is_not_there_is_refused_too():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        server = Server(gone.getsockname()[1], [])
    with pytest.raises(Refused):
        async with half_open(server):
            pass


# -- flood -------------------------------------------------------------------


@pytest.mark.parametrize("connecting", [raw, Server.connect])
async def test_a_server_that_reads_takes_all(
    connecting: Callable[..., Any], server: Server, app: App
):
    async with connecting(server, "/listen") as client:
        assert await flood(client, "x" * 100, 500) == 500
        await client.close()
    await soon(app.ended)
    assert app.heard == ["x" * 100] * 500


async def test_one_that_does_not_takes_what_its_kernel_takes(
    server: Server, app: App
):
    async with raw(server, "/listen_to_ten") as client:
        client.timeout = SOON
        assert 10 < await flood(client, "x" * KIB * 64, ENOUGH) < ENOUGH
    app.enough.set()
    assert len(app.heard) == 10


async def test_one_that_closes_takes_no_more(server: Server, app: App):
    async with server.connect("/close_after_ten") as client:
        assert 10 <= await flood(client, "x", 100_000) < 100_000
    assert app.heard == ["x"] * 10


async def test_an_app_in_process_gets_its_turns(app: App):
    async with connect(app, "/close_after_ten") as client:
        assert 10 <= await flood(client, "x", 1000) < 1000
    assert app.heard == ["x"] * 10


# -- where it runs -----------------------------------------------------------


def test_nothing_here_needs_a_server_to_be_imported():
    """A browser's tab has none."""
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "sys.modules.update(uvicorn=None, websockets=None)\n"
        f"import {faults.__name__}"
    )
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, timeout=60)
