"""A real server in a process of its own, that answers questions about itself.

What a whole process does can only be seen in a whole process: how much memory
and CPU time it takes, how many descriptors are open, how it ends on SIGTERM.
`process()` runs an app there, on uvicorn, and `call()` runs a function of
yours beside it.

```python
def count_tasks(app: Litestar) -> int:
    return len(asyncio.all_tasks())


async with process("my_project.app:create_app", ws="wsproto") as server:
    async with server.connect("/chat"):
        assert await server.call(count_tasks) < 10
    assert (await server.stop()).seconds < 5
```

The process ends with the block, and also if its parent is killed.

Needs: uvicorn, and `server.py`.
"""

import asyncio
import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib import import_module
from inspect import isawaitable
from typing import Any, NamedTuple, Self

import anyio
import uvicorn

from .server import Server, one_line

_PATIENCE = 20
"""How long a process may take to start or to stop, in seconds."""
_SIZE = 4
"""How many bytes say how long a message between the processes is."""


class Failed(Exception):
    """A function failed in the process of the server.

    Its text is that of the error there, and its note the traceback.
    """


class Exit(NamedTuple):
    """How a process ended.

    Attributes:
        code: Its exit code, or the negative number of the signal that ended
            it. On SIGTERM uvicorn shuts down, and then ends by that: -15.
        seconds: How long it took from the signal to the end.
    """

    code: int
    seconds: float


@asynccontextmanager
async def process(
    factory: str, *, listener: socket.socket | None = None, **options: Any
) -> AsyncGenerator["Process"]:
    """Run an app on uvicorn in a process of its own while the block lasts.

    Args:
        factory: Where the function is that makes the app, such as
            `package.module:create_app`.
        listener: A socket to listen on, if it needs options of its own such
            as TCP_USER_TIMEOUT, which its connections inherit. It is bound to
            127.0.0.1, and it is handed over: here it is closed.
        **options: Options of `uvicorn.Config`, such as `ws="wsproto"` or
            `ws_ping_interval=0.3`.

    Yields:
        The server, ready for connections.

    Raises:
        ValueError: The listener is not bound to 127.0.0.1.
        RuntimeError: The app did not start; the text says why. Or the process
            did not end when it was told to, and was killed.
    """
    with listener or socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        if host != "127.0.0.1":
            raise ValueError(f"the listener is bound to {host}")
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            handed = theirs.fileno(), listening.fileno()
            code = (
                f"import sys; sys.path[:] = {sys.path!r}; "
                f"from {__name__} import _child; _child{handed}"
            )
            try:
                child = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-c", code), pass_fds=handed
                )
            except BaseException:
                writer.close()
                raise
    server = Process(port, child, reader, writer)
    try:
        await server._start(factory, options)
        yield server
    finally:
        with anyio.CancelScope(shield=True):
            stopped = await server._end()
    if not stopped:
        raise RuntimeError(
            f"the process went on {_PATIENCE} s after SIGTERM, and was killed"
        )


