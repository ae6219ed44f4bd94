"""Faults to play with: what one client does, and what becomes of the others.

Ada and Bob behave. Eve does not, or has bad luck. `play()` runs a fault
against a chat and says what was wrong, `survival()` makes the table of all:

```python
print(await play("a stalled reader", copied(SetAndLoop())))
```

It is no part of the snippets; chapter 11 and a test use it.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    nullcontext,
)
from dataclasses import dataclass
from html import escape
from itertools import product
from typing import Any, Protocol, runtime_checkable

from litestar import Litestar, websocket

from exercises import quiet
from naive import Gather, GatherWithTimeout, SetAndLoop, create_app
from snippets.closing import CloseCode
from snippets.connections import Connection, ConnectionManager
from snippets.limits import Limited, limit_size, within
from snippets.messages import ClientMessage, ServerMessage, converse, formats
from snippets.sockets import MessageSocket
from snippets.testing.client import ASGIApp, Client, Closed
from snippets.testing.faults import flood, stalled
from snippets.testing.in_process import connect

PATIENCE = 2.0
"""How long Ada, Bob and Eve wait for anything, in seconds."""
PICTURE = "#" * 2**20
"""So large that it does not fit into the buffers of somebody's connection."""


async def work(text: str) -> str:
    """Do what an app does: it has pictures, a bug, and a slow database."""
    match text:
        case "picture":
            return PICTURE
        case "bug":
            return str(1 // 0)
        case "slow":
            await asyncio.sleep(1.5 * PATIENCE)
    return text


class Chat:
    """An app with a chat at `/chat`, itself an ASGI app.

    Args:
        app: The app.
        members: Counts whom it takes for a member.

    Attributes:
        running: How many of its handlers run.
    """

    def __init__(self, app: ASGIApp, members: Callable[[], int]) -> None:
        self.members = members
        self.running = 0
        self._app = app
        self._ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the app, and count."""
        counts = scope["type"] == "websocket"
        self.running += counts
        try:
            await self._app(scope, receive, send)
        finally:
            self.running -= counts
            self._ended.set()

    async def down_to(self, count: int) -> None:
        """Wait until no more than so many handlers run."""
        while self.running > count:
            self._ended.clear()
            await self._ended.wait()


class Working(SetAndLoop):
    """A manager of an app that reads what it is sent, and does its work."""

    def __init__(self, manager: SetAndLoop) -> None:
        self.manager = manager
        self.connections = manager.connections

    async def broadcast(self, text: str) -> None:
        """Do the work, and tell everybody."""
        said = await work(json.loads(text)["text"])
        await self.manager.broadcast(
            json.dumps({"type": "said", "text": said})
        )


def copied(manager: SetAndLoop) -> Chat:
    """Make a chat as people copy it, with one of their managers."""
    app = create_app(Working(manager))
    return Chat(app, lambda: len(manager.connections))


class Say(ClientMessage, tag="say", frozen=True):
    """What a client sends."""

    text: str


class Said(ServerMessage, tag="said"):
    """What everybody is told."""

    text: str


class ChatSocket(MessageSocket[Say]):
    """A socket whose messages go through the outbox of its connection."""

    __slots__ = ("connection",)
    connection: Connection
    formats = limit_size(formats("chat", Say))

    async def send_message(self, value: object) -> None:
        """Queue a message."""
        self.connection.send(value)


def ours() -> Chat:
    """Make the same chat of our modules, with what they limit by default."""
    manager = ConnectionManager()

    async def say(message: Say) -> None:
        manager.broadcast(Said(await work(message.text)))

    @websocket("/chat", websocket_class=ChatSocket)
    async def chat(socket: ChatSocket) -> None:
        async with manager.connect(socket) as socket.connection:
            await converse(Limited(socket), within(PATIENCE / 10, say))

    return Chat(Litestar([chat]), lambda: len(manager))


@runtime_checkable
class Serving(Protocol):
    """A running server, as `serve()` makes it.

    Attributes:
        port: Where it listens.
    """

    port: int

    def connect(
        self, path: str, *, timeout: float
    ) -> AbstractAsyncContextManager[Client]:
        """Connect."""
        ...


class Stage:
    """Where a fault plays: Ada and Bob are there, and others may enter.

    Attributes:
        target: The app, or a server that runs it.
        troubles: What was wrong so far.
    """

    def __init__(self, target: ASGIApp | Serving, chat: Chat) -> None:
        self.target = target
        self.troubles: list[str] = []
        self._chat = chat
        self._good: dict[str, Client] = {}
        self._noise: Counter[str] = Counter()

    async def play(self, fault: Callable[["Stage"], Awaitable[None]]) -> None:
        """Let Ada and Bob enter, play, and see how they are afterwards."""
        async with self.enter() as ada, self.enter() as bob:
            self._good = {"Bob": bob, "Ada": ada}
            await fault(self)
            for text in ("still here?", "and now?"):
                await self.tell(text)
            alone = any(each.startswith("Ada is") for each in self.troubles)
            there = 1 if alone else 2
            try:
                async with asyncio.timeout(5 * PATIENCE):
                    await self._chat.down_to(there)
            except TimeoutError:
                self.note("a handler runs for nobody")
            if self._chat.members() > there:
                self.note("gone, but a member")

    def enter(self) -> AbstractAsyncContextManager[Client]:
        """Connect somebody who behaves."""
        if isinstance(self.target, Serving):
            return self.target.connect("/chat", timeout=5 * PATIENCE)
        return connect(self.target, "/chat", timeout=5 * PATIENCE)

    def stalled(self, **options: Any) -> AbstractAsyncContextManager[Any]:
        """Connect somebody who does not read."""
        return stalled(
            self.target, path="/chat", timeout=5 * PATIENCE, **options
        )

    def note(self, trouble: str) -> None:
        """Say what is wrong, once."""
        if trouble not in self.troubles:
            self.troubles.append(trouble)

    async def tell(self, text: str, said: str | None = None) -> None:
        """Have Ada say something, which she and Bob should soon hear."""
        ada = self._good["Ada"]
        try:
            await ada.send_json({"type": "say", "text": text})
        except Closed as closed:
            self.note(f"Ada is closed, {closed.code}")
            return
        hearing = (
            self._hear(*one, said or text) for one in self._good.items()
        )
        await asyncio.gather(*hearing)

    async def _hear(self, name: str, client: Client, text: str) -> None:
        if f"{name} hears nothing" in self.troubles:
            return
        heard = ""
        try:
            while heard != text:
                self._noise[name] += len(heard)
                async with asyncio.timeout(PATIENCE):
                    heard = (await client.receive_json())["text"]
        except TimeoutError:
            if self._good["Ada"].closed is None:  # else nobody spoke
                self.note(f"{name} hears nothing")
        except Closed as closed:
            self.note(f"{name} is closed, {closed.code}")
        if self._noise[name] > 500:
            self.note("all hear all of it")

    async def answered(self, eve: Client) -> None:
        """See whether Eve is told what was wrong with her message."""
        try:
            async with asyncio.timeout(PATIENCE):
                while (await eve.receive_json())["type"] != "error":
                    pass
        except TimeoutError:
            self.note("Eve is not told")
        except Closed as closed:
            self.closed(closed)

    def closed(self, closed: Closed) -> None:
        """See whether Eve was closed with a code that tells her why."""
        if closed.code not in set(CloseCode) - {CloseCode.ABNORMAL}:
            self.note(f"Eve is closed, {closed.code}")


async def stalled_reader(stage: Stage) -> None:
    """Eve stops reading, and much is said. Later she reads again."""
    count = 8 if isinstance(stage.target, Serving) else 4
    async with stage.stalled() as eve:
        told = 0
        while told < count and not stage.troubles:
            await stage.tell("picture", PICTURE)
            told += 1
        try:
            async with asyncio.timeout(PATIENCE):
                for _ in range(told):
                    await eve.receive()
        except TimeoutError:
            stage.note("Eve misses some, untold")
        except Closed as closed:
            stage.closed(closed)


async def vanished_client(stage: Stage) -> None:
    """Eve is gone without a word, while the app works for her."""
    async with stage.stalled() as eve:
        await eve.send_json({"type": "say", "text": "slow"})
        eve.vanish()
        for text in ("one", "two", "three"):
            if not stage.troubles:
                await stage.tell(text)


async def join_meanwhile(stage: Stage) -> None:
    """Carol joins while something is being sent to Eve, who is slow."""
    async with stage.stalled(buffer=1) as eve:
        await stage.tell("one")
        telling = asyncio.create_task(stage.tell("two"))
        await eve.full()
        async with stage.enter():
            await eve.receive()
            await telling
            await eve.receive()


async def flooding(stage: Stage) -> None:
    """Eve sends as fast as she can."""
    async with stage.enter() as eve:
        reading = asyncio.create_task(_read(eve))
        await flood(eve, '{"type": "say", "text": "buy tea"}', 80)
        await stage.tell("what was that?")
        reading.cancel()


async def _read(client: Client) -> None:
    async for _ in client:
        pass


async def too_much(stage: Stage) -> None:
    """Eve sends 64 KiB at once."""
    async with stage.enter() as eve:
        await eve.send_json({"type": "say", "text": "x" * 2**16})
        await eve.receive()


async def garbage(stage: Stage) -> None:
    """Eve sends what is no JSON."""
    async with stage.enter() as eve:
        await eve.send('{"type": "say", "text"')
        await stage.answered(eve)


async def bug(stage: Stage) -> None:
    """Eve's message meets a bug in the handler."""
    async with stage.enter() as eve:
        await eve.send_json({"type": "say", "text": "bug"})
        await stage.answered(eve)


async def slow_handler(stage: Stage) -> None:
    """Eve's message keeps the handler busy for too long."""
    async with stage.enter() as eve:
        await eve.send_json({"type": "say", "text": "slow"})
        await stage.answered(eve)


ON_THE_WIRE: Mapping[str, Callable[[Stage], Awaitable[None]]] = {
    "a stalled reader": stalled_reader,
    "a vanished client": vanished_client,
    "a flood": flooding,
    "64 KiB at once": too_much,
    "garbage": garbage,
    "a bug in a handler": bug,
    "a slow handler": slow_handler,
}
"""The faults that play anywhere."""

FAULTS = ON_THE_WIRE | {"a join meanwhile": join_meanwhile}
"""The faults that play in process."""

SNIPPETS: Mapping[str, Callable[[], Chat]] = {
    "SetAndLoop": lambda: copied(SetAndLoop()),
    "Gather": lambda: copied(Gather()),
    "GatherWithTimeout": lambda: copied(GatherWithTimeout(PATIENCE / 5)),
    "ours": ours,
}
"""The chats that are tried."""


async def play(
    fault: str, chat: Chat, target: ASGIApp | Serving | None = None
) -> list[str]:
    """Run a fault against a chat.

    Args:
        fault: One of `FAULTS`.
        chat: The chat, fresh.
        target: Where it runs: a server, or the app with a tap around it. In
            process if nothing is said.

    Returns:
        What was wrong for those who had no part in it, or with what Eve was
        told; nothing if all was well.
    """
    stage = Stage(target or chat, chat)
    with quiet():
        await stage.play(FAULTS[fault])
    return sorted(stage.troubles)  # who times out first is chance


@dataclass(frozen=True, repr=False)
class Survival:
    """A table of snippets and faults.

    Attributes:
        troubles: What was wrong, by fault and snippet.
    """

    troubles: dict[str, dict[str, list[str]]]

    def __repr__(self) -> str:
        width = max(map(len, SNIPPETS))
        lines = []
        for fault, row in self.troubles.items():
            lines.append(fault)
            for snippet, troubles in row.items():
                what = "; ".join(troubles) or "holds"
                lines.append(f"  {snippet:{width}} {what}")
        return "\n".join(lines)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self._html(), "text/plain": repr(self)}

    def _html(self) -> str:
        head = "".join(f'<th scope="col">{name}</th>' for name in SNIPPETS)
        rows = ""
        for fault, row in self.troubles.items():
            cells = (
                f"<td>{'<br>'.join(map(escape, troubles)) or '✓ holds'}</td>"
                for troubles in row.values()
            )
            rows += f'<tr><th scope="row">{fault}</th>{"".join(cells)}</tr>'
        return (
            '<table class="survival"><thead><tr><td></td>'
            f"{head}</tr></thead><tbody>{rows}</tbody></table>"
        )


async def survival(
    faults: Mapping[str, object] = FAULTS,
    host: Callable[[ASGIApp], AbstractAsyncContextManager[Any]] = nullcontext,
) -> Survival:
    """Run faults against all snippets, each with an app of its own.

    Args:
        faults: Which of `FAULTS`.
        host: What the apps run on, such as `serve`; in process if not said.

    Returns:
        The table.
    """
    few = asyncio.Semaphore(4)  # more would keep each other waiting

    async def one(fault: str, snippet: str) -> list[str]:
        chat = SNIPPETS[snippet]()
        async with few, host(chat) as target:
            return await play(fault, chat, target)

    pairs = list(product(faults, SNIPPETS))
    troubles = await asyncio.gather(*(one(*pair) for pair in pairs))
    table: dict[str, dict[str, list[str]]] = {fault: {} for fault in faults}
    for (fault, snippet), found in zip(pairs, troubles, strict=True):
        table[fault][snippet] = found
    return Survival(table)
