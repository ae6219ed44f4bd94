"""Exercises of the chapter on pushing and receiving at once."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import (
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    suppress,
)

import anyio
from litestar import Litestar, WebSocket, websocket, websocket_listener
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from litestar.handlers import send_websocket_stream

from exercises import Exercise, Mistake, Mutant, Trial
from snippets.lifecycle import lifecycle
from snippets.streams import Latest, push, pushing
from snippets.testing.client import Closed

NO_ORDERS = "The guest has ordered, and the kitchen has not heard of it."
EATEN = "Some orders are lost: who else receives on this connection?"
NO_DISHES = "A dish is ready, and the guest who says nothing is not served."
NOT_QUIET = "A guest has left, as guests do, and it ended in an exception."
NOT_CLEARED = "The guest has left, and nobody cleared the hatch."
HALF_CLEARED = "Somebody began to clear the hatch, and was stopped in between."
CODE_LOST = "The kitchen gave a reason, and it got lost on its way out."


class Kitchen:
    """A kitchen: orders go in, and dishes come out in their own time."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.hatch = "untouched"
        self.ready: asyncio.Queue[str | None] = asyncio.Queue()
        self.heard = asyncio.Event()

    def cook(self, order: str) -> None:
        """Take an order."""
        self.orders.append(order)
        self.heard.set()

    async def dishes(self) -> AsyncGenerator[str, None]:
        """Yield each dish that is ready, until the kitchen closes."""
        self.hatch = "open"
        try:
            while dish := await self.ready.get():
                yield dish
            if dish is not None:
                return
            raise WebSocketException(detail="the kitchen closes", code=4001)
        finally:
            self.hatch = "half cleared"
            await asyncio.sleep(0)
            self.hatch = "cleared"

    async def go_home(self) -> None:
        """End what is still running, without a word."""
        self.ready.put_nowait("")
        await a_moment()


async def a_moment() -> None:
    """Let others run, for longer than a message is on its way."""
    for _ in range(50):
        await asyncio.sleep(0)


def table_stub(kitchen: Kitchen) -> Litestar:
    @websocket("/table")
    async def table(socket: WebSocket) -> None:
        async with lifecycle(socket):
            async for order in socket.iter_data("text"):
                kitchen.cook(order)  # Your turn.
            await push(socket, kitchen.dishes(), socket.send_text)

    return Litestar([table])


def table_solution(kitchen: Kitchen) -> Litestar:
    @websocket("/table")
    async def table(socket: WebSocket) -> None:
        dishes = kitchen.dishes()
        async with lifecycle(socket), pushing(dishes, socket.send_text):
            async for order in socket.iter_data("text"):
                kitchen.cook(order)

    return Litestar([table])


def table_by_listener(kitchen: Kitchen) -> Litestar:
    @asynccontextmanager
    async def serving(socket: WebSocket) -> AsyncGenerator[None]:
        dishes = kitchen.dishes()
        async with lifecycle(socket), pushing(dishes, socket.send_text):
            yield

    @websocket_listener("/table", connection_lifespan=serving)
    async def table(data: str) -> None:
        kitchen.cook(data)

    return Litestar([table])


def table_by_hand(kitchen: Kitchen) -> Litestar:
    @websocket("/table")
    async def table(socket: WebSocket) -> None:
        dishes = kitchen.dishes()

        async def serve() -> None:
            try:
                with suppress(WebSocketDisconnect):
                    await send_websocket_stream(socket, dishes, close=False)
            finally:
                with anyio.CancelScope(shield=True):
                    await dishes.aclose()

        async with lifecycle(socket), asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(serve())
            async for order in socket.iter_data("text"):
                kitchen.cook(order)
            serving.cancel()

    return Litestar([table])


