"""What is said about pushing and receiving at once."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from litestar import Litestar, WebSocket, websocket, websocket_listener
from litestar.exceptions import WebSocketDisconnect
from litestar.handlers import send_websocket_stream

from snippets.lifecycle import lifecycle
from snippets.streams import Latest, pushing
from snippets.testing import connect
from snippets.testing.server import serve

from .conftest import ticks, turns

Socket = WebSocket[Any, Any, Any]
PATIENCE = 5
"""How long to wait for what should come, in seconds."""


async def silence() -> AsyncGenerator[str, None]:
    """Have something to say once, and then nothing for ever."""
    yield "tick"
    await asyncio.Event().wait()


async def errors_when_the_client_leaves(handler: Any) -> list[Exception]:
    """Connect, hear one message, leave, and tell what the app raised."""
    errors = []

    async def note(error: Exception, scope: Any) -> None:
        errors.append(error)

    async with connect(Litestar([handler], after_exception=[note])) as client:
        await client.send_json("hello")
        await client.receive()
    return errors


async def test_except_websocket_disconnect_around_a_task_group_is_dead_code():
    """Litestar's docs: `except WebSocketDisconnect` ends push and receive
    → false: what leaves a task group is an `ExceptionGroup`.
    """
    caught: list[str] = []

    async def receive(socket: Socket) -> None:
        async for _ in socket.iter_json():
            pass

    @websocket("/")
    async def wrong(socket: Socket) -> None:
        await socket.accept()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(send_websocket_stream, socket, ticks())
                group.start_soon(receive, socket)
        except WebSocketDisconnect:
            caught.append("caught")

    @websocket("/")
    async def right(socket: Socket) -> None:
        await socket.accept()

        async def push() -> None:
            try:
                await send_websocket_stream(socket, ticks(), close=False)
            except (WebSocketDisconnect, OSError):
                caught.append("where it is raised")

        async with anyio.create_task_group() as group:
            group.start_soon(push)
            await receive(socket)
            group.cancel_scope.cancel()

    errors: list[Exception] = []
    async with asyncio.timeout(30):
        while not errors:  # the two race to notice it; one order is harmless
            errors = await errors_when_the_client_leaves(wrong)
    (error,) = errors
    assert isinstance(error, ExceptionGroup)
    assert caught == []
    assert await errors_when_the_client_leaves(right) == []


async def test_a_lifespan_does_not_raise_the_disconnect_again():
    """A lifespan raises the `WebSocketDisconnect` that it caught again
    → false: then every goodbye is an error; end there instead.
    """

    def pushing(*, again: bool):
        @asynccontextmanager
        async def lifespan(socket: Socket) -> AsyncGenerator[None]:
            async def push() -> None:
                with suppress(WebSocketDisconnect, OSError):
                    await send_websocket_stream(socket, ticks(), close=False)

            await socket.accept()
            async with anyio.create_task_group() as group:
                group.start_soon(push)
                try:
                    yield
                except WebSocketDisconnect:
                    if again:
                        raise
                finally:
                    group.cancel_scope.cancel()

        @websocket_listener("/", connection_lifespan=lifespan)
        async def listen(data: str) -> None: ...

        return listen

    (error,) = await errors_when_the_client_leaves(pushing(again=True))
    assert isinstance(error, ExceptionGroup)
    assert await errors_when_the_client_leaves(pushing(again=False)) == []


@pytest.mark.xfail(reason="litestar #4106: closed", raises=AssertionError)
async def test_the_documented_way_to_stream_and_listen_ends_cleanly():
    """Litestar's docs: a lifespan that streams ends by setting an event
    → false: the stream sends once more, and every goodbye is an error.
    """

    @asynccontextmanager
    async def lifespan(socket: Socket) -> AsyncGenerator[None]:
        gone = anyio.Event()

        async def ticks_until_gone() -> AsyncGenerator[str, None]:
            while not gone.is_set():
                await anyio.sleep(0.001)
                yield "tick"

        async with anyio.create_task_group() as group:
            group.start_soon(send_websocket_stream, socket, ticks_until_gone())
            try:
                yield
            except WebSocketDisconnect:
                pass
            finally:
                gone.set()

    @websocket_listener("/", connection_lifespan=lifespan)
    async def listen(data: str) -> None: ...

    for _ in range(20):  # who notices the leave first is a race
        assert await errors_when_the_client_leaves(listen) == []


async def test_a_stream_that_is_silent_ends_when_its_client_has_gone():
    """A stream beside a receive loop ends soon after the client has left
    → half true: when it sends the next time; without news, never.
    """

    @websocket("/")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        async with anyio.create_task_group() as group:
            group.start_soon(send_websocket_stream, socket, silence())
            async for _ in socket.iter_data("text"):
                pass

    with pytest.raises(TimeoutError, match="handler was still running"):
        async with connect(Litestar([chat]), timeout=1) as client:
            await client.receive()


async def test_a_stream_may_listen_beside_a_receive_loop():
    """`listen_for_disconnect=True` makes push and receive end together
    → false: there are two readers then, and each gets a part of the messages.
    """
    heard: list[str] = []

    @websocket("/")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        async with anyio.create_task_group() as group:

            async def push() -> None:
                await send_websocket_stream(
                    socket,
                    silence(),
                    close=False,
                    listen_for_disconnect=True,
                    warn_on_data_discard=False,
                )

            group.start_soon(push)
            heard.extend([text async for text in socket.iter_data("text")])
            group.cancel_scope.cancel()

    async with connect(Litestar([chat])) as client:
        await client.receive()
        for number in range(6):
            await client.send(f"{number}")
    assert 0 < len(heard) < 6


async def test_two_tasks_may_send_on_one_connection():
    """Two tasks must not send on one connection at the same time
    → false: messages stay whole; only the order between the tasks is open.
    """
    size = 1_000_000

    @websocket("/")
    async def chat(socket: Socket) -> None:
        async def many(letter: str) -> AsyncGenerator[str, None]:
            for _ in range(5):
                yield letter * size

        async with (
            lifecycle(socket),
            pushing(many("a"), socket.send_text),
            pushing(many("b"), socket.send_text),
        ):
            await socket.receive_text()

    async with serve(Litestar([chat])) as server, server.connect() as client:
        heard = [str(await client.receive()) for _ in range(10)]
        await client.send("enough")
    assert sorted(heard) == ["a" * size] * 5 + ["b" * size] * 5


async def test_receiving_with_a_time_out_loses_nothing():
    """`asyncio.wait_for(socket.receive_text(), t)` in a loop loses messages
    → false: what is cancelled is the wait, not a message that has come.
    """
    heard: list[str] = []

    @websocket("/")
    async def chat(socket: Socket) -> None:
        async with lifecycle(socket):
            while len(heard) < 30:
                with suppress(TimeoutError):
                    heard.append(
                        await asyncio.wait_for(socket.receive_text(), 0.001)
                    )

    async with serve(Litestar([chat])) as server, server.connect() as client:
        for number in range(30):
            await client.send(f"{number}")
            # Some come just when a wait is given up.
            await asyncio.sleep(0.001 * (number % 3))
        assert [message async for message in client] == []
    assert heard == [f"{number}" for number in range(30)]


async def test_set_and_clear_tells_everybody():
    """`event.set(); event.clear()` tells every stream that waits for it
    → half true: not one that is still sending; it never hears of it.
    """
    changed = asyncio.Event()

    async def values() -> AsyncGenerator[int, None]:
        while True:
            yield 1
            await changed.wait()

    def set_and_clear() -> None:
        changed.set()
        changed.clear()

    async def hears_of_a_change_while_sending(
        changes: AsyncGenerator[int, None], change: Callable[[], None]
    ) -> bool:
        async with aclosing(changes):
            await anext(changes)
            change()
            following = asyncio.ensure_future(anext(changes))
            heard, _ = await asyncio.wait([following], timeout=0.05)
            following.cancel()
            await asyncio.wait([following])
            return bool(heard)

    newest = Latest(1)
    right = newest.changes(), lambda: newest.set(2)
    assert not await hears_of_a_change_while_sending(values(), set_and_clear)
    assert await hears_of_a_change_while_sending(*right)


async def test_conflation_skips_all_that_a_slow_reader_has_missed():
    """With conflation a slow reader gets the newest and nothing older
    → half true: what is in the buffers, some megabytes, comes before it.
    """
    size, count = 1_000_000, 40
    newest = Latest("0")

    @websocket("/")
    async def chat(socket: Socket) -> None:
        async def send(text: str) -> None:
            await socket.send_text(text.ljust(size))

        async with lifecycle(socket), pushing(newest.changes(), send):
            await socket.receive_text()

    app = Litestar([chat])
    async with (
        serve(app, ws_per_message_deflate=False) as server,
        server.connect() as client,
    ):
        for number in range(1, count + 1):
            newest.set(f"{number}")
            await turns(20)  # for the buffers to fill
        heard = [await client.receive()]
        while int(heard[-1]) != count:
            heard.append(await client.receive())
        await client.send("enough")
    assert 1 < len(heard) < count
