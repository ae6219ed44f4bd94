"""One scenario, three witnesses: what does a client really see?

Test clients hide what the wire shows. `witnesses()` runs one scenario through
Litestar's `TestClient`, through httpx-ws in process, and through `websockets`
to a real uvicorn, and puts side by side what each of them saw.

```python
async def say_hello(client: Client) -> None:
    await client.send("hello")
    await client.receive()

print(await witnesses(create_app, say_hello, "/echo"))
```

Needs: httpx-ws, Litestar, and `client.py`, `in_process.py`, `lifespan.py` and
`server.py`.
"""

from asyncio import AbstractEventLoop, TimerHandle, get_running_loop
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import zip_longest
from queue import Empty
from typing import Any

import httpx
from anyio import CancelScope, to_thread
from httpx_ws import aconnect_ws
from httpx_ws.transport import (
    ASGIWebSocketTransport,
    ASGIWebSocketTransportError,
)
from litestar import Litestar
from litestar.exceptions import WebSocketException
from litestar.testing import TestClient, WebSocketTestSession

from .client import Client, Closed, Refused
from .in_process import InProcess, refusal
from .lifespan import lifespan, only
from .server import serve

Scenario = Callable[[Client], Awaitable[None]]


@dataclass(frozen=True)
class Testimony:
    """What each witness saw, in order.

    Attributes:
        saw: The lines of each witness, by its name.
        log: What the real server logged meanwhile.
    """

    saw: dict[str, list[str]]
    log: list[str]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """One row per event, one column per witness; "" where one is short."""
        return list(zip_longest(*self.saw.values(), fillvalue=""))

    @property
    def agree(self) -> bool:
        """Whether all witnesses saw the same."""
        return all(len(set(row)) == 1 for row in self.rows)

    def __str__(self) -> str:
        table = [("", *self.saw)]
        table += [
            ("" if len(set(row)) == 1 else "≠", *row) for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width)
                for cell, width in zip(row, widths, strict=True)
            ).rstrip()
            for row in table
        ]
        return "\n".join(lines + [f"server log: {line}" for line in self.log])

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col">{escape(name)}</th>' for name in self.saw
        )
        body = "".join(
            "<tr>"
            + ("<td></td>" if len(set(row)) == 1 else "<td>≠</td>")
            + "".join(f"<td>{escape(cell)}</td>" for cell in row)
            + "</tr>"
            for row in self.rows
        )
        log = "".join(
            f"<p>The server logged: <code>{escape(line)}</code></p>"
            for line in self.log
        )
        return (
            '<table class="witnesses"><thead><tr>'
            f'<th scope="col"><span title="differs">≠</span></th>{head}'
            f"</tr></thead><tbody>{body}</tbody></table>{log}"
        )


async def witnesses(
    create_app: Callable[[], Litestar],
    scenario: Scenario,
    path: str = "/",
    *,
    subprotocols: Sequence[str] = (),
    patience: float = 0.5,
) -> Testimony:
    """Run a scenario through all three witnesses, each with an app of its own.

    Args:
        create_app: Makes the app.
        scenario: What the client does. It may end by `Closed`, `Refused` or
            TimeoutError: those are things to see.
        path: Where to connect.
        subprotocols: The subprotocols to offer.
        patience: How long a witness waits for anything, in seconds.

    Returns:
        What they saw.
    """
    saw: dict[str, list[str]] = {}
    offer = tuple(subprotocols)
    saw["TestClient"] = await _watch(
        _test_client(_Leash(create_app(), patience), path, offer), scenario
    )
    saw["httpx-ws"] = await _watch(
        _httpx_ws(_Leash(create_app(), patience), path, offer), scenario
    )
    served = serve(create_app(), timeout_graceful_shutdown=patience)
    async with served as server:
        saw["on the wire"] = await _watch(
            server.connect(path, subprotocols=offer, timeout=patience),
            scenario,
        )
    return Testimony(saw, server.log)


async def _watch(
    connection: AbstractAsyncContextManager[Client], scenario: Scenario
) -> list[str]:
    saw: list[str] = []
    try:
        async with connection as client:
            chosen = client.subprotocol
            saw.append(f"accepted, {chosen}" if chosen else "accepted")
            await scenario(_Watched(client, saw))
    except Refused as refused:
        code = f"close {refused.code} {refused.reason!r}"
        saw.append(str(refused) if refused.code is None else code)
    except Closed as closed:
        saw.append(f"close {closed}")
    except TimeoutError:
        saw.append("nothing, and waits")
    except ASGIWebSocketTransportError as broken:
        saw.append(f"the client breaks: {type(broken).__name__}")
    return [line if len(line) < 50 else f"{line[:45]}…" for line in saw]


