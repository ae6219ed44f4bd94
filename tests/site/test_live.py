"""A reader runs the chapters in a tab: the button, the cells, the panes."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    FrameLocator,
    Locator,
    Route,
    ViewportSize,
    expect,
)

from .conftest import DESKTOP, PHONE, ROOT, Site
from .test_browser import OVERFLOW, complaints

START = 30_000
"""Milliseconds that Python may take to start on a busy machine."""
CHAPTERS = sorted(path.stem for path in ROOT.glob("notebooks/[0-9]*.ipynb"))
NOT_RUN = {"needs-server", "skip-live"}  # Chromium can suspend Python
AGAIN = re.compile("try again")


class Reader:
    """A reader with one tab, in which nothing but the site can be reached."""

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self.site = site
        self.asked: list[str] = []
        self.foreign: list[str] = []
        self.problems: list[str] = []
        self.context = context
        context.route("**/*", self._route)
        self.page = context.new_page()
        self.page.on(
            "pageerror", lambda error: self.problems.append(str(error))
        )

    def _route(self, route: Route) -> None:
        url = route.request.url
        if url.startswith((self.site.url, "data:", "blob:")):
            self.asked.append(url.removeprefix(self.site.url))
            route.fallback()
        else:
            self.foreign.append(url)
            route.abort()

    def open(self, chapter: str) -> "Reader":
        self.page.goto(f"{self.site.url}notebooks/{chapter}/")
        expect(self.start).to_be_visible()
        return self

    def turn_to(self, chapter: str) -> "Reader":
        """Follow the link to a chapter, as it was published: Python stays."""
        # The address may end with a section: it follows the reader.
        if not urlsplit(self.page.url).path.endswith(f"/{chapter}/"):
            self.page.locator(f"nav a[href$='{chapter}/']").first.click()
        self.arrives(chapter)
        if self.button("Reset").is_visible():
            self.button("Reset").click()
            expect(self.status).to_contain_text("as it was published")
        self.problems.clear()
        self.foreign.clear()
        return self

    def arrives(self, chapter: str) -> None:
        """Wait for a chapter, whose address is there before it is."""
        facts = f".chapter-facts:has([href$='{chapter}.ipynb'])"
        expect(self.page.locator(f"{facts} + .live")).to_be_visible()

    @property
    def start(self) -> Locator:
        return self.page.locator(".live .md-button--primary")

    @property
    def status(self) -> Locator:
        return self.page.locator(".live [role=status]")

    def button(self, name: str) -> Locator:
        return self.page.locator(".live").get_by_role("button", name=name)

    def cell(self, name: str) -> Locator:
        return self.page.locator(f"#cell-{name}")

    def code(self, name: str) -> Locator:
        return self.cell(name).get_by_role("textbox")

    def output(self, name: str) -> Locator:
        return self.cell(name).locator("cell-outputs")

    def pane(self, name: str, place: int) -> FrameLocator:
        """A web page in a cell's output."""
        return self.output(name).frame_locator("iframe").nth(place)

    def run_all(self) -> "Reader":
        """Press the button, and wait for the end."""
        self.start.click()
        expect(self.status).to_contain_text("cells ran", timeout=2 * START)
        return self

    def run(self, cell: str) -> None:
        """Run a cell with the keyboard, and wait for its end."""
        # How it ended the last time does not count.
        self.cell(cell).evaluate("cell => delete cell.dataset.state")
        self.code(cell).press("Control+Enter")
        self.ends(cell, "ok")

    def ends(self, cell: str, state: str) -> None:
        expect(self.cell(cell)).to_have_attribute(
            "data-state", state, timeout=START
        )

    def write(self, cell: str, source: str) -> None:
        """Put other code into a cell."""
        self.code(cell).fill(source)


@pytest.fixture(scope="module")
def tab(browser: Browser, site: Site) -> Iterator[Reader]:
    """A reader who stays, for tests that are not about the start."""
    context = browser.new_context(viewport=DESKTOP)
    yield Reader(context, site).open(CHAPTERS[0])
    context.close()


@pytest.fixture
def reader(tab: Reader) -> Reader:
    """That reader, with chapter 0 as it was published, and run."""
    return tab.turn_to("00-life").run_all()


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Callable[..., Reader]]:
    """Let a reader come, with a browser that has cached nothing."""
    contexts = []

    def visit(
        chapter: str, viewport: ViewportSize = DESKTOP, **options: Any
    ) -> Reader:
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        return Reader(context, site).open(chapter)

    yield visit
    for context in contexts:
        context.close()


