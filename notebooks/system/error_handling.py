"""The chat after chapter 11: what goes wrong is answered, or has a close code.

The log has each connection's id, and nothing of what its client has sent.
"""

import logging
import traceback
from functools import partial
from typing import Annotated

from litestar import Litestar, websocket
from litestar.di import NamedDependency, Provide
from litestar.exceptions import WebSocketException
from litestar.params import FromPath
from litestar.types import Scope
from msgspec import Meta, field

from snippets import messages
from snippets.closing import CloseCode
from snippets.connections import Connection, ConnectionManager
from snippets.limits import Limited, limit_size, within
from snippets.rooms import People, Rooms
from snippets.sockets import MessageSocket

logger = logging.getLogger(__name__)


class Join(messages.ClientMessage, tag="join", frozen=True):
    """How a client asks to be in a room."""

    room: str


class Leave(messages.ClientMessage, tag="leave", frozen=True):
    """How a client says that it has heard enough there."""

    room: str


class Say(messages.ClientMessage, tag="say", frozen=True):
    """What a client sends."""

    text: Annotated[str, Meta(max_length=500)]
    room: str = "lobby"


class Ping(messages.ClientMessage, tag="ping", frozen=True):
    """How a client asks whether anybody is there; a browser has no pings."""


class Said(messages.ServerMessage, tag="said"):
    """What somebody told everybody."""

    room: str
    sender: str = field(name="from")
    text: str


class Here(messages.ServerMessage, tag="here"):
    """Who is here."""

    room: str
    here: list[str]


Request = Join | Leave | Say | Ping


class ChatSocket(MessageSocket[Request]):
    """The connection of somebody with a name."""

    __slots__ = ("connection",)
    formats = limit_size(messages.formats("chat", Request))

    async def send_message(self, value: object) -> None:
        """Put a message into the outbox; this does not wait."""
        self.connection.send(value)


class House:
    """Who is here."""

    def __init__(self) -> None:
        self.everybody = ConnectionManager()
        self.rooms = Rooms(self.everybody, self.may_join, announce=self.tell)

    async def may_join(self, connection: Connection, room: str) -> bool:
        """Keep a room such as `private-ada-bob` for those whom it names."""
        kind, *names = room.split("-")
        return kind != "private" or connection.user in names

    def here(self, room: str) -> Here:
        """Say who is in a room."""
        return Here(room, sorted(map(str, self.rooms.announced(room))))

    def tell(self, room: str, _came: People, _left: People) -> None:
        """Have all in a room told who is there."""
        self.rooms.send(room, self.here(room))


class Member:
    """What somebody with a name may do: a method for each type."""

    def __init__(
        self,
        socket: ChatSocket,
        name: FromPath[str],
        house: NamedDependency[House],
    ) -> None:
        self.socket, self.name, self.house = socket, name, house

    async def join(self, message: Join) -> None:
        """Be in a room, and know who is there."""
        connection, room = self.socket.connection, message.room
        if await self.house.rooms.join(connection, room):
            connection.send(self.house.here(room))

    async def leave(self, message: Leave) -> None:
        """Be there no more."""
        self.house.rooms.leave(self.socket.connection, message.room)

    async def say(self, message: Say) -> None:
        """Tell all members."""
        said = Said(message.room, self.name, message.text)
        sender = self.socket.connection
        self.house.rooms.send(message.room, said, sender=sender)

    async def ping(self, message: Ping) -> None:
        """Do nothing; the answer is the acknowledgement."""


answer = messages.dispatcher(Member, Request)


@websocket("/chat/{name:str}", websocket_class=ChatSocket)
async def chat(socket: ChatSocket, member: NamedDependency[Member]) -> None:
    """Talk to all members, and be told who they are."""
    house, name = member.house, member.name
    if house.everybody.of(name):
        await socket.accept()  # so that the page hears why
        raise WebSocketException(
            detail=f"{name} is here already", code=CloseCode.FORBIDDEN
        )
    async with house.everybody.connect(
        socket, user=name, format=socket.format
    ) as socket.connection:
        await member.join(Join(room="lobby"))
        try:
            await messages.converse(
                Limited(socket, idle_timeout=3600),  # our page sends no Ping
                within(5, partial(answer, member)),
            )
        except WebSocketException as closing:
            logger.info("connection %s: closed %d", socket.id, closing.code)
            raise


async def write_down(error: Exception, _scope: Scope) -> None:
    """Log what nobody else has: an error outside of all connections."""
    if not isinstance(error, WebSocketException):
        place = traceback.extract_tb(error.__traceback__)[-1]
        logger.error("%s at %s", type(error).__name__, place.line)


def create_app() -> Litestar:
    """Make the chat, with a house of its own."""
    house = Provide(House, use_cache=True, sync_to_thread=False)
    member = Provide(Member, sync_to_thread=False)
    return Litestar(
        [chat],
        dependencies={"house": house, "member": member},
        after_exception=[write_down],
    )
