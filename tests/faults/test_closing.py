"""What a client learns at the end: a true code, in a frame that fits."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import (
    NotAuthorizedException,
    PermissionDeniedException,
    ServiceUnavailableException,
    TooManyRequestsException,
    ValidationException,
    WebSocketException,
)

from snippets.closing import CloseCode, close, is_sendable
from snippets.connections import ConnectionManager
from snippets.lifecycle import lifecycle

from .conftest import Serving, ending

Socket = WebSocket[Any, Any, Any]
Act = Callable[[Socket], Awaitable[object]]


class Host:
    """An app whose handler does what a test says, once it is accepted.

    Attributes:
        hooked: What a handler of exceptions was called with, which is nothing.
    """

    def __init__(self, act: Act, *, managed: bool = False) -> None:
        self.act, self.managed = act, managed
        self.manager = ConnectionManager()
        self.hooked: list[Exception] = []
        self.app = Litestar(
            [websocket("/")(self.handle)],
            exception_handlers={Exception: self.hook},
            openapi_config=None,
            logging_config=None,
        )

    def hook(self, _: Any, error: Exception) -> Any:
        self.hooked.append(error)

    async def handle(self, socket: WebSocket) -> None:
        around = self.manager.connect if self.managed else lifecycle
        async with around(socket):
            await self.act(socket)


async def visit(serving: Serving, act: Act, *, managed: bool = False) -> str:
    """Connect, and tell how the connection ended."""
    host = Host(act, managed=managed)
    async with serving(host.app) as server, server.connect() as client:
        ended = await ending(client)
    assert host.hooked == []
    assert server.log == []
    return ended


REASONS = [
    ("x" * 123, "x" * 123),
    ("x" * 124, "x" * 120 + "…"),
    ("é" * 100, "é" * 60 + "…"),
    ("🫖" * 100, "🫖" * 30 + "…"),
    ("a\ud800", "a?"),
    ("x" * 100_000, "x" * 120 + "…"),
]


@pytest.mark.parametrize("by", ["close", "exception", "connection"])
async def test_a_reason_fits_and_its_code_arrives(serving: Serving, by: str):
    """Closing: a reason of any length arrives, cut at a character, and with
    it the code.
    """
    reasons = iter(REASONS)

    async def explain(socket: Socket) -> None:
        reason, _ = next(reasons)
        if by == "exception":
            raise WebSocketException(detail=reason, code=1013)
        if by == "close":
            await close(socket, CloseCode.TRY_AGAIN_LATER, reason)
        else:
            [connection] = host.manager
            connection.close(CloseCode.TRY_AGAIN_LATER, reason)
            await socket.receive()

    host = Host(explain, managed=by == "connection")
    async with serving(host.app) as server:
        for _, fits in REASONS:
            async with server.connect() as client:
                assert await ending(client) == f"1013 '{fits}'"
    assert server.log == []


SENDABLE = [code for code in CloseCode if is_sendable(code)]


async def test_every_code_of_ours_arrives(serving: Serving):
    """Closing: every code that has a name arrives, if it may be sent."""
    codes = iter(SENDABLE)

    async def say_goodbye(socket: Socket) -> None:
        await close(socket, next(codes))

    async with serving(Host(say_goodbye).app) as server:
        for code in SENDABLE:
            async with server.connect() as client:
                assert await ending(client) == f"{code:d}"
    assert server.log == []


async def test_what_cannot_be_sent_is_refused_before_it_is(serving: Serving):
    """Closing: a code that no close frame may carry is an error of ours, and
    the connection can still be closed well.
    """
    refused: list[int] = []

    async def insist(socket: Socket) -> None:
        for code in (0, 999, 1005, 1006, 1015, 2999, 5000):
            try:
                await close(socket, code)
            except ValueError:
                refused.append(code)
        await close(socket, 4000)

    assert await visit(serving, insist) == "4000"
    assert refused == [0, 999, 1005, 1006, 1015, 2999, 5000]


async def test_an_exception_with_such_a_code_is_a_failure_of_ours(
    serving: Serving,
):
    async def fail(socket: Socket) -> None:
        raise WebSocketException(detail="why", code=1006)

    assert await visit(serving, fail) == "1011 'why'"


@pytest.mark.parametrize("managed", [False, True])
async def test_closing_again_and_again_is_harmless(
    serving: Serving, managed: bool
):
    """Closing: the first close counts, and all others are harmless, also if
    ten tasks close at the same time.
    """

    async def all_at_once(socket: Socket) -> None:
        codes = range(4000, 4010)
        closes = await asyncio.gather(*(close(socket, c) for c in codes))
        assert sum(closes) == 1
        assert not await close(socket)

    assert await visit(serving, all_at_once, managed=managed) == "4000"


@pytest.mark.parametrize("managed", [False, True])
async def test_closing_who_has_gone_is_harmless(
    serving: Serving, managed: bool
):
    """Closing: closing whose client has gone is harmless."""
    told: list[bool] = []
    done = asyncio.Event()

    async def close_late(socket: Socket) -> None:
        async for _ in socket.iter_data("text"):
            pass
        told.append(await close(socket, 4000))
        done.set()

    host = Host(close_late, managed=managed)
    async with serving(host.app) as server:
        async with server.connect() as client:
            await client.close()
        await asyncio.wait_for(done.wait(), 5)
    assert told == [False]
    assert server.log == []


EXCEPTIONS: list[tuple[Exception, str]] = [
    (NotAuthorizedException("log in"), "4401 'log in'"),
    (PermissionDeniedException("not you"), "4403 'not you'"),
    (TooManyRequestsException("slow down"), "4429 'slow down'"),
    (ServiceUnavailableException("full"), "1013 'full'"),
    (ValidationException("no number"), "4400 'no number'"),
    (WebSocketException(detail="own", code=4999), "4999 'own'"),
    (KeyError("secret"), "1011 'internal error'"),
    (ExceptionGroup("", [KeyError("secret")]), "1011 'internal error'"),
]


@pytest.mark.parametrize("managed", [False, True])
async def test_an_exception_becomes_its_close(serving: Serving, managed: bool):
    """Closing: an exception becomes a code and words that its client may know;
    Litestar's `exception_handlers` are not called.
    """
    errors = iter(EXCEPTIONS)

    async def fail(socket: Socket) -> None:
        error, _ = next(errors)
        raise error

    host = Host(fail, managed=managed)
    async with serving(host.app) as server:
        for _, ended in EXCEPTIONS:
            async with server.connect() as client:
                assert await ending(client) == ended
    assert host.hooked == []
    assert server.log == []


async def test_without_us_an_exception_is_4500(serving: Serving):
    @websocket("/")
    async def fail(socket: WebSocket) -> None:
        await socket.accept()
        raise PermissionDeniedException("not you")

    app = Litestar([fail], openapi_config=None, logging_config=None)
    async with serving(app) as server, server.connect() as client:
        assert (await ending(client)).startswith("4500")
