"""Whatever comes is a message or one typed error, and nobody goes unanswered.

It needs litestar and pytest, and nothing else. `test_messages_any.py` tries
what nobody would think of.
"""

import asyncio
import math
from functools import partial
from typing import Any

import msgspec
import pytest
from litestar.exceptions import WebSocketDisconnect, WebSocketException

from snippets.messages import (
    Ack,
    ClientMessage,
    Error,
    ErrorCode,
    Integer,
    MessageError,
    Number,
    ServerMessage,
    converse,
    dispatcher,
    formats,
)

pytestmark = pytest.mark.anyio


class Say(ClientMessage, tag="say", frozen=True):
    text: str


class Ping(ClientMessage, tag="ping", frozen=True):
    pass


class Draw(ClientMessage, tag="draw", frozen=True):
    """One of each kind of value that may give a decoder trouble."""

    x: Number = 0.0
    layer: Integer = 0
    tags: frozenset[Any] = frozenset()
    points: tuple[tuple[Number, Integer], ...] = ()
    labels: dict[str, str | None] | None = None


class Said(ServerMessage, tag="said"):
    sender: str = msgspec.field(name="from")
    text: str


Client = Say | Ping | Draw
JSON, PACKED = formats("chat", Client)
BOTH = {"text": JSON, "binary": PACKED}
REFS, PACKED_REFS = formats("chat", Ack)


def error_of(payload: str | bytes) -> Error:
    """Decode what is no message, text as JSON and bytes as MessagePack."""
    used = JSON if isinstance(payload, str) else PACKED
    with pytest.raises(MessageError) as caught:
        used.decode(payload)
    return caught.value.envelope


def packed(**fields: object) -> bytes:
    return msgspec.msgpack.encode(fields)


def test_a_contract_is_two_formats():
    assert [(one.name, one.mode) for one in (JSON, PACKED)] == [
        ("chat.json", "text"),
        ("chat.msgpack", "binary"),
    ]


@pytest.mark.parametrize("mode", BOTH)
def test_a_message_has_a_type_of_its_own(mode: str):
    used = BOTH[mode]
    for message in (
        Say("tea?"),
        Say("tea?", ref="a"),
        Ping(ref=7),
        Draw(x=0.5, layer=-1, points=((1.0, 2),), labels={"a": None}),
    ):
        assert used.decode(used.encode(message)) == message


def test_text_may_come_as_bytes_too():
    assert JSON.decode(b'{"type": "say", "text": "tea?"}') == Say("tea?")


def test_a_message_cannot_be_changed_by_one_of_those_who_read_it():
    with pytest.raises(AttributeError):
        Say("tea?").text = "coffee?"  # ty: ignore[invalid-assignment]


