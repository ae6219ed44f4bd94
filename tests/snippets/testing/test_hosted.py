"""An app in process meets what it meets behind a server."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from snippets.testing.client import ASGIApp, Closed, Refused
from snippets.testing.in_process import connect

SOON = 0.05
"""A time-out that is meant to pass, and nothing has to happen before it."""

LATER = 0.5
"""One before which something has to happen, on a busy machine, too."""

Socket = WebSocket[Any, Any, Any]
Handler = Callable[[Socket], Awaitable[None]]


def app_of(handler: Handler) -> ASGIApp:
    """Make an app of one handler, with nothing between it and the client."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await handler(WebSocket(scope, receive, send))

    return app


async def accept_and_listen(socket: Socket) -> None:
    await socket.accept()
    async for _ in socket.iter_data("text"):
        pass


async def ignore_everything(socket: Socket) -> None:
    await socket.accept()
    await asyncio.Event().wait()


def closing(code: int, reason: str = "") -> Handler:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        await socket.close(code, reason)

    return handler


async def put(socket: Socket, kind: str, **fields: Any) -> None:
    """Send an ASGI message as it is."""
    message: Any = {"type": f"websocket.{kind}", **fields}
    await socket.send(message)


async def watch(handler: Handler, ending: list[str]) -> None:
    """Connect, and note how the connection ends."""
    async with connect(app_of(handler)) as ws:
        async for _ in ws:
            pass
        ending.append(str(ws.closed))


class Mistake(Exception):
    """What goes wrong in these tests."""


