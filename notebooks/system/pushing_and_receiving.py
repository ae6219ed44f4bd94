"""The chat after chapter 6: members are told who is here, as it changes.

It holds while every client keeps reading: one that does not stops them all.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from litestar import Litestar, WebSocket, websocket
from litestar.di import NamedDependency, Provide
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from litestar.params import FromPath

from snippets.closing import CloseCode
from snippets.lifecycle import lifecycle
from snippets.streams import Latest, pushing
from snippets.subprotocols import Messages, as_json, as_msgpack, negotiate


@dataclass
class Say:
    """What a client sends."""

    text: str


FORMATS = [as_json("chat.json", Say), as_msgpack("chat.msgpack", Say)]


class Room:
    """Who is here."""

    def __init__(self) -> None:
        self.members: dict[str, Messages[Say]] = {}
        self.here = Latest[dict[str, list[str]]]({"here": []})

    def announce(self) -> None:
        """Tell all who follow `here` who is here now."""
        self.here.set({"here": sorted(self.members)})

    @asynccontextmanager
    async def membership(
        self, name: str, messages: Messages[Say]
    ) -> AsyncGenerator[None]:
        """Have somebody be a member while the block lasts."""
        if name in self.members:
            raise WebSocketException(
                detail=f"{name} is here already", code=CloseCode.FORBIDDEN
            )
        self.members[name] = messages
        self.announce()
        try:
            yield
        finally:
            del self.members[name]
            self.announce()


@websocket("/chat/{name:str}")
async def chat(
    socket: WebSocket, name: FromPath[str], room: NamedDependency[Room]
) -> None:
    """Talk to all members, and be told who they are."""
    messages = await negotiate(socket, FORMATS)
    async with (
        lifecycle(socket),
        room.membership(name, messages),
        pushing(room.here.changes(), messages.send),
    ):
        async for say in messages:
            for member in list(room.members.values()):
                with suppress(WebSocketDisconnect):
                    await member.send({"from": name, "text": say.text})


def create_app() -> Litestar:
    """Make the chat, with a room of its own."""
    room = Provide(Room, use_cache=True, sync_to_thread=False)
    return Litestar([chat], dependencies={"room": room})
