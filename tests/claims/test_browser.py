"""Chapter 0's table of what a page learns, checked in a real browser."""

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, WebSocket, websocket
from playwright.async_api import Page, async_playwright

from snippets.testing.server import serve

CHAPTER = Path(__file__).parents[2] / "notebooks" / "00-life.ipynb"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
OPEN = """url => new Promise(resolve => {
  const seen = [];
  const socket = new WebSocket(url);
  socket.onerror = () => seen.push("error");
  socket.onclose = e => {
    const {code, reason, wasClean} = e;
    resolve({seen, code, reason, wasClean});
  };
})"""
OFFER = """url => new Promise(resolve => {
  const socket = new WebSocket(url, ["tea"]);
  socket.onclose = e => resolve(e.code);
})"""
CLOSE = """([url, ...code]) => new Promise((resolve, reject) => {
  const socket = new WebSocket(url);
  socket.onopen = () => {
    try { socket.close(...code); } catch (error) { reject(error.name); }
  };
  socket.onclose = resolve;
})"""


def table() -> dict[str, str]:
    """The rows of the chapter's table: what happened, what the page gets."""
    cells = json.loads(CHAPTER.read_text("utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    (text,) = [t for t in texts if "| what the page gets |" in t]
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    columns = ([part.strip() for part in row.split("|")[1:3]] for row in rows)
    return {happened: gets for happened, gets, *_ in columns}


def create_app(heard: asyncio.Future[int]) -> Litestar:
    @websocket("/closes")
    async def closes(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close(4001, "a reason")

    @websocket("/dies")
    async def dies(socket: WebSocket) -> None:
        await socket.accept()

    @websocket("/refuses")
    async def refuses(socket: WebSocket) -> None:
        await socket.close(4003, "no")

    @websocket("/listens")
    async def listens(socket: WebSocket) -> None:
        await socket.accept()
        event: Any = await socket.receive()
        heard.set_result(int(event["code"]))

    return Litestar([closes, dies, refuses, listens])


@asynccontextmanager
async def opened() -> AsyncGenerator[Page]:
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    assert found, f"no browser found, looked for {', '.join(BROWSERS)}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found[0], args=FLAGS
        )
        yield await browser.new_page()
        await browser.close()


async def test_the_table_of_chapter_0_is_what_a_browser_shows() -> None:
    shown: dict[str, str] = {}
    heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with serve(create_app(heard)) as server, opened() as page:
        got = await page.evaluate(OPEN, server.url + "/closes")
        assert got["reason"] == "a reason"
        shown["the app closes with 4001 and a reason"] = (
            f"`close` with {got['code']}, the reason, "
            f"`wasClean` {json.dumps(got['wasClean'])}"
        )
        got = await page.evaluate(OPEN, server.url + "/dies")
        shown["the line goes dead"] = (
            f"`close` with {got['code']}, "
            f"`wasClean` {json.dumps(got['wasClean'])}"
        )
        got = await page.evaluate(OPEN, server.url + "/refuses")
        unknown = await page.evaluate(OPEN, server.url + "/unknown")
        assert got == unknown
        shown["the server refuses the handshake, for any reason"] = (
            f"`{got['seen'][0]}`, then `close` with {got['code']}"
        )
        await page.evaluate(CLOSE, [server.url + "/listens"])
        code = await asyncio.wait_for(heard, 30)
        shown["the page closes without a code"] = f"the app gets {code}"
        refused = []
        for code in (999, 1001, 2999, 5000):
            with pytest.raises(Exception, match="InvalidAccessError") as e:
                await page.evaluate(CLOSE, [server.url + "/listens", code])
            refused.append(e)
        shown["the page calls `close(1001)`"] = (
            "`InvalidAccessError`: 1000 and 3000 to 4999 are allowed"
        )
    assert shown == table()


async def test_a_browser_drops_a_connection_with_none_of_its_offers() -> None:
    """Chapter 4 refuses those who offer only what is not spoken."""
    chosen: list[str | None] = []

    def create_app(choice: str | None) -> Litestar:
        @websocket("/")
        async def accepts(socket: WebSocket) -> None:
            await socket.accept(subprotocols=choice)
            chosen.append(choice)
            await socket.close(4000)

        return Litestar([accepts])

    codes = []
    async with opened() as page:
        for choice in ("tea", None):
            async with serve(create_app(choice)) as server:
                codes.append(await page.evaluate(OFFER, server.url))
    assert chosen == ["tea", None]
    assert codes == [4000, 1006]
