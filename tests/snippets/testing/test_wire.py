"""A client made by hand says what it is told to, and no more."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from litestar import WebSocket
from websockets.frames import Frame as Parsed
from websockets.streams import StreamReader

from snippets.testing.client import Closed, Refused
from snippets.testing.server import Server, serve
from snippets.testing.wire import Frame, Opcode, Raw, frame, raw

SOON = 0.05
"""A time-out that is meant to pass, and nothing has to happen before it."""

Socket = WebSocket[Any, Any, Any]
Script = Callable[
    [asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]
]
IMPLEMENTATIONS = ["websockets-sansio", "wsproto"]
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nX-Said: yes\r\n\r\n"


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


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Echo, and notes in its scope's headers how to refuse."""
    assert scope["type"] == "websocket"
    ws = Socket(scope, receive, send)
    if scope["path"] == "/refuse":
        await receive()
        await send(
            {
                "type": "websocket.http.response.start",
                "status": 418,
                "headers": [],
            }
        )
        body = b"a tea pot for " + ws.headers["x-name"].encode()
        await send({"type": "websocket.http.response.body", "body": body})
        return
    await ws.accept(
        scope["subprotocols"][0] if scope["subprotocols"] else None
    )
    if scope["path"] == "/close":
        await ws.close(4000, "größe")
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "close":
            await ws.close(4001)
        else:
            await send({**message, "type": "websocket.send"})


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
async def server(
    request: pytest.FixtureRequest, anyio_backend: str
) -> AsyncGenerator[Server]:
    async with serve(app, ws=request.param) as running:
        yield running


