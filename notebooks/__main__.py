"""Keep the chapters canonical.

    python notebooks check        say what is wrong, and what to do about it
    python notebooks clean        mend what can be mended without running
    python notebooks run 01 02    run in fresh kernels, and store the outputs

Without numbers, each command takes all chapters.
"""

import argparse
import ast
import copy
import re
import sys
import tempfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).resolve().parent
LINES, WIDTH = 15, 79
"""How much code a cell may hold; blank lines do not count."""
TIMEOUT = 120
"""Seconds that a single cell may take."""
TAGS = {"needs-server", "needs-threads", "skip-live"}
TAGS |= {"raises-exception", "varies"}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}

_READABLE_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
# What Jupyter makes up: eight hexadecimal digits, or a whole UUID.
_RANDOM_ID = re.compile(r"(?=.*\d)[0-9a-f]{8}(-[0-9a-f]{4}){0,3}(-[0-9a-f]+)?")
_PLACES = {NOTEBOOKS.parent, Path.home(), Path(sys.prefix)}
_PLACES |= {Path(tempfile.gettempdir())}
_HERE = "|".join(re.escape(str(place)) for place in _PLACES if place.name)
# They show nothing, and ask in vain, where their app does not run any more.
_PANES = re.compile(r'<div class="panes".*</div>', re.DOTALL)
_NO_PANES = (
    '<div class="panes"><p>When this cell runs, web pages that talk to the '
    "app appear here.</p></div>"
)
_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_NEVER = {
    "a path of a machine": rf"({_HERE})\b|/(home|Users)/\w|\b[A-Z]:\\{{2,}}\w"
    r"|site-packages|ipykernel_\d",
    "an object's address": r"\b0x[0-9a-fA-F]{6,}",
}
_ONLY_IF_IT_VARIES = {
    "a date": rf"\b20\d\d-[01]\d-[0-3]\d|\b\d\d? ({_MONTHS})\w* 20\d\d",
    "a time of day": r"\b[0-2]?\d:[0-5]\d:[0-5]\d\b",
}


def read(text: str) -> NotebookNode:
    """Read a notebook as it is, mending nothing."""
    return nbformat.v4.reads(text)


def written(notebook: NotebookNode) -> str:
    """Write a notebook in the one way that makes small diffs."""
    return nbformat.v4.writes(notebook) + "\n"


def mended(notebook: NotebookNode) -> NotebookNode:
    """Mend what can be mended without running.

    Args:
        notebook: In format 4. It stays as it is.

    Returns:
        A notebook with the metadata that this project uses, a readable id for
        each cell, errors without their traceback, which has paths in it, and
        a sentence where web pages were shown.
    """
    notebook = copy.deepcopy(notebook)
    notebook.nbformat_minor = 5
    ours = notebook.metadata.get("frame_by_frame", {})
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    notebook.metadata = nbformat.from_dict(metadata | {"frame_by_frame": ours})
    taken: set[str] = set()
    for number, cell in enumerate(notebook.cells):
        cell.id = _free_id(cell, number, taken)
        taken.add(cell.id)
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        cell.source = cell.source.strip("\n")
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                output.traceback = [f"{output.ename}: {output.evalue}"]
            data = output.get("data", {})
            if "text/html" in data:
                data["text/html"] = _PANES.sub(_NO_PANES, data["text/html"])
    return notebook


def _free_id(cell: NotebookNode, number: int, taken: set[str]) -> str:
    name = cell.get("id", "")
    usable = _READABLE_ID.fullmatch(name) and not _RANDOM_ID.fullmatch(name)
    kind = "code" if cell.cell_type == "code" else "text"
    while not usable or name in taken:
        name, number, usable = f"{kind}-{number:02}", number + 1, True
    return name


