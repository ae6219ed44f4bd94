"""The records that the tap makes: connections and their events.

Both hold only the start of what was sent, and their text is safe to print:
what cannot be seen or drawn is escaped.

Used by: tap, diagram.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["in", "out", "app"]
Kind = Literal[
    "handshake",
    "accept",
    "text",
    "binary",
    "close",
    "disconnect",
    "denial",
    "exception",
    "returned",
    "other",
]
_ARROWS = {"in": "→", "out": "←", "app": "✕"}


@dataclass(slots=True, eq=False)
class Event:
    """One event of a connection. Its `str` is stable: compare that in tests.

    Attributes:
        connection: The connection that it belongs to.
        kind: What happened. A `denial` is an HTTP response instead of an
            accept; `returned` means that the app ended without closing.
        direction: `in` is from client to app, `out` from app to client, and
            `app` is how the app ended: no frame is sent.
        payload: The start of a frame's payload, a denial's body or a close's
            reason; the path and query of a handshake; an error's message.
        size: Bytes of the whole payload, text as UTF-8.
        code: A close code (RFC 6455 §7.4), or the HTTP status of a denial.
        subprotocols: What a handshake offers, or what an accept chooses.
        headers: The headers of an accept.
        refuses: Whether this is a close before accept. No close frame can be
            sent then: servers answer with HTTP 403, and code and reason stay
            behind (ASGI specification, "Close - send event").
        error: The error that `send` raised, when it did.
    """

    connection: "Connection" = field(repr=False)
    kind: Kind
    direction: Direction
    payload: str | bytes = ""
    size: int = 0
    code: int | None = None
    subprotocols: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    refuses: bool = False
    error: str = ""

    @property
    def subject(self) -> str:
        """What the event is about: a payload, a path, a code and reason."""
        match self.kind:
            case "text" | "binary":
                return self._quoted
            case "close" | "disconnect" | "denial":
                words = [
                    "HTTP" if self.kind == "denial" else "",
                    "" if self.code is None else str(self.code),
                    self._quoted if self.payload else "",
                ]
                return " ".join(filter(None, words))
            case "accept" if self.subprotocols:
                return f"subprotocol {printable(', '.join(self.subprotocols))}"
            case _:
                return printable(str(self.payload))

    @property
    def note(self) -> str:
        """What else there is to say: size, offers, headers, an error."""
        notes = [f"{name}: {value}" for name, value in self.headers]
        if self.kind in {"text", "binary"}:
            notes.append(f"{self.size:,} B")
        if self.kind == "handshake" and self.subprotocols:
            notes.append("offers " + ", ".join(self.subprotocols))
        if self.refuses:
            notes.append("sent as HTTP 403")
        if self.error:
            notes.append(f"failed: {self.error}")
        return printable(", ".join(notes))

    def __str__(self) -> str:
        text = f"{_ARROWS[self.direction]} {self.kind} {self.subject}".rstrip()
        return f"{text} ({self.note})" if self.note else text

    @property
    def _quoted(self) -> str:
        return quote(self.payload, cut=wire_size(self.payload) < self.size)


@dataclass(slots=True, eq=False)
class Connection:
    """One connection, as the app saw it.

    Attributes:
        number: 1 for the first handshake, 2 for the second, and so on.
        name: How diagrams call the client.
        path: The path that it asked for.
        query: The query string, without `?`.
        accepted: Whether the app tried to accept.
        subprotocol: What the app chose from the offer.
        closed_by: Who closed first, in the order that the app saw; `app` also
            when it refused. A server that shuts down or misses a pong looks
            to the app like a client that left. None: nobody has closed.
    """

    number: int
    name: str
    path: str
    query: str
    accepted: bool = False
    subprotocol: str | None = None
    closed_by: Literal["client", "app"] | None = None
    _events: deque[Event] = field(default_factory=deque, repr=False)

    @property
    def events(self) -> list[Event]:
        """The events so far, oldest first."""
        return list(self._events)


def wire_size(payload: str | bytes) -> int:
    """How many bytes a payload has on the wire.

    Args:
        payload: A text, which is sent as UTF-8, or bytes.

    Returns:
        The size without the frame's header. A lone surrogate, which no
        server can send, counts as three bytes.
    """
    # isascii() only reads a flag, and spares most payloads a copy.
    if isinstance(payload, bytes) or payload.isascii():
        return len(payload)
    return len(payload.encode(errors="surrogatepass"))


def printable(text: str) -> str:
    r"""Escape what cannot be seen or drawn.

    Args:
        text: Any text.

    Returns:
        One line, with escapes such as `\n`, `\x00` and `\u202e`.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def quote(payload: str | bytes, *, cut: bool = False) -> str:
    r"""Write a payload as Python would, in double quotes where they fit.

    Args:
        payload: Text or bytes.
        cut: Whether the payload goes on; an ellipsis says so.

    Returns:
        Such as `"hello"`, `'{"id": 1}'` or `b"\x00\xff"`.
    """
    prefix = "b" if isinstance(payload, bytes) else ""
    literal = repr(payload).removeprefix(prefix)
    mark, body = literal[0], literal[1:-1]
    if mark == "'" and '"' not in body:
        mark = '"'
    return f"{prefix}{mark}{body}{'…' if cut else ''}{mark}"
