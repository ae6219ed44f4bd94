"""Exercises of the chapter on the message contract."""

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import Litestar, WebSocket, websocket
from litestar.di import NamedDependency, Provide
from msgspec import Meta

from exercises import Exercise, Mistake, Mutant, Trial
from exercises._report import described
from exercises._trial import Likely
from snippets.lifecycle import lifecycle
from snippets.messages import (
    ClientMessage,
    ErrorCode,
    MessageError,
    ServerMessage,
    converse,
    dispatcher,
    formats,
)
from snippets.sockets import MessageSocket
from snippets.testing.client import Client

CLOSED = "One bad message ended the connection."
TAKEN = "This is no order, and it was taken for one."
TOO_MANY = "Who says how many cups there may be?"
LAX = "A field that nobody knows was skipped, and a typo is such a field."
CUPS_MISSING = "Who does not say how many cups wants one."
UNKNOWN = "A message of the contract was not known: look at its tag."
NO_REF = "Every message may have a `ref`, and this one was refused for it."
UNASKED = "Nobody asked for an answer: that message had no `ref`."
NOT_SAID = "What is not even JSON has a code of its own."
LOST_REF = "The `ref` was there to be read, and is not in the error."
TOO_DEEP = "Deep nesting is a RecursionError, and not one of msgspec's."


@websocket("/order")
async def order_stub(socket: WebSocket) -> None:
    async with lifecycle(socket):
        async for message in socket.iter_json():
            if "ref" in message:  # Your turn.
                await socket.send_json({"type": "ack", "ref": message["ref"]})


def order_solution() -> Litestar:
    class Order(ClientMessage, tag="order", frozen=True):
        drink: str
        cups: Annotated[int, Meta(ge=1, le=12)] = 1

    class Cancel(ClientMessage, tag="cancel", frozen=True):
        pass

    class CafeSocket(MessageSocket[Order | Cancel]):
        formats = formats("cafe", Order | Cancel)

    async def answer(message: Order | Cancel) -> None:
        """Do nothing: what has a ref is acknowledged."""

    @websocket("/order", websocket_class=CafeSocket)
    async def order(socket: CafeSocket) -> None:
        async with lifecycle(socket):
            await converse(socket, answer)

    return Litestar([order])


class Order(ClientMessage, tag="order", frozen=True):
    """What a guest wants."""

    drink: str
    cups: Annotated[int, Meta(ge=1, le=12)] = 1


class Cancel(ClientMessage, tag="cancel", frozen=True):
    """The guest does not want it any more."""


class JustRef(msgspec.Struct):
    """What a message may have that is no message."""

    ref: int | str | None = None


def _by_hand(text: str) -> dict[str, Any] | None:
    """Decode and answer without the module."""
    ref, error = None, ""
    try:
        kind: Any = Order | Cancel
        ref = msgspec.json.decode(text, type=kind).ref
    except msgspec.ValidationError:
        error = "invalid_message"
        with suppress(msgspec.ValidationError):
            ref = msgspec.json.decode(text, type=JustRef).ref
    except (ValueError, RecursionError):
        error = "invalid_json"
    if error:
        ref_if_any = {} if ref is None else {"ref": ref}
        words = {"message": "what?", "retryable": False}
        return {"type": "error", "code": error, **words, **ref_if_any}
    return None if ref is None else {"type": "ack", "ref": ref}


@websocket("/order")
async def order_by_hand(socket: WebSocket) -> None:
    async with lifecycle(socket):
        async for text in socket.iter_data(mode="text"):
            if answer := _by_hand(text):
                await socket.send_json(answer)


