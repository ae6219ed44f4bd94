"""Rooms over TCP, with members that come, go, stop reading and die."""

import asyncio
import logging
from collections import Counter
from typing import Any

import pytest

from snippets.testing.client import Client
from snippets.testing.faults import reset, stalled, vanish
from snippets.testing.server import Server

from .conftest import Chat, Said, Serving, ask, ending, heard

NOT_READ = "x" * 12_000
"""What a client that does not read has no room for, after a while."""


async def join(client: Client, *rooms: str) -> None:
    for room in rooms:
        assert (await ask(client, "join", room=room))["type"] == "ack"


async def test_all_members_hear_one_order(serving: Serving):
    """Rooms: all members of a room hear the same, in the same order."""
    chat, names = Chat(), ("ada", "bob", "eve")
    async with (
        serving(chat.app) as server,
        server.connect("/ada") as ada,
        server.connect("/bob") as bob,
        server.connect("/eve") as eve,
    ):
        clients = dict(zip(names, (ada, bob, eve), strict=True))
        for client in clients.values():
            await join(client, "tea")

        async def speak(name: str) -> None:
            for number in range(100):
                text = f"{name} {number}"
                said = {"type": "say", "room": "tea", "text": text}
                await clients[name].send_json(said)

        speaking = asyncio.gather(*map(speak, names))
        listening = [heard(client, 300) for client in clients.values()]
        first, *others = await asyncio.gather(*listening)
        await speaking
    assert others == [first, first]
    for name in names:  # what one says is heard in the order it was said in
        own = [text for text in first if text.startswith(name)]
        assert own == [f"{name} {number}" for number in range(100)]


async def test_who_leaves_hears_nothing_more(serving: Serving):
    """Rooms: after the answer to `leave` no message of the room comes."""
    chat = Chat()
    async with (
        serving(chat.app) as server,
        server.connect("/ada") as ada,
        server.connect("/bob") as bob,
    ):
        for client in (ada, bob):
            await join(client, "tea")

        async def speak() -> None:
            while True:
                said = {"type": "say", "room": "tea", "text": "tea?"}
                await bob.send_json(said)
                await heard(bob, 1)

        speaking = asyncio.create_task(speak())
        await heard(ada, 20)
        assert await ask(ada, "leave", room="tea") == {
            "type": "ack",
            "ref": "asked",
        }
        for _ in range(20):
            await ada.send_json({"type": "do", "ref": 7})
            assert await ada.receive_json() == {"type": "ack", "ref": 7}
        speaking.cancel()
        await asyncio.wait({speaking})
        refused = await ask(ada, "say", room="tea", text="hello?")
        assert refused["code"] == "forbidden"


async def test_leaving_is_not_disconnecting(serving: Serving):
    """Rooms: who leaves a room stays connected, and in all other rooms."""
    chat = Chat()
    async with serving(chat.app) as server, server.connect("/ada") as ada:
        await join(ada, "tea", "coffee")
        await ask(ada, "leave", room="tea")
        await ask(ada, "leave", room="tea")
        await ada.send_json({"type": "say", "room": "coffee", "text": "black"})
        assert await heard(ada, 1) == ["black"]


async def test_no_and_none_are_the_same_words(serving: Serving):
    """Rooms: who may not join cannot tell whether there is such a room."""
    chat = Chat(private=frozenset({"secret"}))
    async with serving(chat.app) as server, server.connect("/eve") as eve:
        answers = [
            await ask(eve, kind, room=room, **more)
            for kind, more in (("join", {}), ("say", {"text": "hello"}))
            for room in ("secret", "unknown")
        ]
        assert answers[0] == answers[1]
        assert answers[2] == answers[3]
        assert {answer["code"] for answer in answers} == {"forbidden"}
        for answer in answers:
            assert "secret" not in answer["message"]


async def test_names_do_not_reach_the_log(
    serving: Serving, caplog: pytest.LogCaptureFixture
):
    """Rooms: a name that is none is answered, and reaches no line of a log."""
    caplog.set_level(logging.DEBUG)
    chat = Chat()
    names = [
        "MARK",
        "mark\n",
        "mark\r\nERROR forged",
        "mark\x1b[31m",
        "mark%s%n",
        "mark\u202e",
        "märk",
        "mark" * 17,
        "../mark",
        "",
    ]
    async with serving(chat.app) as server, server.connect("/eve") as eve:
        for name in names:
            for kind, more in (("join", {}), ("say", {"text": "hello"})):
                error = await ask(eve, kind, room=name, **more)
                assert error["type"] == "error"
            assert (await ask(eve, "leave", room=name))["type"] == "ack"
        chat.connections["eve"].close(1013, "mark\nforged")
        await ending(eve)
    lines = [record.getMessage() for record in caplog.records]
    ours = [line for line in lines if not line.startswith(("<", ">", "%"))]
    assert [line for line in ours if "mark" in line.lower()] == []
    assert len(chat.rooms) == 0


async def test_rooms_have_a_limit(serving: Serving):
    """Rooms: a connection is in 50 rooms at most, and is told so."""
    chat = Chat()
    async with serving(chat.app) as server, server.connect("/eve") as eve:
        await join(eve, *(f"room-{number}" for number in range(50)))
        error = await ask(eve, "join", room="tea")
        assert (error["code"], error["retryable"]) == ("room_limit", False)
        await ask(eve, "leave", room="room-7")
        await join(eve, "tea")
        assert chat.rooms.memberships == 50


