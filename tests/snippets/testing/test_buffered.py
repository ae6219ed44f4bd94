"""A connection in process takes so much, and then the app's send waits."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
from litestar import Litestar, WebSocket, websocket
from litestar.params import FromPath

from snippets.testing.buffered import Buffered, buffered
from snippets.testing.client import ASGIApp, Closed, Refused
from snippets.testing.in_process import connect
from snippets.testing.lifespan import lifespan

SOON = 0.05
"""A time-out that is meant to pass, and nothing has to happen before it."""

Socket = WebSocket[Any, Any, Any]
Handler = Callable[[Socket], Awaitable[None]]


class Mistake(Exception):
    """What goes wrong in these tests."""


def app_of(handler: Handler) -> ASGIApp:
    """Make an app of one handler, with nothing between it and the client."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await handler(WebSocket(scope, receive, send))

    return app


async def put(socket: Socket, kind: str, **fields: Any) -> None:
    """Send an ASGI message as it is."""
    message: Any = {"type": f"websocket.{kind}", **fields}
    await socket.send(message)


class Talker:
    """An app that sends without an end, and notes how far it came."""

    def __init__(self, size: int = 100) -> None:
        self.size = size
        self.sent = 0
        self.ended_by = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        socket = Socket(scope, receive, send)
        await socket.accept()
        try:
            while True:
                await socket.send_bytes(bytes(self.size))
                self.sent += 1
        except OSError as error:
            self.ended_by = str(error)
            raise


async def echo(socket: Socket) -> None:
    await socket.accept()
    while (message := await socket.receive())["type"] == "websocket.receive":
        answer: Any = {**message, "type": "websocket.send"}
        await socket.send(answer)


def tasks() -> set[asyncio.Task[Any]]:
    """List what runs in this loop, but for the test runner's own tasks."""
    return {
        task
        for task in asyncio.all_tasks()
        if "TestRunner" not in repr(task.get_coro())
    }


@pytest.fixture(autouse=True)
async def nothing_is_left(anyio_backend: str) -> AsyncGenerator[None]:
    before = tasks()
    yield
    if late := tasks() - before:
        _, left = await asyncio.wait(late, timeout=5)
        assert left == set()


# -- how much is taken -------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "buffer", "taken"), [(100, 1000, 10), (300, 1000, 4), (9, 1, 1)]
)
async def test_messages_are_taken_until_the_buffer_is_full(
    size: int, buffer: int, taken: int
):
    app = Talker(size)
    async with buffered(app, buffer=buffer) as client:
        await client.full()
        assert app.sent == taken
        assert client.taken == client.held == taken * size


async def test_sixty_four_kibibytes_are_taken_unless_you_say_so():
    async with buffered(Talker(1024)) as client:
        await client.full()
        assert client.taken == 64 * 1024


async def test_text_counts_as_it_is_on_the_wire():
    async def handler(socket: Socket) -> None:
        await socket.accept()
        await put(socket, "send", text="größe", bytes=None)
        await put(socket, "send", text="")
        await put(socket, "send", bytes=b"12")
        await socket.receive()

    async with buffered(app_of(handler), buffer=9) as client:
        await client.send("now there is time to send")
        assert [await client.receive() for _ in "abc"] == ["größe", "", b"12"]
        assert client.taken == 9
        assert client.held == 0


async def test_reading_makes_room():
    app = Talker()
    async with buffered(app, buffer=1000) as client:
        await client.full()
        await client.receive()
        await client.full()
        assert app.sent == 11
        assert client.taken == 1100
        assert client.held == 1000


async def test_each_sender_that_waits_looks_again():
    sent = []

    async def handler(socket: Socket) -> None:
        async def send(number: int) -> None:
            await socket.send_bytes(bytes(100))
            sent.append(number)

        await socket.accept()
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(send(number))

    async with buffered(app_of(handler), buffer=200) as client:
        await client.full()
        assert sent == [0, 1]
        await client.receive()
        await client.full()
        assert len(sent) == 3
        assert [len(m) for m in await client.resume()] == [100] * 4


