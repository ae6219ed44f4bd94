"""The chat after chapter 7: a connection is one object, and it has a name.

It holds while every client keeps reading: one that does not stops them all.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from litestar import Litestar, websocket
from litestar.di import NamedDependency, Provide
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from litestar.params import FromPath

from snippets.closing import CloseCode
from snippets.lifecycle import lifecycle
from snippets.sockets import MessageSocket
from snippets.streams import Latest, pushing
from snippets.subprotocols import as_json, as_msgpack


@dataclass
class Say:
    """What a client sends."""

    text: str


class ChatSocket(MessageSocket[Say]):
    """The connection of somebody with a name."""

    __slots__ = ("name",)
    formats = (as_json("chat.json", Say), as_msgpack("chat.msgpack", Say))


class Room:
    """Who is here."""

    def __init__(self) -> None:
        self.members: dict[str, ChatSocket] = {}
        self.here = Latest[dict[str, list[str]]]({"here": []})

    def announce(self) -> None:
        """Tell all who follow `here` who is here now."""
        self.here.set({"here": sorted(self.members)})

    @asynccontextmanager
    async def membership(self, socket: ChatSocket) -> AsyncGenerator[None]:
        """Have somebody be a member while the block lasts."""
        if socket.name in self.members:
            raise WebSocketException(
                detail=f"{socket.name} is here already",
                code=CloseCode.FORBIDDEN,
            )
        self.members[socket.name] = socket
        self.announce()
        try:
            yield
        finally:
            del self.members[socket.name]
            self.announce()


@websocket("/chat/{name:str}", websocket_class=ChatSocket)
async def chat(
    socket: ChatSocket, name: FromPath[str], room: NamedDependency[Room]
) -> None:
    """Talk to all members, and be told who they are."""
    socket.name = name
    async with (
        lifecycle(socket),
        room.membership(socket),
        pushing(room.here.changes(), socket.send_message),
    ):
        async for say in socket.iter_messages():
            for member in list(room.members.values()):
                with suppress(WebSocketDisconnect):
                    await member.send_message({"from": name, "text": say.text})


def create_app() -> Litestar:
    """Make the chat, with a room of its own."""
    room = Provide(Room, use_cache=True, sync_to_thread=False)
    return Litestar([chat], dependencies={"room": room})
