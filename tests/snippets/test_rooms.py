"""A room is who is in it, for as long as they are, and who is told of it."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from litestar import WebSocket

from snippets.connections import Connection, ConnectionManager
from snippets.messages import ErrorCode, MessageError
from snippets.rooms import People, Rooms, check_name
from snippets.testing.clock import SKIPPING

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    return SKIPPING


async def anybody(connection: Connection, room: str) -> bool:
    return True


def names(people: Iterable[object]) -> list[str]:
    return sorted(map(str, people))


class House:
    """Rooms, who may visit them, and what was announced."""

    def __init__(
        self,
        may_join: Callable[[Connection, str], Awaitable[bool]] = anybody,
        manager: ConnectionManager | None = None,
        **options: Any,
    ) -> None:
        self.manager = ConnectionManager() if manager is None else manager
        self.rooms = Rooms(
            self.manager, may_join, announce=self.announce, **options
        )
        self.announced: list[tuple[float, str, People, People]] = []
        self.arrived: asyncio.Queue[Connection] = asyncio.Queue()

    async def stay(self, guest: "Guest") -> None:
        socket, user = guest.socket, guest.name
        async with self.manager.connect(socket, user=user) as connection:
            self.arrived.put_nowait(connection)
            async for _ in socket.iter_data("text"):
                pass

    def announce(self, room: str, come: People, left: People) -> None:
        now = asyncio.get_running_loop().time()
        self.announced.append((now, room, come, left))

    @property
    def news(self) -> list[tuple[str, str, str]]:
        """What was announced: room, who has come, who has left."""
        return [
            (room, " ".join(names(come)), " ".join(names(left)))
            for _, room, come, left in self.announced
        ]

    @asynccontextmanager
    async def visit(self, *users: str | None) -> AsyncGenerator[list["Guest"]]:
        """Have some people connect, by their names."""
        async with AsyncExitStack() as stack:
            guests = [Guest(name) for name in users]
            for guest in guests:
                handler = asyncio.ensure_future(self.stay(guest))
                guest.connection = await self.arrived.get()
                stack.push_async_callback(asyncio.wait, [handler])
                stack.callback(guest.leave)
            yield guests


class Guest:
    """A client made by hand, and its connection at the other end."""

    connection: Connection

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.texts: list[str] = []
        self.closed = asyncio.Event()
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        scope: Any = {"type": "websocket", "headers": []}
        self.socket: WebSocket[Any, Any, Any] = WebSocket(
            scope, self._inbox.get, self._send
        )

    async def _send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            self.texts.append(message["text"])
        elif message["type"] == "websocket.close":
            self.closed.set()
            self.leave()

    def leave(self) -> None:
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})

    async def heard(self) -> list[Any]:
        """What the client is sent until its connection is closed."""
        self.connection.close(flush=True)
        await asyncio.wait_for(self.closed.wait(), 5)
        return [json.loads(text) for text in self.texts]


# -- names -------------------------------------------------------------------


@pytest.mark.parametrize("room", ["a", "7", "tea-room_2", "a" * 64, "0-_"])
async def test_names_of_rooms(room: str):
    check_name(room)
    house = House()
    async with house.visit("ada") as [ada]:
        assert await house.rooms.join(ada.connection, room)


@pytest.mark.parametrize(
    "room",
    [
        "",
        "a" * 65,
        "Tea",
        "tea room",
        "-tea",
        "_tea",
        "tea\n",
        "\ntea",
        "tea\x00",
        "thé",
        "tea٣",
        "ｔea",
        "tea/../x",
        "%s",
        "\ud800",
    ],
)
async def test_what_is_no_name_is_a_typed_error_that_does_not_repeat_it(
    room: str,
):
    """Rooms: a name is 1 to 64 of a-z, 0-9, _ and -; else a typed error."""
    asked = []

    async def may_join(connection: Connection, room: str) -> bool:
        asked.append(room)
        return True

    house = House(may_join)
    async with house.visit("ada") as [ada]:
        with pytest.raises(MessageError) as caught:
            await house.rooms.join(ada.connection, room)
        assert not house.rooms.leave(ada.connection, room)
        assert house.rooms.send(room, "tea") == 0
    error = caught.value.envelope
    assert error.code == ErrorCode.INVALID_MESSAGE
    assert error.message == (
        "a room's name has 1 to 64 of a-z, 0-9, _ and -, and starts with a "
        "letter or a digit"
    )
    assert asked == []
    assert len(house.rooms) == 0


# -- joining and leaving -----------------------------------------------------


async def test_joining_and_leaving_say_whether_anything_changed():
    """Rooms: joining and leaving twice is harmless, and says so."""
    house = House()
    rooms = house.rooms
    async with house.visit("ada") as [ada]:
        me = ada.connection
        assert not rooms.leave(me, "tea")
        assert await rooms.join(me, "tea")
        assert not await rooms.join(me, "tea")
        assert (rooms.members("tea"), rooms.of(me)) == ((me,), ("tea",))
        assert rooms.leave(me, "tea")
        assert not rooms.leave(me, "tea")
        assert (rooms.members("tea"), rooms.of(me)) == ((), ())
        assert await rooms.join(me, "tea")


async def test_leaving_is_not_disconnecting():
    """Rooms: who leaves a room stays connected, and in all other rooms."""
    house = House()
    async with house.visit("ada") as [ada]:
        for room in ("tea", "coffee"):
            await house.rooms.join(ada.connection, room)
        house.rooms.leave(ada.connection, "tea")
        assert house.rooms.of(ada.connection) == ("coffee",)
        assert house.rooms.send("coffee", "black") == 1
        assert ada.connection.send("still here")
        assert await ada.heard() == ["black", "still here"]


async def test_a_room_is_there_while_it_has_members():
    """Rooms: a room exists while it has members, and not a moment longer."""
    house = House()
    rooms = house.rooms
    async with house.visit("ada", "bob") as [ada, bob]:
        assert rooms.send("tea", "anybody?") == 0
        assert rooms.members("tea") == ()
        assert rooms.people("tea") == frozenset()
        assert rooms.of(ada.connection) == ()
        assert (len(rooms), rooms.memberships) == (0, 0)
        await rooms.join(ada.connection, "tea")
        await rooms.join(bob.connection, "tea")
        await rooms.join(bob.connection, "coffee")
        assert (len(rooms), rooms.memberships) == (2, 3)
        rooms.leave(bob.connection, "tea")
        assert (len(rooms), rooms.memberships) == (2, 2)
        rooms.leave(ada.connection, "tea")
        assert (len(rooms), rooms.memberships) == (1, 1)
        bob.connection.close()
        assert (len(rooms), rooms.memberships) == (0, 0)
    await asyncio.sleep(1)
    left = vars(rooms)
    dicts = [value for value in left.values() if isinstance(value, dict)]
    assert dicts == [{}] * 4


async def test_a_connection_that_begins_to_close_is_no_member_any_more():
    """Rooms: membership ends when a connection begins to close, and not when
    its socket dies.
    """
    house = House()
    async with house.visit("ada", "bob") as [ada, bob]:
        for guest in (ada, bob):
            for room in ("tea", "coffee"):
                await house.rooms.join(guest.connection, room)
        ada.connection.close(flush=True)
        assert house.rooms.of(ada.connection) == ()
        assert house.rooms.members("tea") == (bob.connection,)
        assert house.rooms.send("tea", "gone?") == 1
        assert not await house.rooms.join(ada.connection, "tea")
        with pytest.raises(MessageError, match="join the room"):
            house.rooms.send("tea", "me too", sender=ada.connection)


async def test_who_is_told_of_an_end_finds_nobody_left_behind(
    caplog: pytest.LogCaptureFixture,
):
    """Rooms: who is told of an end finds that connection in no room."""
    house = House()
    rooms, seen = house.rooms, []

    def tell(connection: Connection) -> None:
        seen.append((rooms.of(connection), len(rooms.members("tea"))))
        # Ends in the middle of the other's end.
        other.connection.close()
        assert rooms.of(other.connection) == ()
        with pytest.raises(MessageError, match="join the room"):
            rooms.send("tea", "boo", sender=other.connection)

    async with house.visit("ada", "bob") as [ada, other]:
        ada.connection.at_end(tell)  # before it has joined
        for guest in (ada, other):
            await rooms.join(guest.connection, "tea")
        ada.connection.close()
        assert seen == [((), 1)]
        assert len(rooms) == 0
    assert not caplog.records  # which is where an error of `tell` would be


async def test_how_many_rooms_a_connection_may_be_in():
    """Rooms: a connection is in 50 rooms at most, and is told so."""
    house = House()
    async with house.visit("ada", "bob") as [ada, bob]:
        for number in range(50):
            await house.rooms.join(ada.connection, f"room-{number}")
        with pytest.raises(MessageError) as caught:
            await house.rooms.join(ada.connection, "tea")
        assert caught.value.envelope.code == ErrorCode.ROOM_LIMIT
        assert not await house.rooms.join(ada.connection, "room-7")
        assert await house.rooms.join(bob.connection, "tea")
        house.rooms.leave(ada.connection, "room-7")
        assert await house.rooms.join(ada.connection, "tea")
        assert len(house.rooms.of(ada.connection)) == 50


# -- who may join ------------------------------------------------------------


async def only_tea(connection: Connection, room: str) -> bool:
    return room == "tea"


async def test_who_may_not_join_cannot_tell_whether_there_is_such_a_room():
    """Rooms: who may not join cannot tell whether there is such a room."""
    house = House()
    async with house.visit("ada", "bob") as [ada, bob]:
        await house.rooms.join(ada.connection, "secret")
        house.rooms._may_join = only_tea
        refusals = []
        for room in ("secret", "nothing"):
            with pytest.raises(MessageError) as caught:
                await house.rooms.join(bob.connection, room)
            refusals.append(caught.value.envelope)
        assert refusals[0] == refusals[1]
        assert refusals[0].code == ErrorCode.FORBIDDEN
        assert await house.rooms.join(bob.connection, "tea")
        for room in ("secret", "nothing"):
            with pytest.raises(MessageError) as caught:
                house.rooms.send(room, "hello", sender=bob.connection)
            refusals.append(caught.value.envelope)
        assert refusals[2] == refusals[3]
        assert refusals[2].code == ErrorCode.FORBIDDEN
        assert await ada.heard() == []


async def test_only_members_may_send():
    """Rooms: to send to a room one has to be a member; knowing its name is not
    enough.
    """
    house = House()
    async with house.visit("ada", "bob") as [ada, bob]:
        await house.rooms.join(ada.connection, "tea")
        with pytest.raises(MessageError) as caught:
            house.rooms.send("tea", "let me in", sender=bob.connection)
        assert caught.value.envelope.code == ErrorCode.FORBIDDEN
        await house.rooms.join(bob.connection, "tea")
        assert house.rooms.send("tea", "hi", sender=bob.connection) == 2
        house.rooms.leave(bob.connection, "tea")
        with pytest.raises(MessageError):
            house.rooms.send("tea", "one more", sender=bob.connection)
        assert await ada.heard() == ["hi"]


class Doorman:
    """Whether somebody may join is decided when it is decided."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer: asyncio.Future[bool] = asyncio.Future()

    async def may_join(self, connection: Connection, room: str) -> bool:
        self.asked.set()
        return await asyncio.shield(self.answer)


