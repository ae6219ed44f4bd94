"""Run a scenario in thousands of orders, and find the shortest that fails.

In asyncio another task can run at each `await`, and a test sees one order of
many. `explore()` lets a seed decide who comes next, so that each order can be
had again, and time-outs cost no time:

```python
async def everybody_hears(log: Log) -> None:
    ...  # start tasks, log() what they do, and assert

failure = explore(everybody_hears, orders=1000)
assert failure is None, failure
```

What it finds is made short: the fewest turns out of their order that still
make the scenario fail.

Needs: `clock.py`.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from .clock import Skipping

_PATIENCE = 3600
"""How long a scenario may take by its own clock, in seconds."""

Log = Callable[[str], None]
Scenario = Callable[[Log], Awaitable[None]]


@dataclass(frozen=True)
class Failure:
    """An order in which a scenario fails.

    Attributes:
        error: How it fails.
        log: What the scenario logged until then, in this order.
        turns: Whose turn it was each time that more than one could go on: 0
            for the one that has waited longest, as in asyncio.
    """

    error: BaseException
    log: list[str] = field(repr=False)
    turns: list[int]

    def __str__(self) -> str:
        steps = [f"{n}. {step}" for n, step in enumerate(self.log, 1)]
        error = f"{type(self.error).__name__}: {self.error}"
        return "\n".join([*steps, error])


class _Loop(Skipping):
    """A loop in which it is decided who comes next.

    Each callback that is ready is one of the base class's turns, and which
    one runs in a turn is `turns`'s choice, or a random one, or the oldest.
    """

    def __init__(
        self, turns: Sequence[int], chance: random.Random | None
    ) -> None:
        self._ahead = list(reversed(turns))
        self._chance = chance
        self._able: list[tuple[asyncio.Handle, Callable[[], object]]] = []
        self.turns: list[int] = []
        super().__init__()

    def call_soon(
        self,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Let a callback be one of those that may come next."""
        context = context or copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        self._able.append((handle, partial(context.run, callback, *args)))
        super().call_soon(self._next)
        return handle

    def _next(self) -> None:
        handle, call = self._able.pop(self._turn(len(self._able)))
        if not handle.cancelled():
            call()

    def _turn(self, able: int) -> int:
        if able == 1:
            return 0
        turn = self._ahead.pop() if self._ahead else 0
        if self._chance is not None:
            turn = self._chance.randrange(able)
        self.turns.append(turn := min(turn, able - 1))
        return turn


def _run(
    scenario: Scenario,
    turns: Sequence[int] = (),
    chance: random.Random | None = None,
) -> Failure | None:
    log: list[str] = []
    loops: list[_Loop] = []

    def make_loop() -> _Loop:
        loops.append(_Loop(turns, chance))
        return loops[0]

    async def run() -> None:
        async with asyncio.timeout(_PATIENCE):
            await scenario(log.append)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        try:
            runner.run(run())
        except Exception as error:  # noqa: BLE001 - what is looked for
            return Failure(error, log, loops[0].turns)
    return None


def explore(
    scenario: Scenario, *, orders: int = 1000, seed: int = 0
) -> Failure | None:
    """Run a scenario in many orders, until it fails in one.

    It runs in event loops of its own, so call this where none is running: in
    a test that is no coroutine, or by `asyncio.to_thread()`.

    Args:
        scenario: Called with a function that logs what happens; it fails by
            an exception, such as that of an `assert`. An hour is over for it
            in no time, and then it fails by a TimeoutError. All that it waits
            for has to happen in its event loop.
        orders: How many orders are tried.
        seed: Where to begin; the same seeds have the same orders.

    Returns:
        The failure, with as few turns out of their order as were found to be
        needed; None if there was none.
    """
    for chance in range(seed, seed + orders):
        failure = _run(scenario, chance=random.Random(chance))
        if failure is not None:
            return _shortest(scenario, failure)
    return None


def _shortest(scenario: Scenario, failure: Failure) -> Failure:
    """Give back one turn after the other to whom has waited longest."""
    place = len(failure.turns)
    while place := _last(failure.turns[:place]):
        turns = failure.turns.copy()
        turns[place - 1] = 0
        failure = _run(scenario, turns[: _last(turns)]) or failure
        place -= 1
    return replace(failure, turns=failure.turns[: _last(failure.turns)])


def _last(turns: Sequence[int]) -> int:
    """Count the turns up to the last that is out of its order."""
    return max((n for n, turn in enumerate(turns, 1) if turn), default=0)
