"""The chat after chapter 8: what may be said is written down, in one place.

It holds while every client keeps reading: one that does not stops them all.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Annotated

from litestar import Litestar, websocket
from litestar.di import NamedDependency, Provide
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from litestar.params import FromPath
from msgspec import Meta, field

from snippets import messages
from snippets.closing import CloseCode
from snippets.lifecycle import lifecycle
from snippets.sockets import MessageSocket
from snippets.streams import Latest, pushing


class Say(messages.ClientMessage, tag="say", frozen=True):
    """What a client sends."""

    text: Annotated[str, Meta(max_length=500)]


class Ping(messages.ClientMessage, tag="ping", frozen=True):
    """How a client asks whether anybody is there; a browser has no pings."""


class Said(messages.ServerMessage, tag="said"):
    """What somebody told everybody."""

    sender: str = field(name="from")
    text: str


class Here(messages.ServerMessage, tag="here"):
    """Who is here."""

    here: list[str]


class ChatSocket(MessageSocket[Say | Ping]):
    """The connection of somebody with a name."""

    __slots__ = ("name",)
    formats = messages.formats("chat", Say | Ping)


class Room:
    """Who is here."""

    def __init__(self) -> None:
        self.members: dict[str, ChatSocket] = {}
        self.here = Latest[Here](Here([]))

    def announce(self) -> None:
        """Tell all who follow `here` who is here now."""
        self.here.set(Here(sorted(self.members)))

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


class Member:
    """What somebody with a name may do: a method for each type."""

    def __init__(
        self, name: FromPath[str], room: NamedDependency[Room]
    ) -> None:
        self.name, self.room = name, room

    async def say(self, message: Say) -> None:
        """Tell all members."""
        for member in list(self.room.members.values()):
            with suppress(WebSocketDisconnect):
                await member.send_message(Said(self.name, message.text))

    async def ping(self, message: Ping) -> None:
        """Do nothing; the answer is the acknowledgement."""


answer = messages.dispatcher(Member, Say | Ping)


@websocket("/chat/{name:str}", websocket_class=ChatSocket)
async def chat(socket: ChatSocket, member: NamedDependency[Member]) -> None:
    """Talk to all members, and be told who they are."""
    room, socket.name = member.room, member.name
    async with (
        lifecycle(socket),
        room.membership(socket),
        pushing(room.here.changes(), socket.send_message),
    ):
        await messages.converse(socket, partial(answer, member))


def create_app() -> Litestar:
    """Make the chat, with a room of its own."""
    room = Provide(Room, use_cache=True, sync_to_thread=False)
    member = Provide(Member, sync_to_thread=False)
    return Litestar([chat], dependencies={"room": room, "member": member})
