"""What the message contract costs: decoding and dispatching one message.

Run it with `python benchmarks/messages.py`; it writes
`benchmarks/results/messages.json` and the table of it for the site.
"""

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from timeit import timeit
from typing import Any

import msgspec

from snippets.messages import (
    ClientMessage,
    MessageError,
    dispatcher,
    formats,
)

RESULTS = Path(__file__).parent / "results"
ROUNDS = 25
MESSAGES = 20_000
METHOD = (
    "JSON, a union of two types, and a method that does nothing. "
    f"{ROUNDS} rounds of {MESSAGES:,} messages each, the ways in turn, in one "
    "process; medians, and each round is compared with the others' round of "
    "the same number."
)
BARE = "`msgspec.json.decode(…, type=…)` and a call"
REUSED = "a `Decoder` made once, and a call"
OURS = "`formats()` and `dispatcher()`"
ERROR = "the same, for a message with a wrong field: up to its error"
LIMIT = 1.3
WHY = (
    "`msgspec.json.decode()` looks at the types anew each time, a `Decoder` "
    "looks once. What the contract adds to that is the error and the table."
)


class Say(ClientMessage, tag="say", frozen=True):
    """What people say."""

    text: str


class Ping(ClientMessage, tag="ping", frozen=True):
    """A sign of life."""


class Handlers:
    """Methods that do nothing, so that only the way to them counts.

    They are not even async: a coroutine would cost the same in each row, and
    make the rows look more alike.
    """

    def say(self, message: object) -> None:
        """Take a message."""

    def ping(self, message: Ping) -> None:
        """Take a message."""


def payload_of(field: str) -> str:
    """A message of just 100 bytes."""
    start = f'{{"type":"say","{field}":"'
    return f'{start}{"x" * (98 - len(start))}"}}'


def ways() -> dict[str, Callable[[], Any]]:
    """The ways to get a message to its method, the one to beat first."""
    kind: Any = Say | Ping
    payload, wrong = payload_of("text"), payload_of("txet")
    assert len(payload.encode()) == len(wrong.encode()) == 100
    handlers = Handlers()
    decode, reused = msgspec.json.decode, msgspec.json.Decoder(kind).decode
    ours = formats("chat", kind)[0].decode
    dispatch: Any = dispatcher(Handlers, kind)

    def bare() -> None:
        handlers.say(decode(payload, type=kind))

    def with_decoder() -> None:
        handlers.say(reused(payload))

    def with_contract() -> None:
        dispatch(handlers, ours(payload))

    def with_error() -> None:
        try:
            ours(wrong)
        except MessageError as error:
            handlers.say(error.envelope)

    return {
        BARE: bare,
        REUSED: with_decoder,
        OURS: with_contract,
        ERROR: with_error,
    }


def measure() -> dict[str, Any]:
    """Measure all ways."""
    seen: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for way, run in ways().items():
            seconds = timeit(run, number=MESSAGES) / MESSAGES
            seen.setdefault(way, []).append(seconds * 1e6)
    return {
        "question": "What do decoding and dispatching a message cost?",
        "unit": "microseconds per message, medians",
        "method": METHOD,
        "python": f"{platform.python_implementation()} "
        f"{platform.python_version()}, msgspec {version('msgspec')}",
        "machine": f"{platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores",
        "results": {
            way: {
                "time": round(statistics.median(times), 2),
                "lowest": round(min(times), 2),
                "highest": round(max(times), 2),
                "to the first": ratio(times, seen[BARE]),
                "to the second": ratio(times, seen[REUSED]),
            }
            for way, times in seen.items()
        },
    }


def ratio(times: list[float], others: list[float]) -> float:
    """How many times as long as the others, in the same rounds."""
    pairs = zip(times, others, strict=True)
    return round(statistics.median(one / other for one, other in pairs), 2)


def table(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| a message of 100 bytes | time | to the first | to the second |",
        "|---|---|---|---|",
    ]
    for way, row in found["results"].items():
        cells = [way, f"{row['time']:.2f} µs"]
        cells += [
            f"× {row[to]:.2f}" for to in ("to the first", "to the second")
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", WHY, "", f"{found['method']} {found['python']},"]
    return "\n".join([*lines, f"{found['machine']}.", ""])


def main() -> None:
    """Measure, judge, print, store."""
    found = measure()
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    (RESULTS / "messages.json").write_text(text, encoding="utf-8")
    (RESULTS / "messages.md").write_text(table(found), encoding="utf-8")
    print(table(found))
    if found["results"][OURS]["to the first"] > LIMIT:
        sys.exit(f"over the limit, which is × {LIMIT}")


if __name__ == "__main__":
    main()
