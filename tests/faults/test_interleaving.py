"""Manager and rooms under thousands of orders of what can happen.

A crowd meets in an app: they come, talk, leave, vanish, stop reading, are
closed, and run into a bug. Which task goes on is decided by a seed at each
turn, and time is virtual; see `snippets.testing.interleave`.
"""

import asyncio
import logging
from collections.abc import Hashable

import pytest
from litestar import Litestar, websocket

from naive import Peer, SetAndLoop, create_app, three
from snippets.closing import AnySocket
from snippets.connections import Connection, ConnectionManager
from snippets.rooms import Rooms
from snippets.testing.clock import Skipping
from snippets.testing.interleave import Log, explore

ORDERS = 1500


class House:
    """An app with our manager and rooms, and all that happened in it."""

    def __init__(self) -> None:
        self.manager = ConnectionManager(
            max_messages=64, send_timeout=2, close_timeout=1
        )
        self.rooms = Rooms(self.manager, self.may_join)
        self.app = Litestar([websocket("/chat")(self.chat)])

    def clear(self) -> None:
        self.sent: list[str] = []
        self.joined: dict[Hashable, int] = {}
        self.ended: list[Connection] = []
        self.came: list[Connection] = []

    async def may_join(self, connection: Connection, room: str) -> bool:
        await asyncio.sleep(0)
        return True

    async def chat(self, socket: AnySocket) -> None:
        async with self.manager.connect(
            socket, user=socket.headers["name"]
        ) as connection:
            self.came.append(connection)
            connection.at_end(self.at_end)
            await self.rooms.join(connection, "lobby")
            self.joined[connection.user] = len(self.sent)
            async for text in socket.iter_data("text"):
                if text == "bug":
                    raise LookupError(text)
                if text == "leave":
                    self.rooms.leave(connection, "lobby")
                else:
                    self.sent.append(f'"{text}"')
                    self.rooms.send("lobby", text)

    def at_end(self, connection: Connection) -> None:
        self.ended.append(connection)

    async def kick(self, name: str, code: int) -> None:
        await asyncio.sleep(0)
        for connection in self.manager.of(name):
            connection.close(code, "kicked")
            assert connection not in self.manager
            assert connection not in self.rooms.members("lobby")


async def vanish(peer: Peer) -> None:
    await asyncio.sleep(0)
    peer.vanish()


def is_part_of(heard: list[str], sent: list[str]) -> bool:
    """Whether what one heard is a piece of what was said, in its order."""
    joined, whole = "".join(heard), "".join(sent)
    return joined in whole


async def crowd(house: House, log: Log) -> None:
    """Six people, all of whom do something else, and Amy, who listens."""
    house.clear()
    names = ("ada", "bob", "eve", "ian", "kim", "zoe")
    peers = {name: Peer(house.app, name, log) for name in ("amy", *names)}
    for number, peer in enumerate(map(peers.get, names)):
        assert peer is not None
        peer.say(f"{number}a")
        peer.say(f"{number}b")
    peers["bob"].say("leave")
    peers["eve"].say("bug")
    peers["kim"].reads.clear()
    for name in ("ada", "bob", "eve"):
        peers[name].leave()
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for peer in peers.values():
            tasks.create_task(peer.run())
        tasks.create_task(house.kick("ian", 4409))
        tasks.create_task(vanish(peers["zoe"]))
        await asyncio.sleep(0)
        house.manager.broadcast("all")
        await asyncio.sleep(20)
        house.sent.append('"end"')
        house.rooms.send("lobby", "end")
        await asyncio.sleep(1)
        for name in ("amy", "ian"):  # who may have come too late to be kicked
            peers[name].leave()
    assert len(house.manager) == len(house.rooms) == 0
    assert house.rooms.memberships == 0
    assert house.manager.stats().queued_bytes == 0
    assert sorted(map(id, house.ended)) == sorted(map(id, house.came))
    heard = [text for text in peers["amy"].heard if text != '"all"']
    assert heard == house.sent[house.joined["amy"] :]
    assert heard
    for peer in peers.values():
        heard = [text for text in peer.heard if text != '"all"']
        assert is_part_of(heard, house.sent), (peer.name, heard, house.sent)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture(scope="module")
def house() -> House:
    return House()


@pytest.mark.parametrize("seed", [0, 1_000_000])
def test_a_crowd_in_any_order(
    house: House, seed: int, caplog: pytest.LogCaptureFixture
):
    """ConnectionManager: in whatever order things happen, nothing is left."""
    caplog.set_level(logging.CRITICAL)
    failure = explore(lambda log: crowd(house, log), orders=ORDERS, seed=seed)
    assert failure is None, str(failure)


CALM = [
    "ada comes",
    "bob comes",
    "ada says tea?",
    "ada hears tea?",
    "bob hears tea?",
    "eve comes",
]


def test_the_copied_manager_throws_out_who_talks_in_an_order_that_is_found():
    def create() -> Litestar:
        return create_app(SetAndLoop())

    log: list[str] = []
    with asyncio.Runner(loop_factory=Skipping) as loop:
        loop.run(three(create, log.append))
    assert log == CALM

    failure = explore(lambda log: three(create, log))
    assert failure is not None
    assert failure.log == [
        *CALM[:4],
        "eve comes",
        CALM[4],
        "ada is closed: 4500",
    ]
    assert any(failure.turns)


def test_ours_throws_out_nobody_in_that_scenario(house: House):
    def create() -> Litestar:
        house.clear()
        return house.app

    failure = explore(lambda log: three(create, log))
    assert failure is None, str(failure)
