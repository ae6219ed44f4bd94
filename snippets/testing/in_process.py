"""A WebSocket client for tests and notebooks that talks to an app in process.

`connect()` opens a connection to any ASGI app, in your own event loop, without
a server: fast, and a breakpoint in a handler just works.

```python
async with connect(app, "/echo") as ws:
    await ws.send("hello")
    assert await ws.receive() == "hello"
```

The app's lifespan runs while at least one client is connected, once, however
many there are.

Needs: httpx-ws, and `client.py`, `hosted.py` and `lifespan.py`.
"""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
import httpx
from httpx_ws import (
    AsyncWebSocketSession,
    WebSocketDisconnect,
    WebSocketUpgradeError,
    aconnect_ws,
)
from httpx_ws.transport import (
    ASGIWebSocketAsyncNetworkStream,
    ASGIWebSocketTransport,
)
from wsproto.events import BytesMessage, TextMessage
from wsproto.utilities import LocalProtocolError

from .client import ASGIApp, Client, Closed, Refused, target
from .hosted import Hosted
from .lifespan import lifespan, only

# It logs a line, with the time of day, for every handshake.
logging.getLogger("httpx").setLevel(logging.WARNING)


@asynccontextmanager
async def connect(
    app: ASGIApp,
    path: str = "/",
    *,
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
    timeout: float = 5.0,
) -> AsyncGenerator[Client]:
    """Connect to an ASGI app in process, in the running event loop.

    Args:
        app: The app. Its lifespan starts with the first client and ends with
            the last.
        path: Where to connect, such as `/rooms/lobby`.
        headers: Headers of the handshake request.
        cookies: Cookies of the handshake request.
        params: The query string, as a mapping.
        subprotocols: The subprotocols to offer, best first.
        timeout: How long any single wait may last, in seconds; also the wait
            for the handler to end after the client has left.

    Yields:
        The connected client. It is closed when the block ends.

    Raises:
        Refused: The app did not accept the handshake.
        TimeoutError: The app neither accepted nor refused in time, or its
            handler went on after the client had left.
        Exception: What left the app, which a server would log. It comes after
            the block, or as the cause of what ended the block.
    """
    hosted = Hosted(app, target(path, params), timeout)
    http = httpx.AsyncClient(
        transport=ASGIWebSocketTransport(
            hosted, initial_receive_timeout=math.inf
        ),
        headers=headers,
        cookies=dict(cookies or {}),
    )
    try:
        async with lifespan(app), _line(hosted, http, subprotocols) as line:
            yield InProcess(line, timeout, hosted)
    except Exception as error:
        if hosted.error is not None and error.__cause__ is None:
            raise error from hosted.error
        raise
    if hosted.error is not None:
        raise hosted.error


@asynccontextmanager
async def _line(
    hosted: Hosted, http: httpx.AsyncClient, offer: Sequence[str]
) -> AsyncGenerator[AsyncWebSocketSession]:
    """Hold a connection in a task of its own.

    So nothing that ends the block, be it an error or a cancellation, meets
    the task groups of httpx-ws, and they wrap nothing in exception groups.
    """
    session = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def hold() -> None:
        async with http:
            handshake = aconnect_ws(
                "ws://testserver/",  # the app hears the real target
                http,
                subprotocols=list(offer) or None,
                session_class=_Session,
            )
            try:
                async with handshake as connected:
                    session.set_result(connected)
                    await leave.wait()
            finally:
                await hosted.ended()

    task = asyncio.create_task(hold())
    try:
        await asyncio.wait(
            (task, session), return_when=asyncio.FIRST_COMPLETED
        )
        if hosted.timed_out:
            raise TimeoutError(
                f"connecting to {hosted.target}: the app neither accepted "
                f"nor refused within {hosted.timeout:g} s"
            )
        if not session.done() and (error := task.exception()):
            raise refusal(only(error))
        yield session.result()
    finally:
        leave.set()
        if not session.done():
            hosted.hear(1006)  # the client will not see the answer
        with anyio.CancelScope(shield=True):
            await asyncio.wait((task,))
        task.exception()  # told above, or less than what ends the block
    task.result()
    if hosted.stuck:
        raise TimeoutError(
            "the handler was still running "
            f"{hosted.timeout:g} s after the client had left"
        )


def refusal(error: BaseException) -> BaseException:
    """Translate httpx-ws's error from a handshake.

    Args:
        error: What `aconnect_ws()` raised.

    Returns:
        A `Refused` if the handshake was refused, else the error itself.
    """
    if isinstance(error, WebSocketUpgradeError):
        return Refused(error.response.status_code, error.response.text)
    if isinstance(error, WebSocketDisconnect):
        # RFC 6455 has no close before the handshake is done: servers answer
        # with HTTP 403, and code and reason stay behind.
        return Refused(403, code=int(error.code), reason=error.reason)
    if isinstance(error, LocalProtocolError):
        # RFC 6455 §4.1: the client fails a connection whose answer is wrong.
        return Refused(101, f"the client does not take the answer: {error}")
    return error


class InProcess(Client):
    """A client over an httpx-ws session."""

    def __init__(
        self,
        session: AsyncWebSocketSession,
        timeout: float,
        hosted: Hosted | None = None,
    ) -> None:
        self._session = session
        self._hosted = hosted
        self.timeout = timeout
        self.subprotocol = session.subprotocol
        assert session.response is not None
        self.headers = session.response.headers

    async def _send(self, data: str | bytes) -> None:
        self._check_closed()
        if isinstance(data, str):
            await self._session.send_text(data)
        else:
            await self._session.send_bytes(data)

    async def _receive(self) -> str | bytes:
        try:
            event = await self._session.receive()
        except WebSocketDisconnect as left:
            self._check_closed()
            raise Closed(int(left.code), left.reason) from None
        assert isinstance(event, TextMessage | BytesMessage)
        return event.data if isinstance(event.data, str) else bytes(event.data)

    async def _close(self, code: int, reason: str) -> None:
        if self._hosted is not None:
            self._hosted.left = True
        await self._session.close(code, reason)
        self._check_closed()

    def _check_closed(self) -> None:
        if self._hosted is not None and self._hosted.closed is not None:
            raise self._hosted.closed.again() from None


class _Session(AsyncWebSocketSession):
    """Closes so that the app still gets what was sent before, in order.

    httpx-ws would close the stream at once, with what is in it.
    """

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        assert isinstance(self.stream, ASGIWebSocketAsyncNetworkStream)
        close = {"type": "websocket.disconnect", "code": code}
        await self.stream.send({**close, "reason": reason or ""})
