"""Each chapter runs again and gives the outputs that are stored in it.

Chapters are found by themselves. What compares them is tested, too: on a
small notebook, every way to differ must turn red.
"""

import re
from collections.abc import Callable
from copy import deepcopy
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode
from pytest_notebook.nb_regression import (
    NBRegressionError,
    NBRegressionFixture,
)

from exercises import Exercise, source
from notebooks import __main__ as canonical

CHAPTERS = sorted(canonical.NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))

each_chapter = pytest.mark.parametrize(
    "chapter", CHAPTERS, ids=[path.stem for path in CHAPTERS]
)


def compare(path: Path, nb_regression: NBRegressionFixture) -> None:
    """Run a notebook and compare all outputs but those that may vary."""
    cells = canonical.read(path.read_text(encoding="utf-8")).cells
    varying = [
        number
        for number, cell in enumerate(cells)
        if "varies" in cell.metadata.get("tags", [])
    ]
    nb_regression.diff_ignore += tuple(
        f"/cells/{number}/outputs" for number in varying
    )
    ran = nb_regression.check(str(path)).nb_final.cells
    for number in varying:  # they may differ, but not disappear
        assert bool(ran[number].outputs) == bool(cells[number].outputs)


# The chapters


def test_chapters_are_found_and_numbered():
    numbers = [int(path.name[:2]) for path in CHAPTERS]
    assert numbers
    assert numbers == list(range(len(numbers)))


@each_chapter
def test_a_chapter_gives_its_stored_outputs(
    chapter: Path, nb_regression: NBRegressionFixture
):
    compare(chapter, nb_regression)


@each_chapter
def test_a_chapter_is_canonical(chapter: Path):
    text = chapter.read_text(encoding="utf-8")
    assert list(canonical.problems(text)) == []


@each_chapter
def test_a_chapter_shows_its_exercises_as_they_are_tested(chapter: Path):
    name = chapter.stem.partition("-")[2].replace("-", "_")
    found = {
        key: value
        for key, value in vars(import_module(f"exercises.{name}")).items()
        if isinstance(value, Exercise)
    }
    assert found
    cells = canonical.read(chapter.read_text(encoding="utf-8")).cells
    prose = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    code = "\n".join(c.source for c in cells if c.cell_type == "code")
    for key, exercise in found.items():
        assert exercise.task in prose
        assert f"{key}.hint()" in code
        assert f"{key}.solution()" in code
        check = re.search(rf"await (\w+\.)?{key}\.check\((\w+)\)", code)
        assert check, f"the chapter never checks an answer to {key}"
        stub = source(exercise.stub)
        own_name = getattr(exercise.stub, "fn", exercise.stub).__name__
        assert stub.replace(own_name, check[2], 1).strip() in code


# What compares them

CELLS = {
    "imports": "import asyncio\nimport time",
    "prints": "print('one')\nprint('two')",
    "shows": "2 + 2",
    "changes": "time.time_ns()",
    "waits": "await asyncio.sleep(0)",
}
NUMBERS = {name: number for number, name in enumerate(CELLS, start=1)}


