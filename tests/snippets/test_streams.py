"""What is pushed is sent, cleaned up after, and true about its errors."""

import asyncio
import gc
import socket as sockets
import struct
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import (
    AbstractAsyncContextManager,
    aclosing,
    asynccontextmanager,
    suppress,
)
from types import NoneType
from typing import Any

import anyio
import pytest
from litestar import Litestar, WebSocket, websocket, websocket_listener
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from websockets.asyncio.client import connect as open_connection
from websockets.frames import Close, Frame, Opcode

from snippets.lifecycle import lifecycle
from snippets.streams import Latest, push, pushing
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


async def others() -> None:
    """Let all others have their turn, more often than anything here needs."""
    for _ in range(20):
        await asyncio.sleep(0)


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


# -- beside a block -----------------------------------------------------------


async def test_a_stream_runs_beside_what_is_received(opened: Opened) -> None:
    kettle = Kettle("20 °C", "21 °C")

    @websocket("/")
    async def watch(socket: WebSocket) -> None:
        async with (
            lifecycle(socket),
            pushing(kettle.stream(), socket.send_text),
        ):
            async for text in socket.iter_data("text"):
                await socket.send_text(text.upper())

    async with opened(Litestar([watch])) as client:
        assert [await client.receive() for _ in range(2)] == ["20 °C", "21 °C"]
        await client.send("tea?")
        assert await client.receive() == "TEA?"
        assert not kettle.put_away.is_set()
    await soon(kettle.put_away)


async def test_a_stream_runs_beside_a_listener(opened: Opened) -> None:
    kettle = Kettle("20 °C")
    left = asyncio.Event()

    @asynccontextmanager
    async def watched(socket: WebSocket) -> AsyncGenerator[None]:
        try:
            async with (
                lifecycle(socket),
                pushing(kettle.stream(), socket.send_text),
            ):
                yield
        finally:
            assert kettle.put_away.is_set()
            left.set()

    @websocket_listener("/", connection_lifespan=watched)
    async def shout(data: str) -> str:
        return data.upper()

    async with opened(Litestar([shout])) as client:
        assert await client.receive() == "20 °C"
        await client.send("tea?")
        assert await client.receive() == "TEA?"
    await soon(left)


class Spilled(Exception):
    """What goes wrong in these tests."""


async def end(kettle: Kettle) -> None:
    """Leave the block at its end."""


async def spill(kettle: Kettle) -> None:
    raise Spilled


async def be_told_of_the_leaving(kettle: Kettle) -> None:
    raise WebSocketDisconnect(detail="disconnect event")


async def be_cancelled(kettle: Kettle) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.Event().wait()


async def be_cut_on_and_on(kettle: Kettle) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("leave", "raised"),
    [
        (end, NoneType),
        (spill, Spilled),
        (be_told_of_the_leaving, WebSocketDisconnect),
        (be_cancelled, asyncio.CancelledError),
        (be_cut_on_and_on, NoneType),
    ],
)
@pytest.mark.parametrize("begun", [True, False])
async def test_however_the_block_is_left_the_generator_has_been_closed(
    leave: Callable[[Kettle], Awaitable[None]],
    raised: type[object],
    *,
    begun: bool,
) -> None:
    kettle = Kettle("20 °C")
    before = asyncio.all_tasks()

    async def hold() -> None:
        try:
            async with pushing(kettle.stream(), says_nothing):
                if begun:
                    await soon(kettle.waiting)
                await leave(kettle)
        finally:
            assert kettle.put_away.is_set()
            assert asyncio.all_tasks() - before == {asyncio.current_task()}

    task = asyncio.create_task(hold())
    (left,) = await asyncio.gather(task, return_exceptions=True)
    assert type(left) is raised


