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
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import Distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import fetch
import licences
import parts
from fetch import BundleError

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
WORK = ROOT / ".work"
LIBRARY = "python_stdlib.zip"
SCRIPTS = ("boot.mjs", "worker.mjs")
TOOLS = ("compile.mjs", *(path.name for path in HERE.glob("*.py")))
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


def build(work: Path = WORK, *, root: Path = ROOT) -> Bundle:
    """Build the bundle, or take the one built before if nothing changed.

    Args:
        work: The folder to keep bundles in, and what was downloaded for them.
        root: The project whose modules go into it.

    Raises:
        BundleError: It cannot be built; the message says why.
    """
    packages = parts.packages()
    own = parts.own(root)
    scripts = read(SCRIPTS)
    tools = read(TOOLS)
    tools |= {one.name: one.version.encode() for one in packages}
    place = work / "bundles" / digest(own | scripts | tools)
    if not place.exists():
        note = "· making the bundle that runs chapters in the browser"
        print(f"{note} (10 to 20 s)", file=sys.stderr, flush=True)
        for folder in (place.parent, work / "cache"):
            folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=work) as name:
            stage = Path(name)
            kept = work / "cache" / f"packages-{digest(tools)}.zip"
            made = stage / "made"
            put(fetch.pyodide(kept.parent) | scripts, made)
            # The mark at its beginning has browsers read it as UTF-8.
            texts = licences.texts(packages).encode("utf-8-sig")
            put({"licences.txt": texts}, made)
            add_packages(made, stage, packages, own, kept)
            finish(made, place)
        forget(place.parent)
    facts = json.loads((place / "bundle.json").read_text("utf-8"))
    return Bundle(place / facts["name"], facts["files"], facts["gzip"])


def add_packages(
    made: Path,
    stage: Path,
    packages: list[Distribution],
    own: Mapping[str, bytes],
    kept: Path,
) -> None:
    """Add packages.zip and files.zip to a folder that holds Pyodide.

    Args:
        made: The folder.
        stage: Where to put what is needed meanwhile.
        packages: The packages of the first, if they are pure, or the second.
        own: The project's files, for the second.
        kept: Where the first is kept, since it seldom changes.
    """
    put(own, stage / "files")
    for package in packages:
        if parts.is_native(package):
            put(fetch.native(package, kept.parent), stage / "files")
        else:
            put(parts.modules(package), stage / "packages")
    tasks = [("pack", "files")]
    library = kept.with_name(f"library-{kept.name}")
    if not kept.exists():
        ZipFile(made / LIBRARY).extractall(stage / "library")
        tasks.append(("pack_library", "library", *parts.FIRST))
        tasks.append(("pack_bytecode", "packages", *parts.WITH_SOURCES))
    compiled = partial(fetch.run, "node", HERE / "compile.mjs", made, stage)
    with ThreadPoolExecutor() as pool:
        for running in [pool.submit(compiled, *task) for task in tasks]:
            running.result()
    if not kept.exists():
        (stage / "library.zip").rename(library)
        (stage / "packages.zip").rename(kept)
    shutil.copy(kept, made / "packages.zip")
    shutil.copy(library, made / LIBRARY)
    (stage / "files.zip").rename(made / "files.zip")


def finish(made: Path, place: Path) -> None:
    """Name a bundle by its content, measure it and put it into its place."""
    contents = {
        path.name: path.read_bytes() for path in sorted(made.iterdir())
    }
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
    except OSError:
        if not place.exists():  # else another build was faster
            raise


def forget(bundles: Path) -> None:
    """Remove all but the newest bundles."""
    found = sorted(bundles.iterdir(), key=lambda path: path.stat().st_mtime)
    for old in found[:-RECENT]:
        shutil.rmtree(old, ignore_errors=True)


def read(names: Iterable[str]) -> dict[str, bytes]:
    """Read files that lie beside this one."""
    return {name: (HERE / name).read_bytes() for name in names}


def put(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files, by their names, below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def digest(files: Mapping[str, bytes]) -> str:
    """Make a short name for the content of some files."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name} {len(files[name])}\n".encode() + files[name])
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