_LOOP = """            async for message in socket.iter_messages():
                if message.ref is not None:
                    ack = {"type": "ack", "ref": message.ref}
                    await socket.send_message(ack)
"""
_UNASKED_LOOP = """            async for message in socket.iter_messages():
                await socket.send_message({"type": "ack", "ref": message.ref})
"""
_CAUGHT = """            while True:
                ref, code = None, ""
                text = await socket.receive_text()
                try:
                    kind = Order | Cancel
                    ref = msgspec.json.decode(text, type=kind).ref
                except msgspec.ValidationError:
                    code = "invalid_message"
                    with suppress(msgspec.DecodeError):
                        ref = msgspec.json.decode(text, type=JustRef).ref
                except msgspec.DecodeError:
                    code = "invalid_json"
                answer = {"type": "ack"}
                if code:
                    answer = {"type": "error", "code": code, "message": "?"}
                if ref is not None:
                    answer["ref"] = ref
                if code or ref is not None:
                    await socket.send_json(answer)
"""
_CONVERSE = "            await converse(socket, answer)\n"

WRONG: list[tuple[object, str]] = [
    ({"type": "ordr", "drink": "tea"}, TAKEN),
    ({"drink": "tea"}, TAKEN),
    ({"type": "order"}, TAKEN),
    ({"type": "order", "drink": 7}, TAKEN),
    ({"type": "order", "drink": None}, TAKEN),
    (["order", "tea"], TAKEN),
    (None, TAKEN),
    ({"type": "order", "drink": "tea", "sugar": 2}, LAX),
    ({"type": "order", "drink": "tea", "cups": "2"}, TAKEN),
    ({"type": "order", "drink": "tea", "cups": 1.5}, TAKEN),
    ({"type": "order", "drink": "tea", "cups": 0}, TOO_MANY),
    ({"type": "order", "drink": "tea", "cups": 13}, TOO_MANY),
]
NO_JSON = (
    "",
    "a cup of tea",
    '{"type": "order", "drink": "tea"',
    '{"type": "order", "drink": "tea"} please',
    '{"type": "order", "drink": "tea", "cups": NaN}',
    '{"type": "order", "drink": "\\ud83c alone"}',
)
HUGE = [
    '{"type": "order", "drink": "tea", "cups": 1e999}',
    '{"type": "order", "drink": "tea", "cups": 1' + "0" * 30 + "}",
    '{"type": "order", "drink": "tea", "cups": 1' + "0" * 9000 + "}",
]
# In a browser tab there is no RecursionError: the stack ends, and Python too.
DEEP = [
    '{"type": "cancel", "ref": ' + "[" * 100_000,
    '{"type": ' * 100_000,
]
if sys.platform == "emscripten":
    DEEP.clear()


async def expect_error(
    trial: Trial,
    ws: Client,
    sent: str,
    wanted: Mapping[str, object],
    likely: Likely,
) -> None:
    """Send something wrong: the answer is an error, and the client stays.

    Args:
        trial: The trial.
        ws: The client.
        sent: What to send.
        wanted: Fields that the error must have.
        likely: Mistakes of this exercise.
    """
    await ws.send(sent)
    came = await trial.next(ws)
    fields: Any = None
    if isinstance(came, str):
        try:
            fields = json.loads(came)
        except ValueError:
            fields = None
    if not isinstance(fields, dict):
        fields = {}
    full = {"type": "error", **wanted}
    has_words = isinstance(fields.get("message"), str)
    if not has_words or not full.items() <= fields.items():
        shown = sent if len(sent) < 80 else f"{sent[:80]}…"
        expected = f"an error with {json.dumps(wanted)} after {shown}"
        usual = {"close": CLOSED, r"""text '\{"type": ?"ack""": TAKEN}
        more = {k: v for k, v in usual.items() if k not in likely}
        trial.miss(expected, described(came), {**likely, **more})
    await ws.send_json({"type": "cancel", "ref": "still here"})
    ack = {"type": "ack", "ref": "still here"}
    await trial.expect_json(ws, ack, {"close": CLOSED})


