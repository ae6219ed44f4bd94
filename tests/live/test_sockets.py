"""A page's WebSocket in the tab behaves as the real one does."""

import asyncio
import importlib
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, WebSocket, websocket
from litestar.enums import MediaType
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import get
from litestar.params import FromQuery
from litestar.static_files import create_static_files_router
from playwright.async_api import Page, async_playwright

from snippets.testing.server import serve
from tab import sockets as module
from tab.sockets import SERVER, Sockets

HERE = Path(__file__).parent
LIVE = HERE.parents[1] / "docs" / "machinery" / "live"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
WAIT = 30
"""Seconds that anything may take on a busy machine."""
Heard = dict[str, list[Any]]
Message = dict[str, Any]


def tasks() -> set[asyncio.Task[Any]]:
    """List what runs in this loop, but for the test runner's own tasks."""
    return {
        task
        for task in asyncio.all_tasks()
        if "TestRunner" not in repr(task.get_coro())
    }


@pytest.fixture(autouse=True)
async def nothing_is_left(anyio_backend: str) -> AsyncGenerator[None]:
    before = tasks()
    yield
    if late := tasks() - before:
        _, left = await asyncio.wait(late, timeout=WAIT)
        assert left == set()


# -- against the real one, in a real browser ---------------------------------


@websocket("/says")
async def says(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("one")
    await socket.send_bytes(b"\x02")
    await socket.close(4002, "enough")


@websocket("/waits")
async def waits(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


@websocket("/dies")
async def dies(socket: WebSocket) -> None:
    await socket.accept()


@websocket("/fails")
async def fails(socket: WebSocket) -> None:
    await socket.accept()
    raise KeyError("as planned")


@websocket("/refuses")
async def refuses(socket: WebSocket) -> None:
    await socket.close(4003, "no")


@websocket("/denies")
async def denies(socket: WebSocket) -> None:
    raise NotAuthorizedException("not you")


@get("/", media_type=MediaType.HTML)
async def index() -> str:
    return "<!doctype html><title>scenarios</title>"


def create_app(heard: Heard) -> Litestar:
    """Make the app of the scenarios; it notes what it hears, by name."""

    async def listen(
        socket: WebSocket, name: str, *, answering: bool = True
    ) -> None:
        while True:
            event: Any = await socket.receive()
            heard[name].append(event.get("code") or event.get("bytes"))
            if event["type"] == "websocket.disconnect":
                return
            if answering:
                await socket.send({**event, "type": "websocket.send"})

    @websocket("/echo")
    async def echo(socket: WebSocket, name: FromQuery[str] = "echo") -> None:
        await socket.accept()
        await listen(socket, name)

    @websocket("/listens")
    async def listens(socket: WebSocket, name: FromQuery[str]) -> None:
        await socket.accept()
        await listen(socket, name, answering=False)

    @websocket("/chooses-b")
    async def chooses_b(socket: WebSocket) -> None:
        offered = socket.scope["subprotocols"]
        await socket.accept(subprotocols="b" if "b" in offered else None)
        await listen(socket, f"offered {offered}")

    @websocket("/talks")
    async def talks(socket: WebSocket) -> None:
        await socket.accept()
        for number in range(3):
            await socket.send_text(str(number))
        await listen(socket, "talks")

    @websocket("/closes")
    async def closes(
        socket: WebSocket, code: FromQuery[int], reason: FromQuery[str] = ""
    ) -> None:
        await socket.accept()
        await socket.close(code, reason)
        await listen(socket, "closes")

    noting = [echo, listens, chooses_b, talks, closes]
    others = [says, waits, dies, fails, refuses, denies, index]
    files = create_static_files_router("/files", [HERE, LIVE])
    return Litestar([*noting, *others, files], logging_config=None)


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Page]:
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    assert found, f"no browser found, looked for {', '.join(BROWSERS)}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found[0], args=FLAGS
        )
        page = await browser.new_page()
        await page.goto(url)
        yield page
        await browser.close()


