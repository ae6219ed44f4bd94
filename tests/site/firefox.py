"""Firefox, over WebDriver BiDi: as much of it as a smoke test needs.

Playwright drives a Firefox of its own only; the one that a distribution has is
spoken to over a WebSocket: <https://w3c.github.io/webdriver-bidi/>.
"""

import json
import os
import queue
import re
import signal
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from websockets.sync.client import ClientConnection, connect

CONTROL, ENTER, TAB = "\ue009", "\ue007", "\ue004"
PATIENCE = 60.0
"""Seconds that an answer may take on a busy machine."""
READY = "WebDriver BiDi listening on "
# A Firefox that is driven asks other hosts for little but the first two, and
# would have to ask a proxy that is not there. (What is on this machine is
# never asked through a proxy.)
PREFERENCES = """\
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("services.settings.server", "data:,#remote-settings-dummy/v1");
user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", 9);
user_pref("network.proxy.ssl", "127.0.0.1");
user_pref("network.proxy.ssl_port", 9);
user_pref("network.proxy.failover_direct", false);
"""
SETTINGS = {"MOZ_REMOTE_SETTINGS_DEVTOOLS": "1"}  # so that they can be changed
MIDDLE = """(selector) => {
    const element = document.querySelector(selector);
    element.scrollIntoView({ block: "center", behavior: "instant" });
    const { x, y, width, height } = element.getBoundingClientRect();
    return [x + width / 2, y + height / 2].map(Math.round);
}"""
WATCH = """(...args) => new Promise((resolve) => {
    const look = () => (%s)(...args) && resolve(true);
    const all = ["subtree", "childList", "attributes", "characterData"];
    new MutationObserver(look).observe(
        document, Object.fromEntries(all.map((kind) => [kind, true])));
    look();
})"""


class Firefox:
    """A running Firefox with one tab; a frame is named by its `context`."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._count = 0
        self._loads: list[dict[str, Any]] = []
        self.call("session.new", capabilities={})
        self.call("session.subscribe", events=["browsingContext.load"])
        tree = self.call("browsingContext.getTree")
        self.tab: str = tree["contexts"][0]["context"]

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command, and wait for its result.

        Raises:
            RuntimeError: Firefox says that it cannot.
            TimeoutError: It does not answer.
        """
        self._count += 1
        command = {"id": self._count, "method": method, "params": params}
        self._socket.send(json.dumps(command))
        while (told := self._receive()).get("id") != self._count:
            pass
        if told["type"] == "error":
            raise RuntimeError(f"{method}: {told['message']}")
        return told["result"]

    def _receive(self) -> dict[str, Any]:
        told = json.loads(self._socket.recv(PATIENCE))
        if told["type"] == "event":
            self._loads.append(told["params"])
        return told

    def open(self, url: str) -> None:
        """Open a page, and wait until it has loaded."""
        to = {"context": self.tab, "url": url, "wait": "complete"}
        self.call("browsingContext.navigate", **to)

    def loaded(self, address: str) -> str:
        """Wait until a page has loaded, and return its frame.

        Args:
            address: A pattern of its address.
        """
        while True:
            for load in self._loads:
                if re.fullmatch(address, load["url"]):
                    return load["context"]
            self._receive()

    def run(self, function: str, *args: Any, frame: str = "") -> Any:
        """Call a JavaScript function, and wait for the end of an async one.

        Raises:
            RuntimeError: It threw an error.
        """
        result = self.call(
            "script.callFunction",
            functionDeclaration="async (args) => JSON.stringify(await "
            f"({function})(...JSON.parse(args))) ?? 'null'",
            arguments=[{"type": "string", "value": json.dumps(args)}],
            target={"context": frame or self.tab},
            awaitPromise=True,
        )
        if result["type"] == "exception":
            raise RuntimeError(result["exceptionDetails"]["text"])
        return json.loads(result["result"]["value"])

    def until(self, condition: str, *args: Any, frame: str = "") -> None:
        """Call a function at each change of the page, until it gives true."""
        self.run(WATCH % condition, *args, frame=frame)

    def click(self, selector: str, frame: str = "") -> None:
        """Click on an element that can be seen, or scrolled to."""
        x, y = self.run(MIDDLE, selector, frame=frame)
        move = {"type": "pointerMove", "x": x, "y": y}
        ways = ("pointerDown", "pointerUp")
        button = [{"type": way, "button": 0} for way in ways]
        self._act("pointer", frame, [move, *button])

    def press(self, keys: str, holding: str = "", frame: str = "") -> None:
        """Press keys one after the other while others are held down."""
        strokes = [("Down", key) for key in holding]
        strokes += [(way, key) for key in keys for way in ("Down", "Up")]
        strokes += [("Up", key) for key in holding]
        actions = [{"type": f"key{way}", "value": key} for way, key in strokes]
        self._act("key", frame, actions)

    def _act(self, kind: str, frame: str, actions: list[Any]) -> None:
        device = {"type": kind, "id": kind, "actions": actions}
        context = frame or self.tab
        self.call("input.performActions", context=context, actions=[device])


@contextmanager
def firefox(program: str) -> Generator[Firefox]:
    """Run Firefox without a window, in a profile that goes with it.

    Args:
        program: The file to start.

    Yields:
        Firefox, until the block ends.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as home:
        Path(home, "user.js").write_text(PREFERENCES, encoding="utf-8")
        options = ["--profile", home, "--remote-debugging-port", "0"]
        process = subprocess.Popen(
            [program, "--headless", *options],
            env=os.environ | SETTINGS | {"HOME": home},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that all its processes can be ended
        )
        assert process.stderr is not None
        try:
            address = f"{_address(process.stderr)}/session"
            with connect(address, max_size=None, proxy=None) as socket:
                browser = Firefox(socket)
                yield browser
                browser.call("browser.close")
            process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _address(stderr: IO[str]) -> str:
    """Wait for the address that Firefox gives, among what else it tells."""
    told: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        with stderr:
            for line in stderr:  # to the end, or Firefox would have to wait
                told.put(line)
        told.put("")

    threading.Thread(target=read, daemon=True).start()
    lines = []
    while line := told.get(timeout=PATIENCE):
        if line.startswith(READY):
            return line.removeprefix(READY).strip()
        lines.append(line)
    raise RuntimeError(f"Firefox has ended: {''.join(lines)}")
