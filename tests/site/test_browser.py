"""What a reader meets, in a real browser."""

import json
import re
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    Route,
    ViewportSize,
    expect,
)

from .conftest import DESKTOP, PHONE, ROOT, Site


@dataclass
class Visit:
    """What one look at one page showed."""

    path: str
    problems: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    overflow: int = 0


# Whole files have thousands of words in the few colours of chapters' cells,
# and each makes all that axe does slower, if it is looked at or not.
TAKE_OUT_LISTINGS = """() => {
    const found = "#source ~ .highlight, #test ~ .highlight";
    document.querySelectorAll(found).forEach((listing) => listing.remove());
}"""
# To look at the colours of all words takes seconds for a chapter. What decides
# about their contrast is their look: axe gets one of each that is not known.
# (About a single letter, and about what is drawn, it never gives a verdict.)
MARK_LOOKS = """(known) => {
    const looks = new Set(known);
    const behind = new Map([[null, ""]]);
    for (const element of document.querySelectorAll("*")) {
        delete element.dataset.look;
        const style = getComputedStyle(element);
        const { backgroundColor, backgroundImage, opacity } = style;
        const under = behind.get(element.parentElement)
            + [backgroundColor, backgroundImage, opacity];
        behind.set(element, under);
        const words = element.placeholder || [...element.childNodes].some(
            (node) => node.nodeType === 3 && node.data.trim().length > 1);
        if (!words || !element.checkVisibility({ visibilityProperty: true })
            || element.getBoundingClientRect().width < 2) continue;
        const { color, fill, fontSize, fontWeight, textShadow } = style;
        const look = [element instanceof SVGElement ? fill : color,
            fontSize, fontWeight, textShadow, under].join();
        if (looks.has(look)) continue;
        looks.add(look);
        element.dataset.look = "";
    }
    return [...looks];
}"""
AXE = {"resultTypes": ["violations"]}
AXE_ALL = AXE | {"rules": {"color-contrast": {"enabled": False}}}
AXE_COLOURS = AXE | {"runOnly": ["color-contrast"]}
OVERFLOW = """() => {
    const page = document.documentElement;
    return page.scrollWidth - page.clientWidth;
}"""


def violations(
    page: Page, options: dict[str, Any], within: str = ":root"
) -> list[str]:
    """What axe finds to be serious, and where."""
    there = page.evaluate("'axe' in window")  # half a megabyte to be read
    results = (Axe("axe") if there else Axe()).run(page, within, options)
    return [
        f"{violation['id']}: {node['html'][:200]}"
        for violation in results.response["violations"]
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"]
    ]


def complaints(page: Page, known: set[str]) -> list[str]:
    """What axe finds to be serious, in the light and in the dark.

    Words that look as some before, whose looks are known, are passed over.
    """
    page.add_style_tag(content="* { transition: none !important; }")
    found = violations(page, AXE_ALL)
    for scheme in ("default", "slate"):
        page.evaluate(f"document.body.dataset.mdColorScheme = '{scheme}'")
        looks = set(page.evaluate(MARK_LOOKS, list(known)))
        if looks > known:
            known |= looks
            colours = violations(page, AXE_COLOURS, "[data-look]")
            found += [f"{scheme}: {complaint}" for complaint in colours]
    return found


@contextmanager
def nothing_to_find(site: Site) -> Generator[None]:
    """Leave the search's index empty.

    Each page that is loaded reads all of it, which takes longer than to look
    at the page.
    """
    index = site.folder / "search/search_index.json"
    whole = index.read_text("utf-8")
    index.write_text(json.dumps(json.loads(whole) | {"docs": []}), "utf-8")
    try:
        yield
    finally:
        index.write_text(whole, "utf-8")


@pytest.fixture(scope="module")
def visits(site: Site, browser: Browser) -> list[Visit]:
    """Every page, seen wide and narrow, light and dark."""
    context = browser.new_context(
        color_scheme="light", reduced_motion="reduce"
    )
    page = context.new_page()
    seen: list[Visit] = []
    looks: set[str] = set()

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            seen[-1].problems.append(message.text)

    def on_request(request: Request) -> None:
        if not request.url.startswith((site.url, "data:", "blob:")):
            seen[-1].foreign.append(request.url)

    page.on("console", on_console)
    page.on("pageerror", lambda error: seen[-1].problems.append(str(error)))
    page.on("request", on_request)

    def look(path: str) -> None:
        visit = Visit(path)
        seen.append(visit)
        page.set_viewport_size(DESKTOP)
        page.goto(site.url + path)
        page.set_viewport_size(PHONE)
        visit.overflow = page.evaluate(OVERFLOW)
        page.evaluate(TAKE_OUT_LISTINGS)
        page.set_viewport_size(DESKTOP)
        visit.violations = complaints(page, looks)

    first, *others = site.pages
    look(first.path)
    with nothing_to_find(site):
        for built in others:
            look(built.path)
    context.close()
    return seen


def test_no_page_complains_in_the_console(visits: list[Visit]):
    assert {v.path: v.problems for v in visits if v.problems} == {}


def test_no_page_asks_another_host(visits: list[Visit]):
    assert {v.path: v.foreign for v in visits if v.foreign} == {}


