"""The chat after chapter 8 takes what its contract says, and answers the rest.

On a real server, because hostile messages are what it is about.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from snippets.testing import Client
from snippets.testing.server import serve
from system.message_contract import create_app


class Talker:
    """Somebody in the chat, in JSON or MessagePack."""

    def __init__(self, client: Client, *, packed: bool) -> None:
        self.client, self.packed = client, packed

    async def send(self, message: object) -> None:
        packed = msgspec.msgpack.encode(message)
        text = msgspec.json.encode(message).decode()
        await self.client.send(packed if self.packed else text)

    async def hears(self, kind: str) -> dict[str, Any]:
        """Wait for a message of a type; who is here does not count."""
        while True:
            came = await self.client.receive()
            decode = msgspec.msgpack if self.packed else msgspec.json
            message = decode.decode(came)  # ty: ignore[invalid-argument-type]
            if message["type"] != "here":
                assert message.pop("type") == kind
                return message


@asynccontextmanager
async def chatting() -> AsyncGenerator[tuple[Talker, Talker]]:
    offer = ["chat.msgpack"]
    async with (
        serve(create_app()) as server,
        server.connect("/chat/ada") as ada,
        server.connect("/chat/bob", subprotocols=offer) as bob,
    ):
        yield Talker(ada, packed=False), Talker(bob, packed=True)
    assert server.log == []


async def test_all_hear_and_the_one_who_asked_gets_an_ack():
    async with chatting() as (ada, bob):
        await ada.send({"type": "say", "text": "tea?", "ref": 1})
        said = {"from": "ada", "text": "tea?"}
        assert [await one.hears("said") for one in (ada, bob)] == [said, said]
        assert await ada.hears("ack") == {"ref": 1}
        await bob.send({"type": "ping", "ref": "b"})
        assert await bob.hears("ack") == {"ref": "b"}


@pytest.mark.parametrize("talks", [0, 1], ids=["json", "msgpack"])
async def test_nonsense_is_answered_to_its_sender_alone(talks: int):
    async with chatting() as talkers:
        sender, other = talkers[talks], talkers[1 - talks]
        for nonsense in (
            {"type": "sya", "text": "tea?", "ref": 7},
            {"type": "say", "text": 7, "ref": 7},
            {"type": "say", "text": "tea?", "from": "eve", "ref": 7},
            {"type": "said", "from": "eve", "text": "tea?", "ref": 7},
            {"type": "say", "text": "x" * 501, "ref": 7},
        ):
            await sender.send(nonsense)
            error = await sender.hears("error")
            assert (error["code"], error["ref"]) == ("invalid_message", 7)
        await sender.send({"type": "say", "text": "tea!"})
        for one in (sender, other):
            assert (await one.hears("said"))["text"] == "tea!"


async def test_even_what_cannot_be_read_at_all_is_answered():
    async with chatting() as (ada, bob):
        await ada.client.send("[" * 60_000)
        assert (await ada.hears("error"))["code"] == "invalid_message"
        await ada.client.send("{")
        assert (await ada.hears("error"))["code"] == "invalid_json"
        await ada.client.send(b"{}")
        assert (await ada.hears("error"))["code"] == "unsupported_data"
        await bob.client.send(b"\xc1")
        assert (await bob.hears("error"))["code"] == "invalid_message"
        await bob.send({"type": "ping", "ref": 1})
        assert await bob.hears("ack") == {"ref": 1}


async def test_who_sends_nothing_but_nonsense_is_closed():
    async with chatting() as (ada, bob):
        for _ in range(30):
            await ada.client.send("{")
        for _ in range(29):
            await ada.hears("error")
        assert [message async for message in ada.client] == []
        assert ada.client.closed is not None
        assert ada.client.closed.code == 4400
        await bob.send({"type": "ping", "ref": 1})
        assert await bob.hears("ack") == {"ref": 1}
