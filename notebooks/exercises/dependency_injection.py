"""Exercises of the chapter on dependency injection."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from litestar import Litestar, WebSocket, websocket, websocket_listener
from litestar.di import NamedDependency, Provide
from litestar.handlers import WebsocketListener

from exercises import Exercise, Mutant, Trial
from exercises._report import described
from snippets.lifecycle import lifecycle
from snippets.testing.client import Closed

NOT_SHARED = "What others have spent is not in the sum of all."
SHARED = "What others have spent is on this guest's own bill."
FORGOTTEN = "The bill is begun anew with each message."
TWO_APPS = (
    "A second app, with other guests, goes on with the sum of the first."
)
SWAPPED = "The two sums have each other's name."
BEFORE = "The answer tells the sum as it was before this price was added."


class Bill:
    """What was spent.

    Attributes:
        cents: How much, in cents.
    """

    def __init__(self) -> None:
        self.cents = 0


def bill_stub() -> Litestar:
    @websocket_listener("/bill")
    async def pay(
        data: int, mine: NamedDependency[Bill], house: NamedDependency[Bill]
    ) -> dict[str, int]:
        for bill in (mine, house):
            bill.cents += data
        return {"mine": mine.cents, "all": house.cents}

    async def for_one() -> Bill:
        return Bill()

    async def for_all() -> Bill:
        return Bill()  # Your turn.

    bills = {"mine": Provide(for_one), "house": Provide(for_all)}
    return Litestar([pay], dependencies=bills)


def bill_solution() -> Litestar:
    @websocket_listener("/bill")
    async def pay(
        data: int, mine: NamedDependency[Bill], house: NamedDependency[Bill]
    ) -> dict[str, int]:
        for bill in (mine, house):
            bill.cents += data
        return {"mine": mine.cents, "all": house.cents}

    async def for_one() -> Bill:
        return Bill()

    house = Bill()

    async def for_all() -> Bill:
        return house

    bills = {"mine": Provide(for_one), "house": Provide(for_all)}
    return Litestar([pay], dependencies=bills)


def bill_another() -> Litestar:
    class Pay(WebsocketListener):
        path = "/bill"

        async def on_receive(
            self,
            data: int,
            mine: NamedDependency[Bill],
            house: NamedDependency[Bill],
        ) -> dict[str, int]:
            mine.cents += data
            house.cents += data
            return {"all": house.cents, "mine": mine.cents}

    mine = Provide(Bill, sync_to_thread=False)
    house = Provide(Bill, sync_to_thread=False, use_cache=True)
    return Litestar([Pay], dependencies={"mine": mine, "house": house})


def bill_by_hand() -> Litestar:
    house = Bill()

    @websocket("/bill")
    async def pay(socket: WebSocket) -> None:
        mine = Bill()
        async with lifecycle(socket):
            async for cents in socket.iter_json():
                mine.cents += cents
                house.cents += cents
                both = {"mine": mine.cents, "all": house.cents}
                await socket.send_json(both)

    return Litestar([pay])


async def adds_up_for_one(trial: Trial) -> None:
    """Adds up what a single guest spends."""
    likely = {
        'text \'{"mine": ?0': BEFORE,
        'text \'{"mine": ?400': FORGOTTEN,
        'text \'{"mine": ?500': SHARED,
    }
    async with trial.connect("/bill") as ws:
        for cents, total in ((250, 250), (400, 650)):
            await ws.send_json(cents)
            wanted = {"mine": total, "all": total}
            await trial.expect_json(ws, wanted, likely)


async def keeps_guests_apart(trial: Trial) -> None:
    """Keeps a bill for each guest, and one for all of them."""
    likely = {
        'text \'{"mine": ?100, ?"all": ?100}': NOT_SHARED,
        'text \'{"mine": ?100, ?"all"': TWO_APPS,
        'text \'{"mine": ?(350|450), ?"all": ?100': SWAPPED,
        'text \'{"mine": ?(350|600|700|450)': SHARED,
    }
    async with trial.connect("/bill") as ada, trial.connect("/bill") as bob:
        await ada.send_json(250)
        await ada.receive()
        await bob.send_json(100)
        await trial.expect_json(bob, {"mine": 100, "all": 350}, likely)
        await ada.send_json(50)
        await trial.expect_json(ada, {"mine": 300, "all": 400}, likely)
    async with trial.connect("/bill") as carol:
        await carol.send_json(100)
        await trial.expect_json(carol, {"mine": 100, "all": 500}, likely)


async def begins_anew_with_each_app(trial: Trial) -> None:
    """Begins with nothing in each new app."""
    for _ in range(2):
        trial.build()
        async with trial.connect("/bill") as ws:
            await ws.send_json(30)
            likely = {'text \'{"mine": ?30, ?"all": ?[1-9]': TWO_APPS}
            await trial.expect_json(ws, {"mine": 30, "all": 30}, likely)


bill = Exercise(
    task="Each message to `/bill` is a price in cents. Answer it with what "
    "this guest has spent so far, and what all guests of this app have spent: "
    '`{"mine": 250, "all": 400}`. Each new app begins at 0.',
    stub=bill_stub,
    checks=[
        adds_up_for_one,
        keeps_guests_apart,
        begins_anew_with_each_app,
    ],
    tip="Two things are needed here, and they do not live equally long. Which "
    "of them is the same object for every guest?",
    right=[bill_solution, bill_another, bill_by_hand],
    mutants=[
        Mutant(NOT_SHARED, {"return house": "return Bill()"}),
        Mutant(SHARED, {"        return Bill()": "        return house"}),
        Mutant(SHARED, {"Provide(for_one)": "Provide(for_one, True)"}),
        Mutant(
            FORGOTTEN, {"for bill in": "mine = Bill()\n        for bill in"}
        ),
        Mutant(
            TWO_APPS,
            {
                "def bill_sol": "house = Bill()\n\n\ndef bill_sol",
                "    house = Bill()\n\n": "",
            },
        ),
        Mutant(
            SWAPPED,
            {
                '"mine": mine.cents, "all": house.cents': (
                    '"mine": house.cents, "all": mine.cents'
                )
            },
        ),
        Mutant(
            BEFORE,
            {
                "        for bill in (mine, house):\n"
                "            bill.cents += data\n"
                '        return {"mine": mine.cents, "all": house.cents}\n': (
                    '        told = {"mine": mine.cents, "all": house.cents}\n'
                    "        for bill in (mine, house):\n"
                    "            bill.cents += data\n"
                    "        return told\n"
                )
            },
        ),
    ],
)


HOG = "Somebody who says nothing holds what the next one waits for."
KEPT = "What was borrowed did not come back."
NOT_BORROWED = "The price was looked up in a card that was not borrowed."
GUESSED = "This is not the price on the card."
PriceOf = Callable[[str], Awaitable[int]]
DRINKS = {"tea": 250, "coffee": 300}


class Card:
    """A card with drinks and their prices, in cents."""

    def __init__(self) -> None:
        self.prices = dict(DRINKS)

    def price_of(self, drink: str) -> int:
        """Look a drink up; KeyError if it is not on the card."""
        return self.prices[drink]


class Cards:
    """The cards of a café. There is one: who comes second waits for it."""

    def __init__(self) -> None:
        self.card = Card()
        self._lock = asyncio.Lock()

    @property
    def free(self) -> bool:
        """Whether nobody has it."""
        return not self._lock.locked()

    @asynccontextmanager
    async def borrow(self) -> AsyncGenerator[Card]:
        """Lend the card."""
        async with self._lock:
            yield self.card


def card_stub(cards: Cards) -> Litestar:
    async def card() -> AsyncGenerator[Card, None]:
        async with cards.borrow() as card:
            yield card  # Your turn.

    @websocket_listener("/price")
    async def price(data: str, card: NamedDependency[Card]) -> int:
        return card.price_of(data)

    return Litestar([price], dependencies={"card": Provide(card)})


def card_solution(cards: Cards) -> Litestar:
    @websocket_listener("/price")
    async def price(data: str, cards: NamedDependency[Cards]) -> int:
        async with cards.borrow() as card:
            return card.price_of(data)

    the_cards = Provide(lambda: cards, sync_to_thread=False)
    return Litestar([price], dependencies={"cards": the_cards})


def card_another(cards: Cards) -> Litestar:
    @websocket("/price")
    async def price(socket: WebSocket) -> None:
        async with lifecycle(socket):
            async for drink in socket.iter_data("text"):
                async with cards.borrow() as card:
                    cents = card.price_of(drink)
                await socket.send_json(cents)

    return Litestar([price])


def card_price_by_price(cards: Cards) -> Litestar:
    async def price_of(drink: str) -> int:
        async with cards.borrow() as card:
            return card.price_of(drink)

    class Prices(WebsocketListener):
        path = "/price"

        async def on_receive(
            self, data: str, price_of: NamedDependency[PriceOf]
        ) -> int:
            return await price_of(data)

    ask = Provide(lambda: price_of, sync_to_thread=False)
    return Litestar([Prices], dependencies={"price_of": ask})


async def tells_prices(trial: Trial) -> None:
    """Tells the price of each drink, from the card."""
    cards = Cards()
    trial.build(cards)
    async with trial.connect("/price") as ws:
        for drink, cents in DRINKS.items():
            await ws.send(drink)
            await trial.expect_json(ws, cents, {"waiting": KEPT})
        cards.card.prices["tea"] = 260
        await ws.send("tea")
        await trial.expect_json(ws, 260, {"text": GUESSED})


async def does_not_keep_the_card(trial: Trial) -> None:
    """Lets a second guest ask while a first one only sits there."""
    likely = {"waiting|connecting": HOG}
    trial.build(Cards())
    async with trial.connect("/price") as first:
        try:
            async with trial.connect("/price") as second:
                await second.send("tea")
                await trial.expect_json(second, 250, likely)
        except TimeoutError as error:
            trial.miss("the second guest served", described(error), likely)
        await first.send("tea")
        await trial.expect_json(first, 250, likely)


async def gives_it_back_after_an_error(trial: Trial) -> None:
    """Gives the card back, also when a drink is not on it."""
    cards = Cards()
    trial.build(cards)
    async with trial.connect("/price") as ws:
        await ws.send("soup")
        came = await trial.next(ws)
        if not isinstance(came, Closed) or came.code == 1006:
            likely = {"text": GUESSED, "waiting": KEPT}
            trial.miss("a close frame", described(came), likely)
    if not cards.free:
        trial.miss("the card on the counter", "it is lent", {".": KEPT})


async def waits_for_the_card(trial: Trial) -> None:
    """Waits as long as somebody else has the card."""
    cards = Cards()
    trial.build(cards)
    async with trial.connect("/price") as ws:
        if not cards.free:
            trial.miss("a card that nobody has", "it is lent", {".": HOG})
        async with cards.borrow() as card:
            await ws.send("tea")
            for _ in range(20):
                await asyncio.sleep(0)
            card.prices["tea"] = 270
        await trial.expect_json(ws, 270, {"text": NOT_BORROWED})


_BORROWING = """        async with cards.borrow() as card:
            return card.price_of(data)