@pytest.mark.parametrize("gone", [vanish, reset], ids=["FIN", "RST"])
async def test_who_dies_has_left_all_rooms(serving: Serving, gone: Any):
    """Rooms: who vanishes without a word has left all rooms."""
    chat = Chat()
    async with serving(chat.app) as server, server.connect("/ada") as ada:
        await join(ada, "tea")
        async with gone(server, "/eve") as eve:
            await join(eve, "tea", "coffee")
            while "eve" not in (await here(ada))["come"]:
                pass
        while "eve" not in (await here(ada))["left"]:
            pass
        assert [m.user for m in chat.rooms.members("tea")] == ["ada"]
        assert (len(chat.rooms), chat.rooms.memberships) == (1, 1)
    assert server.log == []


async def here(client: Client) -> dict[str, Any]:
    """Wait for the next announcement."""
    while (message := await client.receive_json())["type"] != "here":
        pass
    return message


async def fill(chat: Chat, name: str) -> None:
    """Send to somebody who does not read until its outbox holds some."""
    connection = chat.connections[name]
    async with asyncio.timeout(5):
        while chat.manager.stats().queued < 20:
            connection.send(NOT_READ)
            await asyncio.sleep(0)


async def test_membership_ends_when_a_connection_begins_to_close(
    serving: Serving,
):
    """Rooms: membership ends when a connection begins to close, and not when
    its socket dies.
    """
    chat = Chat()
    async with (
        serving(chat.app) as server,
        server.connect("/ada") as ada,
        stalled(server, "/eve", buffer=4096) as eve,
    ):
        await join(ada, "tea")
        await join(eve, "tea")
        while "eve" not in (await here(ada))["come"]:
            pass
        await fill(chat, "eve")
        chat.connections["eve"].close(flush=True)
        assert not chat.ended["eve"].is_set()
        assert [m.user for m in chat.rooms.members("tea")] == ["ada"]
        assert chat.rooms.send("tea", Said("ada", "is eve here?")) == 1
        assert not await chat.rooms.join(chat.connections["eve"], "tea")
        while "eve" not in (await here(ada))["left"]:
            pass
        assert not chat.ended["eve"].is_set()  # its socket lives, and has left


async def test_who_does_not_read_stops_nobody(serving: Serving):
    """Rooms: a member that does not read is out, and all others hear
    everything.
    """
    chat = Chat()
    async with (
        serving(chat.app) as server,
        server.connect("/ada") as ada,
        server.connect("/bob") as bob,
        stalled(server, "/eve", buffer=4096) as eve,
    ):
        for client in (ada, bob, eve):
            await join(client, "tea")
        texts = [f"{number} {NOT_READ}" for number in range(600)]
        listening = asyncio.create_task(heard(bob, len(texts)))
        for text in texts:
            await ada.send_json({"type": "say", "room": "tea", "text": text})
            assert await heard(ada, 1) == [text]
        assert await listening == texts
        assert chat.manager.evictions == {"slow consumer": 1}
        assert [m.user for m in chat.rooms.members("tea")] == ["ada", "bob"]


async def test_people_are_announced_and_not_tabs(serving: Serving):
    """Rooms: a person comes with the first connection and leaves with the
    last, and each is announced once.
    """
    chat = Chat()
    async with serving(chat.app) as server, server.connect("/ada") as ada:
        await join(ada, "tea")
        assert await here(ada) == {
            "type": "here",
            "room": "tea",
            "come": ["ada"],
            "left": [],
        }
        async with server.connect("/bob") as tab:
            await join(tab, "tea")
            assert (await here(ada))["come"] == ["bob"]
            async with server.connect("/bob") as other:
                await join(other, "tea")
                await join(ada, "coffee")
                assert (await here(ada))["room"] == "coffee"  # and no tea
                await tab.close()
                await join(ada, "cocoa")
                assert (await here(ada))["room"] == "cocoa"
                assert chat.rooms.people("tea") == {"ada", "bob"}
        news = await here(ada)
        assert (news["come"], news["left"]) == ([], ["bob"])


async def churn(server: Server, number: int) -> None:
    """Come, join and leave, speak, and be gone, in one way or another."""
    ways = [server.connect, vanish, reset]
    way = ways[number % 3]
    target = () if number % 3 == 0 else (server,)
    async with way(*target, f"/p{number % 5}") as client:
        for room in ("tea", "coffee", "tea"):
            await ask(client, "join", room=room)
            await ask(client, "say", room=room, text="hello")
        await ask(client, "leave", room="tea")


async def test_nothing_is_left_of_a_crowd(serving: Serving):
    """Rooms: of a crowd that has come and gone nothing is left."""
    chat = Chat()
    async with serving(chat.app) as server, server.connect("/ada") as ada:
        await join(ada, "tea")
        for _ in range(5):
            await asyncio.gather(*(churn(server, n) for n in range(10)))
        await asyncio.gather(
            *(end.wait() for n, end in chat.ended.items() if n != "ada")
        )
        assert Counter(m.user for m in chat.rooms.members("tea")) == {"ada": 1}
        assert (len(chat.rooms), chat.rooms.memberships) == (1, 1)
        assert len(chat.manager) == 1
    assert server.log == []
