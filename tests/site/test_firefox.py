"""A reader runs chapters in Firefox: fewer checks than in Chromium."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from .conftest import Site
from .firefox import CONTROL, ENTER, TAB, Firefox, firefox

PROGRAMS = ("firefox-esr", "firefox")
SELECT = """(name) => {
    const code = document.querySelector(`#cell-${name} code`);
    code.focus();
    getSelection().selectAllChildren(code);
}"""
CODE = "(name) => document.querySelector(`#cell-${name} code`).textContent"
OUTPUTS = """() => [...document.querySelectorAll(".cell cell-outputs")]
    .map(({ innerText, parentNode }) => [parentNode.id, innerText])"""
NOT_COMPARED = """() => [...document.querySelectorAll(".cell")]
    .filter((cell) => /varies/.test(cell.dataset.tags)
        || cell.querySelector(".cell-note")).map(({ id }) => id)"""
STATE = """(name, state) => {
    const { dataset, classList } = document.querySelector(`#cell-${name}`);
    return dataset.state === state && !classList.contains("stale");
}"""
SAYS = """(words) => document.querySelector(".live [role=status]")
    .textContent.includes(words)"""
# The address is there before the chapter is.
SHOWN = """(chapter) => document.querySelector(
    `.chapter-facts:has([href$="${chapter}.ipynb"]) + .live`) !== null"""
HEARD = """(words) => [...document.querySelectorAll("[role=log] .received")]
    .some(({ textContent }) => textContent.includes(words))"""
DRAWN = "(words) => document.body.textContent.includes(words)"


@dataclass
class Reader:
    """A reader of the site, who has run the first chapter."""

    browser: Firefox
    published: dict[str, list[str]]

    def open(self, chapter: str) -> None:
        """Follow the link to a chapter: Python stays where it is."""
        if not self.browser.run(SHOWN, chapter):
            self.browser.click(f"nav a[href$='{chapter}/']")
        self.browser.until(SHOWN, chapter)

    def write(self, cell: str, source: str) -> None:
        """Type code into a cell instead of what is there."""
        self.browser.run(SELECT, cell)
        self.browser.press(source.replace("\n", ENTER))

    def run(self, cell: str, state: str = "ok") -> None:
        """Run the cell that has the focus with the keyboard."""
        self.browser.press(ENTER, holding=CONTROL)
        self.browser.until(STATE, cell, state)

    def outputs(self) -> dict[str, list[str]]:
        """The words in each output."""
        shown = self.browser.run(OUTPUTS)
        return {name: text.split() for name, text in shown}


@pytest.fixture(scope="module")
def reader(site: Site) -> Iterator[Reader]:
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        pytest.fail(f"no Firefox: install one of {', '.join(PROGRAMS)}")
    with firefox(found) as browser:
        browser.open(f"{site.url}notebooks/00-life/")
        browser.until(SHOWN, "00-life")
        reader = Reader(browser, {})
        reader.published = reader.outputs()
        browser.click(".live .md-button--primary")
        browser.until(SAYS, "cells ran")
        yield reader


def test_a_chapter_prints_in_firefox_what_is_published(reader: Reader):
    reader.open("00-life")
    shown = reader.outputs()
    compared = reader.published.keys() - reader.browser.run(NOT_COMPARED)
    assert "cell-once-run" in compared
    for cell in compared:
        assert shown[cell] == reader.published[cell]


def test_code_is_typed_and_run_in_firefox(reader: Reader):
    reader.open("00-life")
    browser = reader.browser
    reader.write("once-run", "for n in range(2):\nprint(n)")
    source = "for n in range(2):\n    print(n)"  # it indents by itself
    assert browser.run(CODE, "once-run") == source
    browser.press(TAB)
    assert browser.run(CODE, "once-run") == f"{source}    "
    browser.press("z", holding=CONTROL)
    assert browser.run(CODE, "once-run") == source
    reader.run("once-run")
    assert reader.outputs()["cell-once-run"] == ["0", "1"]


def test_an_endless_loop_is_stopped_in_firefox(reader: Reader):
    reader.open("00-life")
    reader.write("once-run", "while True: pass")
    reader.run("once-run", "running")
    reader.browser.click(".live .md-button:nth-of-type(2)")  # Stop
    reader.browser.until(STATE, "once-run", "lost")
    reader.write("once-run", "'again'")
    reader.run("once-run")  # and what is before it, in a new Python
    assert reader.outputs()["cell-once-run"] == ["'again'"]


def test_a_pane_talks_to_the_app_in_firefox(reader: Reader):
    reader.open("01-handlers")
    browser = reader.browser
    browser.click("#cell-by-hand .cell-run")
    client = browser.loaded("blob:.*#/echo")
    diagram = browser.loaded("blob:[^#]*")
    browser.click("#line button", client)
    browser.until(HEARD, "open", frame=client)
    browser.press('tea "for two"' + ENTER, frame=client)
    browser.until(HEARD, "for two", frame=client)
    browser.until(DRAWN, "for two", frame=diagram)
