"""Each chapter puts out in the tab's Python what is stored in it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from copy import deepcopy
from difflib import unified_diff
from pathlib import Path
from textwrap import dedent
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

import bundle
from notebooks.__main__ import mended

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "docs/machinery/live/check.mjs"
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb"))

Ran = dict[str, dict[str, Any]]


def run(*chapters: Path) -> dict[str, Ran]:
    """Run chapters in Pyodide.

    Returns:
        What came of each cell, by chapter and id, as it would be stored.
    """
    node = shutil.which("node")
    if node is None:
        pytest.fail("no Node.js, which runs here what a reader's tab runs")
    ran = subprocess.run(
        [node, CHECK, bundle.build().folder, *chapters],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found: dict[str, Ran] = json.loads(ran.stdout)
    for cells in found.values():
        for name, cell in cells.items():
            stored = nbformat.v4.new_code_cell(id=name)
            stored.outputs = nbformat.from_dict(cell["outputs"])
            notebook = nbformat.v4.new_notebook()
            notebook.cells = [stored]
            cell["outputs"] = mended(notebook).cells[0].outputs
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    odd = nbformat.v4.new_notebook()
    for name, (code, _) in ODD.items():
        cell = nbformat.v4.new_code_cell(dedent(code).strip(), id=name)
        odd.cells.append(cell)
    path = tmp_path_factory.mktemp("odd") / "odd.ipynb"
    nbformat.write(odd, path)
    return run(*CHAPTERS, path)


def told(outputs: list[Any]) -> dict[str, str]:
    """What outputs say: streams, forms of results, and errors, by name."""
    found: dict[str, str] = {}
    for output in outputs:
        match output["output_type"]:
            case "stream":
                parts = {output["name"]: output["text"]}
            case "error":
                parts = {"error": f"{output['ename']}: {output['evalue']}"}
            case kind:
                parts = {
                    f"{kind} {mime}": text.rstrip("\n") + "\n"
                    for mime, text in output["data"].items()
                }
        for name, text in parts.items():
            found[name] = found.get(name, "") + text
    return found


def differences(cells: list[NotebookNode], ran: Ran) -> list[str]:
    """Compare what is stored with what came; of what varies, the kinds."""
    found: list[str] = []
    for cell in cells:
        if cell.id not in ran:
            continue
        old, new = told(cell.outputs), told(ran[cell.id]["outputs"])
        if "varies" in cell.metadata.get("tags", []):
            old = dict.fromkeys(old, "varies")
            new = dict.fromkeys(new, "varies")
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                found += unified_diff(
                    old.get(name, "").splitlines(),
                    new.get(name, "").splitlines(),
                    f"{cell.id}, {name}, stored",
                    f"{cell.id}, {name}, in the tab",
                    lineterm="",
                )
    return found


def cells_of(path: Path) -> list[NotebookNode]:
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


@pytest.mark.parametrize(
    "chapter", CHAPTERS, ids=[path.stem for path in CHAPTERS]
)
def test_a_chapter_puts_out_the_same_in_the_tab(
    chapter: Path, ran: dict[str, Ran]
):
    cells = cells_of(chapter)
    came = ran[chapter.stem]
    assert "\n".join(differences(cells, came)) == ""
    assert {cell["status"] for cell in came.values()} == {"ok"}
    skipped = {"needs-server", "needs-threads", "skip-live"}
    for cell in cells:
        tags = set(cell.metadata.get("tags", []))
        assert cell.id in came or tags & skipped


# What is different in a tab

ODD: dict[str, tuple[str, str]] = {
    "ends-the-program": ("raise SystemExit('no')", "SystemExit: no"),
    "a-task-ends-the-program": (
        """
        import asyncio
        async def ends(error):
            raise error
        await asyncio.wait([
            asyncio.create_task(ends(SystemExit())),
            asyncio.create_task(ends(KeyboardInterrupt())),
        ])
        print("still here")
        """,
        "still here\n",
    ),
    "fails-before-it-is-awaited": (
        """
        task = asyncio.create_task(ends(ValueError("caught")))
        await asyncio.sleep(0.01)
        try:
            await task
        except ValueError as error:
            print(error)
        """,
        "caught\n",
    ),
    "half-a-character": (r"print('\ud83d')", "?\n"),
    "a-thread": (
        "import threading\nthreading.Thread(target=print).start()",
        "a browser tab has no threads",
    ),
    "to-thread": ("print(await asyncio.to_thread(abs, -1))", "1\n"),
    "blocking-sleep": (
        """
        import time
        before = time.perf_counter()
        time.sleep(0.1)
        print(time.perf_counter() - before >= 0.1)
        """,
        "True\n",
    ),
    "logs": (
        """
        import logging
        from litestar.logging import LoggingConfig
        LoggingConfig().configure()
        logging.getLogger("litestar").error("logged")
        """,
        " - logged\n",
    ),
    "no-server": (
        "from snippets.testing.server import Server, serve\nprint(Server)",
        "tab.sockets.Server",
    ),
    "too-deep": ("def f(n): f(n + 1)\nf(0)", "RecursionError: maximum"),
    "no-python": ("x = (1,,2)", "SyntaxError: invalid syntax"),
    "no-input": ("input()", "EOFError"),
    "goes-on": ("1 + 1", "2\n"),
}
"""Cells by id, and what they must say."""


@pytest.mark.parametrize("cell", ODD)
def test_python_is_still_itself_in_the_tab(cell: str, ran: dict[str, Ran]):
    outputs = told(ran["odd"][cell]["outputs"])
    assert ODD[cell][1] in "".join(outputs.values())


# What compares them


@pytest.fixture
def stored() -> dict[str, NotebookNode]:
    """The cells of a chapter, by id."""
    return {cell.id: deepcopy(cell) for cell in cells_of(CHAPTERS[0])}


def another_line(cells: dict[str, NotebookNode]) -> None:
    cells["twice"].outputs[0].text += "more\n"


def no_output(cells: dict[str, NotebookNode]) -> None:
    cells["twice"].outputs = []


def another_stream(cells: dict[str, NotebookNode]) -> None:
    cells["twice"].outputs[0].name = "stderr"


def another_result(cells: dict[str, NotebookNode]) -> None:
    cells["once-run"].outputs[0].data["text/plain"] = "'hello'"


def another_picture(cells: dict[str, NotebookNode]) -> None:
    cells["once-frames"].outputs[0].data["text/html"] += "<p>more</p>"


def an_error(cells: dict[str, NotebookNode]) -> None:
    error = nbformat.v4.new_output("error", ename="E", evalue="e")
    cells["once"].outputs = [error]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (another_line, "-more"),
        (no_output, "twice, stdout, stored"),
        (another_stream, "twice, stderr, stored"),
        (another_result, "-'hello'\n+'HELLO'"),
        (another_picture, "+</figure>"),
        (an_error, "-E: e"),
    ],
)
def test_every_difference_is_told(
    change: Callable[[dict[str, NotebookNode]], None],
    words: str,
    stored: dict[str, NotebookNode],
    ran: dict[str, Ran],
):
    came = ran[CHAPTERS[0].stem]
    assert differences(list(stored.values()), came) == []
    change(stored)
    told = differences(list(stored.values()), came)
    assert words in "\n".join(told)


def test_what_varies_may_differ_but_not_disappear(
    stored: dict[str, NotebookNode], ran: dict[str, Ran]
):
    came = ran[CHAPTERS[0].stem]
    cell = stored["twice"]
    cell.metadata["tags"] = ["varies"]
    cell.outputs[0].text = "something else\n"
    assert differences([cell], came) == []
    cell.outputs[0].name = "stderr"
    assert differences([cell], came) != []
