"""Close codes by name, reasons that fit, and a close that happens once.

The last frame is all that a client learns of how its connection went, so it
should say something true: a code, a reason short enough to be sent, once.

```python
await close(socket, CloseCode.TRY_AGAIN_LATER, "the room is full")
```

Needs: litestar (and msgspec, which comes with it).
"""

from enum import IntEnum
from typing import Any, Self, cast

import msgspec
from litestar import WebSocket
from litestar.exceptions import (
    LitestarException,
    NotAuthorizedException,
    PermissionDeniedException,
    SerializationException,
    ServiceUnavailableException,
    TooManyRequestsException,
    ValidationException,
    WebSocketDisconnect,
    WebSocketException,
)

AnySocket = WebSocket[Any, Any, Any]

MAX_REASON_BYTES = 123
"""A control frame holds 125 bytes, the code takes two (RFC 6455 §5.5)."""

CLOSED = "closing.closed"
"""The key in a connection's scope that says a close frame was sent, or that
none can be sent any more."""


class CloseCode(IntEnum):
    """The close codes that an app meets, and what they mean.

    1000 to 1015 come from RFC 6455 §7.4.1 and the IANA registry; 4000 to 4999
    are for applications, and those here follow the HTTP status of the same
    digits.

    Attributes:
        meaning: What it says, in a few words.
        sender: Who sends it: "app", "server" (the ASGI server by itself),
            "client", or "nobody" for a code that never travels.
        reconnect: Whether a client should connect again by itself.
    """

    meaning: str
    sender: str
    reconnect: bool

    def __new__(
        cls, code: int, meaning: str, sender: str, reconnect: bool
    ) -> Self:
        """Give a number its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        member.sender = sender
        member.reconnect = reconnect
        return member

    NORMAL = 1000, "done; nothing is wrong", "app, client", False
    GOING_AWAY = 1001, "the page or the process is leaving", "client", True
    PROTOCOL_ERROR = 1002, "the frames break the protocol", "server", False
    UNSUPPORTED_DATA = 1003, "text for binary, or the reverse", "app", False
    NO_STATUS = 1005, "a close frame came, without a code", "nobody", False
    ABNORMAL = 1006, "no close frame came at all", "nobody", True
    INVALID_PAYLOAD = 1007, "text that is not UTF-8", "server", False
    POLICY_VIOLATION = 1008, "the rules were broken", "app", False
    TOO_BIG = 1009, "a message over the size limit", "server, app", False
    INTERNAL_ERROR = 1011, "a failure, or a missing pong", "app, server", True
    SERVICE_RESTART = 1012, "the server is restarting", "server, app", True
    TRY_AGAIN_LATER = 1013, "too busy, or you read too slowly", "app", True
    BAD_MESSAGES = 4400, "this makes no sense to us", "app", False
    SESSION_ENDED = 4401, "log in again, then reconnect", "app", False
    FORBIDDEN = 4403, "you may not be here", "app", False
    IDLE = 4408, "nothing was heard for too long", "app", True
    REPLACED = 4409, "the same user connected elsewhere", "app", False
    TOO_FAST = 4429, "too many messages in too short a time", "app", True


# Litestar closes with 4500 whatever the status of an exception is.
_CODES: tuple[tuple[type[LitestarException], CloseCode], ...] = (
    (NotAuthorizedException, CloseCode.SESSION_ENDED),
    (PermissionDeniedException, CloseCode.FORBIDDEN),
    (TooManyRequestsException, CloseCode.TOO_FAST),
    (ServiceUnavailableException, CloseCode.TRY_AGAIN_LATER),
    (ValidationException, CloseCode.BAD_MESSAGES),
    (SerializationException, CloseCode.BAD_MESSAGES),
)


def is_sendable(code: int) -> bool:
    """Tell whether a close frame may carry this code.

    Args:
        code: A close code.

    Returns:
        False for 1005, 1006 and 1015, which only describe what happened (RFC
        6455 §7.4.1), and for numbers that nobody may use (§7.4.2).
    """
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def check_code(code: int) -> None:
    """Refuse a code that no close frame may carry.

    Args:
        code: A close code.

    Raises:
        ValueError: It may not be sent, see `is_sendable()`.
    """
    if not is_sendable(code):
        allowed = "1000-1003, 1007-1014 or 3000-4999"
        raise ValueError(
            f"a close frame cannot carry {int(code)}; expected {allowed}"
        )


def fit_reason(reason: str) -> str:
    """Cut a reason to what a close frame can hold.

    Args:
        reason: Any text.

    Returns:
        The text, or as many whole characters of it as fit, with `…`. Lone
        surrogates, which UTF-8 does not have, become `?`.
    """
    encoded = reason.encode(errors="replace")
    if len(encoded) <= MAX_REASON_BYTES:
        return encoded.decode()
    room = MAX_REASON_BYTES - len("…".encode())
    return encoded[:room].decode(errors="ignore") + "…"


def closing_for(error: Exception) -> WebSocketException:
    """Translate an exception into the close that its client should see.

    Raise the result from the error: Litestar closes the connection with its
    code and detail, and `after_exception` hooks see the error as the cause.

    Args:
        error: What a handler raised.

    Returns:
        The error's own code, if it can be sent, and detail if it is a
        `WebSocketException`; a fitting code and its detail for what Litestar
        raises when somebody is not allowed something or something, also of
        yours, cannot be decoded; for anything else, another client's leaving
        included, 1011 and no word of the cause.
    """
    internal = WebSocketException(
        detail="internal error", code=CloseCode.INTERNAL_ERROR
    )
    if isinstance(error, WebSocketDisconnect):
        return internal
    if isinstance(error, WebSocketException):
        code = error.code if is_sendable(error.code) else internal.code
        return WebSocketException(detail=fit_reason(error.detail), code=code)
    if isinstance(error, SerializationException) and not isinstance(
        error.__cause__, msgspec.DecodeError
    ):
        return internal  # ours, which could not be encoded
    for kind, code in _CODES:
        if isinstance(error, kind):
            detail = fit_reason(error.detail)
            return WebSocketException(detail=detail, code=code)
    return internal


async def close(
    socket: AnySocket, code: int = CloseCode.NORMAL, reason: str = ""
) -> bool:
    """Close a connection, whatever state it is in.

    Harmless on a connection that is closed already, or whose client has gone.
    For a client that takes nothing it waits as long as that stays connected,
    which a `Connection` of `connections.py` does not.

    Args:
        socket: The connection.
        code: A code that may be sent, see `is_sendable()`.
        reason: Why, for the client's eyes; cut to 123 bytes.

    Returns:
        Whether the close was handed to the server. It becomes a close frame,
        or, before the connection is accepted, a refusal with HTTP 403.

    Raises:
        ValueError: The code may not be sent.
    """
    check_code(code)
    scope = cast("dict[str, object]", socket.scope)
    if scope.get(CLOSED):
        return False
    scope[CLOSED] = True
    try:
        # The method itself: an override may well be calling us.
        await WebSocket.close(socket, code, fit_reason(reason))
    except (WebSocketDisconnect, OSError, RuntimeError):
        # Gone before us, which ASGI servers report as OSError, or closed by
        # a socket.close() that we have not seen, as RuntimeError.
        return False
    except BaseException:
        del scope[CLOSED]  # cancelled before it was sent
        raise
    return True
