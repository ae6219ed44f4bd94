"""connect() behaves as a server does, and leaves nothing behind."""

import asyncio
import gc
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from httpx_ws import aconnect_ws
from httpx_ws.transport import ASGIWebSocketTransport
from litestar import Litestar, WebSocket, websocket

from snippets.testing.client import ASGIApp, Closed, Refused
from snippets.testing.in_process import InProcess, connect

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


async def echo(socket: Socket) -> None:
    await socket.accept()
    while (message := await socket.receive())["type"] == "websocket.receive":
        await socket.send({**message, "type": "websocket.send"})


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


def tasks() -> set[str]:
    """List what runs in this loop, but for the test runner's own tasks."""
    names = {repr(task.get_coro()) for task in asyncio.all_tasks()}
    return {name for name in names if "TestRunner" not in name}


@pytest.fixture(autouse=True)
async def nothing_is_left(anyio_backend: str) -> AsyncGenerator[None]:
    assert tasks() == set()
    yield
    assert tasks() == set()
    gc.collect()  # a warning about a lost resource is an error here


@pytest.fixture(scope="module", autouse=True)
def garbage_is_collected_fast() -> Generator[None]:
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# -- messages ----------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        "hello",
        "",
        "¡ø🙂",
        "x" * 2**20,
        b"hello",
        b"",
        b"\xff\x00",
        b"x" * 2**20,
    ],
    ids=lambda message: f"{type(message).__name__} of {len(message)}",
)
async def test_a_message_comes_back_as_it_was_sent(message: str | bytes):
    async with connect(app_of(echo)) as ws:
        await ws.send(message)
        assert await ws.receive() == message


async def test_json_travels_as_text():
    async with connect(app_of(echo)) as ws:
        await ws.send_json({"a": [1, None]})
        assert json.loads(await ws.receive()) == {"a": [1, None]}
        await ws.send_json("x")
        assert await ws.receive_json() == "x"


async def test_iteration_ends_when_the_server_closes():
    async def count(socket: Socket) -> None:
        await socket.accept()
        for number in range(3):
            await socket.send_text(str(number))
        await socket.close(4000, "that is all")

    async with connect(app_of(count)) as ws:
        assert [message async for message in ws] == ["0", "1", "2"]
        assert str(ws.closed) == "4000 'that is all'"


# -- the handshake -----------------------------------------------------------


async def test_the_answer_shows_its_headers_and_subprotocol():
    async def choose(socket: Socket) -> None:
        await socket.accept(subprotocols="v1", headers={"X-Room": "lobby"})
        await socket.close()

    async with connect(app_of(choose), subprotocols=["v2", "v1"]) as ws:
        assert ws.subprotocol == "v1"
        assert ws.headers["X-ROOM"] == "lobby"
    async with connect(app_of(echo)) as ws:
        assert ws.subprotocol is None


async def close_early(socket: Socket) -> None:
    await socket.close(4003, "not you")


async def never_accept(socket: Socket) -> None:
    pass


async def deny(socket: Socket) -> None:
    await socket.receive()
    start: Any = {"type": "websocket.http.response.start", "status": 401}
    body: Any = {"type": "websocket.http.response.body", "body": b"log in"}
    await socket.send(start)
    await socket.send(body)


async def choose_wrongly(socket: Socket) -> None:
    await socket.accept(subprotocols="v9")
    await accept_and_listen(socket)


NOT_TAKEN = "the client does not take the answer: unexpected subprotocol v9"


