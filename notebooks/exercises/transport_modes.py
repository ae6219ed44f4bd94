"""Exercises of the chapter on transport modes."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Litestar, WebSocket, websocket, websocket_listener
from litestar.exceptions import WebSocketException

from exercises import Exercise, Mistake, Mutant, Trial
from exercises._report import described
from snippets.lifecycle import lifecycle
from snippets.subprotocols import Format, as_json, as_msgpack, negotiate
from snippets.testing.client import Closed, Refused

NOT_TURNED = "The bytes came back in the order in which they went."
AS_TEXT = "The answer is a text frame: not all bytes can travel in one."
TAKEN_FOR_EMPTY = "A text frame was taken for a message of no bytes."
TAKEN_FOR_TEXT = "A message of no bytes was taken for a text frame."
NO_KEY = "The event of a text frame has no bytes, not even none."
LEAVING = "The client's leaving is an event, too, and was taken for a frame."
ONLY_FIRST = "After a first binary frame, text is taken for bytes."
OTHER_CODE = "It was closed, but with another code than 1003."


@websocket("/reverse")
async def reverse_stub(socket: WebSocket) -> None:
    async with lifecycle(socket):
        async for data in socket.iter_data("binary"):
            await socket.send_bytes(data)  # Your turn.


@websocket("/reverse")
async def reverse_solution(socket: WebSocket) -> None:
    await socket.accept()
    while (event := await socket.receive())["type"] == "websocket.receive":
        data = event.get("bytes")
        if data is None:
            await socket.close(1003)
            return
        await socket.send_bytes(data[::-1])


@websocket("/reverse")
async def reverse_another(socket: WebSocket) -> None:
    kept = Format("reverse", "binary", encode=bytes, decode=bytes)
    messages = await negotiate(socket, [kept])
    async with lifecycle(socket):
        async for data in messages:
            await messages.send(data[::-1])


def reverse_by_listener() -> Litestar:
    @asynccontextmanager
    async def binary_only(socket: WebSocket) -> AsyncGenerator[None]:
        receive = socket.receive

        async def checked() -> Any:
            event: Any = await receive()
            if event.get("text") is not None:
                raise WebSocketException(detail="binary only", code=1003)
            return event

        async with lifecycle(socket):
            socket.receive = checked
            yield

    @websocket_listener(
        "/reverse",
        connection_lifespan=binary_only,
        receive_mode="binary",
        send_mode="binary",
    )
    async def reverse(data: bytes) -> bytes:
        return data[::-1]

    return Litestar([reverse])


async def turns_bytes_round(trial: Trial) -> None:
    """Answers bytes with the same bytes, the last one first."""
    likely = {"text": AS_TEXT, "binary b'tea'": NOT_TURNED}
    async with trial.connect("/reverse") as ws:
        for data in (b"tea", b"\xff\xfe\x00"):
            await ws.send(data)
            await trial.expect(ws, data[::-1], likely)


async def answers_no_bytes(trial: Trial) -> None:
    """Answers a binary frame with nothing in it by another one."""
    async with trial.connect("/reverse") as ws:
        for _ in range(2):
            await ws.send(b"")
            await trial.expect(ws, b"", {"close 1003": TAKEN_FOR_TEXT})


async def refuses_text(trial: Trial) -> None:
    """Closes with 1003 when a text frame comes, also an empty one."""
    likely = {
        "binary b''": TAKEN_FOR_EMPTY,
        "close 4500.*KeyError": NO_KEY,
        "close (?!4500)": OTHER_CODE,
    }
    for text in ("tea", ""):
        async with trial.connect("/reverse") as ws:
            await ws.send(text)
            await trial.expect(ws, Closed(1003), likely)
        async with trial.connect("/reverse") as ws:
            await ws.send(b"tea")
            await trial.expect(ws, b"aet")
            await ws.send(text)
            await trial.expect(ws, Closed(1003), {"binary": ONLY_FIRST})


async def takes_leaving_for_normal(trial: Trial) -> None:
    """Ends without an exception when the client leaves."""
    async with trial.connect("/reverse") as ws:
        await ws.send(b"tea")
        await ws.receive()
    trial.expect_no_exception({".": LEAVING})


reverse = Exercise(
    task="Write a handler at `/reverse` that answers each binary frame with "
    "its bytes in reverse order, as a binary frame. It takes no text: a text "
    "frame is answered by closing with 1003. An empty binary frame is fine.",
    stub=reverse_stub,
    checks=[
        turns_bytes_round,
        answers_no_bytes,
        refuses_text,
        takes_leaving_for_normal,
    ],
    tip="A text frame and an empty binary frame look alike to almost "
    "everything that receives. Who has not thrown the difference away yet?",
    right=[reverse_solution, reverse_another, reverse_by_listener],
    mutants=[
        Mutant(NOT_TURNED, {"[::-1]": ""}),
        Mutant(AS_TEXT, {"send_bytes(data[::-1])": "send_data(data[::-1])"}),
        Mutant(TAKEN_FOR_TEXT, {"if data is None": "if not data"}),
        Mutant(
            TAKEN_FOR_EMPTY, {'event.get("bytes")': 'event.get("bytes", b"")'}
        ),
        Mutant(
            ONLY_FIRST,
            {
                "    await socket.send_bytes(data[::-1])\n": (
                    "    await socket.send_bytes(data[::-1])\n"
                    '        async for data in socket.iter_data("binary"):\n'
                    "            await socket.send_bytes(data[::-1])\n"
                    "        return\n"
                )
            },
        ),
        Mutant(OTHER_CODE, {"close(1003)": "close()"}),
        Mutant(
            Mistake.RETURNED, {"            await socket.close(1003)\n": ""}
        ),
        Mutant(NO_KEY, {'event.get("bytes")': 'event["bytes"]'}),
        Mutant(LEAVING, {'["type"] == "websocket.receive"': ""}),
    ],
)


NO_CHOICE = "The connection was accepted, but no subprotocol was chosen."
OWN_ORDER = "Both are spoken here, and the client named the other one first."
UNKNOWN = "What was chosen is offered, but it is not spoken here."
NOT_FOUND = "One that is spoken here was offered, and it was not found."
BY_FRAME = "The kind of the frame decided, and not what was agreed on."
ACCEPTED = "Somebody was let in with whom no format is agreed on."
JSON_IN_TEXT = "MessagePack was agreed on, and this is JSON in a text frame."
READ_AS_TEXT = "A binary frame was read as text, and so it arrived empty."
JSON_IN_BINARY = "The frame is binary, as agreed, and what is in it is JSON."


@websocket("/menu")
async def menu_stub(socket: WebSocket) -> None:
    await socket.accept(subprotocols="menu.json")
    async for order in socket.iter_json():
        await socket.send_json({"bringing": order["drink"]})  # Your turn.


@websocket("/menu")
async def menu_solution(socket: WebSocket) -> None:
    known = ("menu.json", "menu.msgpack")
    offered = socket.scope["subprotocols"]
    chosen = next((name for name in offered if name in known), None)
    if chosen is None:
        await socket.close()
        return
    await socket.accept(subprotocols=chosen)
    if chosen == "menu.json":
        async for order in socket.iter_json():
            await socket.send_json({"bringing": order["drink"]})
    else:
        async for order in socket.iter_msgpack():
            await socket.send_msgpack({"bringing": order["drink"]})


@dataclass
class Order:
    """What a guest of the café sends."""

    drink: str


FORMATS = [as_json("menu.json", Order), as_msgpack("menu.msgpack", Order)]


@websocket("/menu")
async def menu_another(socket: WebSocket) -> None:
    orders = await negotiate(socket, FORMATS)
    async with lifecycle(socket):
        async for order in orders:
            await orders.send({"bringing": order.drink})


@websocket("/menu")
async def menu_with_status(socket: WebSocket) -> None:
    spoken = {known.name for known in FORMATS}
    if spoken.isdisjoint(socket.scope["subprotocols"]):
        kind = "websocket.http.response"
        answer: list[Any] = [
            {"type": f"{kind}.start", "status": 400, "headers": []},
            {"type": f"{kind}.body", "body": b""},
        ]
        for event in answer:
            await socket.send(event)
    else:
        await menu_another.fn(socket)


_BY_AGREEMENT = """    if chosen == "menu.json":
        async for order in socket.iter_json():
            await socket.send_json({"bringing": order["drink"]})
    else:
        async for order in socket.iter_msgpack():
            await socket.send_msgpack({"bringing": order["drink"]})
