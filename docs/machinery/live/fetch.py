"""Get what the bundle needs from npm and the package index, and keep it."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import Distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

PYODIDE = "314.0.7"
INTEGRITY = (  # SHA-512, as in `npm view pyodide dist.integrity`
    "0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7"
    "y2q+SNvi/6V5JEsOlD2R1A=="
)
PYTHON = "314"
PLATFORM = "pyemscripten_2026_0_wasm32"
CORE = (
    "pyodide.mjs",
    "pyodide.asm.mjs",
    "pyodide.asm.wasm",
    "python_stdlib.zip",
)


class BundleError(Exception):
    """The bundle cannot be built; the message says why."""


def pyodide(cache: Path) -> dict[str, bytes]:
    """Get the files of Pyodide that a browser needs.

    Args:
        cache: The folder to keep downloads in.

    Raises:
        BundleError: npm cannot be run or cannot fetch it, or what came is
            not what was asked for.
    """
    archive = cache / f"pyodide-{PYODIDE}.tgz"
    if not archive.exists():
        with TemporaryDirectory(dir=cache) as folder:
            command = ["pack", f"pyodide@{PYODIDE}", "--loglevel=error"]
            try:
                run("npm", *command, "--fetch-retries=1", cwd=folder)
            except BundleError as failed:
                raise BundleError(
                    f"Pyodide {PYODIDE} cannot be fetched: {failed}"
                ) from None
            came = Path(folder) / archive.name
            digest = hashlib.sha512(came.read_bytes()).digest()
            if base64.b64encode(digest).decode() != INTEGRITY:
                raise BundleError(f"npm's {came.name} has a wrong checksum")
            came.rename(archive)
    files = {}
    with tarfile.open(archive) as opened:
        for name in CORE:
            if member := opened.extractfile(f"package/{name}"):
                files[name] = member.read()
    return files


def native(package: Distribution, cache: Path) -> dict[str, bytes]:
    """Get the modules of a package, compiled ones included, from its wheel.

    Args:
        package: Its installed counterpart, which has the version to take.
        cache: The folder to keep downloads in.

    Raises:
        BundleError: There is no such wheel for Pyodide.
    """
    release = f"{package.name}=={package.version}"
    place = cache / f"{release}-{PLATFORM}.whl"
    if not place.exists():
        command = ["-m", "pip", "download", release, "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", "--implementation", "cp"]
        command += ["--python-version", PYTHON, "--abi", f"cp{PYTHON}"]
        command += ["--platform", PLATFORM]
        with TemporaryDirectory(dir=cache) as folder:
            try:
                run(sys.executable, *command, "--dest", folder)
            except BundleError as failed:
                raise BundleError(
                    f"{release} has no wheel for the platform {PLATFORM},"
                    f" or the package index cannot be reached: {failed}"
                ) from None
            next(Path(folder).glob("*.whl")).rename(place)
    with ZipFile(place) as archive:
        return {
            name: archive.read(name)
            for name in archive.namelist()
            if name.endswith((".py", ".so"))
        }


def search_path() -> str:
    """Where programs are looked for: beside Python, and on the PATH."""
    beside = str(Path(sys.executable).parent)
    return os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])


def find(program: str) -> str:
    """Find a program.

    Raises:
        BundleError: It is not there.
    """
    found = shutil.which(program, path=search_path())
    if found is None:
        raise BundleError(f"{program} is missing: install Node 20 or newer")
    return found


def run(program: str, *arguments: str | Path, cwd: str | None = None) -> None:
    """Run a program.

    Raises:
        BundleError: It is not there, or it failed; with what it said, cut.
    """
    done = subprocess.run(
        [find(program), *arguments],
        cwd=cwd,
        env=os.environ | {"PATH": search_path()},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = (done.stderr + done.stdout).strip()
        if len(said) > 1000:
            said = f"{said[:500]} … {said[-500:]}"
        name = Path(program).name
        raise BundleError(f"{name} failed with {done.returncode}\n{said}")
