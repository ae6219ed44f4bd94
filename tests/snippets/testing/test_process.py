"""A server in its own process answers, ends in time, and leaves nothing."""

import asyncio
import errno
import logging
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from logging.config import dictConfig
from pathlib import Path
from typing import Any

import pytest

from snippets.testing import process as module
from snippets.testing.client import ASGIApp
from snippets.testing.process import Exit, Failed, Process, process

SOON = 0.1
"""A time-out that is meant to pass, and nothing has to happen before it."""

HERE = __name__


class Mistake(Exception):
    """What goes wrong in these tests."""


# -- what runs in the other process ------------------------------------------


class App:
    """An app that does what the path says, and nothing that takes time."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        await getattr(self, scope["path"][1:])(receive, send)

    async def echo(self, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})

    async def stubborn(self, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    async def log(self, receive: Any, send: Any) -> None:
        logging.getLogger("mine").info("not worth it")
        logging.getLogger("mine").warning("one\ntwo")
        logging.getLogger("apart").error("three")


def create_app() -> App:
    """Make the app, and configure all loggers anew, as apps like to."""
    apart = {"propagate": False}
    loggers = {"loggers": {"apart": apart}, "disable_existing_loggers": False}
    dictConfig({"version": 1, "root": {}, **loggers})
    return App()


def create_nothing() -> App:
    raise Mistake("no app today")


def create_what_does_not_start() -> ASGIApp:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        failed = {"type": "lifespan.startup.failed"}
        await send({**failed, "message": "no start today"})

    return app


def create_what_never_starts() -> ASGIApp:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    return app


def pid(app: object) -> tuple[str, int, str]:
    return type(app).__name__, os.getpid(), threading.current_thread().name


async def later(app: object, *given: Any) -> Any:
    await asyncio.sleep(0)
    return given


def fail(app: object) -> None:
    raise Mistake("as planned")


async def slowly(app: object) -> None:
    await asyncio.sleep(SOON * 3)


async def never(app: object) -> None:
    await asyncio.Event().wait()


def make_a_function(app: object) -> Callable[[], None]:
    return lambda: None


def block(app: object) -> None:
    time.sleep(60)


def die(app: object) -> None:
    os._exit(7)


def user_timeouts(app: object) -> list[int]:
    """List TCP_USER_TIMEOUT of all connections, in milliseconds."""
    found = []
    for number in range(100):
        try:
            one = socket.socket(fileno=os.dup(number))
        except OSError as error:
            assert error.errno in {errno.EBADF, errno.ENOTSOCK}
            continue
        with one:
            if one.family == socket.AF_INET:
                found.append(
                    one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                )
    return found


# -- running -----------------------------------------------------------------


@pytest.fixture(scope="module", params=["websockets-sansio", "wsproto"])
async def server(
    request: pytest.FixtureRequest, anyio_backend: str
) -> AsyncGenerator[Process]:
    async with process(f"{HERE}:create_app", ws=request.param) as running:
        yield running


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


async def test_clients_connect_as_to_any_server(server: Process):
    async with server.connect("/echo") as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"


async def test_it_is_another_process(server: Process):
    assert server.pid != os.getpid()
    assert alive(server.pid)
    running = await server.call(pid)
    assert running == ("App", server.pid, "MainThread")


async def test_arguments_and_results_cross(server: Process):
    given = ({"a": [1, 2.5]}, b"\xff", Exit(1, 2.0), "x" * 1_000_000)
    assert await server.call(later, *given) == given


async def test_calls_may_overlap(server: Process):
    slow = asyncio.create_task(server.call(never, timeout=SOON * 3))
    numbers = range(20)
    calls = [server.call(later, number) for number in numbers]
    assert await asyncio.gather(*calls) == [(number,) for number in numbers]
    with pytest.raises(TimeoutError, match="never did not return"):
        await slow
    assert await server.call(later) == ()


async def test_an_answer_that_comes_too_late_is_nobodys(server: Process):
    with pytest.raises(TimeoutError, match="slowly did not return"):
        await server.call(slowly, timeout=SOON)
    await server.call(slowly)
    assert await server.call(later) == ()


async def test_an_error_comes_back_with_its_text_and_traceback(
    server: Process,
):
    with pytest.raises(Failed, match="Mistake: as planned") as caught:
        await server.call(fail)
    (trace,) = caught.value.__notes__
    assert "in fail\n" in trace


async def test_so_does_that_of_a_result_that_cannot_be_pickled(
    server: Process,
):
    with pytest.raises(Failed, match="pickle"):
        await server.call(make_a_function)


async def test_so_does_that_of_a_function_that_is_not_there(
    server: Process, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys.modules[HERE], "here_alone", fail, raising=False)
    monkeypatch.setattr(fail, "__qualname__", "here_alone")
    with pytest.raises(Failed, match="here_alone"):
        await server.call(fail)


async def test_a_function_of_the_script_is_refused(server: Process):
    def mine(app: object) -> None: ...

    mine.__module__ = "__main__"
    with pytest.raises(ValueError, match="mine is in the script"):
        await server.call(mine)


async def test_warnings_and_errors_are_collected(server: Process):
    async with server.connect("/log") as ws:
        async for _ in ws:
            pass
    await server.call(later)  # what was logged before has arrived before
    assert server.log == ["two", "three"]
    server.log.clear()


# -- starting ----------------------------------------------------------------


async def test_an_app_that_cannot_be_made_says_why():
    with pytest.raises(RuntimeError) as caught:
        async with process(f"{HERE}:create_nothing"):
            pass
    first, *_, last = str(caught.value).splitlines()
    assert first == "the app did not start:"
    assert last == "Mistake: no app today"


async def test_so_does_one_that_is_not_there():
    with pytest.raises(RuntimeError, match="no_such_thing"):
        async with process(f"{HERE}:no_such_thing"):
            pass


async def test_so_does_one_whose_hooks_fail():
    with pytest.raises(RuntimeError, match="no start today"):
        async with process(f"{HERE}:create_what_does_not_start"):
            pass


async def test_one_that_never_starts_has_a_time_out(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "_PATIENCE", 2)
    with pytest.raises(RuntimeError, match="no answer within 2 s"):
        async with process(f"{HERE}:create_what_never_starts"):
            pass


async def test_a_program_that_cannot_be_run_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(FileNotFoundError):
        async with process(f"{HERE}:create_app"):
            pass


async def test_a_listener_of_your_own_has_your_options():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 3000)
    port = listener.getsockname()[1]
    async with process(f"{HERE}:create_app", listener=listener) as server:
        assert listener.fileno() == -1
        assert server.port == port
        async with server.connect("/echo"):
            assert await server.call(user_timeouts) == [3000, 3000]


async def test_a_listener_for_everybody_is_refused():
    listener = socket.create_server(("0.0.0.0", 0))
    with pytest.raises(ValueError, match="is bound to"):
        async with process(f"{HERE}:create_app", listener=listener):
            pass
    assert listener.fileno() == -1


# -- ending ------------------------------------------------------------------


async def test_sigterm_ends_it_in_peace_and_in_time():
    async with process(f"{HERE}:create_app") as server:
        async with server.connect("/stubborn") as ws:
            ended = await server.stop()
            async for _ in ws:
                pass
            assert ws.closed is not None
            assert ws.closed.code == 1012
        assert ended.code == -signal.SIGTERM
        assert 0 < ended.seconds < 10
        assert not alive(server.pid)
        assert (await server.stop()).code == ended.code
        with pytest.raises(ConnectionError, match="has ended"):
            await server.call(later)
    with pytest.raises(OSError, match="Connect"):
        async with server.connect("/echo"):
            pass


async def test_a_call_during_which_it_ends_says_so():
    async with process(f"{HERE}:create_app") as server:
        with pytest.raises(ConnectionError, match="has ended"):
            await server.call(die)
        assert (await server.stop()).code == 7


async def test_one_that_does_not_end_is_killed(
    monkeypatch: pytest.MonkeyPatch,
):
    numbers = []

    async def be_stubborn() -> None:
        options: Any = {"timeout_graceful_shutdown": None}
        async with process(f"{HERE}:create_app", **options) as server:
            numbers.append(server.pid)
            monkeypatch.setattr(module, "_PATIENCE", SOON)
            async with server.connect("/stubborn"):
                with pytest.raises(TimeoutError, match="s after SIGTERM"):
                    await server.stop(timeout=SOON)

    with pytest.raises(RuntimeError, match="s after SIGTERM, and was killed"):
        await be_stubborn()
    assert not alive(numbers[0])


async def test_it_ends_with_a_block_that_fails():
    numbers = []

    async def fail_inside() -> None:
        async with process(f"{HERE}:create_app") as server:
            numbers.append(server.pid)
            raise Mistake

    with pytest.raises(Mistake):
        await fail_inside()
    assert not alive(numbers[0])


@pytest.mark.parametrize("busy", ["never", "block"])
def test_it_does_not_outlive_a_parent_that_is_killed(busy: str):
    script = (
        "import asyncio, sys\n"
        f"sys.path[:] = {sys.path!r}\n"
        f"import {HERE} as here\n"
        "async def main():\n"
        f"    async with here.process('{HERE}:create_app') as server:\n"
        f"        call = server.call(here.{busy})\n"
        "        calling = asyncio.create_task(call)\n"
        "        await asyncio.sleep(0)\n"
        "        print(server.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        parent.kill()
        left = select.select([parent.stdout], [], [], 10)
        # The child holds the other end until it ends.
        assert left == ([parent.stdout], [], [])
        assert parent.stdout.read() == b""


def sockets() -> set[Path]:
    """List the sockets of this process."""
    found = set()
    for number in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one of this listing
            found.add(number.readlink())
    return {name for name in found if name.name.startswith("socket:")}


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="only Linux lists them"
)
async def test_no_socket_is_left_behind():
    before = sockets()
    async with process(f"{HERE}:create_app") as server:
        await server.call(later)
        assert len(sockets() - before) == 1
    assert sockets() == before


# -- the other side, seen from here ------------------------------------------


class Other:
    """The child's part, in a thread of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.line, theirs = socket.socketpair()
        self.line.settimeout(10)
        self.servers: list[Any] = []
        self.exits: list[int] = []
        others = self

        class Seen(module._Uvicorn):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
                others.servers.append(self)

        def leave(code: int) -> None:
            self.exits.append(code)
            for server in self.servers:
                server.should_exit = True

        for name in (None, "apart"):  # what listens there leaves again
            monkeypatch.setattr(logging.getLogger(name), "handlers", [])
        monkeypatch.setattr(module, "_Uvicorn", Seen)
        monkeypatch.setattr(module.os, "_exit", leave)
        listening = socket.create_server(("127.0.0.1", 0))
        numbers = theirs.detach(), listening.detach()
        self.errors: list[BaseException] = []
        self.thread = threading.Thread(
            target=self._run, args=numbers, daemon=True
        )
        self.thread.start()

    def _run(self, *numbers: int) -> None:
        try:
            module._child(*numbers)
        except (Mistake, SystemExit) as error:
            self.errors.append(error)

    def ask(self, number: int, question: object) -> None:
        asked = pickle.dumps(question)
        self.line.sendall(module._message((number, asked)))

    def hear(self) -> tuple[Any, Any, str]:
        size = int.from_bytes(self._read(4), "big")
        return pickle.loads(self._read(size))

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.line.recv(size - len(data))
        return data

    def close(self) -> None:
        self.line.close()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Other:
    return Other(monkeypatch)


