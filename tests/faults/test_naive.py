"""The managers that people copy fail as chapter 9 says, on a wire, too."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    suppress,
)

import pytest

from naive import Gather, GatherWithTimeout, SetAndLoop, create_app
from snippets.testing.client import Client, Closed
from snippets.testing.faults import stalled
from snippets.testing.server import Server
from snippets.testing.wire import Raw

from .conftest import until

Serving = Callable[..., AbstractAsyncContextManager[Server]]
PIECE = "x" * 60 * 1024
LIMIT = 1000
"""How many pieces are more than all buffers on the way hold."""
SOON = 1.0
"""A time-out that is meant to pass: nobody hears anything any more."""


async def listen(client: Client) -> list[str]:
    """Receive until nothing comes for a while."""
    heard: list[str] = []
    with suppress(TimeoutError, Closed):
        while True:
            heard.append(str(await client.receive()))
    return heard


@asynccontextmanager
async def stuck(
    serving: Serving, manager: SetAndLoop
) -> AsyncGenerator[tuple[Server, Raw, Client]]:
    """Have one client stall until another hears nothing of what it says.

    Yields:
        The server, who stalls, and who talks.
    """
    async with (
        serving(create_app(manager)) as server,
        server.connect("/chat") as ada,
        stalled(server, "/chat") as eve,
    ):
        await until(lambda: len(manager.connections) == 2)
        ada.timeout = SOON
        with suppress(TimeoutError):
            for _ in range(LIMIT):
                await ada.send(PIECE)
                await ada.receive()
            raise AssertionError("everybody reads")
        yield server, eve, ada


@pytest.mark.parametrize("kind", [SetAndLoop, Gather])
async def test_one_client_that_does_not_read_stops_everybody(
    serving: Serving, kind: type[SetAndLoop]
):
    async with stuck(serving, kind()) as (server, _, ada):
        await ada.send("Is anybody there?")
        assert "Is anybody there?" not in await listen(ada)
        assert ada.closed is None
        assert server.log == []


async def test_who_comes_during_a_loop_breaks_it(serving: Serving):
    manager = SetAndLoop()
    async with stuck(serving, manager) as (server, eve, ada):
        async with server.connect("/chat"):
            await until(lambda: len(manager.connections) == 3)
            eve.timeout = SOON
            await listen(eve)  # so the loop goes on
            assert ada.closed is None
            await listen(ada)
        assert str(ada.closed) == "4500 'Internal Server Error'"


async def test_a_sender_dies_of_somebody_elses_end(serving: Serving):
    async with stuck(serving, SetAndLoop()) as (_, eve, ada):
        eve.reset()
        await listen(ada)
        assert str(ada.closed) == "4500 'Internal Server Error'"


async def test_a_time_out_for_each_send_is_paid_with_each_message(
    serving: Serving,
):
    """It also makes gaps, of which nobody is told."""
    manager, loop = GatherWithTimeout(0.1), asyncio.get_running_loop()
    async with (
        serving(create_app(manager)) as server,
        server.connect("/chat") as ada,
        stalled(server, "/chat") as eve,
    ):
        await until(lambda: len(manager.connections) == 2)
        sent, slow = 0, 0
        while slow < 5:
            began = loop.time()
            await ada.send(f"{sent} {PIECE}")
            await ada.receive()
            slow += loop.time() - began > 0.09
            sent += 1
        eve.timeout = SOON
        heard = [int(message.split()[0]) for message in await listen(eve)]
        assert len(heard) < sent
        assert eve.closed is None
        await ada.send("What did I miss?")
        assert await eve.receive() == "What did I miss?"
