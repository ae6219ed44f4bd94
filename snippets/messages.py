"""One contract for all that is said: typed messages, and errors in words.

A message is a Struct with a tag, and what one side may say is a union of
them. It is decoded once, at the edge; what is no message is answered:

```python
class Say(ClientMessage, tag="say", frozen=True):
    text: str

class Ping(ClientMessage, tag="ping", frozen=True):
    pass

FORMATS = formats("chat", Say | Ping)  # chat.json and chat.msgpack
answer = dispatcher(Handlers, Say | Ping)  # calls .say() or .ping()

@websocket("/chat")
async def chat(socket: ChatSocket, handlers: Handlers) -> None:
    async with lifecycle(socket):
        await converse(socket, partial(answer, handlers))
```

Needs: litestar (with which msgspec and typing_extensions come),
`subprotocols.py` and `closing.py`.
"""

import logging
import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, Any, Protocol, Self, TypeVar, get_args

import msgspec
from litestar.exceptions import WebSocketDisconnect, WebSocketException
from msgspec import Meta
from typing_extensions import TypeForm

from .closing import CloseCode, fit_reason
from .subprotocols import Format

logger = logging.getLogger(__name__)

MAX_WORDS = 200
"""How many characters of an error's text are sent; it may quote the client."""

Integer = Annotated[int, Meta(ge=1 - 2**53, le=2**53 - 1)]
"""An integer that every client can hold (RFC 8259 §6). A plain `int` may come
with thousands of digits in JSON, and then MessagePack cannot encode it."""

Number = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
"""A number. A plain `float` may come as NaN or infinite in MessagePack, and
JSON, which has neither, makes `null` of it."""

Ref = Annotated[str, Meta(max_length=64)] | Integer
"""What a client calls a message of its own, to recognise the answer."""


class ClientMessage(
    msgspec.Struct,
    tag_field="type",
    forbid_unknown_fields=True,
    frozen=True,
    kw_only=True,
):
    """The base of what clients say; a field that is not known is an error.

    Attributes:
        ref: Asks for an answer, in which it comes back.
    """

    ref: Ref | None = None


class ServerMessage(msgspec.Struct, tag_field="type", omit_defaults=True):
    """The base of what the server says; clients skip what they do not know."""