async def test_who_is_gone_when_it_is_decided_does_not_join():
    """Rooms: a connection that ends while it is joining leaves nothing."""
    doorman = Doorman()
    house = House(doorman.may_join)
    async with house.visit("ada") as [ada]:
        joining = asyncio.ensure_future(
            house.rooms.join(ada.connection, "tea")
        )
        await doorman.asked.wait()
        ada.connection.close()
        doorman.answer.set_result(True)
        assert not await joining
        assert len(house.rooms) == 0


async def test_who_joins_twice_at_the_same_time_joins_once():
    doorman = Doorman()
    house = House(doorman.may_join)
    async with house.visit("ada") as [ada]:
        joining = [
            asyncio.ensure_future(house.rooms.join(ada.connection, "tea"))
            for _ in range(3)
        ]
        await doorman.asked.wait()
        doorman.answer.set_result(True)
        assert await asyncio.gather(*joining) == [True, False, False]
        assert house.rooms.memberships == 1


async def test_who_joins_many_at_the_same_time_is_in_no_more_than_allowed():
    doorman = Doorman()
    house = House(doorman.may_join, rooms_per_connection=2)
    async with house.visit("ada") as [ada]:
        joining = [
            asyncio.ensure_future(
                house.rooms.join(ada.connection, f"room-{number}")
            )
            for number in range(3)
        ]
        await doorman.asked.wait()
        doorman.answer.set_result(True)
        *joined, error = await asyncio.gather(*joining, return_exceptions=True)
        assert joined == [True, True]
        assert isinstance(error, MessageError)
        assert house.rooms.memberships == 2


