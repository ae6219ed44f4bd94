"""The chat after chapter 11 answers what goes wrong, and writes down its end.

On a real server, but for what takes time.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from litestar import Litestar

from snippets.connections import ConnectionManager
from snippets.rooms import Rooms
from snippets.testing import Client, Refused, connect
from snippets.testing.clock import SKIPPING
from snippets.testing.faults import flood
from snippets.testing.server import serve
from system.error_handling import create_app

SECRET = "hunter2"


class Log(logging.Handler):
    """Keeps what the chat and its modules log."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    log = Log()
    for name in ("snippets", "system"):
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "handlers", [log])
        monkeypatch.setattr(logger, "propagate", False)
        logger.setLevel(logging.INFO)
    yield log
    for name in ("snippets", "system"):
        logging.getLogger(name).setLevel(logging.NOTSET)


async def answer_to(client: Client, **message: object) -> dict[str, Any]:
    """Send a message with a ref, and wait for its answer."""
    await client.send_json({"ref": 7, **message})
    while (answer := await client.receive_json()).get("ref") != 7:
        if answer["type"] == "error":  # one that could not read the ref
            break
    return answer


@pytest.mark.parametrize("ws", ["websockets-sansio", "wsproto"])
async def test_a_flood_is_slowed_down_and_then_closed(ws: Any, log: Log):
    async with (
        serve(create_app(), ws=ws) as server,
        server.connect("/chat/ada") as ada,
        server.connect("/chat/eve") as eve,
    ):
        spam = f'{{"type": "say", "text": "{SECRET}"}}'
        await flood(eve, spam, 100)
        heard = [json.loads(message) async for message in eve]
        codes = Counter(each.get("code", each["type"]) for each in heard)
        assert codes["rate_limited"] == 29
        assert str(eve.closed).startswith("4429 ")
        answer = await answer_to(ada, type="say", text="what was that?")
        assert answer["type"] == "ack"
    (line,) = [record.getMessage() for record in log.records]
    assert line.startswith("connection ")
    assert line.endswith(": closed 4429")
    assert SECRET not in line
    assert "eve" not in line


async def test_what_is_too_large_is_answered():
    async with connect(create_app(), "/chat/ada") as ada:
        answer = await answer_to(ada, type="say", text="x" * 17_000)
        assert answer["code"] == "too_large"
        answer = await answer_to(ada, type="say", text="short")
        assert answer["type"] == "ack"


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Litestar:
    """The chat, with rooms that nobody opens."""

    async def join(self: Rooms, connection: object, room: str) -> bool:
        if room == "party":
            await asyncio.Event().wait()
        if room == "cellar":
            raise LookupError(SECRET)
        return await original(self, connection, room)  # ty: ignore[invalid-argument-type]

    original = Rooms.join
    monkeypatch.setattr(Rooms, "join", join)
    return create_app()


class TestInNoTime:
    @pytest.fixture
    def anyio_backend(self) -> object:
        return SKIPPING

    async def test_what_takes_too_long_is_answered(self, stuck: Litestar):
        async with connect(stuck, "/chat/ada", timeout=10) as ada:
            answer = await answer_to(ada, type="join", room="party")
            assert (answer["code"], answer["retryable"]) == ("timeout", True)
            answer = await answer_to(ada, type="say", text="never mind")
            assert answer["type"] == "ack"

    async def test_a_bug_is_answered_and_in_the_log(
        self, stuck: Litestar, log: Log
    ):
        async with connect(stuck, "/chat/ada") as ada:
            answer = await answer_to(ada, type="join", room="cellar")
            assert answer["code"] == "internal"
            assert SECRET not in str(answer)
            answer = await answer_to(ada, type="say", text="hm")
            assert answer["type"] == "ack"
        (record,) = log.records
        assert record.getMessage().endswith(": no answer")
        assert record.exc_info

    async def test_a_bug_outside_of_all_connections_is_in_the_log(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ):
        def of(self: ConnectionManager, user: object) -> None:
            raise LookupError(f"{SECRET} {user}")

        monkeypatch.setattr(ConnectionManager, "of", of)
        with pytest.raises(Refused):
            async with connect(create_app(), "/chat/eve"):
                pass
        (record,) = log.records
        line = record.getMessage()
        assert line.startswith("LookupError at raise LookupError(")
        assert SECRET not in line
        assert "eve" not in line
        assert not record.exc_info

    async def test_who_is_silent_for_an_hour_is_closed(self):
        async with connect(create_app(), "/chat/ada", timeout=4000) as ada:
            async for _ in ada:
                pass
            assert str(ada.closed).startswith("4408 ")
