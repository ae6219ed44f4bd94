"""A socket of one's own: typed messages, an id, and one close."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from litestar import Controller, Litestar, websocket, websocket_listener
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from litestar.handlers import WebsocketListener

from snippets.closing import close
from snippets.lifecycle import lifecycle
from snippets.sockets import MessageSocket
from snippets.streams import push
from snippets.subprotocols import as_json, as_msgpack
from snippets.testing.client import Client, Refused
from snippets.testing.in_process import connect
from snippets.testing.server import serve


@dataclass
class Order:
    drink: str
    cups: int = 1


class CafeSocket(MessageSocket[Order]):
    __slots__ = ("table",)
    formats = (as_json("cafe.json", Order), as_msgpack("cafe.msgpack", Order))


Act = Callable[[CafeSocket], Awaitable[None]]
Visiting = Callable[..., AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def in_process(act: Act, *offer: str) -> AsyncGenerator[Client]:
    app = Litestar([handler(act)], logging_config=None)
    async with connect(app, subprotocols=offer) as client:
        yield client


@asynccontextmanager
async def on_the_wire(act: Act, *offer: str) -> AsyncGenerator[Client]:
    app = Litestar([handler(act)], logging_config=None)
    async with (
        serve(app) as server,
        server.connect(subprotocols=offer) as client,
    ):
        yield client
    assert server.log == []


def handler(act: Act) -> Any:
    @websocket("/", websocket_class=CafeSocket)
    async def cafe(socket: CafeSocket) -> None:
        await act(socket)

    return cafe


@pytest.fixture(params=[in_process, on_the_wire])
def visiting(request: pytest.FixtureRequest) -> Visiting:
    return request.param


async def bring(socket: CafeSocket) -> None:
    async with lifecycle(socket):
        async for order in socket.iter_messages():
            await socket.send_message([order.cups, order.drink])


async def all_of(client: Client) -> tuple[list[str | bytes], str]:
    messages = [message async for message in client]
    return messages, str(client.closed)


# -- accept ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offer", "chosen"),
    [
        (["cafe.json"], "cafe.json"),
        (["cafe.msgpack", "cafe.json"], "cafe.msgpack"),
        (["cafe.v9", "cafe.json"], "cafe.json"),
        ([], None),
    ],
)
async def test_accept_chooses_what_the_client_prefers(
    visiting: Visiting, offer: list[str], chosen: str | None
):
    async with visiting(bring, *offer) as client:
        assert client.subprotocol == chosen


async def test_who_speaks_nothing_we_know_is_refused(visiting: Visiting):
    with pytest.raises(Refused) as refused:
        async with visiting(bring, "cafe.v9"):
            pass
    assert refused.value.status == 403


async def test_the_choice_may_be_ours(visiting: Visiting):
    async def prefer_msgpack(socket: CafeSocket) -> None:
        await socket.accept("cafe.msgpack", headers={"x-table": "7"})
        await socket.send_message("tea")

    offer = ["cafe.json", "cafe.msgpack"]
    async with visiting(prefer_msgpack, *offer) as client:
        assert client.subprotocol == "cafe.msgpack"
        assert client.headers["x-table"] == "7"
        assert await client.receive() == msgspec.msgpack.encode("tea")


async def test_our_choice_must_be_spoken_here(visiting: Visiting):
    async def prefer_xml(socket: CafeSocket) -> None:
        await socket.accept("cafe.xml")

    with pytest.raises(Refused):
        async with visiting(prefer_xml, "cafe.xml", "cafe.json"):
            pass


async def test_a_second_accept_changes_nothing(visiting: Visiting):
    async def accept_twice(socket: CafeSocket) -> None:
        await socket.accept("cafe.msgpack")
        await socket.accept("cafe.json")
        await bring(socket)

    async with visiting(accept_twice, "cafe.json", "cafe.msgpack") as client:
        await client.send(msgspec.msgpack.encode(Order("tea")))
        assert await client.receive() == msgspec.msgpack.encode([1, "tea"])


async def test_the_format_is_known_before_and_after_the_choice(
    visiting: Visiting,
):
    seen = []

    async def look(socket: CafeSocket) -> None:
        seen.append(socket.format.name)
        await socket.accept("cafe.json")
        seen.append(socket.format.name)
        await socket.send_message("tea")

    offer = ["cafe.msgpack", "cafe.json"]
    async with visiting(look, *offer) as client:
        assert await client.receive() == '"tea"'
    assert seen == ["cafe.msgpack", "cafe.json"]


async def test_the_format_is_the_first_for_who_offers_nothing(
    visiting: Visiting,
):
    async def look(socket: CafeSocket) -> None:
        await socket.send_message(socket.format.name)

    async with visiting(look) as client:
        assert await client.receive() == '"cafe.json"'


async def test_there_is_no_format_for_who_speaks_nothing_we_know(
    visiting: Visiting,
):
    async def look(socket: CafeSocket) -> None:
        assert socket.format

    with pytest.raises(Refused) as refused:
        async with visiting(look, "cafe.v9"):
            pass
    assert refused.value.status == 403


async def receive_first(socket: CafeSocket) -> None:
    await socket.receive_message()
    await socket.close()


async def iterate_first(socket: CafeSocket) -> None:
    async for _ in socket.iter_messages():
        await socket.close()


async def send_first(socket: CafeSocket) -> None:
    await socket.send_message("welcome")
    await receive_first(socket)


@pytest.mark.parametrize("act", [receive_first, iterate_first, send_first])
async def test_it_accepts_by_itself_when_it_is_used(
    visiting: Visiting, act: Act
):
    async with visiting(act, "cafe.json") as client:
        assert client.subprotocol == "cafe.json"
        await client.send('{"drink": "tea"}')
        messages, closed = await all_of(client)
        assert messages == (['"welcome"'] if act is send_first else [])
        assert closed == "1000"


# -- messages ----------------------------------------------------------------


async def test_json_travels_as_text(visiting: Visiting):
    async with visiting(bring, "cafe.json") as client:
        await client.send('{"drink": "tea", "cups": 2}')
        assert await client.receive() == '[2,"tea"]'


async def test_messagepack_travels_as_binary(visiting: Visiting):
    async with visiting(bring, "cafe.msgpack") as client:
        await client.send(msgspec.msgpack.encode(Order("tea", 2)))
        answer = await client.receive()
        assert answer == msgspec.msgpack.encode([2, "tea"])


BAD = [
    (b"{}", "1003 'cafe.json takes text frames'"),
    ("{}", "4400 'Object missing required field `drink`'"),
    ("[" * 100_000, "4400 "),
]


@pytest.mark.parametrize(("payload", "says"), BAD)
async def test_what_is_no_message_ends_the_loop_with_a_code_and_words(
    visiting: Visiting, payload: str | bytes, says: str
):
    async with visiting(bring, "cafe.json") as client:
        await client.send(payload)
        messages, closed = await all_of(client)
        assert messages == []
        assert closed.startswith(says)


async def test_who_catches_the_error_may_answer_and_receive_again(
    visiting: Visiting,
):
    async def forgive(socket: CafeSocket) -> None:
        async with lifecycle(socket):
            while True:
                try:
                    order = await socket.receive_message()
                except WebSocketDisconnect:
                    return
                except WebSocketException as bad:
                    await socket.send_message({"error": bad.code})
                else:
                    await socket.send_message(order.drink)

    async with visiting(forgive, "cafe.json") as client:
        for payload, says in BAD:
            await client.send(payload)
            assert await client.receive() == f'{{"error":{says[:4]}}}'
            await client.send('{"drink": "tea"}')
            assert await client.receive() == '"tea"'


async def test_an_iteration_that_an_error_ended_can_be_begun_again(
    visiting: Visiting,
):
    async def begin_again(socket: CafeSocket) -> None:
        async with lifecycle(socket):
            with pytest.raises(WebSocketException, match="text frames"):
                await bring(socket)
            await bring(socket)

    async with visiting(begin_again) as client:
        await client.send(b"tea")
        await client.send('{"drink": "tea"}')
        assert await client.receive() == '[1,"tea"]'


async def test_receiving_from_who_has_left_says_so(visiting: Visiting):
    said: list[int] = []
    done = asyncio.Event()

    async def wait_for_more(socket: CafeSocket) -> None:
        await socket.accept()
        for _ in range(2):
            try:
                await socket.receive_message()
            except WebSocketDisconnect as gone:
                said.append(gone.code)
        done.set()

    async with visiting(wait_for_more) as client:
        await client.close(4001)
        await asyncio.wait_for(done.wait(), 5)
    assert len(said) == 2
    assert said[0] == 4001


async def test_a_stream_is_pushed_by_it(visiting: Visiting):
    async def cups() -> AsyncGenerator[int, None]:
        for cup in (1, 2):
            yield cup

    async def pour(socket: CafeSocket) -> None:
        async with lifecycle(socket):
            await push(socket, cups(), socket.send_message)

    async with visiting(pour, "cafe.msgpack") as client:
        assert await all_of(client) == ([b"\x01", b"\x02"], "1000")


# -- close -------------------------------------------------------------------


async def by_method(socket: CafeSocket, code: int, reason: str) -> None:
    await socket.close(code, reason)


Close = Callable[[CafeSocket, int, str], Awaitable[object]]


@pytest.mark.parametrize("close_first", [by_method, close])
@pytest.mark.parametrize("close_then", [by_method, close])
async def test_it_closes_once_with_a_reason_that_fits(
    visiting: Visiting, close_first: Close, close_then: Close
):
    async def say_goodbye(socket: CafeSocket) -> None:
        await socket.accept()
        await close_first(socket, 4000, "é" * 100)
        await close_then(socket, 4001, "and another thing")

    async with visiting(say_goodbye) as client:
        assert await all_of(client) == ([], f"4000 '{'é' * 60}…'")


async def test_a_close_of_its_own_stands_in_a_lifecycle(visiting: Visiting):
    async def close_and_go_on(socket: CafeSocket) -> None:
        async with lifecycle(socket):
            await socket.close(4000)
            with pytest.raises(WebSocketDisconnect):
                await socket.send_message("one more")

    async with visiting(close_and_go_on) as client:
        assert await all_of(client) == ([], "4000")


async def test_close_alone_means_1000(visiting: Visiting):
    async def leave(socket: CafeSocket) -> None:
        await socket.accept()
        await socket.close()

    async with visiting(leave) as client:
        assert await all_of(client) == ([], "1000")


async def test_close_is_harmless_when_the_client_has_gone(visiting: Visiting):
    done = asyncio.Event()

    async def close_late(socket: CafeSocket) -> None:
        async for _ in socket.iter_messages():
            pass
        await socket.close(4000)
        done.set()

    async with visiting(close_late) as client:
        await client.close()
        await asyncio.wait_for(done.wait(), 5)


async def test_a_code_that_cannot_be_sent_closes_nothing(visiting: Visiting):
    async def insist(socket: CafeSocket) -> None:
        await socket.accept()
        with pytest.raises(ValueError, match="cannot carry 1006"):
            await socket.close(1006)
        await socket.close(4000)

    async with visiting(insist) as client:
        assert await all_of(client) == ([], "4000")


# -- the class ---------------------------------------------------------------


async def test_each_connection_has_an_id_and_its_state(visiting: Visiting):
    seen: list[CafeSocket] = []

    async def sit_down(socket: CafeSocket) -> None:
        socket.table = len(seen)
        seen.append(socket)
        await socket.send_message(socket.table)

    for table in range(3):
        async with visiting(sit_down) as client:
            assert await client.receive() == str(table)
    ids = {socket.id for socket in seen}
    assert len(ids) == 3
    assert all(len(x) == 16 and int(x, 16) >= 0 for x in ids)


async def test_a_name_that_is_not_in_the_slots_is_an_error(
    visiting: Visiting,
):
    async def misspell(socket: CafeSocket) -> None:
        with pytest.raises(AttributeError, match="seat_number"):
            socket.seat_number = 7  # ty: ignore[missing-attribute]
        await socket.send_message("spelled")

    async with visiting(misspell) as client:
        assert await client.receive() == '"spelled"'


async def test_a_controller_may_name_it():
    class Cafe(Controller):
        websocket_class = CafeSocket

        @websocket("/")
        async def cafe(self, socket: CafeSocket) -> None:
            await bring(socket)

    async with connect(Litestar([Cafe])) as client:
        await client.send('{"drink": "tea"}')
        assert await client.receive() == '[1,"tea"]'


async def test_a_listener_accepts_with_it_inside_a_lifecycle():
    @websocket_listener(
        "/", websocket_class=CafeSocket, connection_lifespan=lifecycle
    )
    async def cafe(data: str, socket: CafeSocket) -> None:
        await socket.send_message(data)

    async with connect(
        Litestar([cafe]), subprotocols=["cafe.msgpack"]
    ) as client:
        assert client.subprotocol == "cafe.msgpack"
        await client.send("tea")
        assert await client.receive() == msgspec.msgpack.encode("tea")


async def test_it_says_that_it_was_accepted_behind_its_back():
    errors = []

    class Cafe(WebsocketListener):
        path = "/"
        websocket_class = CafeSocket

        async def on_receive(self, data: str, socket: CafeSocket) -> None:
            try:
                await socket.send_message(data)
            except RuntimeError as error:
                errors.append(str(error))
            await socket.close()

    async with connect(Litestar([Cafe])) as client:
        await client.send("tea")
        assert await all_of(client) == ([], "1000")
    assert "connection_lifespan=lifecycle" in errors[0]