async def test_a_cancelled_scope_around_the_block_does_not_cut_the_clean_up():
    kettle = Kettle("20 °C")
    cancelled = 0
    with anyio.CancelScope() as scope:
        try:
            async with pushing(kettle.stream(), says_nothing):
                await soon(kettle.waiting)
                scope.cancel()
                await asyncio.Event().wait()
        finally:
            task = asyncio.current_task()
            cancelled = task.cancelling() if task else 0
    assert scope.cancelled_caught
    assert kettle.put_away.is_set()
    assert cancelled == 1  # and not in every round of the event loop


async def test_the_block_goes_on_when_the_stream_has_ended():
    sent: list[str] = []
    closed = asyncio.Event()

    async def two() -> AsyncGenerator[str, None]:
        try:
            yield "tea"
            yield "coffee"
        finally:
            closed.set()

    async def send(item: str) -> None:
        sent.append(item)

    async with pushing(two(), send):
        await soon(closed)
        await others()
        sent.append("and the block")
    assert sent == ["tea", "coffee", "and the block"]


async def test_the_reader_notices_the_end_and_not_the_stream():
    kettle = Kettle("20 °C", "21 °C")
    noticed = False

    async def send(_: str) -> None:
        raise WebSocketDisconnect(detail="gone")

    async with pushing(kettle.stream(), send):
        await soon(kettle.put_away)  # at once, and not with the block
        await others()
        noticed = True
    assert noticed


async def fails_to_send(_: object) -> None:
    raise Spilled


@pytest.mark.parametrize(
    ("kettle", "send"),
    [
        (Kettle("20 °C", then=Spilled()), says_nothing),
        (Kettle("20 °C"), fails_to_send),
    ],
    ids=["generator", "send"],
)
async def test_a_failure_interrupts_the_block_and_comes_out_as_it_is(
    kettle: Kettle, send: Callable[[object], Awaitable[None]]
):
    notes: list[str] = []

    async def hold() -> None:
        async with asyncio.timeout(PATIENCE), pushing(kettle.stream(), send):
            try:
                await asyncio.Event().wait()
            finally:
                for _ in range(10):  # the block may take its time, too
                    await asyncio.sleep(0)
                notes.append("left in peace")

    with pytest.raises(Spilled):
        await hold()
    assert notes == ["left in peace"]
    assert kettle.put_away.is_set()
    assert not_cancelled()


def not_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and not task.cancelling()


async def test_a_failure_keeps_its_code_on_the_wire(opened: Opened) -> None:
    dry = WebSocketException(detail="no more tea", code=4001)
    kettle = Kettle("tea", then=dry)

    @websocket("/")
    async def watch(socket: WebSocket) -> None:
        async with (
            lifecycle(socket),
            pushing(kettle.stream(), socket.send_text),
        ):
            async for _ in socket.iter_data("text"):
                pass

    async with opened(Litestar([watch])) as client:
        assert [item async for item in client] == ["tea"]
        assert str(client.closed) == "4001 'no more tea'"


async def test_a_block_that_minds_no_interruption_is_told_at_its_end():
    kettle = Kettle(then=Spilled())

    async def hold() -> None:
        async with pushing(kettle.stream(), says_nothing):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await others()

    with pytest.raises(Spilled):
        await hold()
    assert not_cancelled()


async def test_when_both_fail_the_error_of_the_block_is_the_context():
    async def clumsy() -> AsyncGenerator[str, None]:
        try:
            yield "tea"
        finally:
            raise Spilled

    with pytest.raises(Spilled) as caught:
        async with pushing(clumsy(), waits_for_nothing_with):
            raise FileNotFoundError("kettle")
    assert isinstance(caught.value.__context__, FileNotFoundError)


async def waits_for_nothing_with(_: object) -> None:
    await asyncio.Event().wait()


async def test_who_cancels_a_block_that_is_interrupted_is_heard():
    kettle = Kettle(then=Spilled())

    async def hold() -> None:
        with suppress(Spilled):
            async with pushing(kettle.stream(), says_nothing):
                try:
                    await asyncio.Event().wait()
                finally:
                    task.cancel()  # while the block is leaving
                    with suppress(asyncio.CancelledError):
                        await asyncio.sleep(0)

    task = asyncio.create_task(hold())
    await asyncio.wait([task], timeout=PATIENCE)
    assert task.cancelling() == 1


