"""What `connections.py` promises, with clients that misbehave on a wire."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from itertools import pairwise
from operator import gt
from pathlib import Path
from typing import Any, cast

import pytest
from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import WebSocketException

from snippets.connections import Connection, ConnectionManager, WhenFull
from snippets.serving import listen
from snippets.testing.client import Client, Closed, Refused
from snippets.testing.faults import (
    flood,
    half_open,
    reset,
    stalled,
    vanish,
)
from snippets.testing.process import process
from snippets.testing.server import Server
from snippets.testing.wire import Raw, raw

from .conftest import until

Socket = WebSocket[Any, Any, Any]
Serving = Callable[..., AbstractAsyncContextManager[Server]]
PIECE = "x" * 64 * 1024
"""Some dozens of these are more than all buffers on the way hold."""
STUCK = 5
"""How many messages that wait say that somebody does not read."""


class Mistake(Exception):
    """What goes wrong in these tests."""


class Hall:
    """An app in which all hear what one says, or what a test makes of it.

    Attributes:
        manager: The connections.
        act: Called with a connection and what its client says.
        handlers: The tasks of the handlers that run.
        notes: How many were known just after each connection's block.
    """

    def __init__(self, **options: Any) -> None:
        self.manager = ConnectionManager(**options)
        self.act: Callable[[Connection, str], Awaitable[None]] = self.say
        self.handlers: set[asyncio.Task[None]] = set()
        self.notes: list[int] = []
        self.app = Litestar(
            [websocket("/")(self.hall), websocket("/{user:str}")(self.home)],
            openapi_config=None,
            logging_config=None,
        )

    async def say(self, connection: Connection, text: str) -> None:
        self.manager.broadcast(PIECE if text == "piece" else text)

    async def hall(self, socket: WebSocket) -> None:
        await self.handle(socket, None)

    async def home(self, socket: WebSocket) -> None:
        await self.handle(socket, socket.path_params["user"])

    async def handle(self, socket: Socket, user: str | None) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self.handlers.add(task)
        task.add_done_callback(self.handlers.discard)
        async with self.manager.connect(socket, user=user) as connection:
            connection.at_end(lambda _: self.notes.append(len(self.manager)))
            async for text in socket.iter_data("text"):
                if text == "return":
                    break
                await self.act(connection, text)

    async def empty(self) -> None:
        """Wait until all handlers have ended, and see that all is left."""
        await until(lambda: not self.handlers)
        stats = self.manager.stats()
        assert (stats.connections, stats.users, stats.queued) == (0, 0, 0)

    async def fill(self, sender: Client) -> int:
        """Have all hear pieces until somebody reads them no more."""
        for count in range(1000):
            stats = self.manager.stats()
            if stats.queued >= STUCK or stats.evictions:
                return count
            await sender.send("piece")
            assert await sender.receive_json() == PIECE
        raise AssertionError("everybody reads")


# -- slow clients ------------------------------------------------------------


async def test_a_stalled_client_delays_nobody(serving: Serving):
    """Connection: a client that does not read delays nobody else."""
    hall = Hall(max_messages=8)
    async with serving(hall.app) as server, AsyncExitStack() as clients:
        one, two, three = [
            await clients.enter_async_context(server.connect())
            for _ in range(3)
        ]
        async with stalled(server):
            await until(lambda: len(hall.manager) == 4)
            stuck = await hall.fill(one)  # each is heard while it is stalled
            for number in range(50):
                await one.send(str(number))
                assert await one.receive_json() == str(number)
            for client in (two, three):
                pieces = [await client.receive_json() for _ in range(stuck)]
                assert pieces == [PIECE] * stuck
                texts = [await client.receive_json() for _ in range(50)]
                assert texts == [str(number) for number in range(50)]
            assert hall.manager.stats().evictions == {"slow consumer": 1}
            assert len(hall.manager) == 3
    await hall.empty()


async def test_a_sender_never_waits(serving: Serving):
    """Connection: what is sent never waits for the client."""
    hall = Hall(max_messages=1000, max_bytes=2**30)
    async with serving(hall.app) as server, stalled(server) as client:
        await until(lambda: len(hall.manager) == 1)
        (connection,) = hall.manager
        for _ in range(200):  # ten times what the buffers hold
            assert connection.send(PIECE)
            await asyncio.sleep(0)
        stats = hall.manager.stats()
        assert stats.queued_bytes == stats.queued * (len(PIECE) + 2)
        assert 100 < stats.queued < 200
        heard = [client.receive_json() for _ in range(200)]
        assert [await each for each in heard] == [PIECE] * 200


async def test_a_stalled_client_is_evicted_in_time(serving: Serving):
    """Connection: who takes nothing for `send_timeout` is closed with 1013."""
    hall = Hall(send_timeout=0.1, close_timeout=0.1, max_bytes=2**30)
    loop = asyncio.get_running_loop()
    async with serving(hall.app) as server, server.connect() as sender:
        async with stalled(server):
            await until(lambda: len(hall.manager) == 2)
            await hall.fill(sender)
            began = loop.time()
            await until(lambda: len(hall.manager) == 1)
            await until(lambda: len(hall.handlers) == 1)
            assert loop.time() - began < 5
            assert hall.manager.stats().queued == 0
        assert hall.manager.stats().evictions == {"send timed out": 1}
        await sender.send("and all goes on")
        assert await sender.receive_json() == "and all goes on"


async def test_who_reads_again_learns_why(serving: Serving):
    """Connection: nothing is missing before the 1013 of an eviction."""
    hall = Hall(max_messages=8)
    async with (
        serving(hall.app) as server,
        server.connect() as sender,
        stalled(server) as client,
    ):
        await until(lambda: len(hall.manager) == 2)

        async def count(connection: Connection, text: str) -> None:
            hall.manager.broadcast([int(text), PIECE])

        hall.act = count
        number = 0
        while not hall.manager.evictions:
            await sender.send(str(number))
            assert (await sender.receive_json())[0] == number
            number += 1
        pieces = map(json.loads, await client.resume())
        numbers = [number for number, _ in pieces]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) < number
        assert str(client.closed) == "1013 'slow consumer'"
    await hall.empty()


POLICIES: list[tuple[WhenFull, list[int]]] = [
    ("drop_oldest", [-3, -2, -1]),
    ("drop_newest", []),
    ("latest", [-1]),
]


@pytest.mark.parametrize(("policy", "last"), POLICIES)
async def test_what_a_policy_drops_is_counted(
    serving: Serving, policy: WhenFull, last: list[int]
):
    """Connection: a policy that drops counts that, and the client stays."""
    hall = Hall(when_full=policy, max_messages=3)
    async with serving(hall.app) as server, stalled(server) as client:
        await until(lambda: len(hall.manager) == 1)
        (connection,) = hall.manager
        sent = 0
        while connection.dropped < 50:
            connection.send([sent, PIECE], key="number")
            sent += 1
            await asyncio.sleep(0)
        left = sent - connection.dropped
        heard = [(await client.receive_json())[0] for _ in range(left)]
        first = list(range(left - len(last)))
        if policy == "drop_newest":  # it took some of what came later
            first = sorted(heard)
        assert heard == first + [sent + number for number in last]
        assert hall.manager.stats().dropped == connection.dropped
        assert hall.manager.stats().evictions == {}
    await hall.empty()


# -- clients that go ---------------------------------------------------------


@pytest.mark.parametrize("leave", [vanish, reset])
@pytest.mark.parametrize("busy", [True, False])
async def test_who_has_gone_is_out(
    serving: Serving, leave: Any, *, busy: bool
):
    """Connection: who vanishes is out at once, also if messages wait."""
    hall = Hall(send_timeout=60, close_timeout=60, max_bytes=2**30)
    async with serving(hall.app) as server, server.connect() as sender:
        async with (
            leave(server, receive_buffer=4096)
            if (leave is reset)
            else leave(server)
        ):
            await until(lambda: len(hall.manager) == 2)
            if busy:
                await hall.fill(sender)
        await until(lambda: len(hall.handlers) == 1)
        assert len(hall.manager) == 1
    await hall.empty()


async def test_a_dead_line_is_noticed(serving: Serving):
    """Connection: who is silent without a FIN is out after a missed pong."""
    hall = Hall()
    pings = {"ws_ping_interval": 0.25, "ws_ping_timeout": 0.25}
    async with (
        serving(hall.app, **pings) as server,
        half_open(server) as client,
    ):
        await client.send("hello")
        assert await client.receive_json() == "hello"
        client.cut()
        await until(lambda: not hall.handlers)
        assert len(hall.manager) == 0


# -- in a process of its own -------------------------------------------------


def hasty() -> Litestar:
    """Make the app of another process, in which nobody may be slow."""
    return of(Hall(send_timeout=0.2, close_timeout=0.2))


def patient() -> Litestar:
    """Make the app of another process, which waits for a minute."""
    return of(Hall(send_timeout=60, max_bytes=2**30))


def of(hall: Hall) -> Litestar:
    """Keep the hall where `census()` finds it."""
    hall.app.state.hall = hall
    return hall.app


def census(app: Litestar) -> tuple[int, int, int, int]:
    """Count connections, messages that wait, tasks, and descriptors."""
    stats = app.state.hall.manager.stats()
    tasks = len(asyncio.all_tasks())
    return stats.connections, stats.queued, tasks, descriptors()


def descriptors() -> int:
    """Count what this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