@pytest.mark.parametrize(
    ("handler", "says", "status", "code", "reason"),
    [
        (close_early, "HTTP 403", 403, 4003, "not you"),
        (deny, "HTTP 401 'log in'", 401, None, ""),
        (never_accept, "HTTP 500 'Internal Server Error'", 500, None, ""),
        (
            choose_wrongly,
            f"HTTP 101 '{NOT_TAKEN}'",
            101,
            None,
            "",
        ),
    ],
)
async def test_a_refusal_says_what_the_wire_and_the_app_said(
    handler: Handler, says: str, status: int, code: int | None, reason: str
):
    with pytest.raises(Refused) as caught:
        async with connect(app_of(handler), subprotocols=["v1"]):
            pytest.fail("nobody is connected")
    refused = caught.value
    assert str(refused) == says
    assert (refused.status, refused.code) == (status, code)
    assert refused.reason == reason


async def test_a_failure_before_accept_is_the_cause_of_the_refusal():
    async def fail(socket: Socket) -> None:
        raise Mistake

    with pytest.raises(Refused, match="HTTP 500") as caught:
        async with connect(app_of(fail)):
            pytest.fail("nobody is connected")
    assert isinstance(caught.value.__cause__, Mistake)


async def test_a_mistake_of_the_caller_is_no_refusal():
    offer: Any = [7]
    with pytest.raises(TypeError):
        async with connect(app_of(echo), subprotocols=offer):
            pytest.fail("nobody is connected")


@pytest.mark.parametrize("turns", range(8))
async def test_a_client_that_does_not_take_the_answer_is_gone(turns: int):
    # However far the handler has come, it hears of it.
    heard: list[Any] = []

    async def accept_and_work(socket: Socket) -> None:
        await socket.accept(subprotocols="v9")
        for _ in range(turns):
            await asyncio.sleep(0)
        heard.append((await socket.receive())["type"])

    with pytest.raises(Refused):
        async with connect(app_of(accept_and_work), subprotocols=["v1"]):
            pytest.fail("nobody is connected")
    assert heard == ["websocket.disconnect"]


# -- closing -----------------------------------------------------------------


async def test_a_close_by_the_server_arrives_with_code_and_reason():
    async with connect(app_of(closing(4001, "log in again"))) as ws:
        with pytest.raises(Closed) as caught:
            await ws.receive()
    assert (caught.value.code, caught.value.reason) == (4001, "log in again")


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1014, 3000, 4999])
async def test_every_code_that_travels_arrives(code: int):
    async with connect(app_of(closing(code))) as ws:
        with pytest.raises(Closed, match=f"^{code}$"):
            await ws.receive()


async def test_a_reason_of_123_bytes_arrives():
    async with connect(app_of(closing(1000, "é" * 61 + "x"))) as ws:
        with pytest.raises(Closed) as caught:
            await ws.receive()
    assert len(caught.value.reason.encode()) == 123


@pytest.mark.parametrize("who", ["server", "client"])
async def test_after_the_close_every_call_says_so_again(who: str):
    handler = closing(4000, "bye") if who == "server" else accept_and_listen
    async with connect(app_of(handler)) as ws:
        if who == "server":
            with pytest.raises(Closed):
                await ws.receive()
        else:
            await ws.close(4000, "bye")
        again: list[Callable[[], Awaitable[object]]] = [
            ws.receive,
            ws.receive_json,
            lambda: ws.send("x"),
            lambda: ws.send_json({}),
            ws.receive,
        ]
        for call in again:
            with pytest.raises(Closed, match="4000 'bye'"):
                await call()
        assert [message async for message in ws] == []
        await ws.close(1000)  # harmless
        assert str(ws.closed) == "4000 'bye'"


async def test_what_came_before_the_close_can_still_be_received():
    async def speak_and_close(socket: Socket) -> None:
        await socket.accept()
        await socket.send_text("one")
        await socket.send_text("two")
        await socket.close(4000)
        done.set()

    done = asyncio.Event()
    async with connect(app_of(speak_and_close)) as ws:
        await asyncio.wait_for(done.wait(), 5)
        with pytest.raises(Closed, match=r"^4000$"):
            await ws.send("too late")
        assert [message async for message in ws] == ["one", "two"]


