"""Accept, then one close, on every way out of a connection.

`lifecycle` wraps the life of a connection, in a handler or around a listener:

```python
@websocket("/echo")
async def echo(socket: WebSocket) -> None:
    async with lifecycle(socket):
        async for text in socket.iter_data():
            await socket.send_text(text)


@websocket_listener("/shout", connection_lifespan=lifecycle)
async def shout(data: str) -> str:
    return data.upper()
```

Needs: litestar and `closing.py`.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from litestar.types import Message

from .closing import AnySocket, CloseCode, close, closing_for


@asynccontextmanager
async def lifecycle(socket: AnySocket) -> AsyncGenerator[None]:
    """Accept a connection, and see that it ends well.

    Inside the block a client that has gone is always a `WebSocketDisconnect`,
    also where the server reports it as OSError. What ends the block decides
    the close: the end of the block, 1000; this client's leaving, nothing; an
    exception, also out of a task group, what `closing.closing_for()` makes of
    it, in short the code of a `WebSocketException` and 1011 for a bug; a
    cancellation, 1011. A close of your own inside the block stands; sending
    after it is a `WebSocketDisconnect`, too.

    Args:
        socket: The connection. It may be accepted already, with a subprotocol
            or headers of your choice.

    Yields:
        Nothing; the connection is open.

    Raises:
        WebSocketException: The block failed. Litestar turns it into the close
            frame; the error itself is its cause.
    """
    watched = _Watched(socket)
    await socket.accept()
    try:
        yield
    except asyncio.CancelledError:
        with anyio.move_on_after(1, shield=True):
            await close(socket, CloseCode.INTERNAL_ERROR, "cancelled")
        raise
    except Exception as error:
        causes = _causes(error)
        if watched.over and all(
            isinstance(c, WebSocketException) for c in causes
        ):
            return
        cause = causes[0] if len(causes) == 1 else error
        raise closing_for(cause) from error
    await close(socket)


class _Watched:
    """Notes how a connection ends, and gives "gone" one name."""

    def __init__(self, socket: AnySocket) -> None:
        self._socket = socket
        self._send = socket.send
        self._ended = False
        socket.send = self.send

    @property
    def over(self) -> bool:
        """Whether this connection was closed, by either side."""
        return self._ended or self._socket.connection_state == "disconnect"

    async def send(self, message: Message) -> None:
        if self._ended:
            raise WebSocketDisconnect(detail="the connection is closed")
        try:
            await self._send(message)
        except OSError as gone:
            self._ended = True
            raise WebSocketDisconnect(
                detail="the client has gone", code=1006
            ) from gone
        if message["type"] == "websocket.close":
            self._ended = True


def _causes(error: Exception) -> list[Exception]:
    """List what a task group has gathered, or the error alone."""
    if not isinstance(error, ExceptionGroup):
        return [error]
    inner = [_causes(part) for part in error.exceptions]
    return [cause for causes in inner for cause in causes]
