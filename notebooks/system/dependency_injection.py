"""The chat after chapter 5: whoever needs the room is given it.

It holds while every client keeps reading: one that does not stops them all.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from litestar import Litestar, WebSocket, websocket
from litestar.di import NamedDependency, Provide
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from litestar.params import FromPath

from snippets.closing import CloseCode
from snippets.lifecycle import lifecycle
from snippets.streams import push
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
        self._changed = asyncio.Event()

    def announce(self) -> None:
        """Tell those who follow the names that they have changed."""
        self._changed.set()  # wakes all who wait now,
        self._changed.clear()  # and nobody who comes later

    async def names(self) -> AsyncGenerator[list[str], None]:
        """Yield who is here, now and after each change."""
        told: list[str] | None = None
        while True:
            if told != (now := sorted(self.members)):
                yield now
                told = now
            else:
                await self._changed.wait()

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
    """Talk to all members."""
    messages = await negotiate(socket, FORMATS)
    async with lifecycle(socket), room.membership(name, messages):
        async for say in messages:
            for member in list(room.members.values()):
                with suppress(WebSocketDisconnect):
                    await member.send({"from": name, "text": say.text})


@websocket("/here")
async def here(socket: WebSocket, room: NamedDependency[Room]) -> None:
    """Tell who is here."""
    async with lifecycle(socket):
        await push(socket, room.names(), socket.send_json)


def create_app() -> Litestar:
    """Make the chat, with a room of its own."""
    room = Provide(Room, use_cache=True, sync_to_thread=False)
    return Litestar([chat, here], dependencies={"room": room})
