"""The chat as it stands at the end of each chapter, and what each changed.

Every module here is named like its chapter and has a `create_app()`. None of
them is a diff: `changes()` computes that, so what a chapter shows is true.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from html import escape
from importlib.resources import files
from itertools import groupby
from operator import itemgetter

CONTEXT = 2
"""How many unchanged lines are shown around a change."""
_STYLES = {
    "+": ("ins", "background: rgba(46, 160, 67, 0.18); text-decoration: none"),
    "-": ("del", "background: rgba(218, 54, 51, 0.18); text-decoration: none"),
}


@dataclass(frozen=True, repr=False)
class Changes:
    """What changed between two modules, shown in a notebook or as plain text.

    Attributes:
        title: Which modules.
        lines: A mark (`+`, `-`, a space or `…`) and a line for each line.
    """

    title: str
    lines: tuple[tuple[str, str], ...]

    @property
    def added(self) -> int:
        """How many lines were added."""
        return sum(mark == "+" for mark, _ in self.lines)

    @property
    def removed(self) -> int:
        """How many lines were removed."""
        return sum(mark == "-" for mark, _ in self.lines)

    @property
    def summary(self) -> str:
        """Which modules, and how much changed."""
        lines = "line" if self.added == 1 else "lines"
        return (
            f"{self.title}: {self.added} {lines} added, {self.removed} removed"
        )

    def __repr__(self) -> str:
        lines = [f"{mark} {line}".rstrip() for mark, line in self.lines]
        return "\n".join([self.summary, "", *lines])

    def _repr_mimebundle_(
        self,
        include: object = None,  # noqa: ARG002 - IPython passes both
        exclude: object = None,  # noqa: ARG002
    ) -> dict[str, str]:
        text = "\n".join(self._blocks())
        html = (
            f'<figure class="changes"><figcaption>{escape(self.summary)}'
            '</figcaption><pre style="white-space: pre-wrap"><code>'
            f"{text}\n</code></pre></figure>"
        )
        return {"text/html": html, "text/plain": repr(self)}

    def _blocks(self) -> Iterator[str]:
        for mark, block in groupby(self.lines, key=itemgetter(0)):
            rows = (f"{mark} {line}".rstrip() for _, line in block)
            text = escape("\n".join(rows), quote=False)
            if mark in _STYLES:
                tag, style = _STYLES[mark]
                text = f'<{tag} style="{style}">{text}</{tag}>'
            yield text


def changes(before: str | None, after: str) -> Changes:
    """Compare the chat at the end of two chapters.

    Args:
        before: The module of the earlier chapter, such as `"handlers"`; None
            if there is none, and all of the later one is new.
        after: The module of the later chapter.

    Returns:
        The changed lines with a little around them.

    Raises:
        FileNotFoundError: There is no such module.
    """
    old = _lines(before) if before else []
    title = f"{before}.py → {after}.py" if before else f"{after}.py"
    return Changes(title, tuple(_compare(old, _lines(after))))


def _lines(module: str) -> list[str]:
    path = files(__name__) / f"{module}.py"
    return path.read_text(encoding="utf-8").splitlines()


def _compare(old: list[str], new: list[str]) -> Iterator[tuple[str, str]]:
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    shown = 0
    for group in matcher.get_grouped_opcodes(CONTEXT):
        if group[0][1] > shown:
            yield "…", ""
        for what, start, shown, new_start, new_end in group:
            if what == "equal":
                yield from ((" ", line) for line in old[start:shown])
            else:
                yield from (("-", line) for line in old[start:shown])
                yield from (("+", line) for line in new[new_start:new_end])
    if 0 < shown < len(old):
        yield "…", ""