def test_no_page_has_a_serious_accessibility_problem(visits: list[Visit]):
    assert {v.path: v.violations for v in visits if v.violations} == {}


def test_no_page_is_wider_than_a_phone(visits: list[Visit]):
    assert {v.path: v.overflow for v in visits if v.overflow > 0} == {}


# A page's further results are folded.
UNFOLD = """link => {
    const folded = link.closest("details");
    if (folded) folded.open = true;
}"""


def test_search_lands_on_the_section(
    site: Site, open_page: Callable[..., Page]
):
    headings = {
        page.path: [
            (str(heading["id"]), heading.get_text().removesuffix("¶"))
            for heading in page.soup.select("article h2[id]")
        ]
        for page in site.chapters
    }
    names = Counter(name for all_ in headings.values() for _, name in all_)
    page = open_page("about:blank")
    for path, sections in headings.items():
        # Some time after it has come to a page the theme closes the search.
        page.goto(site.url)
        ready = page.locator(".md-search-result__meta")
        expect(ready).to_have_text("Type to start searching")
        anchor, name = next(s for s in sections if names[s[1]] == 1)
        box = page.get_by_role("textbox", name="Search")
        box.fill(name)
        box.press("End")  # the theme searches when a key comes up
        result = page.locator(f'.md-search-result a[href$="{path}#{anchor}"]')
        result.evaluate(UNFOLD)
        result.click()
        # The address follows the reader: its end may soon be another.
        expect(page).to_have_url(re.compile(f"{re.escape(path)}(#.*)?$"))
        expect(page.locator(f"[id='{anchor}']")).to_be_in_viewport()


# The theme notes late where a reader is: first how far down, then the section.
@pytest.mark.parametrize("meanwhile", [150, 1000])
def test_the_next_chapter_begins_at_its_top_and_has_its_own_address(
    site: Site, open_page: Callable[..., Page], meanwhile: int
):
    page = open_page("about:blank")
    page.clock.install()
    page.goto(f"{site.url}notebooks/00-life/")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/01-handlers/", hold)
    with page.expect_request("**/01-handlers/"):
        page.get_by_role("link", name="Next: 1").click()  # scrolls down first
    page.clock.run_for(meanwhile)
    held[0].continue_()
    expect(page.get_by_role("link", name="Next: 2")).to_be_attached()
    page.clock.run_for(1000)
    assert page.url == f"{site.url}notebooks/01-handlers/"
    assert page.evaluate("scrollY") == 0


def test_a_chapter_is_complete_without_scripts(
    site: Site, open_page: Callable[..., Page]
):
    page = open_page("about:blank", scripts=False)
    for chapter in site.chapters:
        page.goto(site.url + chapter.path)
        shown = page.locator("article").inner_text()
        path = (ROOT / chapter.path.rstrip("/")).with_suffix(".ipynb")
        for cell in nbformat.read(path, as_version=4).cells:
            outputs = cell.get("outputs", [])
            folded = any("<details>" in str(output) for output in outputs)
            if cell.cell_type == "code" and not folded:
                assert cell.source.strip() in shown
            for output in outputs:
                if output.output_type == "stream":
                    assert output.text.strip() in shown
        for dead in ("[data-md-component=palette]", ".md-search"):
            expect(page.locator(dead)).to_be_hidden()
        expect(page.locator("[for=__search]").first).to_be_hidden()


FOCUSED = """() => {
    const element = document.activeElement;
    // The theme's radio buttons are seen through the label beside them.
    const radio = element.type === "radio";
    const seen = radio ? element.nextElementSibling : element;
    const box = seen.getBoundingClientRect();
    return {
        name: element.outerHTML.slice(0, 120),
        body: element === document.body,
        place: [...document.querySelectorAll("*")].indexOf(element),
        visible: box.width > 0 && box.height > 0
            && box.bottom > 0 && box.right > 0 && box.left < innerWidth,
        ring: getComputedStyle(seen).outlineStyle !== "none"
            || element.matches("input, .md-skip"),
        cell: element.matches(".cell *"),
        scrolls: element.scrollWidth > element.clientWidth,
        works: element.matches("a[href], button, summary, input"),
    };
}"""


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["wide", "narrow"])
def test_the_tab_key_goes_through_a_chapter_in_order(
    site: Site, open_page: Callable[..., Page], viewport: ViewportSize
):
    page = open_page(site.url + site.chapters[0].path, viewport=viewport)
    stops: list[dict[str, Any]] = []
    while True:
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUSED)
        if stop["body"] or (stops and stop["place"] == stops[0]["place"]):
            break
        stops.append(stop)
        assert len(stops) < 500, "the focus never leaves the page"
    assert "md-skip" in stops[0]["name"]
    places = [stop["place"] for stop in stops]
    assert places == sorted(places)
    assert [s["name"] for s in stops if not s["visible"]] == []
    assert [s["name"] for s in stops if not s["ring"]] == []
    in_cells = [stop for stop in stops if stop["cell"]]
    idle = [s for s in in_cells if not (s["works"] or s["scrolls"])]
    assert [s["name"] for s in idle] == []
