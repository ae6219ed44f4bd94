"""Whatever a reader hands to `check()`, a report comes back.

No traceback, no hang, no task left behind; and right answers of every kind of
thing that can be a handler.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any, cast

import pytest
from litestar import (
    Controller,
    Litestar,
    Router,
    WebSocket,
    get,
    websocket,
    websocket_stream,
)
from litestar.handlers import WebsocketListener

from exercises import Exercise, Mistake, Report, Trial, source
from snippets.testing.client import Closed


async def answers_hello(trial: Trial) -> None:
    """Says `hello` to <everybody>, and closes."""
    async with trial.connect("/") as ws:
        await trial.expect(ws, "hello")
        await trial.expect(ws, Closed(1000))


@websocket("/")
async def solution(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


HELLO = Exercise(
    task="Say hello.",
    stub=None,
    checks=[answers_hello],
    tip="Use `send_text`.",
    right=[solution],
    mutants=[],
)


async def check(answer: object) -> Report:
    before = asyncio.all_tasks()
    async with asyncio.timeout(10):
        report = await HELLO.check(answer, timeout=0.5)
    assert asyncio.all_tasks() == before
    return report


async def missed(answer: object) -> tuple[str, str]:
    """What came instead, and the likely mistake."""
    report = await check(answer)
    assert not report.passed
    (outcome,) = report.outcomes
    assert outcome.missed is not None
    return outcome.missed.came, outcome.missed.likely


# What can be a right answer


class Greeter(Controller):
    path = "/"

    @websocket("/")
    async def greet(self, socket: WebSocket) -> None:
        await socket.send_text("hello")
        await socket.close()


class Listener(WebsocketListener):
    path = "/"

    async def on_accept(self, socket: WebSocket) -> None:
        await socket.send_text("hello")
        await socket.close()

    async def on_receive(self, data: str) -> None:
        """Never called: the connection is closed."""


@websocket_stream("/")
async def stream() -> AsyncGenerator[str, None]:
    await asyncio.sleep(0)  # where two of Litestar's tasks could both accept
    yield "hello"


def create_app() -> Litestar:
    return Litestar([solution])


def make_handler() -> object:
    return solution


async def plain_asgi(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "hello"})
    await send({"type": "websocket.close"})


def make_plain_asgi() -> object:
    return plain_asgi


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(solution, id="handler"),
        pytest.param(create_app, id="function-making-an-app"),
        pytest.param(make_handler, id="function-making-a-handler"),
        pytest.param(Litestar([solution]), id="app"),
        pytest.param(Router("/", route_handlers=[solution]), id="router"),
        pytest.param(Greeter, id="controller"),
        pytest.param(Listener, id="listener-class"),
        pytest.param(stream, id="stream"),
        pytest.param(plain_asgi, id="plain-asgi-app"),
        pytest.param(make_plain_asgi, id="function-making-a-plain-asgi-app"),
    ],
)
async def test_an_answer_can_be(answer: object):
    for _ in range(2):  # readers run a cell more than once
        report = await check(answer)
        assert report.passed, report


async def test_a_function_is_called_with_what_the_check_gives():
    async def gives_a_list(trial: Trial) -> None:
        """Hands over a list."""
        given: list[int] = []
        trial.build(given)
        trial.same(given, [1])

    def fills(given: list[int]) -> Litestar:
        given.append(1)
        return Litestar([])

    exercise = Exercise("", None, [gives_a_list], "", [], [])
    assert (await exercise.check(fills)).passed
    assert not (await exercise.check(lambda _: Litestar([]))).passed


# What cannot be run


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


async def bare(socket: WebSocket) -> None:
    await socket.accept()


@websocket("/")
async def without_socket() -> None: ...


@websocket("/")
async def with_data(socket: WebSocket, data: str) -> None: ...


def plain(socket: WebSocket) -> None: ...


not_async = websocket("/")(cast("Any", plain))


@pytest.mark.parametrize(
    ("answer", "came", "likely"),
    [
        pytest.param(None, "None", Mistake.NOTHING, id="none"),
        pytest.param(lambda: None, "None", Mistake.NOTHING, id="no-return"),
        pytest.param(42, "42", "", id="int"),
        pytest.param([1] * 10_000, f"[{'1, ' * 66}1…", "", id="long"),
        pytest.param(int, "the class int", "", id="class"),
        pytest.param(
            KeyError(f"handler::{id(int)}"),
            "KeyError: 'handler'",
            "",
            id="address",
        ),
        pytest.param(object(), "<object object>", "", id="object"),
        pytest.param(Unprintable(), "RuntimeError: no repr", "", id="no-repr"),
        pytest.param(
            bare, "an async function, bare", Mistake.BARE, id="no-decorator"
        ),
        pytest.param(
            lambda: 1 / 0,
            "ZeroDivisionError: division by zero",
            "",
            id="raises",
        ),
        pytest.param(
            lambda online: online,
            "TypeError: <lambda>() missing 1 required positional argument: "
            "'online'",
            "",
            id="wants-arguments",
        ),
    ],
)
async def test_what_is_no_answer(answer: object, came: str, likely: str):
    got, says = await missed(answer)
    assert got.removeprefix("test_checker.") == came
    assert says == likely


async def test_a_handler_that_was_called():
    came, likely = await missed(bare(cast("Any", None)))
    assert (came, likely) == ("a coroutine of bare()", Mistake.CALLED)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(
            without_socket, "must define a 'socket' parameter", id="no-socket"
        ),
        pytest.param(with_data, "data kwarg is not supported", id="data"),
        pytest.param(not_async, "must be asynchronous", id="sync"),
    ],
)
async def test_litestar_says_what_is_wrong_with_a_signature(
    answer: object, words: str
):
    came, likely = await missed(answer)
    assert came.startswith("ImproperlyConfiguredException: ")
    assert words in came
    assert likely == Mistake.MISCONFIGURED


# What runs and goes wrong


@websocket("/")
async def hangs_before_accept(socket: WebSocket) -> None:
    await asyncio.Event().wait()


@websocket("/")
async def hangs_after_accept(socket: WebSocket) -> None:
    await socket.accept()
    await asyncio.Event().wait()


@websocket("/")
async def hangs_after_close(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()
    await asyncio.Event().wait()


@websocket("/")
async def swallows_what_receive_raises(socket: WebSocket) -> None:
    while True:
        try:
            await socket.receive_text()
        except Exception:  # noqa: BLE001 - the mistake to be caught
            continue


@websocket("/")
async def swallows_what_send_raises(socket: WebSocket) -> None:
    while True:
        try:
            await socket.send_text("hello")
        except Exception:  # noqa: BLE001 - the mistake to be caught
            continue


@websocket("/")
async def returns_at_once(socket: WebSocket) -> None: ...


@websocket("/")
async def returns_without_closing(socket: WebSocket) -> None:
    await socket.send_text("hello")


@websocket("/")
async def raises_first(socket: WebSocket) -> None:
    raise KeyError("name")


@websocket("/")
async def raises_later(socket: WebSocket) -> None:
    await socket.accept()
    raise KeyError("name")


@websocket("/")
async def raises_a_group(socket: WebSocket) -> None:
    await socket.accept()
    raise ExceptionGroup("both", [KeyError("a"), KeyError("b")])


@websocket("/")
async def raises_cancelled(socket: WebSocket) -> None:
    await socket.accept()
    task = asyncio.ensure_future(asyncio.Event().wait())
    task.cancel()
    await task


@websocket("/")
async def raises_after_close(socket: WebSocket) -> None:
    await socket.send_text("hello")
    await socket.close()
    raise KeyError("name")


@websocket("/")
async def exits(socket: WebSocket) -> None:
    await socket.accept()
    sys.exit("enough")


@websocket("/")
async def sends_json(socket: WebSocket) -> None:
    await socket.send_json("hello")


@websocket("/")
async def sends_bytes(socket: WebSocket) -> None:
    await socket.send_bytes(b"hello")


@websocket("/")
async def not_offered(socket: WebSocket) -> None:
    await socket.accept(subprotocols="v9")


@websocket("/elsewhere")
async def elsewhere(socket: WebSocket) -> None:
    await socket.accept()


@get("/")
async def speaks_http() -> None: ...


NOTHING_CAME = "waiting for a message: nothing happened within 0.5 s"
UNDECIDED = (
    "connecting to /: the app neither accepted nor refused within 0.5 s"
)
STILL_RUNNING = "the handler was still running 0.5 s after the client had left"
GONE = "no close frame (1006)"
REFUSED = "refused (HTTP 403)"
CRASHED = "close 4500 'Internal Server Error'"
TWICE = (
    "RuntimeError: Unexpected ASGI message 'websocket.close', after sending "
    "'websocket.close'."
)
AND_THAT = ", after the handler raised "
GROUP = "ExceptionGroup: both (2 sub-exceptions)"
NOT_FOUND = "NotFoundException: 404: Not Found"
BAD_REQUEST = "ClientException: 400: Bad Request"

GONE_WRONG: list[tuple[Any, str, str]] = [
    (hangs_before_accept, UNDECIDED, Mistake.WAITS),
    (hangs_after_accept, NOTHING_CAME, Mistake.WAITS),
    (hangs_after_close, STILL_RUNNING, Mistake.LINGERS),
    (swallows_what_receive_raises, NOTHING_CAME, Mistake.WAITS),
    (swallows_what_send_raises, "text 'hello'", ""),
    (returns_at_once, "refused (HTTP 500)", Mistake.UNDECIDED),
    (returns_without_closing, GONE, Mistake.RETURNED),
    (raises_first, f"{REFUSED}{AND_THAT}KeyError: 'name'", Mistake.REFUSED),
    (raises_later, f"{CRASHED}{AND_THAT}KeyError: 'name'", Mistake.RAISED),
    (raises_a_group, f"{CRASHED}{AND_THAT}{GROUP}", Mistake.RAISED),
    (raises_cancelled, f"{GONE}{AND_THAT}CancelledError", Mistake.RETURNED),
    (
        raises_after_close,
        f"{TWICE}{AND_THAT}KeyError: 'name'",
        Mistake.AFTER_CLOSE,
    ),
    (exits, f"{GONE}{AND_THAT}SystemExit: enough", Mistake.RETURNED),
    (sends_json, "text '\"hello\"'", Mistake.QUOTED),
    (sends_bytes, "binary b'hello'", Mistake.BINARY),
    (not_offered, "refused (HTTP 101)", Mistake.NOT_OFFERED),
    (elsewhere, f"{REFUSED}{AND_THAT}{NOT_FOUND}", Mistake.REFUSED),
    (speaks_http, f"{REFUSED}{AND_THAT}{BAD_REQUEST}", Mistake.REFUSED),
]


@pytest.mark.parametrize(
    ("answer", "came", "likely"),
    GONE_WRONG,
    ids=[answer.fn.__name__ for answer, _, _ in GONE_WRONG],
)
async def test_what_goes_wrong(answer: object, came: str, likely: str):
    assert await missed(answer) == (came, likely)


async def test_a_socket_has_no_room_for_names_as_on_a_server():
    @websocket("/")
    async def writes_on_it(socket: WebSocket) -> None:
        await socket.accept()
        setattr(socket, "name", "ada")  # noqa: B010 - ty knows better, too

    came, _ = await missed(writes_on_it)
    assert "'WebSocket' object has no attribute 'name'" in came


async def test_a_plain_asgi_app_that_takes_no_notice_of_the_end():
    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        await plain_asgi(scope, receive, send)
        while True:
            await receive()

    came, likely = await missed(deaf)
    assert (came, likely) == (STILL_RUNNING, Mistake.LINGERS)


async def test_a_report_shows_no_address():
    # anyio cancels the handler, and says which cancel scope that was.
    reports = [await check(hangs_after_close) for _ in range(2)]
    first, second = [report._repr_mimebundle_() for report in reports]
    assert "CancelledError" in first["text/html"]
    assert first == second


async def test_a_plain_asgi_app_that_raises():
    async def raises(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        raise KeyError("name")

    came, likely = await missed(raises)
    assert came == f"{GONE}{AND_THAT}KeyError: 'name'"
    assert likely == Mistake.RETURNED


async def test_an_exception_that_no_client_sees():
    async def leaves(trial: Trial) -> None:
        """Takes leaving for normal."""
        async with trial.connect("/"):
            pass
        trial.expect_no_exception({"WebSocketDisconnect": "It raised."})

    @websocket("/")
    async def raises(socket: WebSocket) -> None:
        await socket.accept()
        await socket.receive_text()

    @websocket("/")
    async def returns(socket: WebSocket) -> None:
        await socket.accept()
        async for _ in socket.iter_data("text"):
            pass

    exercise = Exercise("", None, [leaves], "", [], [])
    report = await exercise.check(raises)
    assert report.likely == "It raised."
    assert (await exercise.check(returns)).passed


@pytest.mark.parametrize(
    ("sent", "likely"),
    [
        pytest.param('{"b":[2],  "a":1}', "", id="other-spaces-and-order"),
        pytest.param(b'{"a": 1, "b": [2]}', Mistake.BINARY, id="binary"),
        pytest.param(r'"{\"a\": 1}"', Mistake.QUOTED, id="twice"),
        pytest.param("{'a': 1}", "No JSON.", id="no-json"),
        pytest.param('{"a": 2}', "", id="another-value"),
        pytest.param('{"a": 1.0, "b": [2]}', "", id="float"),
        pytest.param('{"a": true, "b": [2]}', "", id="bool"),
    ],
)
async def test_json_is_compared_by_what_it_says(
    sent: str | bytes, likely: str
):
    async def says(trial: Trial) -> None:
        """Says it."""
        async with trial.connect("/") as ws:
            guess = {'text "{': "No JSON."}
            await trial.expect_json(ws, {"a": 1, "b": [2]}, guess)

    @websocket("/")
    async def sends(socket: WebSocket) -> None:
        await socket.accept()
        mode = "text" if isinstance(sent, str) else "binary"
        await socket.send_data(sent, mode=mode)

    report = await Exercise("", None, [says], "", [], []).check(sends)
    assert report.passed == (sent == '{"b":[2],  "a":1}')
    assert report.likely == likely


async def test_a_guess_may_be_about_what_was_raised():
    async def guesses(trial: Trial) -> None:
        """Says hello."""
        async with trial.connect("/") as ws:
            likely = {"close 4500.*KeyError": "No such key."}
            await trial.expect(ws, "hello", likely)

    exercise = Exercise("", None, [guesses], "", [], [])
    report = await exercise.check(raises_later)
    assert report.likely == "No such key."


async def test_an_app_that_does_not_start():
    async def fails() -> None:
        raise ValueError("no database")

    came, _ = await missed(Litestar([solution], on_startup=[fails]))
    assert "ValueError: no database" in came


async def test_an_app_that_does_not_start_is_tried_once(
    monkeypatch: pytest.MonkeyPatch,
):
    calls = 0

    async def waits_for_a_client(scope: Any, receive: Any, send: Any) -> None:
        nonlocal calls
        calls += 1
        await receive()
        await receive()

    monkeypatch.setattr("snippets.testing.lifespan._STARTUP", 0.1)
    thrice = replace(HELLO, checks=[answers_hello] * 3)
    (outcome,) = (await thrice.check(waits_for_a_client)).outcomes
    assert calls == 1
    assert outcome.missed is not None
    assert outcome.missed.expected == "an app that starts"
    assert "starting the app: no answer" in outcome.missed.came


async def hears_thanks(trial: Trial) -> None:
    """Expects nothing by itself."""
    async with trial.connect("/") as ws:
        await ws.receive()


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (returns_at_once, "the connection accepted"),
        (raises_later, "the connection still open"),
        (hangs_after_accept, "the next step in time"),
        (raises_after_close, "no exception"),
    ],
)
async def test_what_a_check_needs_and_does_not_say(
    answer: object, wanted: str
):
    report = await replace(HELLO, checks=[hears_thanks]).check(
        answer, timeout=0.5
    )
    (outcome,) = report.outcomes
    assert outcome.missed is not None
    assert outcome.missed.expected == wanted


@pytest.mark.parametrize(
    ("status", "passes"), [(400, True), (403, True), (503, False)]
)
async def test_a_refusal_may_have_any_status_that_blames_the_client(
    status: int, *, passes: bool
):
    async def is_refused(trial: Trial) -> None:
        """Refuses."""
        await trial.expect_refusal("/")

    async def denies(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        kind = "websocket.http.response"
        start = {"type": f"{kind}.start", "status": status, "headers": []}
        await send(start)
        await send({"type": f"{kind}.body"})

    report = await replace(HELLO, checks=[is_refused]).check(denies)
    assert report.passed == passes


async def test_stopping_a_check_stops_it():
    started = asyncio.Event()

    @websocket("/")
    async def hangs(socket: WebSocket) -> None:
        await socket.accept()
        started.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(HELLO.check(hangs))
    async with asyncio.timeout(10):
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# How it is shown


class Outline(HTMLParser):
    """Checks that tags are balanced, and keeps the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_a_report_says_the_same_as_html_and_as_text():
    report = await check(raises_later)
    shown = report._repr_mimebundle_(include=None, exclude=None)
    text = Outline(shown["text/html"]).text
    assert shown["text/plain"] == repr(report)
    for words in (
        "0 of 1 checks passed",
        "not yet",
        "to <everybody>, and closes",
        "expected text 'hello'",
        "KeyError: 'name'",
        Mistake.RAISED,
    ):
        assert words in text
        assert words in shown["text/plain"]


async def test_a_report_of_a_right_answer_has_nothing_to_add():
    assert repr(await check(solution)) == (
        "1 of 1 checks passed.\n"
        "✓ passed: Says `hello` to <everybody>, and closes"
    )


def test_the_hint_and_the_solution_are_folded():
    for folded, words in (
        (HELLO.hint(), "Use send_text."),
        (HELLO.solution(), "async def solution"),
    ):
        html = folded._repr_mimebundle_()["text/html"]
        assert html.startswith("<details><summary>")
        assert words in Outline(html).text


def test_source_is_text_that_shows_itself():
    code = source(solution)
    assert code.startswith('@websocket("/")\nasync def solution')
    assert repr(code) == code
    assert (
        Outline(code._repr_mimebundle_()["text/html"]).text.strip()
        == code.strip()
    )
