"""The tap records what passes, and changes nothing."""

import asyncio
import tracemalloc
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from litestar import Litestar, WebSocket, get, websocket

from snippets.testing.client import Closed
from snippets.testing.in_process import connect
from snippets.testing.tap import PREVIEW, ASGIApp, Tap

Message = dict[str, Any]
CONNECT: Message = {"type": "websocket.connect"}
ACCEPT: Message = {"type": "websocket.accept"}
LEAVE: Message = {"type": "websocket.disconnect", "code": 1000}


def text(payload: str) -> Message:
    return {"type": "websocket.receive", "text": payload}


class Wire:
    """The server's side of one connection: what it delivers, what it got."""

    def __init__(
        self,
        *incoming: Message,
        scope: Message | None = None,
        send_fails: Mapping[str, Exception] | None = None,
    ) -> None:
        self.incoming = [CONNECT, *incoming]
        self.scope = {"type": "websocket", "path": "/"} | (scope or {})
        self.send_fails = send_fails or {}
        self.sent: list[Message] = []

    async def receive(self):
        return self.incoming.pop(0)

    async def send(self, message: Message):
        self.sent.append(message)
        if error := self.send_fails.get(message["type"]):
            raise error

    async def run(self, app: ASGIApp):
        await app(self.scope, self.receive, self.send)


def sends(*messages: Any):
    """Make an app that reads one message, sends these, and returns."""

    async def app(scope: Any, receive: Any, send: Any):
        await receive()
        for message in messages:
            await send(message)

    return app


async def echo(scope: Any, receive: Any, send: Any):
    await receive()
    await send(ACCEPT)
    while (message := await receive())["type"] == "websocket.receive":
        await send(message | {"type": "websocket.send"})


def words(tap: Tap, number: int = 0):
    return [str(event) for event in tap.connections[number].events]


async def test_a_connection_is_recorded_from_handshake_to_disconnect():
    @websocket("/chat")
    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        async for message in socket.iter_data(mode="text"):
            await socket.send_text(message.upper())

    tap = Tap(Litestar([chat]))
    async with connect(tap, "/chat", params={"room": "a"}) as client:
        await client.send("hello")
        assert await client.receive() == "HELLO"
    assert words(tap) == [
        "→ handshake /chat?room=a",
        "← accept",
        '→ text "hello" (5 B)',
        '← text "HELLO" (5 B)',
        "→ disconnect 1000",
    ]
    connection = tap.connections[0]
    assert (connection.name, connection.path) == ("client 1", "/chat")
    assert (connection.query, connection.accepted) == ("room=a", True)
    assert connection.closed_by == "client"


async def test_what_passes_is_passed_on_unchanged():
    wire = Wire(text("a"), LEAVE)
    payload = wire.incoming[1]
    seen = []

    async def app(scope: Any, receive: Any, send: Any):
        seen.extend([scope, await receive(), await receive()])
        await send(payload)

    await wire.run(Tap(app))
    assert seen[0] is wire.scope
    assert seen[2] is payload
    assert wire.sent[0] is payload


async def test_http_and_lifespan_pass_through_untouched():
    seen = []

    async def app(*call: object):
        seen.append(call)

    tap = Tap(app)
    for kind in ("http", "lifespan"):
        call = ({"type": kind}, object(), object())
        await tap(*call)
        assert seen.pop() == call
    assert tap.events == []


