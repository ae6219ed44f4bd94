"""Draw the pictures of pages that are not chapters, from real connections.

A page asks for one with a comment such as `<!-- frames: chat -->`. The scene
is played while the site is built, and the tap draws what it saw.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from jinja2 import Environment
from litestar import Litestar, WebSocket, websocket

from snippets.testing import Refused, Tap, connect

MARKER = re.compile(r"<!-- frames: (\w+) -->")


async def chat() -> Tap:
    """Two people in a room, until the server restarts."""
    members: list[WebSocket[Any, Any, Any]] = []

    @websocket("/chat")
    async def room(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        members.append(socket)
        async for message in socket.iter_data(mode="text"):
            for member in members:
                await member.send_text(message)
        members.remove(socket)

    tap = Tap(Litestar([room]), names=["Ada", "Grace"])
    async with connect(tap, "/chat") as ada, connect(tap, "/chat") as grace:
        await ada.send("Is anyone here?")
        for client in (ada, grace):
            await client.receive()
        await grace.send("I am.")
        for client in (ada, grace):
            await client.receive()
    return tap


async def lost() -> Tap:
    """Somebody asks for what is not there."""
    tap = Tap(Litestar([]), names=["you"])
    with suppress(Refused):
        async with connect(tap, "/this-page"):
            pass
    return tap


SCENES: dict[str, Callable[[], Coroutine[Any, Any, Tap]]] = {
    "chat": chat,
    "lost": lost,
}


def picture(name: str) -> str:
    """Play a scene, and return the drawing as HTML."""
    tap = asyncio.run(SCENES[name]())
    drawing = tap.diagram("Recorded while this page was built").html
    return f"<div data-search-exclude>{drawing}</div>"


def on_page_content(content: str, **_: object) -> str:
    """Put a picture where a page asks for one."""
    return MARKER.sub(lambda marker: picture(marker[1]), content)


def on_env(env: Environment, **_: object) -> None:
    """Let templates ask for one, too."""
    env.filters["frames"] = picture
