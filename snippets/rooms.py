"""Rooms: who hears what, and who is there.

A room is a name and the connections that have joined it, and nothing else: it
is there while it has members. `ConnectionManager` does the sending.

```python
async def may_join(connection: Connection, room: str) -> bool:
    return room == "lobby" or connection.user in await invited_to(room)

rooms = Rooms(manager, may_join)

async def say(self, message: Say) -> None:
    rooms.send(message.room, Said(message.text), sender=self.connection)
```

Needs: litestar, `connections.py`, `messages.py` and what these need.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Hashable

from .connections import Connection, ConnectionManager
from .messages import ErrorCode, MessageError

MayJoin = Callable[[Connection, str], Awaitable[bool]]
People = frozenset[Hashable]
Announce = Callable[[str, People, People], None]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")


def check_name(room: str) -> None:
    """Refuse what is no name of a room.

    Args:
        room: Whatever a client sent.

    Raises:
        MessageError: It is not 1 to 64 lower-case letters, digits, hyphens
            and underscores, the first a letter or digit (`invalid_message`).
    """
    if not _NAME.match(room):
        raise MessageError(
            ErrorCode.INVALID_MESSAGE,
            "a room's name has 1 to 64 of a-z, 0-9, _ and -, and starts with "
            "a letter or a digit",
        )


class Rooms:
    """The rooms of a manager's connections.

    A connection that ends, or begins to, has left all its rooms at once. Use
    them in one event loop only, as their manager.

    Args:
        manager: Whose connections join.
        may_join: Asked, with a connection and a room's name, whether it may
            join. The client cannot tell "no" from "there is no such room".
            What counts is what you know after your last `await`: `leave()`
            takes back no join that still waits.
        announce: Called with a room's name, the people who have come, and
            those who have left. A person has come with the first connection
            and left with the last. Who is back within `announce_after` had
            not left, and who is gone within it had not come.
        rooms_per_connection: How many rooms a connection may be in.
        announce_after: How long a change has to last, in seconds. It is
            announced then, or together with others up to as long again later.
    """

    def __init__(
        self,
        manager: ConnectionManager,
        may_join: MayJoin,
        *,
        announce: Announce = lambda *_: None,
        rooms_per_connection: int = 50,
        announce_after: float = 0.1,
    ) -> None:
        self._manager = manager
        self._may_join = may_join
        self._announce = announce
        self.rooms_per_connection = rooms_per_connection
        self.announce_after = announce_after
        self._members: dict[str, dict[Connection, None]] = {}
        self._rooms: dict[Connection, dict[str, None]] = {}
        self._people: dict[str, Counter[Hashable]] = {}
        # Who is there and not announced, or the other way round, and when to
        # announce it. There is a timer for each room in it.
        self._changes: dict[str, dict[Hashable, float]] = {}

    def __len__(self) -> int:
        return len(self._members)

    @property
    def memberships(self) -> int:
        """How many members all rooms have together."""
        return sum(map(len, self._members.values()))

    def members(self, room: str) -> tuple[Connection, ...]:
        """List the connections in a room.

        Args:
            room: Its name.

        Returns:
            Its members, in the order in which they came.
        """
        return tuple(self._members.get(room, ()))

    def people(self, room: str) -> People:
        """List the people in a room.

        Args:
            room: Its name.

        Returns:
            The users of its members, except None.
        """
        return frozenset(self._people.get(room, ()))

    def announced(self, room: str) -> People:
        """List the people in a room as far as it has been announced.

        Send this to a newcomer, and what is announced later fits.

        Args:
            room: Its name.

        Returns:
            The users whom all other members know of.
        """
        return People(self.people(room) ^ self._changes.get(room, {}).keys())

    def of(self, connection: Connection) -> tuple[str, ...]:
        """List the rooms of a connection.

        Args:
            connection: Who.

        Returns:
            Their names, in the order in which it joined.
        """
        return tuple(self._rooms.get(connection, ()))

    async def join(self, connection: Connection, room: str) -> bool:
        """Have a connection join a room, if it may.

        Args:
            connection: Who.
            room: The room's name, as the client sent it.

        Returns:
            Whether that changed anything: False if it is a member already, or
            has ended.

        Raises:
            MessageError: It is no name (`invalid_message`), the connection
                may not join (`forbidden`), or it is in too many rooms
                (`room_limit`).
        """
        check_name(room)
        known = room in self._rooms.get(connection, ())
        if not known and not await self._may_join(connection, room):
            raise MessageError(
                ErrorCode.FORBIDDEN, "you may not join this room"
            )
        # Much may have happened while `may_join` waited.
        mine = self._rooms.get(connection, {})
        if connection.over or room in mine:
            return False
        if len(mine) >= self.rooms_per_connection:
            raise MessageError(
                ErrorCode.ROOM_LIMIT,
                f"you are in {len(mine)} rooms; leave one first",
            )
        self._rooms.setdefault(connection, mine)[room] = None
        self._members.setdefault(room, {})[connection] = None
        connection.at_end(self._leave_all, at_once=True)
        self._count(room, connection.user, 1)
        return True

    def leave(self, connection: Connection, room: str) -> bool:
        """Have a connection leave a room; it stays connected.

        Args:
            connection: Who.
            room: The room's name.

        Returns:
            Whether that changed anything: False if it is no member.
        """
        members = self._members.get(room, {})
        if connection not in members:
            return False
        mine = self._rooms[connection]
        del members[connection], mine[room]
        if not members:
            del self._members[room]
        if not mine:
            del self._rooms[connection]
        self._count(room, connection.user, -1)
        return True

    def _leave_all(self, connection: Connection) -> None:
        for room in self.of(connection):
            self.leave(connection, room)

    def send(
        self,
        room: str,
        message: object,
        *,
        sender: Connection | None = None,
        exclude: Collection[Connection] = (),
        key: Hashable = None,
    ) -> int:
        """Queue a message for all members of a room; wait for none.

        Args:
            room: Its name.
            message: What the members' formats encode.
            sender: Who says it; it has to be a member. None if the server
                does.
            exclude: Members who do not get it.
            key: What the message is the latest of in this room, as in
                `ConnectionManager.broadcast()`.

        Returns:
            How many outboxes took it; 0 if there is no such room.

        Raises:
            MessageError: The sender is no member (`forbidden`), whether there
                is such a room or not.
            TypeError: The message cannot be encoded; see `broadcast()`.
        """
        members = self._members.get(room, {})
        if sender is not None and sender not in members:
            raise MessageError(
                ErrorCode.FORBIDDEN, "join the room before you speak in it"
            )
        if key is not None:
            key = room, key
        return self._manager.broadcast(
            message, to=members, exclude=exclude, key=key
        )

    def _count(self, room: str, user: Hashable, change: int) -> None:
        """Count somebody's connections; the first and the last are news."""
        if user is None:
            return
        people = self._people.setdefault(room, Counter())
        people[user] += change
        if people[user] == 0:
            del people[user]
            if not people:
                del self._people[room]
        elif people[user] > change:
            return  # has other connections here
        due = asyncio.get_running_loop().time() + self.announce_after
        if room not in self._changes:
            self._wait(room, {}, due)
        if self._changes[room].pop(user, None) is None:
            self._changes[room][user] = due

    def _wait(
        self, room: str, changes: dict[Hashable, float], due: float
    ) -> None:
        self._changes[room] = changes
        loop = asyncio.get_running_loop()
        wait = max(0, due - loop.time())  # a loop may be late
        loop.call_later(wait, self._tell, room, due)

    def _tell(self, room: str, now: float) -> None:
        changes = self._changes.pop(room)
        lasted = frozenset(who for who, due in changes.items() if due <= now)
        if later := {who: changes[who] for who in changes.keys() - lasted}:
            self._wait(room, later, now + self.announce_after)
        if lasted:
            come = lasted & self.people(room)
            self._announce(room, come, lasted - come)
