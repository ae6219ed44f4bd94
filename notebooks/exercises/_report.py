"""What the checks found, in words: for notebooks, terminals, screen readers.

The words are the same wherever they are shown and however often a check runs:
no addresses, no times.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers.python import PythonLexer

from snippets.testing.client import Closed, Refused
from snippets.testing.diagram import Diagram


class Missed(Exception):
    """What was expected of an answer and did not come.

    Attributes:
        expected: What should have come, in words.
        came: What came instead.
        likely: The likely mistake, in a sentence; empty if it is not known.
        frames: What was recorded up to here.
    """

    def __init__(
        self, expected: str, came: str, likely: str, frames: Diagram | None
    ) -> None:
        super().__init__(expected, came, likely)
        self.expected, self.came = expected, came
        self.likely, self.frames = likely, frames


@dataclass(frozen=True)
class Outcome:
    """What became of one check; nothing was missed if it passed."""

    title: str
    missed: Missed | None = None


@dataclass(frozen=True, repr=False)
class Report:
    """The outcomes of all checks of one exercise.

    The likely mistake and the frames are those of the first check that did
    not pass: one thing at a time.
    """

    outcomes: Sequence[Outcome]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return self._first is None

    @property
    def likely(self) -> str:
        """The likely mistake, in a sentence; empty if there is none."""
        return self._first.likely if self._first else ""

    @property
    def _first(self) -> Missed | None:
        return next((one.missed for one in self.outcomes if one.missed), None)

    @property
    def _summary(self) -> str:
        good = sum(one.missed is None for one in self.outcomes)
        return f"{good} of {len(self.outcomes)} checks passed."

    def __repr__(self) -> str:
        lines = [self._summary]
        for one in self.outcomes:
            if missed := one.missed:
                lines.append(f"✗ not yet: {one.title}")
                lines.append(f"    expected {missed.expected}")
                lines.append(f"    but got  {missed.came}")
            else:
                lines.append(f"✓ passed: {one.title}")
        if self.likely:
            lines.append(f"Likely: {self.likely}")
        if self._first and self._first.frames:
            lines += ["", str(self._first.frames)]
        return "\n".join(lines)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        html = f"<p><strong>{self._summary}</strong></p>"
        html += '<ul style="list-style: none">'
        for one in self.outcomes:
            mark, word = ("✗", "not yet") if one.missed else ("✓", "passed")
            html += f'<li><span aria-hidden="true">{mark}</span> <em>{word}'
            html += f"</em>: {_code(one.title)}"
            if missed := one.missed:
                html += f"<br>expected <code>{escape(missed.expected)}</code>"
                html += f"<br>but got <code>{escape(missed.came)}</code>"
            html += "</li>"
        html += "</ul>"
        if self.likely:
            html += f"<p>Likely: {_code(self.likely)}</p>"
        if self._first and self._first.frames:
            html += "<details><summary>The frames of the first check that did "
            html += f"not pass</summary>{self._first.frames.html}</details>"
        label = 'aria-label="Exercise report"'
        html = f'<section class="exercise-report" {label}>{html}</section>'
        return {"text/html": html, "text/plain": repr(self)}


class Code(str):
    """Python source that a notebook shows as it stands, in colour."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self}

    @property
    def html(self) -> str:
        """The source with the class names that every Pygments theme knows."""
        return highlight(self, PythonLexer(), HtmlFormatter())


@dataclass(frozen=True, repr=False)
class Folded:
    """What a notebook keeps folded until the reader opens it."""

    title: str
    text: str

    def __repr__(self) -> str:
        return f"{self.title}:\n\n{self.text}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        is_code = isinstance(self.text, Code)
        html = self.text.html if is_code else f"<p>{_code(self.text)}</p>"
        title = f"<summary>{escape(self.title)}</summary>"
        html = f"<details>{title}{html}</details>"
        return {"text/html": html, "text/plain": repr(self)}


def described(seen: object) -> str:
    """Say in words what was seen: a frame, a close, an error, any value."""
    match seen:
        case str():
            said = f"text {seen!r}"
        case bytes():
            said = f"binary {seen!r}"
        case Closed(code=1006):
            said = "no close frame (1006)"
        case Closed():
            said = f"close {seen.code} {seen.reason!r}".removesuffix(" ''")
        case Refused():
            said = f"refused (HTTP {seen.status})"
        case TimeoutError():
            said = str(seen) or "no end"
        case BaseException():
            said = f"{type(seen).__name__}: {seen}".removesuffix(": ")
        case _:
            said = repr(seen)
    said = stable(said)
    return said if len(said) <= 200 else f"{said[:200]}…"


def stable(text: str) -> str:
    """Leave out what is different in each run.

    These are addresses of objects and of Litestar's handlers, and who
    cancelled a task.
    """
    addresses = " at 0x[0-9a-fA-F]+|::[0-9]+"
    return re.sub(f"{addresses}|(?<=CancelledError): .*", "", text)


def _code(text: str) -> str:
    return re.sub("`(.+?)`", r"<code>\1</code>", escape(text))