async def acknowledges_by_ref(trial: Trial) -> None:
    """Acknowledges orders and cancellations that have a `ref`."""
    order = {"type": "order", "drink": "tea"}
    likely = {
        ".*unknown field `ref`": NO_REF,
        ".*field `cups`": CUPS_MISSING,
        ".*Invalid value": UNKNOWN,
        r"""text '\{"type": ?"ack", ?"ref": ?null""": UNASKED,
    }
    async with trial.connect("/order") as ws:
        for sent in (
            order | {"cups": 12, "ref": 1},
            order | {"cups": 1, "ref": "two"},
            {"ref": 0} | order,
            order,
            {"type": "cancel"},
            {"type": "cancel", "ref": 4},
        ):
            await ws.send_json(sent)
            if "ref" in sent:
                ack = {"type": "ack", "ref": sent["ref"]}
                await trial.expect_json(ws, ack, likely)


async def answers_wrong_messages(trial: Trial) -> None:
    """Answers JSON that is no such message with `invalid_message`."""
    async with trial.connect("/order") as ws:
        for sent, mistake in WRONG:
            # With a ref, so that it is answered also where it is taken.
            full = sent | {"ref": 5} if isinstance(sent, dict) else sent
            likely = {r"""text '\{"type": ?"ack""": mistake}
            wanted = {"code": "invalid_message"}
            await expect_error(trial, ws, json.dumps(full), wanted, likely)


async def answers_what_is_no_json(trial: Trial) -> None:
    """Answers what is no JSON with `invalid_json`."""
    async with trial.connect("/order") as ws:
        for sent in NO_JSON:
            likely = {".*invalid_message": NOT_SAID}
            wanted = {"code": "invalid_json"}
            await expect_error(trial, ws, sent, wanted, likely)


async def answers_huge_things(trial: Trial) -> None:
    """Answers huge numbers and deep nesting with an error, too."""
    async with trial.connect("/order") as ws:
        for sent in HUGE:
            await expect_error(trial, ws, sent, {}, {})
        for sent in DEEP:
            await expect_error(trial, ws, sent, {}, {"close": TOO_DEEP})


async def finds_the_ref(trial: Trial) -> None:
    """Puts the `ref` of a wrong message into its error."""
    async with trial.connect("/order") as ws:
        for ref in (7, "seven"):
            sent = {"type": "order", "drink": 7, "ref": ref}
            likely = {r"""text '\{"type": ?"error""": LOST_REF}
            await expect_error(
                trial, ws, json.dumps(sent), {"ref": ref}, likely
            )


order = Exercise(
    task="Write a handler at `/order` that takes two messages: "
    '`{"type": "order", "drink": "tea", "cups": 2}`, with 1 to 12 cups, one '
    'if it does not say, and `{"type": "cancel"}`. Both may have a `ref`, '
    'and then they are answered with `{"type": "ack", "ref": …}`. Everything '
    "else is answered with an `error` as above, and the connection goes on.",
    stub=order_stub,
    checks=[
        acknowledges_by_ref,
        answers_wrong_messages,
        answers_what_is_no_json,
        answers_huge_things,
        finds_the_ref,
    ],
    tip="Two types, and a union of them. A number has limits if its type is "
    "`Annotated` with `msgspec.Meta(ge=…, le=…)`. Who makes the answers?",
    right=[order_solution, order_by_hand],
    mutants=[
        Mutant(TOO_MANY, {"Annotated[int, Meta(ge=1, le=12)]": "int"}),
        Mutant(CUPS_MISSING, {"le=12)] = 1": "le=12)]"}),
        Mutant(
            LAX, {'tag="order",': 'tag="order", forbid_unknown_fields=False,'}
        ),
        Mutant(UNKNOWN, {', tag="cancel"': ""}),
        Mutant(
            NO_REF,
            {
                'Order(ClientMessage, tag="order"': (
                    "Order(msgspec.Struct, forbid_unknown_fields=True, "
                    'tag_field="type", tag="order"'
                )
            },
        ),
        Mutant(CLOSED, {_CONVERSE: _LOOP}),
        Mutant(UNASKED, {_CONVERSE: _UNASKED_LOOP}),
        Mutant(TOO_DEEP, {_CONVERSE: _CAUGHT}),
        Mutant(
            NOT_SAID,
            {
                "    class Order": (
                    "    from snippets.subprotocols import as_json\n\n"
                    "    class Order"
                ),
                'formats("cafe", Order | Cancel)': (
                    '[as_json("cafe.json", Order | Cancel)]'
                ),
            },
        ),
        Mutant(
            Mistake.WAITS,
            {_CONVERSE: "            await socket.receive_message()\n" * 99},
        ),
    ],
)


