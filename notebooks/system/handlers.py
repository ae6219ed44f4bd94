"""The chat after chapter 1: one room, everyone hears everyone.

It holds while every client keeps reading: one that does not stops them all.
"""

from contextlib import suppress

from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath

from snippets.closing import CloseCode, close


def create_app() -> Litestar:
    """Make the chat, with a room of its own."""
    members: dict[str, WebSocket] = {}

    @websocket("/chat/{name:str}")
    async def chat(socket: WebSocket, name: FromPath[str]) -> None:
        await socket.accept()
        if name in members:
            await close(socket, CloseCode.FORBIDDEN, f"{name} is here already")
            return
        members[name] = socket
        try:
            async for text in socket.iter_data(mode="text"):
                for member in list(members.values()):
                    with suppress(WebSocketDisconnect, OSError):
                        await member.send_text(f"{name}: {text}")
        finally:
            del members[name]

    return Litestar([chat])