async def test_joining_that_is_cancelled_or_fails_changes_nothing():
    doorman = Doorman()
    house = House(doorman.may_join)
    async with house.visit("ada") as [ada]:
        joining = asyncio.ensure_future(
            house.rooms.join(ada.connection, "tea")
        )
        await doorman.asked.wait()
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        doorman.answer.set_exception(OSError("the database"))
        with pytest.raises(OSError, match="the database"):
            await house.rooms.join(ada.connection, "tea")
        assert len(house.rooms) == 0


async def test_a_member_is_not_asked_again():
    house = House()
    async with house.visit("ada") as [ada]:
        await house.rooms.join(ada.connection, "secret")
        house.rooms._may_join = only_tea
        assert not await house.rooms.join(ada.connection, "secret")


# -- sending -----------------------------------------------------------------


async def test_members_hear_what_is_sent_and_nobody_else():
    """Rooms: sending waits for nobody, and says how many outboxes took it."""
    house = House()
    async with house.visit("ada", "bob", "eve") as [ada, bob, eve]:
        for guest in (ada, bob):
            await house.rooms.join(guest.connection, "tea")
        await house.rooms.join(eve.connection, "coffee")
        assert house.rooms.send("tea", 1) == 2
        assert house.rooms.send("tea", 2, sender=ada.connection) == 2
        assert house.rooms.send("tea", 3, exclude=[ada.connection]) == 1
        assert house.rooms.send("coffee", 4) == 1
        assert await ada.heard() == [1, 2]
        assert await bob.heard() == [1, 2, 3]
        assert await eve.heard() == [4]


