"""The site, built once and served below a sub-path, as a host would do it."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell, new_notebook
from playwright.sync_api import (
    Browser,
    Page as BrowserPage,
    ViewportSize,
    expect,
    sync_playwright,
)

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DESKTOP = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=390, height=844)
expect.set_options(timeout=30_000)  # on a machine with other things to do


@dataclass(frozen=True)
class Page:
    """One built page."""

    path: str
    html: str
    soup: BeautifulSoup


@dataclass(frozen=True)
class Site:
    """A built site that is being served."""

    folder: Path
    url: str
    pages: list[Page]

    @property
    def chapters(self) -> list[Page]:
        """The pages that are notebooks."""
        return [page for page in self.pages if page.soup.select(".cell")]


def build(
    project: Path, site: Path, url: str, *, live: bool = False
) -> subprocess.CompletedProcess[str]:
    """Build a project's site as the Makefile does; chapters run if `live`."""
    switches = {"NO_MKDOCS_2_WARNING": "1", "LIVE": str(int(live))}
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(site)],
        cwd=project,
        env=os.environ | {"SITE_URL": url} | switches,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


NAV = """
nav:
  - Home: index.md
  - Chapters: notebooks/*.ipynb
  - Snippets: snippets/**/*.py
  - Glossary: glossary.md
"""


def small_project(folder: Path, *cells: nbformat.NotebookNode) -> None:
    """Make a project like ours, with one chapter, which has these cells.

    It has one snippet and a page besides, so that its site is built fast.
    """
    shutil.copy(ROOT / "constraints.txt", folder)
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    short = re.sub(r"\nnav:\n.*?\n(?=\n)", NAV, settings, flags=re.DOTALL)
    (folder / "mkdocs.yml").write_text(short, encoding="utf-8")
    shutil.copytree(ROOT / "docs/machinery", folder / "docs/machinery")
    # Without an __init__.py, the hooks import the rest from the real one.
    (folder / "snippets").mkdir()
    shutil.copy(ROOT / "snippets/closing.py", folder / "snippets")
    (folder / "docs/snippets").mkdir()
    for name, text in {
        "index.md": "# Home\n\n<!-- chapters -->\n",
        "glossary.md": "# Glossary\n\n## Room\n\nPeople who talk.\n",
        "snippets/index.md": "# Snippets\n\n<!-- snippets -->\n",
    }.items():
        (folder / "docs" / name).write_text(text, encoding="utf-8")
    (folder / "notebooks").mkdir()
    title = new_markdown_cell("# A chapter\n\n## A `section` of it\n")
    facts = {"minutes": 5, "needs": "nothing", "summary": "A single page."}
    notebook = new_notebook(
        cells=[title, *cells], metadata={"frame_by_frame": facts}
    )
    nbformat.write(notebook, folder / "notebooks" / "00-life.ipynb")


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a line for each in the test's output."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    served = tmp_path_factory.mktemp("served")
    handler = partial(QuietHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/docs/"
        built = build(ROOT, served / "docs", url, live=True)
        assert built.returncode == 0, built.stdout
        pages = []
        for path in sorted((served / "docs").rglob("*.html")):
            html = path.read_text(encoding="utf-8")
            name = path.relative_to(served / "docs").as_posix()
            name = name.removesuffix("index.html")
            pages.append(Page(name, html, BeautifulSoup(html, "lxml")))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Site(served / "docs", url, pages)
        server.shutdown()
        thread.join()


# It lives as long as a module of tests: while it runs, so does an event loop,
# and other tests need the thread for theirs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.fail(f"no browser: install one of {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--no-first-run",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., BrowserPage]]:
    """Open an address in a tab of its own."""
    contexts = []

    def open_page(
        address: str, *, viewport: ViewportSize = DESKTOP, scripts: bool = True
    ) -> BrowserPage:
        context = browser.new_context(
            viewport=viewport, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
