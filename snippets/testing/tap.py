"""A tap on the wire: records every WebSocket event of an app and draws them.

Wrap any ASGI app, use it as before, and look at what happened:

```python
tap = Tap(app)
async with connect(tap, "/chat") as ws:
    await ws.send("hello")
tap.diagram()  # a sequence diagram; print() it in a terminal
assert [str(event) for event in tap.connections[0].events] == [
    "→ handshake /chat",
    "← accept",
    '→ text "hello" (5 B)',
    "→ disconnect 1000",
]
```

The tap stands between server and app, so it sees messages as the app sends
and receives them: what is attempted, in the order of the app. It changes
nothing. Only the first characters of a payload are kept.

Needs: events, diagram.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from reprlib import repr as short_repr
from typing import Any

from .diagram import Diagram, draw
from .events import Connection, Direction, Event, Kind, wire_size

PREVIEW = 120
"""How many characters or bytes of a payload are kept."""

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


class Tap:
    """An ASGI app that passes everything on to another and records it.

    HTTP requests and lifespan pass through unrecorded.

    Args:
        app: Any ASGI app.
        names: Names for the clients, in the order of their handshakes;
            beyond them, "client 3" and so on.
        max_events: How many events are kept, over all connections. Beyond
            it the oldest are dropped.

    Attributes:
        dropped: How many events were dropped to make room.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        names: Sequence[str] = (),
        max_events: int = 10_000,
    ) -> None:
        self.app = app
        self.names = tuple(names)
        self.max_events = max_events
        self.dropped = 0
        self._events: deque[Event] = deque()
        self._connections: dict[int, Connection] = {}
        self._open: set[int] = set()
        self._last = 0

    @property
    def events(self) -> list[Event]:
        """The events of all connections in one sequence, oldest first."""
        return list(self._events)

    @property
    def connections(self) -> list[Connection]:
        """The connections that have events, in the order of handshakes."""
        return sorted(self._connections.values(), key=lambda c: c.number)

    def diagram(self, title: str | None = None) -> Diagram:
        """Draw what was recorded so far.

        Args:
            title: A caption, also read to those who cannot see the drawing.

        Returns:
            A drawing for notebooks; its `str` is one for terminals.
        """
        return draw(self.events, title=title, dropped=self.dropped)

    def clear(self) -> None:
        """Forget the events. Open connections go on, under their names.

        When no connection is open the next one is "client 1" again.
        """
        self._events.clear()
        for connection in self._connections.values():
            connection._events.clear()
        self._connections.clear()
        self.dropped = 0
        self._last = max(self._open, default=0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the app and listen in: this makes the tap an ASGI app."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        connection = self._connect(scope)

        async def tapped_receive() -> Any:
            message = await receive()
            self._received(connection, message)
            return message

        async def tapped_send(message: Any) -> None:
            closed_by = connection.closed_by
            event = self._sent(connection, message)
            try:
                await send(message)
            except BaseException as error:
                event.error = type(error).__name__
                if event.kind in {"close", "denial"}:
                    connection.closed_by = closed_by
                raise

        try:
            await self.app(scope, tapped_receive, tapped_send)
        except BaseException as error:
            self._add(Event(connection, "exception", "app", _describe(error)))
            raise
        else:
            if connection.closed_by is None:
                missing = "close" if connection.accepted else "accept"
                without = f"without {missing}"
                self._add(Event(connection, "returned", "app", without))
        finally:
            self._open.discard(connection.number)

    def _connect(self, scope: Mapping[str, Any]) -> Connection:
        number = self._last = self._last + 1
        named = number <= len(self.names)
        connection = Connection(
            number,
            self.names[number - 1] if named else f"client {number}",
            path=scope["path"][:PREVIEW],
            query=_text(scope.get("query_string", b""))[:PREVIEW],
        )
        self._open.add(number)
        event = Event(connection, "handshake", "in", connection.path)
        if connection.query:
            event.payload = f"{connection.path}?{connection.query}"
        event.subprotocols = tuple(scope.get("subprotocols") or ())
        self._add(event)
        return connection

    def _received(self, connection: Connection, message: Any) -> None:
        match message.get("type"):
            case "websocket.connect":
                return  # the handshake was recorded when the app was called
            case "websocket.disconnect":
                connection.closed_by = connection.closed_by or "client"
                event = _closing(connection, "disconnect", message)
            case "websocket.receive":
                event = _frame(connection, "in", message)
            case other:
                event = Event(
                    connection, "other", "in", _text(other)[:PREVIEW]
                )
        self._add(event)

    def _sent(self, connection: Connection, message: Any) -> Event:
        # What an app sends may be wrong in any way. It is the server's part
        # to say so, hence nothing in here may raise.
        message = message if isinstance(message, Mapping) else {}
        match message.get("type"):
            case "websocket.send":
                event = _frame(connection, "out", message)
            case "websocket.accept":
                connection.accepted = True
                event = Event(connection, "accept", "out")
                if chosen := message.get("subprotocol"):
                    connection.subprotocol = _text(chosen)[:PREVIEW]
                    event.subprotocols = (connection.subprotocol,)
                event.headers = _headers(message.get("headers"))
            case "websocket.close":
                connection.closed_by = connection.closed_by or "app"
                event = _closing(connection, "close", message)
                event.refuses = not connection.accepted
            case "websocket.http.response.start":
                connection.closed_by = connection.closed_by or "app"
                event = Event(connection, "denial", "out")
                event.code = _code(message.get("status"))
            case "websocket.http.response.body":
                return self._denial_body(connection, message.get("body"))
            case other:
                event = Event(
                    connection, "other", "out", _text(other)[:PREVIEW]
                )
        return self._add(event)

    def _denial_body(self, connection: Connection, body: Any) -> Event:
        """Add a part of the body to the denial that it belongs to."""
        events = connection._events
        if events and events[-1].kind == "denial":
            event = events[-1]
        else:
            event = self._add(Event(connection, "denial", "out"))
        if isinstance(body, bytes):
            text = body[:PREVIEW].decode(errors="replace")
            event.payload = (str(event.payload) + text)[:PREVIEW]
            event.size += len(body)
        return event

    def _add(self, event: Event) -> Event:
        connection = event.connection
        connection._events.append(event)
        self._events.append(event)
        self._connections[connection.number] = connection
        if len(self._events) > self.max_events:
            oldest = self._events.popleft().connection
            oldest._events.popleft()
            if not oldest._events:
                del self._connections[oldest.number]
            self.dropped += 1
        return event


def _frame(
    connection: Connection, direction: Direction, message: Mapping[str, Any]
) -> Event:
    text, data = message.get("text"), message.get("bytes")
    match data if text is None else text:
        case str(payload):
            kind, kept, size = "text", payload[:PREVIEW], wire_size(payload)
        case bytes(payload) | bytearray(payload):
            kind, kept, size = "binary", bytes(payload[:PREVIEW]), len(payload)
        case wrong:
            kind, kept, size = "other", short_repr(wrong), 0
    return Event(connection, kind, direction, kept, size)


def _closing(
    connection: Connection, kind: Kind, message: Mapping[str, Any]
) -> Event:
    # The defaults are those of the ASGI specification.
    direction, default = ("out", 1000) if kind == "close" else ("in", 1005)
    reason = _text(message.get("reason") or "")
    event = Event(
        connection, kind, direction, reason[:PREVIEW], wire_size(reason)
    )
    event.code = _code(message.get("code", default))
    return event


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return short_repr(value)


def _code(value: object) -> int | None:
    return int(value) if isinstance(value, int) else None


def _headers(headers: object) -> tuple[tuple[str, str], ...]:
    # Only a list or a tuple can be read without using it up.
    if not isinstance(headers, list | tuple):
        return ()
    return tuple(
        (_text(pair[0])[:PREVIEW], _text(pair[1])[:PREVIEW])
        for pair in headers
        if isinstance(pair, list | tuple) and len(pair) == 2
    )


def _describe(error: BaseException) -> str:
    name = type(error).__name__
    message = ""
    if isinstance(error, asyncio.CancelledError):
        return name  # its message is an address: who cancelled
    with suppress(Exception):  # a broken __str__ must not hide the error
        message = str(error)
    return f"{name}: {message}"[:PREVIEW] if message else name
