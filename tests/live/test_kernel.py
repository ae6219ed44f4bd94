"""The tab's kernel runs cells as a notebook's does, here in this Python."""

import asyncio
import builtins
import gc
import json
import sys
import textwrap
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

import pytest

from tab.kernel import Kernel
from tab.outputs import LIMIT, LINES

Message = dict[str, Any]
Execute = Callable[..., Coroutine[Any, Any, list[Message]]]

WAIT = 5.0


@pytest.fixture
def posted() -> list[Message]:
    """What the kernel sent to the page."""
    return []


@pytest.fixture
def kernel(posted: list[Message], monkeypatch: pytest.MonkeyPatch) -> Kernel:
    for place, name in ((sys, "stdout"), (sys, "stderr")):
        monkeypatch.setattr(place, name, getattr(place, name))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(builtins, "display", None, raising=False)
    return Kernel(posted.append)


@pytest.fixture
def run(kernel: Kernel, posted: list[Message]) -> Execute:
    """Run a cell; give its outputs, and how it ended as the last."""

    async def run(
        source: str, cell: str = "a-cell", chapter: str = "01-chapter"
    ) -> list[Message]:
        posted.clear()
        source = textwrap.dedent(source).strip("\n")
        async with asyncio.timeout(WAIT):
            await kernel.run(chapter, cell, source)
        return taken(posted)

    return run


def taken(posted: list[Message]) -> list[Message]:
    """Take the messages that were posted; give what they hold."""
    json.dumps(posted)  # they can be sent
    messages, posted[:] = posted[:], []
    return [m.get("output") or m["status"] for m in messages]


def text_of(outputs: list[Message], name: str = "stdout") -> str:
    return "".join(
        output["text"]
        for output in outputs
        if isinstance(output, dict) and output.get("name") == name
    )


