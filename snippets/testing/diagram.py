"""Draws recorded WebSocket events as a sequence diagram.

`draw()` makes two pictures of the same events: an SVG for notebooks and pages,
and one of box-drawing characters for terminals and diffs. Neither holds a
clock, an address or a script, and payloads cannot break out of them.

Needs: events. Used by: tap.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate
from unicodedata import combining, east_asian_width

from .events import Connection, Event, printable

MAX_ROWS = 200
"""How many events are drawn: the first half and the last half of these."""
MAX_LANES = 12
"""How many clients are drawn."""


@dataclass(frozen=True, repr=False)
class Diagram:
    """A drawing of WebSocket events.

    Attributes:
        html: A `<figure>` with an inline SVG that needs nothing else. It is
            well-formed XML, too.
        plain: The same in box-drawing characters; also its `str`.
    """

    html: str
    plain: str

    def __repr__(self) -> str:
        return self.plain

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.plain}


def draw(
    events: Sequence[Event], *, title: str | None = None, dropped: int = 0
) -> Diagram:
    """Draw events, oldest first.

    Args:
        events: The events of any number of connections, in one sequence.
        title: A caption.
        dropped: How many earlier events are missing, to say so.

    Returns:
        The drawing, as HTML and as plain text.
    """
    picture = _Picture(events, title, dropped)
    return Diagram(_html(picture), _plain(picture))


@dataclass(frozen=True)
class _Look:
    """How a kind of event is drawn, apart from its direction."""

    line: str
    """The character of the plain line."""
    heads: str
    """The plain heads: pointing right, pointing left."""
    head: str
    """The head in SVG."""
    stroke: str = ""
    """More attributes of the line in SVG."""
    alarm: bool = False


_DASHED = ' stroke-dasharray="6 4"'
_DOTTED = ' stroke-dasharray="2 3"'
_FRAME = _Look("─", "►◄", "arrow")
_HTTP = _Look("╌", "▷◁", "chevron", _DASHED)
_CLOSING = _Look("═", "►◄", "bar", ' stroke-width="3"')
_ANSWER = _Look("┄", "▷◁", "chevron", _DOTTED)
_REFUSAL = _Look("╌", "✕✕", "cross", _DASHED, alarm=True)
_FAILED = _Look("─", "✕✕", "cross", alarm=True)
_CRASH = _Look("┄", "✕✕", "cross", _DOTTED, alarm=True)
_RETURN = _Look("┄", "○○", "ring", _DOTTED, alarm=True)

# SVG heads: filled or not, how far from the tip the line ends, and the path
# from the tip. s is 1 where back is to the right, else -1.
_HEADS: dict[str, tuple[bool, int, Callable[[int], str]]] = {
    "arrow": (True, 4, lambda s: f"m{9 * s}-4.5v9l{-9 * s}-4.5z"),
    "bar": (
        True,
        12,
        lambda s: f"m0-7v14h{3 * s}v-14zm{16 * s} 1.5v11l{-11 * s}-5.5z",
    ),
    "chevron": (False, 0, lambda s: f"m{8 * s}-4.5l{-8 * s} 4.5l{8 * s} 4.5"),
    "cross": (False, 5, lambda s: f"m0-4.5l{9 * s} 9m0-9l{-9 * s} 9"),
    "ring": (
        False,
        9,
        lambda s: f"a4.5 4.5 0 1 0 {9 * s} 0a4.5 4.5 0 1 0 {-9 * s} 0",
    ),
}


_LOOKS = {
    "handshake": _HTTP,
    "accept": _HTTP,
    "denial": _REFUSAL,
    "exception": _CRASH,
    "returned": _RETURN,
}


def _look(event: Event) -> _Look:
    if event.error:
        return _FAILED
    if event.kind in {"close", "disconnect"}:
        side = "app" if event.kind == "close" else "client"
        first = event.connection.closed_by == side
        return _REFUSAL if event.refuses else _CLOSING if first else _ANSWER
    return _LOOKS.get(event.kind, _FRAME)


@dataclass(frozen=True)
class _Row:
    """One line of the drawing: an event, or a remark without one."""

    label: str
    note: str = ""
    lane: int = 0
    event: Event | None = None


def _row(lane: int, event: Event) -> _Row:
    # Quotes tell a text from a binary frame, an error tells its type.
    plain = {"text", "binary", "exception"}
    word = "" if event.kind in plain else event.kind
    return _Row(f"{word} {event.subject}".strip(), event.note, lane, event)


class _Picture:
    """What both drawings share; all lengths are in columns of text."""

    def __init__(
        self, events: Sequence[Event], title: str | None, dropped: int
    ) -> None:
        clients = sorted(
            {event.connection for event in events}, key=lambda c: c.number
        )
        drawn = set(clients[:MAX_LANES])
        mine = [event for event in events if event.connection in drawn]
        hidden = max(len(mine) - MAX_ROWS, 0)
        if hidden:
            mine[MAX_ROWS // 2 : -MAX_ROWS // 2] = []
        shown = {event.connection for event in mine}
        self.clients = [client for client in clients if client in shown]
        lane_of = {client: lane for lane, client in enumerate(self.clients)}
        self.rows = [_row(lane_of[e.connection], e) for e in mine]
        if hidden:
            gap = _Row(f"⋯ {_count(hidden, 'event')} not shown")
            self.rows.insert(MAX_ROWS // 2, gap)
        if dropped:
            gap = _Row(f"⋯ {_count(dropped, 'earlier event')} dropped")
            self.rows.insert(0, gap)
        if others := len(clients) - len(drawn):
            self.rows.append(
                _Row(f"⋯ {_count(others, 'more client')} not shown")
            )
        if not self.rows:
            self.rows.append(_Row("⋯ nothing recorded"))
        self.title = None if title is None else printable(title)
        names = [_cut(printable(c.name), 16) for c in self.clients]
        self.names = [*(names or ["client"]), "app"]
        self.spans = [self._span(client) for client in self.clients]
        self.lanes = self._lanes()

    def _span(self, client: Connection) -> tuple[int, int | None]:
        """The rows of a client's first and last event; None if it is open."""
        own = [
            (number, row.event)
            for number, row in enumerate(self.rows)
            if row.event and row.event.connection is client
        ]
        last = own[-1][1]
        ended = client.closed_by or last.kind in {"exception", "returned"}
        return own[0][0], own[-1][0] if ended else None

    def _lanes(self) -> list[int]:
        """Where the lanes stand: the clients', then the app's.

        A client's labels stand between its lane and the next, which is as far
        away as the longest of them needs, within bounds. Notes stand at the
        app.
        """
        app = len(self.names) - 1
        least, most = {1: (47, 40), 2: (24, 42)}.get(app, (18, 32))
        gaps = [least] * app
        for number, row in enumerate(self.rows):
            label, note = _width(row.label) + 5, _width(row.note) + 3
            if row.lane + 1 in self.alive(number):
                gaps[row.lane] = max(gaps[row.lane], min(label, most))
            needed = label + note if row.lane == app - 1 else note
            gaps[-1] = max(gaps[-1], min(needed, most + 7))
        return list(accumulate(gaps, initial=_width(self.names[0]) // 2))

    def alive(self, number: int) -> list[int]:
        """The clients that are connected in a row."""
        return [
            lane
            for lane, (first, last) in enumerate(self.spans)
            if first <= number and (last is None or number <= last)
        ]

    def fitted(self, number: int) -> tuple[str, str]:
        """The label and the note of a row, cut to the room they have."""
        row = self.rows[number]
        if row.event is None:
            return row.label, ""
        alive = self.alive(number)
        beyond = [lane for lane in alive if lane > row.lane]
        if beyond:
            room = self.lanes[beyond[0]] - self.lanes[row.lane] - 5
            at_app = self.lanes[-1] - self.lanes[beyond[-1]] - 5
        else:
            room = self.lanes[-1] - self.lanes[row.lane] - 5
            # They share it: the note takes what is left, at least half.
            at_app = max(room - _width(row.label) - 3, room // 2)
            if row.note:
                room -= min(_width(row.note), at_app) + 3
        return _cut(row.label, room), _cut(row.note, at_app)

    def x(self, lane: int) -> int:
        """Where a lane stands in the SVG, in pixels."""
        left = _box(self.names[0]) // 2
        return left + round((self.lanes[lane] - self.lanes[0]) * _COLUMN)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def _width(text: str) -> int:
    """Columns in a monospaced font: wide characters take two."""
    return sum(
        0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text
    )


def _cut(text: str, columns: int) -> str:
    if _width(text) <= columns:
        return text
    while _width(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def _plain(picture: _Picture) -> str:
    *clients, app = picture.lanes
    header = [" "] * (app + 3)
    for lane, name in zip(picture.lanes, picture.names, strict=True):
        _put(header, lane - _width(name) // 2, name)
    lines = [header]
    for number, row in enumerate(picture.rows):
        cells = [" "] * app + ["│"]
        for lane in picture.alive(number):
            cells[clients[lane]] = "│"
        if row.event is not None:
            _arrow(cells, clients[row.lane], row.event)
        label, note = picture.fitted(number)
        _put(cells, clients[row.lane] + 2, f" {label} ")
        if note:
            _put(cells, app - _width(note) - 4, f" {note} ")
        lines.append(cells)
    text = "\n".join("".join(line).rstrip() for line in lines)
    return text if picture.title is None else f"{picture.title}\n{text}"


def _put(cells: list[str], column: int, text: str) -> None:
    """Write into a line of cells; a wide character leaves one cell empty."""
    for character in text:
        if _width(character) == 0:
            cells[column - 1] += character
            continue
        cells[column] = character
        if _width(character) == 2:
            cells[column + 1] = ""
        column += _width(character)


def _arrow(cells: list[str], lane: int, event: Event) -> None:
    look = _look(event)
    for column in range(lane + 1, len(cells) - 1):
        cross = "╪" if look is _CLOSING else "┼"
        cells[column] = look.line if cells[column] == " " else cross
    if event.direction == "out":
        cells[lane + 1], cells[-1] = look.heads[1], "┤"
    else:
        cells[lane], cells[-2] = "├", look.heads[0]


_COLUMN, _ROW, _TOP = 7.5, 34, 26  # pixels
_SANS = 'font-family="system-ui,sans-serif"'
_MONO = 'font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace"'
_COLOURS = {
    "in": "var(--frames-client,#3b82f6)",
    "out": "var(--frames-server,#0d9488)",
    "alarm": "var(--frames-close,#e5484d)",
}


def _html(picture: _Picture) -> str:
    height = _TOP + _ROW * len(picture.rows) + 16
    width = picture.x(-1) + _box(picture.names[-1]) // 2 + 1
    title = "WebSocket frames" if picture.title is None else picture.title
    caption = (
        ""
        if picture.title is None
        else '<figcaption style="margin:0 0 .6em;font-weight:600;text-align:'
        f'left">{_text(picture.title)}</figcaption>\n'
    )
    # One client fits a phone, a little smaller. More of them scroll, and
    # what scrolls must be within reach of the keyboard.
    least = round(width * 0.82)
    scrolls = least > 358
    focus = f' tabindex="0" aria-label="{escape(title)}"' if scrolls else ""
    drawing = "\n".join(
        [
            f"<title>{_text(title)}</title>",
            f"<desc>{_text(_words(picture))}</desc>",
            *_lifelines(picture, height),
            *_arrows(picture),
            *_labels(picture),
        ]
    )
    return (
        f'<figure class="frames" style="margin:1em 0;overflow-x:auto"{focus}'
        f">\n{caption}"
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" direction="ltr" '
        # Half a pixel off: thin lines are sharp in the middle of a pixel.
        f'viewBox="-.5 -.5 {width} {height}" '
        f'width="{width}" height="{height}" '
        f'style="max-width:100%;min-width:{least}px;height:auto" '
        f'fill="currentColor">\n{drawing}\n</svg>\n</figure>'
    )


def _box(name: str) -> int:
    return round(_width(name) * _COLUMN) + 18


def _y(number: int) -> int:
    return _TOP + _ROW * (number + 1) - 3


def _words(picture: _Picture) -> str:
    """Say what the drawing shows."""
    sentences = []
    for row in picture.rows:
        said = row.label
        if event := row.event:
            client = picture.names[row.lane]
            who = {
                "in": f"{client} to app",
                "out": f"app to {client}",
                "app": f"app, for {client}",
            }[event.direction]
            said = f"{who}: {event.kind} {event.subject}".rstrip()
            said += f", {event.note}" if event.note else ""
        sentences.append(said)
    return ". ".join(sentences)


def _lifelines(picture: _Picture, height: int) -> list[str]:
    boxes, names, before, alive = [], [], "", ""
    for lane, name in enumerate(picture.names):
        x, width = picture.x(lane), _box(name)
        boxes.append(
            f'<rect x="{x - width // 2}" width="{width}" height="26" rx="6"/>'
        )
        names.append(f'<text x="{x}" y="17.5">{_text(name)}</text>')
    for lane, (first, last) in enumerate(picture.spans):
        x, start = picture.x(lane), _y(first)
        before += f"M{x} {_TOP}V{start}"
        if last is None:
            alive += f"M{x} {start}V{height}"
        else:
            alive += f"M{x} {start}V{_y(last) + 12}m-6 0h12"
    alive += f"M{picture.x(-1)} {_TOP}V{height}"
    return [
        '<g opacity=".1">',
        *boxes,
        "</g>",
        f'<g {_SANS} font-size="13" font-weight="600" text-anchor="middle">',
        *names,
        "</g>",
        '<g fill="none" stroke="currentColor" opacity=".5">',
        f'<path d="{before}" stroke-dasharray="1 4"/>',
        f'<path d="{alive}"/>',
        "</g>",
    ]


def _arrows(picture: _Picture) -> list[str]:
    """Draw the arrows, with one path for all that look the same."""
    paths: dict[str, dict[str, str]] = {}
    right = picture.x(-1)
    for number, row in enumerate(picture.rows):
        if row.event is None:
            continue
        look, left, y = _look(row.event), picture.x(row.lane), _y(number)
        if row.event.direction == "out":
            start, tip, back = right, left + 2, 1
        else:
            start, tip, back = left, right - 2, -1
        filled, inset, head = _HEADS[look.head]
        colour = "alarm" if look.alarm else row.event.direction
        same = paths.setdefault(colour, defaultdict(str))
        same[look.stroke] += f"M{start} {y}H{tip + inset * back}"
        same[' fill="currentColor"' if filled else ""] += (
            f"M{tip} {y}{head(back)}"
        )
    lines = ['<g fill="none" stroke="currentColor" stroke-width="1.5">']
    for colour, same in paths.items():
        lines.append(f'<g style="color:{_COLOURS[colour]}">')
        lines += [f'<path{look} d="{d}"/>' for look, d in same.items()]
        lines.append("</g>")
    return [*lines, "</g>"]


def _labels(picture: _Picture) -> list[str]:
    labels, notes = [], []
    for number, row in enumerate(picture.rows):
        label, note = picture.fitted(number)
        x, y = picture.x(row.lane) + 14, _y(number) - 8
        whole = "" if label == row.label else _title(row.label)
        labels.append(f'<text x="{x}" y="{y}">{_text(label)}{whole}</text>')
        if note:
            x = picture.x(-1) - 14
            whole = "" if note == row.note else _title(row.note)
            notes.append(f'<text x="{x}" y="{y}">{_text(note)}{whole}</text>')
    return [
        f'<g {_MONO} font-size="12.5" style="white-space:pre">',
        *labels,
        "</g>",
        f'<g {_SANS} font-size="11.5" text-anchor="end" opacity=".75">',
        *notes,
        "</g>",
    ]


def _text(text: str) -> str:
    return escape(text, quote=False)


def _title(text: str) -> str:
    """A tooltip."""
    return f"<title>{_text(text)}</title>"
