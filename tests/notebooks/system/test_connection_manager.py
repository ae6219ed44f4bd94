"""In the chat after chapter 9 a client that does not read hurts itself alone.

On a real server, and in process, where "does not read" takes few bytes.
"""

from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from snippets.testing import Client, connect
from snippets.testing.faults import stalled
from snippets.testing.server import serve
from system.connection_manager import create_app

WORDS = "x" * 500


async def hear(client: Client, kind: str) -> dict[str, Any]:
    """Wait for a message of a type."""
    while True:
        message = msgspec.json.decode(await client.receive())
        if message.pop("type") == kind:
            return message


async def see(client: Client, *names: str) -> None:
    """Wait to be told that these are here."""
    while (await hear(client, "here"))["here"] != list(names):
        pass


@pytest.mark.parametrize("ws", ["websockets-sansio", "wsproto"])
async def test_all_hear_and_see_each_other_on_a_server(ws: Any):
    packed = ["chat.msgpack"]
    async with (
        serve(create_app(), ws=ws) as server,
        server.connect("/chat/ada") as ada,
    ):
        await see(ada, "ada")
        async with server.connect("/chat/bob", subprotocols=packed) as bob:
            await see(ada, "ada", "bob")
            here = {"type": "here", "here": ["ada", "bob"]}
            assert await bob.receive() == msgspec.msgpack.encode(here)
            await ada.send_json({"type": "say", "text": "tea?", "ref": 1})
            said = {"type": "said", "from": "ada", "text": "tea?"}
            assert await bob.receive() == msgspec.msgpack.encode(said)
            assert await hear(ada, "said") == {"from": "ada", "text": "tea?"}
            assert await hear(ada, "ack") == {"ref": 1}
        await see(ada, "ada")
    assert server.log == []


async def test_who_does_not_read_leaves_and_the_others_talk_on():
    app = create_app()
    async with (
        connect(app, "/chat/ada") as ada,
        connect(app, "/chat/bob") as bob,
        stalled(app, "/chat/eve", buffer=1) as eve,
    ):
        await see(ada, "ada", "bob", "eve")
        for _ in range(300):  # an outbox holds 256
            await ada.send_json({"type": "say", "text": WORDS})
            for each in (ada, bob):
                assert (await hear(each, "said"))["text"] == WORDS
        await ada.send_json({"type": "ping", "ref": 1})
        await hear(ada, "ack")
        async with connect(app, "/chat/eve") as again:  # the name is free
            await see(again, "ada", "bob", "eve")
        assert len(await eve.resume()) < 300


async def test_when_many_leave_at_once_nobody_is_told_too_much():
    app = create_app()
    async with connect(app, "/chat/ada") as ada, AsyncExitStack() as stack:
        guests = [
            await stack.enter_async_context(stalled(app, f"/chat/{number}"))
            for number in range(300)
        ]
        for guest in guests:
            guest.vanish()
        await see(ada, "ada")
        await ada.send_json({"type": "ping", "ref": 1})
        assert await hear(ada, "ack") == {"ref": 1}