async def test_a_close_waits_too():
    heard = []

    async def listen(socket: Socket) -> None:
        message: Any = await socket.receive()
        heard.append(message["code"])

    async def handler(socket: Socket) -> None:
        await socket.accept()
        await socket.send_bytes(bytes(100))
        async with asyncio.TaskGroup() as group:
            group.create_task(listen(socket))
            await socket.close(4000, "enough")

    async with buffered(app_of(handler), buffer=100) as client:
        await client.full()
        assert heard == []
        assert await client.resume() == [bytes(100)]
        assert str(client.closed) == "4000 'enough'"
    assert heard == [4000]


async def test_full_has_a_time_out():
    async with buffered(app_of(echo)) as client:
        client.timeout = SOON
        with pytest.raises(TimeoutError, match="waiting to be full"):
            await client.full()


async def test_resume_has_a_time_out_if_the_connection_stays_open():
    async with buffered(app_of(echo)) as client:
        client.timeout = SOON
        with pytest.raises(TimeoutError, match="waiting for a message"):
            await client.resume()


# -- its end -----------------------------------------------------------------


async def test_who_waits_in_send_gets_an_oserror_when_the_block_ends():
    app = Talker()
    async with buffered(app, buffer=1000) as client:
        await client.full()
    assert app.sent == 10
    assert app.ended_by == "the client has gone"
    assert str(client.closed) == "1006"


async def test_so_it_does_when_the_block_fails():
    app = Talker()

    async def fail() -> None:
        async with buffered(app, buffer=1000) as client:
            await client.full()
            raise Mistake

    with pytest.raises(Mistake):
        await fail()
    assert app.ended_by == "the client has gone"


async def test_so_it_does_when_the_block_is_cancelled():
    app = Talker()
    full = asyncio.Event()

    async def stall() -> None:
        async with buffered(app, buffer=1000) as client:
            await client.full()
            full.set()
            await asyncio.Event().wait()

    stalling = asyncio.create_task(stall())
    await full.wait()
    stalling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stalling
    assert app.ended_by == "the client has gone"


async def test_another_handler_that_waits_is_freed_too():
    """As in the manager that everyone copies."""
    everyone: list[Socket] = []
    errors = []

    async def handler(socket: Socket) -> None:
        await socket.accept()
        everyone.append(socket)
        async for text in socket.iter_data("text"):
            for one in everyone:
                try:
                    await one.send_text(text)
                except OSError as error:
                    errors.append(type(error).__mro__[1])

    app = app_of(handler)
    async with buffered(app, buffer=10) as stalled, connect(app) as ws:
        await ws.send("0123456789")
        assert await ws.receive() == "0123456789"
        await ws.send("next")
        await stalled.full()
        stalled.vanish()
        assert await ws.receive() == "next"
    assert errors == [OSError]


async def test_vanishing_says_nothing_and_is_heard():
    heard = []

    async def handler(socket: Socket) -> None:
        await socket.accept()
        heard.append(await socket.receive())
        heard.append(await socket.receive())

    async with buffered(app_of(handler)) as client:
        await client.send(b"last words")
        client.vanish()
        client.vanish()
        with pytest.raises(Closed, match="1006"):
            await client.send("more")
    last, left = heard
    assert last["bytes"] == b"last words"
    assert left["type"] == "websocket.disconnect"
    assert left["code"] == 1005


async def test_closing_is_heard_with_its_code():
    heard = []

    async def handler(socket: Socket) -> None:
        await socket.accept()
        heard.append(await socket.receive())

    async with buffered(app_of(handler)) as client:
        await client.close(4001, "bye")
        assert str(client.closed) == "4001 'bye'"
    (left,) = heard
    assert (left["code"], left["reason"]) == (4001, "bye")


async def test_what_the_app_closed_is_closed():
    async def handler(socket: Socket) -> None:
        await socket.accept()
        await socket.close(4000)

    for act in (lambda c: c.send("late"), Buffered.receive):
        async with buffered(app_of(handler)) as client:
            with pytest.raises(Closed, match="4000"):
                await act(client)
    async with buffered(app_of(handler)) as client:
        await client.close()
        assert str(client.closed) == "4000"


async def test_an_app_that_ends_without_closing_loses_the_connection():
    async with buffered(app_of(Socket.accept)) as client:
        assert await client.resume() == []
        assert str(client.closed) == "1006"


async def test_what_left_the_app_is_raised_after_the_block():
    async def handler(socket: Socket) -> None:
        await socket.accept()
        raise Mistake("as planned")

    with pytest.raises(Mistake, match="as planned"):
        async with buffered(app_of(handler)) as client:
            await client.resume()


