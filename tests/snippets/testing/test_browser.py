"""panes() shows pages that talk to an app: here in a real browser."""

import asyncio
import re
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from litestar import Litestar, WebSocket, get, websocket
from playwright.async_api import (
    Browser,
    FrameLocator,
    Page,
    async_playwright,
    expect,
)

from snippets.testing import browser as module
from snippets.testing.browser import FRAMES, PAGES, Pane, Panes, panes
from snippets.testing.in_process import connect
from snippets.testing.server import Server
from snippets.testing.tap import Tap

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
expect.set_options(timeout=30_000)  # on a machine with other things to do


@pytest.fixture(scope="module")
async def chromium(anyio_backend: str) -> AsyncGenerator[Browser]:
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    assert found, f"no browser found, looked for {', '.join(BROWSERS)}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found[0], args=FLAGS
        )
        yield browser
        await browser.close()


@pytest.fixture
async def page(chromium: Browser) -> AsyncGenerator[Page]:
    errors: list[Any] = []

    def note(error: Any) -> None:
        errors.append(error)

    page = await chromium.new_page()
    page.on("pageerror", note)
    yield page
    await page.close()
    assert errors == []


@websocket("/echo")
async def echo(socket: WebSocket) -> None:
    offered = socket.scope["subprotocols"]
    await socket.accept(subprotocols=offered[0] if offered else None)
    while (event := await socket.receive())["type"] != "websocket.disconnect":
        answer: Any = {**event, "type": "websocket.send"}
        await socket.send(answer)


