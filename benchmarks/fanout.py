"""One load for many ways to fan out, and what it costs the server.

The server is a process of its own, and so are its clients. All servers are
there from the beginning and are loaded in turn, several times, so that what
disturbs the machine disturbs them all.
"""

import json
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fanout_servers import frame

HERE = Path(__file__).parent
SERVERS, CLIENTS = HERE / "fanout_servers.py", HERE / "fanout_client.py"


@dataclass(frozen=True)
class Load:
    """What a server has to do.

    Attributes:
        members: How many clients it has.
        messages: How many messages are published.
        size: Of each, in bytes; what a client gets has a header, too.
        turn: After how many messages the publisher lets others have a turn.
        deflate: Whether messages are compressed.
        rooms: How many rooms the clients are spread over.
        stalled: How many of the clients do not read.
    """

    members: int = 500
    messages: int = 128
    size: int = 100
    turn: int = 32
    deflate: bool = False
    rooms: int = 1
    stalled: int = 0

    @property
    def serving(self) -> str:
        """What a server has to know of it, as JSON."""
        names = ("deflate", "members", "rooms")
        return json.dumps({name: getattr(self, name) for name in names})

    @property
    def each(self) -> int:
        """How many of the messages a client gets."""
        return (
            self.messages
            * max(self.members // self.rooms, 1)
            // (self.members)
        )


Figures = dict[str, float]


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

    def answer(self) -> dict[str, Any]:
        """Wait for an answer, for two minutes at most."""
        assert self.child.stdout
        if not select.select([self.child.stdout], [], [], 120)[0]:
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
def connected(way: str, load: Load) -> Generator[tuple[Process, Process]]:
    """A fresh server, and clients that are connected to it."""
    with (
        child(SERVERS, way, load.serving) as server,
        child(CLIENTS, server.answer()["port"]) as clients,
    ):
        clients.ask("connect", count=load.members, deflate=load.deflate)
        yield server, clients


def fan_out(
    pair: tuple[Process, Process], load: Load, patience: float = 10
) -> Figures:
    """Publish and read, once.

    Args:
        pair: The server and its clients.
        load: What to publish.
        patience: Seconds without a byte for anybody, after which the rest
            is given up.

    Returns:
        Microseconds of CPU that the server used for each frame that arrived;
        the share of frames that did, of those who read; how many arrived in a
        second; the bytes of one; how much of the time the process with the
        clients was busy; and the bytes of memory that the server has.
    """
    server, clients = pair
    owed = load.each * len(frame("x" * load.size))
    readers = load.members - load.stalled
    server.ask("collect")
    clients.tell(
        "read",
        expected=2**40 if load.deflate else owed,
        stalled=load.stalled,
        patience=1 if load.deflate else patience,
    )
    before = server.ask(
        "publish", messages=load.messages, size=load.size, turn=load.turn
    )
    read = clients.answer()
    after = server.ask("look")
    # How much a compressed frame has is known to the server alone.
    bytes_each = owed if not load.deflate else read["bytes"] / readers
    arrived = read["bytes"] / bytes_each * load.each
    return {
        "cpu": (after["cpu"] - before["cpu"]) / max(arrived, 1) * 1e6,
        "arrived": arrived / load.each / readers,
        "rate": arrived / max(read["seconds"], 1e-3),
        "bytes": bytes_each / load.each,
        "busy": read["busy"] / max(read["seconds"], 1e-3),
        "memory": after["memory"],
    }


def rounds(
    cases: dict[str, tuple[str, Load]], count: int
) -> dict[str, list[Figures]]:
    """Measure some cases in turn, several times.

    Args:
        cases: For each name a way and its load.
        count: How many times.

    Returns:
        For each name the figures of all rounds.

    Raises:
        RuntimeError: Not all frames arrived, so that nothing is measured.
    """
    found: dict[str, list[Figures]] = {name: [] for name in cases}
    with ExitStack() as stack:
        pairs: dict[object, tuple[Process, Process]] = {}
        for way, load in cases.values():
            if (same := (way, load.serving)) not in pairs:
                pairs[same] = stack.enter_context(connected(way, load))
                few = max(load.rooms, min(load.messages, 2 * load.turn))
                few -= few % load.rooms
                fan_out(pairs[same], replace(load, messages=few))  # warm up
        for _ in range(count):
            for name, (way, load) in cases.items():
                figures = fan_out(pairs[way, load.serving], load)
                if figures["arrived"] < 0.999:
                    raise RuntimeError(f"{name}: {figures}, {load}")
                found[name].append(figures)
    return found


def stalling(way: str, load: Load) -> Figures:
    """Publish twice to a fresh server whose newest clients do not read.

    Returns:
        What arrived, of all; what arrived the second time; how many arrived
        in a second; microseconds of CPU for one; and the bytes of memory that
        it has cost the server.
    """
    with connected(way, load) as pair:
        start = pair[0].ask("collect")
        first, second = (fan_out(pair, load, patience=3) for _ in range(2))
        end = pair[0].ask("collect")
    return {
        "arrived": (first["arrived"] + second["arrived"]) / 2,
        "later": second["arrived"],
        "rate": statistics.harmonic_mean([first["rate"], second["rate"]]),
        "cpu": (first["cpu"] + second["cpu"]) / 2,
        "memory": end["memory"] - start["memory"],
    }


def memory(way: str, count: int) -> float:
    """The bytes that a connection costs a fresh server while it is idle."""
    with connected(way, Load(members=100)) as (server, clients):
        before = server.ask("collect")
        clients.ask("connect", count=count)
        after = server.ask("collect")
    return (after["memory"] - before["memory"]) / count


def hoarding(way: str, load: Load) -> float:
    """The bytes that a connection costs whose client does not read."""
    with connected(way, load) as (server, _):
        before = server.ask("collect")
        server.ask(
            "publish", messages=load.messages, size=load.size, turn=load.turn
        )
        wait_until_idle(server)
        after = server.ask("collect")
    return (after["memory"] - before["memory"]) / load.members


def wait_until_idle(server: Process, files: int | None = None) -> Figures:
    """Wait until a server does nothing any more.

    Args:
        server: The server.
        files: How many file descriptors it has then, if that is known.

    Returns:
        What it has used until then.

    Raises:
        TimeoutError: It goes on for a minute.
    """
    now = server.ask("look")
    for _ in range(300):
        time.sleep(0.2)  # another process's CPU time tells of no event
        before, now = now, server.ask("look")
        quiet = now["cpu"] - before["cpu"] < 0.01
        if quiet and files in {None, now["files"]}:
            return now
    raise TimeoutError("the server was busy for a minute")


def churn(pair: tuple[Process, Process], count: int) -> float:
    """Microseconds of CPU for a client that comes and goes."""
    server, clients = pair
    before = server.ask("collect")
    clients.ask("connect", count=count)
    clients.ask("leave", count=count)
    after = wait_until_idle(server, before["files"])
    return (after["cpu"] - before["cpu"]) / count * 1e6


def median(seen: Iterable[Figures], name: str) -> float:
    """The median of one of the figures."""
    return statistics.median(one[name] for one in seen)


def ratio(seen: list[Figures], others: list[Figures], name: str) -> float:
    """How many times as much as the others; the median of all rounds."""
    pairs = zip(seen, others, strict=True)
    return statistics.median(one[name] / other[name] for one, other in pairs)