Census = Callable[[], Awaitable[tuple[int, int, int, int]]]


async def fall_to(counted: tuple[int, int, int, int], census: Census) -> None:
    """Wait until nothing is more than it was."""
    async with asyncio.timeout(10):
        while any(map(gt, await census(), counted)):
            pass


async def test_nothing_is_left_of_who_does_not_read(ws: str):
    """Connection: handler, task and descriptor of a stalled client go."""
    listener = listen("127.0.0.1", 0, user_timeout=0.3)
    app = f"{__name__}:hasty"
    async with (
        process(app, listener=listener, ws=ws) as server,
        server.connect() as sender,
    ):
        await sender.send("hello")
        await sender.receive()
        before = await server.call(census)
        async with stalled(server):
            await sender.send("hello")
            await sender.receive()
            while (await server.call(census))[0] > before[0]:
                await sender.send("piece")
                await sender.receive()
            await fall_to(before, lambda: server.call(census))
        await sender.send("and all goes on")
        assert await sender.receive_json() == "and all goes on"


async def test_a_server_stops_in_time(ws: str):
    """Connection: a server stops in time, also if a client does not read."""
    app = f"{__name__}:patient"
    async with (
        process(app, ws=ws, timeout_graceful_shutdown=1) as server,
        stalled(server),
    ):
        async with server.connect() as sender:
            while (await server.call(census))[1] < STUCK:
                await sender.send("piece")
                await sender.receive()
            stopping = asyncio.create_task(server.stop())
            async for _ in sender:
                pass
            assert str(sender.closed) == "1012"
        assert (await stopping).seconds < 3
        assert [line for line in server.log if "Cancel" not in line] == []


