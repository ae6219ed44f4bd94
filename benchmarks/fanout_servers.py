"""The ways to fan out that `connections.py` compares, one in each process.

`python fanout_servers.py ours {}` serves, prints its port, and obeys: a line
of JSON in, a line of JSON with what this process has used so far out.
"""

import asyncio
import base64
import gc
import hashlib
import json
import os
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from random import Random
from typing import Any

from litestar import Litestar, WebSocket, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import (
    WebSocket as StarletteSocket,
    WebSocketDisconnect,
)
from websockets.asyncio.server import (
    ServerConnection,
    broadcast,
    serve as serve_websockets,
)

from fanout_client import raise_limits
from snippets.connections import Connection, ConnectionManager
from snippets.rooms import Rooms
from snippets.testing.server import serve

Publish = Callable[[str], Awaitable[object]]
Serving = AbstractAsyncContextManager[tuple[int, Publish]]
"""Serves, and tells the port and how to publish."""
Socket = WebSocket[Any, Any, Any]


@dataclass(frozen=True)
class Options:
    """How to serve.

    Attributes:
        deflate: Whether messages are compressed.
        members: How many clients will come.
        rooms: How many rooms they are spread over.
    """

    deflate: bool = False
    members: int = 500
    rooms: int = 1


def frame(message: str) -> bytes:
    """A whole text frame, as a server sends it (RFC 6455, section 5.2)."""
    data = message.encode()
    size = len(data)
    if size < 126:
        return bytes((0x81, size)) + data
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2) + data
    return b"\x81\x7f" + size.to_bytes(8) + data


class Handshake(asyncio.Protocol):
    """Says 101 to whatever comes, and keeps the transport."""

    def __init__(self, transports: set[asyncio.Transport]) -> None:
        self.transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember whom to answer."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Accept: the headers come in one piece here."""
        _, _, rest = data.partition(b"Sec-WebSocket-Key: ")
        key, _, _ = rest.partition(b"\r\n")
        magic = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key + magic).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept
            + b"\r\n\r\n"
        )
        self.transports.add(self.transport)


@asynccontextmanager
async def floor(_options: Options) -> AsyncGenerator[tuple[int, Publish]]:
    """Nothing but `transport.write()` of a frame that is ready."""
    transports: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Handshake(transports), "127.0.0.1", 0, backlog=2048
    )

    async def publish(message: str) -> None:
        ready = frame(message)
        for transport in transports:
            transport.write(ready)

    async with server:
        yield server.sockets[0].getsockname()[1], publish


