"""Push a stream of messages down one connection, and clean up after it.

```python
@websocket("/ticks")
async def ticks(socket: WebSocket) -> None:
    async with lifecycle(socket):
        await push(socket, every_second(), socket.send_text)
```

Needs: litestar and `closing.py`.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import anyio
from litestar.exceptions import WebSocketDisconnect

from .closing import AnySocket

T = TypeVar("T")


async def push(
    socket: AnySocket,
    items: AsyncGenerator[T, None],
    send: Callable[[T], Awaitable[None]],
) -> None:
    """Send what a generator yields, until it ends or the client has gone.

    Whichever it is, and also when this is cancelled, the generator has been
    closed, and what it awaits in its `finally` has been done, when this
    returns; only a `finally` that is under way by itself when the client goes
    is cancelled like any other wait. What the client sends is dropped.

    Args:
        socket: An accepted connection, best inside `lifecycle()`, where "gone"
            is always a `WebSocketDisconnect`. Nothing else may receive from
            it.
        items: What to send. An item goes out before the next is asked for.
        send: How to send one, such as `socket.send_text`.

    Raises:
        Exception: What the generator raised, or `send`, as it is.
    """
    tidying = asyncio.Event()
    sending = asyncio.create_task(_send_all(items, send, tidying))
    leaving = asyncio.create_task(_left(socket))
    try:
        await asyncio.wait(
            (sending, leaving), return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        broken = sending.done() and sending.cancelled()
        # One cancellation each, and none for what is closing the generator,
        # so that a `finally` may await in peace.
        if not tidying.is_set():
            sending.cancel()
        leaving.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait((sending, leaving))
        for task in (sending, leaving):
            if not task.cancelled():
                task.result()
        if broken:
            raise RuntimeError(
                "the stream waited for a task that was cancelled"
            )


async def _send_all(
    items: AsyncGenerator[T, None],
    send: Callable[[T], Awaitable[None]],
    tidying: asyncio.Event,
) -> None:
    try:
        async for item in items:
            try:
                await send(item)
            except WebSocketDisconnect:
                return
    finally:
        tidying.set()
        await items.aclose()


async def _left(socket: AnySocket) -> None:
    """Receive until there is nothing more to receive."""
    with suppress(WebSocketDisconnect):
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
