"""How the tests of the exercises wait."""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

Ready = list[tuple[selectors.SelectorKey, int]]
DEADLOCK = 10
"""Seconds after which nothing can be expected from outside of a loop."""


class Idle(selectors.DefaultSelector):
    """Notes for how long it should have waited, instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> Ready:
        """Tell what is ready.

        Raises:
            RuntimeError: Nothing is, there is no timer, and nothing comes.
        """
        ready = super().select(DEADLOCK if timeout is None else 0)
        if not ready and timeout is None:
            raise RuntimeError("all wait for something, and for no time-out")
        if not ready:
            self.skipped += timeout or 0.0
        return ready


class Skipping(asyncio.SelectorEventLoop):
    """A loop whose clock stands still while there is something to do.

    When there is not, it skips to the next timer. All that a check and an
    answer do is done in this loop: so to wait for what does not come takes no
    time, and on a busy machine no wait is over too early.
    """

    def __init__(self) -> None:
        self.idle = Idle()
        super().__init__(self.idle)

    def time(self) -> float:
        """The time in seconds, as all timers of the loop know it."""
        return self.idle.skipped


SKIPPING: tuple[str, Mapping[str, Any]] = (
    "asyncio",
    {"loop_factory": Skipping},
)
