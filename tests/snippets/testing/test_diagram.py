"""The drawing is true, safe, bounded, and the same every time."""

import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings, strategies as st

from snippets.testing.diagram import MAX_LANES, MAX_ROWS, Diagram, draw
from snippets.testing.events import Connection, Event, printable, wire_size

ELEMENTS = {
    "figure", "figcaption", "svg", "title", "desc", "g", "rect", "path",
    "text",
}  # fmt: skip


class Client:
    """Makes the events of one connection, in their usual form."""

    def __init__(self, number: int = 1, name: str = "") -> None:
        self.connection = Connection(
            number, name or f"client {number}", "", ""
        )

    def handshake(self, target: str = "/", **what: Any) -> Event:
        return Event(self.connection, "handshake", "in", target, **what)

    def accept(self) -> Event:
        return Event(self.connection, "accept", "out")

    def sends(self, payload: str | bytes, size: int = 0) -> Event:
        kind = "text" if isinstance(payload, str) else "binary"
        size = size or wire_size(payload)
        return Event(self.connection, kind, "in", payload, size)

    def gets(self, payload: str | bytes, **what: Any) -> Event:
        kind = "text" if isinstance(payload, str) else "binary"
        size = wire_size(payload)
        return Event(self.connection, kind, "out", payload, size, **what)

    def leaves(self, code: int = 1000) -> Event:
        self.connection.closed_by = self.connection.closed_by or "client"
        return Event(self.connection, "disconnect", "in", code=code)

    def is_closed(self, code: int, reason: str = "", **what: Any) -> Event:
        self.connection.closed_by = self.connection.closed_by or "app"
        return Event(
            self.connection, "close", "out", reason, code=code, **what
        )

    def is_denied(self, status: int, body: str) -> Event:
        self.connection.closed_by = "app"
        return Event(self.connection, "denial", "out", body, code=status)

    def loses_app(self, error: str) -> Event:
        return Event(self.connection, "exception", "app", error)

    def is_forgotten(self) -> Event:
        text = "without close"
        return Event(self.connection, "returned", "app", text)


def elements(diagram: Diagram) -> list[ET.Element]:
    """All elements, read by a strict XML parser."""
    found = list(ET.fromstring(diagram.html).iter())
    for element in found:
        element.tag = element.tag.removeprefix("{http://www.w3.org/2000/svg}")
    return found


def texts(diagram: Diagram, tag: str = "text") -> list[str]:
    return [e.text or "" for e in elements(diagram) if e.tag == tag]


def lines(*events: Event) -> str:
    """The plain form without its header."""
    return "\n" + draw(events).plain.partition("\n")[2] + "\n"


def test_one_client_in_plain_text():
    ada = Client(name="Ada")
    events = [
        ada.handshake("/chat?room=a", subprotocols=("v1", "v2")),
        ada.accept(),
        ada.sends("hello"),
        ada.gets(b"\x00\xff"),
        ada.leaves(),
    ]
    assert (
        "\n" + str(draw(events, title="A chat")) + "\n"
        == """
A chat
Ada                                            app
 ├╌ handshake /chat?room=a ╌╌╌╌ offers v1, v2 ╌▷│
 │◁ accept ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┤
 ├─ "hello" ───────────────────────────── 5 B ─►│
 │◄ b"\\x00\\xff" ───────────────────────── 2 B ──┤
 ├═ disconnect 1000 ═══════════════════════════►│
"""
    )


def test_several_clients_stand_side_by_side():
    ada, bob = Client(1, "Ada"), Client(2, "Bob")
    events = [
        ada.handshake(),
        bob.handshake(),
        bob.sends("hi"),
        ada.gets("hi"),
        bob.leaves(),
        ada.is_closed(1001),
        ada.leaves(1001),
    ]
    expected = """
 ├╌ handshake / ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌▷│
 │                       ├╌ handshake / ╌╌╌╌╌╌╌╌▷│
 │                       ├─ "hi" ───────── 2 B ─►│
 │◄ "hi" ────────────────┼──────────────── 2 B ──┤
 │                       ├═ disconnect 1000 ════►│
 │◄ close 1001 ══════════════════════════════════┤
 ├┄ disconnect 1001 ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄▷│
"""
    assert lines(*events) == expected


def test_a_close_crosses_the_lanes_of_others():
    ada, bob = Client(1), Client(2)
    drawn = lines(ada.handshake(), bob.handshake(), ada.leaves(), bob.accept())
    assert "═╪═" in drawn


def test_every_kind_of_end_looks_different_without_colour():
    ada = Client()
    ends = [
        ada.handshake(),
        ada.sends("a"),
        ada.gets("a", error="OSError"),
        ada.loses_app("ValueError"),
        ada.is_forgotten(),
        Client().is_denied(401, "no"),
        Client().is_closed(1000),
        ada.leaves(),
        Client().is_closed(4003, refuses=True),
    ]
    plain = {re.sub(r"[^─╌┄═►◄▷◁✕○]+", "", lines(end)) for end in ends}
    shapes = {re.sub("(.)\\1+", "\\1", line) for line in plain}
    assert shapes == {"╌▷", "─►", "✕─", "┄✕", "┄○", "✕╌", "◄═", "═►"}