async def test_all_members_hear_the_same_in_the_same_order():
    """Rooms: all members of a room hear the same, in the same order."""
    house = House()
    async with house.visit("ada", "bob", "eve") as guests:
        for guest in guests:
            await house.rooms.join(guest.connection, "tea")

        async def speak(guest: Guest) -> None:
            for number in range(50):
                said = [guest.connection.user, number]
                house.rooms.send("tea", said, sender=guest.connection)
                await asyncio.sleep(0)

        await asyncio.gather(*map(speak, guests))
        heard = [await guest.heard() for guest in guests]
    assert len(heard[0]) == 150
    assert heard[1:] == [heard[0]] * 2
    for name in ("ada", "bob", "eve"):
        numbers = [number for who, number in heard[0] if who == name]
        assert numbers == [*range(50)]


async def test_the_latest_of_a_key_is_what_counts():
    house = House(manager=ConnectionManager(when_full="latest"))
    async with house.visit("ada") as [ada]:
        await house.rooms.join(ada.connection, "prices")
        for price in range(5):
            house.rooms.send("prices", price, key="tea")
        assert await ada.heard() == [4]


async def test_a_key_is_the_latest_in_its_room():
    """Rooms: a key means something in one room, and another in the next."""
    house = House(manager=ConnectionManager(when_full="latest"))
    async with house.visit("ada") as [ada]:
        for room in ("gold", "tea"):
            await house.rooms.join(ada.connection, room)
            for price in (1, 2):
                house.rooms.send(room, f"{room} {price}", key="price")
        assert await ada.heard() == ["gold 2", "tea 2"]


async def test_who_has_no_room_for_a_message_leaves_during_the_send():
    """Rooms: a member that does not read is out, and all others hear
    everything.
    """
    house = House(manager=ConnectionManager(max_messages=1))
    async with house.visit("ada", "bob", "eve") as [ada, bob, eve]:
        for guest in (ada, bob, eve):
            await house.rooms.join(guest.connection, "tea")
        bob.connection.send("fills it")
        assert house.rooms.send("tea", "tea") == 2
        assert house.rooms.members("tea") == (ada.connection, eve.connection)
        assert await ada.heard() == ["tea"]
        assert await eve.heard() == ["tea"]


# -- presence ----------------------------------------------------------------


async def test_people_are_counted_and_not_connections():
    """Rooms: a person comes with the first connection and leaves with the
    last, and each is announced once.
    """
    house = House()
    async with house.visit("ada", "ada", "ada") as tabs:
        for tab in tabs:
            await house.rooms.join(tab.connection, "tea")
            await asyncio.sleep(1)
        assert house.rooms.people("tea") == {"ada"}
        assert len(house.rooms.members("tea")) == 3
        assert house.news == [("tea", "ada", "")]
        tabs[0].connection.close()
        house.rooms.leave(tabs[1].connection, "tea")
        await asyncio.sleep(1)
        assert house.rooms.people("tea") == {"ada"}
        assert len(house.announced) == 1
        tabs[2].connection.close()
        assert house.rooms.people("tea") == frozenset()
        await asyncio.sleep(1)
        assert house.news == [("tea", "ada", ""), ("tea", "", "ada")]


