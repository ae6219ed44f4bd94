"""Get what the bundle needs from npm and the package index, and keep it."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path
from tempfile import TemporaryDirectory

PYODIDE = "314.0.7"
INTEGRITY = (  # what `npm view pyodide@VERSION dist.integrity` says
    "sha512-0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7"
    "y2q+SNvi/6V5JEsOlD2R1A=="
)
PYTHON = "314"
PLATFORM = "pyemscripten_2026_0_wasm32"


class BundleError(Exception):
    """The bundle cannot be built; the message says why."""


def pyodide(downloads: Path) -> Path:
    """Get Pyodide's archive from npm."""
    archive = downloads / f"pyodide-{PYODIDE}.tgz"
    if not archive.exists():
        with TemporaryDirectory(dir=downloads) as folder:
            run("npm", "pack", f"pyodide@{PYODIDE}", cwd=folder)
            fetched = Path(folder) / archive.name
            digested = hashlib.sha512(fetched.read_bytes()).digest()
            got = "sha512-" + base64.b64encode(digested).decode()
            if got != INTEGRITY:
                raise BundleError(f"{archive.name} from npm has hash {got}")
            fetched.rename(archive)
    return archive


def wheel(package: Distribution, downloads: Path) -> Path:
    """Get a package's wheel for Pyodide from the package index."""
    release = f"{package.name}=={package.version}"
    place = downloads / f"{release}-{PLATFORM}"
    if not place.exists():
        with TemporaryDirectory(dir=downloads) as folder:
            command = [sys.executable, "-m", "pip", "download", release]
            command += ["--dest", f"{folder}/wheel", "--no-deps"]
            command += ["--only-binary", ":all:", "--platform", PLATFORM]
            command += ["--python-version", PYTHON, "--abi", f"cp{PYTHON}"]
            command += ["--implementation", "cp"]
            try:
                run(*command)
            except BundleError as failed:
                raise BundleError(
                    f"the package index has no wheel of {release} for the"
                    f" platform {PLATFORM}, or cannot be reached: {failed}"
                ) from None
            (Path(folder) / "wheel").rename(place)
    return next(place.iterdir())


def run(*command: str | Path, cwd: Path | str | None = None) -> None:
    """Run a program; node and npm may also lie beside Python.

    Raises:
        BundleError: It is not there, or failed; with the end of what it said.
    """
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside, os.environ.get("PATH", "")])
    program = shutil.which(command[0], path=path)
    if program is None:
        raise BundleError(f"{command[0]} is missing: install Node 20 or newer")
    done = subprocess.run(
        [program, *command[1:]],
        env=os.environ | {"PATH": path},
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1000:]
        raise BundleError(f"{Path(program).name} failed: {said}")