RUN = """async host => {
    const {scenarios} = await import("/files/scenarios.mjs");
    const at = path => host + path;
    const results = {};
    for (const [name, scenario] of Object.entries(scenarios)) {
        const late = new Promise((_, reject) => setTimeout(
            reject, 30_000, new Error(`${name} takes too long`)));
        const run = scenario(WebSocket, at);
        results[name] = await Promise.race([run, late]).catch(String);
    }
    return JSON.parse(JSON.stringify(results, (key, value) =>
        value === undefined ? "undefined" : value));
}"""
# Playwright passes JSON: bytes travel as lists.
INSTALL = """async base => {
    const {install} = await import("/files/socket.mjs");
    const toBytes = data => Array.isArray(data)
        ? Uint8Array.from(data).buffer : data;
    const fromBytes = data => data instanceof ArrayBuffer
        ? [...new Uint8Array(data)] : data;
    let hear;
    globalThis.answer = message => hear(
        {...message, data: toBytes(message.data)});
    install(globalThis, {
        post: message => toPython(
            {...message, data: fromBytes(message.data)}),
        listen: (callback) => { hear = callback; },
    }, base);
}"""


@asynccontextmanager
async def bridged(page: Page, sockets: "Bridge") -> AsyncGenerator[None]:
    """Carry messages between a page and the sockets, both ways in order."""

    def to_python(message: dict[str, Any]) -> None:
        if isinstance(message.get("data"), list):
            message["data"] = memoryview(bytes(message["data"]))
        sockets.handle(message)

    async def carry() -> None:
        while True:
            message = await sockets.posted.get()
            if isinstance(message.get("data"), bytes):
                message["data"] = list(message["data"])
            await page.evaluate("message => answer(message)", message)

    await page.expose_function("toPython", to_python)
    carrier = asyncio.create_task(carry())
    yield
    carrier.cancel()


class Bridge(Sockets):
    """Sockets that keep what they post."""

    def __init__(self) -> None:
        self.posted: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        super().__init__(self.posted.put_nowait)


async def test_it_does_what_the_real_one_does():
    real_app: Heard = defaultdict(list)
    async with serve(create_app(real_app)) as server:
        async with opened(server.http_url) as page:
            real = await page.evaluate(RUN, server.url)

        tab_app: Heard = defaultdict(list)
        sockets = Bridge()
        async with (
            sockets.serve(create_app(tab_app)) as tab,
            opened(server.http_url) as page,
            bridged(page, sockets),
        ):
            await page.evaluate(INSTALL, f"{tab.http_url}/")
            ours = await page.evaluate(RUN, tab.url)
    assert all(real.values())
    for name, expected in real.items():
        assert ours[name] == expected, name
    assert tab_app == real_app


