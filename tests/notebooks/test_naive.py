"""The managers that people copy: they work, and fail as the chapters say."""

import pytest

from naive import (
    Gather,
    GatherWithTimeout,
    SetAndLoop,
    create_app,
    standing,
)
from snippets.testing import connect
from snippets.testing.faults import stalled

TEXT = "x" * 100
MANAGERS = [SetAndLoop, Gather, GatherWithTimeout]


@pytest.mark.parametrize("kind", MANAGERS)
async def test_what_one_sends_all_hear_in_the_order_of_their_coming(
    kind: type[SetAndLoop],
):
    manager = kind()
    app = create_app(manager)
    async with connect(app, "/chat") as ada, connect(app, "/chat") as bob:
        numbers = [hash(each) for each in manager.connections]
        assert numbers == [0, 1]
        await ada.send("tea?")
        assert [await one.receive() for one in (ada, bob)] == ["tea?"] * 2
    assert manager.connections == set()


async def test_one_who_does_not_read_stops_the_loop_for_all_after_it():
    app = create_app(SetAndLoop())
    async with (
        connect(app, "/chat") as ada,
        stalled(app, "/chat", buffer=1) as slow,
        connect(app, "/chat") as bob,
    ):
        await ada.send(TEXT)
        assert [await one.receive() for one in (ada, bob)] == [TEXT] * 2
        await ada.send(TEXT)
        await slow.full()
        assert await ada.receive() == TEXT
        patience, bob.timeout = bob.timeout, 0.05
        with pytest.raises(TimeoutError):
            await bob.receive()
        bob.timeout = patience
        assert standing().splitlines() == [
            "await connection.send_text(text)",
            "text = await socket.receive_text()",
            "text = await socket.receive_text()",
        ]
        assert await slow.receive() == TEXT
        assert await bob.receive() == TEXT


async def test_with_gather_all_others_hear_and_only_the_sender_waits():
    app = create_app(Gather())
    async with (
        connect(app, "/chat") as ada,
        stalled(app, "/chat", buffer=1) as slow,
        connect(app, "/chat") as bob,
    ):
        for _ in range(3):
            await ada.send(TEXT)
        await slow.full()
        for one in (ada, bob):
            assert [await one.receive() for _ in range(2)] == [TEXT] * 2
        ada.timeout = 0.05
        with pytest.raises(TimeoutError):
            await ada.receive()


async def test_with_a_time_out_the_slow_one_misses_a_message_in_silence():
    app = create_app(GatherWithTimeout(0.01))
    async with (
        connect(app, "/chat") as ada,
        stalled(app, "/chat", buffer=1) as slow,
    ):
        for text in ("one", "two"):
            await ada.send(text)
            assert await ada.receive() == text
        await slow.full()
        await ada.send("three")
        assert await ada.receive() == "three"  # so "two" has timed out
        assert await slow.receive() == "one"
        assert await slow.receive() == "three"