async def test_a_client_that_closes_second_knows_who_was_first():
    done = asyncio.Event()

    async def close_first(socket: Socket) -> None:
        await closing(4000, "first")(socket)
        done.set()

    async with connect(app_of(close_first)) as ws:
        await asyncio.wait_for(done.wait(), 5)
        await ws.close(1000, "second")
        assert str(ws.closed) == "4000 'first'"


async def send_for_ever(socket: Socket) -> None:
    await socket.accept()
    while True:
        await socket.send_text("tick")
        await asyncio.sleep(0)


async def test_closing_while_the_server_speaks_disturbs_nobody():
    # Many messages are on their way when the client closes.
    for _ in range(20):
        async with connect(app_of(send_for_ever)) as ws:
            assert await ws.receive() == "tick"
            await ws.close(4000)
            await asyncio.sleep(0)
            with pytest.raises(Closed, match=r"^4000$"):
                await ws.receive()


# -- errors ------------------------------------------------------------------


async def test_an_error_in_the_app_is_the_cause_of_one_in_the_block():
    async def fail(socket: Socket) -> None:
        await socket.accept()
        raise Mistake

    with pytest.raises(Closed) as caught:
        async with connect(app_of(fail)) as ws:
            await ws.receive()
    assert isinstance(caught.value.__cause__, Mistake)


async def test_an_error_in_the_block_keeps_its_own_cause():
    async def fail(socket: Socket) -> None:
        await socket.accept()
        raise RuntimeError

    cause = Mistake()
    with pytest.raises(ValueError, match=r"^x$") as caught:
        async with connect(app_of(fail)):
            raise ValueError("x") from cause
    assert caught.value.__cause__ is cause


async def test_an_error_that_leaves_the_app_is_raised_after_the_block():
    async def fail(socket: Socket) -> None:
        await socket.accept()
        raise Mistake

    async def visit() -> None:
        async with connect(app_of(fail)) as ws:
            assert [message async for message in ws] == []
            ending.append(str(ws.closed))

    ending: list[str] = []
    with pytest.raises(Mistake):
        await visit()
    assert ending == ["1006"]


async def test_an_error_in_the_block_comes_without_a_group():
    with pytest.raises(Mistake):
        async with connect(app_of(accept_and_listen)):
            raise Mistake


async def test_groups_of_more_stay_groups():
    two = ExceptionGroup("two", [Mistake(), KeyError()])
    with pytest.raises(ExceptionGroup) as caught:
        async with connect(app_of(accept_and_listen)):
            raise two
    assert caught.value is two


# -- time-outs ---------------------------------------------------------------


async def test_a_wait_that_times_out_loses_no_message():
    async with connect(app_of(echo), timeout=9) as ws:
        assert ws.timeout == 9
        ws.timeout = SOON  # for this wait alone
        with pytest.raises(TimeoutError):
            await ws.receive()
        ws.timeout = 9
        await ws.send("still here")
        assert await ws.receive() == "still here"


async def test_a_handshake_that_times_out_says_so():
    cancelled = []

    async def think(socket: Socket) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(TimeoutError) as caught:
        async with connect(app_of(think), "/thinker", timeout=SOON):
            pytest.fail("nobody is connected")
    text = "connecting to /thinker: the app neither accepted nor refused"
    assert str(caught.value) == f"{text} within 0.05 s"
    assert caught.value.__cause__ is None
    assert cancelled == [True]


async def test_a_handler_that_ignores_the_leaving_client_is_reported():
    with pytest.raises(TimeoutError) as caught:
        async with connect(app_of(ignore_everything), timeout=LATER):
            pass
    text = "the handler was still running 0.5 s after the client had left"
    assert str(caught.value) == text
    assert caught.value.__cause__ is None


async def test_an_error_in_the_block_matters_more_than_the_handler():
    with pytest.raises(Mistake):
        async with connect(app_of(ignore_everything), timeout=LATER):
            raise Mistake


# -- cancellation ------------------------------------------------------------


