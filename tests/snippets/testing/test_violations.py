"""What uvicorn does with what no client may send."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest

from snippets.testing.client import Closed
from snippets.testing.server import Server, serve
from snippets.testing.violations import LARGE, VIOLATIONS
from snippets.testing.wire import Opcode, frame, raw

LATER = frame(Opcode.TEXT, b"later")


class App:
    """Accepts, and hears what comes until the connection ends."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        self.heard.clear()
        self.ended.clear()
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            self.heard.append(message["text"])
        self.heard.append(message["code"])
        self.ended.set()


@pytest.fixture(scope="module")
def app() -> App:
    return App()


@pytest.fixture(scope="module", params=["websockets-sansio", "wsproto"])
def implementation(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
async def server(
    anyio_backend: str, implementation: str, app: App
) -> AsyncGenerator[Server]:
    async with serve(app, ws=implementation, ws_max_size=LARGE) as running:
        yield running


def expected(name: str, implementation: str) -> tuple[int, int]:
    """Tell which code the client gets, and which the app."""
    code = VIOLATIONS[name].code
    if implementation == "wsproto":
        # It closes without a close frame, unless a message is too large.
        return (code if code == 1009 else 1006), code
    if name == "length with the top bit set":
        return 1009, 1009  # to websockets it is just too large
    return code, code


TAKEN = "length in too many bytes"
"""What websockets takes, although it may not."""


@pytest.mark.parametrize("name", VIOLATIONS)
async def test_violations_end_the_connection(
    name: str, implementation: str, server: Server, app: App
):
    taken = name == TAKEN and implementation == "websockets-sansio"
    told, heard = expected(name, implementation)
    async with raw(server) as client:
        with suppress(Closed):  # the server may not wait for the end of it
            await client.send_bytes(VIOLATIONS[name].data + LATER)
        if taken:
            await client.close(4000)
        assert await client.resume() == []
        assert client.closed is not None
        assert client.closed.code == (4000 if taken else told)
    async with asyncio.timeout(5):
        await app.ended.wait()
    # Nothing that comes later is looked at.
    assert app.heard == (["hello", "later", 4000] if taken else [heard])


async def test_what_is_just_small_enough_is_no_violation(
    server: Server, app: App
):
    async with raw(server) as client:
        await client.send("x" * LARGE)
        await client.close()
    async with asyncio.timeout(5):
        await app.ended.wait()
    assert app.heard == ["x" * LARGE, 1000]


def test_each_one_is_masked_but_for_the_one_that_is_not():
    for name, violation in VIOLATIONS.items():
        assert (violation.data[1] > 127) == (name != "unmasked frame"), name


def test_nobody_can_change_the_table():
    changing: Any = VIOLATIONS
    with pytest.raises(TypeError):
        changing["mine"] = VIOLATIONS["too large"]
