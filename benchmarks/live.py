"""How long a reader waits for a chapter that runs in the tab, and for what.

Run it on a quiet machine with `python benchmarks/live.py`; it builds the site,
serves it compressed, as hosts do, presses the button in Chromium, and writes
`benchmarks/results/live.json` and the table of it for the site.
"""

import gzip
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    sync_playwright,
)

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ROUNDS = 10
FIRST, NEXT = "01-handlers", "02-listeners"
METHOD = (
    f"Chromium without a screen, {ROUNDS} times each. From the click on "
    f"“Run this chapter live” in chapter {FIRST} to the first output of a "
    "cell: with an empty cache; in a new tab, with what the first visit left "
    f"in the cache; and from “Run all” in chapter {NEXT}, reached by its "
    "link. The page has come to rest before the click. Bytes are those of the "
    "answers' bodies, gzipped, from a server on the same machine."
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
WATCH = """async (address) => {
  const { runner } = await import(address);
  const times = window.times = {};
  const note = (name) => { times[name] ??= performance.now(); };
  document.querySelector(".live .md-button--primary")
    .addEventListener("click", () => note("click"), { capture: true });
  runner.addEventListener("step", ({ detail }) => note(detail.name));
  runner.addEventListener("ready", () => note("ready"));
  document.addEventListener("shown", () => note("output"));
}"""


@dataclass
class Wire:
    """What was asked for, and how many bytes of bodies it took."""

    bytes: int = 0
    asked: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """Begin to count anew."""
        self.bytes = 0
        self.asked.clear()


class Host(SimpleHTTPRequestHandler):
    """Serves a folder of gzipped files, and lets browsers keep the bundle."""

    wire = Wire()
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the gzipped file."""
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file():
            self.send_error(404)
            return
        body = path.read_bytes()
        self.wire.asked.append(self.path)
        self.wire.bytes += len(body)
        forever = "max-age=31536000, immutable"
        kept = forever if "/live/" in self.path else "max-age=600"
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", kept)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def hosted() -> Generator[str]:
    """Build the site and serve it.

    Yields:
        Its address.
    """
    with TemporaryDirectory() as folder:
        handler = partial(Host, directory=folder)
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            address = f"http://127.0.0.1:{server.server_port}/"
            command = ("-m", "mkdocs", "build", "--quiet", "-d", folder)
            env = os.environ | {"SITE_URL": address}
            subprocess.run([sys.executable, *command], check=True, env=env)
            for file in Path(folder).rglob("*"):
                if file.is_file():
                    file.write_bytes(gzip.compress(file.read_bytes(), mtime=0))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield address
            server.shutdown()


def press(page: Page, address: str) -> dict[str, float]:
    """Press the button, and wait for the first output.

    Returns:
        Seconds from the click to each thing that was noted.
    """
    page.evaluate(WATCH, f"{address}assets/live/runner.mjs")
    page.click(".live .md-button--primary")
    page.wait_for_function("window.times.output", timeout=120_000)
    times = page.evaluate("window.times")
    clicked = times.pop("click")
    return {name: (time - clicked) / 1000 for name, time in times.items()}


def opened(context: BrowserContext, address: str) -> Page:
    """Open the first chapter, and let the page itself come to rest."""
    page = context.new_page()
    page.goto(f"{address}notebooks/{FIRST}/", wait_until="networkidle")
    page.locator(".live").wait_for()
    return page


def finish(page: Page) -> None:
    """Wait until the whole chapter has run."""
    page.locator(".live [role=status]", has_text="cells ran").wait_for(
        timeout=120_000
    )


Visit = dict[str, dict[str, float]]


def visit(browser: Browser, address: str, wire: Wire) -> tuple[Visit, Wire]:
    """Come for the first time, come again, and go on to the next chapter."""
    context = browser.new_context()
    page = opened(context, address)
    before = [path for path in wire.asked if path.startswith("/live/")]
    assert before == [], "nothing of the bundle comes before the click"
    wire.clear()
    found = {"cold": press(page, address)}
    taken = Wire(wire.bytes, list(wire.asked))
    finish(page)
    page.close()
    page = opened(context, address)
    wire.clear()
    found["warm"] = press(page, address)
    finish(page)
    assert wire.bytes == 0, f"a second visit asked for {wire.asked}"
    page.locator(".md-footer__link--next").click()
    page.wait_for_url(f"**/{NEXT}/**")
    page.locator(".live", has_text="Run all").wait_for()
    found["next chapter"] = press(page, address)
    context.close()
    return found, taken


def figures(values: list[float]) -> dict[str, float]:
    """Lowest, median and highest."""
    return {
        "lowest": round(min(values), 2),
        "median": round(statistics.median(values), 2),
        "highest": round(max(values), 2),
    }


def measure() -> dict[str, Any]:
    """Measure everything."""
    visits: list[Visit] = []
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with hosted() as address, sync_playwright() as playwright:
        launch: Callable[[], Browser] = partial(
            playwright.chromium.launch, executable_path=chromium, args=FLAGS
        )
        for _ in range(ROUNDS):
            browser = launch()
            version = browser.version
            found, wire = visit(browser, address, Host.wire)
            visits.append(found)
            browser.close()
    return {
        "question": "How long is the wait for a chapter that runs in the tab?",
        "unit": "seconds from the click",
        "method": METHOD,
        "machine": f"Linux {platform.machine()}, {os.cpu_count()} cores",
        "browser": f"Chromium {version}",
        "bytes": wire.bytes,
        "requests": len(wire.asked),
        "results": {
            name: figures([one[name]["output"] for one in visits])
            for name in visits[0]
        },
        "steps of a cold start": {
            step: figures([one["cold"][step] for one in visits])
            for step in visits[0]["cold"]
        },
    }


def table(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["| from click to first output | median | lowest | highest |"]
    lines.append("|---|---|---|---|")
    names = {
        "cold": "first visit, nothing in the cache",
        "warm": "second visit",
        "next chapter": "next chapter, Python already there",
    }
    for name, label in names.items():
        row = found["results"][name]
        cells = [f"{row[k]:.1f} s" for k in ("median", "lowest", "highest")]
        lines.append(" | ".join([f"| {label}", *cells]) + " |")
    size = f"{found['bytes'] / 1e6:.1f} MB in {found['requests']} requests"
    where = f"{found['machine']}, {found['browser']}"
    lines += ["", f"A first visit takes {size}; a second one takes nothing."]
    lines += ["", f"{found['method']} {where}.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, store."""
    found = measure()
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    (RESULTS / "live.json").write_text(text, encoding="utf-8")
    (RESULTS / "live.md").write_text(table(found), encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
