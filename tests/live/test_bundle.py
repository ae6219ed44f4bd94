"""The bundle: what is in it, and what is said when it cannot be built."""

import shutil
import sys
from importlib.metadata import PathDistribution, version
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

import bundle
import fetch
import parts
from bundle import Bundle, BundleError

ROOT = Path(__file__).parents[2]
UNCHECKED_HASH = b"\1\0\0\0"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is now; its author may be at work."""
    folder = tmp_path_factory.mktemp("whole")
    for place in parts.OWN:
        if (ROOT / place).is_dir():
            shutil.copytree(ROOT / place, folder / place)
        else:
            shutil.copy(ROOT / place, folder / place)
    return folder


@pytest.fixture(scope="module")
def made(whole: Path) -> Bundle:
    """The project's bundle, as the site has it."""
    return bundle.build(root=whole)


@pytest.fixture
def work(made: Bundle, tmp_path: Path) -> Path:
    """A folder to build in that has what is slow to get, but no bundle."""
    shutil.copytree(bundle.WORK / "cache", tmp_path / "work" / "cache")
    return tmp_path / "work"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one module and one web page."""
    package = tmp_path / "project" / "snippets"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""A package."""\n')
    (package / "page.html").write_text("<p>Hello")
    return package.parent


def files(archive: Path) -> dict[str, bytes]:
    with ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def refuse(*command: object, **_: object) -> None:
    pytest.fail(f"this was run: {command}")


def test_a_build_from_scratch_elsewhere_is_the_same(
    made: Bundle, whole: Path, work: Path
):
    for compiled in (work / "cache").glob("packages-*"):
        compiled.unlink()
    again = bundle.build(work, root=whole)
    assert again.folder.is_relative_to(work)
    assert again.folder.name == made.folder.name
    assert again.files == made.files