# -- endings -----------------------------------------------------------------


async def leave(connection: Connection, client: Client) -> None:
    await client.close(4000)


async def finish(connection: Connection, client: Client) -> None:
    await client.send("return")


async def fail(connection: Connection, client: Client) -> None:
    await client.send("fail")


async def complain(connection: Connection, client: Client) -> None:
    await client.send("complain")


async def kick(connection: Connection, client: Client) -> None:
    connection.close(4409, "replaced")
    connection.close(4000, "once more")


async def cancel(connection: Connection, client: Client) -> None:
    await client.send("cancel")


async def evict(connection: Connection, client: Client) -> None:
    for number in range(300):
        connection.send(number)


async def obey(connection: Connection, text: str) -> None:
    """Do what the text says."""
    match text:
        case "fail":
            raise Mistake("a secret")
        case "cancel":
            cast("asyncio.Task[None]", asyncio.current_task()).cancel()
        case "complain":
            raise WebSocketException(detail="enough", code=4400)


Act = Callable[[Connection, Client], Awaitable[None]]
ENDINGS: dict[Act, str] = {
    leave: "4000",
    finish: "1000",
    fail: "1011 'internal error'",
    complain: "4400 'enough'",
    kick: "4409 'replaced'",
    cancel: "1011 'cancelled'",
    evict: "1013 'slow consumer'",
}


