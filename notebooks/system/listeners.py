"""The chat after chapter 2: a listener with typed messages.

It holds while every client keeps reading: one that does not stops them all.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from litestar import Litestar, WebSocket, websocket_listener
from litestar.dto import DataclassDTO
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from litestar.params import FromPath

from snippets.closing import CloseCode
from snippets.lifecycle import lifecycle


@dataclass
class Say:
    """What a client sends."""

    text: str


def create_app() -> Litestar:
    """Make the chat, with a room of its own."""
    members: dict[str, WebSocket] = {}

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
            try:
                yield
            finally:
                del members[name]

    @websocket_listener(
        "/chat/{name:str}",
        connection_lifespan=membership,
        dto=DataclassDTO[Say],
    )
    async def chat(data: Say, name: FromPath[str]) -> None:
        for member in list(members.values()):
            with suppress(WebSocketDisconnect):
                await member.send_json({"from": name, "text": data.text})

    return Litestar([chat])