def stored(chapter: str) -> list[nbformat.NotebookNode]:
    """The code cells of a chapter."""
    path = ROOT / "notebooks" / f"{chapter}.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


def lines(output: Locator) -> list[str]:
    """What is to be read in an output; empty lines say nothing."""
    return [line for line in output.inner_text().splitlines() if line]


# -- the button --------------------------------------------------------------


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_runs_in_the_tab_and_prints_what_is_published(
    tab: Reader, chapter: str
):
    reader = tab.turn_to(chapter)
    shown = {
        cell.id: lines(reader.output(cell.id))
        for cell in stored(chapter)
        if cell.outputs
    }
    reader.run_all()
    expect(reader.page.locator(".cell[data-state=ok]")).not_to_have_count(0)
    for cell in stored(chapter):
        tags = set(cell.metadata.get("tags", []))
        if tags & NOT_RUN:
            expect(reader.cell(cell.id).locator(".cell-note")).to_be_visible()
        elif "varies" not in tags:
            reader.ends(cell.id, "ok")
        if 'class="panes"' in str(cell.outputs):  # a sentence, until it runs
            frames = reader.output(cell.id).locator("iframe")
            expect(frames).to_have_count(cell.source.count("Pane("))
        elif cell.id in shown and "varies" not in tags:
            assert lines(reader.output(cell.id)) == shown[cell.id]
    assert reader.foreign == []
    assert reader.problems == []


def test_before_the_button_nothing_of_python_is_loaded(
    visit: Callable[..., Reader],
):
    reader = visit("01-handlers")
    assert [url for url in reader.asked if url.startswith("live/")] == []
    expect(reader.status).to_contain_text(" MB")
    expect(reader.page.locator(".cell [contenteditable]")).to_have_count(0)


def test_a_start_can_be_stopped_and_the_bar_counts_the_bytes_of_the_next(
    visit: Callable[..., Reader],
):
    reader = visit("01-handlers")
    reader.start.click()
    reader.button("Stop").click()  # even before Python is there
    expect(reader.status).to_contain_text("Stopped")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    reader.page.route("**/python_stdlib.zip", hold)
    with reader.page.expect_request("**/python_stdlib.zip"):
        reader.start.click()
    bar = reader.page.get_by_role("progressbar")
    expect(bar).to_be_visible()
    total = float(bar.get_attribute("max") or 0)
    got = "bar => Number(bar.value)"
    missing = 0.7 * total  # the one that is held is smaller than the rest
    reader.page.wait_for_function(
        "([bar, least]) => bar.value > least",
        arg=[bar.element_handle(), missing],
        timeout=START,
    )
    assert bar.evaluate(got) < total
    expect(reader.status).to_contain_text("MB")
    expect(reader.status).to_contain_text(" s")
    held[0].continue_()
    expect(bar).to_be_hidden(timeout=START)


# -- cells -------------------------------------------------------------------


def test_a_changed_cell_is_marked_until_it_runs(reader: Reader):
    expect(reader.output("once-run")).to_be_visible()
    reader.write("once-run", "21 * 2")
    expect(reader.cell("once-run")).to_contain_class("stale")
    reader.run("once-run")
    expect(reader.cell("once-run")).not_to_contain_class("stale")
    expect(reader.output("once-run")).to_have_text("42")


def test_a_cell_first_runs_what_is_missing_before_it(reader: Reader):
    reader.button("Reset").click()
    expect(reader.page.locator(".cell[data-state]")).to_have_count(0)
    reader.run("once-run")
    expect(reader.page.locator(".cell[data-state=ok]")).not_to_have_count(0)
    expect(reader.cell("once-frames")).not_to_have_attribute(
        "data-state", "ok"
    )


def test_shift_enter_goes_on_to_the_next_cell(reader: Reader):
    reader.code("once").press("Shift+Enter")
    expect(reader.code("once-run")).to_be_focused()
    reader.ends("once", "ok")


def test_what_a_cell_shows_in_every_form(reader: Reader):
    reader.write(
        "once-run",
        "import sys\n"
        "print('out')\n"
        "print('err', file=sys.stderr)\n"
        "class Both:\n"
        "    def _repr_html_(self): return '<b>bold</b>'\n"
        "display(Both())\n"
        "{'a': [1, 2]}",
    )
    reader.run("once-run")
    output = reader.output("once-run")
    expect(output.locator(".stdout")).to_have_text("out")
    expect(output.locator(".stderr")).to_have_text("err")
    expect(output.locator(".html b")).to_have_text("bold")
    expect(output.locator(".text")).to_have_text("{'a': [1, 2]}")


