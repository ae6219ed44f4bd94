"""push() sends, notices, cleans up and tells the truth about errors."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest
from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from websockets.asyncio.client import connect as open_connection

from snippets.lifecycle import lifecycle
from snippets.streams import push
from snippets.testing.client import Client
from snippets.testing.in_process import connect
from snippets.testing.server import serve

PATIENCE = 5


class Kettle:
    """A stream that knows whether it was put away."""

    def __init__(self, *items: str, then: Exception | None = None) -> None:
        self.items = items
        self.then = then
        self.waiting = asyncio.Event()
        self.put_away = asyncio.Event()

    async def stream(self) -> AsyncGenerator[str, None]:
        try:
            for item in self.items:
                yield item
            if self.then is not None:
                raise self.then
            self.waiting.set()
            await asyncio.Event().wait()
        finally:
            for _ in range(10):  # clean-up takes its time
                await asyncio.sleep(0)
            self.put_away.set()


async def test_a_leave_that_is_noticed_twice_does_not_disturb_the_finally():
    # Sending fails first, and while the generator is being closed, receiving
    # tells of the same leave.
    kettle, failed = Kettle("tea"), asyncio.Event()

    async def send(_: str) -> None:
        failed.set()
        raise WebSocketDisconnect(detail="gone")

    class Leaving:
        async def receive(self) -> dict[str, Any]:
            await failed.wait()
            return {"type": "websocket.disconnect", "code": 1006}

    socket: Any = Leaving()
    async with asyncio.timeout(PATIENCE):
        await push(socket, kettle.stream(), send)
    assert kettle.put_away.is_set()


def create_app(kettle: Kettle) -> Litestar:
    @websocket("/")
    async def watch(socket: WebSocket) -> None:
        async with lifecycle(socket):
            await push(socket, kettle.stream(), socket.send_text)

    return Litestar([watch])


@asynccontextmanager
async def in_process(app: Litestar) -> AsyncGenerator[Client]:
    async with connect(app) as client:
        yield client


@asynccontextmanager
async def on_the_wire(app: Litestar) -> AsyncGenerator[Client]:
    async with serve(app) as server, server.connect() as client:
        yield client
    assert server.log == []


Opened = Callable[[Litestar], AbstractAsyncContextManager[Client]]


@pytest.fixture(params=[in_process, on_the_wire])
def opened(request: pytest.FixtureRequest) -> Opened:
    return request.param


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        await event.wait()


async def test_it_sends_all_and_the_connection_ends_with_1000(
    opened: Opened,
) -> None:
    async def two() -> AsyncGenerator[str, None]:
        yield "tea"
        yield "coffee"

    @websocket("/")
    async def menu(socket: WebSocket) -> None:
        async with lifecycle(socket):
            await push(socket, two(), socket.send_text)

    async with opened(Litestar([menu])) as client:
        assert [item async for item in client] == ["tea", "coffee"]
        assert client.closed is not None
        assert client.closed.code == 1000


async def test_the_generator_cleans_up_when_the_client_leaves(
    opened: Opened,
) -> None:
    kettle = Kettle("20 °C")
    async with opened(create_app(kettle)) as client:
        assert await client.receive() == "20 °C"
        await soon(kettle.waiting)
        assert not kettle.put_away.is_set()
    await soon(kettle.put_away)


async def test_the_generator_cleans_up_when_the_line_goes_dead() -> None:
    kettle = Kettle("20 °C")
    async with (
        serve(create_app(kettle)) as server,
        open_connection(server.url) as client,
    ):
        await client.recv()
        client.transport.abort()  # no close frame
        await soon(kettle.put_away)
    assert server.log == []


async def test_an_exception_keeps_its_code_and_words(opened: Opened) -> None:
    dry = WebSocketException(detail="no more tea", code=4001)
    kettle = Kettle("tea", then=dry)
    async with opened(create_app(kettle)) as client:
        assert [item async for item in client] == ["tea"]
        assert client.closed is not None
        assert (client.closed.code, client.closed.reason) == (
            4001,
            "no more tea",
        )
    assert kettle.put_away.is_set()


async def test_an_error_of_the_generator_is_not_taken_for_a_goodbye(
    opened: Opened,
) -> None:
    kettle = Kettle(then=FileNotFoundError("kettle"))
    async with opened(create_app(kettle)) as client:
        assert [item async for item in client] == []
        assert client.closed is not None
        assert client.closed.code == 1011


async def test_what_the_client_says_is_dropped_and_the_stream_goes_on(
    opened: Opened,
) -> None:
    kettle = Kettle("20 °C", "21 °C")
    async with opened(create_app(kettle)) as client:
        await client.send("stop!")
        assert [await client.receive(), await client.receive()] == [
            "20 °C",
            "21 °C",
        ]


def by_hand(
    receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]
) -> WebSocket:
    socket: WebSocket = WebSocket(
        {"type": "websocket", "path": "/", "headers": []},  # ty: ignore[invalid-argument-type]
        receive,
        send,
    )
    socket.connection_state = "connect"
    return socket


async def test_a_client_that_stops_reading_and_goes_is_noticed() -> None:
    """The generator stands at its `yield` here, where nothing cancels it."""
    kettle = Kettle("20 °C", "21 °C")
    blocked, gone = asyncio.Event(), asyncio.Event()

    async def send(_: object) -> None:
        blocked.set()
        await asyncio.Event().wait()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "websocket.disconnect", "code": 1006}

    socket = by_hand(receive, send)
    pushing = asyncio.create_task(
        push(socket, kettle.stream(), socket.send_text)
    )
    await soon(blocked)
    gone.set()
    await asyncio.wait_for(pushing, PATIENCE)
    assert kettle.put_away.is_set()


@pytest.mark.parametrize("failure", [OSError("no file"), ValueError("no")])
async def test_a_send_that_fails_is_raised(failure: Exception) -> None:
    kettle = Kettle("20 °C")

    async def fail(_: object) -> None:
        raise failure

    async def send(_: object) -> None: ...

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    socket = by_hand(receive, send)
    with pytest.raises(type(failure)):
        await push(socket, kettle.stream(), fail)
    assert kettle.put_away.is_set()


async def test_a_send_to_a_client_that_has_gone_ends_it_quietly() -> None:
    kettle = Kettle("20 °C")

    async def send(_: object) -> None:
        raise WebSocketDisconnect(detail="gone")

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    socket = by_hand(receive, send)
    async with asyncio.timeout(PATIENCE):
        await push(socket, kettle.stream(), socket.send_text)
    assert kettle.put_away.is_set()


async def test_a_connection_that_is_gone_already_ends_it_at_once() -> None:
    kettle = Kettle()

    async def never(*_: object) -> None:
        raise AssertionError

    socket = by_hand(never, never)
    socket.connection_state = "disconnect"
    async with asyncio.timeout(PATIENCE):
        await push(socket, kettle.stream(), socket.send_text)


async def test_a_failure_to_receive_is_raised() -> None:
    async def receive() -> dict[str, Any]:
        raise RuntimeError("receive is broken")

    async def send(_: object) -> None: ...

    socket = by_hand(receive, send)
    with pytest.raises(RuntimeError, match="receive is broken"):
        await push(socket, Kettle().stream(), socket.send_text)


async def test_cancelled_from_outside_it_cleans_up_and_leaves_no_task() -> (
    None
):
    kettle = Kettle("20 °C")

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(_: object) -> None: ...

    before = asyncio.all_tasks()
    socket = by_hand(receive, send)
    pushing = asyncio.create_task(
        push(socket, kettle.stream(), socket.send_text)
    )
    await soon(kettle.waiting)
    pushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pushing
    assert kettle.put_away.is_set()
    assert asyncio.all_tasks() == before


async def waits_for_nothing() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def says_nothing(_: object) -> None: ...


async def test_a_scope_that_cancels_on_and_on_does_not_cut_the_clean_up() -> (
    None
):
    kettle = Kettle("20 °C")
    socket = by_hand(waits_for_nothing, says_nothing)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(push, socket, kettle.stream(), socket.send_text)
            await soon(kettle.waiting)
            scope.cancel()
    assert kettle.put_away.is_set()


async def test_a_stream_that_waits_for_a_cancelled_task_is_an_error() -> None:
    async def confused() -> AsyncGenerator[str, None]:
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task
        yield "never"

    socket = by_hand(waits_for_nothing, says_nothing)
    with pytest.raises(RuntimeError, match="was cancelled"):
        await push(socket, confused(), socket.send_text)


async def test_a_clean_up_that_fails_is_told() -> None:
    waiting = asyncio.Event()

    async def clumsy() -> AsyncGenerator[str, None]:
        try:
            waiting.set()
            await asyncio.Event().wait()
            yield "never"
        finally:
            raise ValueError("dropped it")

    socket = by_hand(waits_for_nothing, says_nothing)
    pushing = asyncio.create_task(push(socket, clumsy(), socket.send_text))
    await soon(waiting)
    pushing.cancel()
    with pytest.raises(ValueError, match="dropped it"):
        await pushing
