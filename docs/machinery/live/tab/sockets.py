"""The apps of a tab, and the web pages that talk to them.

A tab has no ports. An app that is served gets a host name instead, such as
`app-1.tab`; a page in a frame has a `WebSocket` (socket.mjs) that writes
messages instead of frames, and here each becomes what `connect()` does.

A page's `close` may come with any code: 1001 says that its frame went away,
1006 that the page closed while it was still connecting.
"""

import asyncio
import math
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from itertools import count
from types import ModuleType
from typing import Any, Never
from urllib.parse import urlsplit

import httpx
from anyio import CancelScope

from snippets.testing import Client, Closed, Refused, connect
from snippets.testing.lifespan import lifespan

Post = Callable[[dict[str, Any]], None]
SERVER = "snippets.testing.server"
"""The module that a tab cannot have: it needs uvicorn."""
GRACE = 2.0
"""How long handlers may go on once their server stops, in seconds."""
_LOST = Closed(1006)


class Server:
    """A served app, as `snippets.testing.server.Server` describes it.

    Attributes:
        log: What a server would log: the errors that left the app.
    """

    def __init__(self, app: Any, host: str) -> None:
        self._app = app
        self._host = host
        self.log: list[str] = []

    @property
    def url(self) -> str:
        """Where WebSocket clients connect, without a path."""
        return f"ws://{self._host}"

    @property
    def http_url(self) -> str:
        """Where HTTP clients connect, without a path."""
        return f"http://{self._host}"

    def connect(self, path: str = "/", **options: Any) -> Any:
        """Connect in process: `connect()` behaves as the wire does."""
        return connect(self._app, path, **options)

    def __getattr__(self, name: str) -> Never:
        raise AttributeError(f"an app in a tab has no {name}: no port is used")


@dataclass(eq=False)
class _Served:
    app: Any
    server: Server
    chapter: str | None
    task: asyncio.Task[Any]
    stack: AsyncExitStack
    # What handlers print belongs to the cell that serves their app.
    context: Context = field(default_factory=copy_context)
    lines: "dict[asyncio.Task[None], _Line]" = field(default_factory=dict)


class Sockets:
    """The apps that are served in this tab, and the connections to them.

    Args:
        post: Sends a message to the page.
        chapter: Tells which chapter is running.
    """

    def __init__(
        self, post: Post, chapter: Callable[[], str | None] = lambda: None
    ) -> None:
        self._post = post
        self._chapter = chapter
        self._numbers = count(1)
        self._apps: dict[str, _Served] = {}
        self._lines: dict[Any, _Line] = {}

    def handle(self, message: dict[str, Any]) -> None:
        """Take what a page's WebSocket asks for; see LIVE's messages.

        Args:
            message: Of the type `socket`: open, send or close.
        """
        key = message["id"]
        if message["event"] == "open":
            self._open(key, message["url"], message.get("protocols") or ())
        elif line := self._lines.get(key):
            line.hear(message)

    async def take(self, message: dict[str, Any]) -> None:
        """Do as `handle()`, in a task: anyio wants one, JavaScript has none.

        Args:
            message: Of the type `socket`.
        """
        self.handle(message)

    def _open(self, key: Any, url: str, protocols: Sequence[str]) -> None:
        def post(event: str, **fields: Any) -> None:
            self._post({"type": "socket", "id": key, "event": event, **fields})

        parts = urlsplit(url)
        served = self._apps.get(parts.netloc)
        if served is None:
            post("error")
            _post_close(post, _LOST)
            return
        line = self._lines[key] = _Line(served, post, list(protocols))
        target = f"{parts.path or '/'}?{parts.query}".removesuffix("?")
        task = asyncio.get_running_loop().create_task(
            line.run(target), context=served.context.copy()
        )
        served.lines[task] = line

        def forget(task: asyncio.Task[None]) -> None:
            del served.lines[task]
            del self._lines[key]

        task.add_done_callback(forget)

    async def fetch(self, url: str) -> tuple[int, str, bytes]:
        """GET a page, or one of its files, from an app.

        Args:
            url: Such as `http://app-1.tab/client.html`.

        Returns:
            Status, content type and body of the answer; 404 if there is no
            such app.
        """
        served = self._apps.get(urlsplit(url).netloc)
        if served is None:
            return 404, "text/plain", f"no app is at {url}".encode()
        transport = httpx.ASGITransport(served.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport, trust_env=False
        ) as http:
            answer = await http.get(url)
        kind = answer.headers.get("content-type", "")
        return answer.status_code, kind, answer.content

    @asynccontextmanager
    async def serve(self, app: Any, **options: Any) -> AsyncGenerator[Server]:
        """Give an app a host name while the block lasts.

        Args:
            app: The app, with its lifespan.
            **options: There are none: those of uvicorn need uvicorn.

        Yields:
            What can be said of a server in a tab.

        Raises:
            NotImplementedError: There are options.
        """
        if options:
            named = ", ".join(options)
            raise NotImplementedError(f"a tab has no uvicorn to set: {named}")
        host = f"app-{next(self._numbers)}.tab"
        stack = AsyncExitStack()
        await stack.enter_async_context(lifespan(app))
        server = Server(app, host)
        task = asyncio.current_task()
        assert task is not None
        self._apps[host] = _Served(app, server, self._chapter(), task, stack)
        try:
            yield server
        finally:
            with CancelScope(shield=True):
                await self._stop(host)

    async def close_all(self, chapter: str | None = None) -> None:
        """Stop the apps of a chapter, and the tasks that serve them.

        Args:
            chapter: The chapter; None for all.
        """
        for host, served in list(self._apps.items()):
            if chapter in {None, served.chapter}:
                served.task.cancel()
                await self._stop(host)

    async def _stop(self, host: str) -> None:
        served = self._apps.pop(host, None)
        if served is None:
            return
        for line in served.lines.values():
            line.hear({"event": "close", "code": 1012})  # as uvicorn does
        try:
            await _patience(served)
            for line in served.lines.values():
                line.handler.cancel()
            await _patience(served)
        finally:
            await served.stack.aclose()

    def install(self) -> None:
        """Put what a tab has in the place of `snippets.testing.server`."""
        module = ModuleType(SERVER, "What a tab has instead of a server.")

        def missing(name: str) -> Never:
            if name.startswith("__"):  # the import system looks around
                raise AttributeError(name)
            raise ImportError(f"{SERVER}.{name} needs uvicorn; a tab has none")

        vars(module).update(
            serve=self.serve, Server=Server, __getattr__=missing
        )
        sys.modules[SERVER] = module


