"""What is said about listeners, their data, their hooks and their classes."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from litestar import (
    Controller,
    Litestar,
    Router,
    WebSocket,
    websocket_listener,
)
from litestar.datastructures import State
from litestar.dto import DataclassDTO
from litestar.exceptions import (
    ImproperlyConfiguredException,
    LitestarDeprecationWarning,
    WebSocketDisconnect,
    WebSocketException,
)
from litestar.handlers import WebsocketListener

from snippets.testing import Closed, Refused, connect
from snippets.testing.server import serve

from .conftest import ask, hear

Socket = WebSocket[Any, Any, Any]


@dataclass
class Order:
    """What is ordered in these tests."""

    drink: str
    cups: int = 1


def noting(errors: list[str]):
    """Make a hook that notes what an app does not log."""

    async def note(error: Exception, scope: Any) -> None:
        errors.append(type(error).__name__)

    return note


async def test_a_listener_that_asks_for_websocket_refuses_everyone():
    """A listener may ask for its connection as `websocket`
    → false: that is taken for a query parameter, and nobody can connect.
    """

    @websocket_listener("/")
    async def wrong(data: str, websocket: Socket) -> str:
        return data

    @websocket_listener("/")
    async def right(data: str, socket: Socket) -> str:
        return data

    with pytest.warns(LitestarDeprecationWarning, match="'websocket'"):
        app = Litestar([wrong])
    with pytest.raises(Refused) as refused:
        await ask(app, "hello")
    assert "Missing required query parameter" in refused.value.reason
    assert await ask(Litestar([right]), "hello") == ["hello"]


async def test_without_a_dto_data_is_whatever_the_json_says():
    """Litestar's docs: data is converted according to the annotation
    → half true: to `str` or `bytes`; for all else it is JSON, unconverted.
    """

    @websocket_listener("/")
    async def order(data: Order) -> str:
        return type(data).__name__

    answers = await ask(Litestar([order]), '{"drink": "tea"}', '"tea"', "7")
    assert answers == ["dict", "str", "int"]


async def test_a_dto_checks():
    """Litestar's docs: JSON is parsed, but not validated
    → half true: a DTO validates, and closes with 4500 what does not fit.
    """

    @websocket_listener("/plain")
    async def plain(data: Order) -> str:
        return str(data)

    @websocket_listener("/dto", dto=DataclassDTO[Order])
    async def checked(data: Order) -> str:
        return str(data)

    app = Litestar([plain, checked])
    async with connect(app, "/plain") as client:
        await client.send("[]")
        assert await client.receive() == "[]"
    async with connect(app, "/dto") as client:
        await client.send('{"drink": "tea"}')
        assert await client.receive() == str(Order("tea"))
        await client.send('{"drink": 7}')
        with pytest.raises(Closed, match="4500 'Expected `str`"):
            await client.receive()


async def test_only_str_itself_means_text():
    """`data: str | None` takes plain text
    → false: only `str` and `bytes` themselves do; this expects JSON.
    """

    @websocket_listener("/")
    async def listen(data: str | None) -> str:
        return f"{data}"

    app = Litestar([listen])
    assert await ask(app, '"tea"', "null") == ["tea", "None"]
    with pytest.raises(Closed, match="4500 'JSON is malformed"):
        await ask(app, "a cup of tea")


@pytest.mark.xfail(reason="litestar #4104: closed", raises=AssertionError)
async def test_plain_text_to_a_json_listener_is_the_clients_mistake():
    """Text that is not JSON is answered as the client's mistake
    → false: it is 4500, the code for an error in the server.
    """

    @websocket_listener("/")
    async def listen(data: dict[str, str]) -> None: ...

    _, closed = await hear(Litestar([listen]), "tea")
    assert closed.code != 4500


async def test_a_str_without_a_return_annotation_is_json():
    """A returned `str` is sent as it is
    → half true: only if the annotation says `str`; else it is in quotes.
    """

    @websocket_listener("/")
    async def wrong(data: str):  # the wrong form
        return data

    @websocket_listener("/")
    async def right(data: str) -> str:
        return data

    assert await ask(Litestar([wrong]), "tea") == ['"tea"']
    assert await ask(Litestar([right]), "tea") == ["tea"]


async def test_returning_none_is_silent_only_if_it_is_all_that_returns():
    """A listener that returns `None` sends nothing
    → half true: with `-> None`; else it sends `null`, or fails for `str`.
    """

    @websocket_listener("/")
    async def never(data: str, socket: Socket) -> None:
        if data == "bye":
            await socket.send_text("by hand")

    @websocket_listener("/")
    async def json(data: str) -> dict[str, str] | None: ...

    @websocket_listener("/")
    async def text(data: str) -> str | None: ...

    async with connect(Litestar([never])) as client:
        await client.send("tea")
        await client.send("bye")
        assert await client.receive() == "by hand"
    assert await ask(Litestar([json]), "tea") == ["null"]
    with pytest.raises(Closed, match="4500"):
        await ask(Litestar([text]), "tea")


async def test_on_disconnect_is_skipped_when_on_accept_fails():
    """`on_disconnect` undoes what `on_accept` did
    → half true: not if `on_accept` raises; a lifespan has no such gap.
    """
    calls: list[str] = []

    async def arrive(socket: Socket) -> None:
        calls.append("accept")
        if socket.query_params:
            raise WebSocketException(detail="not you", code=4403)

    async def leave() -> None:
        calls.append("disconnect")

    @websocket_listener("/", on_accept=arrive, on_disconnect=leave)
    async def listen(data: str) -> None: ...

    app = Litestar([listen])
    async with connect(app):
        pass
    assert calls == ["accept", "disconnect"]
    async with connect(app, "/?name=eve") as client:
        assert [message async for message in client] == []
        assert str(client.closed) == "4403 'not you'"
    assert calls == ["accept", "disconnect", "accept"]


def test_a_lifespan_replaces_the_hooks():
    """`connection_lifespan` is given instead of the hooks
    → true: both together are refused.
    """

    @asynccontextmanager
    async def lifespan(socket: Socket) -> AsyncGenerator[None]:
        yield

    async def arrive() -> None: ...

    with pytest.raises(ImproperlyConfiguredException, match="connection hook"):
        websocket_listener("/", connection_lifespan=lifespan, on_accept=arrive)


async def test_connection_lifespan_is_one_callable():
    """`connection_lifespan` takes a list of context managers
    → false: it takes one function that makes one.
    """

    @asynccontextmanager
    async def lifespan(socket: Socket) -> AsyncGenerator[None]:
        await socket.accept()
        await socket.send_text("welcome")
        with pytest.raises(WebSocketDisconnect):
            yield

    async def listen(data: str) -> None: ...

    wrong = websocket_listener("/", connection_lifespan=[lifespan])
    # Python's own words, which change with its version.
    with pytest.raises((TypeError, ValueError), match=r"signature|'list'"):
        Litestar([wrong(listen)])

    right = websocket_listener("/", connection_lifespan=lifespan)
    async with connect(Litestar([right(listen)])) as client:
        assert await client.receive() == "welcome"


async def test_a_lifespan_has_to_catch_the_disconnect():
    """What follows the `yield` of a lifespan runs when the client leaves
    → half true: only in `finally` or `except`; the leaving is raised there.
    """
    ends: list[str] = []
    errors: list[str] = []

    @asynccontextmanager
    async def wrong(socket: Socket) -> AsyncGenerator[None]:
        await socket.accept()
        yield
        ends.append("wrong")

    @asynccontextmanager
    async def right(socket: Socket) -> AsyncGenerator[None]:
        await socket.accept()
        try:
            yield
        except WebSocketDisconnect:
            ends.append("right")

    async def listen(data: str) -> None: ...

    for lifespan in (wrong, right):
        listener = websocket_listener("/", connection_lifespan=lifespan)
        app = Litestar([listener(listen)], after_exception=[noting(errors)])
        async with connect(app):
            pass
    assert ends == ["right"]
    assert errors == ["WebSocketDisconnect"]


async def test_returning_after_close_is_an_error_in_the_server():
    """Litestar's docs: a listener ends with `socket.close()`, then returns
    → false: the return value is sent after the close; raise instead.
    """

    @websocket_listener("/close")
    async def closes(data: str, socket: Socket) -> str:
        await socket.close()
        return data

    @websocket_listener("/raise")
    async def raises(data: str) -> str:
        raise WebSocketException(detail="goodbye", code=1000)

    logs = []
    for path in ("/close", "/raise"):
        async with (
            serve(Litestar([closes, raises])) as server,
            server.connect(path) as client,
        ):
            await client.send("bye")
            assert [message async for message in client] == []
            assert str(client.closed).startswith("1000")
        logs.append("".join(server.log))
    assert "after sending 'websocket.close'" in logs[0]
    assert logs[1] == ""


async def test_messages_of_one_connection_are_handled_in_turn():
    """Messages are handled at the same time
    → half true: those of different connections; one connection's in turn.
    """
    gate = asyncio.Event()

    @websocket_listener("/")
    async def listen(data: str) -> str:
        if data == "wait":
            await gate.wait()
        return data

    app = Litestar([listen])
    async with connect(app) as ada, connect(app) as bob:
        await ada.send("wait")
        await ada.send("hurry")
        await bob.send("hello")
        assert await bob.receive() == "hello"
        gate.set()
        assert [await ada.receive(), await ada.receive()] == ["wait", "hurry"]


async def test_a_sync_listener_runs_in_a_thread():
    """`sync_to_thread=False` keeps a sync listener in the event loop
    → false: it runs in a thread in any case; the keyword goes into `opt`.
    """

    @websocket_listener("/", sync_to_thread=False)
    def listen(data: str) -> str:
        return str(threading.get_ident())

    answers = await ask(Litestar([listen]), "which thread?")
    assert answers != [str(threading.get_ident())]
    assert listen.opt == {"sync_to_thread": False}


# -- classes -----------------------------------------------------------------


def test_a_listener_class_takes_no_type_parameters():
    """A class derives from `WebsocketListener[str, str]`
    → false: it takes no type parameters.
    """
    with pytest.raises(TypeError, match="not subscriptable"):
        WebsocketListener[str, str]  # ty: ignore


async def test_a_listener_class_is_registered_as_a_class():
    """`Echo(path="/")` is registered, an instance of a listener class
    → false: the class itself is, and `path` is an attribute of it.
    """

    class Echo(WebsocketListener):
        path = "/"

        async def on_receive(self, data: str) -> str:
            return data

    for wrong in ({}, {"path": "/"}):
        with pytest.raises(TypeError):
            Echo(**wrong)  # ty: ignore
    assert await ask(Litestar([Echo]), "hello") == ["hello"]


async def test_the_instance_is_shared_by_all_connections():
    """`self` of a listener class belongs to one connection
    → false: there is one instance for all of them.
    """

    class Visits(WebsocketListener):
        path = "/"
        count = 0

        async def on_accept(self) -> None:
            self.count += 1

        async def on_receive(self, data: str) -> str:
            return str(self.count)

    app = Litestar([Visits])
    assert [await ask(app, "?"), await ask(app, "?")] == [["1"], ["2"]]


async def test_a_class_has_no_connection_lifespan():
    """A listener class has a `connection_lifespan`
    → false: such an attribute is ignored without a word.
    """

    class Echo(WebsocketListener):
        path = "/"
        connection_lifespan = "nobody looks at this"

        async def on_receive(self, data: str) -> str:
            return data

    assert await ask(Litestar([Echo]), "hello") == ["hello"]


# -- open upstream -----------------------------------------------------------


@pytest.mark.xfail(reason="litestar #4540: open", raises=Refused)
async def test_a_controller_with_a_listener_works_inside_a_router():
    """A controller's listener works where the controller does
    → false: if the controller is inside a router, nobody can connect.
    """

    class Chat(Controller):
        @websocket_listener("/")
        async def echo(self, data: str) -> str:
            return data

    assert await ask(Litestar([Chat]), "hello") == ["hello"]
    router = Router("/", route_handlers=[Chat])
    assert await ask(Litestar([router]), "hello") == ["hello"]


@pytest.mark.xfail(reason="no issue yet", raises=Closed)
async def test_a_listener_with_a_dto_can_be_registered_again():
    """A handler can be registered in more than one app
    → half true: not a function listener with a DTO; make it anew for each.
    """

    @websocket_listener("/", dto=DataclassDTO[Order])
    async def order(data: Order) -> str:
        return data.drink

    # Its DTO is found by the sum of the addresses of handler and app. That of
    # a second app may be the same, but not those of so many, all kept alive.
    apps = []
    for _ in range(20):
        apps.append(Litestar([order], openapi_config=None))
        route: Any = apps[-1].routes[0]
        handler = route.route_handler
        addresses = id(apps[-1]) + id(handler)
        assert handler.handler_id.endswith(f"::{addresses}")
        assert await ask(apps[-1], '{"drink": "tea"}') == ["tea"]


@pytest.mark.xfail(reason="litestar #3764: closed", raises=AssertionError)
async def test_state_in_a_listener_belongs_to_the_connection():
    """`state` in a listener belongs to its connection
    → false: it is the app's, and shared by all; use `socket.scope`.
    """

    async def arrive(socket: Socket, state: State) -> None:
        state.name = socket.query_params["name"]

    @websocket_listener("/", on_accept=arrive)
    async def listen(data: str, state: State) -> str:
        return state.name

    app = Litestar([listen])
    async with (
        connect(app, "/?name=ada") as ada,
        connect(app, "/?name=bob"),
    ):
        await ada.send("who am I?")
        assert await ada.receive() == "ada"
