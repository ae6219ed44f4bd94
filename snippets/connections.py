"""Connections that nobody waits for: one writer and a bounded outbox each.

A handler only receives. What it has to say, to one or to all, it puts into
the outbox of each connection, and the connection's own writer sends it:

```python
manager = ConnectionManager()

@websocket("/chat")
async def chat(socket: WebSocket) -> None:
    async with manager.connect(socket):
        async for text in socket.iter_data():
            manager.broadcast({"text": text})
```

Who reads too slowly fills an outbox, and loses the connection; nobody else
notices. Use a manager in one event loop only.

Needs: litestar, `subprotocols.py`, `lifecycle.py` and `closing.py`.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Hashable,
    Iterator,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Literal, NamedTuple, cast, get_args

import anyio
from litestar.exceptions import WebSocketDisconnect, WebSocketException

from .closing import CLOSED, AnySocket, CloseCode, check_code, close
from .lifecycle import lifecycle
from .subprotocols import Format, as_json

WhenFull = Literal["disconnect", "drop_oldest", "drop_newest", "latest"]
"""What happens to a message for which an outbox has no room."""

JSON = as_json("json", object)
"""How messages are written if nothing else is said."""

Callback = Callable[["Connection"], object]

_DONE = CloseCode.NORMAL, ""

logger = logging.getLogger(__name__)


class Stats(NamedTuple):
    """What a manager holds now, and has counted since its begin.

    Attributes:
        connections: How many are open.
        users: How many different users they belong to.
        queued: How many messages wait in outboxes.
        queued_bytes: How many bytes these have.
        dropped: How many messages were dropped, or overwritten by newer ones.
        evictions: How many connections the manager closed, by reason.
    """

    connections: int
    users: int
    queued: int
    queued_bytes: int
    dropped: int
    evictions: dict[str, int]


@dataclass(slots=True, eq=False)
class _Frame:
    """A message as it is sent; one for all who get it."""

    event: Any
    size: int
    key: Hashable


class Connection:
    """A connection with its outbox, made by `ConnectionManager.connect()`.

    Attributes:
        socket: Receive from it; what is sent goes through the connection.
        id: A name for logs; that of the socket if it has one.
        dropped: How many messages were dropped, or overwritten by newer ones.
        over: Whether it has ended or is about to; it takes no more messages.
    """

    def __init__(
        self,
        manager: "ConnectionManager",
        socket: AnySocket,
        user: Hashable,
        format: Format[Any],  # noqa: A002
    ) -> None:
        self.socket = socket
        self.id = str(getattr(socket, "id", "") or token_hex(8))
        self.dropped = 0
        self.over = False
        self._user = user
        self._manager = manager
        self._format = format
        self._receive = socket.receive
        # What is sent goes past `lifecycle`, which is one call less a frame:
        # the writer sees for itself when the client has gone.
        self._send = socket.send
        self._loop = asyncio.get_running_loop()
        self._outbox: list[_Frame] = []  # a tenth of the size of a deque
        self._bytes = 0
        self._at_end: dict[Callback, bool] = {}
        self._goodbye: tuple[int, str] | None = None
        self._deadline: float | None = None  # of the block and the writer
        self._block: asyncio.Timeout | None = None
        self._writer: asyncio.Task[None]
        self._idle: asyncio.Future[None] | None = None
        self._sending_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def user(self) -> Hashable:
        """Whose it is, None if nobody knows."""
        return self._user

    def send(self, message: object, *, key: Hashable = None) -> bool:
        """Queue a message; whatever the client does, this does not wait.

        Args:
            message: What the connection's format encodes.
            key: What it is the latest of, see `latest`.

        Returns:
            Whether it was queued, and not dropped; False at the end.

        Raises:
            TypeError: It cannot be encoded; see `broadcast()`.
        """
        return self._manager.broadcast(message, to=(self,), key=key) == 1

    def close(
        self,
        code: int = CloseCode.NORMAL,
        reason: str = "",
        *,
        flush: bool = False,
    ) -> bool:
        """Close the connection, without waiting for it.

        It is out of the manager and of all rooms at once. What is on its way
        and the close frame have `close_timeout`, and so has the block of
        `connect()`. Its next `receive` says that the client has left, whatever
        the client has said meanwhile.

        Args:
            code: A code that may be sent, see `closing.check_code()`.
            reason: Why, for the client's eyes; cut to 123 bytes.
            flush: Whether what is in the outbox is sent before.

        Returns:
            Whether this ended it; closing twice is harmless.

        Raises:
            ValueError: The code may not be sent.
        """
        check_code(code)
        return self._end((code, reason), flush=flush)

    def at_end(self, callback: Callback, *, at_once: bool = False) -> None:
        """Have a function called once, when the connection ends.

        It is called before the event loop runs anything else, however the
        connection ends, but after a broadcast or such a function that is
        under way, and in the order of adding; at once if it has ended. What it
        raises is logged. That a client has left is known when the block
        receives, or a send fails.

        Args:
            callback: The function; adding it again changes nothing.
            at_once: Whether it is called before all others, even in the middle
                of a broadcast. So it must not send or close anything.
        """
        if callback not in self._at_end:
            self._at_end[callback] = at_once
            if self.over:
                self._tell([(callback, at_once)])

    def _tell(self, callbacks: Collection[tuple[Callback, bool]]) -> None:
        """Call what is to be called at once, and have the others called."""
        manager = self._manager
        manager._due.extend((each, self) for each, now in callbacks if not now)
        for callback in [each for each, now in callbacks if now]:
            manager._call(callback, self)
        manager._settle()

    def _put(self, frame: _Frame) -> bool:
        """Queue a frame, if there is room or room can be made."""
        if self.over:
            return False
        manager, outbox = self._manager, self._outbox
        place = None
        if frame.key is not None and manager.when_full == "latest":
            keys = [each.key for each in outbox]
            place = keys.index(frame.key) if frame.key in keys else None
        if place is None:
            outbox.append(frame)
        else:  # not at the end: a key that changes often would never be sent
            self._drop(outbox[place])
            outbox[place] = frame
        self._bytes += frame.size
        # A single message may have more than `max_bytes`.
        while (
            len(outbox) > manager.max_messages
            or self._bytes > manager.max_bytes
        ) and len(outbox) > 1:
            if manager.when_full == "drop_oldest":
                self._drop(outbox.pop(0))
            elif manager.when_full == "drop_newest":
                self._drop(outbox.pop())
                return False
            else:
                self._evict("slow consumer")
                return False
        if self._idle is not None:
            self._wake()
        return True

    def _drop(self, frame: _Frame) -> None:
        self._bytes -= frame.size
        self.dropped += 1
        self._manager.dropped += 1

    def _wake(self) -> None:
        """Let the writer go on, if it waits for a message or for the end."""
        idle, self._idle = self._idle, None
        if idle is not None and not idle.done():  # not cancelled
            idle.set_result(None)

    def _evict(self, reason: str) -> None:
        self._manager.evictions[reason] += 1
        self.close(CloseCode.TRY_AGAIN_LATER, reason)

    def _end(
        self, goodbye: tuple[int, str] | None, *, flush: bool = False
    ) -> bool:
        """Leave everything at once; say goodbye as soon as it can be said."""
        if self.over:
            return False
        self.over = True
        manager = self._manager
        del manager._connections[self], manager._users[self.user][self]
        if not manager._users[self.user]:
            del manager._users[self.user]
        self._goodbye = goodbye
        if not flush:
            self._outbox.clear()
            self._bytes = 0
        self._wake()
        self._must_end()
        self._tell(self._at_end.items())
        return True

    def _must_end(self) -> None:
        """Limit how long the block may go on, and the writer."""
        self._deadline = self._loop.time() + self._manager.close_timeout
        if self._block is not None:
            self._block.reschedule(self._deadline)

    async def _write(self) -> None:
        """Send what is in the outbox, until the end and then goodbye."""
        send, outbox, time = self._send, self._outbox, self._loop.time
        try:
            while True:
                if outbox and self._timer is None:
                    self._sending_since = time()
                    self._evict_if_stuck()  # nothing is, but the timer is set
                while outbox:
                    frame = outbox.pop(0)
                    self._bytes -= frame.size
                    self._sending_since = time()
                    await send(frame.event)
                self._sending_since = None
                if self.over:
                    break
                self._idle = self._loop.create_future()
                await self._idle
        except (WebSocketDisconnect, OSError):
            self._end(None)  # gone
            self._give_up()
        except Exception as error:
            if await self._fail(error):
                logger.exception("connection %s: cannot send", self.id)
        await self._say_goodbye()

    async def _fail(self, error: Exception) -> bool:
        """Say goodbye with 1011, if nothing else is said.

        Returns:
            Whether the error is to be logged: not if another has closed, which
            servers report as RuntimeError.
        """
        failed = CloseCode.INTERNAL_ERROR, "internal error"
        if not self._end(failed) and self._goodbye is _DONE:
            self._goodbye = failed
        if not isinstance(error, RuntimeError) or await self._say_goodbye():
            return True
        if self._goodbye is failed:
            self._goodbye = None  # another's close, so `_receive` goes on
        return False

    async def _say_goodbye(self) -> bool:
        if self._goodbye is None:
            return False
        try:
            return await close(self.socket, *self._goodbye)
        except asyncio.CancelledError:
            self._give_up()  # close() says that one may try again
            raise
        except Exception:
            self._give_up()
            logger.exception("connection %s: cannot close", self.id)
            return False

    def _evict_if_stuck(self) -> None:
        """See whether a send takes too long; one timer for many sends."""
        self._timer = None
        if self._sending_since is not None and not self.over:
            due = self._sending_since + self._manager.send_timeout
            if due <= self._loop.time():
                self._evict("send timed out")
            else:
                self._timer = self._loop.call_at(due, self._evict_if_stuck)

    def _start(self) -> asyncio.Timeout:
        """Begin to write; the socket has been accepted.

        Returns:
            What the block has to run in.
        """
        self._writer = self._loop.create_task(self._write())
        self.socket.receive = self._receive_last
        if self.over:  # since before it was accepted
            self._must_end()
        self._block = asyncio.timeout_at(self._deadline)
        return self._block

    async def _receive_last(self) -> Any:
        # The writers go first: many messages may be here already, and a
        # handler that is never made to wait would fill all outboxes.
        while True:
            await asyncio.sleep(0)
            event = await self._receive()
            # What comes after our close comes too late.
            if self._goodbye is None or event["type"] != "websocket.receive":
                return event

    async def _finish(
        self, goodbye: tuple[int, str] | None, *, flush: bool
    ) -> None:
        """End, and wait for the writer; the block has been left."""
        self._block = None
        self.socket.receive = self._receive
        # Nobody waits for a client that has gone.
        flush &= self.socket.connection_state != "disconnect"
        ended = self._end(goodbye, flush=flush)
        if ended and not flush:
            self._writer.cancel()  # if it ended before, it may say goodbye
        left = max(0, (self._deadline or 0) - self._loop.time())
        try:
            with anyio.CancelScope(shield=True):  # cancel() still ends it
                await asyncio.wait((self._writer,), timeout=left)
        finally:
            if not self._writer.done():  # so no close frame gets through
                self._writer.cancel()
                self._give_up()

    def _give_up(self) -> None:
        """Have nobody else try to close: it would wait for ever."""
        cast("dict[str, object]", self.socket.scope)[CLOSED] = True


@dataclass(kw_only=True, eq=False)
class ConnectionManager:
    """All connections of an app, and how much each may cost.

    Args:
        max_connections: How many there may be.
        connections_per_user: How many one user may have.
        max_messages: How many messages an outbox holds.
        max_bytes: How many bytes an outbox holds; a single message may have
            more.
        when_full: What happens to a message for which there is no room.
            `disconnect`: the connection is closed with 1013, so that nobody
            misses a message without knowing. `drop_oldest` and `drop_newest`
            say it. `latest`: a message takes the place of one with the same
            key, full or not, and so overtakes what was said in between; if
            there is still no room, as `disconnect`.
        send_timeout: How long a client may take to take a message, in
            seconds, before it is closed with 1013.
        close_timeout: How long a connection may take to end, in seconds. The
            server may keep the socket of a client that takes nothing longer.

    Raises:
        ValueError: There is no such `when_full`.

    Attributes:
        evictions: How many connections the manager has closed, by reason.
        dropped: How many messages were dropped, or overwritten by newer ones.
    """

    max_connections: int = 10_000
    connections_per_user: int = 8
    max_messages: int = 256
    max_bytes: int = 2**20
    when_full: WhenFull = "disconnect"
    send_timeout: float = 10.0
    close_timeout: float = 2.0

    def __post_init__(self) -> None:
        if self.when_full not in (policies := get_args(WhenFull)):
            expected = ", ".join(policies)
            raise ValueError(
                f"when_full: expected {expected}, but got {self.when_full!r}"
            )
        self.evictions: Counter[str] = Counter()
        self.dropped = 0
        self._connections: dict[Connection, None] = {}
        self._users: dict[Hashable, dict[Connection, None]] = {}
        # Callbacks that wait until a broadcast, or another one, is over.
        self._due: deque[tuple[Callback, Connection]] = deque()
        self._held = False

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._connections))

    def of(self, user: Hashable) -> tuple[Connection, ...]:
        """List the connections of a user, oldest first.

        Args:
            user: What was given to `connect()`.

        Returns:
            The open connections.
        """
        return tuple(self._users.get(user, ()))

    @asynccontextmanager
    async def connect(
        self,
        socket: AnySocket,
        *,
        user: Hashable = None,
        format: Format[Any] = JSON,  # noqa: A002
    ) -> AsyncGenerator[Connection]:
        """Accept a connection, and see that it ends well and everywhere.

        It is known before it is accepted, so it misses nothing that is sent
        from then on. However the block is left, the connection is out of the
        manager and of all rooms before anything else runs. Then what is in
        its outbox is sent, within `close_timeout`, and it is closed as by
        `lifecycle()`, with 1011 if that could not be sent. Where the
        connection ends first, the block has that time to end, too, and is
        cancelled then. After a block that failed, all else, Litestar's close
        frame included, has `send_timeout`, and then the task is cancelled.

        Enter and leave it in one task, as in a handler or the lifespan of a
        listener. Within the block, `receive` lets the writers go first. What a
        listener returns goes past the outbox and has no limit; `send()` it.

        Args:
            socket: The connection. It may be accepted already.
            user: Whose it is; anything but None is counted.
            format: How messages are written.

        Yields:
            The connection, open.

        Raises:
            WebSocketException: The client is refused: there are
                `max_connections` (1013), or it has `connections_per_user`
                (4429). Or the block failed, as in `lifecycle()`; a bug is in
                the log, with the connection's id.
        """
        if len(self) >= self.max_connections:
            raise WebSocketException(
                detail="too many connections", code=CloseCode.TRY_AGAIN_LATER
            )
        if (
            user is not None
            and len(self.of(user)) >= self.connections_per_user
        ):
            raise WebSocketException(
                detail="you have too many connections", code=CloseCode.TOO_FAST
            )
        connection = Connection(self, socket, user, format)
        self._connections[connection] = None
        self._users.setdefault(user, {})[connection] = None
        try:
            async with lifecycle(socket):
                block = connection._start()
                goodbye, flush = None, False
                try:
                    async with block:
                        yield connection
                    goodbye, flush = _DONE, True
                except Exception as error:
                    if not (
                        isinstance(error, TimeoutError) and block.expired()
                    ):
                        flush = True  # and Litestar says goodbye
                        raise
                    words = "connection %s: cancelled, it went on at its end"
                    logger.info(words, connection.id)
                finally:
                    await connection._finish(goodbye, flush=flush)
        except WebSocketException as closing:
            if closing.code == CloseCode.INTERNAL_ERROR:
                cause = closing.__cause__
                logger.exception(
                    "connection %s failed", connection.id, exc_info=cause
                )
            # Litestar sends the close frame, and would wait for ever for a
            # client that takes nothing. So this task has to end in time.
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            timer = connection._loop.call_later(self.send_timeout, task.cancel)
            task.add_done_callback(lambda _: timer.cancel())
            raise
        finally:
            connection._end(None)  # if it was not accepted
            if connection._timer is not None:
                connection._timer.cancel()

    def broadcast(
        self,
        message: object,
        *,
        to: Collection[Connection] | None = None,
        exclude: Collection[Connection] = (),
        key: Hashable = None,
    ) -> int:
        """Queue a message for all connections, or for some; wait for none.

        It is encoded once for each format. Nothing else runs between the
        first connection and the last, so all get messages in one order
        (`latest` may change it for who is slow).

        Args:
            message: What the connections' formats encode.
            to: Who gets it; all if None.
            exclude: Who does not get it.
            key: What the message is the latest of, see `latest`.

        Returns:
            How many outboxes took it.

        Raises:
            TypeError: It cannot be encoded, and nobody gets it. What a format
                raises else is raised, too: OverflowError for a number that is
                too large for MessagePack, UnicodeError for half a character.
        """
        everyone = self._connections if to is None else to
        members = [each for each in everyone if each not in exclude]
        formats = {each._format for each in members}
        frames = {each: _frame(each, message, key) for each in formats}
        held, self._held = self._held, True
        try:
            taken = [each._put(frames[each._format]) for each in members]
        finally:
            self._held = held
            self._settle()
        return sum(taken)

    def stats(self) -> Stats:
        """Count.

        Returns:
            How things are now.
        """
        return Stats(
            connections=len(self._connections),
            users=len(self._users.keys() - {None}),
            queued=sum(len(each._outbox) for each in self._connections),
            queued_bytes=sum(each._bytes for each in self._connections),
            dropped=self.dropped,
            evictions=dict(self.evictions),
        )

    def _settle(self) -> None:
        """Call what waits for the end of connections, one after the other.

        Never in the middle of a broadcast: what is called may broadcast, too,
        and some would get that first.
        """
        while self._due and not self._held:
            self._call(*self._due.popleft())

    def _call(self, callback: Callback, connection: Connection) -> None:
        held, self._held = self._held, True
        try:
            callback(connection)
        except (Exception, asyncio.CancelledError):  # it is no task
            logger.exception("connection %s: at its end", connection.id)
        finally:
            self._held = held


def _frame(form: Format[Any], message: object, key: Hashable) -> _Frame:
    payload = form.encode(message)
    data = {"bytes": payload}
    if form.mode == "text":
        data = {"text": payload.decode()}
    return _Frame({"type": "websocket.send", **data}, len(payload), key)
