"""What a browser tab lacks, made up for where it can be.

`apply()` is called once, before anything else is imported.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from logging.handlers import QueueListener
from typing import Any, Never

import anyio.to_thread


def apply() -> None:
    """Apply all shims to this Python, which is Pyodide's."""
    ffi = import_module("pyodide.ffi")
    block = import_module("pyodide.webloop")._orig_sleep
    loop = asyncio.get_running_loop()
    tasks(loop)
    threads(loop, block, ffi.can_run_sync, ffi.run_sync)
    logs()


def tasks(loop: Any) -> None:
    """Make an event loop's tasks as they are everywhere else.

    Args:
        loop: Pyodide's loop.
    """

    def create_task(coro: Any, **options: Any) -> asyncio.Task[Any]:
        factory = loop.get_task_factory()
        if factory is None:
            return asyncio.Task(coro, loop=loop, **options)
        return factory(loop, coro, **options)

    # Pyodide's own forget the options if there is a factory, and report an
    # error at once, also when the next line would have awaited the task.
    loop.create_task = create_task
    loop.create_future = lambda: asyncio.Future(loop=loop)
    # A task that raises one of these would end the worker.
    loop._system_exit_handler = lambda _code: None
    loop._keyboard_interrupt_handler = lambda: None


def threads(
    loop: Any,
    block: Callable[[float], None],
    can_suspend: Callable[[], bool],
    suspend: Callable[[Awaitable[Any]], Any],
) -> None:
    """Run in the one thread there is what should run in another.

    A `time.sleep()` in such a function lets the event loop go on where the
    browser can suspend Python (JSPI), so "threads" overlap as they should.

    Args:
        loop: The event loop.
        block: A sleep that blocks.
        can_suspend: Says whether Python can be suspended here.
        suspend: Suspends Python until something awaitable is done.
    """
    elsewhere = False  # whether this would be another thread

    def sleep(seconds: float) -> None:
        nonlocal elsewhere
        # Elsewhere is not here: a handler that sleeps blocks everyone, and
        # Pyodide's own sleep() would hide it.
        if not (elsewhere and can_suspend()):
            return block(seconds)
        elsewhere = False
        try:
            suspend(asyncio.sleep(seconds))
        finally:
            elsewhere = True

    def run_in_executor(
        _: object, call: Callable[..., Any], *args: Any
    ) -> asyncio.Task[Any]:
        async def work() -> Any:
            nonlocal elsewhere
            elsewhere = True
            try:
                return call(*args)
            finally:
                elsewhere = False

        return loop.create_task(work())

    async def run_sync(
        call: Callable[..., Any], *args: Any, **_: object
    ) -> Any:
        return await loop.run_in_executor(None, call, *args)

    def start(_: threading.Thread) -> Never:
        raise RuntimeError(
            "a browser tab has no threads: await something instead, or run "
            "this in JupyterLab"
        )

    vars(time)["sleep"] = sleep
    loop.run_in_executor = run_in_executor  # asyncio.to_thread() uses it, too
    vars(anyio.to_thread)["run_sync"] = run_sync  # has threads of its own
    threading.Thread.start = start  # ty: ignore[invalid-assignment]


def logs() -> None:
    """Have a log record handled at once instead of by a thread.

    Litestar's logging hands records to one through a queue.
    """

    def start(listener: QueueListener) -> None:
        vars(listener.queue)["put_nowait"] = listener.handle

    def stop(listener: QueueListener) -> None:
        vars(listener.queue).pop("put_nowait", None)

    QueueListener.start = start  # ty: ignore[invalid-assignment]
    QueueListener.stop = stop  # ty: ignore[invalid-assignment]
