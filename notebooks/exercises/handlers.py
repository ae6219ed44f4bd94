"""Exercises of the chapter on handlers."""

from collections.abc import Generator
from contextlib import contextmanager, suppress

from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import PermissionDeniedException, WebSocketDisconnect
from litestar.params import FromPath, FromQuery

from exercises import Exercise, Mistake, Mutant, Trial
from snippets.testing.client import Closed

FROM_ZERO = "The count starts at 0: when is it raised, and when is it shown?"
SHARED = "The count goes on from the connection before: where is it kept?"
OTHER_CODE = "The connection was closed, but with another code than 1000."


@websocket("/greet/{name:str}")
async def greet_stub(socket: WebSocket, name: FromPath[str]) -> None:
    await socket.accept()
    # Your turn.


@websocket("/greet/{name:str}")
async def greet_solution(socket: WebSocket, name: FromPath[str]) -> None:
    await socket.accept()
    await socket.send_text(f"Hello {name}")
    count = 0
    async for message in socket.iter_data("text"):
        if message == "bye":
            await socket.send_text(f"Goodbye {name}")
            await socket.close()
            return
        count += 1
        await socket.send_text(f"{count}: {message}")


@websocket("/greet/{name:str}")
async def greet_another(socket: WebSocket, name: FromPath[str]) -> None:
    await socket.send_text(f"Hello {name}")  # accepts, too
    count = 1
    while (message := await socket.receive_text()) != "bye":
        await socket.send_text(f"{count}: {message}")
        count += 1
    await socket.send_text(f"Goodbye {name}")
    await socket.close(1000, "bye")


async def greets_by_name(trial: Trial) -> None:
    """Greets by the name in the path."""
    for name in ("Ada", "Grace"):
        async with trial.connect(f"/greet/{name}") as ws:
            await trial.expect(ws, f"Hello {name}")


async def counts_messages(trial: Trial) -> None:
    """Answers each message with its number, from 1 on every connection."""
    likely = {"text '0: ": FROM_ZERO, "text '3: ": SHARED}
    for _ in range(2):
        async with trial.connect("/greet/Ada") as ws:
            await ws.receive()
            for number, message in enumerate(["tea", "milk"], start=1):
                await ws.send(message)
                await trial.expect(ws, f"{number}: {message}", likely)


async def says_goodbye(trial: Trial) -> None:
    """Answers `bye` with a goodbye, then closes with code 1000."""
    async with trial.connect("/greet/Ada") as ws:
        await ws.receive()
        await ws.send("bye")
        await trial.expect(ws, "Goodbye Ada")
        await trial.expect(ws, Closed(1000), {r"close [^4]": OTHER_CODE})


greet = Exercise(
    task="Write a handler at `/greet/{name:str}`. It sends `Hello Ada` to "
    "Ada, answers each message with its number, as in `1: tea`, and answers "
    "`bye` with `Goodbye Ada` and closes with code 1000.",
    stub=greet_stub,
    checks=[greets_by_name, counts_messages, says_goodbye],
    tip="A parameter in the path arrives as an argument of the same name. "
    "`iter_data()` yields one message after another; what must happen once, "
    "at the end, and what for each of them?",
    right=[greet_solution, greet_another],
    mutants=[
        Mutant(Mistake.RETURNED, {"            await socket.close()\n": ""}),
        Mutant(OTHER_CODE, {"socket.close()": "socket.close(1001)"}),
        Mutant(
            Mistake.WAITS,
            {"await socket.close()\n            return": "continue"},
        ),
        Mutant(Mistake.QUOTED, {'send_text(f"Hello': 'send_json(f"Hello'}),
        Mutant(
            Mistake.BINARY,
            {'text(f"Hello {name}")': 'bytes(f"Hello {name}".encode())'},
        ),
        Mutant(Mistake.RAISED, {'iter_data("text")': "iter_json()"}),
        Mutant(FROM_ZERO, {"count = 0": "count = -1"}),
        Mutant(
            SHARED,
            {"@websocket": "count = 0\n\n\n@websocket"}
            | {"    count = 0\n": "    global count\n"},
        ),
    ],
)


