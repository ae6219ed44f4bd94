"""The ledger of claims says what its tests say."""

import re
import runpy
from importlib.metadata import version
from pathlib import Path

import pytest
from mkdocs.exceptions import PluginError

from .conftest import ROOT, Page, Site

MACHINERY = ROOT / "docs" / "machinery" / "claims.py"
CHAPTERS = (
    "handlers",
    "listeners",
    "streams",
    "transport_modes",
    "dependency_injection",
    "pushing_and_receiving",
    "websocket_class",
    "message_contract",
    "connection_manager",
    "rooms",
    "error_handling",
)


@pytest.fixture
def ledger(site: Site) -> Page:
    return next(page for page in site.pages if page.path == "claims/")


def test_every_claim_that_is_tried_is_in_the_ledger(ledger: Page):
    names = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
    modules = [ROOT / f"tests/claims/test_{name}.py" for name in CHAPTERS]
    tests = [names.findall(module.read_text("utf-8")) for module in modules]
    listed = [
        [test.get_text() for test in table.select("td small")]
        for table in ledger.soup.select(".claims table")
    ]
    assert listed == tests


def test_each_part_of_the_ledger_leads_to_its_chapter(ledger: Page):
    links = [link["href"] for link in ledger.soup.select(".claims > p a")]
    assert [re.sub(r".*\d\d-|/$", "", str(link)) for link in links] == [
        chapter.replace("_", "-") for chapter in CHAPTERS
    ]


def test_a_wish_links_to_its_issue(ledger: Page):
    (test,) = ledger.soup.find_all(
        "small",
        string="test_a_controller_with_a_listener_works_inside_a_router",
    )
    row = test.find_parent("tr")
    assert row is not None
    link = row.select_one("strong a")
    assert link is not None
    assert str(link["href"]).endswith("/litestar/issues/4540")
    assert "false (litestar #4540: open): " in row.get_text()


def test_the_versions_are_those_that_run(ledger: Page):
    text = " ".join(ledger.soup.get_text().split())
    assert (
        f"with Litestar {version('litestar')}, and on the wire with uvicorn "
        f"{version('uvicorn')} and websockets {version('websockets')}."
    ) in text


@pytest.mark.parametrize(
    "docstring", ["A claim → no verdict.", "A claim → maybe: so."]
)
def test_what_is_no_entry_is_an_error(tmp_path: Path, docstring: str):
    module = tmp_path / "test_tea.py"
    module.write_text(f'def test_tea():\n    """{docstring}"""\n')
    rows = runpy.run_path(str(MACHINERY))["rows"]
    with pytest.raises(PluginError, match=r"test_tea\.py: test_tea: "):
        list(rows(module))
