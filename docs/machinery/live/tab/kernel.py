"""Runs a chapter's cells in the reader's tab, as a notebook's kernel would.

A cell is Python that may `await` at its top level. What it prints, shows and
raises goes to the cell whose task it came from, also after that cell's end.
"""

import asyncio
import builtins
import io
import sys
from contextvars import ContextVar, copy_context
from types import ModuleType
from typing import Any

from .cells import execute
from .outputs import Outputs, Post, report

_outputs: ContextVar[Outputs] = ContextVar("_outputs")


class Kernel:
    """Runs cells, one at a time, each chapter with names of its own.

    Args:
        post: Sends a message to the page.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._chapters: dict[str, ModuleType] = {}
        self._last = Outputs(post, "", "")
        self._task: asyncio.Task[str] | None = None
        self._streams = _Stream(self, "stdout"), _Stream(self, "stderr")

    @property
    def outputs(self) -> Outputs:
        """Those of the cell whose task this is, or of the last that ran."""
        return _outputs.get(self._last)

    async def run(self, chapter: str, cell: str, source: str) -> None:
        """Run a cell and post what comes of it.

        Args:
            chapter: Its chapter, which says what names there are.
            cell: Its id, which tracebacks show.
            source: Its code.
        """
        sys.stdout, sys.stderr = self._streams
        vars(builtins)["display"] = self.display
        loop = asyncio.get_running_loop()
        loop.set_task_factory(Task)
        loop.set_exception_handler(self._tell)
        names = self._chapters.setdefault(chapter, ModuleType("__main__"))
        sys.modules["__main__"] = names  # typing and pickle look there
        outputs = self._last = Outputs(self._post, chapter, cell)
        _outputs.set(outputs)
        work = execute(source, f"<cell {cell}>", vars(names), outputs)
        self._task = asyncio.create_task(work)
        await asyncio.wait((self._task,))
        outputs.end(self._task.result())

    def stop(self) -> None:
        """Cancel the running cell, which works while it awaits something."""
        if self._task:
            self._task.cancel()

    def reset(self, chapter: str) -> None:
        """Forget a chapter's names, and cancel what it left running."""
        self._chapters.pop(chapter, None)
        for task in asyncio.all_tasks():
            if isinstance(task, Task) and task.chapter == chapter:
                task.cancel()

    def display(self, *values: object) -> None:
        """Show objects below the cell."""
        for value in values:
            self.outputs.show(value)

    def _tell(self, _: object, context: dict[str, Any]) -> None:
        """Tell of an error that nobody waits for, as asyncio does."""
        task = context.get("task") or context.get("future")
        owner = getattr(task, "outputs", None) or self.outputs
        owner.write("stderr", f"{context.get('message')}\n")
        if error := context.get("exception"):
            owner.write("stderr", f"{report(error)}\n")


class Task(asyncio.Task[Any]):
    """A task that knows the outputs of the cell that started it."""

    def __init__(self, loop: Any, work: Any, **options: Any) -> None:
        context = options.get("context") or copy_context()
        self.outputs = context.get(_outputs)
        self.chapter = self.outputs and self.outputs.chapter
        super().__init__(work, loop=loop, **options)


class _Stream(io.TextIOBase):
    """A stdout or stderr that leads to the cell whose task writes."""

    encoding = "utf-8"

    def __init__(self, kernel: Kernel, name: str) -> None:
        self._kernel, self.name = kernel, name

    def write(self, text: str, /) -> int:
        self._kernel.outputs.write(self.name, text)
        return len(text)

    def flush(self) -> None:
        self._kernel.outputs.flush()
