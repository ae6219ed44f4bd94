"""What is said about dependencies of WebSocket handlers."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable, Mapping
from itertools import count
from typing import Any

import pytest
from litestar import (
    Controller,
    Litestar,
    Router,
    WebSocket,
    websocket,
    websocket_listener,
)
from litestar.di import NamedDependency, Provide
from litestar.exceptions import (
    ImproperlyConfiguredException,
    LitestarDeprecationWarning,
    WebSocketException,
)
from litestar.params import FromQuery

from snippets.testing import Refused, connect
from snippets.testing.server import serve

from .conftest import ask, hear

PATIENCE = 5
"""How long to wait for what has to come, in seconds."""
Provided = Mapping[str, Provide | Callable[..., Any]]


def numbered() -> Callable[[], Any]:
    """Make a dependency that counts how often it is fetched."""
    numbers = count(1)

    async def number() -> int:
        return next(numbers)

    return number


def answering(**dependencies: Any) -> Litestar:
    """Make an app that answers each message with its dependency."""

    @websocket_listener("/")
    async def tell(data: str, number: NamedDependency[int]) -> int:
        return number

    return Litestar([tell], dependencies=dependencies)


async def test_a_dependency_is_fetched_once_per_connection():
    """A listener's dependencies are fetched anew for each message
    → false: once per connection; all its messages see the same value.
    """
    app = answering(number=Provide(numbered()))
    assert await ask(app, "one", "two") == ["1", "1"]
    assert await ask(app, "one") == ["2"]


async def test_a_dependency_that_raises_refuses_the_client():
    """A dependency that raises `WebSocketException(…, code=4001)` closes so
    → false: it runs before the accept, so the client sees an HTTP 403.
    """

    async def nobody() -> int:
        raise WebSocketException(detail="log in", code=4001)

    async with serve(answering(number=Provide(nobody))) as server:
        with pytest.raises(Refused) as refused:
            async with server.connect():
                pass
    assert refused.value.status == 403
    assert server.log == []


async def test_a_dependency_may_accept_and_then_close_with_a_code():
    """A dependency cannot tell the client why it is turned away
    → half true: only if it accepts first; then its code and reason arrive.
    """

    async def member(socket: WebSocket) -> int:
        await socket.accept()
        raise WebSocketException(detail="log in", code=4001)

    heard, closed = await hear(answering(number=Provide(member)))
    assert heard == []
    assert (closed.code, closed.reason) == (4001, "log in")


def test_dependency_is_imported_from_nowhere_useful():
    """`from litestar import Dependency`, `dependencies={"db": Dependency(f)}`
    → false: there is no such import; it is `Provide(f)`, or `f` itself.
    """
    with pytest.raises(ImportError):
        exec("from litestar import Dependency")
    answering(number=numbered())


async def test_inferred_dependencies_work_and_warn():
    """`db: Database` is enough, Litestar sees where a value comes from
    → half true: with a deprecation warning; 3.0 wants `NamedDependency[…]`.
    """

    @websocket_listener("/")
    async def tell(data: str, number: int, sugar: int = 0) -> int:
        return number + sugar

    numbers = {"number": Provide(numbered())}
    with pytest.warns(LitestarDeprecationWarning) as warned:
        app = Litestar([tell], dependencies=numbers)
    said = " ".join(sorted(str(warning.message) for warning in warned))
    assert "Inferred dependencies will stop working in Litestar 3.0" in said
    assert "Use 'FromQuery[<type>]'" in said
    assert await ask(app, "") == ["1"]


async def test_a_value_is_checked_against_the_annotation():
    """The annotation of a dependency is for the reader only
    → false: what does not fit it refuses the client, and nothing says why.
    """

    async def three() -> str:
        return "three"

    async with serve(answering(number=Provide(three))) as server:
        with pytest.raises(Refused):
            async with server.connect():
                pass
    assert server.log == []


async def test_a_dependency_that_yields_nothing_has_to_say_so():
    """A dependency may just hold a lock, `lock: NamedDependency[asyncio.Lock]`
    → false: without a value after its `yield` the client is refused.
    """

    async def held() -> AsyncGenerator[None, None]:
        async with asyncio.Lock():
            yield

    @websocket_listener("/")
    async def tell(data: str, held: NamedDependency[asyncio.Lock]) -> str:
        return data

    app = Litestar([tell], dependencies={"held": Provide(held)})
    with pytest.raises(Refused):
        await ask(app, "tea")


async def test_a_list_is_injected_as_a_copy():
    """Handlers that are given the same list share it
    → false: lists, dicts and sets are copied; share an object of a class.
    """
    shared: list[str] = []

    async def stock() -> list[str]:
        return shared

    @websocket_listener("/")
    async def store(data: str, stock: NamedDependency[list[str]]) -> int:
        stock.append(data)
        return len(stock)

    app = Litestar([store], dependencies={"stock": Provide(stock)})
    assert await ask(app, "tea") == ["1"]
    assert await ask(app, "tea") == ["1"]
    assert shared == []


async def test_the_cache_has_no_lock():
    """`Provide(f, use_cache=True)` calls `f` once
    → half true: once it is made; who comes meanwhile has it made again.
    """
    numbers, together = count(1), asyncio.Barrier(2)

    async def slow() -> int:
        number = next(numbers)
        await together.wait()
        return number

    app = answering(number=Provide(slow, use_cache=True))
    both = await asyncio.gather(ask(app, ""), ask(app, ""))
    assert sorted(both) == [["1"], ["2"]]
    assert await ask(app, "") in both
    assert next(numbers) == 3


async def test_the_cache_belongs_to_the_provide():
    """A cached dependency lives as long as its app
    → false: as long as its `Provide`; two apps with the same one share it.
    """
    once = Provide(numbered(), use_cache=True)
    assert await ask(answering(number=once), "") == ["1"]
    assert await ask(answering(number=once), "") == ["1"]


def test_a_generator_cannot_be_cached():
    """A dependency with a `yield` can be shared by all connections
    → false: it is refused; make it in the app's lifespan.
    """

    async def shared() -> AsyncGenerator[int, None]:
        yield 1

    with pytest.raises(ImproperlyConfiguredException, match="Lifespan"):
        Provide(shared, use_cache=True)


def test_two_names_for_one_dependency_are_refused():
    """One function can be provided under two names
    → false: that is refused, unless one of the two is cached.
    """
    number = numbered()
    with pytest.raises(ImproperlyConfiguredException, match="same key"):
        answering_two(Provide(number), Provide(number))
    answering_two(Provide(number), Provide(number, use_cache=True))


def answering_two(first: Provide, second: Provide) -> Litestar:
    @websocket_listener("/")
    async def tell(
        data: str, first: NamedDependency[int], second: NamedDependency[int]
    ) -> int:
        return first + second

    deps = {"first": first, "second": second}
    return Litestar([tell], dependencies=deps)


async def test_clean_up_of_a_failing_connection_comes_before_the_close():
    """The clean-up of a dependency runs after the connection has been closed
    → half true: if a handler raises, the close frame waits for the clean-up.
    """
    cleaning, cleaned = asyncio.Event(), asyncio.Event()
    thrown: list[Exception] = []

    async def number() -> AsyncGenerator[int, None]:
        try:
            yield 1
        except LookupError as error:
            thrown.append(error)
            raise
        finally:
            cleaning.set()
            await cleaned.wait()

    @websocket_listener("/")
    async def fail(data: str, number: NamedDependency[int]) -> None:
        raise LookupError("no coffee")

    app = Litestar([fail], dependencies={"number": Provide(number)})
    async with serve(app) as server, server.connect() as client:
        await client.send("coffee")
        closing = asyncio.create_task(anext(aiter(client), None))
        async with asyncio.timeout(PATIENCE):
            await cleaning.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert client.closed is None
        assert not closing.done()
        cleaned.set()
        async with asyncio.timeout(PATIENCE):
            assert await closing is None
        assert client.closed is not None
        assert client.closed.code == 4500
    assert [str(error) for error in thrown] == ["no coffee"]


@pytest.mark.xfail(reason="no issue yet")
async def test_clean_up_comes_also_when_the_client_is_refused():
    """A dependency with a `yield` is put away, whatever happens
    → false: not if the client is refused after it was fetched, for instance
    for a query parameter; the garbage collector puts it away some day.
    """
    log: list[str] = []

    async def table() -> AsyncGenerator[str, None]:
        log.append("laid")
        try:
            yield "table 3"
        finally:
            log.append("cleared")

    @websocket_listener("/")
    async def order(
        data: str, table: NamedDependency[str], sugar: FromQuery[int]
    ) -> None: ...

    app = Litestar([order], dependencies={"table": Provide(table)})
    gc.disable()
    try:
        async with serve(app) as server:
            with pytest.raises(Refused):
                async with server.connect("/?sugar=lots"):
                    pass
        assert log == ["laid", "cleared"]
    finally:
        gc.enable()


async def test_clean_up_comes_after_on_disconnect():
    """`on_disconnect` comes last of all
    → false: dependencies are put away after it, so it may use them.
    """
    log: list[str] = []

    async def number() -> AsyncGenerator[int, None]:
        yield 1
        log.append("put away")

    async def goodbye(number: NamedDependency[int]) -> None:
        log.append(f"on_disconnect, {number}")

    @websocket_listener("/", on_disconnect=goodbye)
    async def tell(data: str, number: NamedDependency[int]) -> int:
        return number

    app = Litestar([tell], dependencies={"number": Provide(number)})
    assert await ask(app, "") == ["1"]
    assert log == ["on_disconnect, 1", "put away"]


async def test_a_dependency_is_fetched_before_the_accept():
    """Whoever has to wait for a dependency waits on an open connection
    → false: the handshake itself waits, until the client gives up.
    """
    one = asyncio.Semaphore(1)

    async def number() -> AsyncGenerator[int, None]:
        async with one:
            yield 1

    app = answering(number=Provide(number))
    async with connect(app):
        with pytest.raises(TimeoutError, match="neither accepted nor refused"):
            async with connect(app, timeout=0.1):
                pass
    assert await ask(app, "") == ["1"]


async def test_the_nearest_layer_wins():
    """A dependency of the app stands for all handlers
    → half true: a router, a controller or a handler may provide another.
    """

    def number(value: int) -> dict[str, Any]:
        return {"number": Provide(lambda: value, sync_to_thread=False)}

    async def tell(socket: WebSocket, number: NamedDependency[int]) -> None:
        await socket.accept()
        await socket.send_json(number)
        await socket.close()

    class Inner(Controller):
        path = "/controller"
        dependencies: Provided | None = number(3)

        @websocket("/")
        async def plain(
            self, socket: WebSocket, number: NamedDependency[int]
        ) -> None:
            await tell(socket, number)

        @websocket("/handler", dependencies=number(4))
        async def own(
            self, socket: WebSocket, number: NamedDependency[int]
        ) -> None:
            await tell(socket, number)

    router = Router(
        "/router",
        route_handlers=[websocket("/")(tell), Inner],
        dependencies=number(2),
    )
    app = Litestar([websocket("/")(tell), router], dependencies=number(1))
    for path, expected in {
        "/": "1",
        "/router": "2",
        "/router/controller": "3",
        "/router/controller/handler": "4",
    }.items():
        async with connect(app, path) as client:
            assert await client.receive() == expected


async def test_a_handler_takes_path_and_query_too():
    """Only HTTP handlers take path and query parameters
    → false: all kinds do; a value that does not fit is an HTTP 403.
    """

    @websocket("/")
    async def tell(socket: WebSocket, sugar: FromQuery[int] = 0) -> None:
        await socket.accept()
        await socket.send_json(sugar)
        await socket.close()

    app = Litestar([tell])
    async with connect(app, "/?sugar=2") as client:
        assert await client.receive() == "2"
    with pytest.raises(Refused):
        async with connect(app, "/?sugar=lots"):
            pass