class _Watched(Client):
    """A client that notes what it receives."""

    def __init__(self, client: Client, saw: list[str]) -> None:
        self._client, self._saw = client, saw
        self.subprotocol, self.headers = client.subprotocol, client.headers
        self.timeout = client.timeout * 2  # the inner one speaks first

    async def _send(self, data: str | bytes) -> None:
        await self._client.send(data)

    async def _receive(self) -> str | bytes:
        message = await self._client.receive()
        self._saw.append(repr(message))
        return message

    async def _close(self, code: int, reason: str) -> None:
        await self._client.close(code, reason)


class _Leash:
    """An app whose handlers are pulled out if they stay behind.

    Clients in process wait without an end for a handler that does not end.
    """

    def __init__(self, app: Litestar, patience: float) -> None:
        self.app, self.patience = app, patience
        self._handlers: list[tuple[AbstractEventLoop, CancelScope]] = []
        self._ends: tuple[Any, ...] = ()
        self._timer: TimerHandle
        self._pulled = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with CancelScope() as handler:
            if scope["type"] == "websocket":
                self._handlers.append((get_running_loop(), handler))
                self._ends = receive, send
            await self.app(scope, receive, send)

    def leave(self) -> None:
        """Say that the client leaves, so that handlers have to end soon."""
        loop = get_running_loop()
        self._timer = loop.call_later(self.patience, self._pull)

    def _pull(self) -> None:
        self._pulled = True
        for loop, handler in self._handlers:
            loop.call_soon_threadsafe(handler.cancel)

    async def close_streams(self) -> None:
        """Close what httpx-ws leaves open if an app does not answer."""
        for end in self._ends:
            await end.__self__.aclose()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if self._pulled and kind is None:
            raise TimeoutError


@asynccontextmanager
async def _httpx_ws(
    leash: _Leash, path: str, offer: Sequence[str]
) -> AsyncGenerator[Client]:
    """httpx-ws as it comes, without what `connect()` adds."""
    transport = ASGIWebSocketTransport(
        leash, initial_receive_timeout=leash.patience
    )
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(lifespan(leash.app))
            stack.enter_context(leash)
            stack.push_async_callback(leash.close_streams)
            http = httpx.AsyncClient(transport=transport)
            await stack.enter_async_context(http)
            stack.callback(leash.leave)
            session = await stack.enter_async_context(
                aconnect_ws(
                    "ws://testserver" + path,
                    http,
                    subprotocols=list(offer) or None,
                )
            )
            yield InProcess(session, leash.patience)
    except BaseExceptionGroup as group:
        error = only(group)
        if isinstance(error, RuntimeError) and "in time" in str(error):
            error = TimeoutError(str(error))
        raise refusal(error) from None


@asynccontextmanager
async def _test_client(
    leash: _Leash, path: str, offer: Sequence[str]
) -> AsyncGenerator[Client]:
    """Litestar's blocking client, called from threads."""

    def enter() -> WebSocketTestSession:
        client = stack.enter_context(TestClient(leash, timeout=leash.patience))
        return stack.enter_context(
            client.websocket_connect(path, subprotocols=offer)
        )

    with leash, ExitStack() as stack:
        try:
            session = await to_thread.run_sync(enter)
            yield _TestClient(session, leash.patience)
        except Empty:
            raise TimeoutError from None
        except WebSocketException as refused:
            raise Closed(refused.code, refused.detail) from None
        finally:
            leash.leave()
            with CancelScope(shield=True):
                await to_thread.run_sync(stack.pop_all().close)


class _TestClient(Client):
    def __init__(self, session: WebSocketTestSession, patience: float) -> None:
        self._session = session
        self.subprotocol = session.accepted_subprotocol
        pairs = session.extra_headers or []
        self.headers = {k.decode(): v.decode() for k, v in pairs}
        self.timeout = patience * 2  # its own time-out speaks first
        self._patience = patience

    async def _send(self, data: str | bytes) -> None:
        mode = "text" if isinstance(data, str) else "binary"
        self._session.send(data, mode)

    async def _receive(self) -> str | bytes:
        receive = partial(self._session.receive, timeout=self._patience)
        try:
            message: Mapping[str, Any] = await to_thread.run_sync(receive)
        except Empty:
            raise TimeoutError from None
        except WebSocketException as left:
            raise Closed(left.code, left.detail) from None
        text = message.get("text")
        return message.get("bytes") or b"" if text is None else text

    async def _close(self, code: int, reason: str) -> None:
        del reason  # which this client has no way to send
        self._session.close(code)