@asynccontextmanager
async def scripted(script: Script) -> AsyncGenerator[Server]:
    """Run a server that accepts a handshake and then follows a script."""

    async def serve_one(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await script(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    before = tasks()
    async with listening:
        yield Server(listening.sockets[0].getsockname()[1], [])
    if serving := tasks() - before:
        await asyncio.wait(serving, timeout=5)


def saying(*parts: bytes) -> Script:
    """Accept, say some bytes, a turn of the loop between two, and hang up."""

    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for part in (ACCEPTED, *parts):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

    return script


def abort(writer: asyncio.StreamWriter) -> None:
    """End a connection with a RST."""
    line = writer.get_extra_info("socket")
    linger = struct.pack("ii", 1, 0)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def plain(opcode: int, payload: bytes = b"", **bits: Any) -> bytes:
    return frame(opcode, payload, masked=False, **bits)


# -- frames ------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 5, 125, 126, 65535, 65536, 100_003])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("fin", [True, False])
def test_frames_are_what_another_implementation_reads(
    size: int, masked: bool, fin: bool
):
    payload = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    reader = StreamReader()
    reader.feed_data(frame(2, payload, fin=fin, masked=masked))
    parsing = Parsed.parse(reader.read_exact, mask=masked, max_size=None)
    with pytest.raises(StopIteration) as stop:
        next(parsing)
    seen = stop.value.value
    assert (seen.opcode, seen.data, seen.fin) == (2, payload, fin)
    assert not reader.buffer


@pytest.mark.parametrize("reserved", range(8))
def test_reserved_bits_are_where_they_belong(reserved: int):
    assert frame(15, reserved=reserved)[0] == 0b1000_1111 + 16 * reserved


async def test_a_mask_is_not_used_twice():
    assert frame(1, b"the same") != frame(1, b"the same")


# -- the handshake -----------------------------------------------------------


async def test_the_subprotocol_and_the_headers_are_there(server: Server):
    async with raw(server, "/a b", subprotocols=["a", "b"]) as client:
        assert client.subprotocol == "a"
        assert client.headers["upgrade"].lower() == "websocket"


async def test_a_refusal_has_its_status_and_body(server: Server):
    with pytest.raises(Refused, match="HTTP 418 'a tea pot for me'"):
        async with raw(server, "/refuse", headers={"X-Name": "me"}):
            pass


async def test_a_server_that_hangs_up_closed():
    async def script(*_: Any) -> None: ...

    async with scripted(script) as server:
        with pytest.raises(Closed, match="1006"):
            async with raw(server):
                pass


async def test_a_server_that_does_not_answer_has_a_time_out():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(listening.getsockname()[1], [])
        with pytest.raises(TimeoutError, match="waiting for an answer"):
            async with raw(server, timeout=SOON):
                pass


async def test_what_comes_with_the_answer_is_not_lost():
    said = saying(plain(1, b"at once"))
    async with scripted(said) as server, raw(server) as client:
        assert client.headers == {"x-said": "yes"}
        assert await client.resume() == ["at once"]


# -- messages ----------------------------------------------------------------


async def test_messages_come_back(server: Server):
    async with raw(server) as client:
        for message in ("größe", b"\x00\xff", "", "x" * 70_000):
            await client.send(message)
            assert await client.receive() == message


async def test_a_close_is_answered(server: Server):
    async with raw(server, "/close") as client:
        assert await client.resume() == []
        assert str(client.closed) == "4000 'größe'"


@pytest.mark.parametrize(
    ("payload", "code"), [(b"", 1005), (b"\x0f\xa0", 4000)]
)
async def test_a_close_is_answered_with_its_own_payload(
    payload: bytes, code: int
):
    answers = []

    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(ACCEPTED + plain(Opcode.CLOSE, payload))
        answers.append(await reader.read(100))

    async with scripted(script) as server, raw(server) as client:
        assert await client.resume() == []
        assert client.closed is not None
        assert client.closed.code == code
    ((first, second, *rest),) = answers
    assert (first, second) == (0x88, 0x80 | len(payload))
    mask, masked = rest[:4], rest[4:]
    assert bytes(a ^ b for a, b in zip(masked, mask, strict=False)) == payload


async def test_closing_waits_for_the_answer(server: Server):
    async with raw(server) as client:
        await client.send("first")
        await client.close(4002, "bye")
        assert client.closed is not None
        assert client.closed.code == 4002


async def test_an_answer_is_not_answered():
    heard = []

    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(ACCEPTED)
        heard.append(await reader.readexactly(8))
        writer.write(plain(Opcode.CLOSE, b"\x03\xe8"))
        writer.write_eof()
        heard.append(await reader.read())

    async with scripted(script) as server, raw(server) as client:
        await client.close()
    assert heard[0][:2] == b"\x88\x82"
    assert heard[1] == b""


async def test_a_close_that_cannot_be_answered_is_heard_all_the_same():
    gone = asyncio.Event()

    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(ACCEPTED)
        await reader.readexactly(7)
        writer.write(plain(Opcode.CLOSE, b"\x0f\xa0"))
        abort(writer)
        gone.set()

    async with scripted(script) as server, raw(server) as client:
        await client.send("x")
        await gone.wait()
        await asyncio.sleep(0)
        assert await client.resume() == []
        assert str(client.closed) == "4000"


async def test_closing_what_the_server_has_closed(server: Server):
    async with raw(server, "/close") as client:
        await client.close()
        assert str(client.closed) == "4000 'größe'"


async def test_pings_are_answered_while_it_reads():
    asked = asyncio.Event()

    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(ACCEPTED + plain(Opcode.PING, b"ping"))
        writer.write(plain(Opcode.PONG, b"nobody asked"))
        pong = await reader.readexactly(10)
        unmasked = (a ^ b for a, b in zip(pong[6:], pong[2:6], strict=True))
        writer.write(plain(Opcode.BINARY, bytes(unmasked)))
        asked.set()

    async with scripted(script) as server, raw(server) as client:
        assert not asked.is_set()
        assert await client.receive() == b"ping"


async def test_a_message_in_fragments_is_put_together():
    said = saying(
        plain(1, b"one ", fin=False),
        plain(Opcode.PING),
        plain(0, b"two ", fin=False),
        plain(0, b"three"),
        plain(2, b"\xff"),
    )
    async with scripted(said) as server, raw(server) as client:
        assert await client.receive() == "one two three"
        assert await client.receive() == b"\xff"


async def test_frames_come_as_they_are():
    said = saying(plain(1, b"one", fin=False), plain(Opcode.PING, b"x"))
    async with scripted(said) as server, raw(server) as client:
        assert await client.receive_frame() == Frame(1, b"one", fin=False)
        assert await client.receive_frame() == Frame(9, b"x", fin=True)
        with pytest.raises(Closed, match="1006"):
            await client.receive_frame()


async def test_a_wait_that_is_given_up_loses_nothing():
    more = asyncio.Event()
    whole = plain(2, b"x" * 70_000)

    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for part in (ACCEPTED + whole[:1], whole[1:3], whole[3:500]):
            writer.write(part)
            await more.wait()
            more.clear()
        writer.write(whole[500:])

    async with scripted(script) as server, raw(server) as client:
        client.timeout = SOON
        for _ in "123":
            with pytest.raises(TimeoutError):
                await client.receive_frame()
            more.set()
        client.timeout = 5
        assert await client.receive() == b"x" * 70_000


async def test_a_frame_that_is_cut_off_is_none():
    said = saying(plain(1, b"hello")[:4])
    async with scripted(said) as server, raw(server) as client:
        assert await client.resume() == []
        assert str(client.closed) == "1006"


# -- less usual --------------------------------------------------------------


@pytest.mark.parametrize("message", ["größe", b"12345"])
async def test_fragments_arrive_as_one_message(
    server: Server, message: str | bytes
):
    async with raw(server) as client:
        for count in (1, 2, 3, 7, 9):
            await client.send_fragments(message, count)
            assert await client.receive() == message


async def test_a_ping_may_come_between_fragments(server: Server):
    async with raw(server) as client:
        ping = frame(Opcode.PING, b"still here")
        await client.send_fragments("hello", 3, between=ping)
        pong = Frame(Opcode.PONG, b"still here", fin=True)
        assert await client.receive_frame() == pong
        assert await client.receive_frame() == pong
        assert await client.receive() == "hello"


async def test_fragments_are_frames():
    seen = []

    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(ACCEPTED)
        while head := await reader.read(6):
            seen.append((head[0], head[1] & 0x7F))
            await reader.readexactly(head[1] & 0x7F)

    async with scripted(script) as server, raw(server) as client:
        await client.send_fragments("hello", 3)
    assert seen == [(0x01, 2), (0x00, 2), (0x80, 1)]


async def test_a_message_may_come_byte_by_byte(server: Server):
    async with raw(server) as client:
        await client.drip(frame(Opcode.TEXT, b"hello"), pause=0.001)
        assert await client.receive() == "hello"


async def test_a_drip_is_one_byte_at_a_time():
    sizes = []

    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(ACCEPTED)
        while data := await reader.read(100):
            sizes.append(len(data))
            writer.write(plain(2, data))

    async with scripted(script) as server, raw(server) as client:
        dripping = asyncio.create_task(client.drip(b"abc", pause=SOON))
        for byte in (b"a", b"b", b"c"):
            assert await client.receive() == byte
        await dripping


async def test_it_reads_only_when_it_is_asked_to(server: Server):
    """The server's bytes are in the kernel until then."""
    async with raw(server) as client:
        await client.send("hello")
        await client.receive()
        await client.send("x" * 1000)
        line = client._line
        loop = asyncio.get_running_loop()
        arrived = loop.create_future()
        loop.add_reader(line, lambda: arrived.done() or arrived.set_result(0))
        async with asyncio.timeout(5):
            await arrived
        loop.remove_reader(line)
        assert len(line.recv(2000, socket.MSG_PEEK)) == 1004
        assert await client.receive() == "x" * 1000


# -- how it ends -------------------------------------------------------------


class Ending(asyncio.Protocol):
    """A server's end of a connection, which notes what TCP says of its end."""

    def __init__(self) -> None:
        self.eof = False
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(ACCEPTED)

    def eof_received(self) -> None:
        self.eof = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


async def ending(leave: Callable[[Raw], None]) -> tuple[bool, object]:
    """Tell whether a FIN was seen, and which error."""
    ended = Ending()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: ended, "127.0.0.1", 0)
    server = Server(listening.sockets[0].getsockname()[1], [])
    async with listening, raw(server) as client:
        ended.transport.write(plain(1, b"unread"))
        leave(client)
        assert str(client.closed) == "1006"
        async with asyncio.timeout(5):
            lost = await ended.lost
    return ended.eof, type(lost)


async def test_vanishing_is_a_fin():
    assert await ending(Raw.vanish) == (True, type(None))


async def test_a_reset_is_a_rst():
    assert await ending(Raw.reset) == (False, ConnectionResetError)


async def test_leaving_the_block_sends_no_close_frame(server: Server):
    heard = []

    async def listen(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await Socket(scope, receive, send).accept()
        heard.append((await receive())["code"])

    async with serve(listen) as listening, raw(listening):
        pass
    assert heard == [1005]


async def test_who_has_gone_stays_gone(server: Server):
    async with raw(server) as client:
        client.vanish()
        client.reset()
        client.vanish()
        for act in (client.receive, client.receive_frame):
            with pytest.raises(Closed, match="1006"):
                await act()
        with pytest.raises(Closed, match="1006"):
            await client.send("x")


async def write_on(client: Raw) -> None:
    async with asyncio.timeout(5):
        while True:  # the first bytes find out that nobody is there
            await client._write(b"x")
            await asyncio.sleep(0)


async def test_a_server_that_is_gone_closed_the_connection():
    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(ACCEPTED)
        await reader.readexactly(7)
        abort(writer)

    async with scripted(script) as server, raw(server) as client:
        await client.send("x")
        with pytest.raises(Closed, match="1006"):
            await client.receive()
        with pytest.raises(Closed, match="1006"):
            await write_on(client)


async def test_who_waits_when_it_leaves_does_no_harm():
    """Nobody may be left to watch a descriptor that gets a new owner."""
    answering = asyncio.Event()

    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(ACCEPTED)
        await reader.read(1)
        await answering.wait()

    async with scripted(script) as server, raw(server) as client:
        client.timeout = SOON
        waiting = asyncio.create_task(client.receive())
        await asyncio.sleep(0)
        number = client._line.fileno()
        client.vanish()
        assert not asyncio.get_running_loop().remove_reader(number)
        with pytest.raises(TimeoutError):
            await waiting
        answering.set()


async def test_the_kernel_keeps_what_it_is_told_to(server: Server):
    async with raw(server, receive_buffer=10_000) as client:
        kept = client._line.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert kept == 10_000
