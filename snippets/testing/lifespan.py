"""The lifespan of an app, run once however many ask for it.

The first to enter starts the app, the last to leave stops it.

```python
async with lifespan(app), lifespan(app):
    ...  # started once
```

Needs: asgi-lifespan, anyio, and `client.py`.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import anyio
from asgi_lifespan import LifespanManager, LifespanNotSupported

from .client import ASGIApp

_STARTUP = 30
"""How long an app may take to start or stop, in seconds."""

# By id, because a Litestar app can be neither hashed nor weakly referenced;
# an entry goes when its last client does.
_running: dict[int, "_Lifespan"] = {}


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncGenerator[None]:
    """Keep an app's lifespan running, once for all who ask.

    Args:
        app: An ASGI app; one without a lifespan is left alone.

    Yields:
        Nothing; the app has started.
    """
    held = _running.setdefault(id(app), _Lifespan(app))
    held.clients += 1
    try:
        async with held.turn:
            if held.manager is None:
                await held.enter()
        yield
    finally:
        held.clients -= 1
        try:
            with anyio.CancelScope(shield=True):
                async with held.turn:
                    if not held.clients:
                        await held.leave()
        finally:
            if not held.clients:
                _running.pop(id(app), None)


class _Lifespan:
    """The lifespan of one app, held by however many clients it has."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.clients = 0
        self.turn = asyncio.Lock()
        self.manager: LifespanManager | None = None

    async def enter(self) -> None:
        manager = LifespanManager(self.app, _STARTUP, _STARTUP)
        try:
            with suppress(LifespanNotSupported):  # allowed in ASGI
                self.manager = await manager.__aenter__()
        except ExceptionGroup as group:
            raise only(group) from None
        except TimeoutError:
            raise TimeoutError(
                f"starting the app: no answer within {_STARTUP} s. An app for "
                'WebSockets alone begins with assert scope["type"] == '
                '"websocket"'
            ) from None

    async def leave(self) -> None:
        manager, self.manager = self.manager, None
        try:
            if manager is not None:
                await manager.__aexit__(None, None, None)
        except ExceptionGroup as group:
            raise only(group) from None


def only(error: BaseException) -> BaseException:
    """Unwrap groups of one error, which every task group adds.

    Args:
        error: What came out of a block.

    Returns:
        The only error in it, or the group as it is if there are more.
    """
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
