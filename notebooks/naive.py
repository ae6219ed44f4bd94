"""The managers that people copy, to see how they fail: chapter 9 does.

They are no part of the snippets. `snippets/connections.py` is what to copy.
"""

import asyncio
import linecache
from collections.abc import Awaitable
from itertools import count
from typing import Any

from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect

Socket = WebSocket[Any, Any, Any]


class SetAndLoop:
    """The manager of most tutorials: a set, and a loop that awaits.

    Attributes:
        connections: Those that are open, as far as it knows.
    """

    def __init__(self) -> None:
        self.connections: set[Socket] = set()

    async def connect(self, socket: Socket) -> None:
        """Accept a connection, and remember it."""
        await socket.accept()
        self.connections.add(socket)

    def disconnect(self, socket: Socket) -> None:
        """Forget a connection."""
        self.connections.remove(socket)

    async def broadcast(self, text: str) -> None:
        """Send a text to all connections."""
        for connection in self.connections:
            await connection.send_text(text)


class Gather(SetAndLoop):
    """Its improved version: a task for each send, and errors put aside."""

    async def broadcast(self, text: str) -> None:
        """Send a text to all connections at the same time."""
        sends = [each.send_text(text) for each in self.connections]
        await asyncio.gather(*sends, return_exceptions=True)


class GatherWithTimeout(SetAndLoop):
    """The next one: no send takes longer than a time-out.

    Args:
        timeout: How long a send may take, in seconds.
    """

    def __init__(self, timeout: float = 1.0) -> None:
        super().__init__()
        self.timeout = timeout

    async def broadcast(self, text: str) -> None:
        """Send a text to all connections, and give up on slow ones."""
        sends = [
            self._within(each.send_text(text)) for each in self.connections
        ]
        await asyncio.gather(*sends, return_exceptions=True)

    async def _within(self, send: Awaitable[None]) -> None:
        await asyncio.wait_for(send, self.timeout)


def numbered() -> type[Socket]:
    """Make a class of sockets that hash in the order of their coming.

    A small set of them has that order, too, so each run is like the one
    before.
    """
    numbers = count()

    class Numbered(Socket):
        __slots__ = ("number",)

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.number = next(numbers)

        def __hash__(self) -> int:
            return self.number

    return Numbered


def create_app(manager: SetAndLoop) -> Litestar:
    """Make a chat at `/chat`: what one sends, all hear.

    Args:
        manager: Who tells them.

    Returns:
        The app.
    """

    @websocket("/chat", websocket_class=numbered())
    async def chat(socket: Socket) -> None:
        await manager.connect(socket)
        try:
            while True:
                text = await socket.receive_text()
                await manager.broadcast(text)
        except WebSocketDisconnect:
            manager.disconnect(socket)

    return Litestar([chat])


def standing() -> str:
    """Tell on which lines of this module the tasks of the event loop wait.

    Returns:
        One line for each task that runs code of this module, sorted.
    """
    lines = []
    for task in asyncio.all_tasks():
        line, coroutine = "", task.get_coro()
        while frame := getattr(coroutine, "cr_frame", None):
            if frame.f_globals["__name__"] == __name__:
                file = frame.f_code.co_filename
                line = linecache.getline(file, frame.f_lineno)
            coroutine = getattr(coroutine, "cr_await", None)
        lines.append(line.strip())
    return "\n".join(sorted(filter(None, lines)))
