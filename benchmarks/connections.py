"""What it costs to send one message to many, our way and others.

Run it on a quiet machine with `python benchmarks/connections.py`; it writes
`benchmarks/results/connections.json`, and the tables and plots of it for the
site. `--tables` makes these from what is stored.

While you work on the code, `--only floor,ours` prints the fan-out alone, and
stores nothing; the first of the ways is what the others are compared with.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fanout import (
    Load,
    churn,
    connected,
    hoarding,
    median,
    memory,
    ratio,
    rounds,
    stalling,
)
from fanout_plots import plots
from fanout_servers import COMPARED
from fanout_tables import goals, tables

RESULTS = Path(__file__).parent / "results"
CURVES = ("floor", "ours", "websockets", "channels", "loop")
TURNS = (1, 2, 4, 8, 16, 32)
MEMBERS = (10, 50, 200, 800, 2_000)
SIZES = (16, 128, 1_024, 8_192, 65_536)
ROOMS = (1, 10, 100, 1_000, 10_000)
FRAMES = 30_000
"""How many frames a point of a curve has in each round."""
AT_ONCE = 2**18
"""How many bytes a publisher of large messages publishes in one turn."""
STALLED = Load(members=102, messages=600, size=8_192, stalled=2)
HOARDED = Load(members=20, messages=1_500, size=8_192)


def compared(loads: dict[str, tuple[str, Load]], count: int) -> dict[str, Any]:
    """Measure some ways in turn; the first is what the others are compared to.

    Returns:
        For each: the median, lowest and highest microseconds of CPU for a
        frame, how many times those of the first in the same rounds, the share
        of frames that arrived, how busy the clients' process was, and the
        bytes of a frame.
    """
    found = rounds(loads, count)
    first = next(iter(found.values()))
    return {
        name: {
            "cpu": round(median(seen, "cpu"), 2),
            "lowest": round(min(one["cpu"] for one in seen), 2),
            "highest": round(max(one["cpu"] for one in seen), 2),
            "to the first": round(ratio(seen, first, "cpu"), 2),
            "arrived": round(min(one["arrived"] for one in seen), 3),
            "busy": round(median(seen, "busy"), 2),
            "bytes": round(median(seen, "bytes"), 1),
        }
        for name, seen in found.items()
    }


def curve(loads: dict[int, Load], count: int) -> dict[str, dict[str, float]]:
    """Measure some ways under several loads.

    Returns:
        For each load the microseconds of CPU for a frame, medians, by way.
    """
    found = rounds(
        {
            f"{way} {point}": (way, load)
            for point, load in loads.items()
            for way in CURVES
        },
        count,
    )
    return {
        str(point): {
            way: round(median(found[f"{way} {point}"], "cpu"), 2)
            for way in CURVES
        }
        for point in loads
    }


def turns(count: int) -> dict[str, Any]:
    """What it costs to publish few messages at a time."""
    loads = {turn: Load(messages=64, turn=turn) for turn in TURNS}
    return curve(loads, count)


def members(count: int) -> dict[str, Any]:
    """What it costs to have many members."""
    return curve({n: Load(n, FRAMES // n) for n in MEMBERS}, count)


def sizes(count: int) -> dict[str, Any]:
    """What it costs to send large messages."""
    loads = {}
    for size in SIZES:
        turn = min(32, AT_ONCE // size)
        messages = max(turn, 2**22 // max(size, 2**13))
        loads[size] = Load(100, messages, size, turn)
    return curve(loads, count)


def rooms(count: int) -> dict[str, Any]:
    """What it costs to spread the same number of frames over many rooms."""
    people = 1_000
    loads = {"all": ("ours", Load(people, FRAMES // people))}
    for number in ROOMS:
        messages = FRAMES // max(people // number, 1)
        load = Load(people, messages, rooms=number)
        loads[str(number)] = ("rooms", load)
    return compared(loads, count)


def compression(count: int) -> dict[str, Any]:
    """What it costs to compress, which is done for each client anew."""
    plain = Load(100, 300, 1_024)
    packed = Load(100, 300, 1_024, deflate=True)
    return compared(
        {
            "ours": ("ours", plain),
            "ours, compressed": ("ours", packed),
            "websockets": ("websockets", plain),
            "websockets, compressed": ("websockets", packed),
        },
        count,
    )


def stalled(count: int) -> dict[str, Any]:
    """What two clients that do not read do to a hundred that do."""
    full = Load(STALLED.members - 2, STALLED.messages, STALLED.size)
    found: dict[str, Any] = {}
    for way in ("ours", "websockets", "channels", "loop", "gather"):
        without, with_them = [], []
        for _ in range(count if way == "ours" else 1 + count // 3):
            without.append(stalling(way, full))
            with_them.append(stalling(way, STALLED))
        found[way] = {
            "rate": round(median(with_them, "rate")),
            "rate without": round(median(without, "rate")),
            "to without": round(ratio(with_them, without, "rate"), 3),
            "cpu to without": round(ratio(without, with_them, "cpu"), 3),
            "arrived": round(median(with_them, "arrived"), 3),
            "later": round(median(with_them, "later"), 3),
            "memory": round(median(with_them, "memory")),
            "memory without": round(median(without, "memory")),
        }
    return found


def space(count: int) -> dict[str, Any]:
    """What memory a connection takes, in bytes."""
    ways = {"floor": "floor", "a handler": "loop", "ours": "ours"}
    idle: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(count):
        for name, way in ways.items():
            idle[name].append(memory(way, 1_000))
    # The server itself holds a few frames for such a client, too.
    full = [
        hoarding("kept", HOARDED) - hoarding("gather", HOARDED)
        for _ in range(count)
    ]
    found = {name: round(statistics.median(idle[name])) for name in ways}
    added = zip(idle["ours"], idle["a handler"], strict=True)
    return found | {
        "added": round(statistics.median(a - b for a, b in added)),
        "hoarded": round(statistics.median(full)),
    }


def coming_and_going(count: int) -> dict[str, Any]:
    """What a client costs that connects and leaves, in microseconds."""
    ways = {
        "a handler": ("loop", Load(members=100)),
        "ours": ("ours", Load(members=100)),
        "joining": ("rooms", Load(members=100, rooms=1_000)),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    with ExitStack() as stack:
        pairs = {
            name: stack.enter_context(connected(way, load))
            for name, (way, load) in ways.items()
        }
        for _ in range(count):
            for name, pair in pairs.items():
                found[name].append(churn(pair, 500))
    return {name: round(statistics.median(found[name])) for name in ways}


def fan_out(count: int) -> dict[str, Any]:
    """What a frame costs each way."""
    return compared({way: (way, Load()) for way in COMPARED}, count)


PARTS: dict[str, tuple[Callable[[int], dict[str, Any]], int]] = {
    "fan-out": (fan_out, 21),
    "turns": (turns, 5),
    "members": (members, 5),
    "sizes": (sizes, 5),
    "rooms": (rooms, 5),
    "compression": (compression, 5),
    "stalled": (stalled, 7),
    "memory": (space, 5),
    "churn": (coming_and_going, 5),
}
"""The parts of the benchmark, and how many rounds each has."""


def machine() -> dict[str, str]:
    """What it was measured with."""
    packages = ("uvicorn", "websockets", "litestar", "starlette")
    return {
        "python": f"{platform.python_implementation()} "
        f"{platform.python_version()}, asyncio's own loop, "
        + ", ".join(f"{name} {version(name)}" for name in packages),
        "machine": f"{platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores",
    }


def asked() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", action="store_true", help="measure none")
    parser.add_argument("--part", choices=PARTS, help="measure only this")
    parser.add_argument("--only", help=f"some of {','.join(COMPARED)}")
    parser.add_argument("--rounds", type=int, help="of each part")
    for name in ("members", "messages", "size", "turn"):
        default = getattr(Load(), name)
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def show(args: argparse.Namespace) -> None:
    """Measure the fan-out of a few ways, and print it."""
    load = Load(args.members, args.messages, args.size, args.turn)
    ways = args.only.split(",")
    found = compared({way: (way, load) for way in ways}, args.rounds or 21)
    for way, row in found.items():
        print(f"{way:11}", *(f"{name} {row[name]} " for name in row))


def main() -> None:
    """Measure, judge, print, store."""
    args = asked()
    if args.only:
        show(args)
        return
    path = RESULTS / "connections.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if not args.tables:
        found |= machine()
        for name in [args.part] if args.part else PARTS:
            print(f"· {name}", flush=True)
            measure, count = PARTS[name]
            found[name] = measure(args.rounds or count)
            if name == "fan-out":
                found["rounds"] = args.rounds or count
                found["messages"] = Load().messages
                found["load"] = round(os.getloadavg()[1], 1)
            text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
            path.write_text(text, encoding="utf-8")
    for name, text in (tables(found) | plots(found)).items():
        (RESULTS / name).write_text(text, encoding="utf-8")
    print((RESULTS / "connections.md").read_text("utf-8"))
    missed = [name for name, _, _, reached in goals(found) if not reached]
    if missed:
        sys.exit(f"not reached: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