def recording(heard: list[Any]) -> Handler:
    """Make a handler that writes down all it receives."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        while True:
            message = await socket.receive()
            heard.append(message)
            if message["type"] == "websocket.disconnect":
                return

    return handler


# -- the scope ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "params", "arrives"),
    [
        ("/", None, ("/", b"/", b"")),
        ("/rooms/lobby", {}, ("/rooms/lobby", b"/rooms/lobby", b"")),
        ("/?a=1", None, ("/", b"/", b"a=1")),
        ("/", {"q": "ü &"}, ("/", b"/", b"q=%C3%BC+%26")),
        ("/?a=1", {"b": "2"}, ("/", b"/", b"a=1&b=2")),
        ("/a%20b", None, ("/a b", b"/a%20b", b"")),
        ("/größe", None, ("/größe", b"/gr%C3%B6%C3%9Fe", b"")),
        ("/a%2Fb", None, ("/a/b", b"/a%2Fb", b"")),
    ],
)
async def test_path_and_query_arrive(
    path: str, params: dict[str, str] | None, arrives: tuple[str, bytes, bytes]
):
    seen = []

    async def look(socket: Socket) -> None:
        scope = socket.scope
        keys = scope["path"], scope["raw_path"], scope["query_string"]
        seen.append(keys)
        await closing(1000)(socket)

    async with connect(app_of(look), path, params=params):
        pass
    assert seen == [arrives]


async def test_headers_cookies_and_the_offer_arrive():
    seen: list[object] = []

    async def look(socket: Socket) -> None:
        seen.extend((socket.headers["x-trace"], socket.cookies))
        seen.append(socket.scope["subprotocols"])
        await closing(1000)(socket)

    async with connect(
        app_of(look),
        headers={"X-Trace": "7"},
        cookies={"session": "s", "theme": "dark"},
        subprotocols=["chat.v2", "chat.v1"],
    ):
        pass
    cookies = {"session": "s", "theme": "dark"}
    assert seen == ["7", cookies, ["chat.v2", "chat.v1"]]


async def test_without_an_offer_the_app_sees_an_empty_list():
    seen = []

    async def look(socket: Socket) -> None:
        seen.append(socket.scope["subprotocols"])
        await closing(1000)(socket)

    async with connect(app_of(look)):
        pass
    assert seen == [[]]


# -- the order of messages ---------------------------------------------------


async def accept_twice(socket: Socket) -> None:
    await socket.accept()
    await put(socket, "accept")


async def send_before_accepting(socket: Socket) -> None:
    await socket.receive()
    await put(socket, "send", text="x")


async def accept_and_deny(socket: Socket) -> None:
    await socket.accept()
    await put(socket, "http.response.start", status=401)


@pytest.mark.parametrize(
    "handler", [accept_twice, send_before_accepting, accept_and_deny]
)
async def test_an_app_that_breaks_the_order_of_asgi_fails(handler: Handler):
    async def visit() -> None:
        async with connect(app_of(handler)) as ws:
            await ws.receive()

    with pytest.raises((Refused, Closed)) as caught:
        await visit()
    text = "Expected ASGI message .* or .*, but got 'websocket"
    with pytest.raises(RuntimeError, match=text):
        raise caught.value.__cause__ or AssertionError


@pytest.mark.parametrize("kind", ["close", "send", "accept"])
async def test_an_app_that_speaks_after_its_close_fails(kind: str):
    async def speak_on(socket: Socket) -> None:
        await closing(4000)(socket)
        await put(socket, kind)

    ending: list[str] = []
    with pytest.raises(RuntimeError, match=f"{kind}', after sending"):
        await watch(speak_on, ending)
    assert ending == ["4000"]


async def test_keys_that_asgi_calls_optional_may_be_missing():
    async def speak_tersely(socket: Socket) -> None:
        await socket.receive()
        await put(socket, "accept")
        await put(socket, "send", text="x")
        await put(socket, "close", reason=None)

    async with connect(app_of(speak_tersely)) as ws:
        assert [message async for message in ws] == ["x"]
        assert str(ws.closed) == "1000"


# -- before accepting --------------------------------------------------------


async def close_early(socket: Socket) -> None:
    await socket.close(4003, "not you")


async def close_early_without_a_code(socket: Socket) -> None:
    await put(socket, "close")


async def never_accept(socket: Socket) -> None:
    pass


async def deny(socket: Socket) -> None:
    await socket.receive()
    await put(socket, "http.response.start", status=401)
    await put(socket, "http.response.body", body=b"log in, ", more_body=True)
    await put(socket, "http.response.body", body=b"please")


async def deny_without_a_body(socket: Socket) -> None:
    await socket.receive()
    await put(socket, "http.response.start", status=418)
    await put(socket, "http.response.body")


@pytest.mark.parametrize(
    ("handler", "says", "code", "reason"),
    [
        (close_early, "HTTP 403", 4003, "not you"),
        (close_early_without_a_code, "HTTP 403", 1000, ""),
        (deny, "HTTP 401 'log in, please'", None, ""),
        (deny_without_a_body, "HTTP 418", None, ""),
        (never_accept, "HTTP 500 'Internal Server Error'", None, ""),
    ],
)
async def test_an_app_that_does_not_accept_refuses(
    handler: Handler, says: str, code: int | None, reason: str
):
    with pytest.raises(Refused) as caught:
        async with connect(app_of(handler)):
            pytest.fail("nobody is connected")
    assert str(caught.value) == says
    assert (caught.value.code, caught.value.reason) == (code, reason)


# -- closing -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        *[(code, "") for code in (0, 999, 1004, 1005, 1006, 1015, 1016)],
        *[(code, "") for code in (2999, 5000)],
        (1000, "x" * 124),
        (1000, "é" * 62),
    ],
)
async def test_a_close_that_no_frame_can_carry_fails_in_the_handler(
    code: int, reason: str
):
    ending: list[str] = []
    with pytest.raises(ValueError, match="close frame cannot carry"):
        await watch(closing(code, reason), ending)
    assert ending == ["1006"]


async def test_returning_without_a_close_loses_the_connection():
    async def say_a_word(socket: Socket) -> None:
        await socket.accept()
        await socket.send_text("word")

    async with connect(app_of(say_a_word)) as ws:
        assert await ws.receive() == "word"
        with pytest.raises(Closed, match=r"^1006$"):
            await ws.receive()


async def test_an_app_that_closes_hears_its_own_close():
    heard: list[Any] = []

    async def close_and_listen(socket: Socket) -> None:
        await closing(4000, "bye")(socket)
        heard.append(await socket.receive())

    async with connect(app_of(close_and_listen)) as ws:
        with pytest.raises(Closed):
            await ws.receive()
        assert heard == [
            {"type": "websocket.disconnect", "code": 4000, "reason": "bye"}
        ]


async def test_a_close_from_elsewhere_wakes_a_handler_that_listens():
    # A manager that sends somebody off must not wait for their next message.
    sockets: list[Socket] = []
    gone = asyncio.Event()

    async def listen(socket: Socket) -> None:
        sockets.append(socket)
        await accept_and_listen(socket)
        gone.set()

    async with connect(app_of(listen)) as ws:
        await sockets[0].close(4000)
        await asyncio.wait_for(gone.wait(), 5)
        with pytest.raises(Closed, match=r"^4000$"):
            await ws.receive()


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (3001, "lunch"), (4999, "")]
)
async def test_the_app_sees_how_the_client_closed(code: int, reason: str):
    heard: list[Any] = []
    async with connect(app_of(recording(heard))) as ws:
        await ws.close(code, reason)
    disconnect = {"type": "websocket.disconnect", "code": code}
    assert heard == [{**disconnect, "reason": reason}]


@pytest.mark.parametrize("ending", ["leaves", "fails"])
async def test_a_client_that_leaves_the_block_closes_with_1000(ending: str):
    heard: list[Any] = []
    with pytest.raises(Mistake) if ending == "fails" else nullcontext():
        async with connect(app_of(recording(heard))):
            if ending == "fails":
                raise Mistake
    assert [message["code"] for message in heard] == [1000]


async def test_all_that_was_sent_before_leaving_arrives_first():
    heard: list[Any] = []

    async def work_then_listen(socket: Socket) -> None:
        with suppress(OSError):  # which says that the client has left
            await send_for_ever(socket)
        await recording(heard)(socket)

    async with connect(app_of(work_then_listen)) as ws:
        await ws.send("one")
        await ws.send(b"two")
    types = [message["type"].removeprefix("websocket.") for message in heard]
    assert types == ["receive", "receive", "disconnect"]
    assert (heard[0]["text"], heard[1]["bytes"]) == ("one", b"two")
    assert heard[2]["code"] == 1000


async def send_for_ever(socket: Socket) -> None:
    await socket.accept()
    while True:
        await socket.send_text("tick")
        await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["closes", "leaves"])
async def test_sending_to_a_client_that_has_gone_is_an_oserror(how: str):
    raised: list[BaseException] = []

    async def tick(socket: Socket) -> None:
        try:
            await send_for_ever(socket)
        except OSError as gone:
            raised.append(gone)
            raise

    async with connect(app_of(tick)) as ws:
        assert await ws.receive() == "tick"
        if how == "closes":
            await ws.close()
    assert [str(gone) for gone in raised] == ["the client has gone"]


async def test_a_handler_may_wait_with_a_time_out_of_its_own():
    # asyncio.wait_for() cancels a receive, which must lose nothing.
    async def poll(socket: Socket) -> None:
        await socket.accept()
        while True:
            try:
                text = await asyncio.wait_for(socket.receive_text(), 0.001)
                await socket.send_text(text)
            except TimeoutError:
                continue
            except WebSocketDisconnect:
                return

    async with connect(app_of(poll)) as ws:
        for number in range(50):
            await ws.send_json(number)
            assert await ws.receive_json() == number


# -- errors and time-outs ----------------------------------------------------


async def test_an_error_loses_the_connection_and_is_raised_in_the_test():
    async def fail(socket: Socket) -> None:
        await socket.accept()
        raise Mistake

    ending: list[str] = []
    with pytest.raises(Mistake):
        await watch(fail, ending)
    assert ending == ["1006"]


async def test_a_handler_that_waits_for_something_cancelled_is_lost():
    async def wait_for_a_dead_task(socket: Socket) -> None:
        await socket.accept()
        task = asyncio.ensure_future(asyncio.Event().wait())
        task.cancel()
        await task

    ending: list[str] = []
    with pytest.raises(RuntimeError, match="the handler raised Cancelled"):
        await watch(wait_for_a_dead_task, ending)
    assert ending == ["1006"]


async def test_a_handler_that_does_not_answer_is_cancelled():
    cancelled = []

    async def think(socket: Socket) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(TimeoutError, match="neither accepted nor refused"):
        async with connect(app_of(think), timeout=SOON):
            pytest.fail("nobody is connected")
    assert cancelled == [True]


async def test_a_handler_that_does_not_end_is_cancelled():
    with pytest.raises(TimeoutError, match="the handler was still running"):
        async with connect(app_of(ignore_everything), timeout=LATER):
            pass


async def test_a_handler_may_take_longer_than_the_handshake_may():
    async def speak_late(socket: Socket) -> None:
        await socket.accept()
        await asyncio.wait_for(late.wait(), 5)
        await socket.send_text("late")
        await socket.close()

    late = asyncio.Event()
    async with connect(app_of(speak_late), timeout=LATER) as ws:
        with pytest.raises(TimeoutError):
            await ws.receive()
        with pytest.raises(TimeoutError):
            await ws.receive()
        late.set()
        ws.timeout = 5
        assert await ws.receive() == "late"


async def test_a_cancelled_block_ends_its_handler():
    heard: list[Any] = []

    async def visit() -> None:
        app = app_of(recording(heard))
        async with asyncio.timeout(None) as limit, connect(app):
            limit.reschedule(0)  # time is up, but not before the handshake
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await visit()
    assert [message["code"] for message in heard] == [1000]