class ErrorCode(StrEnum):
    """What went wrong, for programs; the words beside it are for people.

    Attributes:
        retryable: Whether the same message may do later.
        close_code: What a connection is closed with if nobody answers.
    """

    retryable: bool
    close_code: CloseCode

    def __new__(
        cls, code: str, retryable: bool, close_code: CloseCode
    ) -> Self:
        """Give a code its meaning."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.retryable = retryable
        member.close_code = close_code
        return member

    INVALID_JSON = "invalid_json", False, CloseCode.BAD_MESSAGES
    INVALID_MESSAGE = "invalid_message", False, CloseCode.BAD_MESSAGES
    UNSUPPORTED_DATA = "unsupported_data", False, CloseCode.UNSUPPORTED_DATA
    TOO_LARGE = "too_large", False, CloseCode.TOO_BIG
    RATE_LIMITED = "rate_limited", True, CloseCode.TOO_FAST
    UNAUTHENTICATED = "unauthenticated", False, CloseCode.SESSION_ENDED
    FORBIDDEN = "forbidden", False, CloseCode.FORBIDDEN
    ROOM_LIMIT = "room_limit", False, CloseCode.POLICY_VIOLATION
    UNAVAILABLE = "unavailable", True, CloseCode.TRY_AGAIN_LATER
    TIMEOUT = "timeout", True, CloseCode.TRY_AGAIN_LATER
    INTERNAL = "internal", False, CloseCode.INTERNAL_ERROR


class Ack(ServerMessage, tag="ack"):
    """The server took a message; it says nothing of who has read it.

    Attributes:
        ref: Which message.
    """

    ref: Ref


class Error(ServerMessage, tag="error"):
    """A message was not taken.

    Attributes:
        code: Why.
        message: Why, in words.
        retryable: Whether the same message may do later.
        ref: Which message, if it had a ref that could be read.
        retry_after: How long to wait before that, in seconds.
    """

    code: ErrorCode
    message: str
    retryable: bool
    ref: Ref | None = None
    retry_after: float | None = None


class MessageError(WebSocketException):
    """A message that cannot be taken, by its form or by what it asks for.

    Answer it with its `envelope`, and the connection lives. Where nobody
    does, Litestar closes with the `close_code` of its code.

    Attributes:
        envelope: The answer.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        ref: Ref | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Say what is wrong.

        Args:
            code: What, for programs.
            message: What, for people; cut to 200 characters.
            ref: Which message. `converse()` fills it in by itself.
            retry_after: When it may be right, in seconds.
        """
        if len(message) > MAX_WORDS:
            message = message[: MAX_WORDS - 1] + "…"
        super().__init__(detail=fit_reason(message), code=code.close_code)
        self.envelope = Error(code, message, code.retryable, ref, retry_after)


C = TypeVar("C", bound=ClientMessage)
H = TypeVar("H")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Answer = ServerMessage | None


class _Ref(msgspec.Struct):
    """All that is wanted of a message that is no message of ours."""

    ref: Ref | None = None


def formats(name: str, kind: TypeForm[T]) -> list[Format[T]]:
    """Describe a contract in JSON and in MessagePack.

    Whatever bytes or text come, the formats' `decode` returns a message or
    raises `MessageError`, and nothing else.

    Args:
        name: What the subprotocols are called: `name.json`, in text frames,
            and `name.msgpack`, in binary ones.
        kind: A Struct with a tag, or a union of them: what the other side
            may say.

    Returns:
        The two formats, for `negotiate()` or a `MessageSocket`; JSON first,
        for clients that offer nothing.
    """
    as_json = _decode(msgspec.json.Decoder, kind, ErrorCode.INVALID_JSON)
    as_msgpack = _decode(
        msgspec.msgpack.Decoder, kind, ErrorCode.INVALID_MESSAGE
    )
    return [
        Format(f"{name}.json", "text", msgspec.json.encode, as_json),
        Format(
            f"{name}.msgpack", "binary", msgspec.msgpack.encode, as_msgpack
        ),
    ]


# All that a decoder is known to raise: DecodeError and UnicodeError, which are
# ValueErrors; TypeError, for a set with a list in it; and for deep nesting.
_UNDECODABLE = ValueError, TypeError, RecursionError
_WELL_FORMED = msgspec.ValidationError, TypeError, RecursionError


def _decode(
    decoder: Callable[[Any], Any], kind: TypeForm[T], malformed: ErrorCode
) -> Callable[[str | bytes], T]:
    strictly: Callable[[str | bytes], T] = decoder(kind).decode
    only_ref: Callable[[str | bytes], _Ref] = decoder(_Ref).decode

    def decode(payload: str | bytes) -> T:
        try:
            return strictly(payload)
        except _UNDECODABLE as error:
            code = malformed
            if isinstance(error, _WELL_FORMED):
                code = ErrorCode.INVALID_MESSAGE
            words, ref = _in_words(error), find_ref(payload)
            raise MessageError(code, words, ref=ref) from error

    def find_ref(payload: str | bytes) -> Ref | None:
        # Skips all but the ref, so it takes no longer than the first time.
        try:
            return only_ref(payload).ref
        except _UNDECODABLE:
            return None

    return decode


def _in_words(error: Exception) -> str:
    match error:
        case UnicodeError():
            return "Text is not valid Unicode"
        case RecursionError():
            return "Nested too deeply"
        case TypeError():
            return "A value is of the wrong type"
    return str(error)


def dispatcher(
    handlers: type[H], kind: TypeForm[C]
) -> Callable[[H, C], Awaitable[Answer]]:
    """Make a table of what is called for each type of message.

    Args:
        handlers: A class with an async method for each type, named like its
            tag: `async def say(self, message: Say) -> Said | None`.
        kind: The types: a Struct with a tag, or a union of them.

    Returns:
        A function that calls the method for a message, on a given object of
        just this class. Whoever decodes only `kind` has a method for all.

    Raises:
        TypeError: A type has no method; the error says which.
    """
    table: dict[type, Callable[[H, C], Awaitable[Answer]]] = {}
    members: tuple[Any, ...] = get_args(kind) or (kind,)
    for member in members:
        name = str(member.__struct_config__.tag)
        method = getattr(handlers, name, None)
        if not callable(method):
            raise TypeError(
                f"expected {handlers.__name__} to have a method {name!r} for "
                f"messages of type {member.__name__}"
            )
        table[member] = method

    def dispatch(to: H, message: C) -> Awaitable[Answer]:
        return table[type(message)](to, message)

    return dispatch


class Speaker(Protocol[T_co]):
    """What `converse()` needs of a socket, such as a `MessageSocket`."""

    id: str

    async def receive_message(self) -> T_co:
        """Wait for a message."""
        ...

    async def send_message(self, message: Any, /) -> None:
        """Send a message."""
        ...


async def converse(
    socket: Speaker[C],
    answer: Callable[[C], Awaitable[Answer]],
    *,
    violations_before_close: int = 30,
) -> None:
    """Answer a client's messages, one after the other, until it leaves.

    What `answer` returns is sent. If it returns nothing, a message with a
    `ref` is acknowledged. What is no message, and a `MessageError` of
    `answer`, is answered with an `Error`, and the connection lives. So does
    it after any other error, of which the client learns only that there was
    one (`internal`); the log has the traceback and the connection's id.

    Args:
        socket: The connection, which has been accepted.
        answer: Called with each message.
        violations_before_close: The connection ends when so much has come
            that was no message.

    Raises:
        WebSocketException: That happened. Litestar closes with the code of
            the last: 4400, 1003 for a frame of the wrong kind, 4429 for one
            too soon. Or what `answer` raised to have the connection closed.
    """
    violations = 0
    while True:
        said: Answer
        try:
            message = await socket.receive_message()
        except WebSocketDisconnect:
            return
        except WebSocketException as error:
            violations += 1
            said = _envelope(error)
            if said is None or violations >= violations_before_close:
                raise
        else:
            try:
                said = await answer(message)
            except MessageError as error:
                said = msgspec.structs.replace(error.envelope, ref=message.ref)
            except WebSocketException:
                raise
            except Exception:
                logger.exception("connection %s: no answer", socket.id)
                code = ErrorCode.INTERNAL
                said = Error(
                    code, "internal error", code.retryable, message.ref
                )
            if said is None and message.ref is not None:
                said = Ack(message.ref)
        if said is not None:
            await socket.send_message(said)


def _envelope(error: WebSocketException) -> Error | None:
    """Answer what a socket could not receive; None if it was no message."""
    if isinstance(error, MessageError):
        return error.envelope
    code = _CODES.get(error.code)
    return MessageError(code, error.detail).envelope if code else None


_CODES: dict[int, ErrorCode] = {
    CloseCode.BAD_MESSAGES: ErrorCode.INVALID_MESSAGE,
    CloseCode.UNSUPPORTED_DATA: ErrorCode.UNSUPPORTED_DATA,
}
