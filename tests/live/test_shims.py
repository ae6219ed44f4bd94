"""What a tab lacks is made up for; here in a loop that is nobody else's."""

import asyncio
import builtins
import logging
import queue
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from logging.handlers import QueueHandler, QueueListener
from types import ModuleType
from typing import Any

import anyio.to_thread
import pytest
from litestar.concurrency import sync_to_thread
from litestar.logging import LoggingConfig

import tab
from tab import shims

WAIT = 5.0

heard: ContextVar[str] = ContextVar("heard")


class Pyodide:
    """What Pyodide offers to sleep with; it only writes down what it did."""

    def __init__(self) -> None:
        self.can_suspend = True
        self.slept: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def block(self, seconds: float) -> None:
        self.slept.append(f"blocked {seconds}")

    def suspend(self, sleeping: Awaitable[None]) -> None:
        task = asyncio.ensure_future(sleeping)
        self.slept.append("suspended")
        self.meanwhile()
        task.cancel()


class TabLoop(asyncio.SelectorEventLoop):
    """Makes tasks and futures as Pyodide's loop does."""

    def create_task(self, coro: Any, **_: Any) -> Any:
        factory = self.get_task_factory()
        return factory(self, coro) if factory else TabTask(coro, loop=self)

    def create_future(self) -> asyncio.Future[Any]:
        return TabFuture(loop=self)


class TabTask(asyncio.Task[Any]):
    """A task that has more to it."""


class TabFuture(asyncio.Future[Any]):
    """A future that has more to it."""


@pytest.fixture
def pyodide(monkeypatch: pytest.MonkeyPatch) -> Pyodide:
    """Stand in for Pyodide, and take all shims away afterwards."""
    pyodide = Pyodide()
    ffi, webloop = ModuleType("pyodide.ffi"), ModuleType("pyodide.webloop")
    vars(ffi)["can_run_sync"] = lambda: pyodide.can_suspend
    vars(ffi)["run_sync"] = pyodide.suspend
    vars(webloop)["_orig_sleep"] = pyodide.block
    for module in (ffi, webloop):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for place, name in (
        (time, "sleep"),
        (anyio.to_thread, "run_sync"),
        (threading.Thread, "start"),
        (QueueListener, "start"),
        (QueueListener, "stop"),
    ):
        monkeypatch.setattr(place, name, getattr(place, name))
    return pyodide


@pytest.fixture
def runner(pyodide: Pyodide) -> Iterator[asyncio.Runner]:
    """An event loop of its own, with all shims."""

    async def apply() -> None:
        shims.apply()

    with asyncio.Runner(loop_factory=TabLoop) as runner:
        runner.run(apply())
        yield runner


# Tasks


def test_a_task_is_made_by_the_factory_with_all_options(
    runner: asyncio.Runner,
):
    def factory(loop: Any, work: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(work, loop=loop, **options)

    async def main() -> str:
        asyncio.get_running_loop().set_task_factory(factory)
        context = copy_context()
        context.run(heard.set, "there")
        return await asyncio.create_task(hear(), name="x", context=context)

    async def hear() -> str:
        task = asyncio.current_task()
        assert task
        return f"{heard.get()} {task.get_name()}"

    assert runner.run(main()) == "there x"


def test_tasks_and_futures_are_those_of_asyncio(runner: asyncio.Runner):
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(asyncio.sleep(0, "done"), name="its name")
        assert type(task) is asyncio.Task
        assert task.get_name() == "its name"
        assert await task == "done"
        future = loop.create_future()
        assert type(future) is asyncio.Future
        assert future.get_loop() is loop

    runner.run(main())


def test_a_task_cannot_end_the_worker(runner: asyncio.Runner):
    loop: Any = runner.get_loop()
    loop._system_exit_handler(1)
    loop._keyboard_interrupt_handler()


# Threads


def work(number: int) -> int:
    if number < 0:
        raise ValueError(number)
    assert threading.current_thread() is threading.main_thread()
    return number * 2


async def in_executor(call: Callable[..., Any], *args: Any) -> Any:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, call, *args)


async def by_anyio(call: Callable[..., Any], *args: Any) -> Any:
    return await anyio.to_thread.run_sync(
        call, *args, abandon_on_cancel=True, limiter=None
    )


ways = pytest.mark.parametrize(
    "way", [in_executor, by_anyio, asyncio.to_thread, sync_to_thread]
)


