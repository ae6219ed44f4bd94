"""One connection's app in process, behaving as it does behind a server.

A server keeps promises of the ASGI specification that httpx-ws's transport
does not: optional keys have defaults, `send` to a client that has gone raises
OSError, `receive` after a close says so, and an app that ends without closing
loses the connection. `Hosted` goes between the two and keeps them:

```python
hosted = Hosted(app, "/echo", timeout=5.0)
transport = ASGIWebSocketTransport(hosted)
```

Needs: anyio, and `client.py`.
"""

import asyncio
from typing import Any
from urllib.parse import unquote

import anyio

from .client import ASGIApp, Closed, check_close

_DENIAL = "websocket.http.response.start"
_DENIAL_BODY = "websocket.http.response.body"
_SERVER_ERROR = b"Internal Server Error"
_BEFORE = ("websocket.accept", "websocket.close", _DENIAL, _DENIAL_BODY)
_WHEN_OPEN = ("websocket.send", "websocket.close")


class _Gone(OSError):
    """What `send` raises once the client has gone (ASGI specification)."""


class Hosted:
    """One connection's app, behaving as it does behind a server.

    Args:
        app: The app.
        target: What the handshake asks for: path and query string.
        timeout: How long the app may take to answer the handshake, and to
            end once its client has left, in seconds.

    Attributes:
        timed_out: Whether the app neither accepted nor refused in time.
        stuck: Whether the app did not end once its client had left.
        error: What left the app, to be raised in the test.
        closed: How the app closed; 1006 if it ended without a close frame.
        left: Whether the client has closed; the client sets it.
    """

    def __init__(self, app: ASGIApp, target: str, timeout: float) -> None:
        self.app = app
        self.target = target
        self.timeout = timeout
        self.timed_out = False
        self.stuck = False
        self.error: Exception | None = None
        self.closed: Closed | None = None
        self.left = False
        self._accepted = False
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._scope = anyio.CancelScope()
        self._ended = asyncio.Event()
        self._ended.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the app for one connection (ASGI specification)."""
        self._transport_send = send
        self._complete(scope)
        # On a server the first event is there at once, and never makes the
        # app wait; a stream would run into itself if it did.
        self._inbox.put_nowait(await receive())
        self._listening = asyncio.create_task(self._listen(receive))
        patience = asyncio.get_running_loop().call_later(
            self.timeout, self._give_up
        )
        self._ended.clear()
        try:
            with self._scope:
                await self._run(scope)
            await self._finish()
        finally:
            patience.cancel()
            self._ended.set()

    async def _run(self, scope: Any) -> None:
        try:
            await self.app(scope, self._inbox.get, self._send)
        except _Gone:
            pass  # a server ends such a handler without a word, too
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this task: it waited for one that was.
            self.error = RuntimeError("the handler raised CancelledError")
            self.error.__cause__ = cancelled
        except Exception as error:  # noqa: BLE001 - raised in connect()
            self.error = error

    async def _finish(self) -> None:
        """End the connection as a server does once its app has ended."""
        if self.closed is not None or self.left:
            return
        if self._accepted:
            self.closed = Closed(1006)
            close = {"type": "websocket.close", "code": 1000, "reason": ""}
            await self._transport_send(close)
        else:
            await self._send({"type": _DENIAL, "status": 500})
            await self._send({"type": _DENIAL_BODY, "body": _SERVER_ERROR})

    def _complete(self, scope: Any) -> None:
        path, _, query = self.target.partition("?")
        # The transport splits the offer at commas and keeps the spaces.
        offered = (name.strip() for name in scope["subprotocols"])
        scope.update(
            asgi={"version": "3.0", "spec_version": "2.4"},
            http_version="1.1",
            path=unquote(path),
            raw_path=path.encode("ascii"),
            query_string=query.encode("ascii"),
            subprotocols=[name for name in offered if name],
            extensions={"websocket.http.response": {}},
        )

    async def _listen(self, receive: Any) -> None:
        # In a queue, a message survives a receive() that is cancelled.
        while (message := await receive())["type"] == "websocket.receive":
            self._inbox.put_nowait(message)
        self.hear(message.get("code", 1005), message.get("reason", ""))

    def hear(self, code: int, reason: str = "") -> None:
        """Let the app hear of a disconnect, after what it has not read yet.

        Args:
            code: The close code that it hears.
            reason: The reason.
        """
        kind = "websocket.disconnect"
        self._inbox.put_nowait({"type": kind, "code": code, "reason": reason})

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if self.left:
            raise _Gone("the client has gone")
        if self.closed is not None:
            raise RuntimeError(
                f"Unexpected ASGI message {kind!r}, after sending "
                "'websocket.close'."
            )
        expected = _WHEN_OPEN if self._accepted else _BEFORE
        if kind not in expected:
            raise RuntimeError(
                f"Expected ASGI message {' or '.join(expected)}, but got "
                f"{kind!r}."
            )
        if kind == "websocket.close":
            code, reason = message.get("code", 1000), message.get("reason")
            message = {"type": kind, "code": code, "reason": reason or ""}
            check_close(code, reason or "")
            self._hang_up(code, reason or "")
        elif kind == _DENIAL_BODY:
            message = {"body": b"", **message}
            if not message.get("more_body", False):
                self._hang_up(1006, "")
        elif not self._accepted:
            self._accepted = kind == "websocket.accept"
            message = {"headers": [], **message}
            # Fails, as in a server, where a name or a value is no bytes.
            b"".join(part for pair in message["headers"] for part in pair)
        await self._transport_send(message)

    def _hang_up(self, code: int, reason: str) -> None:
        self.closed = Closed(code, reason)
        if self._accepted:
            self.hear(code, reason)
        else:
            self.hear(1006)

    def _give_up(self) -> None:
        if not self._accepted and self.closed is None:
            self.timed_out = True
            self._scope.cancel()

    async def ended(self) -> None:
        """Wait until the app has ended; cancel it if it does not."""
        self.left = True
        try:
            async with asyncio.timeout(self.timeout):
                await self._ended.wait()
        except TimeoutError:
            self.stuck = True
            self._scope.cancel()