def test_the_answer_to_a_close_is_fainter_than_the_close():
    ada, bob = Client(), Client()
    assert "►" in lines(ada.leaves())
    assert "◁" in lines(ada.is_closed(1000))
    assert "◄" in lines(bob.is_closed(1000))
    assert "▷" in lines(bob.leaves())


def test_a_refusal_says_what_goes_over_the_wire():
    drawn = lines(Client().is_closed(4003, "early", refuses=True))
    assert (
        drawn
        == """
    │✕ close 4003 "early" ╌╌╌╌╌ sent as HTTP 403 ╌╌┤
"""
    )


def test_long_payloads_are_cut_and_sizes_are_not():
    drawn = lines(Client().sends("x" * 100, 10_000_000))
    assert (
        drawn
        == """
    ├─ "xxxxxxxxxxxxxxxxxxxxxxxxx…  10,000,000 B ─►│
"""
    )


def test_a_label_reaches_as_far_as_the_next_open_connection():
    ada, bob, cem = Client(1), Client(2), Client(3)
    error = "ValueError: something that takes a while to say"
    before = [ada.handshake(), bob.handshake(), bob.leaves()]
    drawn = lines(*before, ada.loses_app(error), cem.handshake())
    assert error in drawn
    drawn = lines(*before, cem.handshake(), ada.loses_app(error))
    assert "something that tak…" in drawn


def test_a_cut_label_or_note_tells_all_when_pointed_at():
    ada, bob = Client(1), Client(2)
    offers = ("a" * 40, "b" * 40)
    handshake = ada.handshake("/" * 60, subprotocols=offers)
    diagram = draw([handshake, bob.handshake()])
    assert f"handshake {handshake.payload}" in texts(diagram, "title")
    assert f"offers {', '.join(offers)}" in texts(diagram, "title")
    assert all(len(text) < 60 for text in texts(diagram))


def test_wide_characters_keep_the_lanes_straight():
    ada, bob = Client(1, "愛田"), Client(2)
    plain = draw(
        [
            ada.handshake("/"),
            bob.handshake("/"),
            ada.sends("日本語テキスト"),
            bob.sends("👋🏽 e\u0301"),
            ada.sends("日本語テキスト" * 9),
        ]
    ).plain
    ends = {
        sum(2 if ord(c) > 0x2E80 else 0 if c == "\u0301" else 1 for c in line)
        for line in plain.splitlines()[1:]
    }
    assert len(ends) == 1


def test_notebooks_and_terminals_get_their_own_form():
    diagram = draw([Client().handshake()])
    assert diagram._repr_mimebundle_(include=None, exclude=None) == {
        "text/html": diagram.html,
        "text/plain": diagram.plain,
    }
    assert repr(diagram) == str(diagram) == diagram.plain


def test_the_drawing_needs_nothing_and_collides_with_nothing():
    ada = Client()
    events = [ada.handshake(), ada.accept(), ada.sends("a"), ada.leaves()]
    html = draw(events, title="A chat").html
    for forbidden in (" id=", "href", "url(", "<style", "<script", "src"):
        assert forbidden not in html
    assert html.count("http") == html.count("http://www.w3.org/2000/svg") == 1


def test_the_drawing_is_read_out_in_words():
    ada = Client(name="Ada")
    diagram = draw(
        [ada.handshake("/a"), ada.gets("hi"), ada.loses_app("OSError")],
        title="A chat",
    )
    svg = next(e for e in elements(diagram) if e.tag == "svg")
    assert svg.get("role") == "img"
    title, desc = svg[:2]
    assert (title.tag, title.text) == ("title", "A chat")
    assert (desc.tag, (desc.text or "").split(". ")) == (
        "desc",
        [
            "Ada to app: handshake /a",
            'app to Ada: text "hi", 2 B',
            "app, for Ada: exception OSError",
        ],
    )
    assert texts(diagram, "figcaption") == ["A chat"]


def test_without_a_title_there_is_no_caption():
    diagram = draw([Client().handshake()])
    assert texts(diagram, "title") == ["WebSocket frames"]
    assert texts(diagram, "figcaption") == []


def test_one_client_fits_a_phone_and_only_more_scroll():
    ada, bob = Client(1), Client(2)
    long = "handshake " + "/" * 100
    alone = draw([ada.handshake(long, subprotocols=("v1",) * 9)])
    both = draw([ada.handshake(long), bob.handshake(long)])
    svg = next(e for e in elements(alone) if e.tag == "svg")
    figure = elements(alone)[0]
    assert float(svg.get("width", "")) <= 430
    least = re.search(r"min-width:(\d+)px", svg.get("style", ""))
    assert least is not None
    assert int(least[1]) <= 358
    assert figure.get("tabindex") is None
    figure = elements(both)[0]
    assert figure.get("tabindex") == "0"
    assert figure.get("aria-label") == "WebSocket frames"


