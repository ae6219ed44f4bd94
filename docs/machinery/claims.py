"""Write the ledger of claims from the tests that try them.

The docstring of a test is its entry: the claim, an arrow, a verdict, and what
really happens. The tests are read here; running them is for pytest.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

TESTS = "tests/claims/test_*.py"
MARKER = "<!-- claims -->"
VERSION_MARKER = re.compile(r"<!-- version: (\S+) -->")
ENTRY = re.compile(r"(.+) → (true|half true|false): (.+)")
WISH = re.compile(r"xfail\(reason='([^']*)'")
ISSUE = re.compile(r"(litestar) #(\d+)")
LINK = r"[\1 #\2](https://github.com/litestar-org/litestar/issues/\2)"
HEAD = "| Claim | Verdict |\n| --- | --- |"


def on_page_markdown(markdown: str, config: MkDocsConfig, **_: Any) -> str:
    """Fill in what is computed where a page asks for it."""
    root = Path(config.config_file_path).parent
    if MARKER in markdown:
        markdown = markdown.replace(MARKER, "\n".join(ledger(root)))
    return VERSION_MARKER.sub(lambda name: version(name[1], root), markdown)


def version(package: str, root: Path) -> str:
    """Look up the version of a package that the tests run with."""
    pins = (root / "constraints.txt").read_text(encoding="utf-8").split()
    return dict(pin.split("==") for pin in pins if "==" in pin)[package]


def ledger(root: Path) -> Iterator[str]:
    """Markdown of the ledger: a section with a table for each chapter."""
    for page, path in sorted((chapter(p, root), p) for p in root.glob(TESTS)):
        if entries := list(rows(path)):
            title = path.stem.removeprefix("test_").replace("_", " ")
            tried = f"Tried in `{path.relative_to(root).as_posix()}`"
            told = f", told in [the chapter]({page})" if page else ""
            yield f"## {title.capitalize()}\n\n{tried}{told}.\n"
            yield from [HEAD, *entries, ""]


def chapter(path: Path, root: Path) -> str:
    """Find the notebook of a test module; an empty name if there is none."""
    name = path.stem.removeprefix("test_").replace("_", "-")
    found = root.glob(f"notebooks/[0-9][0-9]-{name}.ipynb")
    return next((page.relative_to(root).as_posix() for page in found), "")


def rows(path: Path) -> Iterator[str]:
    """Markdown of the entries of a module: its tests with an arrow.

    Raises:
        PluginError: A docstring is not an entry.
    """
    for test in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring = " ".join((ast.get_docstring(test) or "").split())
        if test.name.startswith("test_") and "→" in docstring:
            if (entry := ENTRY.fullmatch(docstring)) is None:
                why = "the docstring is not 'claim → verdict: truth'"
                raise PluginError(f"{path.name}: {test.name}: {why}")
            claim, verdict, truth = entry.groups()
            marks = " ".join(map(ast.unparse, test.decorator_list))
            if wish := WISH.search(marks):
                verdict += f" ({ISSUE.sub(LINK, wish[1])})"
            truth += f"<br><small>{test.name}</small>"
            yield f"| {claim} | **{verdict}:** {truth} |"
