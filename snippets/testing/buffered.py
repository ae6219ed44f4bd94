"""A client in process whose connection can be full.

A server's connection takes so many bytes for a client that does not read, and
then the app's `send` waits. `connect()` takes everything; `buffered()` waits
as a server does, after exactly as many bytes as you say.

```python
async with buffered(app, "/news", buffer=1000) as client:
    await client.full()  # the app has sent 1000 bytes, and waits
    await client.receive()  # makes room
```

Needs: anyio, and `client.py`, `hosted.py` and `lifespan.py`.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from .client import ASGIApp, Client, Closed, Refused, target
from .hosted import Hosted
from .lifespan import lifespan

BUFFER = 64 * 1024
"""How much a connection holds for a client that does not read, in bytes."""


@asynccontextmanager
async def buffered(
    app: ASGIApp,
    path: str = "/",
    *,
    buffer: int = BUFFER,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
    timeout: float = 5.0,
) -> AsyncGenerator["Buffered"]:
    """Connect to an app in process, over a connection that can be full.

    Args:
        app: The app. Its lifespan is that of `connect()`.
        path: Where to connect.
        buffer: How many bytes the connection holds; when so many are not read
            yet, the app's next `send` waits.
        headers: Headers of the handshake request.
        subprotocols: The subprotocols to offer, best first.
        timeout: How long any single wait may last, in seconds; also the wait
            for the handler to end after the client has left.

    Yields:
        The connected client.

    Raises:
        Refused: The app did not accept the handshake.
        TimeoutError: The app neither accepted nor refused in time, or its
            handler went on after the client had left.
        Exception: What left the app, which a server would log. It comes after
            the block, or as the cause of what ended the block.
    """
    sent = {"Host": "testserver", **(headers or {})}
    if subprotocols:
        sent["Sec-WebSocket-Protocol"] = ", ".join(subprotocols)
    scope = {
        "type": "websocket",
        "scheme": "ws",
        "root_path": "",
        "headers": [
            (name.lower().encode("latin-1"), text.encode("latin-1"))
            for name, text in sent.items()
        ],
        "client": ("127.0.0.1", 123),
        "server": ("testserver", None),
        "subprotocols": list(subprotocols),
    }
    client = Buffered(app, target(path, None), buffer, timeout)
    try:
        async with lifespan(app):
            running = asyncio.create_task(client._run(scope))
            try:
                await client._open()
                yield client
            finally:
                client.vanish()
                with anyio.CancelScope(shield=True):
                    await client._hosted.ended()
                    await asyncio.wait({running})
            running.result()
    except Exception as error:
        if client._hosted.error is not None and error.__cause__ is None:
            raise error from client._hosted.error
        raise
    if client._hosted.error is not None:
        raise client._hosted.error
    if client._hosted.stuck:
        raise TimeoutError(
            f"the handler was still running {timeout:g} s after the client "
            "had left"
        )


class Buffered(Client):
    """A client in process, over a connection that can be full.

    Attributes:
        taken: How many bytes the app has sent, not counting what waits.
        held: How many of them the client has not read yet.
    """

    def __init__(
        self, app: ASGIApp, target: str, buffer: int, timeout: float
    ) -> None:
        self.headers = {}
        self.timeout = timeout
        self.taken = 0
        self.held = 0
        self._app = app
        self._buffer = buffer
        self._hosted = Hosted(self._wait_for_room, target, timeout)
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._room = asyncio.Event()
        self._room.set()
        self._waiting = asyncio.Event()

    async def full(self) -> None:
        """Wait until the connection is full, and a `send` of the app waits.

        Raises:
            TimeoutError: That did not happen in time.
        """
        await self._within("waiting to be full", self._waiting.wait())

    async def resume(self) -> list[str | bytes]:
        """Read again, until the connection ends; `closed` says how it did.

        Returns:
            The messages that had been sent meanwhile.

        Raises:
            TimeoutError: The connection stayed open, and nothing came in time.
        """
        return [message async for message in self]

    def vanish(self) -> None:
        """Be gone without a close frame. Who waits in `send` gets OSError."""
        if not self._hosted.left:
            self._hang_up(1005)
        self.closed = self.closed or Closed(1006)

    def _hang_up(self, code: int, reason: str = "") -> None:
        self._hosted.left = True
        left = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self._to_app.put_nowait(left)
        self._room.set()

    async def _run(self, scope: Any) -> None:
        await self._hosted(scope, self._to_app.get, self._take)

    async def _wait_for_room(
        self, scope: Any, receive: Any, send: Any
    ) -> None:
        async def send_when_there_is_room(message: Any) -> None:
            while not self._room.is_set():
                self._waiting.set()
                await self._room.wait()
            await send(message)

        await self._app(scope, receive, send_when_there_is_room)

    async def _take(self, message: dict[str, Any]) -> None:
        self._from_app.put_nowait(message)
        self.taken += _size(message)
        self.held += _size(message)
        if self.held >= self._buffer:
            self._room.clear()

    async def _next(self) -> dict[str, Any]:
        message = await self._from_app.get()
        self.held -= _size(message)
        if self.held < self._buffer:
            self._waiting.clear()
            self._room.set()
        return message

    async def _open(self) -> None:
        self._to_app.put_nowait({"type": "websocket.connect"})
        message, body = await self._next(), b""
        if message["type"] == "websocket.http.response.start":
            more = True
            while more:
                part = await self._next()
                body += part.get("body", b"")
                more = part.get("more_body", False)
        if self._hosted.timed_out:
            raise TimeoutError(
                f"connecting to {self._hosted.target}: the app neither "
                f"accepted nor refused within {self.timeout:g} s"
            )
        if message["type"] == "websocket.close":
            code, reason = message["code"], message["reason"]
            raise Refused(403, code=code, reason=reason)
        if message["type"] != "websocket.accept":
            raise Refused(message["status"], body.decode(errors="replace"))
        self.subprotocol = message.get("subprotocol")
        self.headers = {
            name.decode("latin-1"): text.decode("latin-1")
            for name, text in message["headers"]
        }

    async def _send(self, data: str | bytes) -> None:
        kind = "text" if isinstance(data, str) else "bytes"
        if self._hosted.closed is not None:
            raise self._hosted.closed.again()
        self._to_app.put_nowait({"type": "websocket.receive", kind: data})

    async def _receive(self) -> str | bytes:
        message = await self._next()
        if message["type"] == "websocket.close":
            raise self._hosted.closed or Closed(1006)
        text = message.get("text")
        return message["bytes"] if text is None else text

    async def _close(self, code: int, reason: str) -> None:
        if self._hosted.closed is not None:
            raise self._hosted.closed.again()
        self._hang_up(code, reason)


def _size(message: Mapping[str, Any]) -> int:
    """How many bytes a message takes; its frame's header is not counted."""
    text, data = message.get("text"), message.get("bytes")
    return len(data or b"" if text is None else text.encode())
