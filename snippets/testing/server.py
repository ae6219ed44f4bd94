"""A real server for tests and notebooks, in the running event loop.

`serve()` runs an app on uvicorn on a free port, is ready when it says so, and
stops before the block ends. Its clients speak through `websockets`, an
implementation that shares no code with the server side of your app.

```python
async with serve(app) as server, server.connect("/echo") as ws:
    await ws.send("hello")
    assert await ws.receive() == "hello"
```

Needs: uvicorn, websockets and `client.py`.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import (
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from contextvars import ContextVar
from typing import Any

import anyio
import uvicorn
from websockets.asyncio.client import (
    ClientConnection,
    connect as open_connection,
)
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
)
from websockets.typing import Subprotocol

from .client import ASGIApp, Client, Closed, Refused, target

_PATIENCE = 10
"""How long an app may take to start or to stop, in seconds."""


class Server:
    """A running server.

    Attributes:
        port: The port on 127.0.0.1 where it listens.
        log: What it logged as a warning or an error, one line each; of a
            traceback, the last line.
    """

    def __init__(self, port: int, log: list[str]) -> None:
        self.port = port
        self.log = log

    @property
    def url(self) -> str:
        """Where WebSocket clients connect, without a path."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def http_url(self) -> str:
        """Where HTTP clients connect, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def connect(
        self,
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        timeout: float = 5.0,
    ) -> AsyncGenerator[Client]:
        """Connect over TCP. The arguments are those of `in_process.connect()`.

        Args:
            path: Where to connect, such as `/rooms/lobby`.
            headers: Headers of the handshake request.
            cookies: Cookies of the handshake request.
            params: The query string, as a mapping.
            subprotocols: The subprotocols to offer, best first.
            timeout: How long any single wait may last, in seconds.

        Yields:
            The connected client. It is closed when the block ends.

        Raises:
            Refused: The server did not switch protocols.
            TimeoutError: The server did not answer in time.
        """
        sent = dict(headers or {})
        if cookies:
            pairs = (f"{name}={value}" for name, value in cookies.items())
            sent["Cookie"] = "; ".join(pairs)
        try:
            connection = await open_connection(
                self.url + target(path, params),
                additional_headers=sent,
                subprotocols=[Subprotocol(name) for name in subprotocols]
                or None,
                open_timeout=timeout,
                close_timeout=timeout,
                max_size=None,  # browsers have no limit either
                proxy=None,
            )
        except InvalidStatus as refused:
            answer = refused.response
            body = (answer.body or b"").decode(errors="replace")
            raise Refused(answer.status_code, body) from None
        except TimeoutError:
            raise TimeoutError(
                f"connecting to {path}: the app neither accepted nor refused "
                f"within {timeout:g} s"
            ) from None
        except InvalidHandshake as refused:
            raise Refused(
                101, f"the client does not take the answer: {refused}"
            ) from None
        try:
            yield _OnTheWire(connection, timeout)
        finally:
            await connection.close()


class _OnTheWire(Client):
    """A client over TCP."""

    def __init__(self, connection: ClientConnection, timeout: float) -> None:
        self._connection = connection
        self.timeout = timeout
        self.subprotocol = connection.subprotocol
        assert connection.response is not None
        self.headers = connection.response.headers

    async def _send(self, data: str | bytes) -> None:
        try:
            await self._connection.send(data)
        except ConnectionClosed as closed:
            raise _closed(closed) from None

    async def _receive(self) -> str | bytes:
        try:
            return await self._connection.recv()
        except ConnectionClosed as closed:
            raise _closed(closed) from None

    async def _close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)
        ending = self._connection.protocol.close_exc
        if ending.rcvd_then_sent:
            raise _closed(ending)


def _closed(error: ConnectionClosed) -> Closed:
    # Without a close frame there is nothing to report but 1006 (§7.1.5).
    if error.rcvd is None:
        return Closed(1006)
    return Closed(error.rcvd.code, error.rcvd.reason)


@asynccontextmanager
async def serve(app: ASGIApp, **options: Any) -> AsyncGenerator[Server]:
    """Run an app on uvicorn while the block lasts.

    Args:
        app: The app, with its lifespan.
        **options: Options of `uvicorn.Config`, such as
            `ws_ping_interval=0.3` or `ws="wsproto"`.

    Yields:
        The server, ready for connections.

    Raises:
        RuntimeError: The app did not start, for instance because a start-up
            hook failed; the text holds what the server logged. Or it did not
            stop.
    """
    defaults: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 0,
        "log_config": None,
        "access_log": False,
        "interface": "asgi3",
        "timeout_graceful_shutdown": 2,
    }
    server = _Uvicorn(app, defaults | options)
    with _logged(server):
        running = asyncio.create_task(server.serve())
        running.add_done_callback(lambda _: server.ready.set())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await server.ready.wait()
            if running.done():
                running.result()
            if not server.started:
                why = server.log or [f"no answer within {_PATIENCE} s"]
                raise RuntimeError("\n".join(["the app did not start:", *why]))
            port = server.servers[0].sockets[0].getsockname()[1]
            yield Server(port, server.log)
        finally:
            with anyio.CancelScope(shield=True):
                stopped = await server.stop(running)
        running.result()
        if not stopped:
            raise RuntimeError(
                f"the app did not stop: no answer within {_PATIENCE} s"
            )


class _Uvicorn(uvicorn.Server):
    """uvicorn, saying when it is ready and leaving signals alone."""

    def __init__(self, app: ASGIApp, options: dict[str, Any]) -> None:
        super().__init__(uvicorn.Config(self.run_app, **options))
        self.app = app
        self.ready = asyncio.Event()
        self.log: list[str] = []
        self.lifespan_scope = anyio.CancelScope()

    async def run_app(self, scope: Any, receive: Any, send: Any) -> None:
        # uvicorn waits for the hooks of an app without an end.
        hooks = scope["type"] == "lifespan"
        with self.lifespan_scope if hooks else nullcontext():
            await self.app(scope, receive, send)

    async def serve(self, sockets: Any = None) -> None:
        _server.set(self)  # before uvicorn's first line, "Started server ..."
        await super().serve(sockets)

    async def startup(self, sockets: Any = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:  # which would end the event loop
            self.should_exit = True
        self.ready.set()

    async def stop(self, running: asyncio.Task[None]) -> bool:
        self.should_exit = True
        handlers = self.server_state.tasks
        patience = _PATIENCE if self.started else 0
        await asyncio.wait({running, *handlers}, timeout=patience)
        stopped = running.done()
        self.lifespan_scope.cancel()
        await asyncio.wait({running})
        for listener in self.servers if self.started else ():
            listener.close()  # which uvicorn leaves open if it failed
        return stopped

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


# All servers share one logger. Each runs in a context of its own, which its
# connections inherit.
_server: ContextVar[_Uvicorn | None] = ContextVar("server", default=None)


@contextmanager
def _logged(server: _Uvicorn) -> Generator[None]:
    """Collect what a server logs, instead of printing it."""

    def collect(record: logging.LogRecord) -> bool:
        if _server.get() is not server:
            return True
        if record.levelno >= logging.WARNING:
            server.log.append(one_line(record))
        return False

    logger = logging.getLogger("uvicorn.error")
    logger.addFilter(collect)
    try:
        yield
    finally:
        logger.removeFilter(collect)


def one_line(record: logging.LogRecord) -> str:
    """Say in one line what was logged.

    Args:
        record: What was logged.

    Returns:
        Its last line; of an error that comes with it, the last line, too.
    """
    # Uvicorn logs a failed start-up as the text of a traceback, which has a
    # frame around it if it is that of an exception group.
    lines = [line.strip(" +-|") for line in record.getMessage().splitlines()]
    line = [line for line in lines if line][-1]
    if record.exc_info and (error := record.exc_info[1]):
        line += f": {type(error).__name__}: {error}"
    return line