async def turns(count: int = 5) -> None:
    """Let the event loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


# What cells put out


async def test_a_cell_prints_and_its_last_expression_is_shown(run: Execute):
    outputs = await run("x = 6\nprint('six', x)\nx * 7")
    assert outputs == [
        {"output_type": "stream", "name": "stdout", "text": "six 6\n"},
        {"output_type": "execute_result", "data": {"text/plain": "42"}},
        "ok",
    ]


@pytest.mark.parametrize(
    "source",
    ["", "# nothing", "x = 1", "None", "1;", "1 ;  \n", "def f(): return 1"],
)
async def test_not_everything_is_shown(source: str, run: Execute):
    assert await run(source) == ["ok"]


async def test_messages_say_which_cell_they_are_of(
    kernel: Kernel, posted: list[Message]
):
    await kernel.run("02-other", "its-cell", "1")
    where = [(m["type"], m["chapter"], m["cell"]) for m in posted]
    assert where == [
        ("output", "02-other", "its-cell"),
        ("done", "02-other", "its-cell"),
    ]


async def test_a_cell_awaits_at_its_top_level(run: Execute):
    (output, status) = await run("""
        import asyncio
        async def numbers():
            for number in range(3):
                yield number
        async with asyncio.timeout(1):
            found = [number async for number in numbers()]
        await asyncio.sleep(0, result=found)
    """)
    assert output["data"] == {"text/plain": "[0, 1, 2]"}
    assert status == "ok"


async def test_streams_keep_their_order_and_an_open_line_is_put_out(
    run: Execute,
):
    outputs = await run("""
        import sys
        print("one", "two", end=" ")
        print("three")
        print("error", file=sys.stderr, end="")
        display(4)
        print("five", end="")
    """)
    assert [
        output.get("text") or output["data"] for output in outputs[:-1]
    ] == ["one two three\n", "error", {"text/plain": "4"}, "five"]


async def test_what_is_flushed_is_put_out_at_once(
    kernel: Kernel, posted: list[Message]
):
    source = (
        "print('.', end='', flush=True)\nprint('.', end='')\nprint(end='')"
    )
    await kernel.run("01-chapter", "a-cell", source)
    assert text_of([m["output"] for m in posted[:1]]) == "."
    assert [m["type"] for m in posted] == ["output", "output", "done"]


# Results in rich forms


class Rich:
    """What a notebook can show in many ways."""

    def __repr__(self) -> str:
        return "Rich()"

    def _repr_html_(self) -> str:
        return "<b>rich</b>"

    def _repr_svg_(self) -> str:
        return "<svg/>"

    def _repr_png_(self) -> bytes:
        return b"\x89PNG"


class Bundle(Rich):
    """What says all that itself."""

    def _repr_mimebundle_(self, **options: object) -> Any:
        assert options == {"include": None, "exclude": None}
        return {"text/html": "<i>mine</i>", "application/json": {}}


class WithMetadata:
    """What adds something that is not shown."""

    def _repr_mimebundle_(self, **_: object) -> Any:
        return {"text/plain": "plain"}, {"isolated": True}


class NoForm(Rich):
    """What has no HTML after all."""

    def _repr_html_(self) -> Any:
        return None


async def shown(run: Execute, monkeypatch: pytest.MonkeyPatch, value: object):
    monkeypatch.setattr(builtins, "value", value, raising=False)
    output, status = await run("value")
    assert status == "ok"
    return output["data"]


RICH = {
    "text/html": "<b>rich</b>",
    "image/svg+xml": "<svg/>",
    "image/png": "iVBORw==",
    "text/plain": "Rich()",
}


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (Rich(), RICH),
        (Bundle(), RICH | {"text/html": "<i>mine</i>"}),
        (WithMetadata(), {"text/plain": "plain"}),
        (
            NoForm(),
            {k: v for k, v in RICH.items() if k != "text/html"},
        ),
        ("it's\n" + "long " * 20, None),
        (b"bytes" * 20, None),
        ({"b": 1, "a": 2}, {"text/plain": "{'b': 1, 'a': 2}"}),
        (
            ["a" * 40, "b" * 40],
            {"text/plain": f"['{'a' * 40}',\n '{'b' * 40}']"},
        ),
    ],
)
async def test_results_are_shown_in_all_their_forms(
    value: object,
    data: dict[str, str] | None,
    run: Execute,
    monkeypatch: pytest.MonkeyPatch,
):
    expected = data or {"text/plain": repr(value)}
    assert await shown(run, monkeypatch, value) == expected


async def test_a_class_is_not_taken_for_its_instance(
    run: Execute, monkeypatch: pytest.MonkeyPatch
):
    assert list(await shown(run, monkeypatch, Rich)) == ["text/plain"]


# Too much


async def test_endless_text_is_cut_with_a_note(run: Execute):
    outputs = await run("""
        for n in range(100_000):
            print("x" * 99)
        display(n)
    """)
    assert {output["output_type"] for output in outputs[:-1]} == {"stream"}
    text = text_of(outputs)
    assert text.startswith("x" * 99 + "\n")
    assert text.endswith("[cut: a cell shows at most 100 kB]\n")
    assert LIMIT <= len(text) < LIMIT + 100
    assert outputs[-1] == "ok"


async def test_a_huge_result_is_cut_to_its_text(
    run: Execute, monkeypatch: pytest.MonkeyPatch
):
    class Huge(Rich):
        def _repr_html_(self) -> str:
            return "x" * (LIMIT + 1)

    assert await shown(run, monkeypatch, Huge()) == {"text/plain": "Rich()"}
    (plain,) = (await shown(run, monkeypatch, "y" * LIMIT)).values()
    assert plain.endswith("kB]\n")
    assert len(plain) < LIMIT + 100


async def test_half_a_character_is_replaced(run: Execute):
    assert text_of(await run(r"print('half \ud83d')")) == "half ?\n"


async def test_a_long_traceback_is_cut_in_the_middle(run: Execute):
    (output, _) = await run("""
        def depth(n):
            if n % 2:
                return depth(n + 1)
            return depth(n + 1) if n < 100 else 1 / 0
        depth(0)
    """)
    lines = output["traceback"][0].splitlines()
    assert len(lines) <= LINES + 1
    assert lines[1] == '  File "<cell a-cell>", line 5, in <module>'
    assert "    …" in lines
    assert lines[-1] == "ZeroDivisionError: division by zero"


# Errors


async def failed(run: Execute, source: str) -> Message:
    outputs = await run(source)
    assert outputs[-1] == "error"
    assert outputs[-2]["output_type"] == "error"
    return outputs[-2] | {"text": outputs[-2]["traceback"][0]}


async def test_a_traceback_begins_in_the_cell(run: Execute):
    error = await failed(run, "import json\n\njson.loads('{')")
    assert error["ename"] == "JSONDecodeError"
    assert error["evalue"].startswith("Expecting property name")
    lines = error["text"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == '  File "<cell a-cell>", line 3, in <module>'
    assert lines[2] == "    json.loads('{')"
    assert "json/decoder.py" in error["text"]
    assert "tab/" not in error["text"]


async def test_an_error_knows_lines_of_other_cells(run: Execute):
    await run("def divide(n):\n    return 1 / n", cell="defines")
    error = await failed(run, "divide(0)")
    assert "return 1 / n" in error["text"]
    assert 'File "<cell defines>", line 2, in divide' in error["text"]


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("x = 1\ny = (2,,3)", "y = (2,,3)", "invalid syntax"),
        ("x = 1\nreturn x", "return x", "'return' outside function"),
        ("for x in y\n    pass", "for x in y", "expected ':'"),
        ("print('x)", "print('x)", "unterminated string literal"),
    ],
)
async def test_a_syntax_error_shows_its_line_and_a_caret(
    source: str, line: str, says: str, kernel: Kernel, posted: list[Message]
):
    await kernel.run("01-chapter", "a-cell", source)
    error = posted[0]["output"]
    assert posted[-1]["status"] == "error"
    assert says in error["evalue"]
    text = error["traceback"][0]
    assert text.startswith('  File "<cell a-cell>", line ')
    assert line in text
    assert "^" in text


async def test_causes_and_groups_are_told_from_the_cell_on(run: Execute):
    error = await failed(
        run,
        """
        import asyncio
        async def fails(n):
            try:
                1 / 0
            except ZeroDivisionError as error:
                raise ValueError(n) from error
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(1))
            group.create_task(asyncio.wait_for(fails(2), 1))
        """,
    )
    assert error["ename"] == "ExceptionGroup"
    text = error["text"]
    assert text.count("ZeroDivisionError: division by zero") == 2
    assert "ValueError: 2" in text
    assert "direct cause" in text
    assert "tasks.py" not in text  # it is what leads to the cell
    assert "tab/" not in text


async def test_a_context_is_told_unless_it_is_suppressed(run: Execute):
    source = """
        try:
            {}["x"]
        except KeyError:
            raise ValueError("no x") %s
    """
    assert "KeyError" in (await failed(run, source % ""))["text"]
    assert "KeyError" not in (await failed(run, source % "from None"))["text"]


@pytest.mark.parametrize(
    "error", ["SystemExit(1)", "KeyboardInterrupt()", "GeneratorExit()"]
)
async def test_what_would_end_a_program_is_an_error_like_others(
    error: str, run: Execute
):
    assert (await failed(run, f"raise {error}"))["ename"] in error
    assert (await run("1"))[-1] == "ok"


async def test_errors_of_what_is_shown_and_of_the_error_itself_are_told(
    run: Execute,
):
    error = await failed(
        run,
        """
        class Odd(Exception):
            def __str__(self):
                return 1 / 0
            def _repr_html_(self):
                raise self
        Odd()
        """,
    )
    assert error["ename"] == "Odd"
    assert error["evalue"] == "<its str() failed>"
    assert "_repr_html_" in error["text"]


async def test_a_form_that_fails_in_a_library_is_told_without_the_kernel(
    run: Execute, monkeypatch: pytest.MonkeyPatch
):
    class Bad(Rich):
        def _repr_html_(self) -> str:
            raise ValueError("no form")

    monkeypatch.setattr(builtins, "value", Bad(), raising=False)
    lines = (await failed(run, "value"))["text"].splitlines()
    assert lines[1].endswith("in _repr_html_")


# Chapters


async def test_each_chapter_has_its_own_names(run: Execute):
    await run("x = 1", chapter="01-one")
    await run("x = 2", chapter="02-two")
    assert (await run("x", chapter="01-one"))[0]["data"]["text/plain"] == "1"


async def test_a_cell_is_main_and_its_classes_are_found_there(run: Execute):
    (output, _) = await run("""
        from typing import get_type_hints
        class Tea:
            cups: "int"
            next: "Tea | None"
        sorted(get_type_hints(Tea)), __name__
    """)
    assert output["data"]["text/plain"] == "(['cups', 'next'], '__main__')"


async def test_reset_forgets_names_and_cancels_what_was_left(
    run: Execute, kernel: Kernel
):
    leftover = """
        import asyncio
        async def forever():
            await asyncio.Event().wait()
        task = asyncio.create_task(forever())
        task
    """
    for chapter in ("01-one", "02-two"):
        await run(leftover, chapter=chapter)
    kernel.reset("01-one")
    kernel.reset("03-never-ran")
    await turns()
    pending = [t for t in asyncio.all_tasks() if "forever" in repr(t)]
    assert len(pending) == 1
    assert (await run("task", chapter="01-one"))[-1] == "error"
    assert (await run("task.cancel()", chapter="02-two"))[-1] == "ok"


# Stopping


async def start(run: Execute, source: str) -> asyncio.Task[list[Message]]:
    task = asyncio.create_task(run(source))
    await turns()
    return task


async def test_stop_ends_a_cell_that_waits(run: Execute, kernel: Kernel):
    running = await start(
        run, "import asyncio\nprint('on')\nawait asyncio.Event().wait()"
    )
    kernel.stop()
    outputs = await running
    assert text_of(outputs) == "on\n"
    assert outputs[-1] == "stopped"
    kernel.stop()  # nothing runs
    assert (await run("1"))[-1] == "ok"


async def test_stop_without_a_cell_does_nothing(kernel: Kernel):
    kernel.stop()


async def test_a_cell_that_goes_on_after_stop_does_not_hold_up_others(
    run: Execute, kernel: Kernel
):
    running = await start(
        run,
        """
        import asyncio
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print("no")
        """,
    )
    kernel.stop()
    outputs = await running
    assert text_of(outputs) == "no\n"
    assert outputs[-1] == "ok"
    assert (await run("1"))[-1] == "ok"


async def test_a_cancellation_that_nobody_asked_for_is_an_error(run: Execute):
    error = await failed(
        run,
        """
        import asyncio
        task = asyncio.create_task(asyncio.sleep(1))
        task.cancel()
        await task
        """,
    )
    assert error["ename"] == "CancelledError"


# What goes on after a cell has ended


async def test_output_after_the_end_is_of_the_cell_that_started_it(
    kernel: Kernel, posted: list[Message]
):
    await kernel.run(
        "01-chapter",
        "starts",
        "import asyncio\n"
        "go = asyncio.Event()\n"
        "async def speak():\n"
        "    await go.wait()\n"
        "    print('open', end='')\n"
        "    display('shown')\n"
        "task = asyncio.create_task(speak())\n",
    )
    assert [m["type"] for m in posted] == ["done"]
    await kernel.run("01-chapter", "waits", "go.set()\nawait task")
    text, shown, done = posted[1:]
    assert [m["cell"] for m in posted[1:]] == ["starts", "starts", "waits"]
    assert text["output"]["text"] == "open"
    assert shown["output"]["data"] == {"text/plain": "'shown'"}
    assert done["type"] == "done"


async def test_what_nobody_waited_for_is_told_to_the_cell_that_started_it(
    kernel: Kernel, posted: list[Message]
):
    await kernel.run(
        "01-chapter",
        "starts",
        "import asyncio\n"
        "async def fails():\n"
        "    await asyncio.sleep(0)\n"
        "    1 / 0\n"
        "task = asyncio.create_task(fails())\n",
    )
    wait = "for _ in range(5): await asyncio.sleep(0)\ndel task"
    await kernel.run("01-chapter", "waits", wait)
    gc.collect()
    await turns()
    told = [m for m in posted if m["type"] == "output"]
    assert {m["cell"] for m in told} == {"starts"}
    assert {m["output"]["name"] for m in told} == {"stderr"}
    text = text_of([m["output"] for m in told], "stderr")
    assert text.startswith("Task exception was never retrieved\nTraceback")
    assert 'File "<cell starts>", line 4, in fails' in text
    assert text.endswith("ZeroDivisionError: division by zero\n")


async def test_an_error_of_a_callback_is_told_too(
    run: Execute, posted: list[Message]
):
    await run("import asyncio\nloop = asyncio.get_running_loop()")
    outputs = await run(
        "loop.call_soon(lambda: 1 / 0)\nawait asyncio.sleep(0)"
    )
    assert "ZeroDivisionError" in text_of(outputs, "stderr")
    outputs = await run("loop.call_exception_handler({'message': 'odd'})")
    assert text_of(outputs, "stderr") == "odd\n"


async def test_a_task_in_another_context_belongs_to_that_contexts_cell(
    kernel: Kernel, run: Execute, posted: list[Message]
):
    await run("import contextvars\nhere = contextvars.copy_context()", "first")
    await kernel.run(
        "01-chapter",
        "second",
        "import asyncio\n"
        "async def speak():\n"
        "    print('hello')\n"
        "    1 / 0\n"
        "task = asyncio.create_task(speak(), context=here)\n"
        "await asyncio.wait([task])\n"
        "del task\n",
    )
    outputs = [m["output"] for m in posted if m.get("cell") == "first"]
    assert text_of(outputs) == "hello\n"
    assert "ZeroDivisionError" in text_of(outputs, "stderr")


def test_what_no_cell_has_written_goes_to_the_last_that_ran(
    kernel: Kernel, posted: list[Message]
):
    nobody = copy_context()
    asyncio.run(kernel.run("01-chapter", "the-cell", "x = 1"))
    nobody.run(print, "from nowhere")
    said = [m for m in posted if m["type"] == "output"]
    assert {m["cell"] for m in said} == {"the-cell"}
    assert text_of([m["output"] for m in said]) == "from nowhere\n"