"""
_BY_FRAME = """    while event := await socket.receive():
        if event["type"] == "websocket.disconnect":
            return
        if event.get("text"):
            order = msgspec.json.decode(event["text"])
            await socket.send_json({"bringing": order["drink"]})
        else:
            order = msgspec.msgpack.decode(event["bytes"])
            await socket.send_msgpack({"bringing": order["drink"]})
"""


async def lets_the_client_choose(trial: Trial) -> None:
    """Chooses what the client prefers among what is spoken here."""
    json, msgpack = "menu.json", "menu.msgpack"
    likely = {
        "subprotocol None": NO_CHOICE,
        "subprotocol menu.(xml|yaml)": UNKNOWN,
        "subprotocol": OWN_ORDER,
        r"refused \(HTTP 4..\)$": NOT_FOUND,
    }
    for offered, wanted in (
        ([json], json),
        ([msgpack], msgpack),
        ([msgpack, json], msgpack),
        ([json, msgpack], json),
        (["menu.xml", "menu.yaml", msgpack], msgpack),
    ):
        trial.build()
        try:
            async with trial.connect("/menu", subprotocols=offered) as ws:
                chosen = f"subprotocol {ws.subprotocol}"
        except Refused as refused:
            chosen = described(refused)
        if chosen != f"subprotocol {wanted}":
            first = f"subprotocol {wanted}, the first known of {offered}"
            trial.miss(first, chosen, likely)


async def speaks_json(trial: Trial) -> None:
    """Speaks JSON in text frames under the name `menu.json`."""
    async with trial.connect("/menu", subprotocols=["menu.json"]) as ws:
        for drink in ("tea", "coffee"):
            await ws.send_json({"drink": drink})
            await trial.expect_json(ws, {"bringing": drink})


async def speaks_msgpack(trial: Trial) -> None:
    """Speaks MessagePack in binary frames under the name `menu.msgpack`."""
    likely = {
        "text '{": JSON_IN_TEXT,
        "binary b'{": JSON_IN_BINARY,
        "close 4500 .*truncated": READ_AS_TEXT,
    }
    async with trial.connect("/menu", subprotocols=["menu.msgpack"]) as ws:
        for drink in ("tea", "coffee"):
            await ws.send(msgspec.msgpack.encode({"drink": drink}))
            answer = msgspec.msgpack.encode({"bringing": drink})
            await trial.expect(ws, answer, likely)


async def holds_the_client_to_it(trial: Trial) -> None:
    """Closes when a frame comes in the format that is not agreed on."""
    order = {"drink": "tea"}
    for agreed, message in (
        ("menu.json", msgspec.msgpack.encode(order)),
        ("menu.msgpack", msgspec.json.encode(order).decode()),
    ):
        async with trial.connect("/menu", subprotocols=[agreed]) as ws:
            await ws.send(message)
            came = await trial.next(ws)
            if not isinstance(came, Closed) or came.code == 1006:
                likely = {"text|binary": BY_FRAME}
                trial.miss("a close frame", described(came), likely)


async def refuses_what_it_does_not_speak(trial: Trial) -> None:
    """Refuses, before it accepts, who offers neither of the two."""
    for other in ("menu.xml", "lunch.json"):
        await trial.expect_refusal(
            "/menu", {"accepted": ACCEPTED}, subprotocols=[other]
        )


menu = Exercise(
    task='Write a handler at `/menu` that answers `{"drink": "tea"}` with '
    '`{"bringing": "tea"}`, in JSON in text frames as `menu.json`, and in '
    "MessagePack in binary frames as `menu.msgpack`. Of the two it chooses "
    "the one that the client names first, and who offers other subprotocols "
    "only is refused before the accept. A frame in the format that was not "
    "chosen ends the connection, with whatever code.",
    stub=menu_stub,
    checks=[
        lets_the_client_choose,
        speaks_json,
        speaks_msgpack,
        holds_the_client_to_it,
        refuses_what_it_does_not_speak,
    ],
    tip="There are two lists, what the client offers and what you speak. Over "
    "which of them do you go, and in which do you look things up? After that "
    "the format is settled, for both directions.",
    right=[menu_solution, menu_another, menu_with_status],
    mutants=[
        Mutant(
            OWN_ORDER,
            {
                "for name in offered if name in known": (
                    "for name in known if name in offered"
                )
            },
        ),
        Mutant(NO_CHOICE, {"accept(subprotocols=chosen)": "accept()"}),
        Mutant(UNKNOWN, {" if name in known": ""}),
        Mutant(UNKNOWN, {"name in known": 'name != "menu.xml"'}),
        Mutant(NOT_FOUND, {"in offered": "in offered[:2]"}),
        Mutant(BY_FRAME, {_BY_AGREEMENT: _BY_FRAME}),
        Mutant(
            ACCEPTED, {"name in known": 'name in known or "lunch" in name'}
        ),
        Mutant(
            Mistake.NOT_OFFERED,
            {"(subprotocols=chosen)": '(subprotocols="menu.json")'},
        ),
        Mutant(JSON_IN_TEXT, {"send_msgpack(": "send_json("}),
        Mutant(
            JSON_IN_BINARY,
            {"socket.send_msgpack(": 'socket.send_json(mode="binary", data='},
        ),
        Mutant(READ_AS_TEXT, {"iter_msgpack()": "iter_json()"}),
        Mutant(
            ACCEPTED,
            {"        await socket.close()\n        return": "        pass"},
        ),
        Mutant(Mistake.UNDECIDED, {"        await socket.close()\n": ""}),
    ],
)
