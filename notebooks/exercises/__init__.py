"""Exercises whose checks watch what an answer does, not how it is written.

A chapter declares its exercises in a module of this package, and its notebook
hands the reader's handler, app, or function that makes an app, to `check()`:

```python
await handlers.greet.check(my_greet)
```

Checks run in process, in the running event loop, with a short time-out on
every wait. Whatever the answer does, a report comes back. Only code that never
awaits, such as `while True: pass`, cannot be stopped from here.
"""

import asyncio
import inspect
import logging
from collections.abc import (
    Awaitable,
    Callable,
    Generator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

from snippets.testing.client import Closed, Refused

from ._report import Code, Folded, Missed, Outcome, Report, described
from ._trial import Mistake, Trial, is_cancelled

__all__ = [
    "Exercise",
    "Mistake",
    "Mutant",
    "Report",
    "Trial",
    "quiet",
    "source",
]


@contextmanager
def quiet() -> Generator[None]:
    """Leave out of the output what the snippets log."""
    logger = logging.getLogger("snippets")
    before = logger.handlers, logger.propagate
    nobody: list[logging.Handler] = [logging.NullHandler()]
    logger.handlers, logger.propagate = nobody, False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before


@dataclass(frozen=True)
class Mutant:
    """A plausible wrong answer: the solution, with its text edited.

    Attributes:
        says: The likely mistake that a report must name for it.
        edits: Pieces of the solution's source, and what to put there.
    """

    says: str
    edits: Mapping[str, str]


@dataclass(frozen=True)
class Exercise:
    """A task, and all it takes to tell whether an answer solves it.

    Attributes:
        task: What to do, as the notebook says it.
        stub: What the notebook starts with.
        checks: Async functions that try an answer; the docstring of each says
            what it checks.
        tip: What to think of, without the answer.
        right: Right answers that go different ways; the first is shown.
        mutants: Wrong answers that the checks must catch.
    """

    task: str
    stub: object
    checks: Sequence[Callable[[Trial], Awaitable[None]]]
    tip: str
    right: Sequence[object]
    mutants: Sequence[Mutant]

    async def check(self, answer: object, *, timeout: float = 1.0) -> Report:
        """Try an answer.

        Args:
            answer: A handler, an app (also a plain ASGI function), or a
                function that makes one, as the task asks; anything else is
                reported, too.
            timeout: How long any single wait may last, in seconds.

        Returns:
            What was found, to be shown as a cell's last expression.
        """
        outcomes = []
        for check in self.checks:
            trial = Trial(answer, timeout)
            try:
                async with asyncio.timeout(10 * timeout):
                    with quiet():
                        await check(trial)
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled():
                    raise
                with suppress(Missed):
                    trial.miss(_wanted(trial, error), described(error))
            if trial.missed and not trial.ran:
                return Report([Outcome("The answer can be run", trial.missed)])
            title = (inspect.getdoc(check) or "").removesuffix(".")
            outcomes.append(Outcome(title, trial.missed))
        return Report(outcomes)

    def hint(self) -> Folded:
        """Show what to think of."""
        return Folded("A hint", self.tip)

    def solution(self) -> Folded:
        """Show the source of a right answer, folded."""
        return Folded("One solution", source(self.right[0]))


def _wanted(trial: Trial, error: BaseException) -> str:
    """Say what a check needed that was ended by an error."""
    if not trial.ran:
        return "an app that starts"
    match error:
        case Closed():
            return "the connection still open"
        case Refused():
            return "the connection accepted"
        case TimeoutError():
            return "the next step in time"
    return "no exception"


def source(thing: Any) -> Code:
    """Get the source of something from a module, to show it in a notebook.

    Args:
        thing: A function, a class, a module, or a decorated handler.

    Returns:
        The source, decorators included; a `str` that shows itself in colour.
    """
    return Code(dedent(inspect.getsource(getattr(thing, "fn", thing))))
