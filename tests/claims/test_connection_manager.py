"""What is said about connection managers."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from naive import Gather, GatherWithTimeout, SetAndLoop, create_app
from snippets.testing import Client, Closed, connect
from snippets.testing.faults import stalled
from snippets.testing.server import serve
from snippets.testing.wire import Opcode, frame, raw

both_servers = pytest.mark.parametrize("ws", ["websockets-sansio", "wsproto"])
BIG = "x" * 65536


class Copies(SetAndLoop):
    """The manager with the usual cure."""

    async def broadcast(self, text: str) -> None:
        for connection in list(self.connections):
            await connection.send_text(text)


async def listen(client: Client) -> Closed:
    """Receive until the connection is closed."""
    async for _ in client:
        pass
    assert client.closed is not None
    return client.closed


async def join_during_a_broadcast(manager: SetAndLoop) -> list[str]:
    """Have somebody come while the loop waits; tell what handlers raise."""
    app, errors = create_app(manager), []

    async def note(error: Exception, scope: Any) -> None:
        errors.append(str(error))

    app.after_exception.append(note)
    async with (
        connect(app, "/chat") as ada,
        stalled(app, "/chat", buffer=1) as slow,
    ):
        for word in ("one", "two"):
            await ada.send(word)
            assert await ada.receive() == word
        await slow.full()
        async with connect(app, "/chat"):
            assert await slow.receive() == "one"
            with suppress(Closed):
                await ada.send("three")
                assert await ada.receive() == "three"
        return [*errors]  # what follows is how the slow one leaves


async def test_a_loop_over_a_set_needs_no_lock_in_asyncio():
    """asyncio runs one thing at a time, so a loop over a set is safe
    → false: others come and go at each `await`, and the sender is closed.
    """
    errors = await join_during_a_broadcast(SetAndLoop())
    assert errors == ["Set changed size during iteration"]


@both_servers
async def test_a_copy_of_the_set_makes_the_loop_safe(ws: Any):
    """A loop over `list(connections)` is safe
    → half true: who comes is no trouble; one who has gone ends it as before.
    """
    assert await join_during_a_broadcast(Copies()) == []
    assert await after_a_goodbye(Copies(), ws) == 4500


async def after_a_goodbye(manager: SetAndLoop, ws: Any) -> int:
    """Have somebody say a last word; tell how the next one to talk fares."""
    async with (
        serve(create_app(manager), ws=ws) as server,
        raw(server, "/chat") as ada,
        server.connect("/chat") as bob,
    ):
        goodbye = frame(Opcode.TEXT, b"bye!"), frame(Opcode.CLOSE, b"\x03\xe9")
        await ada.send_bytes(b"".join(goodbye))
        await listen(ada)  # the server has answered with a close frame
        await bob.send("who was that?")
        return (await listen(bob)).code


@both_servers
async def test_except_websocket_disconnect_forgets_all_who_have_gone(ws: Any):
    """`except WebSocketDisconnect: manager.disconnect(socket)` is enough
    → false: a send to one who has gone is an `OSError`, whoever sends, and
    both stay in the set.
    """
    manager = SetAndLoop()
    assert await after_a_goodbye(manager, ws) == 4500
    assert len(manager.connections) == 2


@both_servers
async def test_send_returns_when_the_client_has_the_message(ws: Any):
    """`send_text` returns when the client has the message
    → false: it returns while megabytes are on the way, and then it waits.
    """
    manager, sent = SetAndLoop(), 0
    async with (
        serve(create_app(manager), ws=ws) as server,
        stalled(server, "/chat") as slow,
        server.connect("/chat", timeout=1) as ada,
    ):
        with suppress(TimeoutError):
            while True:
                await ada.send(BIG)
                await ada.receive()
                sent += 1
        slow.vanish()
    assert sent * len(BIG) > 2**20


@both_servers
async def test_the_pings_of_the_server_end_who_does_not_read(ws: Any):
    """The server's pings end a connection that is not read
    → false: they end who talks to it. While the next message waits for the
    handler, which waits for the slow one, the server reads no pongs.
    """
    manager = SetAndLoop()
    pings = {"ws_ping_interval": 1.0, "ws_ping_timeout": 1.0}
    async with (
        serve(
            create_app(manager), ws=ws, timeout_graceful_shutdown=1, **pings
        ) as server,
        server.connect("/chat", timeout=30) as ada,
        stalled(server, "/chat"),
    ):
        async with asyncio.timeout(30):
            while ada.closed is None:
                with suppress(Closed):
                    await ada.send(BIG)
                    await ada.receive()
        assert str(ada.closed) == "1011 'keepalive ping timeout'"


async def test_with_gather_a_slow_client_delays_only_itself():
    """With `asyncio.gather` a slow client delays only itself
    → half true: the others hear, and whoever has sent is heard no more.
    """
    app = create_app(Gather())
    async with (
        connect(app, "/chat") as ada,
        connect(app, "/chat") as bob,
        stalled(app, "/chat", buffer=1) as slow,
    ):
        for word in ("one", "two", "three"):
            await ada.send(word)
        await slow.full()
        for word in ("one", "two"):
            assert [await each.receive() for each in (ada, bob)] == [word] * 2
        ada.timeout = 0.1
        with pytest.raises(TimeoutError):
            await ada.receive()


async def test_a_time_out_for_each_send_makes_a_broadcast_safe():
    """`wait_for` around each send makes a broadcast safe
    → half true: nobody waits long, and the slow one has a hole that it does
    not know of.
    """
    app = create_app(GatherWithTimeout(0.02))
    async with (
        connect(app, "/chat") as ada,
        stalled(app, "/chat", buffer=1) as slow,
    ):
        for word in ("one", "two"):
            await ada.send(word)
            assert await ada.receive() == word
        await slow.full()
        await ada.send("three")
        assert await ada.receive() == "three"  # so "two" was given up
        assert await slow.receive() == "one"
        assert await slow.receive() == "three"


async def test_a_task_for_each_broadcast_lets_nobody_wait():
    """`create_task(manager.broadcast(text))` lets nobody wait
    → half true: they pile up, one more for each message, without a limit.
    """

    tasks: list[asyncio.Task[None]] = []

    class Tasks(SetAndLoop):
        async def broadcast(self, text: str) -> None:
            tasks.append(asyncio.create_task(super().broadcast(text)))

    app = create_app(Tasks())
    async with (
        connect(app, "/chat") as ada,
        stalled(app, "/chat", buffer=1),
    ):
        for number in range(50):
            await ada.send(str(number))
            assert await ada.receive() == str(number)
        assert sum(not task.done() for task in tasks) == 49
    await asyncio.gather(*tasks, return_exceptions=True)
