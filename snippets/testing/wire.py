"""A WebSocket client made by hand, which can say what no client should.

`raw()` opens a TCP connection to a server on this machine and does the
handshake (RFC 6455 §4.1). Beyond that you decide: whole messages, single
frames, or any bytes. It reads only when it is asked to, and answers pings
only while it reads.

```python
async with serve(app) as server, raw(server, "/echo") as client:
    await client.send_bytes(frame(Opcode.TEXT, b"hello", masked=False))
    answer = await client.receive_frame()
    assert answer.opcode == Opcode.CLOSE
```

Needs: `client.py`, and a running server, such as that of
`server.py` or `process.py`.
"""

import asyncio
import base64
import os
import socket
import struct
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from enum import IntEnum
from typing import NamedTuple, Protocol, runtime_checkable

from .client import Client, Closed, Refused, target


class Opcode(IntEnum):
    """What a frame is (RFC 6455 §5.2); the other values are reserved."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Frame(NamedTuple):
    """A frame as it came.

    Attributes:
        opcode: What it is, one of `Opcode`.
        payload: What it carries.
        fin: Whether it is the last of its message.
    """

    opcode: int
    payload: bytes
    fin: bool


@runtime_checkable
class Listening(Protocol):
    """What listens on a port of this machine, such as a `Server`.

    Attributes:
        port: The port on 127.0.0.1.
    """

    port: int


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    masked: bool = True,
    reserved: int = 0,
) -> bytes:
    """Put a frame together as a client sends it (RFC 6455 §5.2).

    Args:
        opcode: What it is, 0 to 15.
        payload: What it carries.
        fin: Whether it is the last of its message.
        masked: Whether its payload is masked, as a client's has to be.
        reserved: The bits RSV1, RSV2 and RSV3, as a number from 0 to 7.

    Returns:
        The bytes for the wire.
    """
    first = fin << 7 | reserved << 4 | opcode
    size = len(payload)
    mask_bit = masked << 7
    if size < 126:
        head = struct.pack("!BB", first, mask_bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, mask_bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + _mask(payload, mask)


def _mask(payload: bytes, mask: bytes) -> bytes:
    """Mask a payload (RFC 6455 §5.3), as one large number: it is fast."""
    size = len(payload)
    whole = (mask * (size // 4 + 1))[:size]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")
    return number.to_bytes(size, "big")


@asynccontextmanager
async def raw(
    server: Listening,
    path: str = "/",
    *,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
    receive_buffer: int | None = None,
    timeout: float = 5.0,
) -> AsyncGenerator["Raw"]:
    """Connect to a server on 127.0.0.1, and to no other host.

    Args:
        server: Where to connect.
        path: Where to connect there, such as `/rooms/lobby`.
        headers: More headers of the handshake request.
        subprotocols: The subprotocols to offer, best first.
        receive_buffer: How many bytes the kernel keeps for a client that does
            not read; it makes that as large as it likes unless you say so.
        timeout: How long any single wait may last, in seconds.

    Yields:
        The connected client. Its socket is closed when the block ends, without
        a close frame unless you sent one.

    Raises:
        Refused: The server did not switch protocols.
        Closed: The server hung up instead of answering.
        TimeoutError: The server did not answer in time.
    """
    sent = {
        "Host": f"127.0.0.1:{server.port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
    }
    if subprotocols:
        sent["Sec-WebSocket-Protocol"] = ", ".join(subprotocols)
    lines = [f"GET {target(path, None)} HTTP/1.1"]
    lines += [f"{k}: {v}" for k, v in {**sent, **(headers or {})}.items()]
    client = Raw(socket.socket(), timeout)
    try:
        await client._open(
            server.port, "\r\n".join([*lines, "", ""]), receive_buffer
        )
        yield client
    finally:
        client._hang_up()


class Raw(Client):
    """A client that sends what it is told to."""

    def __init__(self, line: socket.socket, timeout: float) -> None:
        self.headers = {}
        self.timeout = timeout
        self._line = line
        self._unread = bytearray()
        self._message = b""
        self._message_is_text = False
        self._close_sent = False

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are.

        Args:
            data: What to send: a frame, a part of one, or none at all.

        Raises:
            Closed: The connection is gone.
            TimeoutError: The server did not take them in time.
        """
        await self._within(f"sending {len(data)} bytes", self._write(data))

    async def send_frame(
        self,
        opcode: int,
        payload: bytes = b"",
        *,
        fin: bool = True,
        masked: bool = True,
        reserved: int = 0,
    ) -> None:
        """Send one frame. The arguments are those of `frame()`.

        Args:
            opcode: What it is, 0 to 15.
            payload: What it carries.
            fin: Whether it is the last of its message.
            masked: Whether its payload is masked.
            reserved: The reserved bits, 0 to 7.

        Raises:
            Closed: The connection is gone.
            TimeoutError: The server did not take it in time.
        """
        await self.send_bytes(
            frame(opcode, payload, fin=fin, masked=masked, reserved=reserved)
        )

    async def send_fragments(
        self, message: str | bytes, count: int, *, between: bytes = b""
    ) -> None:
        """Send one message as several frames (RFC 6455 §5.4).

        Args:
            message: The message: a `str` as text, `bytes` as binary.
            count: In how many frames; where they are more than bytes, some
                are empty.
            between: What is sent between any two of them, such as a ping.

        Raises:
            Closed: The connection is gone.
            TimeoutError: The server did not take a frame in time.
        """
        opcode, payload = _data(message)
        size = -(-len(payload) // count)
        for number in range(count):
            last = number == count - 1
            part = payload[number * size : (number + 1) * size]
            await self.send_frame(opcode, part, fin=last)
            await self.send_bytes(b"" if last else between)
            opcode = Opcode.CONTINUATION

    async def drip(self, data: bytes, *, pause: float = 0.0) -> None:
        """Send bytes one by one.

        Args:
            data: What to send.
            pause: How long to wait after each byte, in seconds.

        Raises:
            Closed: The connection is gone.
            TimeoutError: The server did not take a byte in time.
        """
        for number in range(len(data)):
            await self.send_bytes(data[number : number + 1])
            await asyncio.sleep(pause)

    async def receive_frame(self) -> Frame:
        """Wait for the next frame, of whatever kind, and answer nothing.

        Returns:
            The frame.

        Raises:
            Closed: The connection ended instead, with code 1006.
            TimeoutError: Nothing came in time.
        """
        return await self._within("waiting for a frame", self._read_frame())

    async def resume(self) -> list[str | bytes]:
        """Read again, until the connection ends; `closed` says how it did.

        Returns:
            The messages that had been sent meanwhile.

        Raises:
            TimeoutError: The connection stayed open, and nothing came in time.
        """
        return [message async for message in self]

    def vanish(self) -> None:
        """Be gone without a close frame: the server gets a FIN."""
        with suppress(OSError):  # the server may have been first
            self._line.shutdown(socket.SHUT_WR)
        self._hang_up()

    def reset(self) -> None:
        """Be gone without a word: the server gets a RST."""
        linger = struct.pack("ii", 1, 0)  # on, and no time for a FIN
        with suppress(OSError):  # it may be gone already
            self._line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._hang_up()

    def _hang_up(self) -> None:
        if (number := self._line.fileno()) != -1:
            loop = asyncio.get_running_loop()
            loop.remove_reader(number)  # if somebody still waits
            loop.remove_writer(number)
            self._line.close()
        self.closed = self.closed or Closed(1006)

    async def _open(
        self, port: int, request: str, receive_buffer: int | None
    ) -> None:
        line, loop = self._line, asyncio.get_running_loop()
        line.setblocking(False)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            # Before connecting, which is when the window's scale is settled.
            size = receive_buffer // 2  # the kernel doubles it
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        connecting = loop.sock_connect(line, ("127.0.0.1", port))
        await self._within("connecting", connecting)
        await self.send_bytes(request.encode("latin-1"))
        await self._within("waiting for an answer", self._read_answer())

    async def _read_answer(self) -> None:
        while b"\r\n\r\n" not in self._unread:
            await self._read()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.lower(): text.strip() for name, _, text in pairs}
        self.subprotocol = self.headers.get("sec-websocket-protocol")
        if (code := int(status.split()[1])) != 101:
            with suppress(Closed):  # which is where the body ends
                while True:
                    await self._read()
            chunked = self.headers.get("transfer-encoding") == "chunked"
            body = bytes(self._unread)
            whole = _join_chunks(body) if chunked else body
            raise Refused(code, whole.decode(errors="replace"))

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            data = await loop.sock_recv(self._line, 1 << 16)
        except OSError:
            data = b""
        if not data:
            raise Closed(1006)
        self._unread += data

    async def _write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._line, data)
        except OSError:
            raise Closed(1006) from None

    async def _read_frame(self) -> Frame:
        # Bytes are used up with the frame they end, so that a wait that is
        # cancelled loses nothing.
        while (end := _end(self._unread)) is None:
            await self._read()
        start, stop = end
        first, payload = self._unread[0], bytes(self._unread[start:stop])
        del self._unread[:stop]
        return Frame(first & 0xF, payload, first > 0x7F)

    async def _send(self, data: str | bytes) -> None:
        await self._write(frame(*_data(data)))

    async def _receive(self) -> str | bytes:
        while True:
            opcode, payload, fin = await self._read_frame()
            if opcode == Opcode.CLOSE:
                if not self._close_sent:
                    await self._control(Opcode.CLOSE, payload)
                code = int.from_bytes(payload[:2], "big") or 1005
                raise Closed(code, payload[2:].decode())
            if opcode == Opcode.PING:
                await self._control(Opcode.PONG, payload)
            elif opcode != Opcode.PONG:
                if opcode != Opcode.CONTINUATION:
                    self._message_is_text = opcode == Opcode.TEXT
                self._message += payload
                if fin:
                    whole, self._message = self._message, b""
                    return whole.decode() if self._message_is_text else whole

    async def _control(self, opcode: Opcode, payload: bytes) -> None:
        with suppress(Closed):  # there may be more to read all the same
            await self._write(frame(opcode, payload))

    async def _close(self, code: int, reason: str) -> None:
        self._close_sent = True
        payload = code.to_bytes(2, "big") + reason.encode()
        await self._control(Opcode.CLOSE, payload)
        while True:  # until the answer comes, which ends it
            await self._receive()


def _data(message: str | bytes) -> tuple[Opcode, bytes]:
    if isinstance(message, str):
        return Opcode.TEXT, message.encode()
    return Opcode.BINARY, message


def _join_chunks(data: bytes) -> bytes:
    """Put together a body that came in chunks (RFC 9112 §7.1)."""
    whole = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        end = int(size, 16)
        whole += data[:end]
        data = data[end + 2 :]
    return whole


def _end(data: bytearray) -> tuple[int, int] | None:
    """Find where the payload of the first frame begins, and where it ends."""
    if len(data) < 2:
        return None
    size = data[1] & 0x7F  # a server masks nothing
    start = 2 + {126: 2, 127: 8}.get(size, 0)
    if size > 125:
        size = int.from_bytes(data[2:start], "big")
    return (start, start + size) if len(data) >= start + size else None