def test_a_lifeline_ends_when_the_connection_does():
    ada, bob, cem = Client(1), Client(2), Client(3)
    diagram = draw(
        [
            ada.handshake(),
            bob.handshake(),
            cem.handshake(),
            ada.leaves(),
            bob.is_forgotten(),
        ]
    )
    assert diagram.html.count("m-6 0h12") == 2


HOSTILE = [
    "</svg></figure><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "]]> <![CDATA[ <!-- --> <?xml ?> <!DOCTYPE a>",
    "&amp; &#0; &nbsp; \" ' ` $\\{}",
    "\x00\x01\x08\x0b\x0c\x1b\x7f\x85\r\n\t",
    "\u202e\u2066\u2069\u200f\u200b\ufeff",
    "\ud800 \udfff \ufffe \uffff",
    "\U000e0041\ufdd0",
    b"\xff\xfe\x00</script>",
]


@pytest.mark.parametrize("payload", HOSTILE)
def test_hostile_payloads_draw_safely(payload: str | bytes):
    check_hostile(payload)


@settings(derandomize=True, deadline=None)
@given(st.one_of(st.text(max_size=120), st.binary(max_size=120)))
def test_no_payload_breaks_out(payload: str | bytes):
    check_hostile(payload)


def check_hostile(payload: str | bytes) -> None:
    text = payload if isinstance(payload, str) else payload.decode("latin-1")
    ada = Client(name=text or "-")
    offers = (text,)
    diagram = draw(
        [
            ada.handshake(text, subprotocols=offers),
            ada.sends(payload),
            ada.gets(payload, error=text),
            ada.loses_app(text),
            ada.is_closed(1000, text),
        ],
        title=text,
    )
    assert {element.tag for element in elements(diagram)} <= ELEMENTS
    soup = BeautifulSoup(diagram.html, "html.parser")
    assert {tag.name for tag in soup.find_all()} <= ELEMENTS
    assert diagram.plain.replace("\n", "").isprintable()
    assert diagram.html.replace("\n", "").isprintable()
    assert len(diagram.plain.splitlines()) == 7
    assert texts(diagram, "figcaption") == [printable(text)]


def test_a_small_drawing_is_small():
    ada = Client()
    events = [
        ada.handshake("/chat"),
        ada.accept(),
        ada.sends('{"text": "hello"}'),
        ada.gets('{"text": "hello"}'),
        ada.is_closed(1000, "done"),
        ada.leaves(),
    ]
    assert len(draw(events).html.encode()) < 2_500


def test_a_long_recording_shows_its_start_and_its_end():
    ada = Client()
    events = [ada.handshake(), *(ada.sends(f"{n}") for n in range(1, 1234))]
    plain = draw(events, dropped=1).plain.splitlines()
    assert len(plain) == MAX_ROWS + 3
    assert plain[1].split("⋯ ")[1].split("  ")[0] == "1 earlier event dropped"
    assert "⋯ 1,034 events not shown" in plain[2 + MAX_ROWS // 2]
    assert '"99"' in plain[1 + MAX_ROWS // 2]
    assert '"1134"' in plain[3 + MAX_ROWS // 2]
    assert '"1233"' in plain[-1]


def test_a_client_whose_events_are_all_hidden_has_no_lane():
    ada, bob = Client(1, "Ada"), Client(2, "Bob")
    half = [ada.sends("a") for _ in range(MAX_ROWS)]
    header = draw([*half, bob.handshake(), *half]).plain.splitlines()[0]
    assert header.split() == ["Ada", "app"]


def test_three_hundred_clients_are_bounded():
    events = [Client(n).handshake() for n in range(1, 301)]
    diagram = draw(events)
    assert "⋯ 288 more clients not shown" in diagram.plain
    assert len(diagram.plain.splitlines()) == MAX_LANES + 2
    assert len(diagram.html) < 10_000
    assert draw(events[: MAX_LANES + 1]).plain.endswith("│")
    assert "1 more client not shown" in draw(events[: MAX_LANES + 1]).plain


def test_the_same_events_draw_the_same():
    ada, bob = Client(1), Client(2)
    events = [ada.handshake(), bob.handshake(), ada.leaves()]
    assert draw(events) == draw(list(events))


def test_nothing_recorded_is_drawn_too():
    diagram = draw([])
    assert diagram.plain.splitlines()[1].split("│")[0].strip() == (
        "⋯ nothing recorded"
    )
    assert {element.tag for element in elements(diagram)} <= ELEMENTS


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2."""
    channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("background", ["#ffffff", "#1e2129", "#111111"])
def test_arrows_stand_out_from_light_and_dark_pages(background: str):
    ada = Client()
    html = draw([ada.handshake(), ada.accept(), ada.loses_app("E")]).html
    colours = re.findall(r"var\(--frames-\w+,(#\w{6})\)", html)
    assert len(colours) == 3
    for colour in colours:
        pair = sorted([luminance(colour), luminance(background)])
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 3
