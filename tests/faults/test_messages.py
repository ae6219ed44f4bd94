"""Whatever a client sends is a message or is answered, and all go on."""

import json
import logging
import random
from typing import Any

import msgspec
import pytest

from snippets.connections import Connection
from snippets.testing.client import Client

from .conftest import Chat, Serving, answered, ask, ending, heard

HOSTILE: list[tuple[str | bytes, str]] = [
    ("", "invalid_json"),
    ("tea?", "invalid_json"),
    ('{"type": "do", "number": NaN}', "invalid_json"),
    ('{"type": "do", "number": Infinity}', "invalid_json"),
    (r'{"type": "say", "room": "tea", "text": "\ud800"}', "invalid_json"),
    ('{"type": "do"} {"type": "do"}', "invalid_json"),
    ("\0" * 100, "invalid_json"),
    ("null", "invalid_message"),
    ("[]", "invalid_message"),
    ('"do"', "invalid_message"),
    ("{}", "invalid_message"),
    ('{"type": "d0"}', "invalid_message"),
    ('{"type": ["do"]}', "invalid_message"),
    ('{"type": "do", "number": 1e999}', "invalid_message"),
    ('{"type": "do", "number": ' + "9" * 9000 + "}", "invalid_message"),
    ('{"type": "do", "number": "1"}', "invalid_message"),
    ('{"type": "do", "more": 1}', "invalid_message"),
    ('{"type": "do", "ref": {}}', "invalid_message"),
    ("[" * 16_000, "invalid_message"),
    ('{"a":' * 3_000, "invalid_message"),
    ('{"type": "join", "room": "no room"}', "invalid_message"),
    (b"", "unsupported_data"),
    (b'{"type": "do"}', "unsupported_data"),
    (b"\xff\xfe\x00", "unsupported_data"),
    (" " * 20_000, "too_large"),
]


async def test_whatever_comes_is_answered_and_the_connection_lives(
    serving: Serving,
):
    """Messages: any bytes are a message or an answered error, and the
    connection lives.
    """
    async with serving(Chat().app) as server, server.connect("/eve") as eve:
        for payload, code in HOSTILE:
            await eve.send(payload)
            error = await eve.receive_json()
            assert error["type"] == "error"
            assert (error["code"], payload[:50]) == (code, payload[:50])
        assert await ask(eve, "do") == {"type": "ack", "ref": "asked"}
    assert server.log == []


def noise(dice: random.Random) -> bytes:
    """Make a payload of pieces of messages, and of noise."""
    pieces = [
        *(b'{"type":', b'"do"', b'"say"', b'"ref":7', b'"room":"tea"'),
        *(b"{", b"}", b"[", b",", b":", b"1e9", b"null", b'"', b"\\u0000"),
        *(b"\x82\xa4type", b"\xa2do", b"\xa3ref", b"\xc7", b"\xdf", b"\x91"),
        dice.randbytes(dice.randrange(8)),
    ]
    return b"".join(dice.choices(pieces, k=dice.randrange(12)))


@pytest.mark.parametrize("packed", [False, True], ids=["text", "binary"])
async def test_noise_is_answered_too(serving: Serving, packed: bool):
    """Messages: noise gets an answer for each frame, and breaks nothing."""
    dice = random.Random(7)
    offer = ["chat.msgpack"] if packed else []
    decode: Any = msgspec.msgpack.decode if packed else json.loads
    async with serving(Chat().app) as server:
        for _ in range(10):
            async with server.connect("/eve", subprotocols=offer) as eve:
                for _ in range(29):
                    payload = noise(dice)
                    text = payload.decode(errors="replace")
                    await eve.send(payload if packed else text)
                    answer = decode(await eve.receive())
                    assert answer["type"] in {"ack", "error"}, payload
    assert server.log == []


@pytest.mark.parametrize(
    ("payload", "code"),
    [("tea?", 4400), ('{"type": "d0"}', 4400), (b"tea?", 1003)],
)
async def test_who_goes_on_and_on_is_closed(
    serving: Serving, payload: str | bytes, code: int
):
    """Messages: after 30 violations the connection is closed, with the code of
    the last.
    """
    async with serving(Chat().app) as server, server.connect("/eve") as eve:
        for _ in range(29):
            await eve.send(payload)
            assert (await eve.receive_json())["type"] == "error"
        await ask(eve, "do")
        await eve.send(payload)
        assert (await ending(eve)).startswith(str(code))
    assert server.log == []