@asynccontextmanager
async def with_websockets(
    options: Options,
) -> AsyncGenerator[tuple[int, Publish]]:
    """`broadcast()` of the websockets library, on its own server."""

    async def handler(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async def publish(message: str) -> None:
        broadcast(server.connections, message)

    async with serve_websockets(
        handler,
        "127.0.0.1",
        0,
        compression="deflate" if options.deflate else None,
        ping_interval=None,
        backlog=2048,
    ) as server:
        yield next(iter(server.sockets)).getsockname()[1], publish


@asynccontextmanager
async def on_uvicorn(
    app: Any, publish: Publish, options: Options
) -> AsyncGenerator[tuple[int, Publish]]:
    """Serve an ASGI app."""
    async with serve(
        app,
        ws="websockets-sansio",
        ws_per_message_deflate=options.deflate,
        ws_ping_interval=None,
    ) as server:
        yield server.port, publish


def on_litestar(
    publish_to: Callable[[set[Socket]], Publish], options: Options
) -> Serving:
    """A set of sockets, and a way to send to all of them."""
    sockets: set[Socket] = set()

    @websocket("/")
    async def handler(socket: Socket) -> None:
        await socket.accept()
        sockets.add(socket)
        async for _ in socket.iter_data("text"):
            pass
        sockets.remove(socket)

    app = Litestar([handler])
    return on_uvicorn(app, publish_to(sockets), options)


def loop(options: Options) -> Serving:
    """The manager of most tutorials: a set, and a loop that awaits."""

    def publish_to(sockets: set[Socket]) -> Publish:
        async def publish(message: str) -> None:
            for socket in sockets:
                await socket.send_text(message)

        return publish

    return on_litestar(publish_to, options)


def gather(options: Options) -> Serving:
    """Its improved version: one task for each send."""

    def publish_to(sockets: set[Socket]) -> Publish:
        async def publish(message: str) -> None:
            await asyncio.gather(*(s.send_text(message) for s in sockets))

        return publish

    return on_litestar(publish_to, options)


def starlette(options: Options) -> Serving:
    """The same loop with Starlette, as in the tutorial of FastAPI."""
    sockets: list[StarletteSocket] = []

    async def handler(socket: StarletteSocket) -> None:
        await socket.accept()
        sockets.append(socket)
        try:
            while True:
                await socket.receive_text()
        except WebSocketDisconnect:
            sockets.remove(socket)

    async def publish(message: str) -> None:
        for socket in sockets:
            await socket.send_text(message)

    app = Starlette(routes=[WebSocketRoute("/", handler)])
    return on_uvicorn(app, publish, options)


def channels(options: Options) -> Serving:
    """Litestar Channels, with the handler that the plugin makes."""
    plugin = ChannelsPlugin(
        backend=MemoryChannelsBackend(),
        channels=["all"],
        create_ws_route_handlers=True,
    )

    @websocket("/")
    async def handler(socket: Socket) -> None:
        await socket.accept()
        async with (
            plugin.start_subscription("all") as subscriber,
            subscriber.run_in_background(socket.send_text),
        ):
            async for _ in socket.iter_data("text"):
                pass

    async def publish(message: str) -> None:
        plugin.publish(message, "all")

    app = Litestar([handler], plugins=[plugin])
    return on_uvicorn(app, publish, options)


def ours(options: Options) -> Serving:
    """`ConnectionManager.broadcast()`."""
    manager = ConnectionManager()

    @websocket("/")
    async def handler(socket: Socket) -> None:
        async with manager.connect(socket):
            async for _ in socket.iter_data("text"):
                pass

    async def publish(message: str) -> None:
        manager.broadcast(message[2:])  # as JSON it has quotation marks

    return on_uvicorn(Litestar([handler]), publish, options)


def kept(options: Options) -> Serving:
    """Ours, where each gets messages of its own and nobody is sent away."""
    manager = ConnectionManager(when_full="drop_oldest")

    @websocket("/")
    async def handler(socket: Socket) -> None:
        async with manager.connect(socket):
            async for _ in socket.iter_data("text"):
                pass

    async def publish(message: str) -> None:
        for connection in manager:
            connection.send(message[2:])

    return on_uvicorn(Litestar([handler]), publish, options)


def rooms(options: Options) -> Serving:
    """`Rooms.send()`, to one room after the other.

    With more rooms than members, a member is in several.
    """

    async def may_join(_connection: Connection, _room: str) -> bool:
        return True

    manager = ConnectionManager()
    everywhere = Rooms(manager, may_join)
    numbers = count()
    names = cycle(range(options.rooms))

    @websocket("/")
    async def handler(socket: Socket) -> None:
        first = next(numbers) % min(options.rooms, options.members)
        async with manager.connect(socket) as connection:
            for room in range(first, options.rooms, options.members):
                await everywhere.join(connection, str(room))
            async for _ in socket.iter_data("text"):
                pass

    async def publish(message: str) -> None:
        everywhere.send(str(next(names)), message[2:])

    return on_uvicorn(Litestar([handler]), publish, options)


COMPARED: dict[str, Callable[[Options], Serving]] = {
    "floor": floor,
    "ours": ours,
    "websockets": with_websockets,
    "starlette": starlette,
    "channels": channels,
    "loop": loop,
    "gather": gather,
}
WAYS = COMPARED | {"kept": kept, "rooms": rooms}

WORDS = "frame socket close ping pong client server message room join leave"
TEXT = " ".join(Random(5).choices(WORDS.split(), k=20_000))


async def burst(publish: Publish, messages: int, size: int, turn: int) -> None:
    """Publish, and let others have a turn after every few messages.

    Args:
        publish: How.
        messages: How many.
        size: Of each, in bytes.
        turn: After how many messages.
    """
    for number in range(1, messages + 1):
        start = number * 8_191 % (len(TEXT) - size)  # nothing twice in a row
        await publish(TEXT[start : start + size])
        if number % turn == 0:
            await asyncio.sleep(0)


def used() -> dict[str, Any]:
    """What this process has used.

    Returns:
        CPU seconds so far; bytes of memory and file descriptors now.
    """
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return {
        "cpu": time.process_time(),
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        "files": len(list(Path("/proc/self/fd").iterdir())),
    }


async def obey(publish: Publish) -> None:
    """Answer `look`, `collect` (garbage) and `publish` until the end."""
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    async with asyncio.TaskGroup() as tasks:
        while line := await commands.readline():
            command = json.loads(line)
            do = command.pop("do")
            if do == "collect":
                gc.collect()
            print(json.dumps(used()), flush=True)
            if do == "publish":
                tasks.create_task(burst(publish, **command))


async def main(way: str, options: Options) -> None:
    """Serve until the input ends."""
    raise_limits()
    async with WAYS[way](options) as (port, publish):
        print(json.dumps({"port": port}), flush=True)
        await obey(publish)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Options(**json.loads(sys.argv[2]))))
