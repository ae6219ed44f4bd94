"""A mistake in a notebook stops the build, which says where it is."""

from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import nbformat
import pytest
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_output,
)

from .conftest import build, small_project


def build_with(
    folder: Path, *cells: nbformat.NotebookNode
) -> CompletedProcess[str]:
    """Build the site with a single chapter that has these cells."""
    small_project(folder, *cells)
    return build(folder, folder / "site", "http://127.0.0.1/")


def failing_cell(*tags: str) -> nbformat.NotebookNode:
    error = new_output(
        "error", ename="ValueError", evalue="oh", traceback=["ValueError: oh"]
    )
    cell = new_code_cell("fail()", outputs=[error], id="the-failing-cell")
    cell.metadata["tags"] = list(tags)
    return cell


@dataclass(frozen=True)
class Built:
    """What a build with faults said, and made."""

    status: int
    lines: list[str]
    page: str


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A build with good links of each kind, broken ones, and a traceback."""
    folder = tmp_path_factory.mktemp("links")
    process = build_with(
        folder,
        new_markdown_cell(
            "[good](00-life.ipynb#A-section-of-it)"
            " [good](#a-section-of-it)"
            " [good](../docs/glossary.md#room)"
            " [good](../snippets/closing.py)\n\n"
            "[bad](01-missing.ipynb)"
            " [bad](../docs/missing.md)"
            " [bad](#no-such-section)"
            " [bad](../docs/glossary.md#no-such-term)\n\n"
            '<p><a href="raw.html">bad</a></p>'
        ),
        failing_cell("raises-exception"),
    )
    page = folder / "site" / "notebooks" / "00-life" / "index.html"
    lines = process.stdout.splitlines()
    return Built(process.returncode, lines, page.read_text())


def test_a_broken_link_fails_the_build(built: Built):
    assert built.status != 0


@pytest.mark.parametrize(
    "link",
    [
        "01-missing.ipynb",
        "../docs/missing.md",
        "#no-such-section",
        "glossary/#no-such-term",
        "raw.html",
    ],
)
def test_a_broken_link_is_named(built: Built, link: str):
    lines = [line for line in built.lines if link in line]
    assert len(lines) == 1, built.lines
    assert lines[0].startswith("WARNING")
    assert "notebooks/00-life.ipynb" in lines[0]


def test_good_links_are_not_reported(built: Built):
    warnings = [line for line in built.lines if line.startswith("WARNING")]
    assert len(warnings) == 5, warnings


def test_a_traceback_that_is_meant_is_shown(built: Built):
    assert "ValueError: oh" in built.page


def test_a_traceback_fails_the_build(tmp_path: Path):
    process = build_with(tmp_path, failing_cell())
    assert process.returncode != 0
    assert "notebooks/00-life.ipynb" in process.stdout
    assert "the-failing-cell" in process.stdout
