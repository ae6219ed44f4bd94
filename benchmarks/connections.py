"""What it costs to send one message to many, our way and seven others.

Run it on a quiet machine with `python benchmarks/connections.py`. While you
work on the code, `--only floor,ours --rounds 3` prints the fan-out alone and
stores nothing.
"""

import argparse
import json
import select
import statistics
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fanout_servers import WAYS, frame

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SERVERS, CLIENT = HERE / "fanout_servers.py", HERE / "fanout_client.py"
MEMBERS, MESSAGES, SIZE, TURN, ROUNDS = 500, 1_000, 100, 32, 7


class Process:
    """A child that answers a line of JSON with another."""

    def __init__(self, script: Path, *arguments: object) -> None:
        self.child = subprocess.Popen(
            [sys.executable, script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def tell(self, do: str, **options: object) -> None:
        """Give a command."""
        assert self.child.stdin
        self.child.stdin.write(json.dumps({"do": do, **options}) + "\n")

    def answer(self, patience: float = 120) -> dict[str, Any]:
        """Wait for an answer.

        Args:
            patience: Seconds.
        """
        assert self.child.stdout
        if not select.select([self.child.stdout], [], [], patience)[0]:
            raise TimeoutError(f"{self.child.args}: no answer")
        line = self.child.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.child.args} ended")
        return json.loads(line)

    def ask(self, do: str, **options: object) -> dict[str, Any]:
        """Give a command, and wait for the answer."""
        self.tell(do, **options)
        return self.answer()


@contextmanager
def child(script: Path, *arguments: object) -> Generator[Process]:
    """A process that ends with the block, whatever it is doing."""
    process = Process(script, *arguments)
    try:
        yield process
    finally:
        process.child.kill()
        process.child.communicate()


@contextmanager
def connected(
    way: str, members: int, *, deflate: bool = False
) -> Generator[tuple[Process, Process]]:
    """A fresh server, and clients that are connected to it."""
    with (
        child(SERVERS, way, *["deflate"] * deflate) as server,
        child(CLIENT, server.answer()["port"]) as clients,
    ):
        clients.ask("connect", count=members)
        yield server, clients


def fan_out(
    pair: tuple[Process, Process],
    members: int,
    *,
    messages: int = MESSAGES,
    size: int = SIZE,
    turn: int = TURN,
) -> dict[str, float]:
    """Send so many messages to so many members, once.

    Returns:
        Microseconds of CPU that the server used for each frame that arrived,
        the share of frames that did, frames per second, and how busy the
        process with the clients was, of 1.
    """
    server, clients = pair
    owed = messages * len(frame("x" * size))
    clients.tell("read", expected=owed, patience=10)
    before = server.ask("publish", messages=messages, size=size, turn=turn)
    read = clients.answer()
    after = server.ask("report")
    arrived = read["bytes"] / owed * messages
    return {
        "cpu": (after["cpu"] - before["cpu"]) / arrived * 1e6,
        "arrived": arrived / messages / members,
        "rate": arrived / read["seconds"],
        "busy": read["busy"] / read["seconds"],
    }


def rounds(
    ways: list[str], count: int, members: int = MEMBERS, **load: int
) -> dict[str, list[dict[str, float]]]:
    """Measure the ways in turn, several times.

    All servers are there from the beginning, and only one at a time has
    something to do: what disturbs the machine disturbs them all.
    """
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with ExitStack() as stack:
        pairs = {
            way: stack.enter_context(connected(way, members)) for way in ways
        }
        for way in ways:
            fan_out(pairs[way], members, messages=32)  # to warm up
        for _ in range(count):
            for way in ways:
                found[way].append(fan_out(pairs[way], members, **load))
    return found


def summary(
    found: dict[str, list[dict[str, float]]], first: str
) -> dict[str, dict[str, float]]:
    """Medians and spread; each round is compared with the same of `first`."""
    rows = {}
    for way, seen in found.items():
        cpu = [one["cpu"] for one in seen]
        pairs = zip(cpu, (one["cpu"] for one in found[first]), strict=True)
        rows[way] = {
            "cpu": round(statistics.median(cpu), 2),
            "lowest": round(min(cpu), 2),
            "highest": round(max(cpu), 2),
            "to the floor": round(
                statistics.median(a / b for a, b in pairs), 2
            ),
            "arrived": round(min(one["arrived"] for one in seen), 3),
            "rate": round(statistics.median(one["rate"] for one in seen)),
            "busy": round(max(one["busy"] for one in seen), 2),
        }
    return rows


def options() -> argparse.Namespace:
    """What is asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help=f"some of {','.join(WAYS)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--turn", type=int, default=TURN)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    asked = vars(options())
    ways = (asked.pop("only") or ",".join(WAYS)).split(",")
    count = asked.pop("rounds")
    for way, row in summary(rounds(ways, count, **asked), ways[0]).items():
        print(f"{way:12}", row)


if __name__ == "__main__":
    main()