async def test_who_cancels_a_block_when_its_stream_ends_is_heard():
    async def last() -> AsyncGenerator[str, None]:
        yield "tea"
        asyncio.get_running_loop().call_soon(task.cancel)

    socket = by_hand(waits_for_nothing, says_nothing)
    task = asyncio.create_task(push(socket, last(), socket.send_text))
    await asyncio.wait([task], timeout=PATIENCE)
    assert task.cancelled()


async def test_after_a_cancellation_a_farewell_can_be_pushed():
    sent: list[str] = []

    async def farewell() -> AsyncGenerator[str, None]:
        yield "bye"

    async def send(item: str) -> None:
        sent.append(item)

    async def hold() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            socket = by_hand(waits_for_nothing, says_nothing)
            await push(socket, farewell(), send)
            sent.append("and on")

    task = asyncio.create_task(hold())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE)
    assert sent == ["bye", "and on"]


async def test_a_second_cancellation_waits_for_the_clean_up_too():
    kettle = Kettle("20 °C")

    async def hold() -> None:
        async with pushing(kettle.stream(), says_nothing):
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await soon(kettle.waiting)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([task], timeout=PATIENCE)
    assert task.cancelled()
    assert kettle.put_away.is_set()


async def test_a_cancellation_while_the_stream_is_closing_is_not_lost():
    kettle = Kettle("20 °C")
    leaving = asyncio.Event()

    async def hold() -> None:
        async with pushing(kettle.stream(), says_nothing):
            await soon(kettle.waiting)
            leaving.set()

    task = asyncio.create_task(hold())
    await soon(leaving)
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE)
    assert task.cancelled()
    assert kettle.put_away.is_set()


async def test_of_several_streams_each_is_closed():
    inner, outer = Kettle("20 °C"), Kettle("30 °C")
    with pytest.raises(Spilled):
        async with (
            pushing(outer.stream(), says_nothing),
            pushing(inner.stream(), says_nothing),
            pushing(Kettle(then=Spilled()).stream(), says_nothing),
        ):
            await asyncio.Event().wait()
    assert inner.put_away.is_set()
    assert outer.put_away.is_set()
    assert not_cancelled()


async def test_two_streams_that_fail_at_once_leave_no_cancellation():
    with pytest.raises(Spilled) as caught:
        async with (
            pushing(Kettle(then=Spilled("outer")).stream(), says_nothing),
            pushing(Kettle(then=Spilled("inner")).stream(), says_nothing),
        ):
            await asyncio.Event().wait()
    assert str(caught.value) == "outer"
    assert str(caught.value.__context__) == "inner"
    assert not_cancelled()


async def test_an_outer_stream_that_fails_waits_for_the_inner_one():
    inner, fail = Kettle("20 °C"), asyncio.Event()

    async def outer() -> AsyncGenerator[str, None]:
        await fail.wait()
        raise Spilled
        yield "never"

    async def hold() -> None:
        async with (
            pushing(outer(), says_nothing),
            pushing(inner.stream(), says_nothing),
        ):
            await soon(inner.waiting)
            fail.set()  # it fails while the inner one is being closed

    with pytest.raises(Spilled):
        await hold()
    assert inner.put_away.is_set()


async def test_a_failure_at_the_last_moment_cancels_nothing_after_the_block():
    fail = asyncio.Event()

    async def stream() -> AsyncGenerator[str, None]:
        await fail.wait()
        raise Spilled
        yield "never"

    async def hold() -> None:
        async with pushing(stream(), says_nothing):
            fail.set()
            await asyncio.sleep(0)  # it fails now, and nobody has heard of it

    with pytest.raises(Spilled):
        await hold()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not_cancelled()