def test_an_error_ends_the_run_and_says_where(reader: Reader):
    reader.write("once", "def f():\n    return 1 / 0\n\nf()")
    reader.start.click()
    reader.ends("once", "error")
    expect(reader.output("once")).to_contain_text("ZeroDivisionError")
    expect(reader.output("once")).to_contain_text("return 1 / 0")
    expect(reader.output("once")).not_to_contain_text("kernel.py")
    expect(reader.status).to_contain_text("An error")


def test_an_endless_loop_can_be_stopped(reader: Reader):
    reader.write("once-run", "while True:\n    pass")
    reader.code("once-run").press("Control+Enter")
    reader.ends("once-run", "running")
    reader.button("Stop").click()
    reader.ends("once-run", "lost")
    expect(reader.status).to_contain_text("Python was ended")
    reader.write("once-run", "'again'")
    reader.run("once-run")  # and what is before it, in a new Python
    expect(reader.output("once-run")).to_have_text("'again'")


def test_a_cell_that_waits_is_stopped_and_nothing_is_lost(
    reader: Reader,
):
    reader.write(
        "once-run", "kept = 1\nimport asyncio\nawait asyncio.sleep(9999)"
    )
    reader.code("once-run").press("Control+Enter")
    reader.ends("once-run", "running")
    reader.button("Stop").click()
    reader.ends("once-run", "stopped")
    reader.write("once-run", "kept")
    reader.run("once-run")
    expect(reader.output("once-run")).to_have_text("1")


def test_an_exercise_is_checked_in_the_tab(reader: Reader):
    report = reader.output("exercise-countdown")
    before = report.inner_text()
    answer = (
        "from exercises import life, source\n"
        "await life.countdown.check(life.countdown.right[0])"
    )
    reader.write("exercise-countdown", answer)
    reader.run("exercise-countdown")
    assert report.inner_text() != before
    expect(report).to_contain_text("passed")


# -- leaving and coming back -------------------------------------------------


def test_work_is_kept_and_python_stays_while_the_reader_looks_elsewhere(
    reader: Reader,
):
    reader.write("once-run", "'my own'")
    reader.run("once-run")
    before = len([url for url in reader.asked if url.startswith("live/")])
    reader.page.get_by_role("link", name="Next: 1").click()
    reader.arrives("01-handlers")
    expect(reader.start).to_have_text("Run all")
    reader.run("first")
    after = [url for url in reader.asked if url.startswith("live/")]
    assert len(after) == before
    reader.page.go_back()
    reader.arrives("00-life")
    expect(reader.code("once-run")).to_have_text("'my own'")
    expect(reader.output("once-run")).to_have_text("'my own'")
    reader.run("once-run")


def test_the_readers_version_can_be_downloaded(reader: Reader, tmp_path: Path):
    reader.write("once-run", "'my own'\n2 + 2")
    with reader.page.expect_download() as download:
        reader.button("Download my version").click()
    download.value.save_as(tmp_path / "mine.ipynb")
    mine = nbformat.read(tmp_path / "mine.ipynb", as_version=4)
    nbformat.validate(mine)
    (changed,) = [cell for cell in mine.cells if cell.id == "once-run"]
    assert changed.source == "'my own'\n2 + 2"
    assert changed.outputs == []
    rest = [cell for cell in mine.cells if cell.id != "once-run"]
    path = ROOT / "notebooks" / "00-life.ipynb"
    published = nbformat.read(path, as_version=4).cells
    assert rest == [cell for cell in published if cell.id != "once-run"]


def test_reset_brings_the_published_chapter_back(
    reader: Reader,
):
    published = reader.code("once-run").inner_text()
    shown = reader.output("once-run").inner_text()
    reader.write("once-run", "once")
    reader.run("once-run")
    reader.button("Reset").click()
    expect(reader.code("once-run")).to_have_text(published)
    assert reader.output("once-run").inner_text() == shown
    reader.write("imports", "once")  # is not defined any more
    reader.code("imports").press("Control+Enter")
    reader.ends("imports", "error")
    expect(reader.output("imports")).to_contain_text("NameError")


# -- web pages ---------------------------------------------------------------


