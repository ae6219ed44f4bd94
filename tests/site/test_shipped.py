"""What the site ships to run chapters, and that it can be left out."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from .conftest import ROOT, Page, Site, build, small_project


@pytest.fixture
def licences(site: Site) -> Page:
    return next(page for page in site.pages if page.path == "licences/")


def test_every_page_has_the_script_and_its_styles(site: Site):
    for page in site.pages:
        script = page.soup.select_one("script[src$='assets/live/page.mjs']")
        assert script is not None, page.path
        assert script["type"] == "module"
        styles = "link[rel=stylesheet][href$='assets/live/live.css']"
        assert page.soup.select_one(styles), page.path


def test_the_page_script_knows_the_bundle(site: Site):
    told = (site.folder / "assets/live/bundle.mjs").read_text()
    start, end = "export const BUNDLE = ", ";\n"
    assert told.startswith(start)
    facts = json.loads(told.removeprefix(start).removesuffix(end))
    folder = site.folder / facts["path"]
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    del sizes["licences.txt"]  # it is read, not run
    assert facts["files"] == sizes
    assert {"boot.mjs", "worker.mjs", "pyodide.asm.wasm"} < sizes.keys()
    assert 0 < facts["gzip"] < sum(sizes.values())


def test_the_workers_scripts_are_not_the_pages(site: Site):
    found = {path.name for path in (site.folder / "assets/live").iterdir()}
    assert {"page.mjs", "live.css", "bundle.mjs"} <= found
    assert found.isdisjoint({"boot.mjs", "worker.mjs", "compile.mjs"})
    assert {path.suffix for path in map(Path, found)} == {".mjs", ".css"}


def test_the_licences_of_what_is_shipped_are_named(licences: Page):
    rows = [
        [cell.get_text() for cell in row.select("td")]
        for row in licences.soup.select("tbody tr")
    ]
    assert rows[0][0] == "Pyodide"
    assert rows[0][2] == "MPL-2.0"
    assert ["litestar", version("litestar"), "MIT"] in rows
    assert ["msgspec", version("msgspec"), "BSD-3-Clause"] in rows
    assert all(all(row) for row in rows)


def test_the_licences_are_there_to_read(licences: Page, site: Site):
    link = licences.soup.select_one("a[href$='/licences.txt']")
    assert link is not None
    file = site.folder / "licences" / str(link["href"])
    texts = file.read_text("utf-8-sig")
    for row in licences.soup.select("tbody tr"):
        name, release, licence = (c.get_text() for c in row.select("td"))
        assert f"\n{name} {release}, {licence}\n" in f"\n{texts}"


def test_all_of_it_can_be_left_out(tmp_path: Path):
    small_project(tmp_path)
    for name in ("benchmarks", "docs", "snippets"):  # and all our pages
        shutil.copytree(ROOT / name, tmp_path / name, dirs_exist_ok=True)
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    site = tmp_path / "site"
    built = build(tmp_path, site, "http://127.0.0.1/", live=False)
    assert built.returncode == 0, built.stdout
    assert not (site / "live").exists()
    assert not (site / "assets/live").exists()
    assert not (tmp_path / ".work").exists()
    pages = list(site.rglob("*.html"))
    assert pages
    for page in pages:
        html = page.read_text("utf-8")
        assert "assets/live" not in html
        assert "live/" not in html
