"""Exercises of the chapter on the life of a connection."""
# Answers are plain ASGI apps, as bare as those in the chapter.
# ruff: noqa: ANN001, ANN201

from contextlib import suppress

from exercises import Exercise, Mistake, Mutant, Trial
from snippets.testing.client import Client, Closed

OTHER_CODE = "It was closed, but with another code than 1000."
OTHER_REASON = "It was closed with 1000, and the reason is not `lift-off`."
GOES_ON = "All three numbers have been sent, and the close does not follow."


async def countdown_stub(scope, receive, send):
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    # Your turn.


async def countdown_solution(scope, receive, send):
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    for number in ("3", "2", "1"):
        await send({"type": "websocket.send", "text": number})
    await send({"type": "websocket.close", "reason": "lift-off"})


async def countdown_another(scope, receive, send):
    assert scope["type"] == "websocket"
    number = 3
    while (await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.accept"})
        while number:
            await send({"type": "websocket.send", "text": f"{number}"})
            number -= 1
        close = {"code": 1000, "reason": "lift-off"}
        await send({"type": "websocket.close", **close})


async def counts_down(trial: Trial) -> None:
    """Sends `3`, `2` and `1`."""
    async with trial.connect("/") as ws:
        for number in ("3", "2", "1"):
            await trial.expect(ws, number)


async def lifts_off(trial: Trial) -> None:
    """Closes with code 1000, and says `lift-off`."""
    async with trial.connect("/") as ws:
        for _ in range(3):
            await ws.receive()
        likely = {"text|waiting": GOES_ON, "close": OTHER_CODE}
        await trial.expect(ws, Closed(1000, "lift-off"), likely)
        assert ws.closed
        if ws.closed.reason != "lift-off":
            came = f"the reason {ws.closed.reason!r}"
            trial.miss("the reason 'lift-off'", came, {".": OTHER_REASON})


countdown = Exercise(
    task="Accept, send `3`, `2`, `1`, and close with code 1000 and the reason "
    "`lift-off`.",
    stub=countdown_stub,
    checks=[counts_down, lifts_off],
    tip="Each thing that an app says is one event, a `dict`. What did the "
    "events in this chapter have in them that sent a text, and that closed "
    "with a reason?",
    right=[countdown_solution, countdown_another],
    mutants=[
        Mutant(
            Mistake.RETURNED,
            {
                '    await send({"type": "websocket.close", '
                '"reason": "lift-off"})\n': ""
            },
        ),
        Mutant(OTHER_REASON, {'"lift-off"': '"lift off"'}),
        Mutant(OTHER_REASON, {', "reason": "lift-off"': ""}),
        Mutant(OTHER_CODE, {'"reason"': '"code": 4001, "reason"'}),
        Mutant(GOES_ON, {'"2", "1"': '"2", "1", "0"'}),
        Mutant(Mistake.BINARY, {'"text": number': '"bytes": number.encode()'}),
        Mutant(Mistake.NO_FRAME, {'("3", "2", "1")': "(3, 2, 1)"}),
        Mutant(Mistake.UNEXPECTED, {"websocket.send": "websocket.text"}),
        Mutant(
            Mistake.UNEXPECTED,
            {
                '    await send({"type": "websocket.accept"})\n': "",
                '"text": number})\n': '"text": number})\n'
                '    await send({"type": "websocket.accept"})\n',
            },
        ),
        Mutant(Mistake.WAITS, {"    for": "    await receive()\n    for"}),
    ],
)


NO_LOOP = "The first message came back, and after that nobody was there."
TEXT_ONLY = "This message is binary: its event has no text."
NO_BYTES = "The texts come back, and binary messages do not."
AS_TEXT = "The message came as bytes, and went back as text."
EMPTY = "A message with nothing in it is a message, too."
LEAVING = "The client's leaving is an event, too: it has no text and no bytes."


async def mirror_stub(scope, receive, send):
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    # Your turn.


async def mirror_solution(scope, receive, send):
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        if event.get("text") is not None:
            await send({"type": "websocket.send", "text": event["text"]})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})


async def mirror_another(scope, receive, send):
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


async def returns_when_the_client_has_gone(trial: Trial) -> None:
    """Sends back one text, and returns when the client has gone."""
    with suppress(KeyError, TypeError):
        async with trial.connect("/") as ws:
            await _comes_back(trial, ws, "tea", {})
    trial.expect_no_exception({"KeyError|TypeError": LEAVING})


async def sends_back_texts(trial: Trial) -> None:
    """Sends back each text."""
    async with trial.connect("/") as ws:
        await _comes_back(trial, ws, "tea", {})
        for text in ("milk", "sugar"):
            await _comes_back(trial, ws, text, {"no close": NO_LOOP})


async def sends_back_bytes(trial: Trial) -> None:
    """Sends back each binary message, as binary."""
    likely = {
        "no close.*(KeyError|TypeError)": TEXT_ONLY,
        "waiting": NO_BYTES,
        "text": AS_TEXT,
    }
    async with trial.connect("/") as ws:
        for data in (b"tea", b"\x00milk"):
            await _comes_back(trial, ws, data, likely)


async def sends_back_nothing(trial: Trial) -> None:
    """Sends back messages that have nothing in them."""
    likely = {"no close|waiting|binary|text": EMPTY}
    for message in ("", b""):
        async with trial.connect("/") as ws:
            await _comes_back(trial, ws, message, likely)


async def _comes_back(
    trial: Trial, ws: Client, message: str | bytes, likely: dict[str, str]
) -> None:
    with suppress(Closed):  # then it is what comes instead of the message
        await ws.send(message)
    await trial.expect(ws, message, likely)


mirror = Exercise(
    task="Send back each message as it came, text as text and bytes as bytes, "
    "for as long as the client stays. Return when it has gone.",
    stub=mirror_stub,
    checks=[
        returns_when_the_client_has_gone,
        sends_back_texts,
        sends_back_bytes,
        sends_back_nothing,
    ],
    tip="After the accept two kinds of events can come in, and one of them "
    "has its content in one of two places. What tells you which it is?",
    right=[mirror_solution, mirror_another],
    mutants=[
        Mutant(NO_LOOP, {"while True": "if scope"}),
        Mutant(TEXT_ONLY, {'event.get("text") is not None': "True"}),
        Mutant(NO_BYTES, {"        else:": '        elif "x" in event:'}),
        Mutant(
            AS_TEXT,
            {'"bytes": event["bytes"]': '"text": event["bytes"].decode()'},
        ),
        Mutant(EMPTY, {'event.get("text") is not None': 'event.get("text")'}),
        Mutant(
            LEAVING,
            {
                '        if event["type"] == "websocket.disconnect":\n'
                "            return\n": ""
            },
        ),
        Mutant(
            Mistake.LINGERS, {"            return": "            continue"}
        ),
        Mutant(
            Mistake.WAITS,
            {'    await send({"type": "websocket.accept"})\n': ""},
        ),
    ],
)
