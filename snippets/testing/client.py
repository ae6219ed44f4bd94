"""What every WebSocket client of a test can do, whichever way it is connected.

A `Client` sends, receives and closes. Every wait has a time-out, so a test
that would hang says what it was waiting for instead. A kind of client says
how it does the three, and gets all the rest:

```python
class Mirror(Client):
    def __init__(self) -> None:
        self.headers, self.timeout = {}, 5.0
        self.messages: asyncio.Queue[str | bytes] = asyncio.Queue()

    async def _send(self, data: str | bytes) -> None:
        self.messages.put_nowait(data)

    async def _receive(self) -> str | bytes:
        return await self.messages.get()

    async def _close(self, code: int, reason: str) -> None: ...
```

Needs: httpx (which comes with litestar).
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
)
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


class Closed(Exception):
    """The connection is closed, and this is what the client learned of it.

    Attributes:
        code: The close code (RFC 6455 §7.4); 1006 if no close frame came.
        reason: The reason from the close frame.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.code} {self.reason!r}" if self.reason else f"{self.code}"
        )

    def again(self) -> "Closed":
        """Make a new one that says the same, to be raised once more."""
        return Closed(self.code, self.reason)


class Refused(Exception):
    """The server refused the handshake, so there never was a connection.

    Attributes:
        status: The HTTP status that a client on the wire gets; 101 if the
            server accepted but the client could not take its answer.
        body: The body of that answer.
        code: The close code that the app asked for. It does not travel: only
            a client in process can see it.
        reason: The reason that the app gave. It does not travel either.
    """

    def __init__(
        self,
        status: int,
        body: str = "",
        *,
        code: int | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(status, body, code, reason)
        self.status = status
        self.body = body
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"HTTP {self.status}" + (f" {self.body!r}" if self.body else "")


class Client(ABC):
    """What a client can do, whichever way it is connected.

    Attributes:
        subprotocol: The subprotocol that the server chose, if any.
        headers: The headers of the server's answer to the handshake.
        timeout: How long each wait may last, in seconds.
        closed: How the connection was closed, once `receive()` or `close()`
            has found out.
    """

    subprotocol: str | None = None
    headers: Mapping[str, str]
    timeout: float
    closed: Closed | None = None

    @abstractmethod
    async def _send(self, data: str | bytes) -> None: ...

    @abstractmethod
    async def _receive(self) -> str | bytes: ...

    @abstractmethod
    async def _close(self, code: int, reason: str) -> None: ...

    async def send(self, data: str | bytes) -> None:
        """Send one message: a `str` as a text frame, `bytes` as binary.

        Args:
            data: The payload.

        Raises:
            Closed: The connection is closed.
            TimeoutError: The server did not take it in time.
        """
        await self._within(f"sending {data[:40]!r}", self._send(data))

    async def send_json(self, value: object) -> None:
        """Send a value as JSON in a text frame.

        Args:
            value: Anything that `json.dumps` takes.

        Raises:
            Closed: The connection is closed.
            TimeoutError: The server did not take it in time.
        """
        await self.send(json.dumps(value))

    async def receive(self) -> str | bytes:
        """Wait for the next message.

        Returns:
            A `str` for a text frame, `bytes` for a binary one.

        Raises:
            Closed: The connection was closed instead.
            TimeoutError: Nothing came in time.
        """
        try:
            return await self._within("waiting for a message", self._receive())
        except Closed as closed:
            self.closed = closed
            raise

    async def receive_json(self) -> Any:
        """Wait for the next message and decode it as JSON.

        Returns:
            The decoded value.

        Raises:
            Closed: The connection was closed instead.
            TimeoutError: Nothing came in time.
            json.JSONDecodeError: The message is not JSON.
        """
        return json.loads(await self.receive())

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection from this side. Closing twice is harmless.

        Args:
            code: The close code to send.
            reason: At most 123 bytes of UTF-8 (RFC 6455 §5.5).

        Raises:
            ValueError: No close frame can carry this code or reason.
            TimeoutError: The server did not answer in time.
        """
        check_close(code, reason)
        if self.closed is None:
            try:
                await self._within("closing", self._close(code, reason))
                self.closed = Closed(code, reason)
            except Closed as first:
                self.closed = first

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        while True:
            try:
                message = await self.receive()
            except Closed:
                return
            yield message

    async def _within(self, doing: str, wait: Coroutine[Any, Any, T]) -> T:
        if self.closed is not None:
            wait.close()
            raise self.closed.again()
        try:
            async with asyncio.timeout(self.timeout):
                return await wait
        except TimeoutError:
            raise TimeoutError(
                f"{doing}: nothing happened within {self.timeout:g} s"
            ) from None


def check_close(code: int, reason: str) -> None:
    """Fail where no close frame can carry this (RFC 6455 §5.5, §7.4).

    Args:
        code: The close code.
        reason: The reason.

    Raises:
        ValueError: The code is not for the wire, or the reason is too long.
    """
    unsendable = {1004, 1005, 1006, 1015}
    registered = 1000 <= code <= 1014 and code not in unsendable
    if not registered and not 3000 <= code <= 4999:
        raise ValueError(f"a close frame cannot carry the code {code}")
    if len(reason.encode()) > 123:
        raise ValueError("a close frame cannot carry more than 123 bytes")


def target(path: str, params: Mapping[str, str] | None) -> str:
    """Put together what a handshake asks for (RFC 9112 §3.2.1).

    Args:
        path: The path; it may have a query string.
        params: More parameters for the query string.

    Returns:
        Path and query string, with percent-encoding where it is needed.
    """
    url = httpx.URL("ws://testserver" + path)
    if params:
        url = url.copy_merge_params(dict(params))
    return url.raw_path.decode("ascii")
