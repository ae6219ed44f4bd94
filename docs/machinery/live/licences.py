"""Whose work the bundle carries, and on what terms."""

from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution
from pathlib import Path

from fetch import PYODIDE

SOURCE = "https://github.com/pyodide/pyodide"
HOME = ("homepage", "home", "repository", "source", "source code")
FILES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS")
NOT_PACKAGES = f"""\
Pyodide {PYODIDE}, MPL-2.0

Unchanged from the npm package of that name and version. The licence is at
https://mozilla.org/MPL/2.0/, the source at
{SOURCE}/tree/{PYODIDE}

{"=" * 72}
CPython 3.14, PSF-2.0

Copyright (c) 2001 Python Software Foundation; All Rights Reserved

A part of Pyodide. The licence is the one of typing_extensions, below; the
source is at https://github.com/python/cpython
"""


def table(packages: Iterable[Distribution]) -> str:
    """Write a Markdown table of all that the bundle contains."""
    rows = [
        f"| [Pyodide]({SOURCE}) | {PYODIDE} | MPL-2.0 |",
        "| [CPython](https://github.com/python/cpython) | 3.14 | PSF-2.0 |",
    ]
    for package in packages:
        home, name = home_page(package), package.name
        work = f"[{name}]({home})" if home else name
        rows.append(f"| {work} | {package.version} | {licence(package)} |")
    head = ["| Work | Version | Licence |", "| --- | --- | --- |"]
    return "\n".join(head + rows)


def texts(packages: Iterable[Distribution]) -> str:
    """Write out the licences of all that the bundle contains."""
    whole = [NOT_PACKAGES]
    for package in packages:
        title = f"{package.name} {package.version}, {licence(package)}"
        whole += ["=" * 72, f"{title}\n", *files(package)]
    return "\n".join(whole)


def licence(package: Distribution) -> str:
    """Name a package's licence, as its author does."""
    known = package.metadata
    lines = known.get_all("Classifier") or ()
    names = [line for line in lines if line.startswith("License ::")]
    names = [name.rpartition(" :: ")[2] for name in names]
    names = [known["License-Expression"], known["License"], *names]
    return next((name for name in names if name and len(name) < 60), "")


def home_page(package: Distribution) -> str:
    """Find the address of a package's home, or of its source."""
    lines = package.metadata.get_all("Project-URL") or ()
    labelled = dict(line.split(", ", 1) for line in lines)
    labelled = {label.lower(): labelled[label] for label in labelled}
    homes = [labelled.get(label) for label in HOME]
    return next(filter(None, homes), package.metadata["Home-page"] or "")


def files(package: Distribution) -> Iterator[str]:
    """Read the files of a package that hold its licence."""
    for file in sorted(package.files or ()):
        inside = ".dist-info" in file.parts[0]
        if inside and file.name.upper().startswith(FILES):
            yield Path(str(file.locate())).read_text("utf-8")