TOGETHER = "Two guests are on the same bill."
NOT_ANEW = "After paying, the bill has to begin with nothing again."
NO_PRICE = "There is no price for that, and the handler failed over it."
CHARGED = "Something that is not on the list was charged."
OTHER_CODE = "The error has another code than `forbidden`."
NO_PAY = "Paying is refused: which types does the contract have?"
WRONG_SUM = "This is not the sum of what was ordered."
NO_BILL = "Who pays wants to see a bill, and not only an `ack`."
Prices = Mapping[str, int]
PRICES = {"tea": 2, "coffee": 3}


def till_stub(prices: Prices) -> Litestar:
    class Order(ClientMessage, tag="order", frozen=True):
        drink: str

    class Guest:
        async def order(self, message: Order) -> None:
            """Your turn."""

    class TillSocket(MessageSocket[Order]):
        formats = formats("till", Order)

    @websocket("/till", websocket_class=TillSocket)
    async def till(socket: TillSocket) -> None:
        async with lifecycle(socket):
            await converse(socket, Guest().order)

    return Litestar([till])


def till_solution(prices: Prices) -> Litestar:
    class Order(ClientMessage, tag="order", frozen=True):
        drink: str

    class Pay(ClientMessage, tag="pay", frozen=True):
        pass

    class Bill(ServerMessage, tag="bill"):
        total: int

    class Guest:
        def __init__(self) -> None:
            self.total = 0

        async def order(self, message: Order) -> None:
            if message.drink not in prices:
                sorry = f"no {message.drink} today"
                raise MessageError(ErrorCode.FORBIDDEN, sorry)
            self.total += prices[message.drink]

        async def pay(self, _: Pay) -> Bill:
            bill = Bill(self.total)
            self.total = 0
            return bill

    class TillSocket(MessageSocket[Order | Pay]):
        formats = formats("till", Order | Pay)

    answer = dispatcher(Guest, Order | Pay)
    each = Provide(Guest, sync_to_thread=False)

    @websocket(
        "/till", websocket_class=TillSocket, dependencies={"guest": each}
    )
    async def till(socket: TillSocket, guest: NamedDependency[Guest]) -> None:
        async with lifecycle(socket):
            await converse(socket, partial(answer, guest))

    return Litestar([till])


class Drink(ClientMessage, tag="order", frozen=True):
    """What a guest wants."""

    drink: str


class Pay(ClientMessage, tag="pay", frozen=True):
    """The guest wants to go."""


class Bill(ServerMessage, tag="bill"):
    """What it comes to."""

    total: int


class TillSocket(MessageSocket[Drink | Pay]):
    """Hears orders, and of paying."""

    __slots__ = ()
    formats = formats("till", Drink | Pay)


def till_by_match(prices: Prices) -> Litestar:
    @websocket("/till", websocket_class=TillSocket)
    async def till(socket: TillSocket) -> None:
        drunk: list[str] = []

        async def answer(message: Drink | Pay) -> Bill | None:
            match message:
                case Drink(drink=drink) if drink in prices:
                    drunk.append(drink)
                    return None
                case Drink():
                    raise MessageError(ErrorCode.FORBIDDEN, "not here")
            total = sum(prices[drink] for drink in drunk)
            drunk.clear()
            return Bill(total)

        async with lifecycle(socket):
            await converse(socket, answer)

    return Litestar([till])


async def _order(trial: Trial, ws: Client, drink: str) -> None:
    await ws.send_json({"type": "order", "drink": drink, "ref": drink})
    await trial.expect_json(ws, {"type": "ack", "ref": drink})