def test_the_other_side_serves_and_answers(other: Other):
    other.ask(0, (f"{HERE}:create_app", {}))
    assert other.hear() == (0, b"", "")
    other.ask(1, (later, (1, 2)))
    number, told, trace = other.hear()
    assert (number, pickle.loads(told), trace) == (1, (1, 2), "")
    other.ask(2, (pid, ()))
    assert other.hear()[0] == 2
    other.ask(3, (fail, ()))
    number, told, trace = other.hear()
    assert (number, told) == (3, "Mistake: as planned")
    assert "in fail\n" in trace
    logging.getLogger("mine").warning("of this process")
    assert other.hear() == (None, "of this process", "")
    other.ask(4, (never, ()))
    other.close()
    assert other.exits == [1]


def test_the_other_side_tells_what_the_end_cancelled(other: Other):
    other.ask(0, (f"{HERE}:create_app", {}))
    other.hear()
    other.ask(1, (never, ()))
    other.ask(2, (later, ()))
    assert other.hear()[0] == 2
    other.servers[0].should_exit = True
    number, told, _ = other.hear()
    assert (number, told) == (1, "CancelledError: the server has ended")
    other.thread.join(10)
    other.close()
    assert other.exits == []


def test_the_other_side_tells_why_there_is_no_app(other: Other):
    other.ask(0, (f"{HERE}:create_nothing", {}))
    number, told, _ = other.hear()
    assert (number, told) == (0, "Mistake: no app today")
    other.close()
    assert [str(error) for error in other.errors] == ["no app today"]


def test_the_other_side_ends_if_its_app_does_not_start(other: Other):
    other.ask(0, (f"{HERE}:create_what_does_not_start", {}))
    number, told, _ = other.hear()
    assert (number, told) == (None, "no start today")
    other.thread.join(10)
    other.close()
    assert [str(error) for error in other.errors] == ["3"]
    assert other.exits == []


def test_the_other_side_ends_if_nobody_asks_anything(other: Other):
    other.close()
    assert other.servers == []
