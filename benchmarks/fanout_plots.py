"""What `connections.py` has found, as plots for a page, light and dark."""

import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Found = dict[str, Any]

INK, MUTED, GRID = "#010101", "#020202", "#030303"
COLOURS = {
    INK: "var(--ink, currentColor)",
    MUTED: "var(--muted, #777)",
    GRID: "var(--line, #ddd)",
    "#040404": "var(--server, #0b6b61)",
    "#050505": "var(--warm, #a34a12)",
    "#060606": "var(--client, #4f46b8)",
    "#070707": "var(--danger, #b3261e)",
}
"""What matplotlib draws with, and what the page has for it."""
FIT = 'width="560" style="max-width: 100%; height: auto"'
LINES = {
    "floor": ("asyncio alone", MUTED, "o", (0, (1, 2))),
    "ours": ("ours", "#040404", "s", "-"),
    "websockets": ("websockets", "#050505", "^", (0, (5, 2))),
    "channels": ("Channels", "#060606", "D", (0, (3, 2, 1, 2))),
    "loop": ("set and loop", "#070707", "v", (0, (8, 3))),
}
BARS = {way: line[0] for way, line in LINES.items()} | {
    "starlette": "Starlette, a loop",
    "loop": "Litestar, a loop",
    "gather": "Litestar, gather()",
}
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fan-out",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
}


def drawn(name: str, says: str, draw: Callable[[Axes], None]) -> str:
    """Draw a plot.

    Args:
        name: What the ids in it begin with, so that a page may have several.
        says: What is to be seen, for those who cannot see it.
        draw: Draws it.

    Returns:
        An SVG to put into a page.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5, 3.2), layout="constrained")
        draw(figure.add_subplot())
        file = StringIO()
        figure.savefig(file, format="svg", transparent=True)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    box = re.search(r'viewBox="[^"]+"', text)
    assert box
    # No style of its own: that would be one for the whole page.
    for pattern, new in (
        (
            r"<svg [^>]+>",
            f'<svg role="img" aria-label="{says}" {box[0]} {FIT}>',
        ),
        (r"\s*<metadata>.*?</metadata>", ""),
        (r'<style type="text/css">.*?</style>', ""),
        (r"font: ([\d.]+)px[^;\"]*", r"font-size: \1px"),
        (r'\bid="', f'id="{name}-'),
        (r'href="#', f'href="#{name}-'),
        (r"url\(#", f"url(#{name}-"),
        (r"<!--.*?-->\s*", ""),
        (r"\n\s*", "\n"),
    ):
        text = re.sub(pattern, new, text, flags=re.DOTALL)
    for ours, theirs in COLOURS.items():
        text = text.replace(ours, theirs)
    return text


def bars(found: Found) -> Callable[[Axes], None]:
    """The costs of all ways, the cheapest on top."""
    rows = sorted(found["fan-out"].items(), key=lambda item: -item[1]["cpu"])

    def draw(axes: Axes) -> None:
        for way, one in rows:
            colour = "#040404" if way == "ours" else MUTED
            bar = axes.barh(BARS[way], one["cpu"], 0.62, color=colour)
            label = f"{one['cpu']:.1f} µs, × {one['to the first']:.2f}"
            axes.bar_label(bar, [label], padding=5)
        axes.margins(x=0.4)
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0, labelcolor=INK)
        axes.set_xticks([])

    return draw


def lines(points: Found, label: str) -> Callable[[Axes], None]:
    """The costs of some ways under several loads."""

    def draw(axes: Axes) -> None:
        x = [int(point) for point in points]
        for way, (name, colour, marker, dashes) in LINES.items():
            y = [row[way] for row in points.values()]
            axes.plot(
                x,
                y,
                color=colour,
                marker=marker,
                markersize=5,
                linestyle=dashes,
                label=name,
            )
        finish(axes, x, label)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)

    return draw


def in_rooms(points: Found) -> Callable[[Axes], None]:
    """What a frame costs in more and more rooms."""

    def draw(axes: Axes) -> None:
        rows = {int(n): row for n, row in points.items() if n != "all"}
        y = [row["cpu"] for row in rows.values()]
        axes.plot([*rows], y, color="#040404", marker="s", markersize=5)
        finish(axes, [*rows], "rooms, for 1,000 connections")

    return draw


def finish(axes: Axes, x: list[int], label: str) -> None:
    """Label the axes; what is to be seen begins at nothing."""
    axes.set_xscale("log")
    axes.set_xticks(x, [f"{point:,}" for point in x])
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.set_ylabel("µs of CPU per frame")
    axes.set_ylim(bottom=0)


def plots(found: Found) -> dict[str, str]:
    """All plots, by the name of their file."""
    per_frame = "Microseconds of the server's CPU for each frame"
    drawings = {
        "fan-out": (f"{per_frame}, seven ways", bars(found)),
        "turns": (
            f"{per_frame}, for 1 to 32 messages in a turn",
            lines(found["turns"], "messages that are published in one turn"),
        ),
        "members": (
            f"{per_frame}, for 10 to 2,000 members",
            lines(found["members"], "members"),
        ),
        "sizes": (
            f"{per_frame}, for messages of 16 bytes to 64 KiB",
            lines(found["sizes"], "bytes of a message"),
        ),
        "rooms": (
            f"{per_frame}, for 1 to 10,000 rooms",
            in_rooms(found["rooms"]),
        ),
    }
    return {
        f"connections-{name}.svg": drawn(
            name, f"{says}; the table has the numbers.", draw
        )
        for name, (says, draw) in drawings.items()
    }
