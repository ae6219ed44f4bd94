"""A close says something true, in a frame that can be sent, once."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import pytest
from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import (
    HTTPException,
    ImproperlyConfiguredException,
    NotAuthorizedException,
    NotFoundException,
    PermissionDeniedException,
    SerializationException,
    ServiceUnavailableException,
    TooManyRequestsException,
    ValidationException,
    WebSocketDisconnect,
    WebSocketException,
)
from litestar.serialization import decode_json, encode_json
from websockets.exceptions import ProtocolError
from websockets.frames import Close

from snippets.closing import (
    MAX_REASON_BYTES,
    CloseCode,
    check_code,
    close,
    closing_for,
    fit_reason,
    is_sendable,
)
from snippets.testing.client import Client, Refused
from snippets.testing.server import serve

# -- codes -------------------------------------------------------------------


@pytest.mark.parametrize("code", CloseCode)
def test_every_code_has_a_meaning_and_somebody_who_sends_it(code: CloseCode):
    """Closing: a code has a name, a meaning, and who sends it."""
    assert code.meaning
    assert set(code.sender.split(", ")) <= {"app", "server", "client"} or (
        code.sender == "nobody"
    )
    assert is_sendable(code) == (code.sender != "nobody")


def test_codes_are_numbers_with_meanings_of_their_own():
    assert CloseCode(4401) is CloseCode.SESSION_ENDED == 4401
    assert f"{CloseCode.IDLE:d}" == "4408"
    assert len({code.meaning for code in CloseCode}) == len(CloseCode)


def test_a_client_comes_back_only_where_it_can_help():
    """Closing: a code says whether a client should reconnect by itself."""
    assert {code for code in CloseCode if code.reconnect} == {
        CloseCode.GOING_AWAY,
        CloseCode.ABNORMAL,
        CloseCode.INTERNAL_ERROR,
        CloseCode.SERVICE_RESTART,
        CloseCode.TRY_AGAIN_LATER,
        CloseCode.IDLE,
        CloseCode.TOO_FAST,
    }


def test_sendable_is_what_another_implementation_would_send():
    def websockets_sends(code: int) -> bool:
        try:
            Close(code, "").check()
        except ProtocolError:
            return False
        return True

    assert [code for code in range(5101) if is_sendable(code)] == [
        code for code in range(5101) if websockets_sends(code)
    ]


def test_who_asks_for_a_code_that_is_not_sendable_is_told_which_are():
    for code in range(5101):
        if is_sendable(code):
            check_code(code)
        else:
            with pytest.raises(ValueError, match=f"cannot carry {code}; exp"):
                check_code(code)
    check_code(CloseCode.TRY_AGAIN_LATER)
    with pytest.raises(ValueError, match="cannot carry 1006; expected 1000-"):
        check_code(CloseCode.ABNORMAL)


# -- reasons -----------------------------------------------------------------


def some_texts() -> Iterator[str]:
    """Make texts around the limit, of characters of all widths."""
    chance = random.Random(0)
    for _ in range(1000):
        characters = chance.choices("xé茶🙂\ud800\0", k=chance.randrange(1, 6))
        yield "".join(chance.choices(characters, k=chance.randrange(200)))


@pytest.mark.parametrize(
    "reason",
    [
        "x" * 123,
        "x" * 124,
        "é" * 61 + "x",
        "é" * 62,
        "🙂" * 31,
        "\ud800" * 124,
        "x" * 119 + "🙂🙂",
    ],
    ids=ascii,
)
def test_a_reason_fits_into_a_close_frame(reason: str):
    fits(reason)


def test_whatever_it_is_made_of_a_reason_fits():
    for reason in some_texts():
        fits(reason)


def fits(reason: str) -> None:
    """See that a reason is cut as little as need be."""
    fitted = fit_reason(reason)
    whole = reason.encode(errors="replace").decode()
    assert len(fitted.encode()) <= MAX_REASON_BYTES
    if len(whole.encode()) <= MAX_REASON_BYTES:
        assert fitted == whole
    else:
        kept = fitted.removesuffix("…")
        assert fitted == kept + "…"
        assert whole.startswith(kept)
        one_more = whole[: len(kept) + 1] + "…"
        assert len(one_more.encode()) > MAX_REASON_BYTES


def test_the_longest_reason_fills_a_control_frame():
    """RFC 6455 §5.5: a control frame holds 125 bytes."""
    frame = Close(1000, fit_reason("x" * 200))
    assert len(frame.serialize()) == 125


def test_a_surrogate_becomes_a_question_mark():
    assert fit_reason("a\udcff") == "a?"


# -- exceptions --------------------------------------------------------------

LONG = "x" * 200


def unencodable() -> SerializationException:
    with pytest.raises(SerializationException) as caught:
        encode_json(object())
    return caught.value


def undecodable() -> SerializationException:
    with pytest.raises(SerializationException) as caught:
        decode_json(b"")
    return caught.value


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (WebSocketException(detail="no", code=4001), 4001, "no"),
        (WebSocketException(detail="bye", code=1000), 1000, "bye"),
        (WebSocketException(detail="x", code=4500), 4500, "x"),
        (WebSocketException(detail="x", code=1006), 1011, "x"),
        (WebSocketException(detail="x", code=999), 1011, "x"),
        (WebSocketException(detail=LONG, code=4001), 4001, fit_reason(LONG)),
        (WebSocketDisconnect(detail="gone"), 1011, "internal error"),
        (NotAuthorizedException("log in"), 4401, "log in"),
        (PermissionDeniedException("not you"), 4403, "not you"),
        (TooManyRequestsException("slow down"), 4429, "slow down"),
        (ServiceUnavailableException("we are full"), 1013, "we are full"),
        (ValidationException("not an int"), 4400, "not an int"),
        (undecodable(), 4400, "Input data was truncated"),
        (unencodable(), 1011, "internal error"),
        (SerializationException("no JSON"), 1011, "internal error"),
        (ValidationException(LONG), 4400, fit_reason(LONG)),
        (HTTPException("secret", status_code=401), 1011, "internal error"),
        (NotFoundException("secret"), 1011, "internal error"),
        (ImproperlyConfiguredException("secret"), 1011, "internal error"),
        (ValueError("secret"), 1011, "internal error"),
        (ExceptionGroup("secret", [OSError()]), 1011, "internal error"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_becomes_the_close_that_its_client_should_see(
    error: Exception, code: int, reason: str
):
    closing = closing_for(error)
    assert (closing.code, closing.detail) == (code, reason)
    assert is_sendable(closing.code)
    assert len(closing.detail.encode()) <= MAX_REASON_BYTES


Socket = WebSocket[Any, Any, Any]

# -- close() -----------------------------------------------------------------


async def test_a_close_that_was_cancelled_can_be_tried_again():
    """Closing: a close that was cancelled can be tried again."""
    blocked, room, sent = asyncio.Event(), asyncio.Event(), []

    async def send(message: object) -> None:
        blocked.set()
        await room.wait()  # the client does not read
        sent.append(message)

    socket: Socket = WebSocket({"type": "websocket", "headers": []}, send=send)  # ty: ignore[invalid-argument-type]
    closing = asyncio.ensure_future(close(socket, 1013))
    await asyncio.wait_for(blocked.wait(), 5)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    room.set()
    assert await close(socket, 1013)
    assert not await close(socket, 1013)
    assert len(sent) == 1


Handler = Callable[[Socket], Awaitable[None]]


class Host:
    """An app whose handler each test chooses, on a real server."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.connect: Callable[[], AbstractAsyncContextManager[Client]]
        self.handler: Handler
        self.app = Litestar(
            [websocket("/")(self.handle)],
            openapi_config=None,
            logging_config=None,
        )
        self.ended = asyncio.Event()

    async def handle(self, socket: WebSocket) -> None:
        try:
            await self.handler(socket)
        finally:
            self.ended.set()

    async def visit(self, handler: Handler) -> str:
        """Connect, and tell how the connection ended."""
        self.handler = handler
        self.ended.clear()
        self.log.clear()
        try:
            async with self.connect() as client:
                async for _ in client:
                    pass
                ending = str(client.closed)
        except Refused as refused:
            ending = f"HTTP {refused.status}"
        await asyncio.wait_for(self.ended.wait(), 5)
        return ending


