"""What the three witnesses see, pinned as it runs here."""

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import pytest
from litestar import Litestar, WebSocket, websocket, websocket_listener
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.dto import DataclassDTO
from litestar.exceptions import (
    HTTPException,
    NotAuthorizedException,
    ValidationException,
    WebSocketDisconnect,
    WebSocketException,
)
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.types import ASGIApp

from snippets.testing import Client, witnesses as module
from snippets.testing.witnesses import Scenario, witnesses

Socket = WebSocket[Any, Any, Any]
WAITS = "nothing, and waits"
SOON, LATE = 0.5, 5.0
"""How long a witness waits where nothing will come, and where something will,
seconds. Where one waits for nothing, the others still have to connect."""


@pytest.fixture(scope="module", autouse=True)
def garbage_is_collected_fast() -> Generator[None]:
    # A collection of all that other tests left takes as long as a witness
    # waits.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def tasks() -> set[asyncio.Task[Any]]:
    """List what runs in this loop, but for the test runner's own tasks."""
    return {
        task
        for task in asyncio.all_tasks()
        if "TestRunner" not in repr(task.get_coro())
    }


@pytest.fixture(autouse=True)
async def nothing_is_left(anyio_backend: str) -> AsyncGenerator[None]:
    before = tasks()
    yield
    if late := tasks() - before:
        _, left = await asyncio.wait(late, timeout=5)
        assert left == set()
    named = {thread.name for thread in threading.enumerate()}
    assert not [name for name in named if "portal" in name]


# -- apps --------------------------------------------------------------------


def app_of(*handlers: Any, **options: Any) -> Litestar:
    return Litestar(
        handlers, openapi_config=None, logging_config=None, **options
    )


def handling(
    act: Callable[[Socket], Awaitable[None]], **options: Any
) -> Callable[[], Litestar]:
    """Make apps with a low-level handler."""

    def create_app() -> Litestar:
        async def handler(socket: WebSocket) -> None:
            await act(socket)

        return app_of(websocket("/", **options)(handler))

    return create_app


def raising(error: Exception) -> Callable[[], Litestar]:
    """Make apps with a listener that raises."""

    def create_app() -> Litestar:
        async def listener(data: str) -> str:
            raise error

        return app_of(websocket_listener("/")(listener))

    return create_app


def listening_for_a_dict() -> Litestar:
    async def listener(data: dict[str, int]) -> dict[str, int]:
        return data

    return app_of(websocket_listener("/")(listener))


@dataclass
class Amount:
    """What a DTO checks."""

    a: int


def listening_with_a_dto() -> Litestar:
    async def listener(data: Amount) -> Amount:
        return data

    dto = DataclassDTO[Amount]
    return app_of(websocket_listener("/", dto=dto)(listener))


async def accept(socket: Socket) -> None:
    await socket.accept()


async def refuse(
    connection: ASGIConnection, handler: BaseRouteHandler
) -> None:
    raise NotAuthorizedException("log in")


async def refuse_with_a_code(
    connection: ASGIConnection, handler: BaseRouteHandler
) -> None:
    raise WebSocketException(detail="log in", code=4401)


async def fail_to_provide() -> None:
    raise NotAuthorizedException("log in")


def depending_on_a_failure() -> Litestar:
    async def handler(socket: WebSocket, user: NamedDependency[None]) -> None:
        await socket.accept()

    depends = {"user": fail_to_provide}
    return app_of(websocket("/", dependencies=depends)(handler))


def asking_for_a_token() -> Litestar:
    async def handler(socket: WebSocket, token: FromQuery[str]) -> None:
        await socket.accept()

    return app_of(websocket("/")(handler))


def with_a_middleware_that_fails() -> Litestar:
    def middleware(app: ASGIApp) -> ASGIApp:
        async def fail(scope: Any, receive: Any, send: Any) -> None:
            raise NotAuthorizedException("log in")

        return fail

    async def handler(socket: WebSocket) -> None:
        await socket.accept()

    return app_of(websocket("/")(handler), middleware=[middleware])


def with_a_number_in_the_path() -> Litestar:
    async def handler(socket: WebSocket, number: FromPath[int]) -> None:
        await socket.accept()

    return app_of(websocket("/rooms/{number:int}")(handler))


async def return_at_once(socket: Socket) -> None:
    pass


async def close_early(socket: Socket) -> None:
    await socket.close(4003, "early")


async def close_at_length(socket: Socket) -> None:
    await socket.accept()
    await socket.close(4000, "x" * 124)


async def raise_at_length(socket: Socket) -> None:
    await socket.accept()
    raise WebSocketException(detail="x" * 124, code=4000)


async def close_with_1006(socket: Socket) -> None:
    await socket.accept()
    await socket.close(1006)


async def close_twice(socket: Socket) -> None:
    await socket.accept()
    await socket.close(4000)
    await socket.close(4001)


async def accept_twice(socket: Socket) -> None:
    await socket.accept()
    again: Any = {"type": "websocket.accept", "headers": []}
    await socket.send(again)


