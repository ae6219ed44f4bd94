"""What goes into the bundle: which packages, and which of their files."""

from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fetch import BundleError

PROJECT = "frame-by-frame"
EXTRA = ("pygments",)  # the exercises colour code with it
TAB = {
    "extra": "",
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "wasm32",
    "platform_python_implementation": "CPython",
    "platform_system": "Emscripten",
    "python_full_version": "3.14.2",
    "python_version": "3.14",
    "sys_platform": "emscripten",
}
"""What the markers of a requirement are compared with."""

USELESS = {
    *("uvicorn", "websockets"),  # a tab opens no sockets
    *("click", "rich", "rich-click"),  # and has no terminal
    "polyfactory",  # nor any use for invented data
}
PURE_ENOUGH = {"multidict", "pyyaml"}
"""Packages whose compiled parts only make them faster."""
WITH_SOURCES = ("anyio/__init__.py", "anyio/abc/__init__.py")
"""Modules that read their own source."""

FIRST = ("tab.shims", "litestar.dto", "tab.kernel", "tab.sockets", "exercises")
"""Modules that every chapter begins with, directly or not."""

LEFT_OUT = (
    "*/tests/*",
    "anyio/_backends/_trio.py",
    "httpcore/_backends/trio.py",
    "litestar/cli/*",
    "pygments/formatters/*",
    "pygments/lexers/*",
    "pygments/styles/*",
)
"""Modules that nothing in a tab imports."""
KEPT = (
    "pygments/*/__init__.py",
    "pygments/*/_mapping.py",
    "pygments/formatters/html.py",
    "pygments/lexers/python.py",
    "pygments/styles/default.py",
)
"""Modules that are left out by name, and needed."""

OWN = {
    "snippets": "snippets",
    "notebooks/exercises": "exercises",
    "notebooks/system": "system",
    "notebooks/naive.py": "naive.py",
    "notebooks/survival.py": "survival.py",
    "docs/machinery/live/tab": "tab",
}
"""The project's own packages: where they lie, what they are imported as.
A single module is named with its suffix."""


def packages() -> list[Distribution]:
    """Find what the project depends on in a tab, directly or not.

    Returns:
        The installed distributions, by name.

    Raises:
        BundleError: One of them is not installed.
    """
    found: dict[str, Distribution] = {}
    wanted = [*requirements(distribution(PROJECT)), *EXTRA]
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in found or name in USELESS:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            raise BundleError(
                f"the package {name} is not installed: run .ci/install"
            ) from None
        wanted += requirements(found[name])
    return [found[name] for name in sorted(found)]


def requirements(package: Distribution) -> Iterator[str]:
    """Name what a package depends on in a tab, without its extras."""
    for line in package.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or marker.evaluate(dict(TAB)):
            yield requirement.name


def is_native(package: Distribution) -> bool:
    """Whether a package needs modules that are compiled for a platform."""
    suffixes = {file.suffix for file in package.files or ()}
    name = canonicalize_name(package.name)
    return bool(suffixes & {".so", ".pyd"}) and name not in PURE_ENOUGH


def modules(package: Distribution) -> dict[str, bytes]:
    """Read the modules of a pure package, and what is known about it."""
    found = {}
    for file in package.files or ():
        path, place = file.as_posix(), Path(str(file.locate()))
        if file.name == "METADATA":
            # Libraries ask for their version; the description can go.
            found[path] = place.read_bytes().partition(b"\n\n")[0]
        elif file.suffix == ".py" and is_wanted(path):
            found[path] = place.read_bytes()
    return found


def is_wanted(path: str) -> bool:
    """Whether a module goes into the bundle."""
    left_out = any(fnmatch(path, pattern) for pattern in LEFT_OUT)
    return not left_out or any(fnmatch(path, pattern) for pattern in KEPT)


def own(root: Path) -> dict[str, bytes]:
    """Read the files of the project's own packages."""
    found = {}
    for place, name in OWN.items():
        folder = root / place
        for path in [folder, *sorted(folder.rglob("*"))]:
            if path.is_file() and "__pycache__" not in path.parts:
                inside = Path(name, path.relative_to(folder)).as_posix()
                found[inside] = path.read_bytes()
    return found
