"""What is said about rooms, and about who is in them."""

import re
from collections import defaultdict
from typing import Any

import pytest
from litestar import Litestar, WebSocket, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath

from snippets.testing import connect
from snippets.testing.server import serve

from .conftest import hear, turns

Socket = WebSocket[Any, Any, Any]


def test_a_defaultdict_forgets_no_room():
    """A `defaultdict(set)` holds the rooms that have members
    → false: also those that had some, and those somebody asked for.
    """
    rooms: defaultdict[str, set[str]] = defaultdict(set)
    rooms["tea"].add("ada")
    rooms["tea"].discard("ada")
    assert [member for member in rooms["cake"] if member] == []
    rooms["milk"].discard("bob")
    assert list(rooms) == ["tea", "cake", "milk"]


async def test_only_a_finally_is_always_reached():
    """`except WebSocketDisconnect:` is where a room is left
    → false: after any other exception the member stays; use `finally`.
    """
    members: set[Socket] = set()

    @websocket("/")
    async def handler(socket: Socket) -> None:
        await socket.accept()
        members.add(socket)
        try:
            while True:
                await socket.receive_json()
        except WebSocketDisconnect:
            members.discard(socket)

    async with connect(Litestar([handler])):
        pass
    assert len(members) == 0
    await hear(Litestar([handler]), "no JSON")
    assert len(members) == 1


async def test_a_socket_is_not_a_person():
    """Who closes a tab has left
    → false: a person leaves with the last of their sockets; count users.
    """
    here: list[str] = []

    @websocket("/{name:str}")
    async def handler(socket: Socket, name: FromPath[str]) -> None:
        await socket.accept()
        here.append(name)
        try:
            async for _ in socket.iter_data("text"):
                pass
        finally:
            here.remove(name)

    app = Litestar([handler])
    async with connect(app, "/ada"):
        async with connect(app, "/ada"):
            await turns(3)
            assert here == ["ada", "ada"]
        assert here == ["ada"]


async def test_a_dollar_lets_a_newline_through():
    """`re.match(r"^[a-z]+$", name)` checks all of a name
    → false: `$` is also before a newline at the end; `\\Z` is the end itself.
    """
    for name, is_name in ("tea", True), ("tea\n", False):
        assert re.match(r"^[a-z]+$", name)
        assert bool(re.match(r"[a-z]+\Z", name)) is is_name
        assert bool(re.fullmatch(r"[a-z]+", name)) is is_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/rooms/tea%0A", "tea\n"),
        ("/rooms/%22%3E", '">'),
        ("/rooms/%00", "\0"),
    ],
)
async def test_a_path_parameter_is_what_a_client_sends(path: str, name: str):
    """A name in the path is clean, because it is part of a URL
    → false: Litestar decodes it, newlines, quotes and zeros included.
    """
    seen: list[str] = []

    @websocket("/rooms/{room:str}")
    async def handler(socket: Socket, room: FromPath[str]) -> None:
        seen.append(room)
        await socket.accept()
        await socket.close()

    app = Litestar([handler])
    async with serve(app) as server, server.connect(path) as client:
        assert [message async for message in client] == []
    assert seen == [name]


def channels(**options: Any) -> ChannelsPlugin:
    """Make rooms of Litestar's channels, as the documentation does."""
    backend = MemoryChannelsBackend()
    return ChannelsPlugin(backend, create_ws_route_handlers=True, **options)


async def test_who_knows_a_channel_hears_it():
    """Litestar's Channels are rooms
    → half true: they route; whoever knows a channel's name hears it.
    """
    plugin = channels(channels=["party"], ws_handler_base_path="/rooms")
    async with connect(Litestar(plugins=[plugin]), "/rooms/party") as anybody:
        plugin.publish("cake?", "party")
        assert await anybody.receive() == "cake?"


@pytest.mark.xfail(reason="litestar #4867: open", raises=AssertionError)
async def test_an_arbitrary_channel_ends_with_its_last_subscriber():
    """A channel that nobody listens to any more is forgotten
    → false: with `arbitrary_channels_allowed` each name stays for ever.
    """
    plugin = channels(arbitrary_channels_allowed=True)
    app = Litestar(plugins=[plugin])
    for number in range(10):
        async with connect(app, f"/room-{number}"):
            pass
    assert len(plugin._channels) == 0