class Process(Server):
    """A running server in a process of its own.

    Attributes:
        pid: The id of the process.
    """

    def __init__(
        self,
        port: int,
        child: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        super().__init__(port, [])
        self.pid = child.pid
        self._child = child
        self._writer = writer
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._asked = 0
        self._reading = asyncio.create_task(self._read(reader))

    async def call(
        self, function: Callable[..., Any], *args: Any, timeout: float = 10.0
    ) -> Any:
        """Run a function in the server's process and event loop.

        Args:
            function: A function of a module, sync or async. Its first
                argument is the app.
            *args: Its other arguments; like the result they are pickled.
            timeout: How long it may take, in seconds.

        Returns:
            What the function returned.

        Raises:
            ValueError: The function is in the script that is running, which
                the server's process cannot import.
            Failed: The function raised an error there.
            ConnectionError: The process ended before it answered.
            TimeoutError: It took longer; it may go on.
        """
        name = getattr(function, "__name__", repr(function))
        if function.__module__ == "__main__":
            raise ValueError(
                f"{name} is in the script that is running: put it into a "
                "module, which the server's process can import"
            )
        try:
            async with asyncio.timeout(timeout):
                answer = await self._ask(pickle.dumps((function, args)))
        except TimeoutError:
            raise TimeoutError(
                f"{name} did not return within {timeout:g} s"
            ) from None
        return pickle.loads(answer)

    async def stop(
        self, how: int = signal.SIGTERM, *, timeout: float = 10.0
    ) -> Exit:
        """Send a signal, and wait for the process to end.

        Args:
            how: The signal.
            timeout: How long the process may take, in seconds.

        Returns:
            How it ended.

        Raises:
            TimeoutError: It goes on.
        """
        began = time.monotonic()
        with suppress(ProcessLookupError):  # it has ended already
            # Not send_signal(), which may take the exit code for itself.
            os.kill(self._child.pid, how)
        try:
            async with asyncio.timeout(timeout):
                code = await self._child.wait()
        except TimeoutError:
            raise TimeoutError(
                f"the process went on {timeout:g} s after "
                f"{signal.Signals(how).name}"
            ) from None
        seconds = time.monotonic() - began
        await self._reading  # what it had to say to the end
        return Exit(code, seconds)

    async def _start(self, factory: str, options: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._ask(pickle.dumps((factory, options)))
        except (Failed, ConnectionError, TimeoutError) as error:
            why = str(error) or f"no answer within {_PATIENCE} s"
            lines = ["the app did not start:", *self.log, why]
            raise RuntimeError("\n".join(lines)) from error

    async def _end(self) -> bool:
        """End the process, by force if need be; say whether it was not."""
        try:
            await self.stop(timeout=_PATIENCE)
        except TimeoutError:
            await self.stop(signal.SIGKILL)
            return False
        finally:
            self._writer.close()
            with suppress(ConnectionError):  # that is what it is for
                await self._writer.wait_closed()
        return True

    async def _ask(self, question: bytes) -> bytes:
        if self._reading.done():
            raise ConnectionError("the server's process has ended")
        number, self._asked = self._asked, self._asked + 1
        answer = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            self._writer.write(_message((number, question)))
            return await answer
        finally:
            del self._answers[number]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = int.from_bytes(await reader.readexactly(_SIZE), "big")
                message = pickle.loads(await reader.readexactly(size))
                self._hear(*message)
        ended = ConnectionError("the server's process has ended")
        for answer in self._answers.values():
            with suppress(asyncio.InvalidStateError):  # it was given up
                answer.set_exception(ended)

    def _hear(self, number: int | None, told: Any, trace: str) -> None:
        if number is None:
            self.log.append(told)
            return
        with suppress(KeyError, asyncio.InvalidStateError):  # it was given up
            if trace:
                error = Failed(told)
                error.add_note(trace)
                self._answers[number].set_exception(error)
            else:
                self._answers[number].set_result(told)


def _message(content: object) -> bytes:
    pickled = pickle.dumps(content)
    return len(pickled).to_bytes(_SIZE, "big") + pickled


def _child(line: int, listening: int) -> None:
    """Be the server's process.

    Args:
        line: The descriptor of the socket to the parent.
        listening: The descriptor of the socket to listen on.
    """
    with _Parent(line) as parent, socket.socket(fileno=listening) as listener:
        if (first := parent.receive()) is None:
            return
        number, question = first
        try:
            _Uvicorn(*pickle.loads(question), parent).run([listener])
        except Exception as error:
            parent.fail(number, error)
            raise


class _Parent(logging.Handler):
    """The line to the parent, which is also told what is logged."""

    def __init__(self, line: int) -> None:
        super().__init__(logging.WARNING)
        self._line = socket.socket(fileno=line)
        self._telling = threading.Lock()
        self._leaving = False
        self._listener: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving = True
        with suppress(OSError):  # the parent was first
            self._line.shutdown(socket.SHUT_RDWR)
        if self._listener is not None:
            self._listener.join()
        self._line.close()

    def listen(self, hear: Callable[[int, bytes], None]) -> None:
        """Hear the parent, in a thread: the event loop may be blocked."""
        loop = asyncio.get_running_loop()
        self._listener = threading.Thread(
            target=self._listen, args=(loop, hear), daemon=True
        )
        self._listener.start()

    def _listen(
        self,
        loop: asyncio.AbstractEventLoop,
        hear: Callable[[int, bytes], None],
    ) -> None:
        while (asked := self.receive()) is not None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(hear, *asked)
        if not self._leaving:
            os._exit(1)  # the parent is gone

    def receive(self) -> tuple[int, bytes] | None:
        size = int.from_bytes(self._read(_SIZE), "big")
        return pickle.loads(self._read(size)) if size else None

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self._line.recv(size - len(data))):
            data += more
        return data

    def tell(self, number: int | None, told: object, trace: str = "") -> None:
        with self._telling, suppress(OSError):  # it may be gone
            self._line.sendall(_message((number, told, trace)))

    def fail(self, number: int, error: BaseException) -> None:
        trace = "".join(traceback.format_exception(error))
        self.tell(number, f"{type(error).__name__}: {error}", trace)

    def emit(self, record: logging.LogRecord) -> None:
        self.tell(None, one_line(record))

    def collect(self) -> None:
        """Listen to all loggers, also those that tell the root nothing."""
        root = logging.getLogger()
        for logger in [root, *root.manager.loggerDict.values()]:
            if isinstance(logger, logging.Logger) and not (
                logger.parent and logger.propagate
            ):
                logger.addHandler(self)


class _Uvicorn(uvicorn.Server):
    """uvicorn, which also answers its parent."""

    def __init__(
        self, factory: str, options: dict[str, Any], parent: _Parent
    ) -> None:
        defaults: dict[str, Any] = {
            "log_config": None,
            "log_level": "warning",
            "access_log": False,
            "interface": "asgi3",
            "timeout_graceful_shutdown": 2,
        }
        options = {**defaults, **options, "factory": True}
        super().__init__(uvicorn.Config(self._create_app, **options))
        self._factory = factory
        self._parent = parent
        self._running: set[asyncio.Task[bytes]] = set()

    def _create_app(self) -> Any:
        self._parent.collect()
        module, _, name = self._factory.partition(":")
        self._app = getattr(import_module(module), name)()
        self._parent.collect()  # apps like to configure all loggers anew
        return self._app

    async def startup(self, sockets: Any = None) -> None:
        self._parent.listen(self._begin)
        await super().startup(sockets)
        self._parent.tell(0, b"")  # the first question is answered

    def _begin(self, number: int, question: bytes) -> None:
        task = asyncio.create_task(self._call(question))
        self._running.add(task)
        task.add_done_callback(partial(self._finish, number))

    async def _call(self, question: bytes) -> bytes:
        function, args = pickle.loads(question)
        result = function(self._app, *args)
        return pickle.dumps(await result if isawaitable(result) else result)

    def _finish(self, number: int, task: asyncio.Task[bytes]) -> None:
        self._running.discard(task)
        if task.cancelled():
            error = asyncio.CancelledError("the server has ended")
            self._parent.fail(number, error)
        elif error := task.exception():
            self._parent.fail(number, error)
        else:
            self._parent.tell(number, task.result())