_WITH = """dishes = kitchen.dishes()
        async with lifecycle(socket), pushing(dishes, socket.send_text):
            async for order in socket.iter_data("text"):
                kitchen.cook(order)
"""
_RECEIVE_FIRST = """async with lifecycle(socket):
            async for order in socket.iter_data("text"):
                kitchen.cook(order)
            await push(socket, kitchen.dishes(), socket.send_text)
"""
_SEND_FIRST = """async with lifecycle(socket):
            await push(socket, kitchen.dishes(), socket.send_text)
            async for order in socket.iter_data("text"):
                kitchen.cook(order)
"""
_TWO_READERS = """async with lifecycle(socket), asyncio.TaskGroup() as tasks:
            dishes = kitchen.dishes()
            serve = push(socket, dishes, socket.send_text)
            serving = tasks.create_task(serve)
            async for order in socket.iter_data("text"):
                kitchen.cook(order)
            serving.cancel()
"""
_FORGOTTEN = """dishes = kitchen.dishes()
        serve = send_websocket_stream(socket, dishes, close=False)
        async with lifecycle(socket):
            kitchen.serving = asyncio.create_task(serve)
            async for order in socket.iter_data("text"):
                kitchen.cook(order)
"""
_WAITS = """dishes = kitchen.dishes()
        serve = send_websocket_stream(socket, dishes, close=False)
        async with lifecycle(socket), asyncio.TaskGroup() as tasks:
            tasks.create_task(serve)
            async for order in socket.iter_data("text"):
                kitchen.cook(order)
"""
_BY_ANYIO = """await socket.accept()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_websocket_stream, socket, kitchen.dishes())
            async for order in socket.iter_data("text"):
                kitchen.cook(order)
            tasks.cancel_scope.cancel()
"""
_RAISES = """await socket.accept()
        async with pushing(kitchen.dishes(), socket.send_text):
            while True:
                kitchen.cook(await socket.receive_text())
"""
_WRAPPED = """dishes = kitchen.dishes()
        await socket.accept()
        async with asyncio.TaskGroup() as tasks:
            serve = send_websocket_stream(socket, dishes, close=False)
            serving = tasks.create_task(serve)
            async for order in socket.iter_data("text"):
                kitchen.cook(order)
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving
            await dishes.aclose()
"""


async def hears_orders(trial: Trial) -> None:
    """Gives each order to the kitchen, also while no dish is ready."""
    kitchen = Kitchen()
    trial.build(kitchen)
    orders = [f"cake {number}" for number in range(6)]
    with suppress(TimeoutError):
        async with trial.connect("/table") as ws:
            for order in orders:
                await ws.send(order)
            async with asyncio.timeout(ws.timeout / 4):
                while len(kitchen.orders) < len(orders):
                    kitchen.heard.clear()
                    await kitchen.heard.wait()
    await kitchen.go_home()
    if kitchen.orders != orders:
        heard = ", ".join(kitchen.orders) or "nothing"
        likely = {"orders: nothing": NO_ORDERS, "orders": EATEN}
        trial.miss(f"orders: {', '.join(orders)}", f"orders: {heard}", likely)


async def serves_dishes(trial: Trial) -> None:
    """Sends each dish when it is ready, also to a guest who says nothing."""
    kitchen = Kitchen()
    trial.build(kitchen)
    async with trial.connect("/table") as ws:
        for dish in ("tea", "cake"):
            kitchen.ready.put_nowait(dish)
            await trial.expect(ws, dish, {"waiting": NO_DISHES})
    await kitchen.go_home()


async def clears_the_hatch(trial: Trial) -> None:
    """Ends without an exception when the guest leaves, and clears up."""
    kitchen = Kitchen()
    trial.build(kitchen)
    async with trial.connect("/table") as ws:
        kitchen.ready.put_nowait("tea")
        await ws.receive()
    trial.expect_no_exception({".": NOT_QUIET})
    hatch = kitchen.hatch
    await kitchen.go_home()
    if hatch != "cleared":
        likely = {"the hatch half": HALF_CLEARED, "the hatch": NOT_CLEARED}
        trial.miss("the hatch cleared", f"the hatch {hatch}", likely)


async def tells_why(trial: Trial) -> None:
    """Closes with 4001 when the kitchen closes, which is what it raises."""
    kitchen = Kitchen()
    trial.build(kitchen)
    async with trial.connect("/table") as ws:
        kitchen.ready.put_nowait(None)
        likely = {"close|no close|waiting": CODE_LOST}
        await trial.expect(ws, Closed(4001), likely)


table = Exercise(
    task="Write `create_table(kitchen)` with a handler at `/table`. Each text "
    "that comes in goes to `kitchen.cook(order)`, and each dish of the "
    "generator `kitchen.dishes()` goes out as text, when it is ready. When "
    "the guest leaves, the generator has been closed before the handler ends. "
    "When the kitchen closes, the generator raises a `WebSocketException`; "
    "the guest is to see its code.",
    stub=table_stub,
    checks=[hears_orders, serves_dishes, clears_the_hatch, tells_why],
    tip="One reads, and the other writes, at the same time. Which of the two "
    "learns that the guest has left, and how does the other one hear of it? "
    "And in which of them is your loop?",
    right=[table_solution, table_by_listener, table_by_hand],
    mutants=[
        Mutant(NO_DISHES, {_WITH: _RECEIVE_FIRST}),
        Mutant(NO_ORDERS, {_WITH: _SEND_FIRST}),
        Mutant(EATEN, {_WITH: _TWO_READERS}),
        Mutant(NOT_CLEARED, {_WITH: _FORGOTTEN}),
        Mutant(Mistake.LINGERS, {_WITH: _WAITS}),
        Mutant(HALF_CLEARED, {_WITH: _BY_ANYIO}),
        Mutant(NOT_QUIET, {_WITH: _RAISES}),
        Mutant(CODE_LOST, {_WITH: _WRAPPED}),
    ],
)