def problems(text: str) -> Iterator[str]:
    """Find what is not canonical in a notebook's file.

    Yields:
        Which cell, what is wrong with it, and what to do.
    """
    notebook = read(text)
    clean = mended(notebook)
    if text != written(clean):
        todo = "run `python notebooks clean`"
        for cell, new in zip_longest(notebook.cells, clean.cells):
            for key in sorted(key for key in new if cell.get(key) != new[key]):
                yield f"{new.id}: its {key} is not canonical; {todo}"
        yield f"notebook: it is not written canonically; {todo}"
    try:
        nbformat.validate(clean)
    except nbformat.ValidationError as error:
        yield f"notebook: Jupyter cannot read it: {error.message}"
    ours = clean.metadata.frame_by_frame
    for key, kind in {"minutes": int, "needs": str, "summary": str}.items():
        if not ours.get(key) or not isinstance(ours[key], kind):
            yield f"notebook: add frame_by_frame.{key} to its metadata"
    code = [cell for cell in clean.cells if cell.cell_type == "code"]
    if not code or not _only_imports(code[0].source):
        yield "notebook: let its first code cell import, and do nothing else"
    if [cell.execution_count for cell in code] != [*range(1, len(code) + 1)]:
        yield "notebook: it did not run in order; run `python notebooks run`"
    for cell in code:
        yield from (f"{cell.id}: {problem}" for problem in _in_cell(cell))


def _only_imports(source: str) -> bool:
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return False
    return all(isinstance(one, ast.Import | ast.ImportFrom) for one in body)


def _in_cell(cell: NotebookNode) -> Iterator[str]:
    lines = [line for line in cell.source.splitlines() if line.strip()]
    if len(lines) > LINES:
        yield f"{len(lines)} lines of code; split it, {LINES} are enough"
    for line in lines:
        if len(line.partition("  # ty: ignore")[0]) > WIDTH:
            yield f"longer than {WIDTH} characters; break {line.strip()!r}"
    tags = cell.metadata.get("tags", [])
    for tag in sorted(set(tags) - TAGS):
        yield f"unknown tag {tag!r}; there are {', '.join(sorted(TAGS))}"
    shown = str([output.get("data", output) for output in cell.outputs])
    unwanted = _NEVER if "varies" in tags else _NEVER | _ONLY_IF_IT_VARIES
    for what, pattern in unwanted.items():
        if found := re.search(pattern, shown):
            yield f"shows {what}, {found[0]!r}; show something that stays"
    failed = any(output.output_type == "error" for output in cell.outputs)
    if failed and "raises-exception" not in tags:
        yield "it raised; mend it, or tag it raises-exception"


def run(text: str, timeout: int = TIMEOUT) -> str:
    """Run a notebook from the start in a fresh kernel.

    Args:
        text: The notebook's file.
        timeout: Seconds that a single cell may take.

    Returns:
        The new text, with the outputs.

    Raises:
        CellControlSignal: A cell raised, or took too long.
        DeadKernelError: The kernel died.
    """
    notebook = read(text)
    NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name=KERNEL["name"],
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        record_timing=False,
        coalesce_streams=True,
    ).execute()
    return written(mended(notebook))


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says.

    Returns:
        0 if all chapters are canonical in the end, else 1.
    """
    parser = argparse.ArgumentParser("python notebooks")
    parser.add_argument("command", choices=["check", "clean", "run"])
    parser.add_argument("chapter", nargs="*", help="such as 01; all if none")
    options = parser.parse_args(arguments)
    paths: list[Path] = []
    for number in options.chapter or ["[0-9][0-9]"]:
        found = sorted(NOTEBOOKS.glob(f"{number}-*.ipynb"))
        if not found:
            parser.error(f"there is no chapter {number}")
        paths += found
    well = True
    for path in paths:
        old = path.read_text(encoding="utf-8")
        new = written(mended(read(old))) if options.command == "clean" else old
        if options.command == "run":
            print(f"{path.name}: running")
            try:
                new = run(old)
            except (CellControlSignal, DeadKernelError) as error:
                well = False
                print(f"{path.name}: not stored, it did not run to its end")
                print(error)
        if new != old:
            path.write_text(new, encoding="utf-8")
            print(f"{path.name}: rewritten")
        for problem in problems(new):
            well = False
            print(f"{path.name}:{problem}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
