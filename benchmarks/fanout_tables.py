"""What `connections.py` has found, as tables, and whether it is enough."""

from typing import Any

Found = dict[str, Any]

NAMES = {
    "floor": "`transport.write()`, the floor",
    "ours": "`ConnectionManager.broadcast()`",
    "websockets": "`broadcast()` of websockets",
    "starlette": "Starlette, a list and a loop",
    "channels": "Litestar Channels",
    "loop": "Litestar, a set and a loop",
    "gather": "Litestar, `gather()`",
}
METHOD = """\
500 clients each get {:,} messages of 100 bytes. The server is a process of
its own with one event loop: uvicorn with `websockets-sansio`, or the server
of websockets, or asyncio alone. Compression and pings are off. A publisher in
the server publishes as fast as it can, and after every 32 messages lets others
have a turn, `await asyncio.sleep(0)`, whichever way it is. What is counted is
the CPU time of the server's process from the first message until the last
client has the last frame, system calls included, divided by the frames. {} All
servers stand ready and are loaded in turn, {} rounds of {} messages; medians,
and each round is compared with the others' round of the same number.

All clients are another process, which reads bytes without looking at them,
and sleeps for 5 ms after each look at its sockets. It was busy for {:.0%} of
the time at most, so it is the server that was measured.

{}; {}, with a load average of {}: where that is above the number of cores,
others were using the machine, too, and times are longer than on a quiet one;
compare them with each other only."""


def row(*cells: object) -> str:
    """A row of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table; numbers stand to the right, and with their units."""
    rows = [
        [first, *(cell.replace(" ", "\N{NO-BREAK SPACE}") for cell in rest)]
        for first, *rest in rows
    ]
    line = row("---", *["---:"] * (len(head) - 1))
    return "\n".join([row(*head), line, *(row(*cells) for cells in rows)])


def bytes_of(number: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "KiB"):
        if abs(number) < 1024:
            return (
                f"{number:,.0f} {unit}"
                if unit == "bytes"
                else (f"{number:.1f} {unit}")
            )
        number /= 1024
    return f"{number:.2f} MiB"


def fan_out(found: Found) -> str:
    """The costs of all ways."""
    rows = [
        [
            NAMES[way],
            f"{one['cpu']:.2f} µs",
            f"{one['lowest']:.2f} to {one['highest']:.2f}",
            f"× {one['to the first']:.2f}",
        ]
        for way, one in found["fan-out"].items()
    ]
    return table(["CPU of the server", "per frame", "", "to the floor"], rows)


def method(found: Found) -> str:
    """How it was measured."""
    rows = found["fan-out"].values()
    arrived = min(one["arrived"] for one in rows)
    all_of = (
        "All frames arrived."
        if arrived == 1
        else (f"At least {arrived:.1%} of the frames arrived.")
    )
    busy = max(one["busy"] for one in rows)
    text = METHOD.format(
        found["rounds"] * found["messages"],
        all_of,
        found["rounds"],
        found["messages"],
        busy,
        found["python"],
        found["machine"],
        found["load"],
    )
    return text.replace(" \n", "\n")


def goals(found: Found) -> list[tuple[str, float, float, bool]]:
    """What was aimed at: what it is, the limit, what was found, reached?"""
    ways = found["fan-out"]
    ours = ways["ours"]["to the first"]
    stalled, space = found["stalled"]["ours"], found["memory"]
    below = [
        ("CPU per frame, to the floor", 1.35, ours),
        (
            "CPU per frame, to websockets",
            1.0,
            ours / ways["websockets"]["to the first"],
        ),
        (
            "CPU per frame, to Channels",
            0.75,
            ours / ways["channels"]["to the first"],
        ),
        ("KiB for an idle connection", 4, space["added"] / 1024),
        ("KiB for a stalled connection", 1024, space["hoarded"] / 1024),
    ]
    rows = [(*goal, goal[2] <= goal[1]) for goal in below]
    rate = stalled["to without"]
    return [
        *rows,
        ("rate beside stalled clients, to without", 0.95, rate, rate >= 0.95),
    ]


