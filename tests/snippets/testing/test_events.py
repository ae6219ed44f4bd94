"""The text of a record: stable, short, and safe to print."""

from typing import Any

import pytest

from snippets.testing.events import (
    Connection,
    Direction,
    Event,
    Kind,
    printable,
    quote,
    wire_size,
)


def event(kind: Kind, direction: Direction, **what: Any) -> str:
    connection = Connection(1, "client 1", "/", "")
    return str(Event(connection, kind, direction, **what))


@pytest.mark.parametrize(
    ("payload", "literal"),
    [
        ("", '""'),
        ("hello", '"hello"'),
        ('{"id": 1}', "'{\"id\": 1}'"),
        ("it's", '"it\'s"'),
        ('it\'s "it"', "'it\\'s \"it\"'"),
        ("a\\b", '"a\\\\b"'),
        ("\x00\x1b[31m\r\n", r'"\x00\x1b[31m\r\n"'),
        ("\u202e\u2066", r'"\u202e\u2066"'),
        ("\ud800", r'"\ud800"'),
        ("\ufffe\uffff", r'"\ufffe\uffff"'),
        ("日本 👋", '"日本 👋"'),
        (b"", 'b""'),
        (b"\x82\xa1a\x01", r'b"\x82\xa1a\x01"'),
        (b'{"id": 1}', "b'{\"id\": 1}'"),
        (b"b'", 'b"b\'"'),
    ],
)
def test_a_payload_is_quoted_as_python_would(
    payload: str | bytes, literal: str
):
    assert quote(payload) == literal


def test_an_ellipsis_inside_the_quotes_says_that_a_payload_goes_on():
    assert quote("hell", cut=True) == '"hell…"'


def test_text_that_cannot_be_seen_is_escaped_and_other_text_is_left_alone():
    assert printable("plain 'text' \\ 日本") == "plain 'text' \\ 日本"
    assert printable("a\nb\x7f\u200b\ud800") == r"a\nb\x7f\u200b\ud800"


@pytest.mark.parametrize(
    ("payload", "size"),
    [
        ("", 0),
        ("abc", 3),
        ("é", 2),
        ("👋", 4),
        ("\ud800", 3),
        (b"\xff\xfe", 2),
    ],
)
def test_the_size_is_that_of_utf_8(payload: str | bytes, size: int):
    assert wire_size(payload) == size


def test_frames_say_type_payload_and_size():
    assert event("text", "in", payload="hello", size=5) == (
        '→ text "hello" (5 B)'
    )
    assert event("binary", "out", payload=b"\x00", size=1) == (
        r'← binary b"\x00" (1 B)'
    )


def test_a_cut_frame_shows_its_whole_size():
    assert event("text", "in", payload="xx", size=10_000_000) == (
        '→ text "xx…" (10,000,000 B)'
    )


def test_a_handshake_says_where_to_and_what_it_offers():
    assert event("handshake", "in", payload="/a?b=c") == "→ handshake /a?b=c"
    assert event("handshake", "in", payload="/", subprotocols=("a", "b")) == (
        "→ handshake / (offers a, b)"
    )


def test_an_accept_says_what_it_chose_and_the_headers_it_adds():
    assert event("accept", "out") == "← accept"
    chosen = event(
        "accept", "out", subprotocols=("v1",), headers=(("x-a", "1"),)
    )
    assert chosen == "← accept subprotocol v1 (x-a: 1)"


def test_a_close_says_code_and_reason():
    assert event("close", "out", code=1000) == "← close 1000"
    assert event("disconnect", "in", code=4001, payload="bye", size=3) == (
        '→ disconnect 4001 "bye"'
    )


def test_a_close_before_accept_says_what_goes_over_the_wire():
    assert event("close", "out", code=4003, refuses=True) == (
        "← close 4003 (sent as HTTP 403)"
    )


def test_a_code_that_is_none_is_left_out():
    assert event("close", "out") == "← close"


def test_a_denial_says_status_and_body():
    assert event("denial", "out", code=401, payload="no token", size=8) == (
        '← denial HTTP 401 "no token"'
    )


def test_the_end_of_an_app_has_no_direction():
    assert event("exception", "app", payload="ValueError: a\nb") == (
        r"✕ exception ValueError: a\nb"
    )
    assert event("returned", "app", payload="without close") == (
        "✕ returned without close"
    )


def test_a_send_that_failed_says_so():
    assert event("text", "out", payload="a", size=1, error="OSError") == (
        '← text "a" (1 B, failed: OSError)'
    )


def test_hostile_names_and_headers_are_escaped():
    header = ("x\r\ny", "\u202e")
    assert event("accept", "out", headers=(header,)) == (
        r"← accept (x\r\ny: \u202e)"
    )
    assert event("accept", "out", subprotocols=("\x00",)) == (
        r"← accept subprotocol \x00"
    )


def test_the_events_of_a_connection_cannot_be_changed_from_outside():
    connection = Connection(1, "client 1", "/", "")
    connection.events.append(Event(connection, "accept", "out"))
    assert connection.events == []
