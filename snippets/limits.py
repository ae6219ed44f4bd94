"""Limits: how large, how fast, how long and how idle a client may be.

Around a socket and around what answers it, for `messages.converse()`:

```python
class ChatSocket(MessageSocket[Say | Ping]):
    formats = limit_size(messages.formats("chat", Say | Ping))

async with manager.connect(socket):
    await converse(Limited(socket), within(5, partial(answer, member)))
```

They limit what a client sends. For one that does not read, have the socket's
`send_message` put messages into an outbox, see `connections.py`. What only the
server can limit is in `serving.py`.

Needs: litestar, `messages.py` and what it needs.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from litestar.exceptions import WebSocketException

from .closing import CloseCode
from .messages import ErrorCode, MessageError, Speaker
from .subprotocols import Format

T = TypeVar("T")
R = TypeVar("R")


class TokenBucket:
    """A rate with room for bursts: each message takes a token.

    Args:
        rate: How many tokens come back each second.
        burst: How many there are at most, and at first.

    Raises:
        ValueError: A rate of 0 or less, or a burst below 1.
    """

    def __init__(self, rate: float = 10.0, burst: int = 20) -> None:
        if not (rate > 0 and burst >= 1):
            wanted = "a rate above 0 and a burst of at least 1"
            raise ValueError(f"expected {wanted}, but got {rate} and {burst}")
        self._each = 1 / rate
        self._span = burst / rate
        self._full_at = -math.inf

    def take(self, waited: float = 0.0) -> float:
        """Take a token, if there is one.

        Args:
            waited: How long the message may have waited for us, in seconds.
                Tokens have come back since then, more than `burst` if need be.

        Returns:
            0 if it was taken; else how long until there is one, in seconds.
        """
        now = asyncio.get_running_loop().time()
        full_at = max(self._full_at, now - waited) + self._each
        wait = full_at - now - self._span
        if wait > 1e-6:  # which floats may be off by
            return wait
        self._full_at = full_at
        return 0.0


class Limited(Generic[T]):
    """A socket whose client may not be too fast, nor idle for too long.

    That an answer took its time, and messages have piled up meanwhile, is not
    the client's fault, and does not count.

    Args:
        socket: Receives and sends messages.
        rate: How many messages a second it may send, in the long run.
        burst: How many at once.
        idle_timeout: How long it may send nothing, in seconds.

    Raises:
        ValueError: As for `TokenBucket`.
    """

    def __init__(
        self,
        socket: Speaker[T],
        *,
        rate: float = 10.0,
        burst: int = 20,
        idle_timeout: float = 60.0,
    ) -> None:
        self.id = socket.id
        self._socket = socket
        self._bucket = TokenBucket(rate, burst)
        self._idle_timeout = idle_timeout
        self._heard_at = math.inf
        self._behind = 0.0

    async def receive_message(self) -> T:
        """Receive a message.

        Returns:
            The next message.

        Raises:
            MessageError: It came too soon (`rate_limited`), and is dropped.
            WebSocketException: Nothing came for too long (4408). Or what the
                socket raises.
        """
        now = asyncio.get_running_loop().time
        asked_at = now()
        self._behind += max(0.0, asked_at - self._heard_at)
        try:
            message = await self._heard()
        finally:
            self._heard_at = now()
            listened = self._heard_at - asked_at
            self._behind = max(0.0, self._behind - listened)
        if wait := self._bucket.take(self._behind):
            raise MessageError(
                ErrorCode.RATE_LIMITED,
                "too many messages in too short a time",
                ref=getattr(message, "ref", None),
                retry_after=math.ceil(wait * 1000) / 1000,
            )
        return message

    async def send_message(self, message: Any, /) -> None:
        """Send a message.

        Args:
            message: What the socket sends.
        """
        await self._socket.send_message(message)

    async def _heard(self) -> T:
        # The second time for what came just when time was up, or while the
        # loop was late.
        for patience in (self._idle_timeout, 0.01):
            try:
                async with asyncio.timeout(patience) as idle:
                    return await self._socket.receive_message()
            except TimeoutError:
                if not idle.expired():
                    raise
        raise WebSocketException(
            detail=f"nothing was heard for {self._idle_timeout:g} s",
            code=CloseCode.IDLE,
        )


def limit_size(
    formats: Sequence[Format[T]], max_bytes: int = 16 * 1024
) -> list[Format[T]]:
    """Refuse messages that are too large, before they are decoded.

    Call it once, and not for each connection: who has the same format gets the
    same bytes.

    Args:
        formats: How messages are written.
        max_bytes: How large one may be, in bytes of UTF-8 if it is text.

    Returns:
        Formats whose `decode` raises `MessageError` (`too_large`), too.
    """

    def limited(form: Format[T]) -> Format[T]:
        def decode(payload: Any) -> T:
            size = len(payload)
            if isinstance(payload, str) and not payload.isascii():
                size = len(payload.encode(errors="surrogatepass"))
            if size > max_bytes:
                raise MessageError(
                    ErrorCode.TOO_LARGE,
                    f"expected at most {max_bytes} bytes, but got {size}",
                )
            return form.decode(payload)

        return replace(form, decode=decode)

    return [limited(form) for form in formats]


def within(
    seconds: float, answer: Callable[[T], Awaitable[R]]
) -> Callable[[T], Awaitable[R]]:
    """Limit how long answering a message may take.

    While a handler waits nobody reads, so this has to be shorter than the time
    after which the server misses a pong.

    Args:
        seconds: How long; then `answer` is cancelled.
        answer: Called with each message.

    Returns:
        The same, but it raises `MessageError` (`timeout`) when time is up.
    """

    async def limited(message: T) -> R:
        try:
            async with asyncio.timeout(seconds) as limit:
                return await answer(message)
        except TimeoutError as error:
            if not limit.expired():
                raise
            words = f"this took longer than {seconds:g} s"
            raise MessageError(ErrorCode.TIMEOUT, words) from error

    return limited
