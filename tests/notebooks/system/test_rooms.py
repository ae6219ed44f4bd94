"""The chat after chapter 10: what is said in a room stays there."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from litestar import Litestar

from snippets.testing import Client, connect
from system.rooms import create_app


class Talker:
    """Somebody in the chat."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def asks(self, kind: str, room: str, **more: str) -> str:
        """Send a message, and wait for the answer to it.

        Returns:
            "ack", or the code of an error.
        """
        message = {"type": kind, "room": room, "ref": kind, **more}
        await self.client.send_json(message)
        while "ref" not in (answer := await self.client.receive_json()):
            pass
        assert answer["ref"] == kind
        return answer.get("code", answer["type"])

    async def hears(self, kind: str) -> dict[str, Any]:
        """Wait for a message of a type."""
        while (message := await self.client.receive_json())["type"] != kind:
            pass
        del message["type"]
        return message

    async def sees(self, room: str, *names: str) -> None:
        """Wait until these are in a room."""
        while await self.hears("here") != {"room": room, "here": [*names]}:
            pass


@pytest.fixture
def app() -> Litestar:
    return create_app()


@asynccontextmanager
async def talking(app: Litestar, name: str) -> AsyncGenerator[Talker]:
    async with connect(app, f"/chat/{name}") as client:
        yield Talker(client)


async def test_everybody_begins_in_the_lobby_and_is_told_who_is_there(
    app: Litestar,
):
    async with talking(app, "ada") as ada:
        await ada.sees("lobby", "ada")
        async with talking(app, "bob") as bob:
            assert await bob.hears("here") == {
                "room": "lobby",
                "here": ["ada"],
            }
            for each in (ada, bob):
                await each.sees("lobby", "ada", "bob")
            await bob.client.send_json({"type": "say", "text": "tea?"})
            said = {"room": "lobby", "from": "bob", "text": "tea?"}
            assert await ada.hears("said") == said
        await ada.sees("lobby", "ada")


async def test_what_is_said_in_a_room_is_heard_by_its_members_alone(
    app: Litestar,
):
    async with (
        talking(app, "ada") as ada,
        talking(app, "bob") as bob,
        talking(app, "cleo") as cleo,
    ):
        for each in (bob, cleo):
            assert await each.asks("join", "party") == "ack"
        await bob.sees("party", "bob", "cleo")
        assert await bob.asks("say", "party", text="cake?") == "ack"
        assert await bob.asks("say", "lobby", text="nothing.") == "ack"
        assert (await cleo.hears("said"))["text"] == "cake?"
        for each in (ada, cleo):
            assert (await each.hears("said"))["text"] == "nothing."


async def test_who_is_no_member_may_not_speak_and_stays_connected(
    app: Litestar,
):
    async with talking(app, "ada") as ada, talking(app, "bob") as bob:
        await bob.asks("join", "party")
        for room in ("party", "nowhere", "No Room"):
            assert await ada.asks("say", room, text="hi") == "forbidden"
        assert await ada.asks("say", "lobby", text="hm") == "ack"
        assert (await bob.hears("said"))["text"] == "hm"


async def test_a_private_room_is_for_those_whom_it_names(app: Litestar):
    room = "private-bob-cleo"
    async with talking(app, "ada") as ada, talking(app, "bob") as bob:
        for _ in range(2):
            assert await ada.asks("join", room) == "forbidden"
            assert await ada.asks("join", "private-nobody") == "forbidden"
            assert await bob.asks("join", room) == "ack"


@pytest.mark.parametrize("room", ["", "Party", "party\n", "x" * 65])
async def test_what_is_no_name_is_answered(room: str, app: Litestar):
    async with talking(app, "ada") as ada:
        assert await ada.asks("join", room) == "invalid_message"
        assert await ada.asks("join", "party") == "ack"


async def test_leaving_a_room_is_not_leaving_the_chat(app: Litestar):
    async with talking(app, "ada") as ada, talking(app, "bob") as bob:
        for _ in range(2):
            assert await ada.asks("leave", "lobby") == "ack"
        await bob.sees("lobby", "bob")
        assert await ada.asks("say", "lobby", text="hi") == "forbidden"
        assert await bob.asks("say", "lobby", text="gone?") == "ack"
        assert await ada.asks("join", "lobby") == "ack"
        await bob.sees("lobby", "ada", "bob")
        assert await bob.asks("say", "lobby", text="there!") == "ack"
        assert (await ada.hears("said"))["text"] == "there!"