def test_nothing_is_run_when_nothing_changed(
    made: Bundle, whole: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fetch, "run", refuse)
    assert bundle.build(root=whole) == made


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What Node is asked for, which is not done, so that it takes no time."""
    asked = []

    def ask(program: str, _script: Path, _made: Path, *task: Any) -> None:
        stage, function, name, *_ = task
        asked.append((program, function, name))
        (stage / f"{name}.zip").touch()

    monkeypatch.setattr(fetch, "run", ask)
    monkeypatch.setattr(fetch, "pyodide", lambda _: {"pyodide.mjs": b""})
    return asked


def test_a_change_in_the_project_compiles_the_project_alone(
    work: Path, project: Path, tasks: list[tuple[Any, ...]]
):
    before = bundle.build(work, root=project)
    (project / "snippets" / "page.html").write_text("<p>Good bye")
    after = bundle.build(work, root=project)
    assert after.folder.parent != before.folder.parent
    assert tasks == [("node", "pack", "files")] * 2


def test_only_the_newest_bundles_are_kept(
    work: Path, project: Path, tasks: list[tuple[Any, ...]]
):
    made = []
    for number in range(bundle.RECENT + 2):
        (project / "snippets" / "page.html").write_text(f"<p>{number}")
        made.append(bundle.build(work, root=project))
    kept = [one for one in made if one.folder.exists()]
    assert kept == made[2:]


def test_what_the_project_has_is_in_it(made: Bundle, whole: Path):
    own = files(made.folder / "files.zip")
    for place, name in parts.OWN.items():
        for path in [whole / place, *(whole / place).rglob("*.*")]:
            inside = Path(name, path.relative_to(whole / place)).as_posix()
            if path.is_file() and path.suffix != ".pyc":
                assert own[inside] == path.read_bytes()
    names = [name for name in own if name.endswith(".pyc")]
    assert "snippets/__pycache__/closing.cpython-314.pyc" in names
    assert all(name.endswith(".cpython-314.pyc") for name in names)


def test_packages_have_bytecode_and_a_version_but_no_sources(made: Bundle):
    packages = files(made.folder / "packages.zip")
    assert "litestar/__init__.pyc" in packages
    assert "anyio/__init__.py" in packages
    for name in packages:
        kind = name.rpartition(".")[2]
        assert kind in ("pyc", "py") or name.endswith("/METADATA"), name
        assert kind != "py" or name in parts.WITH_SOURCES, name
    about = packages[f"litestar-{version('litestar')}.dist-info/METADATA"]
    assert f"Version: {version('litestar')}\n".encode() in about
    assert b"\n\n" not in about


def test_what_a_tab_cannot_use_is_left_out(made: Bundle):
    names = [*files(made.folder / "packages.zip")]
    names += files(made.folder / "files.zip")
    tops = {name.partition("/")[0] for name in names}
    assert tops.isdisjoint({"rich", "click", "uvicorn", "websockets", "faker"})
    assert not any(name.startswith("litestar/cli/") for name in names)
    lexers = [name for name in names if name.startswith("pygments/lexers/")]
    assert len(lexers) == 3


def test_bytecode_is_taken_as_it_is_and_names_no_machine(made: Bundle):
    for archive in ("packages.zip", "files.zip"):
        for name, data in files(made.folder / archive).items():
            if name.endswith(".pyc"):
                assert data[4:8] == UNCHECKED_HASH, name
                assert str(ROOT).encode() not in data, name
                assert b"/stage" not in data, name
                source = name.replace(".cpython-314", "")
                source = source.replace("__pycache__/", "").rstrip("c")
                assert f"/{archive}/{source}".encode() in data, name


def test_archives_have_no_dates_and_an_order(made: Bundle):
    for archive in ("packages.zip", "files.zip"):
        with ZipFile(made.folder / archive) as opened:
            entries = opened.infolist()
        paths = [Path(entry.filename) for entry in entries]
        assert paths == sorted(paths)
        assert {entry.date_time[0] for entry in entries} == {1980}
        assert {entry.compress_type for entry in entries} == {ZIP_DEFLATED}


def test_requirements_are_those_of_a_tab(tmp_path: Path):
    (tmp_path / "METADATA").write_text(
        "Name: thing\nVersion: 1\n"
        "Requires-Dist: always>=1\n"
        "Requires-Dist: here; sys_platform == 'emscripten'\n"
        "Requires-Dist: new; python_version >= '3.14'\n"
        "Requires-Dist: old; python_version < '3.14'\n"
        "Requires-Dist: loop; platform_machine != 'wasm32'\n"
        "Requires-Dist: more; extra == 'more'\n"
    )
    found = list(parts.requirements(PathDistribution(tmp_path)))
    assert found == ["always", "here", "new"]


def test_packages_are_found_through_others():
    found = {package.name for package in parts.packages()}
    assert {"litestar", "anyio", "h11", "Pygments"} <= found
    assert found.isdisjoint({"frame-by-frame", "uvicorn", "rich", "Faker"})


def test_a_package_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(parts, "EXTRA", ("no-such-thing",))
    with pytest.raises(BundleError, match="no-such-thing is not installed"):
        bundle.build()


def test_a_missing_wheel_is_named_with_its_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    msgspec = next(p for p in parts.packages() if p.name == "msgspec")
    with pytest.raises(BundleError) as raised:
        fetch.native(msgspec, tmp_path)
    said = str(raised.value)
    release = f"msgspec=={version('msgspec')}"
    assert said.startswith(
        f"{release} has no wheel for the platform {fetch.PLATFORM},"
    )
    assert f"No matching distribution found for {release}" in said
    assert list(tmp_path.iterdir()) == []


def test_npm_without_a_network_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("npm_config_offline", "true")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    with pytest.raises(BundleError) as raised:
        fetch.pyodide(tmp_path)
    said = str(raised.value)
    assert said.startswith(f"Pyodide {fetch.PYODIDE} cannot be fetched: npm")
    assert "ENOTCACHED" in said


def test_a_download_that_was_changed_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = f"pyodide-{fetch.PYODIDE}.tgz"

    def pack(*_: object, cwd: str) -> None:
        Path(cwd, name).write_bytes(b"something else")

    monkeypatch.setattr(fetch, "run", pack)
    with pytest.raises(BundleError, match="has a wrong checksum"):
        fetch.pyodide(tmp_path)
    assert not (tmp_path / name).exists()


def test_a_machine_without_node_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(BundleError, match="node is missing: install Node 20"):
        fetch.run("node", "--version")


def test_node_beside_python_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\n")
    node.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert fetch.find("node") == str(node)


def test_what_a_failing_program_says_is_cut():
    says = "print('first', 'x' * 1_000_000, 'last'); raise SystemExit(3)"
    with pytest.raises(BundleError) as raised:
        fetch.run(sys.executable, "-c", says)
    said = str(raised.value)
    assert said.startswith("python failed with 3\nfirst x")
    assert said.endswith("x last")
    assert len(said) < 1100


def test_a_module_that_cannot_be_compiled_is_named(work: Path, project: Path):
    (project / "snippets" / "broken.py").write_text("def f(:\n")
    with pytest.raises(BundleError) as raised:
        bundle.build(work, root=project)
    said = str(raised.value)
    assert "snippets/broken.py" in said
    assert "invalid syntax" in said.lower()
    assert {path.name for path in work.iterdir()} == {"cache", "bundles"}
    assert list((work / "bundles").iterdir()) == []
