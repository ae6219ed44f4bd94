"""What is said about streams."""

import asyncio
import gc
import warnings
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import anyio
import pytest
from litestar import (
    Litestar,
    WebSocket,
    websocket,
    websocket_stream,
)
from litestar.exceptions import (
    ImproperlyConfiguredException,
    LitestarWarning,
    WebSocketException,
)
from litestar.handlers import send_websocket_stream

from snippets.testing import connect
from snippets.testing.faults import stalled

from .conftest import hear, ticks

Socket = WebSocket[Any, Any, Any]
PATIENCE = 1.0
"""How long to wait for what does not come, in seconds."""


async def two() -> AsyncGenerator[str, None]:
    """Wait once before each item, as real streams do."""
    for item in ("one", "two"):
        await asyncio.sleep(0)
        yield item


async def after_a_word(socket: Socket) -> AsyncGenerator[str, None]:
    """Wait, before the second item, until the client has said something."""
    yield "one"
    while socket.connection_state != "receive":  # noqa: ASYNC110 - no event
        await asyncio.sleep(0)
    yield "two"


def test_a_stream_is_annotated_with_async_generator():
    """A stream is annotated `-> AsyncIterator[str]`
    → false: no app is made of it; it must be `AsyncGenerator[str, None]`.
    """

    async def wrong() -> AsyncIterator[str]:
        yield "tick"

    with pytest.raises(ImproperlyConfiguredException, match="AsyncGenerator"):
        Litestar([websocket_stream("/")(wrong)])  # ty: ignore
    Litestar([websocket_stream("/")(ticks)])


async def test_a_stream_ends_with_1000():
    """A stream whose generator is exhausted closes the connection
    → true: with 1000.
    """
    heard, closed = await hear(Litestar([websocket_stream("/")(two)]))
    assert (heard, closed.code) == (["one", "two"], 1000)


async def test_what_is_said_to_a_stream_is_dropped_with_a_warning():
    """Litestar's docs: data sent to a stream raises an exception
    → false: it is dropped with a warning, and the stream goes on.
    """
    listening = websocket_stream("/")(after_a_word)
    with pytest.warns(LitestarWarning, match="received data"):
        heard, closed = await hear(Litestar([listening]), "stop!")
    assert (heard, closed.code) == (["one", "two"], 1000)

    silent = websocket_stream("/", warn_on_data_discard=False)(after_a_word)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        heard, closed = await hear(Litestar([silent]), "stop!")
    assert (heard, closed.code) == (["one", "two"], 1000)


async def test_allow_data_discard_does_not_exist():
    """Litestar's docs: `allow_data_discard=True` silences the warning
    → false: there is no such thing; it is `warn_on_data_discard=False`.
    """
    wrong = websocket_stream("/", allow_data_discard=True)(after_a_word)
    with pytest.warns(LitestarWarning, match="received data"):
        await hear(Litestar([wrong]), "stop!")
    assert wrong.opt == {"allow_data_discard": True}

    with pytest.raises(TypeError, match="allow_data_discard"):
        send_websocket_stream(allow_data_discard=True)  # ty: ignore


async def test_clean_up_that_awaits_needs_a_shield():
    """`finally` in a stream cleans up when the client leaves
    → half true: it starts, but its first `await` is cancelled; shield it.
    """
    done: list[str] = []

    async def wrong() -> AsyncGenerator[str, None]:
        try:
            yield "hello"
            await asyncio.Event().wait()
        finally:
            done.append("started")
            await asyncio.sleep(0)
            done.append("finished")

    async def right() -> AsyncGenerator[str, None]:
        try:
            yield "hello"
            await asyncio.Event().wait()
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(0)
                done.append("finished, shielded")

    for stream in (wrong, right):
        async with connect(Litestar([websocket_stream("/")(stream)])) as ws:
            await ws.receive()
    assert done == ["started", "finished, shielded"]


async def test_a_stream_is_cancelled_only_where_it_waits():
    """When the client leaves, a stream is cancelled
    → half true: not while it stands at its `yield`; then its `finally` begins
    when Python finds the generator unused, and the handler does not wait.
    """
    done: list[str] = []
    gate, put_away = asyncio.Event(), asyncio.Event()

    async def wrong() -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "hello"
        except BaseException as error:
            done.append(type(error).__name__)
            raise
        finally:
            await gate.wait()
            put_away.set()

    async with stalled(
        Litestar([websocket_stream("/")(wrong)]), buffer=1
    ) as ws:
        await ws.full()
    assert not put_away.is_set()  # and yet the handler has ended
    gc.collect()
    gate.set()
    await asyncio.wait_for(put_away.wait(), timeout=5)
    assert done == ["GeneratorExit"]