@websocket("/bye")
async def bye(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("<b>bold</b>")
    await socket.close(4001, "<i>enough</i>")


def create_app(**options: Any) -> Litestar:
    return Litestar([echo, bye], logging_config=None, **options)


@asynccontextmanager
async def opened(app: Any, *shown: Pane) -> AsyncGenerator[Panes]:
    live = await panes(app, *shown)
    try:
        yield live
    finally:
        await live.close()


async def show(page: Page, live: Panes) -> list[FrameLocator]:
    """Show panes as a notebook does."""
    html = live._repr_mimebundle_()["text/html"]
    await page.set_content(f"<!doctype html><title>notebook</title>{html}")
    count = await page.locator("iframe").count()
    return [page.frame_locator("iframe").nth(n) for n in range(count)]


def on_the_wire(live: Panes) -> Server:
    return Server(int(live.url.rpartition(":")[2]), [])


async def submit(frame: FrameLocator, button: str, **fields: str) -> None:
    for name, value in fields.items():
        await frame.get_by_role("textbox", name=name).fill(value)
    await frame.get_by_role("button", name=button).click()


async def logs(frame: FrameLocator, *lines: str) -> None:
    """Expect these to be the last lines of the log."""
    entries = frame.get_by_role("log").locator("p")
    for place, line in enumerate(reversed(lines), start=1):
        await expect(entries.nth(-place)).to_have_text(line)
    texts = await entries.all_text_contents()
    assert [text.strip() for text in texts[-len(lines) :]] == [*lines]


# -- the pages ---------------------------------------------------------------


async def test_a_client_by_hand(page: Page):
    async with opened(create_app(), Pane("client", "/echo")) as live:
        (client,) = await show(page, live)
        state = client.get_by_role("status")
        await expect(state).to_have_text("none yet")
        await expect(
            client.get_by_role("button", name="Send")
        ).to_be_disabled()
        await submit(client, "Connect", Subprotocols="tea, coffee")
        await logs(client, "connecting to /echo", "open, speaking tea")
        await expect(state).to_have_text("1 OPEN")
        await submit(client, "Send", Message="Grüße")
        await logs(client, '"Grüße" 7 B', '"Grüße" 7 B')
        await client.get_by_role("combobox").select_option("hex")
        await submit(client, "Send", Message="00 7F fg")
        await logs(client, "hex is written like this: 00 7f ff")
        await submit(client, "Send", Message="00 7F ff")
        await logs(client, "00 7f ff 3 B", "00 7f ff 3 B")
        await submit(client, "Close", Code="999")
        entry = client.get_by_role("log").locator("p").last
        await expect(entry).to_contain_text("InvalidAccessError")
        await expect(state).to_have_text("1 OPEN")
        await submit(client, "Close", Code="3001", Reason="enough")
        await logs(
            client, "close 3001 enough", 'close 3001 "enough", wasClean true'
        )
        await expect(state).to_have_text("3 CLOSED")
        assert live.tap.connections[0].subprotocol == "tea"


async def test_a_client_by_keyboard_and_without_a_code(page: Page):
    async with opened(create_app(), Pane("client", "/echo")) as live:
        (client,) = await show(page, live)
        await client.get_by_role("textbox", name="Address").focus()
        await page.keyboard.press("Enter")
        box = client.get_by_role("textbox", name="Message")
        await expect(box).to_be_focused()
        await page.keyboard.type("tea?")
        await page.keyboard.press("Enter")
        await logs(client, '"tea?" 4 B', '"tea?" 4 B')
        await expect(box).to_have_value("")
        await submit(client, "Close", Reason="has no room")
        await logs(client, "close", "close 1005, wasClean true")


async def test_a_client_sees_how_it_fails(page: Page):
    shown = [Pane("client", "/nowhere"), Pane("client", "ftp://x")]
    async with opened(create_app(), *shown) as live:
        lost, wrong = await show(page, live)
        await submit(lost, "Connect")
        await logs(lost, "error", "close 1006, wasClean false")
        await submit(wrong, "Connect")
        entry = wrong.get_by_role("log").locator("p").last
        await expect(entry).to_contain_text("SyntaxError")


async def test_what_a_server_says_is_no_markup(page: Page):
    async with opened(
        create_app(), Pane("client", "/bye"), Pane("frames")
    ) as live:
        client, frames = await show(page, live)
        await submit(client, "Connect")
        await logs(
            client,
            '"<b>bold</b>" 11 B',
            'close 4001 "<i>enough</i>", wasClean true',
        )
        await expect(frames.locator("svg")).to_contain_text("bold")
        for frame in (client, frames):
            await expect(frame.locator("b, i")).to_have_count(0)


SCROLLED = "box => box.scrollHeight - box.clientHeight - box.scrollTop"


async def test_the_diagram_grows_and_stays_at_its_end(page: Page):
    async with opened(
        create_app(), Pane("client", "/echo"), Pane("frames")
    ) as live:
        client, frames = await show(page, live)
        told = frames.get_by_role("status")
        await expect(told).to_have_text("Nothing has passed yet.")
        await submit(client, "Connect")
        drawing = frames.locator("svg")
        await expect(drawing).to_contain_text("handshake /echo")
        await expect(told).to_be_hidden()
        for number in range(12):
            await submit(client, "Send", Message=f"message {number}")
        await expect(drawing).to_contain_text("message 11")
        box = frames.locator("#picture")
        assert await box.evaluate(SCROLLED) < 1
        await box.evaluate("box => box.scrollTo(0, 5)")
        await submit(client, "Send", Message="one more")
        await expect(drawing).to_contain_text("one more")
        assert await box.evaluate("box => box.scrollTop") == 5
    await expect(told).to_have_text("The app has stopped: no more frames.")


async def test_the_newest_client_is_in_sight(page: Page):
    async with opened(create_app(), Pane("frames")) as live:
        await page.set_viewport_size({"width": 320, "height": 480})
        (frames,) = await show(page, live)
        for number in range(6):
            async with on_the_wire(live).connect("/bye"):
                pass
            label = frames.locator("svg").get_by_text(f"client {number + 1}")
            await expect(label.first).to_be_attached()
        box = frames.locator("#picture")
        assert await box.evaluate("box => box.scrollLeft") > 300
        await box.evaluate("box => box.scrollTo(100, 0)")
        async with on_the_wire(live).connect("/bye"):
            pass
        label = frames.locator("svg").get_by_text("client 7")
        await expect(label.first).to_be_attached()
        assert await box.evaluate("box => box.scrollLeft") == 100


NARROW = 300
OVERFLOW = "html => html.scrollWidth - html.clientWidth"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["client", "frames"])
async def test_a_page_is_accessible_and_narrow(
    name: str, scheme: Any, page: Page
):
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size({"width": NARROW, "height": 480})
    async with opened(create_app(), Pane(name, "/echo")) as live:
        await page.goto(f"{live.url}/{name}.html#/echo")
        async with on_the_wire(live).connect("/bye"):
            pass
        if name == "client":
            await page.get_by_role("button", name="Connect").click()
            await expect(page.get_by_role("log").locator("p")).to_have_count(2)
        else:
            await expect(page.locator("svg")).to_be_attached()
        assert await page.locator("html").evaluate(OVERFLOW) == 0
        results = await Axe().run(page)
        found = results.response["violations"]
        assert [violation["id"] for violation in found] == []


async def test_diagrams_are_not_sent_faster_than_they_can_be_seen(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "PACE", pace := 0.2)
    app = Tap(create_app())
    async with connect(app, "/bye"):
        pass
    async with (
        opened(app, Pane("frames")) as live,
        on_the_wire(live).connect(FRAMES) as watch,
    ):
        began = monotonic()
        diagrams = [str(await watch.receive())]
        assert "handshake /bye" in diagrams[0]  # what had passed before
        async with on_the_wire(live).connect("/echo") as client:
            for number in range(30):
                await client.send(f"message {number}")
                await client.receive()
        while "message 29" not in diagrams[-1]:
            diagrams.append(str(await watch.receive()))
        took = monotonic() - began
    assert len(diagrams) < 3 + took / pace
    assert live.tap is app


