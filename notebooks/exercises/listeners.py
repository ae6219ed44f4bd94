"""Exercises of the chapter on listeners."""

import json
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import msgspec
from litestar import Litestar, WebSocket, websocket, websocket_listener
from litestar.dto import DataclassDTO
from litestar.exceptions import WebSocketDisconnect, WebSocketException

from exercises import Exercise, Mistake, Mutant, Trial
from exercises._report import described
from snippets.lifecycle import lifecycle
from snippets.testing.client import Closed


@dataclass
class Order:
    """What a guest of the café sends."""

    drink: str
    cups: int = 1


ECHOED = "The order itself came back, and not the bill."
PLAIN = "The order is a plain `dict`: an annotation alone converts nothing."
UNCHECKED = "What is no order was answered: nobody looked at its types."
NOT_TEXT = "What is annotated as `str` goes out as it is. This is no `str`."
PYTHON = "This is how Python writes an object down, and no JSON."
SECOND_APP = (
    "The first app worked and the second does not: which part of them is made "
    "only once?"
)


def bill_stub() -> Litestar:
    @websocket_listener("/bill")
    async def bill(data: str) -> str:
        return data  # Your turn.

    return Litestar([bill])


def bill_solution() -> Litestar:
    @dataclass
    class Bill:
        drink: str
        euros: int

    @websocket_listener("/bill", dto=DataclassDTO[Order])
    async def bill(data: Order) -> Bill:
        return Bill(data.drink, 3 * data.cups)

    return Litestar([bill])


def bill_another() -> Litestar:
    @websocket_listener("/bill")
    async def bill(data: bytes) -> dict[str, object]:
        order = msgspec.json.decode(data, type=Order)
        return {"drink": order.drink, "euros": 3 * order.cups}

    return Litestar([bill])


def bill_by_hand() -> Litestar:
    @websocket("/bill")
    async def bill(socket: WebSocket) -> None:
        await socket.accept()
        async for data in socket.iter_data("text"):
            order = msgspec.json.decode(data, type=Order)
            answer = {"euros": 3 * order.cups, "drink": order.drink}
            await socket.send_text(json.dumps(answer))

    return Litestar([bill])


def bill_kept() -> Litestar:
    @websocket_listener(
        "/bill", connection_lifespan=lifecycle, dto=DataclassDTO[Order]
    )
    async def bill(data: Order) -> dict[str, object]:
        return {"drink": data.drink, "euros": 3 * data.cups}

    return Litestar([bill])


async def bills_orders(trial: Trial) -> None:
    """Answers an order with its bill, as JSON."""
    likely = {
        "close 4500.*object has no attribute 'decode'": NOT_TEXT,
        "close 4500.*'dict' object has no attribute": PLAIN,
        'text ".*Bill': PYTHON,
        "text '{.*cups": ECHOED,
    }
    async with trial.connect("/bill") as ws:
        for drink, cups in [("tea", 2), ("milk", 5)]:
            await ws.send_json({"drink": drink, "cups": cups})
            bill = {"drink": drink, "euros": 3 * cups}
            await trial.expect_json(ws, bill, likely)


async def takes_one_for_granted(trial: Trial) -> None:
    """Takes an order without `cups` for one cup."""
    likely = {"close 4500.*ListenerHandler": SECOND_APP}
    async with trial.connect("/bill") as ws:
        await ws.send_json({"drink": "tea"})
        await trial.expect_json(ws, {"drink": "tea", "euros": 3}, likely)


async def refuses_nonsense(trial: Trial) -> None:
    """Closes with 4500 or 4400 when it gets what is no order."""
    for order in ({"drink": "tea", "cups": "two"}, {"cups": 1}, "tea"):
        async with trial.connect("/bill") as ws:
            await ws.send_json(order)
            came = await trial.next(ws)
            if not isinstance(came, Closed) or came.code not in (4400, 4500):
                wanted = "close 4500 or 4400"
                trial.miss(wanted, described(came), {"text": UNCHECKED})