@pytest.fixture(scope="module")
async def host(anyio_backend: str) -> AsyncGenerator[Host]:
    host = Host()
    async with serve(host.app) as server:
        host.connect, host.log = server.connect, server.log
        yield host


async def test_close_sends_code_and_reason(host: Host):
    async def say_goodbye(socket: Socket) -> None:
        await socket.accept()
        assert await close(socket, CloseCode.TRY_AGAIN_LATER, "room is full")

    assert await host.visit(say_goodbye) == "1013 'room is full'"
    assert host.log == []


async def test_close_means_1000_unless_it_says_otherwise(host: Host):
    async def say_goodbye(socket: Socket) -> None:
        await socket.accept()
        await close(socket)

    assert await host.visit(say_goodbye) == "1000"


async def test_a_reason_that_is_too_long_is_cut(host: Host):
    async def explain_at_length(socket: Socket) -> None:
        await socket.accept()
        await close(socket, 4000, "é" * 100)

    assert await host.visit(explain_at_length) == f"4000 '{'é' * 60}…'"


async def test_close_before_accept_is_a_refusal(host: Host):
    told = []

    async def refuse(socket: Socket) -> None:
        told.append(await close(socket, 4003))
        told.append(await close(socket, 4003))

    assert await host.visit(refuse) == "HTTP 403"
    assert told == [True, False]
    assert host.log == []


