"""Build the site and serve it: `python docs/machinery/serve.py [PORT]`."""

import os
import subprocess
import sys
import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).parents[2]
STAMP = ROOT / "site" / ".built"
"""Holds what the site was built for, once it is complete."""
SOURCES = (
    "benchmarks",
    "docs",
    "notebooks",
    "snippets",
    "tests",
    "mkdocs.yml",
    "constraints.txt",
)


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not report each file."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def stamp(address: str) -> str:
    """Say what a build was for: the address, and whether chapters run."""
    return f"{address} LIVE={os.environ.get('LIVE', '')}"


def is_built(address: str) -> bool:
    """Whether the site was built for this address after the last change."""
    if not STAMP.exists() or STAMP.read_text("utf-8") != stamp(address):
        return False
    built = STAMP.stat().st_mtime
    places = [ROOT / name for name in SOURCES]
    files = [file for place in places for file in (place, *place.rglob("*"))]
    return all(
        file.stat().st_mtime < built
        for file in files
        if file.exists() and "__pycache__" not in file.parts
    )


def build(address: str) -> str:
    """Build the site.

    Args:
        address: Where it will be served.

    Returns:
        What went wrong, if anything did.
    """
    print("· building the site (a few seconds)", flush=True)
    began = monotonic()
    said = ""
    with subprocess.Popen(
        [sys.executable, "-m", "mkdocs", "build", "--strict"],
        cwd=ROOT,
        env=os.environ | {"SITE_URL": address},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            if line.startswith("· "):  # what takes long
                print(line, end="", flush=True)
            else:
                said += line
    if process.returncode:
        return said
    STAMP.write_text(stamp(address), "utf-8")
    print(f"· built in {monotonic() - began:.0f} s")
    return ""


def main(port: int) -> int:
    """Build, serve until interrupted.

    Args:
        port: The port on 127.0.0.1.

    Returns:
        The exit status.
    """
    handler = partial(Quiet, directory=ROOT / "site")
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as taken:
        print(f"error: port {port} cannot be used: {taken.strerror}.")
        print(f"       Take another one with: make start PORT={port + 1}")
        return 1
    with server:
        address = f"http://127.0.0.1:{port}/"
        if not is_built(address) and (failure := build(address)):
            print(failure)
            return 1
        print(
            f"\nFrame by Frame is at {address}  (Ctrl+C to stop)", flush=True
        )
        webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000))
