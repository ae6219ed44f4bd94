"""The chat after chapter 9: everybody has an outbox, and nobody waits.

Who does not read fills an outbox, and leaves; the others talk on.
"""

import asyncio
from functools import partial
from typing import Annotated

from litestar import Litestar, websocket
from litestar.di import NamedDependency, Provide
from litestar.exceptions import WebSocketException
from litestar.params import FromPath
from msgspec import Meta, field

from snippets import messages
from snippets.closing import CloseCode
from snippets.connections import Connection, ConnectionManager
from snippets.sockets import MessageSocket


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


Request = Say | Ping


class ChatSocket(MessageSocket[Request]):
    """The connection of somebody with a name."""

    __slots__ = ("connection",)
    formats = messages.formats("chat", Request)

    async def send_message(self, value: object) -> None:
        """Put a message into the outbox; this does not wait."""
        self.connection.send(value)


class House:
    """Who is here."""

    def __init__(self) -> None:
        self.everybody = ConnectionManager()
        self._will_tell = False

    def changed(self, _: Connection | None = None) -> None:
        """Have all told who is here, once for all who come and go now."""
        if not self._will_tell:
            self._will_tell = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._will_tell = False
        here = sorted(str(each.user) for each in self.everybody)
        self.everybody.broadcast(Here(here))


class Member:
    """What somebody with a name may do: a method for each type."""

    def __init__(
        self, name: FromPath[str], house: NamedDependency[House]
    ) -> None:
        self.name, self.house = name, house

    async def say(self, message: Say) -> None:
        """Tell all members."""
        self.house.everybody.broadcast(Said(self.name, message.text))

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
        house.changed()
        socket.connection.at_end(house.changed)
        await messages.converse(socket, partial(answer, member))


def create_app() -> Litestar:
    """Make the chat, with a house of its own."""
    house = Provide(House, use_cache=True, sync_to_thread=False)
    member = Provide(Member, sync_to_thread=False)
    return Litestar([chat], dependencies={"house": house, "member": member})
