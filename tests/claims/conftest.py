"""How the tests of the claims talk to an app."""

import asyncio
from collections.abc import AsyncGenerator

from litestar import Litestar

from snippets.testing import Closed, connect


async def ask(app: Litestar, *messages: str | bytes) -> list[str | bytes]:
    """Send messages, each after the answer to the one before.

    Raises:
        Closed: The server closed instead of answering.
    """
    async with connect(app) as client:
        answers = []
        for message in messages:
            await client.send(message)
            answers.append(await client.receive())
        return answers


async def hear(
    app: Litestar, *messages: str | bytes
) -> tuple[list[str | bytes], Closed]:
    """Send messages, and listen until the server closes."""
    async with connect(app) as client:
        for message in messages:
            await client.send(message)
        heard = [message async for message in client]
        assert client.closed is not None
        return heard, client.closed


async def ticks() -> AsyncGenerator[str, None]:
    """Tick until nobody listens, a thousand times a second."""
    while True:
        yield "tick"
        await asyncio.sleep(0.001)


async def turns(count: int) -> None:
    """Let all others have their turn some times."""
    for _ in range(count):
        await asyncio.sleep(0)