async def _patience(served: _Served) -> None:
    if served.lines:
        await asyncio.wait(list(served.lines), timeout=GRACE)


def _post_close(post: Callable[..., None], closed: Closed) -> None:
    clean = closed.code != 1006
    post("close", code=closed.code, reason=closed.reason, wasClean=clean)


class _Line:
    """One connection of a page, and an ASGI app: its own end of the line."""

    def __init__(
        self, served: _Served, post: Callable[..., None], offer: list[str]
    ) -> None:
        self.app = served.app
        self.server = served.server
        self.post = post
        self.offer = offer
        self.handshake = CancelScope()
        self.handler = CancelScope()
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.open = False
        self.over = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"  # the lifespan is up to serve()
        with self.handler:
            await self.app(scope, receive, send)

    def hear(self, message: dict[str, Any]) -> None:
        if self.open:
            self.inbox.put_nowait(message)
        elif message["event"] == "close":
            self._end(_LOST, failed=True)
            self.handshake.cancel()

    async def run(self, target: str) -> None:
        connection = connect(
            self,
            target,
            headers={
                "host": urlsplit(self.server.url).netloc,
                "origin": self.server.http_url,
            },
            subprotocols=self.offer,
            timeout=math.inf,  # browsers are patient
        )
        try:
            async with AsyncExitStack() as stack:
                with self.handshake:
                    client = await stack.enter_async_context(connection)
                    await self._relay(client)
        except Refused:
            pass
        except Exception as error:  # noqa: BLE001 - what a server would log
            told = f"{type(error).__name__}: {error}"
            self.server.log.append(f"Exception in ASGI application: {told}")
        finally:
            self._end(_LOST, failed=True)

    async def _relay(self, client: Client) -> None:
        if self.offer and client.subprotocol is None:
            # A browser drops a connection in which no offer was chosen.
            self._end(_LOST, failed=True)
            await _leave(client, _LOST)
            return
        self.open = True
        self.post("open", protocol=client.subprotocol or "")
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(self._read(client))
            while (message := await self.inbox.get())["event"] == "send":
                with suppress(Closed):  # which the reader will find, in order
                    await client.send(_payload(message["data"]))
            if message["event"] == "close":
                reader.cancel()
                code = message.get("code") or 1005
                closed = Closed(code, message.get("reason") or "")
                self._end(await _leave(client, closed))

    async def _read(self, client: Client) -> None:
        async for message in client:
            self.post("message", data=message)
        self._end(client.closed or _LOST)
        self.inbox.put_nowait({"event": "over"})

    def _end(self, closed: Closed, *, failed: bool = False) -> None:
        """Tell the page, once, that the connection is over."""
        if self.over:
            return
        self.over = True
        if failed:
            self.post("error")
        _post_close(self.post, closed)


async def _leave(client: Client, closed: Closed) -> Closed:
    """Close as a page does: also without a code, or without a close frame."""
    code = 1005 if closed.code == 1006 else closed.code  # as uvicorn has it
    try:
        await client._close(code, closed.reason)
    except Closed as first:
        return first
    return closed


def _payload(data: Any) -> str | bytes:
    if isinstance(data, str):
        return data
    # An ArrayBuffer as Pyodide hands it over has a method for this.
    return data.to_bytes() if hasattr(data, "to_bytes") else bytes(data)