async def test_tabs_that_end_at_once_are_one_person_that_leaves():
    house = House()
    async with house.visit("ada", "ada", "bob") as [ada, other, bob]:
        for guest in (ada, other, bob):
            await house.rooms.join(guest.connection, "tea")
        await asyncio.sleep(1)

        def take_along(_: Connection) -> None:
            ada.connection.close()
            other.connection.close()

        bob.connection.at_end(take_along)
        bob.connection.close()
        assert house.rooms.people("tea") == frozenset()
        await asyncio.sleep(1)
        assert house.news == [("tea", "ada bob", ""), ("tea", "", "ada bob")]


async def test_who_comes_and_leaves_at_about_the_same_time_is_told_together():
    """Rooms: who comes and who leaves within 100 ms is announced together."""
    house = House()
    clock = asyncio.get_running_loop()
    async with house.visit("eve", "ada", "bob") as [eve, ada, bob]:
        await house.rooms.join(eve.connection, "tea")
        await asyncio.sleep(1)
        begun = clock.time()
        await house.rooms.join(ada.connection, "tea")
        await house.rooms.join(bob.connection, "tea")
        eve.connection.close()
        await asyncio.sleep(1)
        assert house.news == [("tea", "eve", ""), ("tea", "ada bob", "eve")]
        assert house.announced[1][0] - begun == pytest.approx(0.1)


async def test_a_crowd_costs_few_announcements():
    house = House()
    async with house.visit(*map(str, range(40))) as guests:
        begun = asyncio.get_running_loop().time()
        for guest in guests:
            await house.rooms.join(guest.connection, "tea")
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
    times = [time - begun for time, *_ in house.announced[:-1]]
    assert len(times) <= 5
    assert all(b - a > 0.099 for a, b in pairwise(times))
    come = [who for _, _, people, _ in house.announced for who in people]
    assert names(come) == names(range(40))


@pytest.mark.parametrize("others_at", [0.0, 0.05, 0.099])
async def test_who_is_back_at_once_had_not_left(others_at: float):
    """Rooms: who is back within 100 ms is not announced as gone."""
    house = House()
    async with house.visit("ada", "ada", "bob") as [ada, again, bob]:
        await house.rooms.join(ada.connection, "tea")
        await asyncio.sleep(1)
        await house.rooms.join(bob.connection, "tea")
        await asyncio.sleep(others_at)
        ada.connection.close()
        await asyncio.sleep(0.09)
        await house.rooms.join(again.connection, "tea")
        await asyncio.sleep(1)
        assert house.news == [("tea", "ada", ""), ("tea", "bob", "")]


async def test_who_is_gone_at_once_had_not_come():
    house = House()
    async with house.visit("ada") as [ada]:
        for _ in range(3):
            await house.rooms.join(ada.connection, "tea")
            await asyncio.sleep(0.06)
            house.rooms.leave(ada.connection, "tea")
            await asyncio.sleep(0.06)
        await asyncio.sleep(1)
    assert house.announced == []


async def test_who_stays_away_is_announced_within_twice_the_time():
    house = House()
    clock = asyncio.get_running_loop()
    async with house.visit("ada", "bob") as [ada, bob]:
        await house.rooms.join(ada.connection, "tea")
        await asyncio.sleep(0.05)
        await house.rooms.join(bob.connection, "tea")
        come = clock.time()
        await asyncio.sleep(1)
    assert house.news[:2] == [("tea", "ada", ""), ("tea", "bob", "")]
    assert 0.1 <= house.announced[1][0] - come <= 0.2


async def test_a_loop_that_is_late_announces_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
):
    house = House()
    loop: Any = asyncio.get_running_loop()
    call_at = loop.call_at

    def not_in_the_past(when: float, *more: Any, **context: Any) -> Any:
        if when < loop.time():  # as in a browser tab
            raise ValueError("Can't schedule in the past")
        return call_at(when, *more, **context)

    async with house.visit("ada", "bob") as [ada, bob]:
        monkeypatch.setattr(loop, "call_at", not_in_the_past)
        await house.rooms.join(ada.connection, "tea")
        await asyncio.sleep(0.05)
        await house.rooms.join(bob.connection, "tea")
        loop.idle.skipped += 1  # somebody computes, without an await
        await asyncio.sleep(1)
        assert house.news == [("tea", "ada", ""), ("tea", "bob", "")]


