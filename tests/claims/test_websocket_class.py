"""What is said about a WebSocket class of one's own, and about its state."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest
from litestar import (
    Controller,
    Litestar,
    Router,
    WebSocket,
    websocket,
    websocket_listener,
    websocket_stream,
)
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.exceptions import (
    LitestarDeprecationWarning,
    WebSocketException,
)
from litestar.handlers import WebsocketListener
from litestar.middleware import (
    AbstractAuthenticationMiddleware,
    AuthenticationResult,
    DefineMiddleware,
)

from snippets.lifecycle import lifecycle
from snippets.testing import Closed, connect
from snippets.testing.server import serve

from .conftest import ask, hear

Socket = WebSocket[Any, Any, Any]


class OfApp(Socket):
    """A class for an app, and one for each other layer."""


class OfRouter(Socket): ...


class OfController(Socket): ...


class OfHandler(Socket): ...


@websocket("/")
async def tell(socket: WebSocket) -> None:
    await socket.receive_text()
    await socket.send_text(type(socket).__name__)
    await socket.close()


async def told(app: Litestar, path: str) -> str | bytes:
    async with connect(app, path) as client:
        with suppress(Closed):  # a stream does not wait for it
            await client.send("which?")
        return await client.receive()


async def test_the_closest_class_is_used():
    """`websocket_class` goes on the app, a router, a controller or a handler
    → true: the closest one is used, also by listeners and streams.
    """

    class Cafe(Controller):
        path = "/controller"
        websocket_class = OfController

        @websocket("/")
        async def outer(self, socket: WebSocket) -> None:
            await tell.fn(socket)

        @websocket("/own", websocket_class=OfHandler)
        async def own(self, socket: WebSocket) -> None:
            await tell.fn(socket)

    class Listener(WebsocketListener):
        path = "/class"
        websocket_class = OfHandler

        async def on_receive(self, data: str, socket: WebSocket) -> str:
            return type(socket).__name__

    @websocket_listener("/listener")
    async def listener(data: str, socket: WebSocket) -> str:
        return type(socket).__name__

    @websocket_stream(
        "/stream", websocket_class=OfHandler, listen_for_disconnect=False
    )
    async def stream(socket: WebSocket) -> AsyncGenerator[str, None]:
        yield type(socket).__name__

    router = Router(
        "/router", route_handlers=[tell, Cafe], websocket_class=OfRouter
    )
    app = Litestar(
        [tell, router, Listener, listener, stream], websocket_class=OfApp
    )
    expected = {
        "/": "OfApp",
        "/listener": "OfApp",
        "/router": "OfRouter",
        "/router/controller": "OfController",
        "/router/controller/own": "OfHandler",
        "/class": "OfHandler",
        "/stream": "OfHandler",
    }
    assert {path: await told(app, path) for path in expected} == expected


async def test_an_annotation_does_not_choose_the_class():
    """`socket: MySocket` makes the socket a `MySocket`
    → false: it is a plain `WebSocket`; a warning says so that is not shown.
    """

    @websocket("/")
    async def annotated(socket: OfHandler) -> None:
        await tell.fn(socket)

    @websocket("/")
    async def contradicted(socket: OfHandler) -> None:
        await tell.fn(socket)

    contradicted.websocket_class = OfApp
    for handler, name in ((annotated, "WebSocket"), (contradicted, "OfApp")):
        says = "Reserved kwarg 'socket' declared as 'OfHandler'"
        with pytest.warns(LitestarDeprecationWarning, match=says):
            app = Litestar([handler])
        assert await told(app, "/") == name


async def test_a_socket_takes_no_attributes_of_your_own():
    """What belongs to a connection can be put on it: `socket.user_id = 7`
    → false: it has `__slots__`, and that is an AttributeError.
    """
    errors: list[str] = []

    @websocket("/")
    async def chat(socket: Any) -> None:
        await socket.accept()
        try:
            socket.user_id = 7
        except AttributeError as error:
            errors.append(str(error))
        await socket.close()

    chat.fn.__annotations__["socket"] = WebSocket
    await hear(Litestar([chat]))
    says = "'WebSocket' object has no attribute 'user_id'"
    assert len(errors) == 1
    assert errors[0].startswith(says)


async def test_a_subclass_takes_any_name():
    """A subclass of `WebSocket` takes attributes
    → true: any, also a misspelt one; with `__slots__` only those you name.
    """

    class Roomy(WebSocket): ...

    class Strict(WebSocket):
        __slots__ = ("user_id",)

    @websocket("/")
    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        for name in ("user_id", "usre_id"):
            try:
                setattr(socket, name, 7)
                await socket.send_text(name)
            except AttributeError:
                await socket.send_text("AttributeError")
        await socket.close()

    both = ["user_id", "usre_id"]
    one = ["user_id", "AttributeError"]
    for kind, names in ((Roomy, both), (Strict, one)):
        heard, _ = await hear(Litestar([chat], websocket_class=kind))
        assert heard == names


async def test_the_sockets_state_belongs_to_the_connection():
    """A value for one connection needs a class of one's own
    → false: `socket.state` is the connection's, and guards may set it.
    """

    async def guard(connection: ASGIConnection, handler: object) -> None:
        connection.state.name = connection.query_params["name"]

    @websocket_listener("/", guards=[guard])
    async def listen(data: str, socket: WebSocket) -> str:
        return socket.state.name

    async with (
        serve(Litestar([listen])) as server,
        server.connect("/?name=ada") as ada,
        server.connect("/?name=bob") as bob,
    ):
        await ada.send("who?")
        await bob.send("who?")
        assert await ada.receive() == "ada"
        assert await bob.receive() == "bob"


async def test_guard_dependency_and_handler_share_one_socket():
    """Guards and dependencies get a socket of their own
    → false: it is the very object that the handler gets.
    """
    seen: list[object] = []

    async def guard(connection: ASGIConnection, handler: object) -> None:
        seen.append(connection)

    async def dependency(socket: WebSocket) -> None:
        seen.append(socket)

    @websocket("/", guards=[guard], dependencies={"dependency": dependency})
    async def chat(
        socket: WebSocket, dependency: NamedDependency[None]
    ) -> None:
        seen.append(socket)
        await socket.accept()
        await socket.close()

    await hear(Litestar([chat], websocket_class=OfApp))
    assert len(seen) == 3
    assert len({id(socket) for socket in seen}) == 1
    assert isinstance(seen[0], OfApp)


async def test_authentication_sees_another_object():
    """An authentication middleware can put something on the socket
    → false: it gets another object; `user`, `auth` and `state` are shared.
    """
    seen: list[object] = []

    class Authentication(AbstractAuthenticationMiddleware):
        async def authenticate_request(
            self, connection: ASGIConnection
        ) -> AuthenticationResult:
            seen.append(connection)
            connection.state.plan = "gold"
            return AuthenticationResult(user="ada", auth="a ticket")

    @websocket("/", middleware=[DefineMiddleware(Authentication)])
    async def chat(socket: WebSocket) -> None:
        seen.append(socket)
        await socket.accept()
        await socket.send_json([socket.user, socket.auth, socket.state.plan])
        await socket.close()

    heard, _ = await hear(Litestar([chat], websocket_class=OfApp))
    assert heard == ['["ada","a ticket","gold"]']
    assert [type(each) for each in seen] == [ASGIConnection, OfApp]


class Noting(Socket):
    """Notes which of its methods are called."""

    __slots__ = ("called",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.called: list[str] = []

    async def accept(self, *args: Any, **kwargs: Any) -> None:
        self.called.append("accept")
        await super().accept(*args, **kwargs)

    async def close(self, *args: Any, **kwargs: Any) -> None:
        self.called.append("close")
        await super().close(*args, **kwargs)


async def test_a_listener_does_not_call_an_overridden_accept():
    """An overridden `accept()` is called for every connection
    → half true: not by a listener that is not told how to accept.
    """

    async def answer(data: str, socket: WebSocket) -> str:
        assert isinstance(socket, Noting)
        return ",".join(socket.called)

    async def accept(socket: Socket) -> None:
        await socket.accept()

    @websocket("/")
    async def by_itself(socket: WebSocket) -> None:
        assert isinstance(socket, Noting)
        await socket.send_json(socket.called)
        await socket.close()

    options: list[tuple[dict[str, Any], str]] = [
        ({}, ""),
        ({"connection_lifespan": lifecycle}, "accept"),
        ({"connection_accept_handler": accept}, "accept"),
    ]
    for given, called in options:
        listener = websocket_listener("/", websocket_class=Noting, **given)
        assert await ask(Litestar([listener(answer)]), "?") == [called]
    heard, _ = await hear(Litestar([by_itself], websocket_class=Noting))
    assert heard == ["[]"]  # when it was written; then it was accepted


async def test_a_listener_class_cannot_be_told_how_to_accept():
    """A listener class takes `connection_lifespan` like a function
    → false: not even as an attribute, so it accepts by Litestar's method.
    """

    class Listener(WebsocketListener):
        path = "/"
        websocket_class = Noting
        connection_lifespan = staticmethod(lifecycle)

        async def on_receive(self, data: str, socket: WebSocket) -> str:
            assert isinstance(socket, Noting)
            return ",".join(socket.called)

    assert await ask(Litestar([Listener]), "?") == [""]


async def test_a_stream_accepts_and_closes_by_the_class():
    """Litestar's own calls use the methods of your class
    → half true: a stream does, to accept and to close; not everything does.
    """
    sockets: list[Noting] = []

    @websocket_stream("/", websocket_class=Noting)
    async def stream(socket: Noting) -> AsyncGenerator[str, None]:
        sockets.append(socket)
        yield "tea"

    await hear(Litestar([stream]))
    assert sockets[0].called == ["accept", "close"]


async def test_an_exception_does_not_close_by_the_class():
    """An overridden `close()` sees every close
    → false: after an exception Litestar sends the frame without the socket.
    """
    sockets: list[Noting] = []

    @websocket("/", websocket_class=Noting)
    async def chat(socket: Noting) -> None:
        sockets.append(socket)
        await socket.accept()
        raise WebSocketException(detail="enough", code=4001)

    _, closed = await hear(Litestar([chat]))
    assert closed.code == 4001
    assert sockets[0].called == ["accept"]


async def test_an_overridden_receive_data_changes_what_is_received():
    """Overriding `receive_data()` changes all that is received
    → half true: `receive_*`, `iter_*` and listeners, but not `receive()`.
    """

    class Loud(WebSocket):
        async def receive_data(self, mode: Any) -> Any:
            return (await super().receive_data(mode)).upper()

    @websocket_listener("/listener")
    async def listener(data: str) -> str:
        return data

    @websocket("/handler")
    async def handler(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        async for text in socket.iter_data("text"):
            await socket.send_text(text)
            break
        event: Any = await socket.receive()
        await socket.send_text(event["text"])

    app = Litestar([listener, handler], websocket_class=Loud)
    assert await told(app, "/listener") == "WHICH?"
    async with connect(app, "/handler") as client:
        heard = []
        for _ in range(3):
            await client.send("tea")
            heard.append(await client.receive())
    assert heard == ["TEA", "TEA", "tea"]


async def test_a_class_attribute_is_shared_by_all_apps():
    """A set of members can be an attribute of the class
    → half true: all connections of all apps in the process share it.
    """

    class RoomSocket(Socket):
        members: set[Socket] = set()  # noqa: RUF012 - this is the claim

    def create_app() -> Litestar:
        @websocket("/", websocket_class=RoomSocket)
        async def count(socket: RoomSocket) -> None:
            await socket.accept()
            socket.members.add(socket)
            await socket.send_json(len(socket.members))
            await socket.receive()

        return Litestar([count])

    async with connect(create_app()) as ada, connect(create_app()) as bob:
        assert await ada.receive() == "1"
        assert await bob.receive() == "2"