async def deny(socket: Socket) -> None:
    await socket.receive()
    start: Any = {"type": "websocket.http.response.start", "status": 401}
    await socket.send({**start, "headers": []})
    body: Any = {"type": "websocket.http.response.body", "body": b"log in"}
    await socket.send(body)


async def echo_once(socket: Socket) -> None:
    await socket.accept()
    message: Any = await socket.receive()
    await socket.send({**message, "type": "websocket.send"})
    await socket.close()


async def choose_v1(socket: Socket) -> None:
    await socket.accept(subprotocols="v1", headers={"X-Answer": "42"})
    await socket.close()


async def ignore_everything(socket: Socket) -> None:
    await socket.accept()
    await asyncio.Event().wait()


async def never_answer(socket: Socket) -> None:
    await asyncio.Event().wait()


# -- scenarios ---------------------------------------------------------------


async def look(client: Client) -> None:
    """Connect, and leave."""


async def listen(client: Client) -> None:
    await client.receive()


def say(message: str | bytes) -> Scenario:
    async def scenario(client: Client) -> None:
        await client.send(message)
        await client.receive()

    return scenario


async def close_with_words(client: Client) -> None:
    await client.close(3001, "lunch")
    await client.receive()


async def read_the_answer(client: Client) -> None:
    assert client.headers["x-answer"] == "42"
    await client.receive()


# -- the table ---------------------------------------------------------------


@dataclass
class Row:
    """An event, and what each witness sees of it."""

    create_app: Callable[[], Litestar]
    scenario: Scenario
    test_client: str
    httpx_ws: str
    wire: str
    """The last line of each; "" if it is just accepted."""
    options: dict[str, Any] = field(default_factory=dict)
    log: str = ""


def same(
    create_app: Callable[[], Litestar], scenario: Scenario, line: str
) -> Row:
    return Row(create_app, scenario, line, line, line)


def refused(create_app: Callable[[], Litestar], line: str) -> Row:
    return Row(create_app, look, line, line, "HTTP 403")


ISE = "close 4500 'Internal Server Error'"
NOT_COMPLETED = "ASGI callable returned without completing handshake."
CANCELLED = "Cancel 1 running task(s), timeout graceful shutdown exceeded"
CUT = f"close 4000 '{'x' * 33}…"
NOT_TAKEN = "HTTP 101 'the client does not take the answer…"
ROWS = {
    # after accept
    "a bug": same(raising(ValueError("secret")), say("x"), ISE),
    "an HTTP exception": same(
        raising(NotAuthorizedException("log in")),
        say("x"),
        "close 4500 'log in'",
    ),
    "an HTTP exception with a status": same(
        raising(HTTPException("teapot", status_code=418)),
        say("x"),
        "close 4500 'teapot'",
    ),
    "a validation error": same(
        raising(ValidationException("no")), say("x"), "close 4500 'no'"
    ),
    "a WebSocketException": same(
        raising(WebSocketException(detail="enough", code=4001)),
        say("x"),
        "close 4001 'enough'",
    ),
    "a WebSocketDisconnect": Row(
        raising(WebSocketDisconnect(detail="gone")),
        say("x"),
        WAITS,
        WAITS,
        "close 1006",
    ),
    "JSON that is none": same(
        listening_for_a_dict,
        say("x"),
        "close 4500 'JSON is malformed: invalid charac…",
    ),
    "JSON that is cut": same(
        listening_for_a_dict,
        say("{"),
        "close 4500 'Input data was truncated'",
    ),
    "empty text for JSON": same(
        listening_for_a_dict,
        say(""),
        "close 4500 'Input data was truncated'",
    ),
    "binary for text": same(
        listening_for_a_dict,
        say(b"{}"),
        "close 4500 'Input data was truncated'",
    ),
    "data that a DTO refuses": same(
        listening_with_a_dto,
        say('{"a": "x"}'),
        "close 4500 'Expected `int`, got `str` - at `$.a`'",
    ),
    # before accept
    "a guard": refused(
        handling(accept, guards=[refuse]), "close 4500 'log in'"
    ),
    "a guard with a code": refused(
        handling(accept, guards=[refuse_with_a_code]), "close 4401 'log in'"
    ),
    "a dependency": refused(depending_on_a_failure, "close 4500 'log in'"),
    "a middleware": refused(
        with_a_middleware_that_fails, "close 4500 'log in'"
    ),
    "a missing parameter": refused(
        asking_for_a_token, 'close 4500 "Missing required query parameter …'
    ),
    "an unknown path": Row(
        handling(accept),
        look,
        "close 4500 'Not Found'",
        "close 4500 'Not Found'",
        "HTTP 403",
        options={"path": "/nowhere"},
    ),
    "a path parameter of the wrong type": Row(
        with_a_number_in_the_path,
        look,
        "close 4500 'Not Found'",
        "close 4500 'Not Found'",
        "HTTP 403",
        options={"path": "/rooms/lobby"},
    ),
    "a close": refused(handling(close_early), "close 4003 'early'"),
    "a denial response": Row(
        handling(deny),
        look,
        "",
        "HTTP 401 'log in'",
        "HTTP 401 'log in'",
        log=NOT_COMPLETED,
    ),
    "a handler that returns": Row(
        handling(return_at_once),
        look,
        WAITS,
        WAITS,
        "HTTP 500 'Internal Server Error'",
        log=NOT_COMPLETED,
    ),
    "a handler that never answers": Row(
        handling(never_answer), look, WAITS, WAITS, WAITS, log=CANCELLED
    ),
    # closing
    "no close": Row(handling(accept), listen, WAITS, WAITS, "close 1006"),
    "a close with a reason of 124 bytes": Row(
        handling(close_at_length), listen, CUT, CUT, ISE
    ),
    "a WebSocketException with 124 bytes": Row(
        handling(raise_at_length),
        listen,
        CUT,
        CUT,
        "close 1006",
        log="Exception in ASGI application: ProtocolError: control frame "
        "too long",
    ),
    "a close with 1006": Row(
        handling(close_with_1006), listen, "close 1006", "close 1000", ISE
    ),
    "a second accept": Row(
        handling(accept_twice),
        listen,
        "b''",
        "the client breaks: UnhandledASGIMessageType",
        ISE,
    ),
    "a second close": Row(
        handling(close_twice),
        listen,
        "close 4000",
        "close 4000",
        "close 4000",
        log="Exception in ASGI application: RuntimeError: Unexpected ASGI "
        "message 'websocket.close', after sending 'websocket.close'.",
    ),
    "a close by the client": same(
        handling(echo_once), close_with_words, "close 3001 'lunch'"
    ),
    "a handler that stays behind": Row(
        handling(ignore_everything), look, WAITS, WAITS, "", log=CANCELLED
    ),
    # messages and subprotocols
    "text": same(handling(echo_once), say("x"), "'x'"),
    "binary": same(handling(echo_once), say(b"x"), "b'x'"),
    "an empty binary message": same(handling(echo_once), say(b""), "b''"),
    "an offered subprotocol": Row(
        handling(choose_v1),
        read_the_answer,
        *["close 1000"] * 3,
        options={"subprotocols": ["v2", "v1"]},
    ),
    "a subprotocol that was not offered": Row(
        handling(choose_v1),
        read_the_answer,
        "close 1000",
        NOT_TAKEN,
        NOT_TAKEN,
        options={"subprotocols": ["v9"]},
    ),
}