bill = Exercise(
    task="Write `create_app()` with a listener at `/bill`: it takes an "
    "`Order` and answers with the bill, at 3 € a cup: two cups of tea are "
    '`{"drink": "tea", "euros": 6}`, in JSON. What is no order, such as `two` '
    "cups in letters, ends the connection with 4500, or 4400 if `lifecycle` "
    "holds it.",
    stub=bill_stub,
    checks=[bills_orders, takes_one_for_granted, refuses_nonsense],
    tip="Two annotations and one keyword do all of it. Which of them say what "
    "comes in, and which one says what goes out?",
    right=[bill_solution, bill_another, bill_by_hand, bill_kept],
    mutants=[
        Mutant(PLAIN, {", dto=DataclassDTO[Order]": ""}),
        Mutant(
            NOT_TEXT,
            {"Bill(data.drink, 3 * data.cups)": "vars(data)"}
            | {") -> Bill": ") -> str"},
        ),
        Mutant(
            UNCHECKED,
            {", dto=DataclassDTO[Order]": "", "data: Order": "data: dict"}
            | {"data.drink": 'data["drink"]'}
            | {"data.cups": 'data.get("cups", 1)'},
        ),
        Mutant(NOT_TEXT, {") -> Bill": ") -> str"}),
        Mutant(
            PYTHON,
            {") -> Bill": ") -> str"}
            | {"Bill(data.drink, 3 * data.cups)": "str(Bill(data.drink, 6))"},
        ),
        Mutant(
            Mistake.QUOTED,
            {"Bill(data.drink, 3 * data.cups)": "json.dumps({'euros': 6})"},
        ),
        Mutant(Mistake.WAITS, {") -> Bill": ") -> None"}),
        Mutant(
            SECOND_APP,
            {"def bill_solution()": "kept = []\n\n\ndef bill_solution()"}
            | {
                # Litestar finds a handler's DTO by the sum of the addresses of
                # its layers. By chance that of a second app is the same, and
                # then it works, so the first sum has to be forgotten.
                "    return Litestar([bill])": "    kept.append(bill)\n"
                "    app = Litestar(kept[:1])\n"
                "    if kept[1:]:\n"
                "        kept[0].dto._dto_backends.clear()\n"
                "    return app"
            },
        ),
    ],
)


NOT_ADDED = "A guest was let in, and somebody else was not told."
TOO_LATE = "A guest was told who is here, and her own name was not yet there."
LEFT_BEHIND = "A guest has left, and the name is still in the list."
EVE_STAYS = "Eve was sent away, and her name is still in the list."
EVERYBODY = "One guest has left, and others are gone from the list, too."
IS_AN_ERROR = (
    "Somebody only left, and that came out of the answer as an exception: "
    "who catches it?"
)


def presence_stub(here: list[str]) -> Litestar:
    @websocket_listener("/")
    async def who(data: str) -> str:
        return ", ".join(here)  # Your turn.

    return Litestar([who])


def presence_solution(here: list[str]) -> Litestar:
    @asynccontextmanager
    async def presence(socket: WebSocket) -> AsyncGenerator[None]:
        name = socket.query_params["name"]
        async with lifecycle(socket):
            here.append(name)
            try:
                await socket.send_text(", ".join(here))
                if name == "eve":
                    raise WebSocketException(detail="not you", code=4403)
                yield
            finally:
                here.remove(name)

    @websocket_listener("/", connection_lifespan=presence)
    async def who(data: str) -> str:
        return ", ".join(here)

    return Litestar([who])


def presence_another(here: list[str]) -> Litestar:
    @asynccontextmanager
    async def presence(socket: WebSocket) -> AsyncGenerator[None]:
        name = socket.query_params["name"]
        await socket.accept()
        here.append(name)
        with ExitStack() as leaving, suppress(WebSocketDisconnect):
            leaving.callback(here.remove, name)
            await socket.send_text(", ".join(here))
            if name == "eve":
                await socket.close(4403)  # what comes next is her leaving
            yield

    @websocket_listener("/", connection_lifespan=presence)
    async def who(data: str) -> str:
        return ", ".join(here)

    return Litestar([who])


def presence_with_hooks(here: list[str]) -> Litestar:
    async def arrive(socket: WebSocket) -> None:
        name = socket.query_params["name"]
        here.append(name)
        with ExitStack() as failing:
            failing.callback(here.remove, name)
            await socket.send_text(", ".join(here))
            if name == "eve":
                raise WebSocketException(detail="not you", code=4403)
            failing.pop_all()

    async def leave(socket: WebSocket) -> None:
        here.remove(socket.query_params["name"])

    @websocket_listener("/", on_accept=arrive, on_disconnect=leave)
    async def who(data: str) -> str:
        return ", ".join(here)

    return Litestar([who])


