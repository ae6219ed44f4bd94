"""Web pages that talk to an app, shown in a notebook.

`panes()` runs an app on a real server and shows web pages beside each other:
a client to use by hand, the frames that pass, or pages of your own.

```python
shown = await panes(app, Pane("client", "/echo"), Pane("frames"))
shown  # as the last line of a cell; later: await shown.close()
```

The pages are files in `pages/`, plain HTML, CSS and JavaScript. Your browser
has to run on the machine where the notebook runs.

Needs: litestar, `tap.py`, `server.py` and the folder `pages`.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from litestar import Litestar, WebSocket, websocket
from litestar.handlers import send_websocket_stream
from litestar.static_files import create_static_files_router

from .client import ASGIApp
from .tap import Tap

PAGES = Path(__file__).with_name("pages")
"""Where the pages are that come with this module."""
FRAMES = "/.frames"
"""Where the diagram is to be had, as it grows."""
PACE = 0.1
"""The least time between two diagrams, in seconds."""
FILES = {".css", ".html", ".js", ".mjs", ".png", ".svg"}
"""Which files beside a page are served with it."""

_BOX = "display:flex;flex-wrap:wrap;gap:8px"
_FRAME = (
    "flex:1 1 {width}px;min-width:0;height:430px;"
    "border:1px solid #8885;border-radius:6px"
)


@dataclass(frozen=True)
class Pane:
    """A web page in a frame.

    Attributes:
        page: A page that comes with this module, `"client"` or `"frames"`, or
            the file of your own: an HTML file, served with its neighbours.
        fragment: What the page is told, after the `#` of its address: a path
            to connect to, a name.
        title: What the frame is called for those who do not see it; the
            fragment or the file's name unless you say so.
    """

    page: str | Path
    fragment: str = ""
    title: str = ""

    @property
    def file(self) -> Path:
        """The file of the page."""
        if self.page in {"client", "frames"}:
            return PAGES / f"{self.page}.html"
        return Path(self.page)

    @property
    def name(self) -> str:
        """What the frame is called."""
        return self.title or self.fragment or self.file.stem

    @property
    def width(self) -> int:
        """How many pixels it would like to have: a diagram is wide."""
        return 420 if self.page == "frames" else 280


async def panes(app: ASGIApp, *shown: Pane) -> "Panes":
    """Run an app and show pages that talk to it.

    Args:
        app: The app. If it is a `Tap`, that one goes on recording.
        *shown: The pages, in the order of reading; a client and the frames
            unless you say so.

    Returns:
        The pages, to be shown as a cell's result. The app runs until they
        are closed, or until the notebook's kernel ends.

    Raises:
        FileNotFoundError: There is no such page.
        ValueError: Two pages from different folders need files of one name.
        RuntimeError: The app did not start.
    """
    opened = Panes(app, shown or (Pane("client"), Pane("frames")))
    await opened.start()
    return opened


class Panes:
    """Pages that are shown beside each other, and the app behind them.

    Attributes:
        tap: What records the frames of the app.
        url: Where the pages are.
    """

    def __init__(self, app: ASGIApp, shown: tuple[Pane, ...]) -> None:
        self.tap = app if isinstance(app, Tap) else Tap(app)
        self.url = ""
        self._shown = shown
        self._files = _files(shown)
        self._pages = self._create_pages()
        self._passed = 0
        self._something_passed = asyncio.Event()
        self._started = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None]

    def __repr__(self) -> str:
        names = ", ".join(pane.name for pane in self._shown)
        return f"Web pages that talk to the app: {names}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        frames = "".join(
            f'<iframe title="{escape(pane.name)}" '
            f'style="{_FRAME.format(width=pane.width)}" '
            f'src="{escape(self._address(pane))}"></iframe>'
            for pane in self._shown
        )
        html = f'<div class="panes" style="{_BOX}">{frames}</div>'
        return {"text/html": html, "text/plain": repr(self)}

    def _address(self, pane: Pane) -> str:
        fragment = quote(pane.fragment, safe="/?&=:@,")
        page = quote(pane.file.name)
        return f"{self.url}/{page}" + (f"#{fragment}" if fragment else "")

    async def start(self) -> None:
        """Start the app, in a task that outlives the cell.

        Raises:
            RuntimeError: The app did not start.
        """
        self._task = asyncio.create_task(self._serve())
        self._task.add_done_callback(lambda _: self._started.set())
        try:
            await self._started.wait()
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if self._task.done():
            self._task.result()

    async def close(self) -> None:
        """Stop the app. Closing twice is harmless."""
        self._closing.set()
        await self._task

    async def _serve(self) -> None:
        # Needs uvicorn, which is not everywhere.
        from .server import serve  # noqa: PLC0415

        async with serve(self._answer) as server:
            self.url = server.http_url
            self._started.set()
            await self._closing.wait()

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the pages; everything else goes to the app."""
        path = scope.get("path", "")
        ours = FRAMES if scope["type"] == "websocket" else self._files
        if path and path in ours:
            await self._pages(scope, receive, send)
        elif scope["type"] != "websocket":
            await self.tap(scope, receive, send)
        else:
            await self._watch(scope, receive, send)

    async def _watch(self, scope: Any, receive: Any, send: Any) -> None:
        async def watched_receive() -> Any:
            message = await receive()
            self._note()
            return message

        async def watched_send(message: Any) -> None:
            self._note()
            await send(message)

        self._note()
        try:
            await self.tap(scope, watched_receive, watched_send)
        finally:
            self._note()

    def _note(self) -> None:
        """Wake the diagrams; the tap has recorded it when they look."""
        self._passed += 1
        self._something_passed.set()
        self._something_passed.clear()

    async def _diagrams(self) -> AsyncGenerator[str, None]:
        drawn = -1 if self.tap.events else 0
        while True:
            if drawn == self._passed:
                await self._something_passed.wait()
            else:
                drawn = self._passed
                yield self.tap.diagram().html
                await asyncio.sleep(PACE)

    def _create_pages(self) -> Litestar:
        @websocket(FRAMES)
        async def frames(socket: WebSocket) -> None:
            await socket.accept()
            try:
                await send_websocket_stream(
                    socket,
                    self._diagrams(),
                    listen_for_disconnect=True,
                    warn_on_data_discard=False,
                )
            except* OSError:
                pass  # it has gone while a diagram was on its way

        folders = dict.fromkeys(file.parent for file in self._files.values())
        files = create_static_files_router("/", list(folders))
        return Litestar(
            [frames, files], openapi_config=None, logging_config=None
        )


def _files(shown: tuple[Pane, ...]) -> dict[str, Path]:
    """List what is served: the path of each file."""
    files: dict[str, Path] = {}
    for pane in shown:
        page = pane.file.resolve(strict=True)
        for file in sorted(page.parent.iterdir()):
            if file.suffix in FILES:
                first = files.setdefault(f"/{file.name}", file)
                if first != file:
                    raise ValueError(
                        f"{first} and {file} would have one address: rename "
                        "one, or put their pages into one folder"
                    )
    return files
