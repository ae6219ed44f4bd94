"""lifespan() starts an app once, however many ask, and stops it at the end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest
from litestar import Litestar

import snippets.testing.lifespan as module
from snippets.testing.lifespan import lifespan, only

SOON = 0.05
"""A time-out that is meant to pass, and nothing has to happen before it."""


class Mistake(Exception):
    """What goes wrong in these tests."""


class Life:
    """A lifespan that keeps a diary."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.starting, self.stopping = asyncio.Event(), asyncio.Event()
        self.may_start, self.may_stop = asyncio.Event(), asyncio.Event()
        self.may_start.set()
        self.may_stop.set()
        self.app = Litestar(
            [],
            lifespan=[self.lifespan],
            openapi_config=None,
            logging_config=None,
        )

    @asynccontextmanager
    async def lifespan(self, app: Litestar) -> AsyncGenerator[None]:
        self.events.append("start")
        self.starting.set()
        await self.may_start.wait()
        yield
        self.stopping.set()
        await self.may_stop.wait()
        for _ in range(10):  # long enough to be cut short by a cancellation
            await asyncio.sleep(0)
        self.events.append("stop")  # not if the lifespan was cancelled

    async def visit(self) -> None:
        async with lifespan(self.app):
            self.events.append("visit")


def tasks() -> set[str]:
    """List what runs in this loop, but for the test runner's own tasks."""
    names = {repr(task.get_coro()) for task in asyncio.all_tasks()}
    return {name for name in names if "TestRunner" not in name}


@pytest.fixture(autouse=True)
async def nothing_is_left(anyio_backend: str) -> AsyncGenerator[None]:
    yield
    assert tasks() == set()
    assert module._running == {}


# -- once --------------------------------------------------------------------


async def test_it_runs_once_for_all():
    life = Life()
    async with lifespan(life.app):
        await life.visit()
        async with lifespan(life.app), lifespan(life.app):
            assert life.events == ["start", "visit"]
        assert life.events == ["start", "visit"]
    assert life.events == ["start", "visit", "stop"]
    await life.visit()
    assert life.events[3:] == ["start", "visit", "stop"]


async def test_it_stops_with_the_last_in_any_order():
    life = Life()
    first, last = AsyncExitStack(), AsyncExitStack()
    await first.enter_async_context(lifespan(life.app))
    await last.enter_async_context(lifespan(life.app))
    await first.aclose()
    assert life.events == ["start"]
    await last.aclose()
    assert life.events == ["start", "stop"]


async def test_those_who_come_at_once_wait_for_one_start():
    life = Life()
    life.may_start.clear()
    async with asyncio.TaskGroup() as visitors:
        for _ in range(3):
            visitors.create_task(life.visit())
        # The app starts in a task of its own, so by then all have come.
        await asyncio.wait_for(life.starting.wait(), 5)
        life.may_start.set()
    assert life.events == ["start", "visit", "visit", "visit", "stop"]


async def test_who_comes_while_the_app_stops_waits_for_it():
    life = Life()
    life.may_stop.clear()

    async def come_too_late() -> None:
        await asyncio.wait_for(life.stopping.wait(), 5)
        visitors.create_task(life.visit())
        await asyncio.sleep(0)  # the visitor has come, and waits
        life.may_stop.set()

    async with asyncio.TaskGroup() as visitors, lifespan(life.app):
        visitors.create_task(come_too_late())
    assert life.events == ["start", "stop", "start", "visit", "stop"]


async def test_apps_have_lifespans_of_their_own():
    one, two = Life(), Life()
    async with lifespan(one.app), lifespan(two.app):
        assert one.events == two.events == ["start"]
    assert one.events == two.events == ["start", "stop"]


async def test_an_app_without_a_lifespan_is_left_alone():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"

    async with lifespan(app), lifespan(app):
        pass


# -- failures ----------------------------------------------------------------


async def test_one_that_fails_leaves_the_app_to_the_others():
    life = Life()
    async with lifespan(life.app):
        with pytest.raises(Mistake):
            async with lifespan(life.app):
                raise Mistake
        assert life.events == ["start"]
    assert life.events == ["start", "stop"]


async def test_a_cancelled_block_still_stops_the_app():
    # anyio cancels every further wait, too: also those of the way out.
    life = Life()
    with anyio.CancelScope() as scope:
        async with lifespan(life.app):
            scope.cancel()
            await asyncio.Event().wait()
    assert scope.cancelled_caught
    assert life.events == ["start", "stop"]


async def test_a_failure_at_the_start_is_reported():
    async def fail() -> None:
        raise Mistake("no database")

    app = Litestar([], on_startup=[fail], logging_config=None)
    for _ in range(2):
        with pytest.raises(Mistake, match="no database"):
            async with lifespan(app):
                pytest.fail("the app has not started")


@pytest.mark.parametrize("where", ["hook", "lifespan"])
async def test_a_failure_at_the_end_is_reported(where: str):
    async def fail() -> None:
        raise Mistake("lost the database")

    @asynccontextmanager
    async def fail_at_last(app: Litestar) -> AsyncGenerator[None]:
        yield
        await fail()

    app = Litestar(
        [],
        on_shutdown=[fail] if where == "hook" else [],
        lifespan=[fail_at_last] if where == "lifespan" else [],
        logging_config=None,
    )
    with pytest.raises(Mistake, match="lost the database"):
        async with lifespan(app):
            pass


async def test_an_app_that_does_not_start_in_time_is_reported(
    monkeypatch: pytest.MonkeyPatch,
):
    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.Event().wait()

    monkeypatch.setattr(module, "_STARTUP", SOON)
    with pytest.raises(TimeoutError, match=r"starting the app: .* 0\.05 s"):
        async with lifespan(deaf):
            pytest.fail("the app has not started")


def test_groups_of_one_are_unwrapped():
    error = Mistake()
    group = ExceptionGroup("", [ExceptionGroup("", [error])])
    assert only(group) is error
    assert only(error) is error


def test_groups_of_more_stay_groups():
    two = ExceptionGroup("two", [Mistake(), KeyError()])
    assert only(two) is two
