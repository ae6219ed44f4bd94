"""The page of promises says what its tests say, and has some of each kind."""

import ast
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from mkdocs.exceptions import PluginError

from .conftest import ROOT, Page, Site

MACHINERY = ROOT / "docs" / "machinery" / "promises.py"
SECTIONS = {
    "connections": ["Connection", "ConnectionManager"],
    "rooms": ["Rooms"],
    "messages": ["Messages"],
    "closing": ["Closing"],
    "limits": ["Limits"],
}


def proven(file: Path) -> Iterator[tuple[str, str]]:
    """List the tests of a file whose docstring begins with a section."""
    known = tuple(f"{name}:" for names in SECTIONS.values() for name in names)
    for test in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(test) or ""
            if docstring.startswith(known):
                promise = docstring.partition(":")[2].replace("`", "")
                where = file.relative_to(ROOT).as_posix()
                yield f"{where} {test.name}", " ".join(promise.split()).lower()


@pytest.fixture
def promises(site: Site) -> Page:
    return next(page for page in site.pages if page.path == "promises/")


def test_every_section_has_promises(promises: Page):
    modules: dict[str, list[str]] = {}
    for heading in promises.soup.select(".promises h2, .promises h3"):
        name = str(heading["id"])
        if heading.name == "h2":
            modules[name] = []
        nothing = heading.find_next_sibling()
        has_subsections = len(SECTIONS.get(name, [])) > 1
        assert nothing is not None
        assert nothing.name == ("h3" if has_subsections else "ul"), name
    assert list(modules) == list(SECTIONS)
    headings = [h.contents[0] for h in promises.soup.select(".promises h3")]
    assert headings == SECTIONS["connections"]


def test_every_promise_is_there_with_the_test_that_proves_it(promises: Page):
    files = [
        file
        for kind in ("faults", "snippets")
        for file in (ROOT / "tests" / kind).glob("test_*.py")
    ]
    listed = set()
    for item in promises.soup.select(".promises li"):
        tests = [small.extract().get_text() for small in item.select("small")]
        promise = item.get_text().strip()
        listed |= {(test, promise.lower()) for test in tests}
    assert listed == {pair for file in files for pair in proven(file)}


def test_a_module_leads_to_its_promises(site: Site):
    for module in SECTIONS:
        path = f"snippets/{module}/"
        page = next(page for page in site.pages if page.path == path)
        links = [str(link["href"]) for link in page.soup.select("article a")]
        assert f"../../promises/#{module}" in links


@pytest.mark.parametrize(
    "docstring", ["Room: tea is served.", "Rooms: tea is served"]
)
def test_what_names_no_section_or_is_no_sentence_is_an_error(
    tmp_path: Path, docstring: str
):
    module = tmp_path / "test_tea.py"
    module.write_text(f'def test_tea():\n    """{docstring}"""\n')
    of_module = runpy.run_path(str(MACHINERY))["of_module"]
    with pytest.raises(PluginError, match=r"test_tea\.py: test_tea: "):
        list(of_module(module, module.name))


def test_other_docstrings_are_left_alone(tmp_path: Path):
    module = tmp_path / "test_tea.py"
    module.write_text('def test_tea():\n    """Tea is served."""\n')
    of_module = runpy.run_path(str(MACHINERY))["of_module"]
    assert list(of_module(module, module.name)) == []