TOO_EARLY = "Nobody has switched it on, and the temperature is told."
SILENT = "It is on, and nothing is told."
STILL_ON = "The client was told `off`, and somebody still watches the kettle."
NO_ANSWER = "It was switched off, and nobody said so."
ONCE = "It was switched on a second time, and nothing is told any more."
TWICE = "It was on already, and somebody else began to watch it, too."
STILL_WATCHED = "The client has left, and somebody still watches the kettle."


class Kettle:
    """A kettle whose temperature can be watched.

    Attributes:
        watched: How many watch it now.
    """

    def __init__(self) -> None:
        self.watched = 0
        self.degrees: Latest[int | None] = Latest(20)

    async def watch(self) -> AsyncGenerator[str, None]:
        """Yield the temperature, now and when it changes."""
        self.watched += 1
        try:
            async with aclosing(self.degrees.changes()) as changes:
                async for degrees in changes:
                    if degrees is None:
                        return
                    yield f"{degrees} °C"
        finally:
            await a_moment()
            self.watched -= 1

    async def unplug(self) -> None:
        """End what still watches it."""
        self.degrees.set(None)
        await a_moment()
        await a_moment()


def switch_stub(kettle: Kettle) -> Litestar:
    @websocket("/kettle")
    async def switch(socket: WebSocket) -> None:
        degrees = kettle.watch()
        async with lifecycle(socket), pushing(degrees, socket.send_text):
            async for word in socket.iter_data("text"):
                if word == "off":  # Your turn.
                    await socket.send_text("off")

    return Litestar([switch])


def switch_solution(kettle: Kettle) -> Litestar:
    @websocket("/kettle")
    async def switch(socket: WebSocket) -> None:
        async with lifecycle(socket):
            words = socket.iter_data("text")
            async for word in words:
                if word == "on":
                    async with pushing(kettle.watch(), socket.send_text):
                        async for later in words:
                            if later == "off":
                                break
                    await socket.send_text("off")

    return Litestar([switch])


def switch_another(kettle: Kettle) -> Litestar:
    @websocket("/kettle")
    async def switch(socket: WebSocket) -> None:
        on = False
        async with lifecycle(socket), AsyncExitStack() as stream:
            async for word in socket.iter_data("text"):
                if word == "on" and not on:
                    on = True
                    degrees = pushing(kettle.watch(), socket.send_text)
                    await stream.enter_async_context(degrees)
                if word == "off" and on:
                    on = False
                    await stream.aclose()
                    await socket.send_text("off")

    return Litestar([switch])


_SWITCH = """async with lifecycle(socket):
            words = socket.iter_data("text")
            async for word in words:
                if word == "on":
                    async with pushing(kettle.watch(), socket.send_text):
                        async for later in words:
                            if later == "off":
                                break
                    await socket.send_text("off")
"""
_ALWAYS = """degrees = kettle.watch()
        async with lifecycle(socket), pushing(degrees, socket.send_text):
            async for word in socket.iter_data("text"):
                if word == "off":
                    await socket.send_text("off")
"""
_MUTE = """on = False

        async def send(degrees: str) -> None:
            if on:
                await socket.send_text(degrees)

        async with lifecycle(socket), AsyncExitStack() as stream:
            async for word in socket.iter_data("text"):
                if word == "on" and not on:
                    on = True
                    degrees = pushing(kettle.watch(), send)
                    await stream.enter_async_context(degrees)
                if word == "off" and on:
                    on = False
                    await socket.send_text("off")
"""
_EACH = """async with lifecycle(socket), AsyncExitStack() as stream:
            async for word in socket.iter_data("text"):
                if word == "on":
                    degrees = pushing(kettle.watch(), socket.send_text)
                    await stream.enter_async_context(degrees)
                if word == "off":
                    await stream.aclose()
                    await socket.send_text("off")
"""
_TASK = """task = None
        async with lifecycle(socket):
            async for word in socket.iter_data("text"):
                if word == "on" and task is None:
                    serve = send_websocket_stream(
                        socket, kettle.watch(), close=False
                    )
                    task = asyncio.create_task(serve)
                if word == "off" and task is not None:
                    task.cancel()
                    await asyncio.wait([task])
                    task = None
                    await socket.send_text("off")
"""
_ASIDE = """                            if later == "off":
                                break
                    await socket.send_text("off")
"""
_TOO_SOON = """                            if later == "off":
                                await socket.send_text("off")
                                break
"""
_OFF = 'await socket.send_text("off")\n'


