"""The numbers that Prometheus gets are those of the manager and its rooms."""

from collections.abc import Iterator

import httpx
import pytest
from litestar import Litestar, WebSocket, websocket
from litestar.plugins.prometheus import PrometheusController
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from snippets.connections import Connection, ConnectionManager
from snippets.metrics import ConnectionMetrics
from snippets.rooms import Rooms
from snippets.testing.server import Server, serve


async def anybody(connection: Connection, room: str) -> bool:
    return True


class Chat:
    """An app whose clients are all in one room, with room for one message."""

    def __init__(self) -> None:
        self.manager = ConnectionManager(max_messages=1)
        self.rooms = Rooms(self.manager, anybody)
        self.app = Litestar([websocket("/")(self.chat), PrometheusController])

    async def chat(self, socket: WebSocket) -> None:
        async with self.manager.connect(socket, user="ada") as connection:
            await self.rooms.join(connection, "lobby")
            async for _ in socket.iter_data("text"):
                connection.send("one")


@pytest.fixture
def chat() -> Iterator[Chat]:
    chat = Chat()
    metrics = ConnectionMetrics(chat.manager, chat.rooms)
    REGISTRY.register(metrics)
    yield chat
    REGISTRY.unregister(metrics)


async def scrape(server: Server) -> dict[str, float]:
    """What Prometheus would read."""
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{server.http_url}/metrics")
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name.startswith("websocket_")
    }


async def test_litestars_plugin_serves_the_state(chat: Chat):
    """Connection: its state can be read, also by Prometheus."""
    async with serve(chat.app) as server:
        before = await scrape(server)
        async with server.connect("/") as client:
            await client.send("hello")
            await client.receive()
            during = await scrape(server)
            chat.manager.broadcast("two")
            waiting = await scrape(server)
        after = await scrape(server)
    assert set(before.values()) == {0}
    assert during == before | {
        "websocket_connections": 1,
        "websocket_users": 1,
        "websocket_rooms": 1,
        "websocket_memberships": 1,
    }
    assert waiting == during
    assert after == before


async def test_what_waits_and_what_was_dropped_is_counted(chat: Chat):
    chat.manager.when_full = "drop_oldest"
    metrics = ConnectionMetrics(chat.manager, chat.rooms)
    registry = CollectorRegistry()
    registry.register(metrics)
    async with serve(chat.app) as server, server.connect("/") as client:
        await client.send("hello")
        await client.receive()
        for text in ("two", "three", "four"):
            chat.manager.broadcast(text)
        value = registry.get_sample_value
        assert value("websocket_queued_messages") == 1
        assert value("websocket_queued_bytes") == len('"four"')
        assert value("websocket_dropped_messages_total") == 2


async def test_evictions_are_counted_by_reason(chat: Chat):
    async with serve(chat.app) as server, server.connect("/") as client:
        await client.send("hello")
        await client.receive()
        for text in ("two", "three"):
            chat.manager.broadcast(text)
        assert [message async for message in client] == []
        assert client.closed is not None
        assert client.closed.code == 1013
        found = await scrape(server)
    assert found["websocket_evictions_totalslow consumer"] == 1


def test_rooms_may_be_missing():
    manager = ConnectionManager()
    names = {metric.name for metric in ConnectionMetrics(manager).collect()}
    assert "websocket_connections" in names
    assert "websocket_rooms" not in names
