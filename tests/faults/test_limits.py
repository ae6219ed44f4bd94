"""Clients that are too large, too fast, too idle, or take nothing."""

import asyncio
import json
import socket

import pytest
from litestar import Litestar, WebSocket, websocket

from snippets.connections import Connection
from snippets.serving import listen, server_options
from snippets.testing.faults import flood, stalled
from snippets.testing.process import process
from snippets.testing.wire import raw

from .conftest import Chat, Serving, answered, ask, ending, heard


def say(text: str) -> str:
    return f'{{"type":"say","room":"tea","text":"{text}"}}'


async def test_what_is_too_large_is_answered(serving: Serving):
    """Limits: a message of more than 16 KiB is answered with `too_large`, and
    the connection lives.
    """
    fits = 16 * 1024 - len(say(""))
    async with serving(Chat().app) as server, server.connect("/ada") as ada:
        await ask(ada, "join", room="tea")
        for payload in (say("x" * fits + "x"), say("é" * (fits // 2) + "xx")):
            await ada.send(payload)
            while (error := await ada.receive_json())["type"] != "error":
                pass
            assert error["code"] == "too_large"
        await ada.send(say("x" * fits))
        assert await heard(ada, 1) == ["x" * fits]


@pytest.mark.parametrize("fragments", [1, 9])
async def test_what_is_larger_than_the_server_takes_closes(
    serving: Serving, fragments: int
):
    """Limits: a message of more than 64 KiB is closed with 1009, and never
    gets to the app.
    """
    received: list[int] = []

    @websocket("/")
    async def measure(socket: WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_data("text"):
            received.append(len(text))
            await socket.send_text("taken")

    app = Litestar([measure], openapi_config=None, logging_config=None)
    async with serving(app) as server, raw(server) as client:
        await client.send("x" * 64 * 1024)
        assert await client.receive() == "taken"
        await client.send_fragments("x" * (64 * 1024 + 1), fragments)
        assert (await ending(client)).startswith("1009")
    assert received == [64 * 1024]


async def test_nothing_is_compressed(serving: Serving):
    """Limits: compression is not agreed to, whatever the client offers."""
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    async with serving(Chat().app) as server:
        async with server.connect("/ada") as ada:  # which offers it
            assert "sec-websocket-extensions" not in ada.headers
        async with raw(server, "/eve", headers=offer) as eve:
            assert "sec-websocket-extensions" not in eve.headers


async def test_compression_is_agreed_to_unless_we_say_so(serving: Serving):
    app = Chat().app
    async with (
        serving(app, ws_per_message_deflate=True) as server,
        server.connect("/ada") as ada,
    ):
        agreed = ada.headers["sec-websocket-extensions"]
        assert agreed.startswith("permessage-deflate")


async def test_who_floods_is_told_and_then_closed(serving: Serving):
    """Limits: who floods gets `rate_limited`, with `retry_after`, and after 30
    of these is closed with 4429.
    """
    chat = Chat(limits={})
    async with (
        serving(chat.app) as server,
        server.connect("/ada") as ada,
        server.connect("/bob") as bob,
        server.connect("/eve") as eve,
    ):
        for client in (ada, bob, eve):
            await ask(client, "join", room="tea")
        flooding = asyncio.create_task(flood(eve, say("tea!"), 10_000))
        for text in ("1", "2", "3"):
            await bob.send(say(text))
            while await heard(ada, 1) != [text]:
                pass
            while await heard(bob, 1) != [text]:
                pass
        answers = [json.loads(message) async for message in eve]
        assert eve.closed is not None
        assert eve.closed.code == 4429
        errors = [each for each in answers if each["type"] == "error"]
        assert len(errors) == 29
        for error in errors:
            assert error["code"] == "rate_limited"
            assert error["retryable"]
            assert 0 < error["retry_after"] <= 0.1
        await flooding
        assert [m.user for m in chat.rooms.members("tea")] == ["ada", "bob"]
    assert server.log == []


async def test_who_waits_as_told_is_heard(serving: Serving):
    """Limits: who waits for `retry_after` seconds is heard."""
    chat = Chat(limits={"rate": 50, "burst": 1})
    async with serving(chat.app) as server, server.connect("/ada") as ada:
        refused = 0
        for number in range(20):
            await ada.send_json({"type": "do", "ref": number})
            answer = await ada.receive_json()
            if answer["type"] == "error":
                refused += 1
                await asyncio.sleep(answer["retry_after"])
                await ada.send_json({"type": "do", "ref": number})
                answer = await ada.receive_json()
            assert answer == {"type": "ack", "ref": number}
        assert refused


async def test_who_says_nothing_is_closed(serving: Serving):
    """Limits: who says nothing for too long is closed with 4408."""
    chat = Chat(limits={"idle_timeout": 0.3, "rate": 1e6})
    async with (
        serving(chat.app) as server,
        server.connect("/ada") as ada,
        server.connect("/eve") as eve,
    ):
        for client in (ada, eve):
            await ask(client, "join", room="tea")

        async def talk() -> None:
            while True:
                await ask(ada, "say", room="tea", text="eve?")

        talking = asyncio.create_task(talk())
        async with asyncio.timeout(10):  # or it goes on for ever
            assert await ending(eve) == "4408 'nothing was heard for 0.3 s'"
        assert [m.user for m in chat.rooms.members("tea")] == ["ada"]
        assert not talking.done()
        talking.cancel()
        await asyncio.wait({talking})
    assert server.log == []


async def test_who_takes_too_long_is_cancelled(serving: Serving):
    """Limits: a handler that takes too long is cancelled and answered with
    `timeout`, and the connection lives.
    """
    cancelled: list[str] = []

    async def wait(connection: Connection, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            cancelled.append(str(connection.user))
            raise

    chat = Chat(do=wait, handler_time=0.05)
    async with (
        serving(chat.app) as server,
        server.connect("/ada") as ada,
        server.connect("/bob") as bob,
    ):
        await ada.send_json({"type": "do", "number": 60, "ref": 1})
        await ada.send_json({"type": "do", "ref": 2})
        assert (await ask(bob, "do"))["type"] == "ack"
        error = await answered(ada, 1)
        assert (error["code"], error["retryable"]) == ("timeout", True)
        assert await ada.receive_json() == {"type": "ack", "ref": 2}
    assert cancelled == ["ada"]


async def test_a_handler_that_is_limited_keeps_its_client(serving: Serving):
    """Limits: a client is not lost to the server's pings while its handler
    takes as long as it may.
    """

    async def wait(connection: Connection, number: float) -> None:
        await asyncio.sleep(60)

    chat = Chat(do=wait, handler_time=0.1)
    options = {"ws_ping_interval": 0.2, "ws_ping_timeout": 2.0}
    async with (
        serving(chat.app, **options) as server,
        server.connect("/ada") as ada,
    ):
        for number in range(8):
            await ada.send_json({"type": "do", "ref": number})
        for number in range(8):
            assert (await answered(ada, number))["code"] == "timeout"
        assert len(chat.manager) == 1


def create_app() -> Litestar:
    """Make an app that says more than a client takes, and waits for it."""

    @websocket("/")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        app = socket.app
        app.state.open = app.state.get("open", 0) + 1
        try:
            while True:
                await socket.send_bytes(bytes(2**16))
        except OSError:
            app.state.open -= 1

    return Litestar([talk], openapi_config=None, logging_config=None)


def open_connections(app: Litestar) -> int:
    return app.state.get("open", 0)


@pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs Linux"
)
async def test_the_kernel_drops_who_takes_nothing(ws: str):
    """Limits: with `listen()` the kernel drops who takes nothing for 30 s, on
    Linux, and the server gets its descriptor back.
    """
    options = server_options() | {"ws_ping_interval": None, "ws": ws}
    listener = listen("127.0.0.1", 0, user_timeout=0.5)
    factory = f"{__name__}:create_app"
    async with (
        process(factory, listener=listener, **options) as server,
        stalled(server, buffer=4096),
        asyncio.timeout(20),
    ):
        while not await server.call(open_connections):
            pass
        while await server.call(open_connections):
            pass
