"""Write the page of promises from the tests that prove them.

A test proves a promise if its docstring is `Section: the promise.` The tests
are read here; running them is for pytest.
"""

import ast
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

MARKER = "<!-- promises -->"
TESTS = "tests/faults/test_*.py", "tests/snippets/test_*.py"
SECTIONS = {
    "connections": ("Connection", "ConnectionManager"),
    "rooms": ("Rooms",),
    "messages": ("Messages",),
    "closing": ("Closing",),
    "limits": ("Limits",),
}
"""The sections of each module."""
ENTRY = re.compile(r"([A-Z]\w*): (.+)")


class Promise(NamedTuple):
    """What a test proves."""

    section: str
    sentence: str
    file: str
    test: str


def on_page_markdown(markdown: str, config: MkDocsConfig, **_: Any) -> str:
    """Fill in the promises where a page asks for them."""
    root = Path(config.config_file_path).parent
    if MARKER in markdown:
        markdown = markdown.replace(MARKER, "\n".join(listed(root)))
    return markdown


def listed(root: Path) -> Iterator[str]:
    """Markdown of the page: each module's promises, with their tests."""
    found: dict[str, dict[str, list[str]]] = {}
    for promise in promises(root):
        where = f"<br><small>`{promise.file}` {promise.test}</small>"
        sentences = found.setdefault(promise.section, {})
        sentences.setdefault(promise.sentence, []).append(where)
    for module, sections in SECTIONS.items():
        yield f"## [{module}](snippets/{module}.md) {{ #{module} }}\n"
        for section in sections:
            if len(sections) > 1:
                yield f"### {section}\n"
            for sentence, tests in found.get(section, {}).items():
                promised = sentence[0].upper() + sentence[1:]
                yield f"- {promised}{''.join(tests)}"
            yield ""


def promises(root: Path) -> Iterator[Promise]:
    """Read what the tests prove, those over a real server first."""
    for path in chain.from_iterable(sorted(root.glob(t)) for t in TESTS):
        yield from of_module(path, path.relative_to(root).as_posix())


def of_module(path: Path, name: str) -> Iterator[Promise]:
    """Read what the tests of a module prove.

    Raises:
        PluginError: A docstring names a section that there is not, or is no
            whole sentence.
    """
    known = list(chain.from_iterable(SECTIONS.values()))
    for test in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring = " ".join((ast.get_docstring(test) or "").split())
        entry = ENTRY.fullmatch(docstring)
        if entry is None or not test.name.startswith("test_"):
            continue
        section, sentence = entry.groups()
        if section not in known or not sentence.endswith("."):
            why = "the docstring is not 'Section: sentence.' with one of "
            where = f"{path.name}: {test.name}"
            raise PluginError(f"{where}: {why}{', '.join(known)}")
        yield Promise(section, sentence, name, test.name)