@pytest.mark.xfail(reason="no issue yet", raises=AssertionError)
async def test_a_stream_can_close_with_a_code_of_its_own():
    """`WebSocketException` in a stream closes with its code
    → half true: only with `listen_for_disconnect=False`; else it is 4500.
    """

    async def failing() -> AsyncGenerator[str, None]:
        await asyncio.sleep(0)
        yield "tea"
        raise WebSocketException(detail="no more tea", code=4001)

    deaf = websocket_stream("/", listen_for_disconnect=False)(failing)
    heard, closed = await hear(Litestar([deaf]))
    assert (heard, str(closed)) == (["tea"], "4001 'no more tea'")
    heard, closed = await hear(Litestar([websocket_stream("/")(failing)]))
    assert (heard, str(closed)) == (["tea"], "4001 'no more tea'")


async def test_a_stream_that_does_not_listen_accepts_at_its_first_item():
    """A stream accepts its client at once
    → half true: with `listen_for_disconnect=False`, at the first item.
    """

    async def late() -> AsyncGenerator[str, None]:
        await asyncio.Event().wait()
        yield "good morning"

    async with connect(Litestar([websocket_stream("/")(late)])):
        pass
    deaf = websocket_stream("/", listen_for_disconnect=False)(late)
    with pytest.raises(TimeoutError, match="neither accepted nor refused"):
        async with connect(Litestar([deaf]), timeout=PATIENCE):
            pass


# -- by hand -----------------------------------------------------------------


async def test_send_websocket_stream_takes_a_socket():
    """`send_websocket_stream(websocket=..., stream=...)` sends a stream
    → false: the parameter is called `socket` here, too.
    """

    @websocket("/")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        stream = two()
        with pytest.raises(TypeError, match="argument 'websocket'"):
            await send_websocket_stream(websocket=socket, stream=stream)  # ty: ignore
        await send_websocket_stream(socket=socket, stream=stream)

    heard, closed = await hear(Litestar([chat]))
    assert (heard, closed.code) == (["one", "two"], 1000)


async def test_send_websocket_stream_sends_text_and_bytes():
    """`send_websocket_stream` sends a `dict` as JSON, as a stream does
    → false: it takes text and bytes, unless it gets a `send_handler`.
    """

    async def teas() -> AsyncGenerator[dict[str, str], None]:
        await asyncio.sleep(0)
        yield {"tea": "Assam"}

    @websocket("/")
    async def wrong(socket: Socket) -> None:
        await socket.accept()
        with pytest.raises(AttributeError, match="'dict' object"):
            await send_websocket_stream(socket, teas())
        await socket.close()

    @websocket("/")
    async def right(socket: Socket) -> None:
        await socket.accept()
        await send_websocket_stream(
            socket, teas(), send_handler=WebSocket.send_json
        )

    json = '{"tea":"Assam"}'
    for handler, expected in (
        (wrong, []),
        (right, [json]),
        (websocket_stream("/")(teas), [json]),
    ):
        heard, closed = await hear(Litestar([handler]))
        assert (heard, closed.code) == (expected, 1000)


async def test_send_websocket_stream_closes():
    """After `send_websocket_stream` the handler goes on with the connection
    → half true: only with `close=False`.
    """

    @websocket("/{close:str}")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        close = socket.path_params["close"] == "close"
        await send_websocket_stream(socket, two(), close=close)
        await socket.send_text("three")
        await socket.close()

    async with connect(Litestar([chat]), "/stay") as client:
        heard = [message async for message in client]
    assert heard == ["one", "two", "three"]
    with pytest.raises(RuntimeError, match="after sending"):
        async with connect(Litestar([chat]), "/close") as client:
            heard = [message async for message in client]
    assert heard == ["one", "two"]


async def test_send_websocket_stream_does_not_listen_by_default():
    """`send_websocket_stream` stops when the client leaves
    → half true: only with `listen_for_disconnect=True`; else it never knows.
    """

    async def silent() -> AsyncGenerator[str, None]:
        await asyncio.Event().wait()
        yield "never"

    @websocket("/{listen:str}")
    async def chat(socket: Socket) -> None:
        await socket.accept()
        listen = socket.path_params["listen"] == "listen"
        await send_websocket_stream(
            socket, silent(), listen_for_disconnect=listen
        )

    app = Litestar([chat])
    async with connect(app, "/listen"):
        pass
    with pytest.raises(TimeoutError, match="handler was still running"):
        async with connect(app, "/default", timeout=PATIENCE):
            pass