ACCEPTED = "The connection was accepted before anything was decided."
NO_CHOICE = "The connection was accepted, but no subprotocol was chosen."
OLDER = "The older version was chosen, though the newer one was offered, too."


@websocket("/feed")
async def feed_stub(socket: WebSocket) -> None:
    await socket.accept()
    # Your turn.


@websocket("/feed")
async def feed_solution(socket: WebSocket, token: FromQuery[str] = "") -> None:
    offered = socket.scope["subprotocols"]
    known = [name for name in ("feed.v2", "feed.v1") if name in offered]
    if token != "sesame" or not known:
        await socket.close()
        return
    await socket.accept(subprotocols=known[0])
    await socket.send_text(f"This is {known[0]}")
    await socket.close()


@websocket("/feed")
async def feed_another(socket: WebSocket, token: FromQuery[str]) -> None:
    known = {"feed.v1", "feed.v2"}.intersection(socket.scope["subprotocols"])
    if token != "sesame" or not known:
        raise PermissionDeniedException
    await socket.accept(subprotocols=max(known))
    await socket.send_text(f"This is {max(known)}")
    await socket.close()


async def refuses_strangers(trial: Trial) -> None:
    """Refuses a wrong token, no token, and versions that it does not know."""
    for token, version in [("guess", 2), ("", 2), ("sesame", 9)]:
        await trial.expect_refusal(
            "/feed",
            {"accepted": ACCEPTED},
            params={"token": token} if token else None,
            subprotocols=[f"feed.v{version}"],
        )


async def chooses_newest(trial: Trial) -> None:
    """Chooses the newest version that is offered, and says so."""
    likely = {"subprotocol None": NO_CHOICE, "subprotocol feed.v1": OLDER}
    for offered in (["feed.v1", "feed.v2"], ["feed.v9", "feed.v1"]):
        newest = max({"feed.v1", "feed.v2"}.intersection(offered))
        async with trial.connect(
            "/feed", params={"token": "sesame"}, subprotocols=offered
        ) as ws:
            chosen = f"subprotocol {ws.subprotocol}"
            if ws.subprotocol != newest:
                trial.miss(f"subprotocol {newest}", chosen, likely)
            await trial.expect(ws, f"This is {newest}")
            await trial.expect(ws, Closed(1000))


feed = Exercise(
    task="Write a handler at `/feed` that refuses, before it accepts, "
    "whoever does not bring `token=sesame` in the query or offers neither "
    "`feed.v2` nor `feed.v1`. For all others it chooses the newest version "
    "offered, sends `This is feed.v2`, and closes.",
    stub=feed_stub,
    checks=[refuses_strangers, chooses_newest],
    tip="What the client offers is in the scope of the connection. Until the "
    "handler has accepted, the client waits for its answer: which calls are a "
    "no, and does a `return` alone say anything?",
    right=[feed_solution, feed_another],
    mutants=[
        Mutant(
            ACCEPTED,
            {"    offered": "    await socket.accept()\n    offered"},
        ),
        Mutant(
            Mistake.UNDECIDED,
            {"        await socket.close()\n        return": "        return"},
        ),
        Mutant(NO_CHOICE, {"accept(subprotocols=known[0])": "accept()"}),
        Mutant(
            Mistake.NOT_OFFERED,
            {"subprotocols=known[0]": 'subprotocols="feed.v2"'},
        ),
        Mutant(
            Mistake.NOT_OFFERED,
            {"subprotocols=known[0]": "subprotocols=offered"},
        ),
        Mutant(OLDER, {"known[0])": "known[-1])"}),
    ],
)

NOT_ADDED = "The connection is open, and its socket is not in the set."
LEFT_BEHIND = "The client has left, and its socket is still in the set."
ONLY_DISCONNECT = "The socket stays when the handler ends by an exception."
EVERYBODY = "One client left, and the sockets of others are gone, too."