async def test_a_cancel_scope_around_the_block_ends_all():
    # anyio cancels every further wait, too: also those of the way out.
    life = Life()
    for make in (life.app, app_of):
        heard: list[Any] = []
        with anyio.CancelScope() as scope:
            async with connect(make(recording(heard))):
                scope.cancel()
                await asyncio.Event().wait()
        assert scope.cancelled_caught
        assert [message["code"] for message in heard] == [1000]
        assert tasks() == set()
    assert life.events == ["start", "client", "stop"]


async def test_a_cancelled_handshake_lets_the_handler_go():
    heard: list[Any] = []
    started = asyncio.Event()

    async def listen_before_accepting(socket: Socket) -> None:
        await socket.receive()
        started.set()
        heard.append(await socket.receive())

    async def try_to_connect() -> None:
        async with connect(app_of(listen_before_accepting)):
            pytest.fail("nobody is connected")

    trying = asyncio.ensure_future(try_to_connect())
    await asyncio.wait_for(started.wait(), 5)
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
    assert heard == [
        {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    ]


# -- the lifespan ------------------------------------------------------------


class Life:
    """A lifespan that keeps a diary."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.may_start, self.may_stop = asyncio.Event(), asyncio.Event()
        self.may_start.set()
        self.may_stop.set()

    @asynccontextmanager
    async def lifespan(self, app: Litestar) -> AsyncGenerator[None]:
        self.events.append("start")
        await self.may_start.wait()
        yield
        await self.may_stop.wait()
        self.events.append("stop")  # not if the lifespan was cancelled

    def app(self, handler: Handler) -> Litestar:
        async def listed(socket: Socket) -> None:
            self.events.append("client")
            await handler(socket)

        return Litestar(
            [websocket("/")(listed)],
            lifespan=[self.lifespan],
            openapi_config=None,
            logging_config=None,
        )


async def test_the_lifespan_runs_once_for_all_clients():
    life = Life()
    app = life.app(accept_and_listen)
    async with connect(app):
        async with connect(app), connect(app):
            assert life.events == ["start", "client", "client", "client"]
        assert "stop" not in life.events
    assert life.events[-1] == "stop"
    async with connect(app):
        assert life.events[-2:] == ["start", "client"]


@pytest.mark.parametrize(
    "handler", [close_early, never_accept, accept_and_listen]
)
async def test_the_lifespan_stops_also_when_a_client_fails(handler: Handler):
    life = Life()
    with pytest.raises((Mistake, Refused)):
        async with connect(life.app(handler)):
            raise Mistake
    assert life.events == ["start", "client", "stop"]


async def test_a_client_that_fails_leaves_the_app_to_the_others():
    life = Life()
    app = life.app(echo)
    async with connect(app) as ws:
        with pytest.raises(Mistake):
            async with connect(app):
                raise Mistake
        await ws.send("still here")
        assert await ws.receive() == "still here"
        assert "stop" not in life.events


async def test_many_clients_come_and_go_in_any_order():
    life = Life()
    app = life.app(echo)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connect(app)) for _ in range(10)
        ]
        for number, ws in enumerate(clients):
            await ws.send_json(number)
        for number, ws in reversed(list(enumerate(clients))):
            assert await ws.receive_json() == number
        await clients[0].close()
    assert life.events == ["start", *["client"] * 10, "stop"]


# -- a plain session ---------------------------------------------------------


async def test_a_plain_session_of_httpx_ws_shows_what_httpx_ws_shows():
    transport = ASGIWebSocketTransport(app_of(closing(4000, "bye")))
    async with httpx.AsyncClient(transport=transport) as http:
        async with aconnect_ws("ws://testserver/", http) as session:
            ws = InProcess(session, timeout=5)
            with pytest.raises(Closed, match="4000 'bye'"):
                await ws.receive()
        async with aconnect_ws("ws://testserver/", http) as session:
            await InProcess(session, timeout=5).close()