NO_JSON, WRONG = ErrorCode.INVALID_JSON, ErrorCode.INVALID_MESSAGE
HOSTILE: list[tuple[str | bytes, ErrorCode, str]] = [
    ("", NO_JSON, "truncated"),
    ("no tea", NO_JSON, "malformed"),
    ('{"type": "say", "text": "tea"', NO_JSON, "truncated"),
    ('{"type": "say", "text": "tea"} x', NO_JSON, "trailing"),
    ('{"type": "draw", "x": NaN}', NO_JSON, "malformed"),
    ('{"type": "say", "text": "\\ud800"}', NO_JSON, "truncated"),
    ('{"type": "say", "text": "\\udc00 tea"}', NO_JSON, "surrogate"),
    ('{"type": "say", "text": "\ud800"}', NO_JSON, "not valid Unicode"),
    ("null", WRONG, "Expected `object`, got `null`"),
    ("[[]]", WRONG, "Expected `object`, got `array`"),
    ("{}", WRONG, "missing required field `type`"),
    ('{"type": "sey", "text": "tea"}', WRONG, "Invalid value 'sey'"),
    ('{"type": 7}', WRONG, "Expected `str` - at `$.type`"),
    ('{"type": "say"}', WRONG, "missing required field `text`"),
    ('{"type": "say", "text": 7}', WRONG, "got `int` - at `$.text`"),
    ('{"type": "say", "text": "", "to": ""}', WRONG, "unknown field `to`"),
    ('{"type": "draw", "x": 1e999}', WRONG, "out of range - at `$.x`"),
    ('{"type": "draw", "layer": 1e999}', WRONG, "out of range"),
    ('{"type": "draw", "layer": 9007199254740992}', WRONG, "`int` <= 900"),
    ('{"type": "draw", "layer": ' + "9" * 4000 + "}", WRONG, "`int` <= 900"),
    ('{"type": "draw", "layer": ' + "9" * 9000 + "}", WRONG, "out of range"),
    ('{"type": "draw", "tags": [[]]}', WRONG, "wrong type"),
    ('{"tags": ' + "[" * 100_000, WRONG, "Nested too deeply"),
    ('{"type": "draw", "tags": ' + "[" * 100_000, WRONG, "too deeply"),
    (b"", WRONG, "truncated"),
    (b"\xc1", WRONG, "malformed"),
    (packed(type="say", text="tea") + b"\0", WRONG, "trailing"),
    (packed(type="say"), WRONG, "missing required field `text`"),
    (packed(type="draw", x=math.nan), WRONG, "Expected `float` >="),
    (packed(type="draw", x=math.inf), WRONG, "Expected `float` <="),
    (packed(type="draw", layer=2**63), WRONG, "Expected `int` <="),
    (packed(type="draw", x=msgspec.msgpack.Ext(7, b"")), WRONG, "got `ext`"),
    (packed(type="draw", tags=[[[]], {}]), WRONG, "wrong type"),
    (b"\x81\xa4type\xa1\xff", WRONG, "not valid Unicode"),
    (b"\x82\xa4type\xa3say\xa4text\xa1\xff", WRONG, "not valid Unicode"),
    (b"\x81\x07\xa3say", WRONG, "Expected `str`, got `int` - at `key`"),
    (b"\x82\xa4type\xa4draw\xa4tags\xdd\xff\xff\xff\xff", WRONG, "truncated"),
    (b"\x81\xa4tags" + b"\x91" * 100_000, WRONG, "Nested too deeply"),
]


@pytest.mark.parametrize(("payload", "code", "words"), HOSTILE)
def test_what_is_no_message_is_an_error_in_words(
    payload: str | bytes, code: ErrorCode, words: str
):
    error = error_of(payload)
    assert error.code == code
    assert words in error.message
    assert not error.retryable


@pytest.mark.parametrize(
    "payload",
    [
        f'{{"type": "{"s" * 10_000}"}}',
        f'{{"type": "say", "text": "", "{"é" * 10_000}": 1}}',
        packed(type="s" * 10_000),
    ],
)
def test_an_error_does_not_repeat_all_that_was_said(payload: str | bytes):
    """Messages: an error repeats 200 characters of what was said at most."""
    words = error_of(payload).message
    assert len(words) == 200
    assert words.endswith("…")


REFERRED: list[tuple[str | bytes, str | int | None]] = [
    ('{"type": "sey", "ref": 7}', 7),
    ('{"ref": "a", "type": "say", "text": 7}', "a"),
    ('{"ref": -1}', -1),
    ('{"type": "say", "text": "", "to": "", "ref": 0}', 0),
    ('{"type": "draw", "tags": [[]], "ref": 7}', 7),
    (packed(type="sey", ref=7), 7),
    (packed(type="draw", x=math.nan, ref="a"), "a"),
    # It cannot be found, or it is no ref itself:
    ('{"type": "say", "ref": 7', None),
    ('{"type": "say", "ref": true, "text": ""}', None),
    ('{"type": "say", "ref": [7], "text": ""}', None),
    ('{"type": "say", "ref": 9007199254740992, "text": ""}', None),
    (f'{{"type": "sey", "ref": "{"a" * 65}"}}', None),
    ("[7]", None),
    ('{"ref": 7, "tags": ' + "[" * 100_000, None),
    (packed(type="sey", ref=math.nan), None),
    (b"\x82\xa4type\xa1\xff\xa3ref\x07", 7),
]