@pytest.mark.parametrize("act", ENDINGS, ids=lambda act: act.__name__)
async def test_every_ending_leaves_at_once_and_closes_once(
    serving: Serving, act: Act, caplog: pytest.LogCaptureFixture
):
    """Connection: however it ends, it is out at once and closed once."""
    hall = Hall()
    hall.act = obey
    async with serving(hall.app) as server, raw(server) as client:
        await until(lambda: len(hall.manager) == 1)
        (connection,) = hall.manager
        await act(connection, client)
        if client.closed is None:
            async for _ in client:
                pass
        assert str(client.closed) == ENDINGS[act]
        client.closed = None
        with pytest.raises(Closed):
            await client.receive_frame()  # not another close frame
        await hall.empty()
        assert hall.notes == [0]
        logged = [r for r in caplog.records if r.levelno > logging.INFO]
        assert len(logged) == (act is fail)
        assert all(connection.id in record.message for record in logged)
        assert [line for line in server.log if act is not cancel] == []


async def test_who_is_thrown_out_has_said_its_last_word(serving: Serving):
    """Connection: after close(), nothing that the client says is handled."""
    hall = Hall()

    async def throw_out(connection: Connection, text: str) -> None:
        await hall.say(connection, text)
        connection.close(4403, "out")

    async with serving(hall.app) as server, server.connect() as other:
        await until(lambda: len(hall.manager) == 1)
        hall.act = throw_out
        async with server.connect() as client:
            await flood(client, "buy!", 100)
            async for _ in client:
                pass
            assert str(client.closed) == "4403 'out'"
        await until(lambda: len(hall.handlers) == 1)
        hall.act = hall.say
        await other.send("who was that?")
        heard = [await other.receive_json() for _ in range(2)]
        assert heard == ["buy!", "who was that?"]
    await hall.empty()


async def test_a_server_that_stops_closes_with_1012(serving: Serving):
    """Connection: when the server stops, all are out, and told with 1012."""
    hall = Hall()
    async with AsyncExitStack() as clients:
        async with serving(hall.app) as server:
            client = await clients.enter_async_context(server.connect())
            await client.send("hello")
            await client.receive()
        assert hall.notes == [0]
        assert not hall.handlers
        with pytest.raises(Closed, match="1012"):
            await client.receive()


async def test_a_handler_that_never_receives_ends(serving: Serving):
    """Connection: a handler that hears nothing is interrupted in time."""
    hall = Hall(close_timeout=0.1)
    asleep = asyncio.Event()

    async def sleep(connection: Connection, text: str) -> None:
        asleep.set()
        await asyncio.Event().wait()

    hall.act = sleep
    async with serving(hall.app) as server, server.connect() as client:
        await client.send("good night")
        await asyncio.wait_for(asleep.wait(), 5)
        (connection,) = hall.manager
        connection.close(1013, "wake up")
        assert [message async for message in client] == []
        assert str(client.closed) == "1013 'wake up'"
        await hall.empty()
        assert server.log == []


async def test_a_failure_does_not_wait_for_who_takes_nothing(
    serving: Serving,
):
    """Connection: a block that failed ends in time, its close included."""
    hall = Hall(send_timeout=1, max_bytes=2**30)
    loop = asyncio.get_running_loop()
    hall.act = obey
    async with serving(hall.app) as server, stalled(server) as client:
        await until(lambda: len(hall.manager) == 1)
        (connection,) = hall.manager
        while hall.manager.stats().queued < STUCK:
            connection.send(PIECE)
            await asyncio.sleep(0)
        connection.send(PIECE * 64)
        while connection._sending_since is not None:
            await client.receive()
        # Nothing waits any more, but the next that is sent would.
        began = loop.time()
        await client.send("fail")
        await until(lambda: not hall.handlers)
        assert 0.9 < loop.time() - began < 3
        assert len(hall.manager) == 0


async def test_a_failure_is_told_to_nobody_else(serving: Serving):
    """ConnectionManager: whatever fails at one client, others go on."""
    hall = Hall()

    async def act(connection: Connection, text: str) -> None:
        await obey(connection, text)
        hall.manager.broadcast(text)

    hall.act = act
    async with serving(hall.app) as server, server.connect() as client:
        for text in ("fail", "complain"):
            async with server.connect() as other:
                await other.send(text)
                async for _ in other:
                    pass
            await client.send(text[::-1])
            assert await client.receive_json() == text[::-1]


