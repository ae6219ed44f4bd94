"""What the frame tap adds to each WebSocket event, in microseconds.

Run it with `python benchmarks/tap.py`; it prints a table and writes
`benchmarks/results/tap.json`.
"""

import asyncio
import json
import platform
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snippets.testing.tap import ASGIApp, Tap

ROUNDS = 25
MESSAGES = 10_000
LARGE = 100
METHOD = (
    "An app reads one message and sends it back; receive and send do nothing "
    "else. Rounds of the bare and the tapped app alternate in one process. A "
    f"round is one connection with {MESSAGES:,} messages ({LARGE} of 1 MiB), "
    "so twice as many events, with the default max_events: old events are "
    "being dropped. The difference in time is divided by the events; "
    f"{ROUNDS} pairs of rounds. The size of text that is not ASCII is only "
    "known by encoding it, so there the cost grows with the size."
)
PAYLOADS: dict[str, str | bytes] = {
    "text, 60 B, ASCII": "x" * 60,
    "text, 60 B, not ASCII": "é" * 30,
    "binary, 60 B": bytes(60),
    "text, 1 MiB, ASCII": "x" * 2**20,
    "text, 1 MiB, not ASCII": "é" * 2**19,
    "binary, 1 MiB": bytes(2**20),
}


async def echo(_scope: Any, receive: Any, send: Any) -> None:
    """Send back what comes, until the client leaves."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        message["type"] = "websocket.send"
        await send(message)


def count(payload: str | bytes) -> int:
    """How many messages a round has."""
    return MESSAGES if len(payload) < 1000 else LARGE


def incoming(payload: str | bytes) -> Iterator[dict[str, Any]]:
    """What the server delivers."""
    key = "text" if isinstance(payload, str) else "bytes"
    yield {"type": "websocket.connect"}
    for _ in range(count(payload)):
        yield {"type": "websocket.receive", key: payload}
    yield {"type": "websocket.disconnect", "code": 1000}


async def seconds(app: ASGIApp, payload: str | bytes) -> float:
    """Time one connection."""
    messages = incoming(payload)

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(_message: Any) -> None:
        pass

    start = time.perf_counter()
    await app({"type": "websocket", "path": "/"}, receive, send)
    return time.perf_counter() - start


async def measure(payload: str | bytes) -> dict[str, float]:
    """Compare pairs of rounds.

    Returns:
        Microseconds that the tap adds to an event.
    """
    tapped = Tap(echo)
    added = []
    for _ in range(ROUNDS):
        bare = await seconds(echo, payload)
        with_tap = await seconds(tapped, payload)
        added.append((with_tap - bare) / (2 * count(payload)) * 1e6)
    return {
        "median": round(statistics.median(added), 2),
        "lowest": round(min(added), 2),
        "highest": round(max(added), 2),
    }


def main() -> None:
    """Measure, print, and store."""
    results = {
        name: asyncio.run(measure(payload))
        for name, payload in PAYLOADS.items()
    }
    for name, result in results.items():
        print(f"{name:24}", result)
    stored = {
        "question": "What does the frame tap add to an event?",
        "unit": "microseconds per event",
        "method": METHOD,
        "python": f"{platform.python_implementation()} "
        f"{platform.python_version()}",
        "machine": f"{platform.system()} {platform.machine()}",
        "results": results,
    }
    path = Path(__file__).parent / "results" / "tap.json"
    path.write_text(json.dumps(stored, indent=2) + "\n")


if __name__ == "__main__":
    main()