@pytest.fixture(scope="module")
def ran() -> str:
    """The file of a small notebook that has run."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["frame_by_frame"] = {
        "minutes": 1,
        "needs": "Nothing",
        "summary": "Small, and yet it has everything.",
    }
    notebook.cells = [nbformat.v4.new_markdown_cell("# Small", id="title")]
    for name, code in CELLS.items():
        notebook.cells.append(nbformat.v4.new_code_cell(code, id=name))
    notebook.cells[NUMBERS["changes"]].metadata["tags"] = ["varies"]
    return canonical.run(canonical.written(notebook))


Cells = dict[str, NotebookNode]
Compare = Callable[[], None]


@pytest.fixture
def notebook(ran: str) -> NotebookNode:
    return canonical.read(ran)


@pytest.fixture
def cells(notebook: NotebookNode) -> Cells:
    return {cell.id: cell for cell in notebook.cells}


@pytest.fixture
def compare_it(
    notebook: NotebookNode, tmp_path: Path, nb_regression: NBRegressionFixture
) -> Compare:
    """Compare the notebook, as the test has changed it."""

    def store_and_compare() -> None:
        path = tmp_path / "small.ipynb"
        path.write_text(canonical.written(notebook), encoding="utf-8")
        compare(path, nb_regression)

    return store_and_compare


def test_what_is_the_same_passes_and_what_varies_may_differ(
    cells: Cells, compare_it: Compare
):
    assert int(cells["changes"].outputs[0].data["text/plain"])
    compare_it()


def test_every_output_that_differs_is_seen(cells: Cells, compare_it: Compare):
    cells["waits"].outputs = deepcopy(cells["prints"].outputs)  # never comes
    cells["prints"].outputs[0].text = "one\nthree\n"
    cells["shows"].outputs = []  # not stored
    with pytest.raises(NBRegressionError) as caught:
        compare_it()
    seen = re.findall(r"## (\w+).* /cells/(\d+)/outputs", str(caught.value))
    assert seen == [
        ("modified", str(NUMBERS["prints"])),
        ("inserted", str(NUMBERS["shows"])),
        ("deleted", str(NUMBERS["waits"])),
    ]
    assert "three" in str(caught.value)


def test_an_output_that_may_vary_must_still_come(
    cells: Cells, compare_it: Compare
):
    cells["changes"].source = "time.time_ns();"
    with pytest.raises(AssertionError):
        compare_it()


@pytest.mark.parametrize("name", ["shows", "changes"])
def test_a_cell_that_raises_is_seen(
    name: str, cells: Cells, compare_it: Compare
):
    cells[name].source = "raise ValueError('broken')"
    with pytest.raises(CellExecutionError, match="broken"):
        compare_it()


@pytest.mark.parametrize(
    "code", ["await asyncio.Event().wait()", "while True: pass"]
)
def test_a_cell_that_hangs_is_seen(
    code: str,
    cells: Cells,
    compare_it: Compare,
    nb_regression: NBRegressionFixture,
):
    nb_regression.exec_timeout = 1
    cells["waits"].source = code
    with pytest.raises(CellTimeoutError):
        compare_it()


# What keeps them canonical


def problems(notebook: NotebookNode) -> list[str]:
    return list(canonical.problems(canonical.written(notebook)))


def prints(text: str) -> NotebookNode:
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def test_a_notebook_that_ran_is_canonical(ran: str):
    assert list(canonical.problems(ran)) == []
    assert canonical.written(canonical.mended(canonical.read(ran))) == ran
    assert [cell.id for cell in canonical.read(ran).cells[1:]] == list(CELLS)


@pytest.mark.parametrize(
    ("shown", "what"),
    [
        (f"File {canonical.NOTEBOOKS}/x.py", "path"),
        (f"in {Path.home()}", "path"),
        ("lib/site-packages/litestar/app.py", "path"),
        (r"C:\Users\ada", "path"),
        ("/home/ada/chat", "path"),
        ("<Chat object at 0x7f3b5c0d8e10>", "address"),
        ("on 2026-02-03", "date"),
        ("date: Tue, 03 Feb 2026", "date"),
        ("at 12:34:56", "time of day"),
    ],
)
def test_what_is_not_the_same_everywhere_is_found(
    shown: str, what: str, notebook: NotebookNode, cells: Cells
):
    assert problems(notebook) == []
    cells["prints"].outputs = [prints(shown)]
    (problem,) = problems(notebook)
    assert problem.startswith("prints: ")
    assert what in problem


@pytest.mark.parametrize(
    "shown", ["/chat/Ada", "0x88", "1000", "ws://host/home", "10:30", "1.2.3"]
)
def test_what_is_the_same_everywhere_may_be_shown(
    shown: str, notebook: NotebookNode, cells: Cells
):
    cells["prints"].outputs = [prints(shown)]
    assert problems(notebook) == []


def test_a_date_may_be_shown_where_it_may_vary_but_a_path_never(
    notebook: NotebookNode, cells: Cells
):
    cells["changes"].outputs = [prints("on 2026-02-03")]
    assert problems(notebook) == []
    cells["changes"].outputs = [prints(str(canonical.NOTEBOOKS))]
    assert len(problems(notebook)) == 1


def long(cells: Cells) -> None:
    cells["prints"].source = "\n\n".join(["print('one')"] * 16)


def wide(cells: Cells) -> None:
    cells["prints"].source = f"print('{'x' * 80}')"


def not_only_imports(cells: Cells) -> None:
    cells["imports"].source += "\nawait asyncio.sleep(0)"


def out_of_order(cells: Cells) -> None:
    cells["prints"].execution_count = 7


def never_run(cells: Cells) -> None:
    cells["waits"].execution_count = None


def mistyped_tag(cells: Cells) -> None:
    cells["prints"].metadata["tags"] = ["need-server"]


def raised(cells: Cells) -> None:
    error = nbformat.v4.new_output(
        "error", ename="ValueError", evalue="no", traceback=["ValueError: no"]
    )
    cells["prints"].outputs = [error]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (long, "prints: 16 lines of code"),
        (wide, "prints: longer than 79 characters"),
        (not_only_imports, "first code cell"),
        (out_of_order, "did not run in order"),
        (never_run, "did not run in order"),
        (mistyped_tag, "prints: unknown tag 'need-server'"),
        (raised, "prints: it raised"),
    ],
)
def test_what_a_person_must_mend_is_found(
    break_it: Callable[[Cells], None],
    words: str,
    notebook: NotebookNode,
    cells: Cells,
):
    break_it(cells)
    (problem,) = problems(notebook)
    assert words in problem
    again = canonical.mended(notebook)
    assert problems(again) == [problem]


@pytest.mark.parametrize("key", ["minutes", "needs", "summary"])
def test_what_a_chapter_says_about_itself_is_needed(
    key: str, notebook: NotebookNode
):
    del notebook.metadata["frame_by_frame"][key]
    assert problems(notebook) == [
        f"notebook: add frame_by_frame.{key} to its metadata"
    ]


def test_an_expected_error_may_be_shown_without_its_traceback(
    notebook: NotebookNode, cells: Cells
):
    raised(cells)
    cells["prints"].metadata["tags"] = ["raises-exception"]
    assert problems(notebook) == []
    cells["prints"].outputs[0].traceback = [f"in {canonical.NOTEBOOKS}/x.py"]
    assert problems(notebook)
    assert problems(canonical.mended(notebook)) == []


PANES = """
from IPython.display import HTML
HTML(f'<div class="panes"><iframe src="http://127.0.0.1:{%d}/"></iframe></div>')
"""


def test_web_pages_may_have_any_port_and_are_stored_as_a_sentence(
    notebook: NotebookNode, cells: Cells, compare_it: Compare
):
    cells["shows"].source = PANES % 1234
    shown = cells["shows"].outputs[0]
    shown.data = {
        "text/html": '<div class="panes"><iframe src="x"></iframe>\n</div>',
        "text/plain": "<IPython.core.display.HTML object>",
    }
    compare_it()
    stored = canonical.mended(notebook)
    html = stored.cells[NUMBERS["shows"]].outputs[0].data["text/html"]
    assert "<iframe" not in html
    assert "When this cell runs" in html
    assert canonical.mended(stored) == stored
    shown.data["text/html"] = "<div></div>"
    with pytest.raises(NBRegressionError):
        compare_it()


def other_kernel(notebook: NotebookNode) -> None:
    notebook.metadata["kernelspec"]["display_name"] = "My own (3.13)"


def widgets(notebook: NotebookNode) -> None:
    notebook.metadata["widgets"] = {"application/vnd.jupyter": {"state": {}}}


def timing(notebook: NotebookNode) -> None:
    notebook.cells[1].metadata["execution"] = {"iopub.status.busy": "now"}


def random_id(notebook: NotebookNode) -> None:
    notebook.cells[2].id = "0f3b5c0d"


def uuid(notebook: NotebookNode) -> None:
    notebook.cells[2].id = "d3b07384-d9a0-4c9b-8f5e-2f0c6a1b7e4d"


def twice_the_same_id(notebook: NotebookNode) -> None:
    notebook.cells[2].id = notebook.cells[1].id


def no_ids(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        del cell["id"]
    notebook.nbformat_minor = 4


@pytest.mark.parametrize(
    "break_it",
    [
        other_kernel,
        widgets,
        timing,
        random_id,
        uuid,
        twice_the_same_id,
        no_ids,
    ],
)
def test_what_can_be_mended_is_found_and_mended(
    break_it: Callable[[NotebookNode], None], notebook: NotebookNode
):
    before = [cell.source for cell in notebook.cells]
    break_it(notebook)
    assert any("python notebooks clean" in one for one in problems(notebook))
    again = canonical.mended(notebook)
    assert problems(again) == []
    assert [cell.source for cell in again.cells] == before


# The command


@pytest.fixture
def chapter(ran: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(canonical, "NOTEBOOKS", tmp_path)
    path = tmp_path / "00-small.ipynb"
    path.write_text(ran, encoding="utf-8")
    return path


def edit(path: Path, old: str, new: str) -> str:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def test_checking_says_nothing_if_all_is_well(
    chapter: Path, capsys: pytest.CaptureFixture[str]
):
    assert canonical.main(["check"]) == 0
    assert capsys.readouterr().out == ""


def test_checking_says_where_and_changes_nothing(
    chapter: Path, capsys: pytest.CaptureFixture[str]
):
    text = edit(chapter, '"Python 3"', '"Mine"')
    assert canonical.main(["check", "00"]) == 1
    assert "00-small.ipynb:notebook: " in capsys.readouterr().out
    assert chapter.read_text(encoding="utf-8") == text


def test_cleaning_stores_what_it_mended(chapter: Path, ran: str):
    edit(chapter, '"Python 3"', '"Mine"')
    assert canonical.main(["clean"]) == 0
    assert chapter.read_text(encoding="utf-8") == ran


def test_running_stores_the_outputs_and_nothing_else(chapter: Path, ran: str):
    edit(chapter, '"2 + 2"', '"2 + 3"')
    assert canonical.main(["run", "00"]) == 0
    after = canonical.read(chapter.read_text(encoding="utf-8"))
    expected = canonical.read(ran)
    expected.cells[NUMBERS["shows"]].source = "2 + 3"
    shown = expected.cells[NUMBERS["shows"]].outputs[0].data
    shown["text/plain"] = "5"
    varying = NUMBERS["changes"]
    expected.cells[varying].outputs = after.cells[varying].outputs
    assert after == expected


def test_running_stores_nothing_if_a_cell_raises(
    chapter: Path, capsys: pytest.CaptureFixture[str]
):
    text = edit(chapter, '"2 + 2"', '"2 / 0"')
    assert canonical.main(["run"]) == 1
    said = capsys.readouterr().out
    assert "00-small.ipynb: not stored" in said
    assert "ZeroDivisionError" in said
    assert chapter.read_text(encoding="utf-8") == text


def test_an_unknown_chapter_is_an_error(
    chapter: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        canonical.main(["check", "99"])
    assert "no chapter 99" in capsys.readouterr().err
