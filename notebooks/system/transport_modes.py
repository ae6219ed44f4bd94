"""The chat after chapter 4: each client speaks JSON or MessagePack.

It holds while every client keeps reading: one that does not stops them all.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from litestar import Litestar, WebSocket, websocket
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


def create_app() -> Litestar:
    """Make the chat, with a room of its own."""
    members: dict[str, Messages[Say]] = {}
    changed = asyncio.Event()

    def announce() -> None:
        changed.set()  # wakes all who wait now,
        changed.clear()  # and nobody who comes later

    async def names() -> AsyncGenerator[list[str], None]:
        told: list[str] | None = None
        while True:
            if told != (now := sorted(members)):
                yield now
                told = now
            else:
                await changed.wait()

    @asynccontextmanager
    async def membership(
        name: str, messages: Messages[Say]
    ) -> AsyncGenerator[None]:
        async with lifecycle(messages.socket):
            if name in members:
                raise WebSocketException(
                    detail=f"{name} is here already", code=CloseCode.FORBIDDEN
                )
            members[name] = messages
            announce()
            try:
                yield
            finally:
                del members[name]
                announce()

    @websocket("/chat/{name:str}")
    async def chat(socket: WebSocket, name: FromPath[str]) -> None:
        messages = await negotiate(socket, FORMATS)
        async with membership(name, messages):
            async for say in messages:
                for member in list(members.values()):
                    with suppress(WebSocketDisconnect):
                        await member.send({"from": name, "text": say.text})

    @websocket("/here")
    async def here(socket: WebSocket) -> None:
        async with lifecycle(socket):
            await push(socket, names(), socket.send_json)

    return Litestar([chat, here])
