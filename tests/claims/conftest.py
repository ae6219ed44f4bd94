"""How the tests of the claims talk to an app."""

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