async def test_a_ref_comes_back(serving: Serving):
    """Messages: the `ref` of a message comes back in its answer."""
    chat = Chat(private=frozenset({"secret"}))
    async with serving(chat.app) as server, server.connect("/ada") as ada:
        for ref in ("a", 0, -7, 2**53 - 1, "x" * 64):
            for message, kind in (
                ({"type": "do"}, "ack"),
                ({"type": "join", "room": "tea"}, "ack"),
                ({"type": "join", "room": "secret"}, "error"),
                ({"type": "join", "room": "no room"}, "error"),
                ({"type": "d0"}, "error"),
            ):
                await ada.send_json({**message, "ref": ref})
                answer = await answered(ada, ref)
                assert (answer["type"], answer["ref"]) == (kind, ref)


async def test_an_error_says_what_to_do(serving: Serving):
    """Messages: an error has a code, words, and whether to try again."""
    async with serving(Chat().app) as server, server.connect("/ada") as ada:
        await ada.send_json({"type": "d0", "ref": 7})
        assert await ada.receive_json() == {
            "type": "error",
            "code": "invalid_message",
            "message": "Invalid value 'd0' - at `$.type`",
            "retryable": False,
            "ref": 7,
        }


async def test_nobody_can_claim_to_be_somebody_else(serving: Serving):
    """Messages: the server says who says it, and no client can."""
    async with (
        serving(Chat().app) as server,
        server.connect("/ada") as ada,
        server.connect("/eve") as eve,
    ):
        for client in (ada, eve):
            await ask(client, "join", room="tea")
        for claim in ("from", "sender"):
            said = {"room": "tea", "text": "it is me", claim: "ada"}
            answer = await ask(eve, "say", **said)
            assert answer["code"] == "invalid_message"
        await eve.send_json({"type": "say", "room": "tea", "text": "hi"})
        while (message := await ada.receive_json())["type"] != "said":
            pass
        assert message == {"type": "said", "from": "eve", "text": "hi"}


async def talk(one: Client, other: Client) -> None:
    """See that what one says is heard by both."""
    await one.send_json({"type": "say", "room": "tea", "text": "still here"})
    for client in (one, other):
        assert await heard(client, 1) == ["still here"]


async def test_a_bug_is_for_the_log_and_for_nobody_else(
    serving: Serving, caplog: pytest.LogCaptureFixture
):
    """Messages: a bug in a handler is `internal` for its client; the log has
    the traceback and the connection's id, and nobody else is affected.
    """

    async def fail(connection: Connection, number: float) -> None:
        raise KeyError("secret")

    chat = Chat(do=fail)
    async with (
        serving(chat.app) as server,
        server.connect("/ada") as ada,
        server.connect("/bob") as bob,
    ):
        for client in (ada, bob):
            await ask(client, "join", room="tea")
        for _ in range(40):  # a bug of ours is no violation of theirs
            assert await ask(ada, "do") == {
                "type": "error",
                "code": "internal",
                "message": "internal error",
                "retryable": False,
                "ref": "asked",
            }
        await talk(ada, bob)
        await talk(bob, ada)
    assert len(caplog.records) == 40
    for record in caplog.records:
        assert record.levelno == logging.ERROR
        assert chat.connections["ada"].id in record.getMessage()
        assert record.exc_info
        assert isinstance(record.exc_info[1], KeyError)
        assert record.exc_info[2] is not None
    assert server.log == []


async def test_what_cannot_be_written_is_a_bug_like_any_other(
    serving: Serving, caplog: pytest.LogCaptureFixture
):
    async def say_what_cannot_be_said(
        connection: Connection, number: float
    ) -> None:
        connection.send(object())

    chat = Chat(do=say_what_cannot_be_said)
    async with (
        serving(chat.app) as server,
        server.connect("/ada") as ada,
        server.connect("/bob") as bob,
    ):
        for client in (ada, bob):
            await ask(client, "join", room="tea")
        assert (await ask(ada, "do"))["code"] == "internal"
        await talk(ada, bob)
    assert chat.connections["ada"].id in caplog.text