# -- what is served ----------------------------------------------------------


@get("/")
async def index() -> str:
    return "the app's"


async def test_own_pages_have_their_neighbours(tmp_path: Path, page: Page):
    for name, text in {
        "mine.html": '<script type="module" src="mine.js"></script>',
        "mine.js": 'document.title = "mine, " + location.hash;',
        "secret.txt": "nobody's business",
    }.items():
        (tmp_path / name).write_text(text)
    app = Litestar([index], logging_config=None)
    own = Pane(tmp_path / "mine.html", "a b/ü", "Mine & <yours>")
    async with (
        opened(app, own, Pane("client")) as live,
        httpx.AsyncClient(base_url=live.url) as http,
    ):
        statuses = {
            path: (await http.get(path)).status_code
            for path in (
                "/mine.html",
                "/mine.js",
                "/client.css",
                "/secret.txt",
            )
        }
        assert list(statuses.values()) == [200, 200, 200, 404]
        assert (await http.get("/")).text == "the app's"
        kind = (await http.get("/client.js")).headers["content-type"]
        assert kind.startswith("text/javascript")
        await show(page, live)
        iframe = page.get_by_title("Mine & <yours>")
        own_page = await (await iframe.element_handle()).content_frame()
        assert own_page is not None
        await own_page.wait_for_function("document.title")
        assert await own_page.title() == "mine, #a%20b/%C3%BC"


async def test_what_is_shown_is_the_same_but_for_the_port():
    shown = [Pane("client", "/echo"), Pane("frames", title="All frames")]
    async with opened(create_app(), *shown) as live:
        bundle = live._repr_mimebundle_(include=None, exclude=None)
    html = re.sub(r"127\.0\.0\.1:\d+", "HOST", bundle["text/html"])
    html = re.sub(r' style="[^"]*"', "", html)
    assert html == (
        '<div class="panes">'
        '<iframe title="/echo" src="http://HOST/client.html#/echo"></iframe>'
        '<iframe title="All frames" src="http://HOST/frames.html"></iframe>'
        "</div>"
    )
    text = "Web pages that talk to the app: /echo, All frames"
    assert bundle["text/plain"] == repr(live) == text


async def test_pages_that_cannot_be_served_are_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.html"):
        await panes(create_app(), Pane(tmp_path / "nothing.html"))
    (tmp_path / "client.html").touch()
    with pytest.raises(ValueError, match="rename one"):
        await panes(
            create_app(), Pane(tmp_path / "client.html"), Pane("client")
        )


# -- from start to end -------------------------------------------------------


async def test_the_app_starts_and_stops_with_its_pages():
    events: list[str] = []

    def note(event: str) -> Callable[[], None]:
        return lambda: events.append(event)

    app = create_app(on_startup=[note("start")], on_shutdown=[note("stop")])
    live = await panes(app, Pane("client"))
    assert events == ["start"]
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{live.url}/client.html")).status_code == 200
        await live.close()
        await live.close()
        assert events == ["start", "stop"]
        with pytest.raises(httpx.ConnectError):
            await http.get(live.url)


async def test_pages_outlive_the_task_that_opened_them():
    live = await asyncio.create_task(panes(create_app(), Pane("client")))
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{live.url}/client.html")).status_code == 200
    await live.close()


async def test_an_app_that_does_not_start_is_reported():
    async def no_database() -> None:
        raise LookupError("no database")

    with pytest.raises(RuntimeError, match="no database"):
        await panes(create_app(on_startup=[no_database]))


async def test_opening_can_be_given_up():
    starting = asyncio.Event()
    ended = asyncio.Event()

    async def think() -> None:
        starting.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    opening = asyncio.create_task(panes(create_app(on_startup=[think])))
    await asyncio.wait_for(starting.wait(), 30)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await asyncio.wait_for(ended.wait(), 30)


async def test_a_watcher_may_go_while_a_diagram_is_on_its_way():
    async def receive() -> Any:
        await asyncio.sleep(0)
        return {"type": "websocket.connect"} if not sent else await never()

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "websocket.send":
            raise OSError

    sent: list[str] = []
    never = asyncio.Event().wait
    app = Tap(create_app())
    async with connect(app, "/bye"):
        pass
    async with opened(app, Pane("frames")) as live:
        scope: Any = {
            "type": "websocket",
            "path": FRAMES,
            "headers": [],
            "query_string": b"",
            "subprotocols": [],
        }
        await asyncio.wait_for(live._answer(scope, receive, send), 30)
    assert sent == ["websocket.accept", "websocket.send"]


def test_the_pages_ask_no_other_host():
    for file in PAGES.iterdir():
        assert "//" not in re.sub(
            r"^ *//.*| // .*", "", file.read_text(), flags=re.MULTILINE
        )
