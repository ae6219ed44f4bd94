"""What a cell puts out, in the form that notebooks store (nbformat 4)."""

import traceback
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from pprint import pformat
from typing import Any

LIMIT = 100_000
"""How many characters one run of a cell may put out."""

CUT = f"\n[cut: a cell shows at most {LIMIT // 1000} kB]\n"
LINES = 60
"""How long a traceback may be."""

_HERE = str(Path(__file__).parent)

METHODS = {
    "_repr_html_": "text/html",
    "_repr_svg_": "image/svg+xml",
    "_repr_png_": "image/png",
}
Post = Callable[[dict[str, Any]], None]


class Outputs:
    """The outputs of one run of a cell, posted as they come.

    Args:
        post: Sends a message to the page.
        chapter: The cell's chapter.
        cell: The cell's id.
    """

    def __init__(self, post: Post, chapter: str, cell: str) -> None:
        self.chapter, self.cell = chapter, cell
        self._send = post
        self._left, self._ended = LIMIT, False
        self._stream, self._line = "", ""

    def write(self, stream: str, text: str) -> None:
        """Put text out, at the latest when its line or the cell ends."""
        if stream != self._stream:
            self.flush()
        self._stream = stream
        self._line += text
        if self._ended or "\n" in text:
            self.flush()

    def flush(self) -> None:
        """Put out what was held back of a line."""
        text, self._line = self._line, ""
        if text and self._left >= 0:
            self._put("stream", name=self._stream, text=self._cut(text))

    def show(self, value: object, kind: str = "display_data") -> None:
        """Put an object out, in all forms that it has."""
        data = forms(value)
        self.flush()
        if self._left < 0:
            return
        if sum(map(len, data.values())) > self._left:
            data = {"text/plain": data["text/plain"]}
        self._put(kind, data={m: self._cut(text) for m, text in data.items()})

    def fail(self, error: BaseException) -> None:
        """Put out the error that ended the cell."""
        self.flush()
        self._put(
            "error",
            ename=type(error).__name__,
            evalue=message(error),
            traceback=[report(error)],
        )

    def end(self, status: str) -> None:
        """Say that the cell has ended; its tasks may still put things out."""
        self.flush()
        self._ended = True
        self._post("done", status=status)

    def _cut(self, text: str) -> str:
        cut = text[: self._left]
        self._left -= len(text)
        if self._left < 0:  # nothing more comes after this
            cut += CUT
        # Half of a surrogate pair is no text to JavaScript.
        return cut.encode(errors="replace").decode()

    def _put(self, kind: str, **fields: object) -> None:
        self._post("output", output={"output_type": kind, **fields})

    def _post(self, kind: str, **fields: object) -> None:
        where = {"chapter": self.chapter, "cell": self.cell}
        self._send({"type": kind, **where, **fields})


def forms(value: object) -> dict[str, str]:
    """Make the forms of an object that a page can show, text among them.

    Args:
        value: Any object; Jupyter's methods are asked, those of its class.

    Returns:
        Texts by media type; a picture is in base64.
    """
    kind: Any = type(value)
    found: dict[str, Any] = {}
    if hasattr(kind, "_repr_mimebundle_"):
        made = kind._repr_mimebundle_(value, include=None, exclude=None)
        found |= made[0] if isinstance(made, tuple) else made
    for name, mime in METHODS.items():
        if mime not in found and hasattr(kind, name):
            found[mime] = getattr(kind, name)(value)
    if "text/plain" not in found:
        simple = isinstance(value, str | bytes)
        found["text/plain"] = (
            repr(value) if simple else pformat(value, 1, 79, sort_dicts=False)
        )
    return {
        mime: b64encode(data).decode() if isinstance(data, bytes) else data
        for mime, data in found.items()
        if isinstance(data, str | bytes)
    }


def report(error: BaseException) -> str:
    """Make the traceback of an error, from the first cell in it on."""
    whole = traceback.TracebackException.from_exception(error)
    _trim(whole)
    lines = "".join(whole.format()).splitlines()
    if len(lines) > LINES:
        lines[LINES // 2 : -LINES // 2] = ["    …"]
    return "\n".join(line[:500] for line in lines)


def _trim(whole: traceback.TracebackException) -> None:
    names = [frame.filename for frame in whole.stack]
    cells = [name.startswith("<cell ") for name in names]
    if any(cells):
        del whole.stack[: cells.index(True)]
    while whole.stack and whole.stack[0].filename.startswith(_HERE):
        del whole.stack[0]
    others = (whole.__cause__, whole.__context__, *(whole.exceptions or ()))
    for other in filter(None, others):
        _trim(other)


def message(error: BaseException) -> str:
    """What an error says, cut if it is long."""
    try:
        return str(error)[:1000]
    except Exception:  # noqa: BLE001 - the reader's class may do anything
        return "<its str() failed>"
