"""The managers that people copy, to see how they fail: chapter 9 does.

They are no part of the snippets. `snippets/connections.py` is what to copy.
"""

import asyncio
import linecache
from collections.abc import Awaitable, Callable
from contextlib import suppress
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


class Peer:
    """A client and its server, made of the two functions of ASGI.

    Args:
        app: The app.
        name: Of the client, also in the header `name`.
        log: Called with all that happens to it.

    Attributes:
        heard: The texts that it got.
        closes: The codes with which it was closed.
        reads: Whether the client takes what the app sends.
    """

    def __init__(
        self, app: Litestar, name: str, log: Callable[[str], None]
    ) -> None:
        self.name = name
        self.heard: list[str] = []
        self.closes: list[int] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self._app: Any = app
        self._log = log
        self._gone = False
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})

    async def run(self) -> None:
        """Run the app for this connection, as a server does."""
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "scheme": "ws",
            "http_version": "1.1",
            "path": "/chat",
            "raw_path": b"/chat",
            "root_path": "",
            "query_string": b"",
            "headers": [(b"name", self.name.encode())],
            "subprotocols": [],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "state": {},
            "extensions": {},
        }
        with suppress(OSError, RuntimeError):  # which a server logs, at most
            await self._app(scope, self._inbox.get, self._send)

    async def _send(self, message: Any) -> None:
        await asyncio.sleep(0)
        if message["type"] == "websocket.accept":
            self._log(f"{self.name} comes")
            return
        await self.reads.wait()
        if self._gone:
            raise OSError("the client has gone")
        if self.closes:  # Litestar's own close, after a bug
            assert message["type"] == "websocket.close", "sent after the close"
            raise RuntimeError("a close after a close")
        if message["type"] == "websocket.send":
            self.heard.append(message["text"])
            self._log(f"{self.name} hears {message['text']}")
        else:
            self.closes.append(message["code"])
            self._log(f"{self.name} is closed: {message['code']}")
            self.leave(message["code"])

    def say(self, text: str) -> None:
        """Send a text."""
        self._inbox.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self, code: int = 1001) -> None:
        """Close the connection, once all that was said has been read."""
        left = {"type": "websocket.disconnect", "code": code}
        self._inbox.put_nowait(left)

    def vanish(self) -> None:
        """Be gone, without a word."""
        self._log(f"{self.name} vanishes")
        self._gone = True
        self.reads.set()
        self.leave(1006)


async def three(
    create: Callable[[], Litestar], log: Callable[[str], None]
) -> None:
    """Ada and Bob are here, Ada says something, and a bit later Eve comes.

    Args:
        create: Makes a chat at `/chat`.
        log: Called with all that happens.

    Raises:
        AssertionError: Somebody is thrown out.
    """
    app = create()
    peers = [Peer(app, name, log) for name in ("ada", "bob", "eve")]
    ada, bob, eve = peers
    async with asyncio.TaskGroup() as tasks:
        for peer in (ada, bob):
            tasks.create_task(peer.run())
        await asyncio.sleep(0.3)
        log("ada says tea?")
        ada.say("tea?")
        for _ in range(10):
            await asyncio.sleep(0)
        tasks.create_task(eve.run())
        await asyncio.sleep(0.3)
        for peer in peers:
            peer.leave()
    for peer in peers:
        assert not peer.closes or 1000 in peer.closes, f"{peer.name} is out"