async def by_itself(socket: Socket) -> None:
    await close(socket, 4000)


async def by_litestar(socket: Socket) -> None:
    await socket.close(4000)


@pytest.mark.parametrize("close_first", [by_itself, by_litestar])
async def test_a_second_close_is_harmless(host: Host, close_first: Handler):
    told = []

    async def close_twice(socket: Socket) -> None:
        await socket.accept()
        await close_first(socket)
        told.append(await close(socket, 4001))
        told.append(await close(socket, 4002))

    assert await host.visit(close_twice) == "4000"
    assert told == [False, False]
    assert host.log == []


async def hear_of_it(socket: Socket) -> None:
    await socket.receive()


async def find_out_by_sending(socket: Socket) -> None:
    with suppress(OSError):
        while True:
            await socket.send_text("are you there?")
            await asyncio.sleep(0)


@pytest.mark.parametrize("learn", [hear_of_it, find_out_by_sending])
async def test_a_client_that_has_gone_is_no_error(host: Host, learn: Handler):
    told = []
    ended = asyncio.Event()

    async def close_late(socket: Socket) -> None:
        await socket.accept()
        await learn(socket)
        told.append(await close(socket))
        ended.set()

    host.handler = close_late
    async with host.connect() as client:
        await client.close()
    await asyncio.wait_for(ended.wait(), 5)
    # Before the disconnect is received, a server may take the close and
    # drop it.
    assert told == [False] or learn is find_out_by_sending
    assert host.log == []


async def test_a_class_of_your_own_may_close_with_it():
    class Careful(WebSocket[Any, Any, Any]):
        async def close(self, code: int = 1000, reason: Any = None) -> None:
            await close(self, code, reason or "")

    @websocket("/", websocket_class=Careful)
    async def say_goodbye(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close(4000, "x" * 200)
        await close(socket, 4001)

    app = Litestar([say_goodbye])
    async with serve(app) as server, server.connect() as client:
        assert [message async for message in client] == []
        assert str(client.closed) == f"4000 '{'x' * 120}…'"


async def test_a_code_that_cannot_be_sent_is_an_error_and_closes_nothing(
    host: Host,
):
    errors = []

    async def insist(socket: Socket) -> None:
        await socket.accept()
        for code in (999, CloseCode.ABNORMAL, 5000):
            try:
                await close(socket, code)
            except ValueError as error:
                errors.append(str(error))
        await close(socket, 4000)

    assert await host.visit(insist) == "4000"
    assert errors == [
        f"a close frame cannot carry {code}; expected 1000-1003, 1007-1014 or "
        "3000-4999"
        for code in (999, 1006, 5000)
    ]
