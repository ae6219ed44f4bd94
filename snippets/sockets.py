"""A WebSocket class whose messages have a type, and which closes once.

```python
class ChatSocket(MessageSocket[Say]):
    formats = (as_json("chat.json", Say), as_msgpack("chat.msgpack", Say))


@websocket("/chat", websocket_class=ChatSocket)
async def chat(socket: ChatSocket) -> None:
    async with lifecycle(socket):
        async for say in socket.iter_messages():
            await socket.send_message({"heard": say.text})
```

Needs: litestar, `closing.py` and `subprotocols.py`.
"""

from collections.abc import AsyncGenerator, Sequence
from secrets import token_hex
from typing import Any, Generic, TypeVar

from litestar import WebSocket
from litestar.datastructures import Headers

from .closing import CloseCode, close
from .subprotocols import Format, Messages, choose

T = TypeVar("T")
AnyHeaders = Headers | dict[str, Any] | list[tuple[bytes, bytes]] | None


class MessageSocket(WebSocket[Any, Any, Any], Generic[T]):
    """A connection that speaks in messages of a type.

    Subclass it, say what is spoken, and name the subclass as
    `websocket_class` of a handler, a controller, a router or the app. State
    of your own goes into `__slots__`, like that of Litestar's class, so that
    a name that is not there is an error.

    A listener accepts with the method of Litestar's own class, so give it
    `connection_lifespan=lifecycle`.

    Attributes:
        formats: What is spoken, the default first; set it in the subclass.
        id: A name for this connection in logs, 16 digits that nobody can
            guess.
    """

    __slots__ = ("_messages", "id")
    formats: Sequence[Format[T]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.id = token_hex(8)
        self._messages: Messages[T] | None = None

    @property
    def format(self) -> Format[T]:
        """The format agreed upon; before that, the one the client prefers.

        Raises:
            WebSocketException: The client offers only what is not spoken here.
        """
        if self._messages is not None:
            return self._messages.format
        return choose(self.scope["subprotocols"], self.formats)[1]

    async def accept(
        self,
        subprotocols: str | None = None,
        headers: AnyHeaders = None,
    ) -> None:
        """Accept the connection, in the format that its client prefers.

        Does nothing if it is accepted already.

        Args:
            subprotocols: The name of a format, if the choice is yours; one
                that the client offers.
            headers: What the answer says besides.

        Raises:
            WebSocketException: The client offers only what is not spoken here.
                It is refused if nobody catches this.
        """
        if self.connection_state == "init":
            offered = self.scope["subprotocols"]
            name, chosen = choose(
                [subprotocols] if subprotocols else offered, self.formats
            )
            self._messages = Messages(self, chosen)
            await super().accept(name, headers)

    async def receive_message(self) -> T:
        """Receive a message, and accept the connection first if need be.

        What is no message leaves the connection open: catch the error, answer
        it, and receive again. `WebSocketDisconnect` is one of its kind, so
        catch that first.

        Returns:
            The next message.

        Raises:
            WebSocketDisconnect: The client has left.
            WebSocketException: What came is no message: 1003 for a frame of
                the other kind, 4400 for a payload that cannot be decoded.
        """
        return await (await self._agreed()).receive()

    async def iter_messages(self) -> AsyncGenerator[T]:
        """Receive messages until the client leaves.

        Yields:
            The next message.

        Raises:
            WebSocketException: What came is no message, as in
                `receive_message()`. It ends this iteration, not the
                connection.
        """
        async for message in await self._agreed():
            yield message

    async def send_message(self, value: object) -> None:
        """Send a message, and accept the connection first if need be.

        Args:
            value: What the formats encode.

        Raises:
            WebSocketDisconnect: The client has gone, or the connection was
                closed. Outside of `lifecycle()` servers raise OSError or
                RuntimeError for that, too.
        """
        await (await self._agreed()).send(value)

    async def close(
        self, code: int = CloseCode.NORMAL, reason: str | None = None
    ) -> None:
        """Close the connection; harmless if it is closed, or its client gone.

        Args:
            code: A code that may be sent.
            reason: Why, for the client's eyes; cut to 123 bytes.

        Raises:
            ValueError: The code may not be sent.
        """
        await close(self, code, reason or "")

    async def _agreed(self) -> Messages[T]:
        await self.accept()
        if self._messages is None:
            raise RuntimeError(
                "this connection was accepted by another method than accept() "
                "of its class; does a listener need "
                "connection_lifespan=lifecycle?"
            )
        return self._messages