async def test_a_generator_that_does_not_mind_the_cancellation_is_stopped():
    waiting, sent = asyncio.Event(), []

    async def stubborn() -> AsyncGenerator[str, None]:
        while True:
            waiting.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.sleep(0)  # without it, coverage loses track
            yield "still here"

    async def send(item: str) -> None:
        sent.append(item)

    async with asyncio.timeout(PATIENCE), pushing(stubborn(), send):
        await soon(waiting)
    assert sent == []


async def test_a_generator_that_was_begun_before_is_closed_too():
    kettle = Kettle("20 °C", "21 °C")
    stream = kettle.stream()
    assert await anext(stream) == "20 °C"
    async with pushing(stream, says_nothing):
        pass
    assert kettle.put_away.is_set()


# -- the newest ---------------------------------------------------------------


async def test_a_value_is_told_at_once_and_whenever_it_is_set():
    tea = Latest("cold")
    async with aclosing(tea.changes()) as changes:
        assert await anext(changes) == "cold"
        following = asyncio.create_task(anext(changes))
        await asyncio.sleep(0)
        assert not following.done()
        tea.set("hot")
        assert await asyncio.wait_for(following, PATIENCE) == "hot"
    assert tea.value == "hot"


async def test_who_is_slow_gets_the_newest_and_no_backlog():
    count = Latest(0)
    async with aclosing(count.changes()) as slow:
        assert await anext(slow) == 0
        for number in range(1, 1000):
            count.set(number)
        assert await asyncio.wait_for(anext(slow), PATIENCE) == 999
        following = asyncio.create_task(anext(slow))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not following.done()
        count.set(1000)
        assert await asyncio.wait_for(following, PATIENCE) == 1000


async def test_all_who_follow_are_told_and_each_at_its_own_pace():
    count = Latest(0)
    seen: dict[str, list[int]] = {"fast": [], "slow": []}

    async def follow(who: str, pauses: int) -> None:
        async with aclosing(count.changes()) as changes:
            async for number in changes:
                seen[who].append(number)
                if number == 9:
                    return
                for _ in range(pauses):
                    await asyncio.sleep(0)

    async def change() -> None:
        for number in range(1, 10):
            for _ in range(3):
                await asyncio.sleep(0)
            count.set(number)

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(follow("fast", 0), follow("slow", 10), change())
    assert seen["fast"] == list(range(10))
    assert 2 < len(seen["slow"]) < 6
    assert seen["slow"][-1] == 9


async def test_a_change_that_nobody_waited_for_is_not_lost():
    tea = Latest("cold")
    changes = tea.changes()
    assert await anext(changes) == "cold"
    tea.set("hot")  # while the first is still being sent
    assert await asyncio.wait_for(anext(changes), PATIENCE) == "hot"
    await changes.aclose()


async def test_who_follows_no_more_is_forgotten():
    tea = Latest("cold")
    followers = [tea.changes() for _ in range(3)]
    for changes in followers:
        await anext(changes)
        waiting = asyncio.create_task(anext(changes))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    assert tea._overwritten._waiters == type(tea._overwritten._waiters)()


# -- a thousand connections ---------------------------------------------------


CONNECTIONS, AT_ONCE = 1000, 50
HANDSHAKE = """\
GET {path} HTTP/1.1\r
Host: localhost\r
Connection: Upgrade\r
Upgrade: websocket\r
Sec-WebSocket-Version: 13\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
\r
"""  # RFC 6455 §1.3
TICK = Frame(Opcode.TEXT, b"tick").serialize(mask=False)
CLOSE = b"\x88"  # how a close frame begins, and nothing else here