@ways
def test_what_should_run_in_a_thread_runs_here(
    way: Callable[..., Any], runner: asyncio.Runner
):
    async def main() -> list[Any]:
        waiting = [way(work, 1), way(work, -1), way(work, 3)]
        return await asyncio.gather(*waiting, return_exceptions=True)

    two, error, six = runner.run(main())
    assert (two, six) == (2, 6)
    assert isinstance(error, ValueError)


@ways
def test_a_sleep_in_a_thread_suspends_and_one_elsewhere_blocks(
    way: Callable[..., Any], runner: asyncio.Runner, pyodide: Pyodide
):
    async def main() -> None:
        time.sleep(1)  # noqa: ASYNC251 - that is the question
        pyodide.meanwhile = lambda: time.sleep(2)
        await way(twice)
        time.sleep(3)  # noqa: ASYNC251

    def twice() -> None:
        time.sleep(0.1)
        time.sleep(0.1)

    runner.run(main())
    assert pyodide.slept == [
        "blocked 1",
        *["suspended", "blocked 2"] * 2,
        "blocked 3",
    ]


def test_a_sleep_blocks_where_python_cannot_be_suspended(
    runner: asyncio.Runner, pyodide: Pyodide
):
    pyodide.can_suspend = False
    runner.run(asyncio.to_thread(time.sleep, 0.1))
    assert pyodide.slept == ["blocked 0.1"]


def test_a_thread_of_its_own_is_refused_with_words(runner: asyncio.Runner):
    with pytest.raises(RuntimeError, match="a browser tab has no threads"):
        threading.Thread(target=work).start()
    with (
        pytest.raises(RuntimeError, match="a browser tab has no threads"),
        ThreadPoolExecutor() as pool,
    ):
        pool.submit(work, 1)


# Logs


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def test_a_queue_of_log_records_is_handled_at_once(runner: asyncio.Runner):
    records = queue.Queue()
    handler, kept = QueueHandler(records), Kept()
    listener = QueueListener(records, kept)
    record = logging.makeLogRecord({"msg": "%s", "args": ("one",)})
    listener.start()
    handler.handle(record)
    assert kept.said == ["one"]
    listener.stop()
    handler.handle(record)
    assert kept.said == ["one"]
    assert records.qsize() == 1
    listener.stop()  # once more does no harm


def test_litestars_own_logging_needs_no_thread(
    runner: asyncio.Runner, capsys: pytest.CaptureFixture[str]
):
    logger = logging.getLogger("litestar")
    before = logger.handlers[:], logger.level, logger.propagate
    try:
        get_logger = LoggingConfig(configure_root_logger=False).configure()
        get_logger("litestar").warning("mind the %s", "gap")
        assert "WARNING" in (said := capsys.readouterr().err)
        assert said.endswith("mind the gap\n")
    finally:
        logger.handlers[:], logger.level, logger.propagate = before


# All at once


def test_start_gives_a_kernel_whose_cells_serve_apps_without_a_server(
    pyodide: Pyodide, monkeypatch: pytest.MonkeyPatch
):
    posted: list[dict[str, Any]] = []
    for place, name in ((sys, "stdout"), (sys, "stderr")):
        monkeypatch.setattr(place, name, getattr(place, name))
    for name in ("__main__", "snippets.testing.server"):
        module = sys.modules.get(name, ModuleType(name))
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(builtins, "display", None, raising=False)

    async def main() -> list[bytes]:
        kernel, sockets = await tab.start(posted.append)
        await kernel.run("01-chapter", "serves", SERVES)
        found = []
        for chapter in ("02-other", "01-chapter"):
            await sockets.close_all(chapter)
            _, _, body = await sockets.fetch("http://app-1.tab/")
            found.append(body)
        return found

    with asyncio.Runner(loop_factory=TabLoop) as runner:
        found = runner.run(asyncio.wait_for(main(), WAIT))
    texts = [m["output"]["text"] for m in posted if "output" in m]
    assert texts == ["http://app-1.tab\n"]
    assert posted[-1]["status"] == "ok"
    assert found == [b"hello", b"no app is at http://app-1.tab/"]


SERVES = """
import asyncio
from litestar import Litestar, get
from snippets.testing.server import serve

@get("/", sync_to_thread=False)
def hello() -> str:
    return "hello"

async def run():
    async with serve(Litestar([hello], logging_config=None)) as server:
        print(server.http_url)
        started.set()
        await asyncio.Event().wait()

started = asyncio.Event()
task = asyncio.create_task(run())
await started.wait();
"""
