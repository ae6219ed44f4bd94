"""Build what a reader's tab needs to run the chapters.

The bundle is a folder: Pyodide, which is Python for browsers; the packages
that the chapters use, in the versions installed here; and the project's own
modules. Its name is a hash of its content, so that it can be cached for ever.

Needs Node 20 with npm, and pip. `python docs/machinery/live/bundle.py` builds
it and says how big it is.
"""

import gzip
import hashlib
import json
import shutil
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import fetch
import parts
from fetch import BundleError

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
WORK = ROOT / ".work"
TOOLS = ("bundle.py", "compile.mjs", "fetch.py", "pack.py", "parts.py")
SCRIPTS = ("boot.mjs", "worker.mjs")

CORE = (
    "pyodide.mjs",
    "pyodide.asm.mjs",
    "pyodide.asm.wasm",
    "python_stdlib.zip",
)
LOCK = "pyodide-lock.json"
RECENT = 4
"""How many bundles are kept."""


@dataclass(frozen=True)
class Bundle:
    """A built bundle.

    Attributes:
        folder: Where it lies, to be read only; its name is a hash of its
            files.
        files: The size of each file, in bytes.
        gzip: The size of each file when it is gzipped, in bytes.
    """

    folder: Path
    files: dict[str, int]
    gzip: dict[str, int]


def build(
    target: Path = WORK / "live",
    *,
    root: Path = ROOT,
    downloads: Path = WORK / "downloads",
) -> Bundle:
    """Build the bundle, or take the one built before if nothing changed.

    Args:
        target: The folder to keep bundles in.
        root: The project whose modules go into it.
        downloads: The folder to keep what was downloaded in.

    Raises:
        BundleError: Something is missing.
    """
    packages = parts.packages()
    own = parts.own(root)
    scripts = {name: HERE / name for name in SCRIPTS}
    scripts = {n: p.read_bytes() for n, p in scripts.items() if p.exists()}
    tools = {name: (HERE / name).read_bytes() for name in TOOLS}
    versions = {one.name: one.version.encode() for one in packages}
    place = target / digest(tools | versions | own | scripts)
    if not place.exists():
        note = "· making the bundle that runs chapters in the browser"
        print(f"{note} (about 10 s)", file=sys.stderr, flush=True)
        target.mkdir(parents=True, exist_ok=True)
        downloads.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target, prefix=".") as work:
            made = make(Path(work), packages, own, downloads)
            finish(made, scripts, place)
        forget(target)
    facts = json.loads((place / "bundle.json").read_text("utf-8"))
    return Bundle(place / facts["name"], facts["files"], facts["gzip"])


def make(
    work: Path,
    packages: list[Distribution],
    own: dict[str, bytes],
    downloads: Path,
) -> Path:
    """Put Pyodide and what it will import into a folder.

    Args:
        work: An empty folder to work in.
        packages: The packages to put in.
        own: The project's files.
        downloads: The folder to keep what was downloaded in.

    Returns:
        The folder, which lies in `work`.
    """
    made = work / "bundle"
    made.mkdir()
    with tarfile.open(fetch.pyodide(downloads)) as archive:
        for name in (*CORE, LOCK):
            member = archive.extractfile(f"package/{name}")
            assert member is not None
            (made / name).write_bytes(member.read())
    lock = json.loads((made / LOCK).read_text("utf-8"))
    lock["packages"] = {}
    (made / LOCK).write_text(json.dumps(lock, indent=1) + "\n", "utf-8")

    for package in packages:
        if parts.is_native(package):
            own |= wheel_modules(fetch.wheel(package, downloads))
        else:
            put(parts.modules(package), work / "packages")
    put(own, work / "files")
    with ThreadPoolExecutor() as pool:
        task = pool.submit(compiled, work, made, "pack", "files")
        keep = parts.WITH_SOURCES
        compiled(work, made, "pack_bytecode", "packages", *keep)
        task.result()
    return made


def compiled(work: Path, made: Path, task: str, name: str, *rest: str) -> None:
    """Have Pyodide compile and zip a folder."""
    archive = f"{name}.zip"
    script = HERE / "compile.mjs"
    fetch.run("node", script, made, work, task, name, archive, *rest)
    (work / archive).rename(made / archive)


def finish(made: Path, scripts: dict[str, bytes], place: Path) -> None:
    """Add our scripts, name the bundle by its content, measure it."""
    put(scripts, made)
    contents = {p.name: p.read_bytes() for p in sorted(made.iterdir())}
    facts = {
        "name": digest(contents),
        "files": {name: len(data) for name, data in contents.items()},
        "gzip": {n: len(gzip.compress(d)) for n, d in contents.items()},
    }
    whole = made.with_name("whole")
    whole.mkdir()
    made.rename(whole / facts["name"])
    (whole / "bundle.json").write_text(json.dumps(facts), "utf-8")
    try:
        whole.rename(place)
    except OSError:  # another build was faster
        if not place.exists():
            raise


def forget(target: Path) -> None:
    """Remove all but the newest bundles."""
    found = [path for path in target.iterdir() if path.name[0] != "."]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for old in found[RECENT:]:
        shutil.rmtree(old, ignore_errors=True)


def wheel_modules(path: Path) -> dict[str, bytes]:
    """Read the modules of a wheel, compiled ones included."""
    with ZipFile(path) as archive:
        names = archive.namelist()
        wanted = [name for name in names if name.endswith((".py", ".so"))]
        return {name: archive.read(name) for name in wanted}


def put(files: dict[str, bytes], folder: Path) -> None:
    """Write files, by their names, below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def digest(files: dict[str, bytes]) -> str:
    """Make a short name for the content of some files."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name} {len(files[name])}\n".encode())
        whole.update(files[name])
    return whole.hexdigest()[:16]


def main() -> int:
    """Build the bundle and say how big it is."""
    try:
        bundle = build()
    except BundleError as failed:
        print(f"error: {failed}", file=sys.stderr)
        return 1
    print(bundle.folder)
    for name, size in bundle.files.items():
        print(f"{size:12,} {bundle.gzip[name]:12,}  {name}")
    raw, gzipped = sum(bundle.files.values()), sum(bundle.gzip.values())
    print(f"{raw:12,} {gzipped:12,}  bytes, and gzipped")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
