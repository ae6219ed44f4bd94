"""Where promises are proved: a chat on uvicorn, with both implementations.

The chat is made of the snippets, the way that they are meant to be put
together; what a test is about can be told to it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import pytest
from litestar import Litestar, websocket
from litestar.params import FromPath

from snippets import messages
from snippets.connections import Connection, ConnectionManager
from snippets.limits import Limited, limit_size, within
from snippets.rooms import People, Rooms
from snippets.serving import server_options
from snippets.sockets import MessageSocket
from snippets.testing.client import ASGIApp, Client
from snippets.testing.server import Server, serve

Serving = Callable[..., AbstractAsyncContextManager[Server]]


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is true of a server, of which no event tells.

    Raises:
        TimeoutError: It is not true after 5 seconds and more.
    """
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


@pytest.fixture(params=["websockets-sansio", "wsproto"])
def ws(request: pytest.FixtureRequest) -> str:
    """The implementation that uvicorn uses."""
    return request.param


@pytest.fixture
def serving(ws: str) -> Serving:
    """Like `serve()`, with the options that we prescribe."""

    def serving(
        app: ASGIApp, **options: Any
    ) -> AbstractAsyncContextManager[Server]:
        options = {
            **server_options(),
            "timeout_graceful_shutdown": 2,
        } | options
        return serve(app, ws=ws, **options)

    return serving


class Join(messages.ClientMessage, tag="join", frozen=True):
    room: str


class Leave(messages.ClientMessage, tag="leave", frozen=True):
    room: str


class Say(messages.ClientMessage, tag="say", frozen=True):
    room: str
    text: str


class Do(messages.ClientMessage, tag="do", frozen=True):
    """Has the server do what the test has told it."""

    number: messages.Number = 0


class Said(messages.ServerMessage, tag="said"):
    sender: str = msgspec.field(name="from")
    text: str


class Here(messages.ServerMessage, tag="here"):
    room: str
    come: list[str]
    left: list[str]


Request = Join | Leave | Say | Do


class ChatSocket(MessageSocket[Request]):
    """Sends by way of its connection, so that no answer overtakes another."""

    __slots__ = ("connection",)
    formats = limit_size(messages.formats("chat", Request))
    connection: Connection

    async def send_message(self, value: object) -> None:
        self.connection.send(value)


class Member:
    """What somebody with a connection may do."""

    def __init__(self, chat: "Chat", connection: Connection) -> None:
        self.chat, self.connection = chat, connection

    async def join(self, message: Join) -> None:
        await self.chat.rooms.join(self.connection, message.room)

    async def leave(self, message: Leave) -> None:
        self.chat.rooms.leave(self.connection, message.room)

    async def say(self, message: Say) -> None:
        said = Said(str(self.connection.user), message.text)
        self.chat.rooms.send(message.room, said, sender=self.connection)

    async def do(self, message: Do) -> None:
        await self.chat.do(self.connection, message.number)


answer = messages.dispatcher(Member, Request)


async def nothing(connection: Connection, number: float) -> None:
    pass


@dataclass
class Chat:
    """An app with rooms, for people whose name is in the path.

    Attributes:
        private: The names of rooms that nobody may join.
        do: What a `Do` has the server do.
        handler_time: How long that may take, in seconds.
        limits: The keywords of `Limited`.
        manager: All connections.
        connections: The latest connection of each, by name.
        ended: Set when a handler has ended, by the connection's name.
    """

    private: frozenset[str] = frozenset()
    do: Callable[[Connection, float], Awaitable[None]] = nothing
    handler_time: float = 5.0
    limits: dict[str, Any] = field(default_factory=lambda: {"rate": 1e6})
    manager: ConnectionManager = field(default_factory=ConnectionManager)

    def __post_init__(self) -> None:
        self.connections: dict[str, Connection] = {}
        self.ended: dict[str, asyncio.Event] = {}
        self.rooms = Rooms(self.manager, self.may_join, announce=self.announce)
        handler = websocket("/{name:str}", websocket_class=ChatSocket)
        self.app = Litestar(
            [handler(self.chat)], openapi_config=None, logging_config=None
        )

    async def may_join(self, connection: Connection, room: str) -> bool:
        return room not in self.private and not room.startswith("unknown")

    def announce(self, room: str, come: People, left: People) -> None:
        news = (sorted(map(str, people)) for people in (come, left))
        self.rooms.send(room, Here(room, *news))

    async def chat(self, socket: ChatSocket, name: FromPath[str]) -> None:
        ended = self.ended[name] = asyncio.Event()
        try:
            async with self.manager.connect(
                socket, user=name, format=socket.format
            ) as connection:
                socket.connection = self.connections[name] = connection
                answering = partial(answer, Member(self, connection))
                await messages.converse(
                    Limited(socket, **self.limits),
                    within(self.handler_time, answering),
                )
        finally:
            ended.set()


async def ask(client: Client, kind: str, **fields: Any) -> dict[str, Any]:
    """Send a message with a `ref`, and return its answer.

    What comes before the answer is dropped.
    """
    await client.send_json({"type": kind, "ref": "asked", **fields})
    return await answered(client, "asked")


async def answered(client: Client, ref: str | int) -> dict[str, Any]:
    """Wait for the answer to a message, and drop what comes before."""
    while (message := await client.receive_json()).get("ref") != ref:
        pass
    return message


async def heard(client: Client, count: int) -> list[str]:
    """Wait for so many messages that were said, and return their texts."""
    texts: list[str] = []
    while len(texts) < count:
        message = await client.receive_json()
        if message["type"] == "said":
            texts.append(message["text"])
    return texts


async def ending(client: Client) -> str:
    """Listen until the connection is closed, and tell how."""
    async for _ in client:
        pass
    return str(client.closed)