class Guest:
    """A client that is quick to make, and free to behave badly."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader, self.writer = reader, writer

    async def listen_until_the_end(self) -> bytes:
        """Listen, up to a close frame if there is one, and return the last."""
        last = b"tick"
        with suppress(ConnectionError):
            while last and CLOSE not in last:
                last = await self.reader.read(1024)
        self.writer.close()
        return last

    def send(self, opcode: Opcode, data: bytes) -> None:
        self.writer.write(Frame(opcode, data).serialize(mask=True))

    def close(self) -> None:
        self.send(Opcode.CLOSE, Close(1000, "").serialize())

    def hang_up(self) -> None:
        self.writer.write_eof()  # FIN, and no close frame

    def reset(self) -> None:
        # Closing a socket that may not linger resets the connection (RST).
        raw: sockets.socket = self.writer.get_extra_info("socket")
        linger = struct.pack("ii", 1, 0)
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, linger)
        self.writer.transport.abort()

    def make_it_fail(self) -> None:
        self.send(Opcode.TEXT, b"fail")

    def stay(self) -> None:
        """Wait for the server to stop."""


WAYS = [Guest.close, Guest.hang_up, Guest.reset, Guest.make_it_fail]
WAYS += [Guest.stay]


class Tea:
    """An app that pushes while it receives, and counts what it begins."""

    def __init__(self) -> None:
        self.count = Counter[str]()
        self.errors: list[BaseException | None] = []
        self.app = Litestar(
            [
                websocket("/handler")(self.handler),
                websocket_listener(
                    "/listener", connection_lifespan=self.lifespan
                )(self.listener),
            ],
            after_exception=[self.note],
            openapi_config=None,
            logging_config=None,
        )

    async def note(self, error: Exception, _: Any) -> None:
        self.errors.append(error.__cause__)

    async def ticks(self, closed: asyncio.Event) -> AsyncGenerator[str, None]:
        self.count["begun"] += 1
        try:
            while True:
                yield "tick"
                await asyncio.sleep(0.05)
        finally:
            await asyncio.sleep(0)
            closed.set()

    @asynccontextmanager
    async def lifespan(self, socket: WebSocket) -> AsyncGenerator[None]:
        closed = asyncio.Event()
        ticks = self.ticks(closed)
        async with lifecycle(socket):
            try:
                async with pushing(ticks, socket.send_text):
                    yield
            finally:
                self.count["closed in time"] += closed.is_set()

    async def handler(self, socket: WebSocket) -> None:
        async with self.lifespan(socket):
            async for text in socket.iter_data("text"):
                await self.listener(text)

    async def listener(self, data: str) -> None:
        raise Spilled(data)


async def test_a_thousand_endings_leave_nothing_behind():
    tea = Tea()
    unhandled: list[Any] = []
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    before = asyncio.all_tasks()
    free = asyncio.Semaphore(AT_ONCE)
    stayed: list[Guest] = []

    async def visit(number: int) -> None:
        leave = WAYS[number % len(WAYS)]
        path = ("/handler", "/listener")[number // len(WAYS) % 2]
        async with free:
            guest = Guest(*await asyncio.open_connection(port=server.port))
            guest.writer.write(HANDSHAKE.format(path=path).encode())
            await guest.reader.readuntil(TICK)
            leave(guest)
            if leave is Guest.stay:
                stayed.append(guest)
            else:
                await guest.listen_until_the_end()

    async with asyncio.timeout(60):
        async with serve(tea.app, ws_ping_interval=None) as server:
            await asyncio.gather(*map(visit, range(CONNECTIONS)))
        last_words = [await guest.listen_until_the_end() for guest in stayed]
    gc.collect()
    loop.set_exception_handler(handler)

    share = CONNECTIONS // len(WAYS)
    assert tea.count["begun"] == tea.count["closed in time"] == CONNECTIONS
    assert asyncio.all_tasks() == before
    assert server.log == unhandled == []
    assert [type(error) for error in tea.errors] == [Spilled] * share
    restart = Frame(Opcode.CLOSE, Close(1012, "").serialize())
    ending = restart.serialize(mask=False)
    assert [words[-len(ending) :] for words in last_words] == [ending] * share
