"""What is said about typed messages, and about decoding them."""

import inspect
import json
import math
from typing import Any

import msgspec
import pytest
from litestar import Litestar, WebSocket, get, websocket, websocket_listener
from litestar.dto import MsgspecDTO
from litestar.exceptions import SerializationException
from litestar.exceptions.dto_exceptions import InvalidAnnotationException

from snippets.testing import Closed

from .conftest import ask, hear

Socket = WebSocket[Any, Any, Any]


class Say(msgspec.Struct, tag_field="type", tag="say"):
    text: str


class Ping(msgspec.Struct, tag_field="type", tag="ping"):
    pass


class Tip(msgspec.Struct):
    cents: int = 0
    mood: float = 0.0
    words: frozenset[Any] = frozenset()


SAY = '{"type": "say", "text": "tea?"}'


async def test_a_listener_takes_no_union():
    """A listener decodes `data: Say | Ping` by the tag
    → false: it gets a `dict`, like for every type without a DTO.
    """

    @websocket_listener("/")
    async def listen(data: Say | Ping) -> str:
        return type(data).__name__

    assert await ask(Litestar([listen]), SAY) == ["dict"]


def test_a_dto_takes_no_union():
    """A DTO decodes a tagged union
    → false: `MsgspecDTO` describes one class.
    """
    union: Any = Say | Ping
    with pytest.raises(InvalidAnnotationException):
        MsgspecDTO[union]


def test_receive_json_has_no_type():
    """`receive_json(type=Say)` decodes into a type
    → false: it knows a mode only; decode what `receive_text()` gives you.
    """
    for method in (WebSocket.receive_json, WebSocket.iter_json):
        assert list(inspect.signature(method).parameters) == ["self", "mode"]


async def test_a_bad_message_need_not_end_the_connection():
    """JSON that cannot be decoded ends the connection
    → half true: in a listener; in a handler `receive_json()` can be caught.
    """

    @websocket("/")
    async def handler(socket: Socket) -> None:
        await socket.accept()
        try:
            await socket.receive_json()
        except SerializationException:
            await socket.send_text("what?")
        await socket.send_json(await socket.receive_json())
        await socket.close()

    @websocket_listener("/")
    async def listener(data: dict[str, str]) -> None: ...

    heard, closed = await hear(Litestar([handler]), "tea", "[]")
    assert (heard, closed.code) == (["what?", "[]"], 1000)
    with pytest.raises(Closed, match="4500"):
        await ask(Litestar([listener]), "tea", "{}")


@pytest.mark.parametrize(
    ("payload", "raised"),
    [
        (b"tea", msgspec.DecodeError),
        (b'{"words": ["\xff"]}', UnicodeDecodeError),
        (b'{"words": [[]]}', TypeError),
        (b'{"words": ' + b"[" * 100_000, RecursionError),
    ],
)
def test_a_validation_error_is_not_all(
    payload: bytes, raised: type[Exception]
):
    """`except msgspec.ValidationError` catches what cannot be decoded
    → false: not what is no JSON or no Unicode, nests deeply or has no hash.
    """
    with pytest.raises(raised) as caught:
        msgspec.json.decode(payload, type=Tip)
    assert not isinstance(caught.value, msgspec.ValidationError)


async def test_litestar_catches_only_decode_errors():
    """Bad JSON is always a `SerializationException` in Litestar
    → half true: deep nesting is a RecursionError of its own.
    """
    raised: list[Exception] = []

    @websocket("/")
    async def handler(socket: Socket) -> None:
        await socket.accept()
        for _ in range(2):
            try:
                await socket.receive_json()
            except Exception as error:  # noqa: BLE001 - they are compared
                raised.append(error)
        await socket.close()

    await hear(Litestar([handler]), "tea", "[" * 100_000)
    assert [type(e) for e in raised] == [
        SerializationException,
        RecursionError,
    ]


def test_formats_hold_different_numbers():
    """JSON and MessagePack carry the same values
    → false: NaN and integers above 64 bits are each in one of them only.
    """
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode('{"mood": NaN}', type=Tip)
    nan = msgspec.msgpack.decode(
        msgspec.msgpack.encode({"mood": math.nan}), type=Tip
    )
    assert math.isnan(nan.mood)
    assert json.loads(msgspec.json.encode(nan))["mood"] is None
    huge = msgspec.json.decode(f'{{"cents": {10**30}}}', type=Tip)
    assert huge.cents == 10**30
    with pytest.raises(OverflowError):
        msgspec.msgpack.encode(huge)


def test_unknown_fields_are_skipped():
    """A Struct refuses fields that it does not have
    → false: it skips them, unless it has `forbid_unknown_fields=True`.
    """
    typo = '{"type": "say", "text": "tea?", "too": "bob"}'
    assert msgspec.json.decode(typo, type=Say) == Say("tea?")


def test_openapi_does_not_know_messages():
    """OpenAPI tells clients what to send on a WebSocket
    → false: Litestar's schema has HTTP routes only; make one of the types.
    """

    @get("/http")
    async def http() -> None: ...

    @websocket_listener("/socket")
    async def listen(data: dict[str, str]) -> None: ...

    paths = Litestar([http, listen]).openapi_schema.paths
    assert list(paths or {}) == ["/http"]