# -- the manager -------------------------------------------------------------


async def test_all_hear_one_order(serving: Serving):
    """ConnectionManager: all hear one order, each sender's own included."""
    hall = Hall()
    async with serving(hall.app) as server, AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(server.connect()) for _ in range(5)
        ]
        await until(lambda: len(hall.manager) == 5)

        async def talk(name: int, client: Client) -> None:
            for number in range(100):
                await client.send(f"{name} {number}")
                await asyncio.sleep(0)

        async def hear(client: Client) -> list[str]:
            return [await client.receive_json() for _ in range(500)]

        async with asyncio.TaskGroup() as tasks:
            hearing = [tasks.create_task(hear(client)) for client in clients]
            for name, client in enumerate(clients):
                tasks.create_task(talk(name, client))
        heard = [each.result() for each in hearing]
        assert all(one == other for one, other in pairwise(heard))
        for name in range(5):
            own = [text for text in heard[0] if text.startswith(f"{name} ")]
            assert own == [f"{name} {number}" for number in range(100)]


async def test_coming_and_going_disturbs_no_broadcast(serving: Serving):
    """ConnectionManager: joins and leaves during a broadcast harm nobody."""
    hall = Hall()
    async with serving(hall.app) as server, server.connect() as client:

        async def come_and_go() -> None:
            for _ in range(30):
                async with server.connect():
                    pass

        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(come_and_go())
            for number in range(300):
                await client.send(str(number))
                assert await client.receive_json() == str(number)
        assert server.log == []
    await hall.empty()


async def test_limits_are_refused_before_the_upgrade(serving: Serving):
    """Connection: one too many is refused with HTTP 403, not accepted."""
    hall = Hall(max_connections=2, connections_per_user=1)
    async with serving(hall.app) as server, server.connect("/ada"):
        await until(lambda: len(hall.manager) == 1)
        with pytest.raises(Refused, match="403"):
            async with raw(server, "/ada"):
                pass
        async with server.connect():
            await until(lambda: len(hall.manager) == 2)
            with pytest.raises(Refused, match="403"):
                async with raw(server, "/bob"):
                    pass
        await until(lambda: len(hall.manager) == 1)
        async with server.connect("/bob"):
            await until(lambda: len(hall.manager) == 2)
        assert server.log == []
    await hall.empty()


async def test_the_state_can_be_read(serving: Serving):
    """Connection: connections, queues, drops and evictions are counted."""
    hall = Hall(when_full="drop_newest", max_messages=3)
    async with (
        serving(hall.app) as server,
        server.connect("/ada"),
        stalled(server, "/ada"),
    ):
        await until(lambda: len(hall.manager) == 2)
        _, slow = hall.manager
        while slow.dropped < 7:
            slow.send(PIECE)
            await asyncio.sleep(0)
        stats = hall.manager.stats()
        assert (stats.connections, stats.users) == (2, 1)
        assert (stats.queued, stats.dropped) == (3, 7)
        assert stats.queued_bytes == 3 * (len(PIECE) + 2)
        assert stats.evictions == {}


async def hang_up(connection: Connection, client: Raw) -> None:
    client.vanish()


async def break_off(connection: Connection, client: Raw) -> None:
    client.reset()


async def test_a_thousand_connections_leave_nothing(serving: Serving):
    """Connection: of a thousand, however they end, nothing is left."""
    hall = Hall(connections_per_user=100)
    known: asyncio.Queue[Connection] = asyncio.Queue()

    async def act(connection: Connection, text: str) -> None:
        await obey(connection, text)
        if text == "hello":
            known.put_nowait(connection)

    async def come_and(go: Any) -> None:
        async with raw(server, "/ada") as client:
            await client.send("hello")
            await go(await known.get(), client)
            async for _ in client:
                pass

    hall.act = act
    async with serving(hall.app) as server:
        before = len(asyncio.all_tasks()), descriptors()
        ways = [*ENDINGS, hang_up, break_off]
        for _ in range(1000 // len(ways) + 1):
            for go in ways:
                await come_and(go)
        await hall.empty()
        assert hall.notes == [0] * len(ways) * (1000 // len(ways) + 1)
        await until(
            lambda: (len(asyncio.all_tasks()), descriptors()) <= before
        )