def test_the_reader_talks_to_the_echo_by_hand(reader: Reader):
    reader.turn_to("01-handlers").run("by-hand")
    client = reader.pane("by-hand", 0)
    client.get_by_role("button", name="Connect").click()
    log = client.get_by_role("log")
    expect(log).to_contain_text("open")
    client.get_by_label("Message").fill("hello")
    client.get_by_role("button", name="Send").click()
    expect(log.get_by_text('"hello"')).to_have_count(2)
    frames = reader.pane("by-hand", 1).locator("body")
    expect(frames).to_contain_text("hello")
    expect(frames).not_to_contain_text("3001")
    client.get_by_label("Code").fill("3001")
    client.get_by_role("button", name="Close").click()
    expect(log).to_contain_text("close 3001")
    expect(frames).to_contain_text("disconnect 3001")
    assert reader.problems == reader.foreign == []


def test_two_panes_chat_in_the_tab(reader: Reader):
    reader.turn_to("04-transport-modes").run("system-page")
    panes = [reader.pane("system-page", place) for place in (0, 1)]
    logs = [pane.get_by_role("log") for pane in panes]
    for pane, text in zip(panes, ("<b>hi</b>", "hi yourself"), strict=True):
        box = pane.get_by_role("textbox", name="Message")
        box.fill(text)
        box.press("Enter")
        for log in logs:
            expect(log).to_contain_text(text)
    frames = reader.pane("system-page", 2).locator("body")
    expect(frames).to_contain_text("hi yourself")
    reader.button("Reset").click()  # the app stops, and says so
    expect(reader.page.locator("iframe")).to_have_count(0)
    assert reader.problems == reader.foreign == []


# -- bad days ----------------------------------------------------------------


def lose(route: Route) -> None:
    route.abort()


def cut(route: Route) -> None:
    """Lose the network in the middle of a file."""
    body = route.fetch().body()
    length = {"content-length": str(len(body))}
    route.fulfill(body=body[: len(body) // 2], headers=length)


CLICK = """async button => {
    button.click();
    await new Promise(done => setTimeout(done));
    return document.querySelector(".live [role=status]").className;
}"""


def test_a_lost_network_is_said_each_time_and_another_click_recovers(
    visit: Callable[..., Reader],
):
    reader = visit("00-life")
    for happens, file in (
        (lose, "worker.mjs"),
        (lose, "pyodide.asm.wasm"),
        (lose, "packages.zip"),
        (cut, "packages.zip"),
    ):
        reader.page.route(f"**/{file}", happens)
        with reader.page.expect_request(f"**/{file}"):
            # What is said of the last try is gone as soon as this one begins.
            assert reader.start.evaluate(CLICK) == ""
        expect(reader.status).to_contain_class("problem", timeout=START)
        expect(reader.status).to_have_text(AGAIN)
        expect(reader.output("once-run")).to_be_visible()  # as published
        reader.page.unroute(f"**/{file}")
    reader.run_all()


def test_a_blocked_wasm_is_said(visit: Callable[..., Reader]):
    reader = visit("00-life")
    policy = {"content-security-policy": "script-src 'self' 'unsafe-inline'"}

    def forbid(route: Route) -> None:
        response = route.fetch()
        headers = {**response.headers, **policy}
        route.fulfill(response=response, headers=headers)

    reader.page.route("**/worker.mjs", forbid)
    reader.start.click()
    expect(reader.status).to_contain_class("problem", timeout=START)
    expect(reader.status).to_contain_text("WebAssembly")


@pytest.mark.parametrize("lost", ["WebAssembly", "Worker"])
def test_an_old_browser_is_told_and_has_no_dead_button(
    browser: Browser, site: Site, lost: str
):
    context = browser.new_context()
    context.add_init_script(f"delete globalThis.{lost};")
    page = context.new_page()
    page.goto(f"{site.url}notebooks/00-life/")
    expect(page.locator(".live [role=status]")).to_contain_text("browser")
    expect(page.locator(".live button:visible")).to_have_count(0)
    context.close()


def test_a_live_chapter_is_accessible_and_fits_a_phone(
    visit: Callable[..., Reader],
):
    reader = visit("01-handlers", PHONE, reduced_motion="reduce").run_all()
    assert reader.page.evaluate(OVERFLOW) <= 0
    assert complaints(reader.page, set()) == []


def test_the_keyboard_gets_out_of_a_cell(reader: Reader):
    code = reader.code("once-run")
    code.press("End")
    code.press("Tab")
    expect(code).to_be_focused()
    code.press("Escape")
    code.press("Tab")
    expect(code).not_to_be_focused()