def test_the_frames_side_without_a_browser():
    beside = Path(sys.executable).with_name("node")
    node = shutil.which("node") or shutil.which(beside)
    assert node, "node is missing: install Node 20 or newer"
    run = subprocess.run(
        [node, "--test", HERE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout


# -- message by message ------------------------------------------------------


class Frame:
    """A page's side: what it asks, and what it is told."""

    def __init__(self, **options: Any) -> None:
        self.told: asyncio.Queue[Message] = asyncio.Queue()
        self.sockets = Sockets(self.told.put_nowait, **options)

    def ask(self, event: str, key: int = 1, **fields: Any) -> None:
        message = {"type": "socket", "id": key, "event": event, **fields}
        self.sockets.handle(message)

    async def hear(self) -> Message:
        message = await asyncio.wait_for(self.told.get(), WAIT)
        assert message.pop("type") == "socket"
        return message

    async def hears(self, *events: str) -> Message:
        """Expect these events; return the last of them."""
        heard = [await self.hear() for _ in events]
        assert [message["event"] for message in heard] == [*events]
        return heard[-1]


@pytest.fixture
def frame() -> Frame:
    return Frame()


def closed(code: int, reason: str = "", key: int = 1) -> Message:
    clean = code != 1006
    how = {"code": code, "reason": reason, "wasClean": clean}
    return {"id": key, "event": "close", **how}


class App:
    """A raw app that notes what it gets and does what it is told."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.accepts = accepts
        self.scope: Any = None
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        self.todo: asyncio.Queue[Any] = asyncio.Queue()
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        self.scope = scope
        listener = asyncio.create_task(self._listen(receive))
        try:
            if self.accepts:
                await send({"type": "websocket.accept"})
            while (message := await self.todo.get()) is not None:
                if isinstance(message, Exception):
                    raise message
                await send(message)
        finally:
            listener.cancel()
            self.ended.set()

    async def _listen(self, receive: Any) -> None:
        while True:
            self.heard.put_nowait(await receive())

    async def hear(self) -> Any:
        return await asyncio.wait_for(self.heard.get(), WAIT)

    async def hears_the_end(self) -> tuple[int, str]:
        while (message := await self.hear())["type"] != "websocket.disconnect":
            pass
        return message["code"], message["reason"]

    def end(self) -> None:
        self.todo.put_nowait(None)


async def test_text_and_bytes_go_both_ways(frame: Frame):
    app = App()
    async with frame.sockets.serve(app) as server:
        frame.ask("open", url=f"{server.url}/a%20b?c=d", protocols=[])
        assert await frame.hear() == {"id": 1, "event": "open", "protocol": ""}
        assert (await app.hear())["type"] == "websocket.connect"
        assert (app.scope["path"], app.scope["query_string"]) == (
            "/a b",
            b"c=d",
        )
        headers = dict(app.scope["headers"])
        assert headers[b"host"] == b"app-1.tab"
        assert headers[b"origin"] == b"http://app-1.tab"
        frame.ask("send", data="text")
        frame.ask("send", data=memoryview(b"\x00\xff"))
        assert (await app.hear())["text"] == "text"
        assert (await app.hear())["bytes"] == b"\x00\xff"
        for kind, data in {"text": "é", "bytes": b"\x01"}.items():
            app.todo.put_nowait({"type": "websocket.send", kind: data})
            message = await frame.hear()
            assert message == {"id": 1, "event": "message", "data": data}
            assert type(message["data"]) is type(data)
        frame.ask("close", code=3001, reason="bye")
        assert await frame.hear() == closed(3001, "bye")
        assert await app.hears_the_end() == (3001, "bye")
        app.end()


async def test_an_array_buffer_is_taken_as_pyodide_hands_it_over(
    frame: Frame,
):
    class Proxy:
        def to_bytes(self) -> bytes:
            return b"from JavaScript"

    app = App()
    async with frame.sockets.serve(app) as server:
        frame.ask("open", url=server.url)
        frame.ask("close", key=2, code=1000)  # whom nobody knows
        await frame.hears("open")
        frame.ask("send", data=Proxy())
        assert (await app.hear())["type"] == "websocket.connect"
        assert (await app.hear())["bytes"] == b"from JavaScript"
        app.end()
        assert await frame.hear() == closed(1006)
        frame.ask("send", data="too late")
        frame.ask("close")


@pytest.mark.parametrize(
    ("code", "heard"), [(None, 1005), (1001, 1001), (1006, 1005)]
)
async def test_an_app_hears_how_a_page_goes(
    code: int | None, heard: int, frame: Frame
):
    app = App()
    async with frame.sockets.serve(app) as server:
        frame.ask("open", url=server.url)
        await frame.hears("open")
        frame.ask("close", code=code, reason=None)
        assert await frame.hear() == closed(code or 1005)
        assert await app.hears_the_end() == (heard, "")
        app.end()


async def test_the_close_that_was_first_counts(frame: Frame):
    app = App()
    async with frame.sockets.serve(app) as server:
        frame.ask("open", url=server.url)
        await frame.hears("open")
        message = {"type": "websocket.close", "code": 4001, "reason": "me"}
        app.todo.put_nowait(message)
        assert await app.hears_the_end() == (4001, "me")
        frame.ask("close", code=3000)
        assert await frame.hear() == closed(4001, "me")
        app.end()


async def test_what_is_sent_after_the_apps_close_is_dropped(frame: Frame):
    app = App()
    async with frame.sockets.serve(app) as server:
        frame.ask("open", url=server.url)
        await frame.hears("open")
        app.todo.put_nowait({"type": "websocket.close", "code": 4001})
        for number in range(20):
            frame.ask("send", data=str(number))
        assert await frame.hear() == closed(4001)
        app.end()
    assert server.log == []


async def test_there_is_no_such_app(frame: Frame):
    for url in ("ws://app-1.tab/", "wss://else.example/echo"):
        frame.ask("open", url=url)
        assert await frame.hears("error", "close") == closed(1006)


async def test_a_refusal_fails_the_connection(frame: Frame):
    app = App(accepts=False)
    app.todo.put_nowait({"type": "websocket.close", "code": 4003})
    app.end()
    async with frame.sockets.serve(app) as server:
        frame.ask("open", url=server.url)
        assert await frame.hears("error", "close") == closed(1006)


async def test_a_page_may_leave_before_it_has_an_answer(frame: Frame):
    app = App(accepts=False)
    async with frame.sockets.serve(app) as server:
        frame.ask("open", url=server.url)
        await app.hear()
        frame.ask("send", data="what no page can send")
        leave = {"type": "socket", "id": 1, "event": "close", "code": 1006}
        await frame.sockets.take(leave)
        assert await frame.hears("error", "close") == closed(1006)
        assert await app.hears_the_end() == (1006, "")
        app.end()
    assert server.log == []


async def test_a_page_that_offers_something_needs_a_choice(frame: Frame):
    app = App()
    async with frame.sockets.serve(app) as server:
        frame.ask("open", url=server.url, protocols=["tea"])
        assert await frame.hears("error", "close") == closed(1006)
        assert await app.hears_the_end() == (1005, "")
        app.end()


async def test_an_error_that_leaves_the_app_is_logged(frame: Frame):
    app = App()
    async with frame.sockets.serve(app) as server:
        frame.ask("open", url=server.url)
        await frame.hears("open")
        app.todo.put_nowait(KeyError("tea"))
        assert (await frame.hear())["code"] == 1006
    assert server.log == ["Exception in ASGI application: KeyError: 'tea'"]


color: ContextVar[str] = ContextVar("color", default="none")


async def test_handlers_belong_to_who_serves_their_app(frame: Frame):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": color.get()})

    token = color.set("blue")
    async with frame.sockets.serve(app) as server:
        color.reset(token)
        frame.ask("open", url=server.url)
        assert (await frame.hears("open", "message"))["data"] == "blue"
        await frame.hears("close")


# -- serve() -----------------------------------------------------------------


async def test_a_server_in_a_tab_is_like_one_on_the_wire(frame: Frame):
    events: list[str] = []
    app = Litestar(
        [],
        on_startup=[lambda: events.append("start")],
        on_shutdown=[lambda: events.append("stop")],
        logging_config=None,
    )
    async with (
        frame.sockets.serve(app) as one,
        frame.sockets.serve(App()) as other,
    ):
        assert events == ["start"]
        assert one.url == "ws://app-1.tab"
        assert one.http_url == "http://app-1.tab"
        assert other.url == "ws://app-2.tab"
    assert events == ["start", "stop"]


async def test_a_server_in_a_tab_takes_clients_in_process(frame: Frame):
    heard: Heard = defaultdict(list)
    async with (
        frame.sockets.serve(create_app(heard)) as server,
        server.connect("/chooses-b", subprotocols=["b"]) as client,
    ):
        await client.send("tea?")
        assert client.subprotocol == "b"
        assert await client.receive() == "tea?"


async def test_what_a_tab_lacks_says_so(frame: Frame):
    async with frame.sockets.serve(App()) as server:
        with pytest.raises(AttributeError, match="a tab has no port"):
            server.port  # noqa: B018 - it raises
    with pytest.raises(NotImplementedError, match="ws_max_size"):
        async with frame.sockets.serve(App(), ws_max_size=7):
            pass


async def test_files_are_fetched_from_the_app(frame: Frame):
    @get("/page", media_type=MediaType.HTML)
    async def page() -> str:
        return "<p>Grüße"

    app = Litestar([page], logging_config=None)
    async with (
        frame.sockets.serve(app) as server,
        frame.sockets.serve(App()) as no_http,
    ):
        url = server.http_url
        status, kind, body = await frame.sockets.fetch(f"{url}/page")
        assert (status, kind) == (200, "text/html; charset=utf-8")
        assert body == "<p>Grüße".encode()
        assert (await frame.sockets.fetch(f"{url}/none"))[0] == 404
        assert (await frame.sockets.fetch(no_http.http_url))[0] == 500
    status, _, body = await frame.sockets.fetch(f"{url}/page")
    assert (status, body) == (404, b"no app is at http://app-1.tab/page")


async def test_clients_and_handlers_are_told_that_the_server_stops(
    frame: Frame,
):
    app = App()
    async with frame.sockets.serve(app) as server:
        frame.ask("open", url=server.url)
        await frame.hears("open")
        app.end()
        app.todo.put_nowait(None)
    assert (await frame.hear())["event"] == "close"
    frame.ask("open", url=server.url)
    assert await frame.hears("error", "close") == closed(1006)


async def test_a_handler_that_goes_on_is_cancelled_with_the_server(
    frame: Frame, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "GRACE", 0.05)
    opened, waiting = App(), App(accepts=False)
    async with (
        frame.sockets.serve(opened) as one,
        frame.sockets.serve(waiting) as other,
    ):
        frame.ask("open", url=one.url)
        await frame.hears("open")
        frame.ask("open", key=2, url=other.url)
        await waiting.hear()
    assert await frame.hears("error", "close") == closed(1006, key=2)
    assert await frame.hear() == closed(1012)
    assert await opened.hears_the_end() == (1012, "")
    assert opened.ended.is_set()
    assert waiting.ended.is_set()


async def test_a_chapter_that_is_reset_takes_its_apps_along():
    chapters = ["one"]
    frame = Frame(chapter=lambda: chapters[-1])
    app = App()

    async def serve_for_ever(up: asyncio.Event) -> None:
        async with frame.sockets.serve(app):
            up.set()
            await asyncio.Event().wait()

    up = asyncio.Event()
    serving = asyncio.create_task(serve_for_ever(up))
    await asyncio.wait_for(up.wait(), WAIT)
    chapters.append("two")
    async with AsyncExitStack() as stack:
        other = frame.sockets.serve(App())
        await asyncio.create_task(stack.enter_async_context(other))
        frame.ask("open", url="ws://app-1.tab/")
        await frame.hears("open")
        app.end()
        await frame.hears("close")
        await frame.sockets.close_all("one")
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(serving, WAIT)
        assert (await frame.sockets.fetch("http://app-1.tab/"))[0] == 404
        frame.ask("open", url="ws://app-2.tab/", key=2)
        await frame.hears("open")
        await frame.sockets.close_all()
        assert (await frame.hears("close"))["code"] == 1012


async def test_the_module_that_needs_uvicorn_is_replaced(
    frame: Frame, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, SERVER, sys.modules[SERVER])
    frame.sockets.install()
    server = importlib.import_module(SERVER)
    async with server.serve(App()) as served:
        assert isinstance(served, server.Server)
    with pytest.raises(ImportError, match="_Uvicorn needs uvicorn"):
        from snippets.testing.server import _Uvicorn  # noqa: F401
    assert not hasattr(server, "__wrapped__")
