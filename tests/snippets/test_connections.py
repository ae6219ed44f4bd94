"""Connections that nobody waits for, whoever is at their other end."""

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from litestar import Litestar, WebSocket, websocket_listener
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from litestar.testing import TestClient

from snippets.closing import close
from snippets.connections import JSON, Connection, ConnectionManager, WhenFull
from snippets.sockets import MessageSocket
from snippets.subprotocols import Format, as_json, as_msgpack
from snippets.testing.clock import SKIPPING

Socket = WebSocket[Any, Any, Any]


@pytest.fixture
def anyio_backend() -> object:
    return SKIPPING


class Mistake(Exception):
    """What goes wrong in these tests."""


class Peer:
    """The server's side of a connection, made by hand, and its client.

    Attributes:
        socket: What a handler gets.
        reads: Whether the client takes what is sent.
        accepts: Whether the server gets the answer to the handshake sent.
        failure: What the next send raises; all from then on if OSError.
        sent: What was sent.
    """

    def __init__(self, kind: type[Socket] = WebSocket, **scope: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.failure: Exception | None = None
        self.reads, self.accepts = asyncio.Event(), asyncio.Event()
        self.reads.set()
        self.accepts.set()
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        whole: Any = {"headers": [], **scope}
        self.socket = kind(whole, self._inbox.get, self._send)

    async def _send(self, message: Any) -> None:
        kind = message["type"]
        await (
            self.accepts if kind == "websocket.accept" else self.reads
        ).wait()
        if self.failure is not None:
            failure = self.failure
            if not isinstance(failure, OSError):
                self.failure = None
            raise failure
        if self.closes:
            raise RuntimeError("sent after a close")
        self.sent.append(message)
        if kind == "websocket.close":
            self.leave(message["code"])

    def leave(self, code: int = 1005) -> None:
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": code})

    def close_by_itself(self) -> None:
        """Do what a server does after a frame that breaks its rules."""
        reason = "a frame after these"
        message = {"type": "websocket.close", "code": 1009, "reason": reason}
        self.sent.append(message)
        self.leave(1009)

    def say(self, text: str) -> None:
        self._inbox.put_nowait({"type": "websocket.receive", "text": text})

    def vanish(self) -> None:
        """Be gone, as a server reports it to who sends."""
        self.failure = OSError("gone")
        self.reads.set()

    @property
    def heard(self) -> list[Any]:
        """The messages, decoded if they are text."""
        return [
            JSON.decode(each["text"]) if "text" in each else each["bytes"]
            for each in self.sent
            if each["type"] == "websocket.send"
        ]

    @property
    def closes(self) -> list[tuple[int, str]]:
        """The close frames."""
        return [
            (each["code"], each["reason"])
            for each in self.sent
            if each["type"] == "websocket.close"
        ]


def stalled() -> Peer:
    """Make a peer that takes nothing, but is connected."""
    peer = Peer()
    peer.reads.clear()
    return peer


async def settle() -> None:
    """Let all others run until they wait, and a microsecond pass."""
    await asyncio.sleep(1e-6)


def now() -> float:
    """Tell the time; it passes only while all wait."""
    return asyncio.get_running_loop().time()


async def passed(seconds: float, since: float) -> None:
    """Wait until a time after another, and until all is done then."""
    await asyncio.sleep(since + seconds - now())
    await settle()


async def listen(socket: Socket) -> None:
    """Receive until the client leaves."""
    async for _ in socket.iter_data("text"):
        pass


@asynccontextmanager
async def handled(
    manager: ConnectionManager, peer: Peer, **options: Any
) -> AsyncGenerator[Connection]:
    """Have a handler of its own listen to a peer; it ends with the block."""
    opened: asyncio.Future[Connection] = asyncio.Future()

    async def handle() -> None:
        async with manager.connect(peer.socket, **options) as connection:
            opened.set_result(connection)
            await listen(peer.socket)

    handler = asyncio.create_task(handle())
    try:
        yield await opened
    finally:
        peer.leave()
        peer.vanish()
        await handler


# -- what is sent ------------------------------------------------------------


async def test_what_is_broadcast_reaches_all_in_order():
    """ConnectionManager: a broadcast says how many outboxes took it."""
    manager = ConnectionManager()
    one, two = Peer(), Peer()
    async with handled(manager, one), handled(manager, two) as second:
        assert [manager.broadcast(n) for n in range(9)] == [2] * 9
        assert second.send("only you")
        await settle()
    assert one.heard == [*range(9)]
    assert two.heard == [*range(9), "only you"]
    assert manager.broadcast("nobody is there") == 0


async def test_some_get_it_and_some_do_not():
    manager = ConnectionManager()
    peers = [Peer() for _ in range(3)]
    async with (
        handled(manager, peers[0]) as a,
        handled(manager, peers[1]) as b,
        handled(manager, peers[2]) as c,
    ):
        assert tuple(manager) == (a, b, c)
        assert manager.broadcast(1, exclude=[b]) == 2
        assert manager.broadcast(2, to=[b, c]) == 2
        assert manager.broadcast(3, to=[b, c], exclude={b}) == 1
        await settle()
    assert [peer.heard for peer in peers] == [[1], [2], [1, 2, 3]]


def counting(form: Format[Any], log: list[Any]) -> Format[Any]:
    """Make a format that says what it encodes."""

    def encode(value: Any) -> bytes:
        log.append((form.name, value))
        return form.encode(value)

    return Format(form.name, form.mode, encode, form.decode)


async def test_a_message_is_encoded_once_for_each_format():
    """Connection: a message is encoded once, however many receive it."""
    manager, log = ConnectionManager(), []
    text = counting(as_json("json", object), log)
    binary = counting(as_msgpack("msgpack", object), log)
    peers = [Peer() for _ in range(4)]
    async with (
        handled(manager, peers[0], format=text),
        handled(manager, peers[1], format=binary),
        handled(manager, peers[2], format=text),
        handled(manager, peers[3], format=binary),
    ):
        assert manager.broadcast([1]) == 4
        await settle()
    assert sorted(log) == [("json", [1]), ("msgpack", [1])]
    assert [peer.heard for peer in peers] == [[[1]], [b"\x91\x01"]] * 2


async def test_nobody_gets_what_cannot_be_encoded_for_all():
    """ConnectionManager: what one format cannot write is sent to nobody."""
    manager = ConnectionManager()
    one, two = Peer(), Peer()
    async with (
        handled(manager, one),
        handled(manager, two, format=as_msgpack("msgpack", object)) as last,
    ):
        with pytest.raises(OverflowError):
            manager.broadcast(2**70)  # JSON has no limit, MessagePack has
        with pytest.raises(TypeError):
            last.send(object())
        assert manager.broadcast("fine") == 2
        await settle()
    assert one.heard == ["fine"]


# -- outboxes ----------------------------------------------------------------


async def test_who_does_not_read_is_disconnected():
    """Connection: an outbox that is full closes with 1013 "slow consumer"."""
    manager = ConnectionManager(max_messages=3)
    peer = stalled()
    async with handled(manager, peer) as connection:
        assert connection.send(0)
        await settle()  # has been taken
        assert [connection.send(n) for n in range(1, 5)] == [True] * 3 + [
            False
        ]
        assert connection.over
        assert len(manager) == 0
        assert not connection.send("late")
        peer.reads.set()
        await settle()
    assert peer.heard == [0]  # the rest was dropped with the connection
    assert peer.closes == [(1013, "slow consumer")]
    assert manager.stats().evictions == {"slow consumer": 1}


async def test_an_outbox_has_a_limit_in_bytes():
    """Connection: an outbox is bounded in bytes, too."""
    manager = ConnectionManager(max_bytes=10)
    peer = stalled()
    async with handled(manager, peer) as connection:
        assert connection.send("a single one may have more")
        assert not connection.send(1)
        assert connection.over
    assert manager.stats().evictions == {"slow consumer": 1}


POLICIES: list[tuple[WhenFull, list[bool], list[int]]] = [
    ("drop_oldest", [True] * 5, [3, 4, 5]),
    ("drop_newest", [True] * 3 + [False] * 2, [1, 2, 3]),
]


@pytest.mark.parametrize(("policy", "took", "heard"), POLICIES)
async def test_messages_may_be_dropped(
    policy: WhenFull, took: list[bool], heard: list[int]
):
    """Connection: what is dropped is counted, and the connection lives."""
    manager = ConnectionManager(max_messages=3, when_full=policy)
    peer = stalled()
    async with handled(manager, peer) as connection:
        assert [connection.send(n) for n in range(1, 6)] == took
        assert connection.dropped == manager.stats().dropped == 2
        assert manager.stats().queued == manager.stats().queued_bytes == 3
        peer.reads.set()
        await settle()
    assert peer.heard == heard
    assert manager.stats().dropped == 2
    assert manager.stats().evictions == {}


async def test_the_latest_of_a_key_is_enough():
    """Connection: under `latest` a message overwrites that of its key."""
    manager = ConnectionManager(max_messages=2, when_full="latest")
    peer = stalled()
    async with handled(manager, peer) as connection:
        for n in range(5):
            assert connection.send(["x", n], key="x")
            assert connection.send(["y", n * 1000], key="y")
        assert connection.dropped == 8
        assert manager.stats().queued_bytes == len('["x",4]["y",4000]')
        peer.reads.set()
        await settle()
    assert peer.heard == [["x", 4], ["y", 4000]]


@pytest.mark.parametrize("key", [None, "z"])
async def test_without_room_the_latest_disconnects(key: str | None):
    manager = ConnectionManager(max_messages=2, when_full="latest")
    async with handled(manager, stalled()) as connection:
        assert connection.send(1, key="x")
        assert connection.send(2, key="y")
        assert not connection.send(3, key=key)
    assert manager.stats().evictions == {"slow consumer": 1}


async def test_the_latest_keeps_to_the_limit_in_bytes():
    manager = ConnectionManager(max_bytes=10, when_full="latest")
    async with handled(manager, stalled()) as connection:
        assert connection.send("a", key="x")
        assert connection.send("a single one may", key="x")
        assert not connection.send("b", key="y")
    async with handled(manager, stalled()) as connection:
        assert connection.send("a", key="x")
        assert connection.send("b", key="y")
        assert not connection.send("becomes too long", key="x")
    assert manager.stats().evictions == {"slow consumer": 2}


async def test_a_key_means_nothing_elsewhere():
    manager = ConnectionManager()
    peer = Peer()
    async with handled(manager, peer) as connection:
        assert connection.send(1, key="x")
        assert connection.send(2, key="x")
        await settle()
    assert peer.heard == [1, 2]


async def test_a_send_that_takes_too_long_evicts():
    """Connection: a send that is not taken in `send_timeout` evicts."""
    manager = ConnectionManager(send_timeout=10)
    peer = stalled()
    async with handled(manager, peer) as connection:
        began = now()
        connection.send("hello")
        await passed(9.9, began)
        assert not connection.over
        await passed(10, began)
        assert connection.over
        assert len(manager) == 0
        peer.reads.set()
        await settle()
    assert peer.closes == [(1013, "send timed out")]
    assert manager.stats().evictions == {"send timed out": 1}


async def test_each_send_has_the_whole_time():
    manager = ConnectionManager(send_timeout=10)
    peer = stalled()
    async with handled(manager, peer) as connection:
        began = now()
        connection.send(1)
        await passed(8, began)
        peer.reads.set()
        await settle()
        peer.reads.clear()
        connection.send(2)
        await passed(17.9, began)
        assert not connection.over
        await passed(18.1, began)
        assert connection.over
    assert peer.heard == [1]


async def test_an_idle_connection_is_left_alone():
    manager = ConnectionManager(send_timeout=10)
    peer = Peer()
    async with handled(manager, peer) as connection:
        for number in range(3):
            connection.send(number)
            await asyncio.sleep(60)
        assert not connection.over
    assert peer.heard == [0, 1, 2]


# -- how it ends -------------------------------------------------------------


async def test_the_end_of_the_block_closes_with_1000():
    """Connection: at the end of the block, what is queued is sent first."""
    manager = ConnectionManager()
    peer = Peer()
    async with manager.connect(peer.socket) as connection:
        connection.send("bye")
    assert peer.heard == ["bye"]
    assert peer.closes == [(1000, "")]
    assert connection.over
    assert len(manager) == 0


async def test_who_takes_nothing_does_not_hold_up_the_end():
    """Connection: at the end of the block, all has `close_timeout`."""
    peer = stalled()
    manager = ConnectionManager(close_timeout=2)
    async with manager.connect(peer.socket) as connection:
        connection.send("never read")
        await settle()
    assert now() == pytest.approx(2, abs=0.1)
    assert peer.heard == peer.closes == []


async def test_nothing_holds_a_connection_that_has_ended():
    """Connection: once it has ended, it is garbage."""
    peer = Peer()
    async with ConnectionManager().connect(peer.socket) as connection:
        connection.send("hello")
        await settle()
    ended = weakref.ref(connection)
    del connection
    await settle()
    gc.collect()
    assert ended() is None


class Handler:
    """A task of its own whose block fails; Litestar answers for it."""

    def __init__(self, manager: ConnectionManager, peer: Peer) -> None:
        self.opened: list[Connection] = []
        self.manager, self.peer = manager, peer

    async def fail(self, error: Exception, *says: object) -> None:
        try:
            async with self.manager.connect(self.peer.socket) as connection:
                self.opened.append(connection)
                for message in says:
                    connection.send(message)
                raise error
        except WebSocketException as closing:
            assert closing.__cause__ is error
            await self.peer.socket.send(
                {
                    "type": "websocket.close",
                    "code": closing.code,
                    "reason": closing.detail,
                }
            )


@pytest.mark.parametrize(
    ("error", "close", "logged"),
    [
        (WebSocketException(detail="enough", code=4400), (4400, "enough"), 0),
        (Mistake("a secret"), (1011, "internal error"), 1),
    ],
)
async def test_an_error_is_raised_after_what_is_queued_is_sent(
    error: Exception,
    close: tuple[int, str],
    logged: int,
    caplog: pytest.LogCaptureFixture,
):
    """Connection: the log has an unexpected error, and the id."""
    manager, peer = ConnectionManager(), Peer()
    handler = Handler(manager, peer)
    await asyncio.create_task(handler.fail(error, "before"))
    (connection,) = handler.opened
    assert peer.heard == ["before"]
    assert peer.closes == [close]
    assert len(manager) == 0
    assert caplog.messages == [f"connection {connection.id} failed"] * logged
    assert ("Mistake: a secret" in caplog.text) == bool(logged)


async def test_a_time_out_of_the_block_is_an_error_of_the_block():
    async def handle() -> None:
        async with ConnectionManager().connect(Peer().socket):
            async with asyncio.timeout(1):
                await asyncio.sleep(2)

    with pytest.raises(WebSocketException, match="internal error") as failed:
        await asyncio.create_task(handle())
    assert isinstance(failed.value.__cause__, TimeoutError)


async def test_a_task_group_may_fail():
    async def fail() -> None:
        raise WebSocketException(detail="enough", code=4400)

    async def handle() -> None:
        async with (
            ConnectionManager().connect(Peer().socket),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(fail())
            tasks.create_task(asyncio.Event().wait())

    with pytest.raises(WebSocketException, match="enough") as failed:
        await asyncio.create_task(handle())
    assert failed.value.code == 4400


async def test_a_client_that_has_gone_is_not_waited_for():
    """Connection: a client that leaves is out at once, whatever is queued."""
    manager = ConnectionManager()
    peer = stalled()
    async with manager.connect(peer.socket) as connection:
        connection.send("never read")
        await settle()
        peer.leave()
        await listen(peer.socket)
        left = now()
    assert now() == left
    assert peer.heard == peer.closes == []


async def test_who_is_sent_something_after_it_has_gone_is_out():
    """Connection: a client that has vanished is out with the next send."""
    manager = ConnectionManager(close_timeout=2)
    peer = Peer()
    async with manager.connect(peer.socket) as connection:
        peer.vanish()
        connection.send("hello?")
        await settle()
        assert connection.over
        assert len(manager) == 0
        await asyncio.sleep(60)  # hears nothing, and is interrupted
    assert now() < 3
    assert peer.closes == []


async def test_a_close_of_your_own_stands(caplog: pytest.LogCaptureFixture):
    peer = Peer()
    async with ConnectionManager().connect(peer.socket) as connection:
        await close(peer.socket, 4001, "mine")
        connection.send("too late")
        await listen(peer.socket)
        await settle()
        assert connection.over
    assert peer.closes == [(4001, "mine")]
    assert not caplog.records


async def test_another_close_of_your_own_stands_too(
    caplog: pytest.LogCaptureFixture,
):
    peer = Peer()
    async with ConnectionManager().connect(peer.socket) as connection:
        await peer.socket.close(4001, "mine")  # Litestar's, not ours
        connection.send("too late")
        await listen(peer.socket)
        await settle()
        assert connection.over
    assert peer.closes == [(4001, "mine")]
    assert not caplog.records


@pytest.mark.parametrize("error", [Mistake, RuntimeError])
async def test_what_cannot_be_sent_closes(
    error: type[Exception], caplog: pytest.LogCaptureFixture
):
    """Connection: where a message is lost, the connection is closed."""
    peer = Peer()
    async with ConnectionManager().connect(peer.socket) as connection:
        peer.failure = error("of the server, once")
        connection.send("lost")
        await listen(peer.socket)
    assert now() < 1
    assert peer.closes == [(1011, "internal error")]
    assert caplog.messages == [f"connection {connection.id}: cannot send"]
    [record] = caplog.records
    assert record.exc_info
    assert isinstance(record.exc_info[1], error)


async def test_what_cannot_be_sent_at_the_end_is_not_a_normal_end():
    """Connection: where a message is lost, the connection is closed."""
    peer = Peer()
    async with ConnectionManager().connect(peer.socket) as connection:
        peer.failure = Mistake("of the server, once")
        connection.send("lost")
    assert peer.closes == [(1011, "internal error")]
    peer = Peer()
    async with ConnectionManager().connect(peer.socket) as connection:
        peer.failure = Mistake("of the server, once")
        connection.send("lost")
        connection.close(1000, flush=True)
        await listen(peer.socket)
    assert peer.closes == [(1000, "")]


async def test_a_close_frame_that_cannot_be_sent_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level("ERROR", "snippets")
    peer = Peer()
    async with ConnectionManager(close_timeout=2).connect(
        peer.socket
    ) as connection:
        peer.failure = Mistake("of the server, once")
        connection.close(4403, "out")
        await settle()
        peer.reads.clear()
        await asyncio.sleep(60)
    assert now() < 3
    assert peer.closes == []
    words = f"connection {connection.id}: cannot close"
    assert caplog.messages == [words]


@pytest.mark.parametrize("error", [OSError, RuntimeError])
async def test_who_seems_to_have_gone_and_takes_nothing_is_not_waited_for(
    error: type[Exception],
):
    peer = Peer()
    manager = ConnectionManager(close_timeout=2)
    async with manager.connect(peer.socket) as connection:
        peer.failure = error("of a middleware, once")
        connection.send("lost")
        await settle()
        peer.failure = None
        peer.reads.clear()
        await asyncio.sleep(60)
    assert now() < 3


async def test_a_cancelled_block_closes_with_1011():
    """Connection: a cancellation leaves at once, and closes with 1011."""
    manager = ConnectionManager()
    peer = stalled()

    async def handle() -> None:
        async with manager.connect(peer.socket) as connection:
            connection.send("never read")
            await asyncio.Event().wait()

    handler = asyncio.create_task(handle())
    await settle()
    assert len(manager) == 1
    handler.cancel()
    await settle()
    assert len(manager) == 0
    peer.reads.set()
    with pytest.raises(asyncio.CancelledError):
        await handler
    assert peer.heard == []
    assert peer.closes == [(1011, "cancelled")]


async def test_all_tasks_may_be_cancelled_at_once():
    """Connection: it ends well when a loop that ends cancels all tasks."""
    manager, peer = ConnectionManager(), Peer()

    async def handle() -> None:
        async with manager.connect(peer.socket):
            await asyncio.Event().wait()

    before = asyncio.all_tasks()
    handler = asyncio.create_task(handle())
    await settle()
    for task in asyncio.all_tasks() - before:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handler
    assert asyncio.all_tasks() == before
    assert len(manager) == 0
    assert peer.closes == [(1011, "cancelled")]


async def test_the_end_can_be_cancelled_too():
    """Connection: a cancellation while it ends leaves no task behind."""
    manager = ConnectionManager()
    peer = stalled()
    before = asyncio.all_tasks()

    async def handle() -> None:
        async with manager.connect(peer.socket) as connection:
            connection.send("never read")

    handler = asyncio.create_task(handle())
    await settle()
    assert len(manager) == 0
    handler.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handler
    assert now() <= 1.1
    assert asyncio.all_tasks() == before


async def test_a_cancellation_inside_is_no_end():
    peer = Peer()
    cancelled: asyncio.Future[None] = asyncio.Future()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with ConnectionManager().connect(peer.socket):
            await cancelled
    assert peer.closes == [(1011, "cancelled")]


@pytest.mark.parametrize(
    ("says", "seconds"), [((), 10), (("never read",), 12)]
)
async def test_a_failed_block_does_not_wait_for_who_takes_nothing(
    says: tuple[str, ...], seconds: int
):
    """Connection: a block that failed ends in time, its close included."""
    manager = ConnectionManager(send_timeout=10, close_timeout=2)
    peer = stalled()
    handler = asyncio.create_task(
        Handler(manager, peer).fail(Mistake(), *says)
    )
    await settle()
    assert len(manager) == 0
    await asyncio.wait((handler,))
    assert handler.cancelled()
    assert now() == pytest.approx(seconds, abs=0.1)
    assert peer.heard == peer.closes == []


async def test_what_is_around_it_sees_the_error():
    seen: list[type[BaseException] | None] = []

    class Transaction:
        async def __aenter__(self) -> None: ...

        async def __aexit__(
            self, kind: type[BaseException] | None, *_: object
        ) -> None:
            seen.append(kind)

    async def handle() -> None:
        async with Transaction(), ConnectionManager().connect(Peer().socket):
            raise Mistake

    with pytest.raises(WebSocketException):
        await asyncio.create_task(handle())
    assert seen == [WebSocketException]


async def test_a_burst_evicts_nobody_who_reads():
    """Connection: a burst of messages evicts nobody who reads."""
    manager = ConnectionManager(max_messages=2)
    peer, other = Peer(), Peer()
    async with handled(manager, other), manager.connect(peer.socket):
        for number in range(100):
            peer.say(str(number))
        for _ in range(100):
            manager.broadcast(await peer.socket.receive_text())
    assert manager.stats().evictions == {}
    assert peer.heard == other.heard == [str(n) for n in range(100)]


# -- close() -----------------------------------------------------------------


@pytest.mark.parametrize("flush", [True, False])
async def test_a_connection_can_be_closed(*, flush: bool):
    """Connection: close() leaves at once, says why, and flushes if asked."""
    manager = ConnectionManager()
    peer = stalled()
    async with handled(manager, peer, user="ada") as connection:
        for n in range(3):
            connection.send(n)
        await settle()
        assert connection.close(4409, "x" * 200, flush=flush)
        assert connection.over
        assert len(manager) == 0
        assert manager.of("ada") == ()
        peer.reads.set()
        await settle()
    assert peer.heard == ([0, 1, 2] if flush else [0])
    assert peer.closes == [(4409, "x" * 120 + "…")]


async def test_closing_twice_is_harmless():
    """Connection: only the first close counts."""
    peer = Peer()
    async with handled(ConnectionManager(), peer) as connection:
        assert connection.close(4000, "first")
        assert not connection.close(4001, "second")
        with pytest.raises(ValueError, match="1005"):
            connection.close(1005)
        await settle()
    assert peer.closes == [(4000, "first")]


async def test_a_block_that_does_not_hear_of_it_is_interrupted(
    caplog: pytest.LogCaptureFixture,
):
    """Connection: who does not end in `close_timeout` is interrupted."""
    caplog.set_level("INFO", "snippets")
    peer = stalled()
    notes = []
    async with ConnectionManager(close_timeout=2).connect(peer.socket) as it:
        it.close()
        try:
            await asyncio.sleep(60)
        finally:
            notes.append("cleaned up")
    notes.append("went on")
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(60)  # there is nothing left of it
    assert now() == pytest.approx(62)
    assert notes == ["cleaned up", "went on"]
    assert peer.closes == []
    assert caplog.messages == [
        f"connection {it.id}: cancelled, it went on at its end"
    ]


@pytest.mark.parametrize("flush", [True, False])
async def test_what_a_client_says_after_its_close_is_not_heard(*, flush: bool):
    """Connection: after close(), nothing that the client says is handled."""
    peer, heard = Peer(), []
    async with ConnectionManager().connect(peer.socket) as connection:
        for text in ("one", "two", "three"):
            peer.say(text)
        async for text in peer.socket.iter_data("text"):
            heard.append(text)
            connection.close(4403, "out", flush=flush)
    assert heard == ["one"]
    assert peer.closes == [(4403, "out")]


async def test_who_goes_on_after_its_close_is_not_heard_for_ever():
    """Connection: who does not end in `close_timeout` is interrupted."""
    peer = stalled()

    async def handle() -> None:
        async with ConnectionManager(close_timeout=2).connect(
            peer.socket
        ) as connection:
            connection.close()
            await peer.socket.receive_data("text")

    handler = asyncio.create_task(handle())
    async with asyncio.timeout(10):
        while not handler.done():
            peer.say("and another thing")
            await asyncio.sleep(0.1)
    await handler
    assert now() < 3


async def test_the_last_words_of_who_has_left_are_heard():
    """Connection: what a client said before it left is handled."""
    peer = Peer()
    async with ConnectionManager().connect(peer.socket) as connection:
        peer.say("goodbye")
        peer.leave()
        peer.vanish()
        connection.send("hello?")
        await settle()
        assert connection.over
        heard = [text async for text in peer.socket.iter_data("text")]
    assert heard == ["goodbye"]


async def test_what_a_client_said_before_its_server_closed_is_heard():
    """Connection: what a client said before it left is handled."""
    peer = Peer()
    async with ConnectionManager().connect(peer.socket) as connection:
        for text in ("one", "two"):
            peer.say(text)
        peer.close_by_itself()
        connection.send("hello?")
        await settle()
        assert connection.over
        heard = [text async for text in peer.socket.iter_data("text")]
    assert heard == ["one", "two"]


async def test_a_close_counts_though_the_server_closes_before():
    """Connection: after close(), nothing that the client says is handled."""
    peer = stalled()
    async with ConnectionManager().connect(peer.socket) as connection:
        connection.send("on its way")
        await settle()
        connection.close(4403, "out")
        peer.say("and another thing")
        peer.close_by_itself()
        peer.reads.set()
        assert [text async for text in peer.socket.iter_data("text")] == []


async def test_who_took_no_close_frame_is_not_sent_another():
    """Connection: after the end, another close does not wait."""
    peer = stalled()
    async with ConnectionManager(close_timeout=2).connect(peer.socket) as it:
        it.close()
        await asyncio.sleep(60)
    for _ in range(2):
        assert not await asyncio.wait_for(close(peer.socket), 1)
        await settle()  # the writer has ended, too
    assert now() < 3


async def test_an_interrupted_block_may_be_cancelled_as_well():
    """Connection: a cancellation is never mistaken for the interruption."""
    peer = stalled()

    async def handle() -> None:
        async with ConnectionManager(close_timeout=2).connect(
            peer.socket
        ) as connection:
            connection.close()
            asyncio.get_running_loop().call_later(2, handler.cancel)
            await asyncio.sleep(60)

    handler = asyncio.create_task(handle())
    with pytest.raises(asyncio.CancelledError):
        await handler
    assert now() < 3


async def test_it_may_be_closed_before_it_is_accepted():
    manager = ConnectionManager()
    peer = Peer()
    peer.accepts.clear()
    entered = []

    async def handle() -> None:
        async with manager.connect(peer.socket) as connection:
            entered.append(connection)
            await listen(peer.socket)

    handler = asyncio.create_task(handle())
    await settle()
    (connection,) = manager
    assert connection.send("lost")
    assert connection.close(4409, "replaced")
    peer.accepts.set()
    await handler
    assert entered == [connection]
    assert peer.heard == []
    assert peer.closes == [(4409, "replaced")]


async def test_who_was_closed_before_it_was_accepted_has_to_end_in_time():
    manager = ConnectionManager(close_timeout=2)
    peer = Peer()
    peer.accepts.clear()

    async def handle() -> None:
        async with manager.connect(peer.socket):
            await asyncio.sleep(60)

    handler = asyncio.create_task(handle())
    await settle()
    (connection,) = manager
    connection.close(4409, "replaced")
    await asyncio.sleep(30)
    peer.accepts.set()
    await handler
    assert now() == pytest.approx(32, abs=0.1)
    assert peer.closes == [(4409, "replaced")]


async def test_what_is_closing_is_not_evicted():
    """Connection: what is flushed at a close has `close_timeout` alone."""
    manager = ConnectionManager(send_timeout=1, close_timeout=5)
    peer = stalled()
    async with handled(manager, peer) as connection:
        connection.send("on its way")
        await settle()
        connection.close(flush=True)
        await asyncio.sleep(4)
        peer.reads.set()
        await settle()
    assert peer.heard == ["on its way"]
    assert peer.closes == [(1000, "")]
    assert manager.stats().evictions == {}


# -- at_end ------------------------------------------------------------------


async def test_who_wants_to_know_of_the_end_is_told_once(
    caplog: pytest.LogCaptureFixture,
):
    """Connection: at its end all are told, whatever one of them raises."""
    told: list[object] = []

    def one(connection: Connection) -> None:
        told.append("one")
        connection.close()
        connection.at_end(three)
        raise Mistake

    def two(connection: Connection) -> None:
        told.append("two")

    def three(connection: Connection) -> None:
        told.append("three")

    async with handled(ConnectionManager(), Peer()) as connection:
        for callback in (one, two, one):
            connection.at_end(callback)
        connection.close()
        assert told == ["one", "two", "three"]
        connection.at_end(two)
        connection.at_end(told.append)
        assert told == ["one", "two", "three", connection]
    assert caplog.messages == [f"connection {connection.id}: at its end"]


async def test_who_has_to_know_at_once_is_told_before_all_others(
    caplog: pytest.LogCaptureFixture,
):
    """Connection: who asks for it knows of an end at once, and first."""
    told: list[object] = []

    def late(connection: Connection) -> None:
        told.append("late")

    def first(connection: Connection) -> None:
        told.append(connection.over)
        connection.at_end(last)
        raise Mistake

    def last(connection: Connection) -> None:
        told.append("last")
        connection.at_end(told.append, at_once=True)
        assert told[-1] is connection

    manager = ConnectionManager(max_messages=1)
    async with handled(manager, stalled()) as connection:
        connection.at_end(late)
        connection.at_end(first, at_once=True)
        connection.send("on its way")
        await settle()
        connection.send("in the outbox")
        connection.at_end(lambda _: manager.broadcast("nobody is here"))
        assert manager.broadcast("too much") == 0
        assert told == [True, "late", "last", connection]
    assert caplog.messages == [f"connection {connection.id}: at its end"]


async def test_a_cancellation_that_is_told_of_an_end_cancels_nobody(
    caplog: pytest.LogCaptureFixture,
):
    cancelled: asyncio.Future[None] = asyncio.Future()
    cancelled.cancel()
    told = []
    manager, peer = ConnectionManager(), Peer()
    async with manager.connect(peer.socket) as connection:
        connection.at_end(lambda _: cancelled.result())
        connection.at_end(told.append)
    assert told == [connection]
    assert peer.closes == [(1000, "")]
    assert caplog.messages == [f"connection {connection.id}: at its end"]


async def test_what_is_said_of_an_end_comes_after_what_ended_it():
    """ConnectionManager: all get one order, also of what an end causes."""
    manager = ConnectionManager(max_messages=2)
    one, two = Peer(), Peer()
    async with (
        handled(manager, one),
        handled(manager, stalled()) as slow,
        handled(manager, two),
    ):
        slow.at_end(lambda _: manager.broadcast("has left"))
        slow.at_end(lambda _: None, at_once=True)
        slow.send("on its way")
        await settle()
        slow.send("in the outbox")
        slow.send("which is full")
        assert manager.broadcast("hello") == 2
        await settle()
    assert one.heard == two.heard == ["hello", "has left"]


async def test_many_ends_at_once_are_no_deep_recursion():
    manager = ConnectionManager(max_messages=1)
    left: list[Connection] = []

    def tell(connection: Connection) -> None:
        left.append(connection)
        manager.broadcast("somebody has left")

    async def handle() -> None:
        async with manager.connect(stalled().socket) as connection:
            connection.at_end(tell)
            await asyncio.sleep(60)

    async with asyncio.TaskGroup() as handlers:
        for _ in range(500):
            handlers.create_task(handle())
        await settle()
        assert [manager.broadcast(number) for number in range(2)] == [500, 0]
        assert len(left) == 500


# -- the manager -------------------------------------------------------------


async def test_it_is_known_before_it_is_accepted():
    """Connection: nothing is open and unknown: it is in before the accept."""
    manager = ConnectionManager()
    peer = Peer()
    peer.accepts.clear()
    handler = asyncio.ensure_future(handled(manager, peer).__aenter__())
    await settle()
    assert manager.broadcast("early") == 1
    peer.accepts.set()
    await handler
    await settle()
    assert peer.heard == ["early"]
    peer.leave()
    await settle()


@pytest.mark.parametrize(
    "error", [OSError("gone"), WebSocketException(detail="no", code=1008)]
)
async def test_who_cannot_be_accepted_is_out(error: Exception):
    """Connection: one that is not accepted is out of the manager."""
    manager = ConnectionManager()
    peer = Peer()
    peer.failure = error
    with pytest.raises(WebSocketException):
        await manager.connect(peer.socket).__aenter__()
    assert len(manager) == 0
    assert peer.sent == []


async def test_there_are_only_so_many_connections():
    """Connection: over `max_connections`, a client is refused."""
    manager = ConnectionManager(max_connections=1)
    peer = Peer()
    async with handled(manager, Peer()):
        with pytest.raises(WebSocketException) as refused:
            await manager.connect(peer.socket).__aenter__()
    assert refused.value.code == 1013
    assert peer.sent == []
    async with handled(manager, peer):
        assert len(manager) == 1


async def test_a_user_has_only_so_many_connections():
    """Connection: over `connections_per_user`, a client is refused."""
    manager = ConnectionManager(connections_per_user=2)
    async with (
        handled(manager, Peer(), user="ada") as one,
        handled(manager, Peer(), user="ada") as two,
        handled(manager, Peer(), user="bob"),
        handled(manager, Peer()),
    ):
        assert manager.of("ada") == (one, two)
        with pytest.raises(WebSocketException) as refused:
            await manager.connect(Peer().socket, user="ada").__aenter__()
        assert refused.value.code == 4429
        assert manager.stats().users == 2
        one.close()
        assert manager.of("ada") == (two,)
        async with handled(manager, Peer(), user="ada") as three:
            assert manager.of("ada") == (two, three)
    assert manager.stats().users == 0


async def test_what_a_manager_holds_can_be_read():
    """Connection: connections, queues, drops and evictions can be read."""
    manager = ConnectionManager(max_messages=2, when_full="drop_newest")
    async with (
        handled(manager, stalled(), user=1) as slow,
        handled(manager, stalled(), user=1),
    ):
        for message in ("one", "two", "three"):
            slow.send(message)
        stats = manager.stats()
        assert (stats.connections, stats.users) == (2, 1)
        assert (stats.queued, stats.queued_bytes) == (2, 10)
        assert (stats.dropped, stats.evictions) == (1, {})
    assert manager.stats().queued == manager.stats().queued_bytes == 0


async def test_whose_it_is_does_not_change():
    async with handled(ConnectionManager(), Peer(), user="ada") as connection:
        anything: Any = connection
        with pytest.raises(AttributeError):
            anything.user = "bob"
        assert connection.user == "ada"


def test_a_policy_that_is_none_is_an_error():
    typo: Any = "drop_newset"
    with pytest.raises(
        ValueError, match="drop_newest, latest, but got 'drop_newset'"
    ):
        ConnectionManager(when_full=typo)


async def test_a_connection_has_a_name_for_logs():
    manager = ConnectionManager()
    named = Peer(
        type("Spoken", (MessageSocket,), {"formats": [JSON]}), subprotocols=[]
    )
    async with handled(manager, Peer()) as one, handled(manager, named) as two:
        assert len(one.id) == 16
        assert two.id == getattr(named.socket, "id", None)


def test_a_listener_may_use_it_as_its_lifespan():
    manager = ConnectionManager()

    @asynccontextmanager
    async def member(socket: Socket) -> AsyncGenerator[None]:
        async with manager.connect(socket):
            yield

    @websocket_listener("/", connection_lifespan=member)
    async def talk(data: str) -> None:
        if data == "fail":
            raise Mistake
        manager.broadcast(data)

    app = Litestar([talk], logging_config=None)
    with (
        TestClient(app) as client,
        client.websocket_connect("/") as one,
        client.websocket_connect("/") as two,
    ):
        one.send_text("hello")
        assert one.receive_json(timeout=5) == "hello"
        assert two.receive_json(timeout=5) == "hello"
        one.send_text("fail")
        with pytest.raises(WebSocketDisconnect) as closed:
            one.receive_text(timeout=5)
        assert (closed.value.code, closed.value.detail) == (
            1011,
            "internal error",
        )
        two.send_text("on")
        assert two.receive_json(timeout=5) == "on"
    assert len(manager) == 0
