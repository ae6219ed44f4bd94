"""What the built files hold, looked at without a browser."""

import gzip
import json
from copy import copy
from html import escape
from urllib.parse import unquote, urldefrag, urljoin

import nbformat
import pytest

from snippets.closing import CloseCode

from .conftest import ROOT, Page, Site


def test_every_notebook_is_a_chapter_in_the_navigation(site: Site):
    notebooks = sorted(ROOT.glob("notebooks/[0-9][0-9]-*.ipynb"))
    assert notebooks
    assert [page.path for page in site.chapters] == [
        f"notebooks/{path.stem}/" for path in notebooks
    ]
    links = site.chapters[-1].soup.select(".md-nav--primary a[href]")
    linked = {str(link["href"]).strip("./") + "/" for link in links}
    assert {f"{path.stem}/" for path in notebooks[:-1]} <= linked


def test_the_home_page_lists_the_chapters(site: Site):
    home = next(page for page in site.pages if page.path == "")
    listed = [link["href"] for link in home.soup.select(".chapters li a")]
    assert listed == [page.path for page in site.chapters]


def test_every_link_and_anchor_resolves(site: Site):
    known = {site.url + page.path: page for page in site.pages}
    broken = []
    for address, page in known.items():
        for element in page.soup.select("[href], [src]"):
            link = str(element.get("href") or element.get("src"))
            target, anchor = urldefrag(urljoin(address, link))
            if not target.startswith(site.url):
                continue
            if target in known:
                found = not anchor or known[target].soup.find(
                    id=unquote(anchor)
                )
            else:
                file = unquote(target.removeprefix(site.url))
                found = (site.folder / file).is_file()
            if not found:
                broken.append(f"{page.path}: {link}")
    assert broken == []


def test_ids_are_unique(site: Site):
    for page in site.pages:
        ids = [element["id"] for element in page.soup.select("[id]")]
        assert sorted(ids) == sorted(set(ids)), page.path


def test_chapter_pages_are_light(site: Site):
    for page in site.chapters:
        on_the_wire = len(gzip.compress(page.html.encode()))
        assert on_the_wire <= 20 * 1024, f"{page.path}: {on_the_wire:,} bytes"
        assert page.soup.select("article style, article script") == []
        assert "jp-" not in page.html, f"{page.path} has Jupyter's markup"


def notebook_of(page: Page) -> nbformat.NotebookNode:
    path = ROOT / page.path.rstrip("/")
    return nbformat.read(path.with_suffix(".ipynb"), as_version=4)


def test_cells_keep_their_ids_and_tags(site: Site):
    for page in site.chapters:
        expected = [
            (f"cell-{cell.id}", " ".join(cell.metadata.get("tags", [])))
            for cell in notebook_of(page).cells
            if cell.cell_type == "code"
        ]
        cells = page.soup.select(".cell")
        assert [(c["id"], c.get("data-tags", "")) for c in cells] == expected


def test_the_richest_form_of_an_output_is_the_only_one(site: Site):
    for page in site.chapters:
        for cell in notebook_of(page).cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if "text/html" in data:
                    block = page.soup.find(id=f"cell-{cell.id}")
                    assert block is not None
                    assert block.select(".output.html")
                    assert not block.select(".output.text")


def test_search_has_one_entry_per_section(site: Site):
    index = json.loads((site.folder / "search/search_index.json").read_text())
    for page in site.chapters:
        entries = [
            entry["location"].removeprefix(page.path)
            for entry in index["docs"]
            if entry["location"].startswith(page.path)
        ]
        headings = page.soup.select("article :is(h2, h3, h4)[id]")
        assert entries == ["", *(f"#{heading['id']}" for heading in headings)]


def test_search_is_free_of_outputs(site: Site):
    index = (site.folder / "search/search_index.json").read_text()
    for page in site.chapters:
        article = copy(page.soup.select_one("article"))
        assert article is not None
        outputs = [e.get_text().strip() for e in article.select(".output pre")]
        for element in article.select(".outputs"):
            element.extract()
        written = article.get_text()
        for text in outputs:
            if len(text) > 40 and text not in written:
                stored = json.dumps(escape(text, quote=False))[1:-1]
                assert stored not in index, page.path


def test_every_snippet_has_a_page(site: Site):
    paths = {page.path for page in site.pages}
    for module in ROOT.glob("snippets/**/[!_]*.py"):
        page = module.relative_to(ROOT).with_suffix("").as_posix()
        assert f"{page}/" in paths


def test_a_snippet_that_is_measured_shows_its_figures(site: Site):
    page = next(
        page for page in site.pages if page.path == "snippets/messages/"
    )
    heading = page.soup.select_one("#what-it-costs")
    assert heading is not None
    table = heading.find_next("table")
    assert table is not None
    stored = (ROOT / "benchmarks/results/messages.md").read_text("utf-8")
    rows = [row.get_text(" ", strip=True) for row in table.select("tbody tr")]
    assert len(rows) == stored.count("µs")
    for row in rows:
        assert row.rpartition("×")[2].strip() in stored


def test_the_costs_of_fan_out_are_those_that_are_stored(site: Site):
    page = next(page for page in site.pages if page.path == "benchmarks/")
    results = ROOT / "benchmarks/results"
    stored = json.loads((results / "connections.json").read_text("utf-8"))
    table = page.soup.select_one("article table")
    assert table is not None
    assert [
        row.select("td")[1].get_text() for row in table.select("tbody tr")
    ] == [f"{way['cpu']:.2f}\xa0µs" for way in stored["fan-out"].values()]
    plots = page.soup.select("figure.plot svg[aria-label]")
    assert len(plots) == len([*results.glob("connections-*.svg")])


@pytest.mark.parametrize("asset", ["assets/favicon.svg", "assets/site.css"])
def test_no_asset_names_another_host(site: Site, asset: str):
    text = (site.folder / asset).read_text()
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_close_codes_are_those_of_the_enumeration(site: Site):
    page = next(page for page in site.pages if page.path == "close-codes/")
    rows = [
        [cell.get_text() for cell in row.select("td")]
        for row in page.soup.select(".close-codes tbody tr")
    ]
    assert rows == [
        [
            str(code.value),
            code.name,
            code.meaning,
            code.sender,
            "yes" if code.reconnect else "no",
        ]
        for code in CloseCode
    ]