def room_stub(online: set[WebSocket]) -> Litestar:
    @websocket("/room")
    async def room(socket: WebSocket) -> None:
        await socket.accept()
        # Your turn.

    return Litestar([room])


def room_solution(online: set[WebSocket]) -> Litestar:
    @websocket("/room")
    async def room(socket: WebSocket) -> None:
        await socket.accept()
        online.add(socket)
        try:
            async for number in socket.iter_json():
                await socket.send_json(number * 2)
        finally:
            online.discard(socket)

    return Litestar([room])


def room_another(online: set[WebSocket]) -> Litestar:
    @contextmanager
    def present(socket: WebSocket) -> Generator[None]:
        online.add(socket)
        try:
            yield
        finally:
            online.remove(socket)

    @websocket("/room")
    async def room(socket: WebSocket) -> None:
        await socket.accept()
        with present(socket), suppress(WebSocketDisconnect):
            while True:
                await socket.send_json(2 * await socket.receive_json())

    return Litestar([room])


def _holds(
    trial: Trial, online: set[WebSocket], count: int, likely: str
) -> None:
    if len(online) != count:
        trial.miss(
            f"{count} in the set", f"{len(online)} in it", {".": likely}
        )


async def knows_who_is_here(trial: Trial) -> None:
    """Has every connected socket in the set, and no other."""
    online: set[WebSocket] = set()
    trial.build(online)
    async with trial.connect("/room") as first:
        await first.send("1")
        await trial.expect(first, "2")
        _holds(trial, online, 1, NOT_ADDED)
        async with trial.connect("/room") as second:
            await second.send("2")
            await trial.expect(second, "4")
            _holds(trial, online, 2, NOT_ADDED)
        _holds(trial, online, 1, LEFT_BEHIND if online else EVERYBODY)
    _holds(trial, online, 0, LEFT_BEHIND)


async def survives_bad_input(trial: Trial) -> None:
    """Forgets a socket whose client sent what is not JSON."""
    online: set[WebSocket] = set()
    trial.build(online)
    async with trial.connect("/room") as ws:
        await ws.send("not JSON")
        await trial.expect(ws, Closed(4500))
    _holds(trial, online, 0, ONLY_DISCONNECT)


async def survives_gone_client(trial: Trial) -> None:
    """Forgets a socket whose client left while an answer was on its way."""
    online: set[WebSocket] = set()
    trial.build(online)
    async with trial.connect("/room") as ws:
        for _ in range(3):
            await ws.send("1")
    _holds(trial, online, 0, ONLY_DISCONNECT)


room = Exercise(
    task="Write `create_app(online)` with a handler at `/room` that answers "
    "each number with its double, both as JSON, and has each connected socket "
    "in the set `online` for as long as it is connected, in whatever way the "
    "connection ends. What is not JSON ends it with 4500.",
    stub=room_stub,
    checks=[knows_who_is_here, survives_bad_input, survives_gone_client],
    tip="Count the ways out of the handler: the client says goodbye, it sends "
    "what is not JSON, it is gone when the answer is ready. Which part of a "
    "Python function runs on every one of them?",
    right=[room_solution, room_another],
    mutants=[
        Mutant(NOT_ADDED, {"online.add(socket)": "..."}),
        Mutant(LEFT_BEHIND, {"online.discard(socket)": "..."}),
        Mutant(EVERYBODY, {"online.discard(socket)": "online.clear()"}),
        Mutant(
            LEFT_BEHIND,
            {"online.discard": "await socket.close(); online.discard"},
        ),
        Mutant(LEFT_BEHIND, {"finally:": "except WebSocketDisconnect:"}),
        Mutant(
            ONLY_DISCONNECT,
            {"finally:": "except WebSocketDisconnect:"}
            | {"async for number in socket.iter_json():": "while True:"}
            | {"(number * 2)": "(2 * await socket.receive_json())"},
        ),
    ],
)