@pytest.mark.parametrize("name", ROWS)
async def test_what_the_witnesses_see(name: str):
    row = ROWS[name]
    seen = [row.test_client, row.httpx_ws, row.wire]
    patience = SOON if WAITS in seen else LATE
    testimony = await witnesses(
        row.create_app, row.scenario, patience=patience, **row.options
    )
    last = [
        (lines[-1] if lines else "").removeprefix("accepted")
        for lines in testimony.saw.values()
    ]
    assert last == seen
    assert testimony.log[:1] == ([row.log] if row.log else [])
    assert testimony.agree == (len(set(last)) == 1)


async def test_debug_changes_nothing_of_this():
    def create_app() -> Litestar:
        app = raising(ValueError("secret"))()
        app.debug = True
        return app

    testimony = await witnesses(create_app, say("x"), patience=LATE)
    assert testimony.rows == [("accepted",) * 3, (ISE,) * 3]


async def test_a_mistake_in_the_scenario_is_raised():
    async def fail(client: Client) -> None:
        pytest.fail("a mistake")

    for act in (echo_once, ignore_everything):
        with pytest.raises(pytest.fail.Exception, match="a mistake"):
            await witnesses(handling(act), fail, patience=SOON)


async def test_a_subprotocol_is_part_of_what_is_seen():
    testimony = await witnesses(
        handling(choose_v1), listen, subprotocols=["v1"], patience=LATE
    )
    assert testimony.rows[0] == ("accepted, v1",) * 3


# -- how it is shown ---------------------------------------------------------

SEEN = module.Testimony(
    {"one": ["accepted", "<b>"], "two": ["accepted"]}, ["oh & no"]
)


def test_rows_are_filled_up():
    assert SEEN.rows == [("accepted", "accepted"), ("<b>", "")]
    assert not SEEN.agree
    assert module.Testimony({"one": ["x"], "two": ["x"]}, []).agree


def test_text_marks_what_differs():
    assert str(SEEN).splitlines() == [
        "   one       two",
        "   accepted  accepted",
        "≠  <b>",
        "server log: oh & no",
    ]


def test_html_says_the_same_and_escapes():
    html = SEEN._repr_html_()
    assert "<td></td><td>accepted</td><td>accepted</td>" in html
    assert "<td>≠</td><td>&lt;b&gt;</td><td></td>" in html
    assert "<code>oh &amp; no</code>" in html
    assert html.count("<tr>") == html.count("</tr>") == 3