@pytest.mark.parametrize(("payload", "ref"), REFERRED)
def test_an_error_has_the_ref_of_its_message(
    payload: str | bytes, ref: str | int | None
):
    assert error_of(payload).ref == ref


def test_an_error_in_full():
    error = MessageError(
        ErrorCode.RATE_LIMITED, "Wait", ref="a", retry_after=0.5
    )
    assert msgspec.json.decode(JSON.encode(error.envelope)) == {
        "type": "error",
        "code": "rate_limited",
        "message": "Wait",
        "retryable": True,
        "ref": "a",
        "retry_after": 0.5,
    }


def test_an_error_in_short():
    error = MessageError(ErrorCode.FORBIDDEN, "Not here")
    assert msgspec.msgpack.decode(PACKED.encode(error.envelope)) == {
        "type": "error",
        "code": "forbidden",
        "message": "Not here",
        "retryable": False,
    }


def test_an_error_that_nobody_answers_closes_with_its_code():
    error = MessageError(ErrorCode.UNAVAILABLE, "ü" * 200)
    assert isinstance(error, WebSocketException)
    assert error.code == 1013
    assert len(error.detail.encode()) <= 123


def test_what_may_do_later_is_retryable():
    """Messages: an error says whether the same message may do later."""
    assert [code for code in ErrorCode if code.retryable] == [
        "rate_limited",
        "unavailable",
        "timeout",
    ]


class Handlers:
    def __init__(self) -> None:
        self.seen: list[ClientMessage] = []

    async def say(self, message: Say) -> Said | None:
        self.seen.append(message)
        if message.text == "tea?":
            return Said("server", "yes")
        if message.text == "coffee?":
            raise MessageError(ErrorCode.FORBIDDEN, "No coffee here")
        return None

    async def ping(self, message: Ping) -> None:
        self.seen.append(message)


answer = dispatcher(Handlers, Say | Ping)


async def test_a_message_goes_to_the_method_of_its_type():
    one, other = Handlers(), Handlers()
    assert await answer(one, Ping(ref=7)) is None
    assert await answer(other, Say("tea?")) == Said("server", "yes")
    assert (one.seen, other.seen) == ([Ping(ref=7)], [Say("tea?")])


async def test_a_single_type_needs_no_union():
    assert await dispatcher(Handlers, Ping)(Handlers(), Ping()) is None


def test_a_type_without_a_method_is_named_when_the_table_is_made():
    expected = "Handlers to have a method 'draw' for messages of type Draw"
    with pytest.raises(TypeError, match=expected):
        dispatcher(Handlers, Client)


class Script:
    """A socket that hears a script, and notes what it is to say."""

    id = "c0ffee"

    def __init__(self, *heard: object) -> None:
        self.heard, self.said = list(heard), list[Any]()

    async def receive_message(self) -> Any:
        if not self.heard:
            raise WebSocketDisconnect(detail="left")
        if isinstance(one := self.heard.pop(0), Exception):
            raise one
        return JSON.decode(one) if isinstance(one, str) else one

    async def send_message(self, message: Any) -> None:
        self.said.append(message)


async def conversation(*heard: object, **options: Any) -> list[Any]:
    socket = Script(*heard)
    await converse(socket, partial(answer, Handlers()), **options)
    return socket.said


async def test_what_a_method_returns_is_sent():
    said = [Said("server", "yes")]
    assert await conversation(Say("tea?")) == said
    assert await conversation(Say("tea?", ref=7)) == said


async def test_a_message_with_a_ref_is_acknowledged():
    """Messages: an `ack` says that the server took a message."""
    heard = Say("hello"), Say("hello", ref="a"), Ping(ref=0)
    assert await conversation(*heard) == [Ack("a"), Ack(0)]


async def test_a_message_that_may_not_be_is_answered_with_its_ref():
    said = await conversation(
        Say("coffee?", ref=7), Say("coffee?"), Ping(ref=8)
    )
    forbidden = Error(ErrorCode.FORBIDDEN, "No coffee here", False)
    assert said == [
        msgspec.structs.replace(forbidden, ref=7),
        forbidden,
        Ack(8),
    ]


