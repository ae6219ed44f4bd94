"""The chat at the end of each chapter runs, and grows in small steps.

Modules are found by themselves, in the order of the chapters they belong to.
"""

import pkgutil
from collections import Counter
from html.parser import HTMLParser
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.routes import WebSocketRoute

import system
from snippets.testing import Client, Refused, connect
from system import Changes, changes

NOTEBOOKS = Path(system.__file__).parents[1]
CHAPTERS = [
    path.stem.partition("-")[2].replace("-", "_")
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))
]
MODULES = {module.name for module in pkgutil.iter_modules(system.__path__)}
IN_ORDER = [chapter for chapter in CHAPTERS if chapter in MODULES]
STEPS = list(pairwise([None, *IN_ORDER]))

each_module = pytest.mark.parametrize("name", IN_ORDER)


def test_modules_are_found_and_each_has_a_chapter():
    assert IN_ORDER
    assert set(IN_ORDER) == MODULES


@each_module
async def test_the_chat_starts_also_a_second_time(name: str):
    for _ in range(2):
        app = import_module(f"system.{name}").create_app()
        assert any(isinstance(route, WebSocketRoute) for route in app.routes)
        with pytest.raises(Refused) as refused:
            async with connect(app, "/no/such/path"):
                pass
        assert refused.value.reason == "Not Found"


SAY = {"type": "say", "text": "tea?"}


def decoded(message: str | bytes) -> dict[str, Any]:
    if isinstance(message, str):
        return msgspec.json.decode(message)
    return msgspec.msgpack.decode(message)


async def said_to(client: Client) -> tuple[str, str]:
    """Wait for what somebody says; who is here may be told in between."""
    while "text" not in (message := decoded(await client.receive())):
        pass
    return message["from"], message["text"]


@pytest.mark.parametrize("name", IN_ORDER[IN_ORDER.index("transport_modes") :])
async def test_members_hear_each_other_in_the_format_of_their_choice(
    name: str,
):
    app = import_module(f"system.{name}").create_app()
    async with (
        connect(app, "/chat/ada") as ada,
        connect(app, "/chat/bob", subprotocols=["chat.msgpack"]) as bob,
    ):
        await ada.send_json(SAY)
        assert [await said_to(each) for each in (ada, bob)] == [
            ("ada", "tea?")
        ] * 2
        await bob.send(msgspec.msgpack.encode(SAY))
        assert [await said_to(each) for each in (ada, bob)] == [
            ("bob", "tea?")
        ] * 2
    with pytest.raises(Refused):
        async with connect(app, "/chat/eve", subprotocols=["tea"]):
            pass


@each_module
async def test_a_name_is_taken_for_as_long_as_somebody_has_it(name: str):
    app = import_module(f"system.{name}").create_app()
    for _ in range(2):
        async with (
            connect(app, "/chat/ada") as ada,
            connect(app, "/chat/ada") as another,
        ):
            await ada.send_json(SAY)
            while "tea?" not in str(await ada.receive()):
                pass
            assert [message async for message in another] == []
            assert str(another.closed) == "4403 'ada is here already'"


@pytest.mark.parametrize(("before", "after"), STEPS)
def test_a_chapter_adds_at_most_40_new_lines(before: str | None, after: str):
    lines = {"+": Counter[str](), "-": Counter[str]()}
    for mark, line in changes(before, after).lines:
        if mark in lines and line.strip():
            lines[mark][line.strip()] += 1
    # What only moved, into a class for instance, is not new to the reader.
    assert 0 < (lines["+"] - lines["-"]).total() <= 40


OLD = ["import a", "", "", "def f():", "    return 1", "", "", "END = 0"]
NEW = ["import a", "", "", "def f() -> str:", "    return '<1>'", *OLD[5:]]


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Changes:
    for name, lines in ("old", OLD), ("new", NEW):
        (tmp_path / f"{name}.py").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(system, "files", lambda _: tmp_path)
    return changes("old", "new")


def test_changes_as_text(compared: Changes):
    assert repr(compared).splitlines() == [
        "old.py → new.py: 2 lines added, 2 removed",
        "",
        "…",
        "",
        "",
        "- def f():",
        "-     return 1",
        "+ def f() -> str:",
        "+     return '<1>'",
        "",
        "",
        "…",
    ]


class Marked(HTMLParser):
    """The text of a page, and which of it is marked as what."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tag, self.text = "", ""
        self.marked: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tag = tag

    def handle_endtag(self, tag: str) -> None:
        self.tag = ""

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.tag:
            self.marked[self.tag] = self.marked.get(self.tag, "") + data


def test_changes_as_html_are_marked_by_sign_and_element(compared: Changes):
    shown = compared._repr_mimebundle_(include=None, exclude=None)
    page = Marked(shown["text/html"])
    assert page.marked["figcaption"] == compared.summary
    assert page.marked["del"] == "- def f():\n-     return 1"
    assert page.marked["ins"] == "+ def f() -> str:\n+     return '<1>'"
    assert shown["text/plain"] == repr(compared)


def test_without_a_chapter_before_all_is_new():
    first = changes(None, IN_ORDER[0])
    assert {mark for mark, _ in first.lines} == {"+"}
    assert first.summary.endswith(f"{len(first.lines)} lines added, 0 removed")


def test_without_a_difference_there_is_nothing_to_show():
    same = changes(IN_ORDER[0], IN_ORDER[0])
    assert same.lines == ()
    assert same.summary.endswith("0 lines added, 0 removed")


def test_an_unknown_module_is_an_error():
    with pytest.raises(FileNotFoundError, match="no_such_chapter"):
        changes(None, "no_such_chapter")
