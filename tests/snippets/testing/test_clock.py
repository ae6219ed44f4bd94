"""A clock skips what all wait for, and nothing else."""

import asyncio
import time

import pytest

from snippets.testing.clock import SKIPPING, Skipping

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    return SKIPPING


async def test_an_hour_is_over_at_once():
    loop, begun = asyncio.get_running_loop(), time.monotonic()
    before = loop.time()
    await asyncio.sleep(3600)
    assert loop.time() - before == pytest.approx(3600)
    assert time.monotonic() - begun < 60


async def test_the_clock_stands_still_while_there_is_something_to_do():
    loop = asyncio.get_running_loop()
    before = loop.time()
    for _ in range(100):
        await asyncio.sleep(0)
    assert loop.time() == before


async def test_timers_go_off_in_order():
    order: list[float] = []

    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (3.0, 1.0, 2.0):
            group.create_task(wait(seconds))
    assert order == [1.0, 2.0, 3.0]


async def test_what_comes_from_a_thread_comes():
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(lambda: 1 // 0)


async def never() -> None:
    await asyncio.Future()


def test_a_deadlock_is_an_error():
    loop = Skipping()
    loop.idle.patience = 0.01
    waiting = loop.create_task(never())
    with pytest.raises(RuntimeError, match="for no time-out"):
        loop.run_until_complete(waiting)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(waiting)
    loop.close()
