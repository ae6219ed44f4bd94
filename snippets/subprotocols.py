"""Agree with each client on how messages travel, and hold both to it.

A client offers the subprotocols that it speaks (RFC 6455 §1.9), the server
chooses one, and from then on both know how a message is written:

```python
FORMATS = [as_json("chat.json", Say), as_msgpack("chat.msgpack", Say)]

@websocket("/chat")
async def chat(socket: WebSocket) -> None:
    messages = await negotiate(socket, FORMATS)
    async with lifecycle(socket):
        async for say in messages:
            await messages.send({"heard": say.text})
```

Needs: litestar and `closing.py`.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec
from litestar.exceptions import WebSocketDisconnect, WebSocketException

from .closing import AnySocket, CloseCode, fit_reason

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Format(Generic[T]):
    """How the messages of one subprotocol are written.

    Attributes:
        name: The subprotocol, as clients offer it.
        mode: The kind of frame that carries a message.
        encode: Turns a value into the payload of a frame.
        decode: Turns a payload into a message, and raises
            `msgspec.DecodeError` or UnicodeError if it is none.
    """

    name: str
    mode: Literal["text", "binary"]
    encode: Callable[[Any], bytes]
    decode: Callable[[Any], T]


def as_json(name: str, kind: type[T]) -> Format[T]:
    """Describe a subprotocol of JSON in text frames.

    Args:
        name: The subprotocol.
        kind: The type of what clients send, anything that msgspec decodes.

    Returns:
        The format.
    """
    return Format(
        name, "text", msgspec.json.encode, msgspec.json.Decoder(kind).decode
    )


def as_msgpack(name: str, kind: type[T]) -> Format[T]:
    """Describe a subprotocol of MessagePack in binary frames.

    Args:
        name: The subprotocol.
        kind: The type of what clients send, anything that msgspec decodes.

    Returns:
        The format.
    """
    decode = msgspec.msgpack.Decoder(kind).decode
    return Format(name, "binary", msgspec.msgpack.encode, decode)


class Messages(Generic[T]):
    """The messages of one connection, in the format agreed upon.

    Iterate over it to receive; the loop ends when the client has left.
    """

    def __init__(self, socket: AnySocket, format: Format[T]) -> None:  # noqa: A002
        self.socket = socket
        self.format = format

    async def send(self, value: object) -> None:
        """Send a message.

        Args:
            value: Anything that msgspec encodes.
        """
        payload = self.format.encode(value)
        await self.socket.send_data(payload, mode=self.format.mode)

    async def receive(self) -> T:
        """Receive a message.

        Returns:
            The next message.

        Raises:
            WebSocketDisconnect: The client has left.
            WebSocketException: What came is no message: 1003 for a frame of
                the other kind, 4400 for a payload that cannot be decoded. The
                connection is still open, and the next message can be received.
        """
        event: Any = await self.socket.receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(
                detail="the client has left", code=event["code"]
            )
        key = "text" if self.format.mode == "text" else "bytes"
        return self._decoded(event.get(key))

    async def __aiter__(self) -> AsyncGenerator[T]:
        while True:
            try:
                message = await self.receive()
            except WebSocketDisconnect:
                return
            yield message

    def _decoded(self, payload: str | bytes | None) -> T:
        if payload is None:  # a frame of the other kind
            raise WebSocketException(
                detail=f"{self.format.name} takes {self.format.mode} frames",
                code=CloseCode.UNSUPPORTED_DATA,
            )
        try:
            return self.format.decode(payload)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise WebSocketException(
                detail=fit_reason(str(error)), code=CloseCode.BAD_MESSAGES
            ) from error


def choose(
    offered: Sequence[str], formats: Sequence[Format[T]]
) -> tuple[str | None, Format[T]]:
    """Choose the format that a client prefers.

    Args:
        offered: The subprotocols that the client offers, best first.
        formats: What the server speaks. A client that offers nothing gets the
            first of them, and no subprotocol in the answer.

    Returns:
        The subprotocol to accept with, and its format.

    Raises:
        WebSocketException: The client offers only what is not spoken here.
            It is refused, since a browser drops a connection in which none of
            its offers was chosen.
    """
    spoken = {known.name: known for known in formats}
    if not any(offered):
        return None, formats[0]
    for name in offered:
        if name in spoken:
            return name, spoken[name]
    raise WebSocketException(
        detail=f"offer one of {', '.join(spoken)}",
        code=CloseCode.POLICY_VIOLATION,
    )


async def negotiate(
    socket: AnySocket, formats: Sequence[Format[T]]
) -> Messages[T]:
    """Accept a connection in the format that its client prefers.

    Args:
        socket: A connection that is not accepted yet.
        formats: What the server speaks, see `choose()`.

    Returns:
        The messages of the connection.

    Raises:
        WebSocketException: The client offers only what is not spoken here.
        RuntimeError: The connection is accepted already, and the choice would
            go unheard.
    """
    if socket.connection_state != "init":
        raise RuntimeError(
            "negotiate() expected a connection that is not accepted yet; "
            "call it before lifecycle()"
        )
    name, chosen = choose(socket.scope["subprotocols"], formats)
    await socket.accept(subprotocols=name)
    return Messages(socket, chosen)
