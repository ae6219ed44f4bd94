"""What the way in which packages are shipped to a tab is worth.

Run it on a quiet machine with `python benchmarks/live_parts.py`; it starts
Python under Node and writes `benchmarks/results/live-parts.json` and the table
of it for the site.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

HERE = Path(__file__).parent
# What builds the site is no package: MkDocs finds it by its folder, too.
sys.path.insert(0, str(HERE.parent / "docs" / "machinery" / "live"))

import bundle  # noqa: E402
import parts  # noqa: E402

RESULTS = HERE / "results"
ROUNDS = 10
METHOD = (
    f"Pyodide under Node, a new process each time, {ROUNDS} times each, the "
    "ways in turn. Seconds from Python's start until `litestar` and "
    "`snippets.testing` are imported."
)


def archives(folder: Path, shipped: Path) -> dict[str, tuple[Path, str]]:
    """Make the archives that are compared.

    Args:
        folder: Where to put them.
        shipped: The bundle's folder, which has one of them.

    Returns:
        For each way its archive, and whether it is unpacked.
    """
    sources = folder / "sources.zip"
    with ZipFile(sources, "w", ZIP_DEFLATED, compresslevel=9) as made:
        for package in parts.packages():
            if not parts.is_native(package):
                for name, content in parts.modules(package).items():
                    made.writestr(name, content)
    return {
        "sources, unpacked, as wheels are": (sources, "folder"),
        "sources, imported from one zip": (sources, "zip"),
        "bytecode, unpacked": (shipped / "packages.zip", "folder"),
        "bytecode, imported from one zip": (shipped / "packages.zip", "zip"),
    }


def measure() -> dict[str, Any]:
    """Measure all ways."""
    home = bundle.build().folder
    with TemporaryDirectory() as folder:
        ways = archives(Path(folder), home)
        seen: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, (archive, how) in ways.items():
                command = ["node", HERE / "live_parts.mjs", home, archive, how]
                run = subprocess.run(
                    command, check=True, capture_output=True, text=True
                )
                seen[way].append(json.loads(run.stdout))
        sizes = {
            way: archive.stat().st_size for way, (archive, _) in ways.items()
        }
    return {
        "question": "What is the way in which packages are shipped worth?",
        "unit": "seconds, medians",
        "method": METHOD,
        "machine": f"Linux {platform.machine()}, {os.cpu_count()} cores",
        "results": {
            way: {
                "bytes": sizes[way],
                "place": median(times, "place"),
                "import": median(times, "import"),
            }
            for way, times in seen.items()
        },
        "starting Python itself": median(
            [times for runs in seen.values() for times in runs], "load"
        ),
    }


def median(runs: list[dict[str, float]], part: str) -> float:
    """The median of a part of all runs."""
    return round(statistics.median(run[part] for run in runs), 2)


def table(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["| packages as | size | unpack | import |", "|---|---|---|---|"]
    for way, row in found["results"].items():
        size = f"{row['bytes'] / 1e6:.1f} MB"
        cells = [size, f"{row['place']:.2f} s", f"{row['import']:.2f} s"]
        lines.append(" | ".join([f"| {way}", *cells]) + " |")
    python = f"{found['starting Python itself']:.1f} s"
    lines += ["", f"Starting Python itself takes {python} of it, each time."]
    lines += ["", f"{found['method']} {found['machine']}.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, store."""
    found = measure()
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    (RESULTS / "live-parts.json").write_text(text, encoding="utf-8")
    (RESULTS / "live-parts.md").write_text(table(found), encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