_MOVED = {
    "            here.append(name)\n            try:\n": "            try:\n",
    'await socket.send_text(", ".join(here))': (
        'await socket.send_text(", ".join(here))\n'
        "                here.append(name)"
    ),
}
_AS_HOOKS = {
    "@asynccontextmanager": "",
    "-> AsyncGenerator[None]": "-> None",
    "async with lifecycle(socket):": "if True:",
    "try:": "if True:",
    "yield\n            finally:\n                here.remove(name)": (
        "...\n\n    async def leave(socket: WebSocket) -> None:\n"
        '        here.remove(socket.query_params["name"])'
    ),
    "connection_lifespan=presence": "on_accept=presence, on_disconnect=leave",
}


async def tells_who_is_here(trial: Trial) -> None:
    """Tells a guest who is here, when she comes and whenever she asks."""
    trial.build([])
    async with trial.connect("/?name=ada") as ada:
        await trial.expect(ada, "ada", {"text ''": TOO_LATE})
        async with trial.connect("/?name=bob") as bob:
            await trial.expect(bob, "ada, bob", {"text 'ada'": TOO_LATE})
            await ada.send("who?")
            await trial.expect(ada, "ada, bob", {"text 'ada'": NOT_ADDED})


async def forgets_who_leaves(trial: Trial) -> None:
    """Forgets who leaves, and nobody else."""
    here: list[str] = []
    trial.build(here)
    async with trial.connect("/?name=ada"):
        async with trial.connect("/?name=bob"):
            pass
        _holds(trial, here, ["ada"], LEFT_BEHIND if here else EVERYBODY)
    _holds(trial, here, [], LEFT_BEHIND)


async def sends_eve_away(trial: Trial) -> None:
    """Tells Eve who is here, closes with 4403, and forgets her."""
    here: list[str] = []
    trial.build(here)
    async with trial.connect("/?name=ada"):
        async with trial.connect("/?name=eve") as eve:
            await trial.expect(eve, "ada, eve", {"text 'ada'": TOO_LATE})
            await trial.expect(eve, Closed(4403))
        _holds(trial, here, ["ada"], EVE_STAYS if here else EVERYBODY)


async def takes_leaving_for_normal(trial: Trial) -> None:
    """Takes it for normal when a guest leaves."""
    trial.build([])
    async with trial.connect("/?name=ada") as ada:
        await ada.receive()
    trial.expect_no_exception({".*WebSocketDisconnect": IS_AN_ERROR})


def _holds(
    trial: Trial, here: list[str], wanted: list[str], likely: str
) -> None:
    if here != wanted:
        trial.miss(f"{wanted} in the list", f"{here} in it", {".": likely})


presence = Exercise(
    task="Write `create_app(here)` with a listener at `/` that answers each "
    "message with the names of all who are here, as in `ada, bob`. Who "
    "connects with `?name=ada` is put into the list `here` and is told the "
    "names at once; Eve is told, too, and then closed with 4403. Nobody stays "
    "in the list after she is gone, and that a guest leaves is no error.",
    stub=presence_stub,
    checks=[
        tells_who_is_here,
        forgets_who_leaves,
        sends_eve_away,
        takes_leaving_for_normal,
    ],
    tip="A name that is put in must be taken out again. What may happen in "
    "between, before anybody has said a word? And who gets to know that a "
    "guest has left?",
    right=[presence_solution, presence_another, presence_with_hooks],
    mutants=[
        Mutant(TOO_LATE, _MOVED),
        Mutant(
            LEFT_BEHIND,
            {"try:": "if True:", "            finally:\n    ": ""},
        ),
        Mutant(
            IS_AN_ERROR,
            {
                "async with lifecycle(socket):": "await socket.accept()\n"
                "        if True:"
            },
        ),
        Mutant(EVERYBODY, {"here.remove(name)": "here.clear()"}),
        Mutant(EVE_STAYS, {"finally:": "except WebSocketDisconnect:"}),
        Mutant(EVE_STAYS, _AS_HOOKS),
        Mutant(
            Mistake.AFTER_CLOSE,
            {
                'raise WebSocketException(detail="not you", code=4403)': (
                    "await socket.close(4403)\n                    return"
                )
            },
        ),
    ],
)
