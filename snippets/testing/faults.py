"""Clients that misbehave, for the tests of your own app.

Most trouble comes from clients that do nothing wrong: a laptop lid, a tunnel,
a phone that changes networks. These do the same on purpose, on this machine
alone, and are gone when their block ends.

```python
async with stalled(app, "/chat") as client:
    await talk_to_everybody(app)
    await client.full()  # now a send() to this client waits
```

Given an app, `stalled()` and `vanish()` work in process. Given a running
server they go over TCP, as all others do: `raw()` and its `send_fragments()`
and `drip()` are in `wire.py`, what no client may send is in `violations.py`.

Needs: `wire.py`, `buffered.py` and `client.py`; `half_open()` a server.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    suppress,
)
from copy import copy
from typing import TYPE_CHECKING, Any, overload

from .buffered import BUFFER, Buffered, buffered
from .client import ASGIApp, Client, Closed
from .wire import Listening, Raw, raw

if TYPE_CHECKING:  # a browser's tab has no servers
    from .server import Server


@overload
def stalled(
    target: Listening, path: str = "/", *, buffer: int = BUFFER, **options: Any
) -> AbstractAsyncContextManager[Raw]: ...
@overload
def stalled(
    target: ASGIApp, path: str = "/", *, buffer: int = BUFFER, **options: Any
) -> AbstractAsyncContextManager[Buffered]: ...
def stalled(
    target: Listening | ASGIApp,
    path: str = "/",
    *,
    buffer: int = BUFFER,
    **options: Any,
) -> AbstractAsyncContextManager[Raw | Buffered]:
    """Connect, and read nothing: a laptop lid, a debugger on a breakpoint.

    The client reads when you call `receive()` or `resume()`, and not before.
    It does not answer pings either.

    Args:
        target: The app, or a running server.
        path: Where to connect.
        buffer: How many bytes the connection takes before the app's `send`
            waits. On the wire it is the client's buffer alone: the kernel of
            the server has one of its own, of some megabytes on Linux.
        **options: `headers`, `subprotocols` and `timeout`, as those of
            `connect()`.

    Returns:
        A block that yields the client. When it ends, the client is gone
        without a close frame, and a `send` that waits raises OSError.
    """
    if isinstance(target, Listening):
        return raw(target, path, receive_buffer=buffer, **options)
    return buffered(target, path, buffer=buffer, **options)


@asynccontextmanager
async def vanish(
    target: Listening | ASGIApp, path: str = "/", **options: Any
) -> AsyncGenerator[Raw | Buffered]:
    """Connect, and at the end of the block be gone without a close frame.

    On the wire the server gets a FIN, as from a process that was killed.

    Args:
        target: The app, or a running server.
        path: Where to connect.
        **options: As those of `stalled()`.

    Yields:
        The client.
    """
    async with stalled(target, path, **options) as client:
        yield client
        client.vanish()


@asynccontextmanager
async def reset(
    server: Listening, path: str = "/", **options: Any
) -> AsyncGenerator[Raw]:
    """Connect, and at the end of the block reset the connection.

    The server gets a RST: a router that has forgotten, a full backlog.

    Args:
        server: A running server.
        path: Where to connect.
        **options: As those of `stalled()`.

    Yields:
        The client.
    """
    async with raw(server, path, **options) as client:
        yield client
        client.reset()


@asynccontextmanager
async def half_open(
    server: "Server", path: str = "/", **options: Any
) -> AsyncGenerator["HalfOpen"]:
    """Connect over a line that can be cut: a tunnel, a dead battery.

    From `cut()` on nothing gets through in either direction, not even the
    end of the connection. Neither side is told.

    Args:
        server: A running server.
        path: Where to connect.
        **options: As those of `connect()`.

    Yields:
        The client, which behaves well.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        cut = asyncio.Event()
        carrying = asyncio.create_task(_carry(listener, server.port, cut))
        line = copy(server)
        line.port = listener.getsockname()[1]
        try:
            async with line.connect(path, **options) as client:
                try:
                    yield HalfOpen(client, cut.set)
                finally:
                    if cut.is_set():  # no answer will come to a close
                        carrying.cancel()
        finally:
            carrying.cancel()
            await asyncio.wait({carrying})


class HalfOpen(Client):
    """A client whose line can be cut.

    Attributes:
        cut: Cuts it.
    """

    def __init__(self, client: Client, cut: Callable[[], None]) -> None:
        self.cut = cut
        self.subprotocol, self.headers = client.subprotocol, client.headers
        self.timeout = client.timeout
        self._client = client

    async def _send(self, data: str | bytes) -> None:
        await self._client.send(data)

    async def _receive(self) -> str | bytes:
        return await self._client.receive()

    async def _close(self, code: int, reason: str) -> None:
        await self._client.close(code, reason)


async def _carry(
    listener: socket.socket, port: int, cut: asyncio.Event
) -> None:
    """Carry what two sides of one connection say, until it is cut."""
    loop = asyncio.get_running_loop()

    async def carry(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := await loop.sock_recv(source, 1 << 16):
                if not cut.is_set():
                    await loop.sock_sendall(sink, data)
            if not cut.is_set():
                sink.shutdown(socket.SHUT_WR)

    near, _ = await loop.sock_accept(listener)
    with near, socket.socket() as far:
        far.setblocking(False)
        await loop.sock_connect(far, ("127.0.0.1", port))
        async with asyncio.TaskGroup() as both:
            both.create_task(carry(near, far))
            both.create_task(carry(far, near))


async def flood(client: Client, message: str | bytes, count: int) -> int:
    """Send one message again and again, as fast as it is taken.

    Args:
        client: Any client, such as one of `connect()` or `raw()`.
        message: The message.
        count: How often.

    Returns:
        How many were taken before the connection was closed, or before the
        other side took none for as long as the client's time-out.
    """
    for taken in range(count):
        try:
            await client.send(message)
        except (Closed, TimeoutError):
            return taken
        await asyncio.sleep(0)  # the app may live in this event loop
    return count