async def test_a_tapped_app_still_answers_http_and_runs_its_lifespan():
    started = []

    @get("/")
    async def index() -> str:
        return "index"

    @websocket("/")
    async def quiet(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    on_startup = [lambda: started.append(True)]
    tap = Tap(Litestar([index, quiet], on_startup=on_startup))
    async with connect(tap) as client:
        with pytest.raises(Closed):
            await client.receive()
    assert started == [True]
    assert len(tap.connections) == 1


async def test_subprotocols_and_headers_of_the_handshake_are_recorded():
    headers = [(b"x-id", b"7")]
    app = sends(ACCEPT | {"subprotocol": "v2", "headers": headers})
    tap = Tap(app)
    await Wire(scope={"subprotocols": ["v1", "v2"]}).run(tap)
    assert words(tap) == [
        "→ handshake / (offers v1, v2)",
        "← accept subprotocol v2 (x-id: 7)",
        "✕ returned without close",
    ]
    assert tap.connections[0].subprotocol == "v2"


async def test_binary_frames_are_recorded_as_bytes():
    frame = {"type": "websocket.receive", "bytes": b"\xff", "text": None}
    tap = Tap(echo)
    await Wire(frame, LEAVE).run(tap)
    assert words(tap)[2:4] == [
        r'→ binary b"\xff" (1 B)',
        r'← binary b"\xff" (1 B)',
    ]


async def test_a_close_by_the_app_comes_first_and_the_disconnect_answers():
    close = {"type": "websocket.close", "code": 4001, "reason": "why"}

    async def app(scope: Any, receive: Any, send: Any):
        await sends(ACCEPT, close)(scope, receive, send)
        await receive()

    tap = Tap(app)
    await Wire(LEAVE | {"code": 4001}).run(tap)
    assert words(tap)[2:] == ['← close 4001 "why"', "→ disconnect 4001"]
    assert tap.connections[0].closed_by == "app"


async def test_a_close_after_the_client_left_does_not_count_as_first():
    async def app(scope: Any, receive: Any, send: Any):
        await sends(ACCEPT)(scope, receive, send)
        await receive()
        await send({"type": "websocket.close"})

    tap = Tap(app)
    await Wire({"type": "websocket.disconnect", "reason": None}).run(tap)
    assert words(tap)[2:] == ["→ disconnect 1005", "← close 1000"]
    assert tap.connections[0].closed_by == "client"


async def test_a_close_that_could_not_be_sent_has_not_closed():
    async def app(scope: Any, receive: Any, send: Any):
        await send(ACCEPT)
        with pytest.raises(OSError, match="gone"):
            await send({"type": "websocket.close"})
        assert tap.connections[0].closed_by is None
        await receive()
        await receive()

    tap = Tap(app)
    fails = {"websocket.close": OSError("gone")}
    await Wire(LEAVE, send_fails=fails).run(tap)
    assert words(tap)[2:] == [
        "← close 1000 (failed: OSError)",
        "→ disconnect 1000",
    ]
    assert tap.connections[0].closed_by == "client"


async def test_a_frame_that_could_not_be_sent_does_not_undo_a_close():
    gone = RuntimeError("after close")
    frame = {"type": "websocket.send", "text": "late"}
    tap = Tap(sends(ACCEPT, {"type": "websocket.close"}, frame))
    with pytest.raises(RuntimeError) as caught:
        await Wire(send_fails={"websocket.send": gone}).run(tap)
    assert caught.value is gone
    assert words(tap)[3:] == [
        '← text "late" (4 B, failed: RuntimeError)',
        "✕ exception RuntimeError: after close",
    ]
    assert tap.connections[0].closed_by == "app"


async def test_a_close_before_accept_refuses():
    tap = Tap(sends({"type": "websocket.close", "code": 4003}))
    await Wire().run(tap)
    assert words(tap)[1:] == ["← close 4003 (sent as HTTP 403)"]
    connection = tap.connections[0]
    assert (connection.accepted, connection.closed_by) == (False, "app")


async def test_a_denial_response_is_one_event_whatever_its_parts():
    start = {"type": "websocket.http.response.start", "status": 401}
    body = {"type": "websocket.http.response.body"}
    parts = [
        body | {"body": b"no ", "more_body": True},
        body | {"body": b"token"},
    ]
    wire = Wire()
    tap = Tap(sends(start, *parts, body))
    await wire.run(tap)
    assert words(tap)[1:] == ['← denial HTTP 401 "no token"']
    assert tap.events[1].size == 8
    assert tap.connections[0].closed_by == "app"
    assert wire.sent == [start, *parts, body]


async def test_a_denial_body_that_has_no_start_stands_alone():
    tap = Tap(sends({"type": "websocket.http.response.body", "body": b"?"}))
    await Wire().run(tap)
    assert words(tap)[1:] == ['← denial HTTP "?"', "✕ returned without accept"]


async def test_an_exception_leaves_the_app_unchanged():
    error = ValueError("boom")

    async def app(scope: Any, receive: Any, send: Any):
        raise error

    tap = Tap(app)
    with pytest.raises(ValueError, match="boom") as caught:
        await Wire().run(tap)
    assert caught.value is error
    assert words(tap)[1:] == ["✕ exception ValueError: boom"]
    assert tap.connections[0].closed_by is None


async def test_an_exception_that_cannot_be_printed_is_still_the_apps():
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    tap = Tap(sends({"type": "websocket.close"}))
    with pytest.raises(Broken):
        await Wire(send_fails={"websocket.close": Broken()}).run(tap)
    assert words(tap)[-1] == "✕ exception Broken"


async def test_a_cancellation_is_told_without_its_message():
    async def app(scope: Any, receive: Any, send: Any):
        raise asyncio.CancelledError("Cancelled via cancel scope 7f00deadbeef")

    tap = Tap(app)
    with pytest.raises(asyncio.CancelledError):
        await Wire().run(tap)
    assert words(tap)[-1] == "✕ exception CancelledError"


async def test_an_app_that_returns_without_close_or_accept_is_told():
    tap = Tap(sends(ACCEPT))
    await Wire().run(tap)
    tap.app = sends()
    await Wire().run(tap)
    assert words(tap, 0)[-1] == "✕ returned without close"
    assert words(tap, 1)[-1] == "✕ returned without accept"


class Odd(Mapping[str, str]):
    """A message that is a mapping but no dict."""

    def __getitem__(self, key: str) -> str:
        return {"type": "websocket.send", "text": "odd"}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(("type", "text"))

    def __len__(self) -> int:
        return 2


SEND: Message = {"type": "websocket.send"}
CLOSE: Message = {"type": "websocket.close"}
BODY: Message = {"type": "websocket.http.response.body"}
ODD_HEADERS = (("a", "b"), [b"c", 1], "?", (1,))


@pytest.mark.parametrize(
    ("message", "recorded"),
    [
        (SEND | {"text": None}, "← other None"),
        (SEND | {"text": 1}, "← other 1"),
        (SEND | {"bytes": [0] * 9}, "← other [0, 0, 0, 0, 0, 0, ...]"),
        (SEND | {"bytes": bytearray(b"a")}, '← binary b"a" (1 B)'),
        ({"type": "websocket.ping"}, "← other websocket.ping"),
        ({}, "← other None"),
        (None, "← other None"),
        (Odd(), '← text "odd" (3 B)'),
        (ACCEPT | {"subprotocol": ["v1"]}, "← accept subprotocol ['v1']"),
        (ACCEPT | {"headers": ODD_HEADERS}, "← accept (a: b, c: 1)"),
        (CLOSE | {"code": "1000"}, "← close (sent as HTTP 403)"),
        (CLOSE | {"reason": b"a"}, '← close 1000 "a" (sent as HTTP 403)'),
        (BODY | {"body": 1}, "← denial HTTP"),
    ],
)
async def test_a_wrong_message_reaches_the_server_as_it_is(
    message: Any, recorded: str
):
    sent = []

    async def send(message: Any):
        sent.append(message)

    async def receive():
        return {"type": "websocket.pong"}

    tap = Tap(sends(message))
    await tap({"type": "websocket", "path": "/"}, receive, send)
    assert sent == [message]
    assert sent[0] is message
    assert words(tap)[1:3] == ["→ other websocket.pong", recorded]


async def test_headers_that_can_be_read_only_once_are_left_to_the_server():
    headers = iter([(b"a", b"b")])
    tap = Tap(sends(ACCEPT | {"headers": headers}))
    await Wire().run(tap)
    assert list(headers) == [(b"a", b"b")]
    assert tap.events[1].headers == ()


async def test_events_of_all_connections_form_one_sequence():
    async def both(scope: Any, receive: Any, send: Any):
        await receive()
        await send(ACCEPT)
        if scope["path"] == "/outer":
            await Wire(LEAVE, scope={"path": "/inner"}).run(tap)

    tap = Tap(both, names=["Ada"])
    await Wire(scope={"path": "/outer"}).run(tap)
    assert [(e.connection.name, e.kind) for e in tap.events] == [
        ("Ada", "handshake"),
        ("Ada", "accept"),
        ("client 2", "handshake"),
        ("client 2", "accept"),
        ("client 2", "returned"),
        ("Ada", "returned"),
    ]
    assert [c.path for c in tap.connections] == ["/outer", "/inner"]


async def test_clear_forgets_and_counts_from_one_again():
    tap = Tap(echo)
    await Wire(LEAVE).run(tap)
    kept = tap.connections[0]
    tap.clear()
    assert (tap.events, tap.connections, tap.dropped) == ([], [], 0)
    assert kept.events == []
    await Wire(LEAVE).run(tap)
    assert [c.name for c in tap.connections] == ["client 1"]


async def test_clear_lets_an_open_connection_keep_its_name():
    async def app(scope: Any, receive: Any, send: Any):
        await send(ACCEPT)
        if scope["path"] == "/outer":
            tap.clear()
            assert tap.connections == []
            await Wire().run(tap)
            await send({"type": "websocket.close"})

    tap = Tap(app)
    await Wire(scope={"path": "/outer"}).run(tap)
    assert [c.name for c in tap.connections] == ["client 1", "client 2"]
    assert words(tap, 0) == ["← close 1000"]


async def test_the_oldest_events_make_room_and_are_counted():
    tap = Tap(echo, max_events=5)
    await Wire(LEAVE).run(tap)
    await Wire(text("a"), LEAVE).run(tap)
    assert tap.dropped == 3
    assert len(tap.events) == 5
    assert [c.name for c in tap.connections] == ["client 2"]
    await Wire(LEAVE).run(tap)
    assert tap.dropped == 6
    assert words(tap, 0) == ['← text "a" (1 B)', "→ disconnect 1000"]
    assert tap.events == [e for c in tap.connections for e in c.events]


async def test_three_hundred_connections_are_all_there():
    tap = Tap(echo)
    for _ in range(300):
        await Wire(text("a"), LEAVE).run(tap)
    assert len(tap.connections) == 300
    assert len(tap.events) == 1500
    assert tap.dropped == 0
    assert "288 more clients not shown" in str(tap.diagram())


async def test_only_the_start_of_a_payload_is_kept():
    size = 10_000_000
    tap = Tap(echo)
    frames = [
        text("x" * size),
        {"type": "websocket.receive", "bytes": bytes(size)},
    ]
    wire = Wire(*frames, LEAVE)
    tracemalloc.start()
    try:
        await wire.run(tap)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [len(e.payload) for e in tap.events[2:6]] == [PREVIEW] * 4
    assert [e.size for e in tap.events[2:6]] == [size] * 4
    assert peak < 100_000


async def test_everything_else_that_can_be_long_is_cut_too():
    long = "y" * 1000
    data = long.encode()

    async def app(scope: Any, receive: Any, send: Any):
        headers = [(data, data)]
        await send(ACCEPT | {"subprotocol": long, "headers": headers})
        await send({"type": long})
        await send({"type": "websocket.close", "reason": long})
        await send({"type": "websocket.http.response.body", "body": data})
        raise ValueError(long)

    tap = Tap(app)
    scope = {"path": long, "query_string": data}
    with pytest.raises(ValueError, match="y"):
        await Wire(scope=scope).run(tap)
    assert max(len(str(event)) for event in tap.events) < 400
    assert str(tap.events[3]) == f'← close 1000 "{long[:PREVIEW]}…"'


async def test_the_diagram_carries_title_and_dropped_events():
    tap = Tap(echo, max_events=2)
    await Wire(LEAVE).run(tap)
    diagram = tap.diagram("Echo")
    assert str(diagram).splitlines()[0] == "Echo"
    assert "1 earlier event dropped" in str(diagram)
