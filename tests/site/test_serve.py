"""`make start`: the site on this machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import socket
from urllib.request import urlopen

from nbformat.v4 import new_markdown_cell

from .conftest import ROOT, small_project

PATIENCE = 60
"""How long to wait for what comes, in seconds."""


@contextmanager
def serving(
    project: Path, port: int, **environment: str
) -> Generator[subprocess.Popen[str]]:
    # It opens a browser: here, one that does nothing.
    switches = {"NO_MKDOCS_2_WARNING": "1", "BROWSER": "true", "LIVE": "0"}
    # What a shell runs in the background ignores SIGINT, and so would this.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        [sys.executable, "docs/machinery/serve.py", str(port)],
        cwd=project,
        env=os.environ | switches | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        signal.signal(signal.SIGINT, before)
        try:
            yield process
        finally:
            process.kill()


def free_port() -> int:
    """Find one below those that are given to whoever asks for any port.

    It is not given to another test between two times that it is used here.
    """
    for port in range(10_000, 32_000):
        with socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


def test_the_site_is_built_and_served_until_interrupted(tmp_path: Path):
    small_project(tmp_path)
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    with serving(tmp_path, port) as process:
        assert process.stdout is not None
        assert any(address in line for line in process.stdout)
        with urlopen(
            address + "notebooks/00-life/", timeout=PATIENCE
        ) as answer:
            assert "A chapter" in answer.read().decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 0


def said_before_serving(project: Path, port: int) -> str:
    said = ""
    with serving(project, port) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if "is at" in line:
                break
    return said


def test_the_site_is_built_again_only_after_a_change(tmp_path: Path):
    small_project(tmp_path)
    port = free_port()
    assert "building" in said_before_serving(tmp_path, port)
    assert "building" not in said_before_serving(tmp_path, port)
    (tmp_path / "docs" / "glossary.md").touch()
    assert "building" in said_before_serving(tmp_path, port)


def test_a_build_that_failed_is_not_served_the_next_time(tmp_path: Path):
    broken = new_markdown_cell("[nowhere](nowhere.md)")
    small_project(tmp_path, broken)
    port = free_port()
    for _ in range(2):
        with serving(tmp_path, port) as process:
            said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert "nowhere.md" in said


def test_a_build_with_other_switches_says_why_it_failed(tmp_path: Path):
    small_project(tmp_path)
    port = free_port()
    assert "building" in said_before_serving(tmp_path, port)
    nothing_to_fetch = {
        "npm_config_offline": "true",
        "npm_config_cache": str(tmp_path / "npm"),
    }
    with serving(tmp_path, port, LIVE="1", **nothing_to_fetch) as process:
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    progress, _, report = said.partition("INFO")  # MkDocs's words come last
    assert "· making the bundle" in progress
    assert "· making the bundle" not in report
    assert "Pyodide" in report
    assert "LIVE=0" in report


def test_a_port_that_is_taken_is_named():
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with serving(ROOT, port) as process:
            said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert f"port {port}" in said
    assert "in use" in said
