"""Every snippet works where it is copied to, and its own test covers it.

For each module, found by looking: the module, the modules that it and its test
name, and the test go into a fresh package, and the test has to pass there,
out of sight of this project, and to run every line and branch of the module.
Where the copies run, the originals need not: conftest.py leaves them out.
"""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .conftest import LEFT

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "snippets").rglob("*.py")
    if path.name != "__init__.py"
)
PACKAGE = "copied"
REPORT = "report.xml"
INSTALLED = Path(sysconfig.get_path("purelib"))


@pytest.fixture(scope="module", autouse=True)
def hypothesis_learns_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Let the copies share what Hypothesis finds out about installed code.

    That takes seconds, and is the same for all.
    """
    folder = tmp_path_factory.mktemp("hypothesis")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPOTHESIS_STORAGE_DIRECTORY", str(folder))
        yield


def path_of_test(module: Path) -> Path:
    """Where the test of a module is."""
    return Path("tests") / module.with_name(f"test_{module.name}")


def named_in(file: Path) -> Iterator[Path]:
    """List the snippets that a file imports, relatively or by name."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            here = file.parents[node.level - 1] if node.level else Path()
            stem = here.joinpath(*(node.module or "").split("."))
            names = [stem, *(stem / alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [Path(*alias.name.split(".")) for alias in node.names]
        else:
            continue
        for name in names:
            for found in (name.with_suffix(".py"), name / "__init__.py"):
                if found.parts[0] == "snippets" and (ROOT / found).exists():
                    yield found


def needed_by(*files: Path) -> set[Path]:
    """List the files, and all snippets that they need."""
    needed: set[Path] = set()
    left = list(files)
    while left:
        if (file := left.pop()) not in needed:
            needed.add(file)
            left += named_in(file)
    return needed


def web_files(module: Path) -> Iterator[Path]:
    """List the web pages beside a module, and in the folder `pages` there."""
    for folder in (module.parent, module.parent / "pages"):
        for file in (ROOT / folder).glob("*.*"):
            if file.suffix in {".css", ".html", ".js"}:
                yield file.relative_to(ROOT)


def copy(module: Path, into: Path) -> None:
    """Copy a module with its test and with what both of them need."""
    test = path_of_test(module)
    for file in needed_by(module, test) - {test}:
        target = into / PACKAGE / file.relative_to("snippets")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / file).read_bytes())
        for page in web_files(file):
            beside = into / PACKAGE / page.relative_to("snippets")
            beside.parent.mkdir(exist_ok=True)
            beside.write_bytes((ROOT / page).read_bytes())
        for folder in target.relative_to(into).parents[:-1]:
            (into / folder / "__init__.py").touch()
    text = (ROOT / test).read_text(encoding="utf-8")
    (into / test.name).write_text(renamed(text), encoding="utf-8")


def renamed(text: str) -> str:
    """Put the name of the package of copies where ours is."""
    return re.sub(r"\bsnippets\b", PACKAGE, text)


def python(
    *arguments: str, cwd: Path, packages: Path = INSTALLED
) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with installed packages and without us.

    With -S, the `.pth` file of an editable installation has no effect.
    """
    foreign = ("PYTEST", "COV", "PYTHON")
    env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=cwd,
        env={
            **env,
            "PYTHONPATH": str(packages),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_project_is_out_of_sight(tmp_path: Path):
    run = python("-c", "import litestar, snippets", cwd=tmp_path)
    assert "No module named 'snippets'" in run.stderr


def only(*names: str, folder: Path) -> Path:
    """Make a folder of packages with these, and what they need, alone."""
    folder.mkdir()
    wanted = {*names}
    seen: set[str] = set()
    while wanted:
        package = distribution(wanted.pop())
        seen.add(canonicalize_name(package.name))
        for requirement in map(Requirement, package.requires or ()):
            marker = requirement.marker
            if marker is None or marker.evaluate({"extra": ""}):
                wanted |= {canonicalize_name(requirement.name)} - seen
        for top in {file.parts[0] for file in package.files or ()} - {".."}:
            link = folder / top
            if not link.exists():
                link.symlink_to(INSTALLED / top)
    return folder


ON_THE_WIRE = ("litestar", "pytest", "uvicorn", "websockets")


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("messages", ("litestar", "pytest")),
        ("closing", ON_THE_WIRE),
        ("connections", ON_THE_WIRE),
        ("limits", ON_THE_WIRE),
        ("rooms", ON_THE_WIRE),
    ],
)
def test_the_core_needs_few_packages_and_is_typed(
    module: str, names: tuple[str, ...], tmp_path: Path
):
    packages = only(*names, folder=tmp_path / "packages")
    there = {path.name for path in packages.iterdir()}
    assert {"msgspec", "anyio", *names} <= there
    assert not there & {"hypothesis", "httpx_ws", "wsproto", "coverage"}
    source, project = Path(f"snippets/{module}.py"), tmp_path / "project"
    project.mkdir()
    copy(source, project)
    run = python(
        *("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"),
        *("-p", "anyio.pytest_plugin", "-o", "anyio_mode=auto"),
        path_of_test(source).name,
        cwd=project,
        packages=packages,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout
    typed = subprocess.run(
        [
            *(Path(sys.executable).with_name("ty"), "check", "."),
            *("--error-on-warning", "--python-version", "3.11"),
            *("--extra-search-path", packages),
        ],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert typed.returncode == 0, typed.stdout


def try_copy(module: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the test of a copied module under coverage."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    excluded = settings["coverage"]["report"]["exclude_also"]
    (folder / ".coveragerc").write_text(
        "\n".join(
            ["[report]", "exclude_also =", *(f"  {e}" for e in excluded)]
        )
    )
    dotted = ".".join([PACKAGE, *module.with_suffix("").parts[1:]])
    return python(
        *("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"),
        *("-p", "anyio.pytest_plugin", "-o", "anyio_mode=auto"),
        *("-p", "pytest_cov.plugin", f"--cov={dotted}", "--cov-branch"),
        *("--cov-report=term-missing", "--cov-fail-under=100"),
        f"--junitxml={REPORT}",
        path_of_test(module).name,
        cwd=folder,
    )


def passed(report: Path) -> Counter[str]:
    """Count the tests that passed, of which nothing but that is told."""
    cases = ET.parse(report).iter("testcase")
    return Counter(case.attrib["name"] for case in cases if not len(case))


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(
            module,
            marks=pytest.mark.runs(path_of_test(module)),
            id=".".join(module.with_suffix("").parts[1:]),
        )
        for module in MODULES
    ],
)
def test_a_copy_passes_its_own_test_and_is_covered(
    module: Path, tmp_path: Path, pytestconfig: pytest.Config
):
    copy(module, tmp_path)
    run = try_copy(module, tmp_path)
    if run.returncode:
        pytest.fail(run.stdout + run.stderr, pytrace=False)
    ran = passed(tmp_path / REPORT)
    assert ran
    left = pytestconfig.stash[LEFT][ROOT / path_of_test(module)]
    assert Counter(map(renamed, left)) - ran == Counter()