"""
_WITHOUT_RETURNING = """        lent = cards.borrow()
        card = await lent.__aenter__()
        cents = card.price_of(data)
        await lent.__aexit__(None, None, None)
        return cents
"""
_LENT = """    async def lent() -> AsyncGenerator[Card, None]:
        async with cards.borrow() as card:
            yield card

    @websocket_listener("/price", dependencies={"card": lent})
"""


card = Exercise(
    task="There is one price card, and many guests. `cards.borrow()` lends "
    'it, like the pool above, and `card.price_of("tea")` looks a drink up. '
    "`/price` answers the name of a drink with its price. Mend it: a guest "
    "who only sits there must not keep the card from the others. A drink that "
    "is not on the card is an error, after which the card is free again.",
    stub=card_stub,
    checks=[
        tells_prices,
        does_not_keep_the_card,
        gives_it_back_after_an_error,
        waits_for_the_card,
    ],
    tip="How long does a handler have what Litestar hands to it? What could "
    "you be handed instead, that nobody else is waiting for?",
    right=[card_solution, card_another, card_price_by_price],
    mutants=[
        Mutant(
            HOG,
            {
                '    @websocket_listener("/price")\n': _LENT,
                "cards: NamedDependency[Cards]": "card: NamedDependency[Card]",
                _BORROWING: "        return card.price_of(data)\n",
            },
        ),
        Mutant(KEPT, {_BORROWING: _WITHOUT_RETURNING}),
        Mutant(
            NOT_BORROWED,
            {_BORROWING: "        return cards.card.price_of(data)\n"},
        ),
        Mutant(GUESSED, {"card.price_of(data)": "DRINKS[data]"}),
        Mutant(GUESSED, {"card.price_of(data)": "card.prices.get(data, 0)"}),
    ],
)