def targets(found: Found) -> str:
    """What was aimed at, and what was reached."""
    rows = []
    for name, limit, value, reached in goals(found):
        least = "at least" if name.startswith("rate") else "at most"
        verdict = "yes" if reached else "no"
        rows.append([name, f"{least} {limit:,}", f"{value:,.2f}", verdict])
    return table(["ours", "aimed at", "found", "reached"], rows)


def stalled(found: Found) -> str:
    """What clients that do not read do to those who do."""
    rows = [
        [
            NAMES[way],
            f"{one['arrived']:.1%}",
            f"{one['later']:.1%}",
            bytes_of(one["memory"] - one["memory without"]),
        ]
        for way, one in found["stalled"].items()
    ]
    head = [
        "2 of 102 clients do not read",
        "frames that the 100 get",
        "of the second half",
        "memory for the 2",
    ]
    return table(head, rows)


def memory(found: Found) -> str:
    """What a connection takes."""
    space = found["memory"]
    rows = [
        ["asyncio alone", bytes_of(space["floor"])],
        ["uvicorn and a Litestar handler", bytes_of(space["a handler"])],
        ["the same in a `ConnectionManager`", bytes_of(space["ours"])],
        ["what the manager adds", f"**{bytes_of(space['added'])}**"],
        [
            "what it adds for one that does not read: 1 MiB, and its frame",
            bytes_of(space["hoarded"]),
        ],
    ]
    return table(["a connection takes", "memory"], rows)


def churn(found: Found) -> str:
    """What coming and going costs."""
    cost = found["churn"]
    rows = [
        [name, f"{cost[way]:,} µs", f"{1e6 / cost[way]:,.0f}"]
        for way, name in (
            ("a handler", "uvicorn and a Litestar handler"),
            ("ours", "the same in a `ConnectionManager`"),
            ("joining", "the same, and it joins and leaves 10 rooms"),
        )
    ]
    head = ["a client connects and leaves", "CPU", "per second of CPU"]
    return table(head, rows)


def compression(found: Found) -> str:
    """What compression costs, and saves."""
    rows = [
        [
            name.replace("ours", NAMES["ours"]).replace(
                "websockets", NAMES["websockets"]
            ),
            f"{one['cpu']:.1f} µs",
            f"× {one['to the first']:.2f}",
            f"{one['bytes']:,.0f}",
        ]
        for name, one in found["compression"].items()
    ]
    head = ["a message of 1 KiB", "CPU per frame", "", "bytes of a frame"]
    return table(head, rows)


def curve(found: Found, part: str, head: str) -> str:
    """A table of some ways under several loads."""
    points = found[part]
    ways = next(iter(points.values()))
    rows = [
        [f"{int(point):,}", *(f"{cpu:.2f}" for cpu in row.values())]
        for point, row in points.items()
    ]
    return table([head, *(NAMES[way] for way in ways)], rows)


def rooms(found: Found) -> str:
    """What many rooms cost."""
    rows = []
    for name, one in found["rooms"].items():
        count = (
            "no rooms, `broadcast()`" if name == "all" else (f"{int(name):,}")
        )
        members = 1000 if name == "all" else max(1000 // int(name), 1)
        rows.append([count, f"{members:,}", f"{one['cpu']:.2f} µs"])
    return table(["rooms", "members of each", "CPU per frame"], rows)


def tables(found: Found) -> dict[str, str]:
    """All tables, by the name of their file."""
    sections = {
        "targets": targets(found),
        "stalled": stalled(found),
        "memory": memory(found),
        "churn": churn(found),
        "compression": compression(found),
        "turns": curve(found, "turns", "messages in a turn"),
        "members": curve(found, "members", "members"),
        "sizes": curve(found, "sizes", "bytes of a message"),
        "rooms": rooms(found),
    }
    parts = [
        f"<!-- --8<-- [start:{name}] -->\n\n{text}\n\n"
        f"<!-- --8<-- [end:{name}] -->\n"
        for name, text in sections.items()
    ]
    return {
        "connections.md": f"{fan_out(found)}\n\n{method(found)}\n",
        "connections-more.md": "\n".join(parts),
    }
