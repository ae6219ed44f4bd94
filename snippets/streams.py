"""Push a stream of messages down one connection, and clean up after it.

Alone, or beside what is received on the same connection:

```python
@websocket("/ticks")
async def ticks(socket: WebSocket) -> None:
    async with lifecycle(socket):
        await push(socket, every_second(), socket.send_text)


@websocket("/echo-and-ticks")
async def echo(socket: WebSocket) -> None:
    async with lifecycle(socket), pushing(every_second(), socket.send_text):
        async for text in socket.iter_data():
            await socket.send_text(text)
```

Needs: litestar and `closing.py`.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, TypeVar

import anyio
from litestar.exceptions import WebSocketDisconnect

from .closing import AnySocket

T = TypeVar("T")
Send = Callable[[T], Awaitable[None]]


async def push(
    socket: AnySocket, items: AsyncGenerator[T, None], send: Send[T]
) -> None:
    """Send what a generator yields, until it ends or the client has gone.

    Whichever it is, and also when this is cancelled, the generator has been
    closed, and what it awaits in its `finally` has been done, when this
    returns; see `pushing()`. What the client sends is dropped.

    Args:
        socket: An accepted connection, best inside `lifecycle()`, where "gone"
            is always a `WebSocketDisconnect`. Nothing else may receive from
            it.
        items: What to send. An item goes out before the next is asked for.
        send: How to send one, such as `socket.send_text`.

    Raises:
        Exception: What the generator raised, or `send`, as it is.
    """
    async with _beside(items, send, ends_block=True):
        with suppress(WebSocketDisconnect):
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass


@asynccontextmanager
async def pushing(
    items: AsyncGenerator[T, None], send: Send[T]
) -> AsyncGenerator[None]:
    """Send what a generator yields, beside whatever the block does.

    The block receives, so it is the block that notices the end. The stream
    may be over before, because the generator has nothing more to yield or
    the client has gone; the block goes on.

    However the block is left, the generator has been closed, and what it
    awaits in its `finally` has been done, before the next line runs. It is
    cancelled once, where it waits, and not while it is being closed; only a
    `finally` that it has begun by itself is cancelled like any other wait.

    Enter and leave it in one task, as in a handler or the lifespan of a
    listener.

    Args:
        items: What to send. An item goes out before the next is asked for.
        send: How to send one, such as `socket.send_text`.

    Yields:
        Nothing; the stream has begun.

    Raises:
        Exception: What the generator raised, or `send`, as it is; for that
            the block is cancelled, once, where it waits. If the block fails,
            too, its exception is the context of this one.
    """
    async with _beside(items, send, ends_block=False):
        yield


class Latest(Generic[T]):
    """A value that many follow, each as fast as it can.

    There is no queue: who is slow misses what was overwritten meanwhile, and
    gets the newest. Use it in one event loop only.

    Args:
        value: What it is at first.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._overwritten = asyncio.Event()

    @property
    def value(self) -> T:
        """What was set last."""
        return self._value

    def set(self, value: T) -> None:
        """Overwrite the value, and wake all who follow it.

        Args:
            value: The new one. Do not change the old one instead, since
                somebody may be sending it.
        """
        self._value = value
        self._overwritten.set()
        self._overwritten = asyncio.Event()

    async def changes(self) -> AsyncGenerator[T, None]:
        """Follow the value.

        Yields:
            What it is now; then, each time it has been set since the last
            one was asked for, what it is by then.
        """
        while True:
            overwritten = self._overwritten
            yield self._value
            await overwritten.wait()


@asynccontextmanager
async def _beside(
    items: AsyncGenerator[T, None], send: Send[T], *, ends_block: bool
) -> AsyncGenerator[None]:
    """Run a stream; its failure ends the block, and its end if so wished."""
    block: Any = asyncio.current_task()
    cancelled_before = block.cancelling()
    inside, interrupted = True, False
    stream = _Stream(items, send)

    def interrupt(_: object) -> None:
        nonlocal interrupted
        if inside and (ends_block or stream.failed):
            interrupted = block.cancel()

    try:
        await asyncio.sleep(0)  # let it begin, so that it can end
        stream.task.add_done_callback(interrupt)
        yield
    except asyncio.CancelledError:
        if not interrupted or block.cancelling() > cancelled_before + 1:
            raise  # also somebody else's
    finally:
        inside = False
        if interrupted:
            block.uncancel()
        await stream.stop()


class _Stream(Generic[T]):
    """The task that sends, from its begin to its end."""

    def __init__(self, items: AsyncGenerator[T, None], send: Send[T]) -> None:
        self._items = items
        self._send = send
        self._closing = False
        self.task = asyncio.create_task(self._run())

    @property
    def failed(self) -> bool:
        """Whether it ended by an exception."""
        task = self.task
        return not task.cancelled() and task.exception() is not None

    async def stop(self) -> None:
        """End it, wait until it has ended, and raise what it raised."""
        if not self._closing:
            self.task.cancel()
        cancelled = None
        while not self.task.done():
            try:
                with anyio.CancelScope(shield=True):
                    await asyncio.wait((self.task,))
            except asyncio.CancelledError as error:
                cancelled = error  # once it has ended
        if not self.task.cancelled():
            self.task.result()
        if cancelled:
            raise cancelled

    async def _run(self) -> None:
        this: Any = asyncio.current_task()
        try:
            async for item in self._items:
                if this.cancelling():  # which the generator has not minded
                    raise asyncio.CancelledError
                try:
                    await self._send(item)
                except WebSocketDisconnect:
                    return
        except asyncio.CancelledError:
            if this.cancelling():
                raise
            raise RuntimeError(
                "the stream waited for a task that was cancelled"
            ) from None
        finally:
            self._closing = True
            await self._items.aclose()