async def test_it_is_the_cause_of_what_ended_the_block():
    async def handler(socket: Socket) -> None:
        await socket.accept()
        raise Mistake

    with pytest.raises(Closed) as caught:
        async with buffered(app_of(handler)) as client:
            await client.receive()
    assert isinstance(caught.value.__cause__, Mistake)


async def test_a_handler_that_goes_on_is_cancelled_and_named():
    async def handler(socket: Socket) -> None:
        await socket.accept()
        await asyncio.Event().wait()

    message = "still running 0.05 s after the client had left"
    with pytest.raises(TimeoutError, match=message):
        async with buffered(app_of(handler), timeout=SOON):
            pass


async def test_a_block_that_is_cancelled_at_once_leaves_nothing_behind():
    begun, ended = [], []

    @websocket("/")
    async def root(socket: WebSocket) -> None:
        begun.append(socket)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(socket)

    app = Litestar([root])

    async def open_it() -> None:
        async with buffered(app, timeout=SOON):
            pass

    async with lifespan(app):
        for turns in range(5):
            opening = asyncio.create_task(open_it())
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            assert begun == ended
    assert begun


# -- the handshake -----------------------------------------------------------


async def test_what_is_asked_for_arrives_and_the_answer_comes_back():
    seen: list[object] = []

    async def handler(socket: Socket) -> None:
        scope: Any = socket.scope
        seen.extend((scope["path"], scope["query_string"]))
        seen.extend((scope["subprotocols"], socket.headers["authorization"]))
        seen.append(socket.headers["sec-websocket-protocol"])
        await socket.accept("b", {"x-said": "yes"})

    async with buffered(
        app_of(handler),
        "/größe?a=1",
        headers={"Authorization": "me"},
        subprotocols=["a", "b"],
    ) as client:
        assert client.subprotocol == "b"
        assert client.headers["x-said"] == "yes"
    assert seen == ["/größe", b"a=1", ["a", "b"], "me", "a, b"]


async def test_litestar_knows_nothing_is_missing():
    @websocket("/room/{name:str}")
    async def room(socket: WebSocket, name: FromPath[str]) -> None:
        await socket.accept()
        host = socket.client.host if socket.client else ""
        await socket.send_text(f"{name} {host} {socket.url}")

    async with buffered(Litestar([room]), "/room/a") as client:
        assert await client.receive() == "a 127.0.0.1 ws://testserver/room/a"


async def test_the_lifespan_is_that_of_connect():
    starts = []
    app = Litestar(on_startup=[lambda: starts.append(1)])

    @websocket("/")
    async def root(socket: WebSocket) -> None:
        await socket.accept()

    app.register(root)
    async with connect(app), buffered(app):
        assert starts == [1]


async def test_a_close_before_accepting_refuses():
    async def handler(socket: Socket) -> None:
        await socket.close(4003, "not you")

    with pytest.raises(Refused) as caught:
        async with buffered(app_of(handler)):
            pass
    assert (caught.value.status, caught.value.code) == (403, 4003)
    assert caught.value.reason == "not you"


async def test_a_denial_refuses():
    async def handler(socket: Socket) -> None:
        await put(socket, "http.response.start", status=401, headers=[])
        await put(socket, "http.response.body", body=b"log ", more_body=True)
        await put(socket, "http.response.body", body=b"in")

    with pytest.raises(Refused, match="HTTP 401 'log in'"):
        async with buffered(app_of(handler)):
            pass


async def test_an_error_before_accepting_refuses():
    async def handler(socket: Socket) -> None:
        raise Mistake

    with pytest.raises(Refused, match="HTTP 500") as caught:
        async with buffered(app_of(handler)):
            pass
    assert isinstance(caught.value.__cause__, Mistake)


async def begin_a_denial(socket: Socket) -> None:
    await put(socket, "http.response.start", status=401, headers=[])
    await asyncio.Event().wait()


async def do_nothing(socket: Socket) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("handler", [begin_a_denial, do_nothing])
async def test_a_handshake_without_an_answer_has_a_time_out(handler: Handler):
    message = "/x: the app neither accepted nor refused within 0.05 s"
    with pytest.raises(TimeoutError, match=message):
        async with buffered(app_of(handler), "/x", timeout=SOON):
            pass
