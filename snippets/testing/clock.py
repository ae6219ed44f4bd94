"""A clock that skips what everybody waits for.

For tests of what takes time, without taking it. In an event loop like this a
time-out is exact, also on a busy machine:

```python
@pytest.fixture
def anyio_backend() -> object:
    return SKIPPING


async def test_a_minute_is_over_at_once():
    await asyncio.sleep(60)
```

All that happens has to happen in the loop: what comes from outside, over TCP
or from a thread, comes after the time-outs.

Needs: the standard library.
"""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

Ready = list[tuple[selectors.SelectorKey, int]]


class Idle(selectors.DefaultSelector):
    """Notes for how long it should have waited, instead of waiting.

    Attributes:
        skipped: How long that was in all, in seconds.
        patience: After how long nothing more can be expected to come from
            outside of the loop, in seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0
        self.patience = 10.0

    def select(self, timeout: float | None = None) -> Ready:
        """Tell what is ready.

        Args:
            timeout: For how long it would wait, in seconds.

        Returns:
            What can be read and written.

        Raises:
            RuntimeError: Nothing, and there is no timer, and nothing comes.
        """
        ready = super().select(self.patience if timeout is None else 0)
        if not ready and timeout is None:
            raise RuntimeError("all wait for something, and for no time-out")
        if not ready and timeout is not None:
            self.skipped += timeout
        return ready


class Skipping(asyncio.SelectorEventLoop):
    """A loop whose clock stands still while there is something to do.

    When there is not, it skips to the next timer.

    Attributes:
        idle: What waits.
    """

    def __init__(self) -> None:
        self.idle = Idle()
        super().__init__(self.idle)

    def time(self) -> float:
        """Tell the time.

        Returns:
            The time in seconds, as all timers of the loop know it.
        """
        return self.idle.skipped


SKIPPING: tuple[str, Mapping[str, Any]] = (
    "asyncio",
    {"loop_factory": Skipping},
)
"""What the fixture `anyio_backend` returns for tests to run in such a loop."""