async def _pay(trial: Trial, ws: Client, total: int, mistake: str) -> None:
    likely = {
        r"""text '\{"type": ?"bill""": mistake,
        r"""text '\{"type": ?"ack""": NO_BILL,
        ".*invalid_message": NO_PAY,
    }
    await ws.send_json({"type": "pay", "ref": "pay"})
    await trial.expect_json(ws, {"type": "bill", "total": total}, likely)


async def adds_up(trial: Trial) -> None:
    """Adds up what was ordered, and begins anew after paying."""
    trial.build(PRICES)
    async with trial.connect("/till") as ws:
        await _pay(trial, ws, 0, WRONG_SUM)
        await _order(trial, ws, "tea")
        await _order(trial, ws, "coffee")
        await _pay(trial, ws, 5, WRONG_SUM)
        await _order(trial, ws, "tea")
        await _pay(trial, ws, 2, NOT_ANEW)
        await _pay(trial, ws, 0, NOT_ANEW)


async def refuses_what_has_no_price(trial: Trial) -> None:
    """Answers an order of something else with `forbidden`."""
    trial.build(PRICES)
    likely = {
        r"""text '\{"type": ?"error", ?"code": ?"internal""": NO_PRICE,
        r"""text '\{"type": ?"ack""": CHARGED,
        r"""text '\{"type": ?"error""": OTHER_CODE,
    }
    async with trial.connect("/till") as ws:
        await _order(trial, ws, "tea")
        await ws.send_json({"type": "order", "drink": "beer", "ref": 7})
        came = await trial.next(ws)
        fields = json.loads(came) if isinstance(came, str) else {}
        wanted = {"type": "error", "code": "forbidden", "ref": 7}
        if not wanted.items() <= fields.items():
            trial.miss(f"{json.dumps(wanted)}", described(came), likely)
        await _pay(trial, ws, 2, CHARGED)


async def keeps_bills_apart(trial: Trial) -> None:
    """Keeps a bill for each connection."""
    trial.build(PRICES)
    async with trial.connect("/till") as ada, trial.connect("/till") as bob:
        await _order(trial, ada, "tea")
        await _order(trial, bob, "coffee")
        await _pay(trial, ada, 2, TOGETHER)
        await _pay(trial, bob, 3, TOGETHER)


till = Exercise(
    task="Write `create_app(prices)` with a handler at `/till`. "
    '`{"type": "order", "drink": "tea"}` puts the price of the drink on the '
    "guest's bill. If there is no such drink, the answer is an error with "
    'the code `forbidden`. `{"type": "pay"}` is answered with '
    '`{"type": "bill", "total": 5}`, and the bill begins anew. Each '
    "connection has a bill of its own.",
    stub=till_stub,
    checks=[adds_up, refuses_what_has_no_price, keeps_bills_apart],
    tip="What a method returns is sent, and what it raises, if it is a "
    "`MessageError`, is sent, too. How long does an object live that Litestar "
    "makes for a handler?",
    right=[till_solution, till_by_match],
    mutants=[
        Mutant(
            TOGETHER,
            {"Provide(Guest, sync": "Provide(Guest, use_cache=True, sync"},
        ),
        Mutant(
            NOT_ANEW,
            {
                "            self.total = 0\n            return": (
                    "            return"
                )
            },
        ),
        Mutant(NO_PRICE, {"if message.drink not in prices": "if False"}),
        Mutant(
            CHARGED,
            {
                "if message.drink not in prices": "if False",
                "prices[message.drink]": "prices.get(message.drink, 0)",
            },
        ),
        Mutant(OTHER_CODE, {"ErrorCode.FORBIDDEN": "ErrorCode.TIMEOUT"}),
        Mutant(WRONG_SUM, {"self.total += prices": "self.total = prices"}),
        Mutant(NO_PAY, {', tag="pay"': ', tag="Pay"', "def pay": "def Pay"}),
        Mutant(NO_BILL, {"            return bill\n": ""}),
    ],
)
