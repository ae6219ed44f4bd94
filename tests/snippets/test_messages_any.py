"""Any bytes and any text are a message or one typed error, and in time."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import msgspec
from hypothesis import given, settings, strategies as st

from snippets.messages import Error, MessageError
from snippets.subprotocols import Format
from tests.snippets.test_messages import (
    JSON,
    NO_JSON,
    PACKED,
    WRONG,
    Client,
    packed,
)

steady = settings(
    derandomize=True, deadline=None, database=None, max_examples=400
)

# Any bytes and text, messages with any fields, and pieces of messages in any
# order: also many times over, to show where time grows faster than size.
LIMIT = 16 * 1024
TEXTS = [
    *('{"type":"draw",', '"type":', '"tags":[', "[", "]", "{", "}", ",", "1,"),
    *('"ref":', "9" * 4300, "NaN", '"\\ud800', "\\udc00", "\ud800", '"say"'),
    '{"type":"say","text":"tea?","ref":7}',
]
BYTES = [
    *(b"\x84\xa4type\xa4draw", b"\xa4tags", b"\x91", b"\x81\x01", b"\xff"),
    *(b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xd7\xff" * 2),
    *(b"\xcb\x7f\xf8" + bytes(6), b"\xa3ref", b"\xa6labels\x82", b"\xc0"),
    packed(type="say", text="tea?", ref=7),
]
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats()
leaves = st.none() | st.booleans() | numbers | st.text(max_size=9)
values = leaves | st.lists(leaves | st.lists(leaves, max_size=2), max_size=3)
fields = st.dictionaries(
    st.sampled_from(["text", "ref", "x", "layer", "tags", "points", "to"]),
    values | st.dictionaries(st.text(max_size=9), leaves, max_size=2),
    max_size=3,
)
tagged = st.builds(
    lambda tag, rest: {"type": tag} | rest,
    st.sampled_from(["say", "ping", "draw", "sey"]),
    fields,
)
texts = st.one_of(
    st.text(),
    tagged.map(msgspec.json.encode).map(bytes.decode),
    st.lists(st.sampled_from(TEXTS), max_size=8).map("".join),
)
binaries = st.one_of(
    st.binary(),
    tagged.map(msgspec.msgpack.encode),
    st.lists(st.sampled_from(BYTES), max_size=8).map(b"".join),
)
many = st.sampled_from([1, 1, 1, 100, LIMIT])


def timed(decode: Callable[[Any], Any], payload: str | bytes) -> object:
    """Decode, and see that it takes at most 1 ms per started KiB.

    The best of 20 counts: a busy machine makes some slow, a slow decoder all.
    """
    allowed = (1 + len(payload) // 1024) / 1000
    for _ in range(20):
        start = perf_counter()
        try:
            result = decode(payload)
        except MessageError as error:
            result = error.envelope
        if perf_counter() - start <= allowed:
            return result
    raise AssertionError(f"over {allowed:.3f} s, 20 times")


def is_taken_or_answered(used: Format[Client], payload: str | bytes) -> None:
    result = timed(used.decode, payload[:LIMIT])
    if isinstance(result, Error):
        assert result.code in {NO_JSON, WRONG}
        assert len(result.message) <= 200
    else:
        assert isinstance(result, Client)
    # And whoever is told of it can be told, in either format.
    assert JSON.encode(result)
    assert PACKED.encode(result)


@steady
@given(texts, many)
def test_any_text_is_a_message_or_the_error_in_time(text: str, times: int):
    is_taken_or_answered(JSON, text * times)


@steady
@given(binaries, many)
def test_any_bytes_are_a_message_or_the_error_in_time(
    binary: bytes, times: int
):
    is_taken_or_answered(PACKED, binary * times)
    is_taken_or_answered(JSON, binary * times)
