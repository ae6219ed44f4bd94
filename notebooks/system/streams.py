"""The chat after chapter 3: a stream tells who is here.

It holds while every client keeps reading: one that does not stops them all.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from litestar import Litestar, WebSocket, websocket, websocket_listener
from litestar.dto import DataclassDTO
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from litestar.params import FromPath

from snippets.closing import CloseCode
from snippets.lifecycle import lifecycle
from snippets.streams import push


@dataclass
class Say:
    """What a client sends."""

    text: str


def create_app() -> Litestar:
    """Make the chat, with a room of its own."""
    members: dict[str, WebSocket] = {}
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
        socket: WebSocket, name: FromPath[str]
    ) -> AsyncGenerator[None]:
        async with lifecycle(socket):
            if name in members:
                raise WebSocketException(
                    detail=f"{name} is here already", code=CloseCode.FORBIDDEN
                )
            members[name] = socket
            announce()
            try:
                yield
            finally:
                del members[name]
                announce()

    @websocket_listener(
        "/chat/{name:str}",
        connection_lifespan=membership,
        dto=DataclassDTO[Say],
    )
    async def chat(data: Say, name: FromPath[str]) -> None:
        for member in list(members.values()):
            with suppress(WebSocketDisconnect):
                await member.send_json({"from": name, "text": data.text})

    @websocket("/here")
    async def here(socket: WebSocket) -> None:
        async with lifecycle(socket):
            await push(socket, names(), socket.send_json)

    return Litestar([chat, here])