async def test_what_is_no_message_is_answered_and_the_connection_lives():
    said = await conversation('{"type": "sey", "ref": 7}', "{", Ping(ref=8))
    assert [(one.code, one.ref) for one in said[:2]] == [
        (WRONG, 7),
        (NO_JSON, None),
    ]
    assert said[2:] == [Ack(8)]


async def test_a_socket_with_other_formats_is_answered_for_as_well():
    said = await conversation(
        WebSocketException(detail="text frames, please", code=1003),
        WebSocketException(detail="what?", code=4400),
        Ping(ref=8),
    )
    assert said == [
        Error(ErrorCode.UNSUPPORTED_DATA, "text frames, please", False),
        Error(WRONG, "what?", False),
        Ack(8),
    ]


TOO_SOON = MessageError(ErrorCode.RATE_LIMITED, "Wait", retry_after=0.1)


@pytest.mark.parametrize(
    ("last", "code"),
    [
        ("{", 4400),
        (TOO_SOON, 4429),
        (WebSocketException(detail="text frames, please", code=1003), 1003),
    ],
)
async def test_who_goes_on_and_on_is_closed_with_the_code_of_the_last(
    last: object, code: int
):
    """Messages: after 30 violations the connection is closed, with the code of
    the last.
    """
    heard = ["{"] * 15 + [TOO_SOON] * 14 + [Ping(ref=8)] + [last] * 11
    socket = Script(*heard)
    with pytest.raises(WebSocketException) as caught:
        await converse(socket, partial(answer, Handlers()))
    assert caught.value.code == code
    assert (len(socket.heard), len(socket.said)) == (10, 30)


async def test_how_many_violations_are_too_many_can_be_said():
    socket = Script("{", "{", "{")
    with pytest.raises(MessageError):
        await converse(
            socket, partial(answer, Handlers()), violations_before_close=2
        )
    assert (len(socket.heard), len(socket.said)) == (1, 1)


async def test_what_may_not_be_is_no_violation():
    heard = [Say("coffee?")] * 3
    assert len(await conversation(*heard, violations_before_close=1)) == 3


async def test_a_socket_may_end_it_at_once_with_a_code_of_its_own():
    socket = Script(WebSocketException(detail="nothing", code=4408), Ping())
    with pytest.raises(WebSocketException, match="nothing") as caught:
        await converse(socket, partial(answer, Handlers()))
    assert caught.value.code == 4408
    assert (len(socket.heard), socket.said) == (1, [])


async def test_a_method_may_end_it_with_a_code_of_its_own():
    async def expel(message: ClientMessage) -> None:
        raise WebSocketException(detail="bye", code=4403)

    socket = Script(Ping(ref=7))
    with pytest.raises(WebSocketException, match="bye"):
        await converse(socket, expel)
    assert socket.said == []


async def test_an_unexpected_error_is_for_the_log_and_the_connection_lives(
    caplog: pytest.LogCaptureFixture,
):
    """Messages: a bug in a handler is `internal` for its client; the log has
    the traceback and the connection's id, and nobody else is affected.
    """

    async def broken(message: ClientMessage) -> None:
        if message.ref != 8:
            raise KeyError("secret")

    socket = Script(Ping(ref=7), Ping(), Ping(ref=8))
    await converse(socket, broken)
    internal = Error(ErrorCode.INTERNAL, "internal error", False)
    assert socket.said == [
        msgspec.structs.replace(internal, ref=7),
        internal,
        Ack(8),
    ]
    assert len(caplog.records) == 2
    for record in caplog.records:
        assert record.levelname == "ERROR"
        assert record.getMessage() == "connection c0ffee: no answer"
        assert record.exc_info
        assert isinstance(record.exc_info[1], KeyError)


async def test_being_cancelled_is_no_error_to_be_answered():
    async def cancelled(message: ClientMessage) -> None:
        raise asyncio.CancelledError

    socket = Script(Ping(ref=7))
    with pytest.raises(asyncio.CancelledError):
        await converse(socket, cancelled)
    assert socket.said == []
