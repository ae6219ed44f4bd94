"""What is said about text and binary, JSON and MessagePack."""

import asyncio
from typing import Any

import msgspec
import pytest
from litestar import Litestar, WebSocket, websocket, websocket_listener
from litestar.cli.commands.core import run_command
from websockets.asyncio.client import connect as open_connection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from snippets.testing import Closed
from snippets.testing.server import serve

from .conftest import ask, hear

Socket = WebSocket[Any, Any, Any]


async def test_text_is_the_default():
    """Text is the mode of a listener that asks for nothing else
    → true: both to receive and to send.
    """

    @websocket_listener("/")
    async def listen(data: str) -> str:
        return data

    assert await ask(Litestar([listen]), "tea") == ["tea"]


async def test_the_modes_are_independent():
    """`receive_mode` and `send_mode` may differ
    → true: all four combinations work.
    """
    for receives, said in (("text", "tea"), ("binary", b"tea")):
        for sends, heard in (("text", "tea"), ("binary", b"tea")):

            @websocket_listener("/", receive_mode=receives, send_mode=sends)
            async def listen(data: str) -> str:
                return data

            assert await ask(Litestar([listen]), said) == [heard]


async def test_bytes_need_no_binary_mode():
    """`data: bytes` needs `receive_mode="binary"`
    → false: the mode says which frames, the type how you get the payload.
    """

    @websocket_listener("/")
    async def listen(data: bytes) -> str:
        return repr(data)

    assert await ask(Litestar([listen]), "tea") == ["b'tea'"]


async def test_a_frame_of_the_other_kind_arrives_empty():
    """Litestar's docs: a binary listener does not respond to text
    → false: it is called with an empty message; JSON fails on it with 4500.
    """

    @websocket_listener("/", receive_mode="binary")
    async def binary(data: bytes) -> str:
        return repr(data)

    @websocket_listener("/")
    async def json(data: dict[str, str]) -> None: ...

    assert await ask(Litestar([binary]), b"tea", "tea") == ["b'tea'", "b''"]
    with pytest.raises(Closed, match="4500 'Input data was truncated'"):
        await ask(Litestar([json]), b"{}")


async def test_receive_text_does_not_mind_bytes():
    """`receive_text()` raises when a binary frame comes
    → false: it returns the empty string, as for an empty message.
    """

    @websocket("/")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        await socket.send_json(await socket.receive_text())
        await socket.send_json(await socket.receive_text())
        await socket.close()

    heard, _ = await hear(Litestar([chat]), b"tea", "")
    assert heard == ['""', '""']


async def test_the_raw_event_tells_the_kinds_apart():
    """There is no way to tell a frame of the other kind from an empty one
    → false: the event of `socket.receive()` has the key of what came.
    """

    @websocket("/")
    async def raw(socket: Socket) -> None:
        await socket.accept()
        for _ in range(2):
            event: Any = await socket.receive()
            kinds = ("text", "bytes")
            came = [kind for kind in kinds if event.get(kind) is not None]
            await socket.send_text(", ".join(came))
        await socket.close()

    async with (
        serve(Litestar([raw])) as server,
        server.connect() as client,
    ):
        await client.send("")
        await client.send(b"")
        heard = [message async for message in client]
    assert heard == ["text", "bytes"]


async def test_send_mode_does_not_change_the_content():
    """`send_mode="binary"` sends another format than JSON
    → false: it is the same JSON in a binary frame.
    """

    @websocket_listener("/", send_mode="binary")
    async def listen(data: str) -> dict[str, str]:
        return {"heard": data}

    assert await ask(Litestar([listen]), "tea") == [b'{"heard":"tea"}']


async def test_bytes_sent_as_text_must_be_utf8():
    """Any bytes can be sent in text mode
    → half true: if they are UTF-8; else the connection ends with 4500.
    """

    @websocket_listener("/", receive_mode="binary")
    async def listen(data: bytes) -> bytes:
        return data

    heard, closed = await hear(
        Litestar([listen]), "ö".encode(), "ö".encode("latin-1")
    )
    assert (heard, closed.code) == (["ö"], 4500)


async def test_there_is_no_mode_for_messagepack():
    """`receive_mode="msgpack"` makes a listener that takes MessagePack
    → false: it is taken for "binary", with JSON in it; use a handler.
    """

    @websocket_listener("/", receive_mode="msgpack")  # ty: ignore
    async def wrong(data: dict[str, str]) -> dict[str, str]:
        return data

    @websocket("/")
    async def right(socket: Socket) -> None:
        await socket.accept()
        await socket.send_msgpack(await socket.receive_msgpack())
        await socket.close()

    packed = msgspec.msgpack.encode({"drink": "tea"})
    assert await ask(Litestar([wrong]), b'{"a":"b"}') == ['{"a":"b"}']
    with pytest.raises(Closed, match="4500 'JSON is malformed"):
        await ask(Litestar([wrong]), packed)
    heard, _ = await hear(Litestar([right]), packed)
    assert heard == [packed]


def test_messagepack_is_not_always_smaller():
    """MessagePack is smaller than JSON
    → half true: text and keys are; a `float` always takes nine bytes.
    """

    def sizes(message: object) -> tuple[int, int]:
        json = msgspec.json.encode(message)
        return len(json), len(msgspec.msgpack.encode(message))

    json, packed = sizes({"from": "ada", "text": "tea?"})
    assert packed < json
    json, packed = sizes([20.5, 20.75, 21.0])
    assert packed > json


async def test_text_that_is_not_utf8_never_reaches_the_app():
    """Text has to be checked for valid UTF-8
    → false: the server closes with 1007 before the app sees it.
    """
    seen: list[str] = []

    @websocket("/")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        async for text in socket.iter_data(mode="text"):
            seen.append(text)  # noqa: PERF401 - the loop ends by a close

    async with (
        serve(Litestar([chat])) as server,
        open_connection(server.url) as client,
    ):
        latin = Frame(Opcode.TEXT, "ö".encode("latin-1"))
        client.transport.write(latin.serialize(mask=True))
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.recv(), 5)
        assert client.close_code == 1007
    assert seen == []


async def test_the_limit_of_size_is_the_servers():
    """`litestar run` limits the size of messages
    → false: only uvicorn's own option `ws_max_size` does; above it is 1009.
    """

    @websocket_listener("/")
    async def listen(data: str) -> str:
        return str(len(data))

    assert not [p.name for p in run_command.params if "ws" in str(p.name)]
    async with (
        serve(Litestar([listen]), ws_max_size=1024) as server,
        server.connect() as client,
    ):
        await client.send("x" * 1024)
        assert await client.receive() == "1024"
        await client.send("x" * 1025)
        assert [message async for message in client] == []
        assert str(client.closed).startswith("1009")
