"""Every kind of client keeps the promises of the interface."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from snippets.testing.client import (
    Client,
    Closed,
    Refused,
    check_close,
    target,
)

SOON = 0.05
"""A time-out that is meant to pass, and nothing has to happen before it."""


class Scripted(Client):
    """A client whose server says what is in a script."""

    def __init__(self, *script: str | bytes | Closed) -> None:
        self.headers = {}
        self.timeout = 5
        self.script = list(script)
        self.did: list[object] = []

    async def _send(self, data: str | bytes) -> None:
        self.did.append(data)

    async def _receive(self) -> str | bytes:
        came = self.script.pop(0)
        if isinstance(came, Closed):
            raise came
        return came

    async def _close(self, code: int, reason: str) -> None:
        self.did.append((code, reason))
        for came in self.script:
            if isinstance(came, Closed):
                raise came


# -- messages ----------------------------------------------------------------


@pytest.mark.parametrize("message", ["hello", "", b"hello", b""])
async def test_messages_pass_as_they_are(message: str | bytes):
    ws = Scripted(message)
    await ws.send(message)
    assert ws.did == [message]
    assert await ws.receive() == message


async def test_json_is_sent_as_text():
    ws = Scripted()
    await ws.send_json({"a": [1, None]})
    assert ws.did == ['{"a": [1, null]}']


@pytest.mark.parametrize("message", ['{"a": [1]}', b'{"a": [1]}'])
async def test_json_is_decoded(message: str | bytes):
    assert await Scripted(message).receive_json() == {"a": [1]}


async def test_receiving_json_that_is_none_is_an_error():
    with pytest.raises(json.JSONDecodeError):
        await Scripted("{").receive_json()


async def test_iteration_ends_when_the_server_closes():
    ws = Scripted("1", b"2", Closed(4000, "that is all"))
    assert [message async for message in ws] == ["1", b"2"]
    assert str(ws.closed) == "4000 'that is all'"


# -- closing -----------------------------------------------------------------


async def test_closing_says_how():
    ws = Scripted()
    assert ws.closed is None
    await ws.close()
    assert ws.did == [(1000, "")]
    assert str(ws.closed) == "1000"


async def test_closing_twice_is_harmless():
    ws = Scripted()
    await ws.close(4000, "bye")
    await ws.close(1000)
    assert ws.did == [(4000, "bye")]
    assert str(ws.closed) == "4000 'bye'"


async def test_a_client_that_closes_second_knows_who_was_first():
    ws = Scripted(Closed(4000, "first"))
    await ws.close(1000, "second")
    assert str(ws.closed) == "4000 'first'"


@pytest.mark.parametrize("who", ["server", "client"])
async def test_after_the_close_every_call_says_so_again(who: str):
    first = Closed(4000, "bye")
    ws = Scripted(first) if who == "server" else Scripted()
    if who == "server":
        with pytest.raises(Closed):
            await ws.receive()
    else:
        await ws.close(4000, "bye")
    did = list(ws.did)
    again: list[Callable[[], Awaitable[object]]] = [
        ws.receive,
        ws.receive_json,
        lambda: ws.send("x"),
        lambda: ws.send_json({}),
    ]
    for call in again:
        with pytest.raises(Closed, match="4000 'bye'") as caught:
            await call()
        assert caught.value is not first  # or its traceback would grow
    assert [message async for message in ws] == []
    assert ws.did == did


@pytest.mark.parametrize(
    "code", [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999]
)
def test_a_code_for_the_wire_passes(code: int):
    check_close(code, "é" * 61 + "x")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        *[(code, "") for code in (0, 999, 1004, 1005, 1006, 1015, 1016)],
        *[(code, "") for code in (2999, 5000)],
        (1000, "x" * 124),
        (1000, "é" * 62),
    ],
)
async def test_a_close_that_no_frame_can_carry_fails(code: int, reason: str):
    ws = Scripted()
    with pytest.raises(ValueError, match="close frame cannot carry"):
        await ws.close(code, reason)
    assert ws.did == []
    assert ws.closed is None


def test_closes_and_refusals_say_what_happened():
    assert str(Closed(1000)) == "1000"
    assert str(Closed(4000, "bye")) == "4000 'bye'"
    assert str(Refused(403)) == "HTTP 403"
    assert str(Refused(401, "log in")) == "HTTP 401 'log in'"


# -- time-outs ---------------------------------------------------------------


class Stuck(Client):
    """A client that nothing ever happens to."""

    timeout = SOON
    headers = {}  # noqa: RUF012 - as the protocol has it

    async def _send(self, data: str | bytes) -> None:
        await asyncio.Event().wait()

    async def _receive(self) -> str | bytes:
        await asyncio.Event().wait()
        raise AssertionError

    async def _close(self, code: int, reason: str) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda ws: ws.receive(), "waiting for a message"),
        (lambda ws: ws.receive_json(), "waiting for a message"),
        (lambda ws: ws.send("x" * 99), f"sending '{'x' * 40}'"),
        (lambda ws: ws.send(b"x"), "sending b'x'"),
        (lambda ws: ws.send_json([1]), "sending '[1]'"),
        (lambda ws: ws.close(), "closing"),
    ],
)
async def test_a_wait_that_times_out_says_for_what(
    call: Callable[[Client], Awaitable[object]], text: str
):
    ws = Stuck()
    with pytest.raises(TimeoutError) as caught:
        await call(ws)
    assert str(caught.value) == f"{text}: nothing happened within 0.05 s"
    assert ws.closed is None


# -- what a handshake asks for -----------------------------------------------


def test_a_target_is_percent_encoded():
    assert target("/a b?c=d", None) == "/a%20b?c=d"
    assert target("/?a=1", {"b": "ü"}) == "/?a=1&b=%C3%BC"