async def test_another_connection_does_not_hide_a_person():
    house = House()
    async with house.visit("ada", "ada") as [ada, other]:
        await house.rooms.join(ada.connection, "tea")
        for _ in range(5):
            await house.rooms.join(other.connection, "tea")
            await asyncio.sleep(0.03)
            house.rooms.leave(other.connection, "tea")
            await asyncio.sleep(0.03)
        assert house.news == [("tea", "ada", "")]


async def test_who_has_no_name_is_not_announced():
    """Rooms: a member without a user hears everything, unannounced."""
    house = House()
    async with house.visit(None, "ada") as [nobody, ada]:
        for guest in (nobody, ada):
            await house.rooms.join(guest.connection, "tea")
        assert house.rooms.people("tea") == {"ada"}
        assert house.rooms.send("tea", "tea") == 2
        nobody.connection.close()
        await asyncio.sleep(1)
        assert house.news == [("tea", "ada", "")]


async def test_each_room_has_people_of_its_own():
    house = House()
    async with house.visit("ada", "ada") as [ada, other]:
        await house.rooms.join(ada.connection, "tea")
        await house.rooms.join(other.connection, "coffee")
        await asyncio.sleep(1)
        assert sorted(house.news) == [
            ("coffee", "ada", ""),
            ("tea", "ada", ""),
        ]


@pytest.mark.parametrize("seed", range(5))
async def test_a_newcomers_list_and_what_is_announced_later_fit(seed: int):
    """Rooms: the list for a newcomer and what is announced later make the
    list that all others have.
    """
    dice, house = random.Random(seed), House()
    async with house.visit("ada", "ada", "bob", "eve", None) as guests:
        lists: list[tuple[set[object], int]] = []
        for _ in range(60):
            one = dice.choice(guests).connection
            if not house.rooms.leave(one, "tea"):
                await house.rooms.join(one, "tea")
            await asyncio.sleep(dice.choice([0, 0.03, 0.08, 0.11]))
            known = set(house.rooms.announced("tea"))
            lists.append((known, len(house.announced)))
        await asyncio.sleep(1)
        assert len(house.announced) > 5
        for first, already in lists:
            known = set(first)
            for _, _, come, left in house.announced[already:]:
                assert not come & known
                assert left <= known
                known ^= come | left
            assert known == house.rooms.people("tea")
        assert house.rooms.announced("tea") == house.rooms.people("tea")


async def test_what_is_announced_may_be_sent_to_the_room():
    """Rooms: an announcement may be sent to the room, whoever it evicts."""
    house = House(manager=ConnectionManager(max_messages=1))

    def tell(room: str, come: People, left: People) -> None:
        house.announce(room, come, left)
        for guest in house.rooms.members(room)[:1]:
            guest.send("fills it")
        house.rooms.send(room, names(left))

    house.rooms._announce = tell
    async with house.visit("ada", "bob") as [ada, bob]:
        await house.rooms.join(ada.connection, "tea")
        await house.rooms.join(bob.connection, "tea")
        await asyncio.sleep(1)
        assert house.manager.evictions == {"slow consumer": 2}
        assert await bob.heard() == [[]]
    assert house.news[:2] == [("tea", "ada bob", ""), ("tea", "", "ada")]


async def test_what_fails_to_be_announced_stops_no_other_announcement():
    house = House()
    loop = asyncio.get_running_loop()
    failed: list[BaseException] = []
    loop.set_exception_handler(
        lambda _, what: failed.append(what["exception"])
    )

    def fail_once(room: str, come: People, left: People) -> None:
        house.announce(room, come, left)
        if len(house.announced) == 1:
            raise ValueError("once")

    house.rooms._announce = fail_once
    async with house.visit("ada", "bob") as [ada, bob]:
        await house.rooms.join(ada.connection, "tea")
        await asyncio.sleep(1)
        await house.rooms.join(bob.connection, "tea")
        await asyncio.sleep(1)
    loop.set_exception_handler(None)
    assert house.news[:2] == [("tea", "ada", ""), ("tea", "bob", "")]
    assert [str(error) for error in failed] == ["once"]


async def test_nobody_need_be_told():
    house = House()
    rooms = Rooms(house.manager, anybody)
    async with house.visit("ada") as [ada]:
        assert await rooms.join(ada.connection, "tea")
        await asyncio.sleep(1)
        assert rooms.announced("tea") == {"ada"}


def test_an_app_that_ends_waits_for_no_announcement():
    with asyncio.Runner() as runner:
        house = House()
        runner.run(pay_a_visit(house))
    assert house.announced == []


async def pay_a_visit(house: House) -> None:
    async with house.visit("ada") as [ada]:
        await house.rooms.join(ada.connection, "tea")
