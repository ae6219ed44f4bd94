"""Many orders are tried, each can be had again, what fails is made short."""

import asyncio
from collections.abc import Callable

import pytest

from snippets.testing.interleave import Failure, Log, explore


async def count_to_two(log: Log) -> None:
    """Two tasks add one each, and one may overwrite the other's."""
    total = 0

    async def add(name: str) -> None:
        nonlocal total
        seen = total
        log(f"{name} sees {seen}")
        await asyncio.sleep(0)
        total = seen + 1
        log(f"{name} writes {total}")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(add("ada"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks.create_task(add("bob"))
    assert total == 2, f"the total is {total}"


def test_an_order_that_asyncio_never_takes_is_found_and_made_short():
    asyncio.run(count_to_two(lambda _: None))
    failure = explore(count_to_two)
    assert failure is not None
    assert str(failure).splitlines()[:4] == [
        "1. ada sees 0",
        "2. bob sees 0",
        "3. ada writes 1",
        "4. bob writes 1",
    ]
    assert "the total is 1" in str(failure)
    assert failure.turns == [1, 1, 1]  # one for each turn that ada gave away
    assert failure.turns[-1] != 0


def test_the_same_seed_fails_in_the_same_order():
    first, second = explore(count_to_two), explore(count_to_two)
    assert first is not None
    assert second is not None
    assert (first.log, first.turns) == (second.log, second.turns)


def test_what_cannot_fail_does_not():
    async def sleepers(log: Log) -> None:
        async with asyncio.TaskGroup() as tasks:
            for seconds in (3, 1, 2):
                tasks.create_task(asyncio.sleep(seconds))
        await asyncio.sleep(600)

    assert explore(sleepers, orders=50) is None


def test_all_orders_of_three_are_tried():
    seen = set()

    async def three(log: Log) -> None:
        order = []

        async def note(name: str) -> None:
            order.append(name)

        async with asyncio.TaskGroup() as tasks:
            for name in "abc":
                tasks.create_task(note(name))
        seen.add("".join(order))

    assert explore(three, orders=200) is None
    assert len(seen) == 6


def test_who_waits_for_ever_fails_and_says_so():
    async def deaf(log: Log) -> None:
        log("waits")
        await asyncio.Event().wait()

    failure = explore(deaf, orders=1)
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, TimeoutError)
    assert str(failure).startswith("1. waits\nTimeoutError")


def test_a_callback_that_was_cancelled_is_not_called():
    called: list[str] = []

    async def cancel(log: Log) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(called.append, "a").cancel()
        for _ in range(3):
            await asyncio.sleep(0)

    assert explore(cancel, orders=20) is None
    assert called == []


@pytest.mark.parametrize("orders", [0, 1])
def test_so_many_orders_are_tried(orders: int):
    runs: list[Callable[[str], None]] = []

    async def note(log: Log) -> None:
        runs.append(log)

    assert explore(note, orders=orders) is None
    assert len(runs) == orders