async def waits_for_the_switch(trial: Trial) -> None:
    """Tells no temperature before it is switched on, and then the newest."""
    kettle = Kettle()
    trial.build(kettle)
    likely = {"text '20": TOO_EARLY, "waiting": SILENT}
    async with trial.connect("/kettle") as ws:
        await a_moment()
        kettle.degrees.set(21)
        await ws.send("on")
        await trial.expect(ws, "21 °C", likely)
        kettle.degrees.set(22)
        await trial.expect(ws, "22 °C", likely)
    await kettle.unplug()


async def can_be_switched_off(trial: Trial) -> None:
    """Answers `off` with `off`, when nobody watches the kettle any more."""
    kettle = Kettle()
    trial.build(kettle)
    async with trial.connect("/kettle") as ws:
        await ws.send("on")
        await ws.receive()
        await ws.send("off")
        await trial.expect(ws, "off", {"waiting": NO_ANSWER})
        _nobody_watches(trial, kettle.watched, STILL_ON)


async def can_be_switched_on_again(trial: Trial) -> None:
    """Can be switched on again."""
    kettle = Kettle()
    trial.build(kettle)
    likely = {"waiting|close|no close": ONCE}
    async with trial.connect("/kettle") as ws:
        for degrees in (20, 21):
            kettle.degrees.set(degrees)
            with suppress(Closed):  # which is seen next
                await ws.send("on")
            await trial.expect(ws, f"{degrees} °C", likely)
            await ws.send("off")
            await trial.expect(ws, "off")


async def is_on_or_off(trial: Trial) -> None:
    """Goes on as before when it is switched on twice."""
    kettle = Kettle()
    trial.build(kettle)
    async with trial.connect("/kettle") as ws:
        await ws.send("on")
        await trial.expect(ws, "20 °C")
        await ws.send("on")
        await a_moment()
        if kettle.watched != 1:
            watched = f"watched {kettle.watched} times"
            trial.miss("watched once", watched, {"watched": TWICE})
        kettle.degrees.set(21)
        await trial.expect(ws, "21 °C")
    await kettle.unplug()


async def is_off_when_the_client_leaves(trial: Trial) -> None:
    """Lets go of the kettle when the client leaves, without an exception."""
    kettle = Kettle()
    trial.build(kettle)
    async with trial.connect("/kettle") as ws:
        await ws.send("on")
        await ws.receive()
    watched = kettle.watched
    await kettle.unplug()
    _nobody_watches(trial, watched, STILL_WATCHED)
    trial.expect_no_exception({".": NOT_QUIET})


def _nobody_watches(trial: Trial, watched: int, mistake: str) -> None:
    if watched:
        wanted = "a kettle that nobody watches"
        trial.miss(wanted, "a kettle that is watched", {"a kettle": mistake})


switch = Exercise(
    task="Write `create_switch(kettle)` with a handler at `/kettle`. When the "
    "client says `on`, the texts of `kettle.watch()` are pushed to it. When "
    "it says `off`, that ends, and the answer is `off`, sent when nobody "
    "watches the kettle any more. It can be switched on again. `on` while it "
    "is on changes nothing, and leaving is as good as `off`.",
    stub=switch_stub,
    checks=[
        waits_for_the_switch,
        can_be_switched_off,
        can_be_switched_on_again,
        is_on_or_off,
        is_off_when_the_client_leaves,
    ],
    tip="A stream lasts as long as its block. So the block has to begin at "
    "one word and end at another. Who reads the words that come in between?",
    right=[switch_solution, switch_another],
    mutants=[
        Mutant(TOO_EARLY, {_SWITCH: _ALWAYS}),
        Mutant(SILENT, {'word == "on"': 'word == "On"'}),
        Mutant(NO_ANSWER, {_OFF: "continue\n"}),
        Mutant(STILL_ON, {_ASIDE: _TOO_SOON}),
        Mutant(STILL_ON, {_SWITCH: _MUTE}),
        Mutant(ONCE, {_OFF: f"{_OFF}                    break\n"}),
        Mutant(TWICE, {_SWITCH: _EACH}),
        Mutant(STILL_WATCHED, {_SWITCH: _TASK}),
    ],
)
