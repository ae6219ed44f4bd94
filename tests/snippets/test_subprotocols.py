"""negotiate() chooses what the client prefers, and holds both sides to it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, strategies as st
from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect, WebSocketException

from snippets.lifecycle import lifecycle
from snippets.subprotocols import Messages, as_json, as_msgpack, negotiate
from snippets.testing.client import Client, Refused
from snippets.testing.in_process import connect
from snippets.testing.server import serve


@dataclass
class Order:
    drink: str
    cups: int = 1


JSON = as_json("cafe.json", Order)
MSGPACK = as_msgpack("cafe.msgpack", Order)


def create_app() -> Litestar:
    @websocket("/")
    async def cafe(socket: WebSocket) -> None:
        orders = await negotiate(socket, [JSON, MSGPACK])
        async with lifecycle(socket):
            async for order in orders:
                await orders.send([order.cups, order.drink])

    return Litestar([cafe])


@asynccontextmanager
async def in_process(offer: list[str]) -> AsyncGenerator[Client]:
    async with connect(create_app(), subprotocols=offer) as client:
        yield client


@asynccontextmanager
async def on_the_wire(offer: list[str]) -> AsyncGenerator[Client]:
    async with (
        serve(create_app()) as server,
        server.connect(subprotocols=offer) as client,
    ):
        yield client
    assert server.log == []


Offering = Callable[[list[str]], AbstractAsyncContextManager[Client]]


@pytest.fixture(params=[in_process, on_the_wire])
def offering(request: pytest.FixtureRequest) -> Offering:
    return request.param


@pytest.mark.parametrize(
    ("offer", "chosen"),
    [
        (["cafe.json"], "cafe.json"),
        (["cafe.msgpack"], "cafe.msgpack"),
        (["cafe.msgpack", "cafe.json"], "cafe.msgpack"),
        (["cafe.json", "cafe.msgpack"], "cafe.json"),
        (["cafe.v9", "cafe.msgpack"], "cafe.msgpack"),
        ([], None),
    ],
)
async def test_it_chooses_what_the_client_prefers(
    offering: Offering, offer: list[str], chosen: str | None
) -> None:
    async with offering(offer) as client:
        assert client.subprotocol == chosen


async def test_who_speaks_nothing_we_know_is_refused(
    offering: Offering,
) -> None:
    with pytest.raises(Refused) as refused:
        async with offering(["cafe.v9"]):
            pass
    assert refused.value.status == 403


async def test_json_travels_as_text(offering: Offering) -> None:
    async with offering(["cafe.json"]) as client:
        await client.send('{"drink": "tea", "cups": 2}')
        assert await client.receive() == '[2,"tea"]'


async def test_who_offers_nothing_gets_the_first_format(
    offering: Offering,
) -> None:
    async with offering([]) as client:
        await client.send('{"drink": "tea"}')
        assert await client.receive() == '[1,"tea"]'


async def test_messagepack_travels_as_binary(offering: Offering) -> None:
    async with offering(["cafe.msgpack"]) as client:
        await client.send(msgspec.msgpack.encode(Order("tea", 2)))
        answer = await client.receive()
        assert answer == msgspec.msgpack.encode([2, "tea"])


DEEP = "[" * 100_000
BAD = [
    ("cafe.json", b'{"drink": "tea"}', 1003, "cafe.json takes text frames"),
    ("cafe.msgpack", "tea", 1003, "cafe.msgpack takes binary frames"),
    ("cafe.json", "", 4400, "Input data was truncated"),
    ("cafe.json", "{", 4400, "Input data was truncated"),
    ("cafe.json", "{}", 4400, "Object missing required field `drink`"),
    (
        "cafe.json",
        '{"drink": 7}',
        4400,
        "Expected `str`, got `int` - at `$.drink`",
    ),
    ("cafe.msgpack", b"\xc1", 4400, None),
    ("cafe.msgpack", b"\x81\xa5drink\xa1\xff", 4400, None),
    ("cafe.json", '{"drink": "\\ud800"}', 4400, None),
    ("cafe.json", '{"x": ' + DEEP, 4400, None),
]


@pytest.mark.parametrize(("subprotocol", "payload", "code", "reason"), BAD)
async def test_a_bad_message_closes_with_a_code_and_words(
    offering: Offering,
    subprotocol: str,
    payload: str | bytes,
    code: int,
    reason: str | None,
) -> None:
    async with offering([subprotocol]) as client:
        await client.send(payload)
        assert [message async for message in client] == []
        assert client.closed is not None
        assert client.closed.code == code
        assert client.closed.reason
        assert reason is None or client.closed.reason == reason


async def test_a_second_loop_ends_at_once() -> None:
    rounds = []

    @websocket("/")
    async def patient(socket: WebSocket) -> None:
        messages = await negotiate(socket, [JSON])
        for number in (1, 2):
            async for _ in messages:
                pass
            rounds.append(number)

    async with connect(Litestar([patient])):
        pass
    assert rounds == [1, 2]


async def test_who_catches_the_error_may_receive_again() -> None:
    codes: list[int] = []

    @websocket("/")
    async def patient(socket: WebSocket) -> None:
        orders = await negotiate(socket, [JSON])
        while True:
            try:
                order = await orders.receive()
            except WebSocketDisconnect as left:
                codes.append(left.code)
                return
            except WebSocketException as bad:
                await orders.send(bad.code)
            else:
                await orders.send(order.drink)

    async with connect(Litestar([patient])) as client:
        for bad, code in (("{", "4400"), (b"", "1003")):
            await client.send(bad)
            assert await client.receive() == code
            await client.send('{"drink": "tea"}')
            assert await client.receive() == '"tea"'
        await client.close(4001)
    assert codes == [4001]


async def test_it_must_accept_the_connection_itself() -> None:
    @websocket("/")
    async def late(socket: WebSocket) -> None:
        await socket.accept()
        with pytest.raises(RuntimeError, match="not accepted yet"):
            await negotiate(socket, [JSON])
        await socket.close()

    async with connect(Litestar([late])) as client:
        assert [message async for message in client] == []
        assert str(client.closed) == "1000"


def decoded(messages: Messages[Order], payload: str | bytes) -> object:
    try:
        return messages._decoded(payload)
    except WebSocketException as error:
        assert error.code == 4400
        assert len(error.detail.encode()) <= 123
        return None


@given(st.text(), st.binary())
def test_any_payload_gives_a_message_or_a_close(
    text: str, binary: bytes
) -> None:
    socket: WebSocket = WebSocket({"type": "websocket", "headers": []})  # ty: ignore[invalid-argument-type]
    assert decoded(Messages(socket, JSON), text) is None
    assert decoded(Messages(socket, MSGPACK), binary) is None
    order = Order(text, len(binary))
    as_text = JSON.encode(order).decode()
    assert decoded(Messages(socket, JSON), as_text) == order
    assert decoded(Messages(socket, MSGPACK), MSGPACK.encode(order)) == order
