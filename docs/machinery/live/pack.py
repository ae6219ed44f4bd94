"""Compile a folder of Python and zip it, the same to the byte every time.

This is run by the Python that the reader's tab runs (compile.mjs starts it),
since only that one can write bytecode for itself.
"""

import py_compile
import sys
from importlib import import_module
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

LIBRARY = "/lib/python314.zip/"
UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH


def pack(folder: Path, archive: Path) -> None:
    """Zip a folder, each module with its bytecode in `__pycache__`.

    Args:
        folder: What to pack.
        archive: Where to put the zip. Tracebacks name its files as if they
            lay in a folder of this name at the root.
    """
    contents = {}
    for file in files(folder):
        contents[file] = (folder / file).read_bytes()
        if file.suffix == ".py":
            name = f"{file.stem}.cpython-314.pyc"
            bytecode = compiled(folder, file, archive)
            contents[file.parent / "__pycache__" / name] = bytecode
    write(contents, archive)


def pack_bytecode(folder: Path, archive: Path, *keep: str) -> None:
    """Zip a folder, bytecode in the place of modules, to be imported from.

    Args:
        folder: What to pack.
        archive: Where to put the zip.
        keep: Modules whose sources stay beside the bytecode.
    """
    contents = {}
    for file in files(folder):
        if file.suffix == ".py":
            bytecode = compiled(folder, file, archive)
            contents[file.with_suffix(".pyc")] = bytecode
        if file.suffix != ".py" or file.as_posix() in keep:
            contents[file] = (folder / file).read_bytes()
    write(contents, archive)


def pack_library(folder: Path, archive: Path, *imports: str) -> None:
    """Zip Python's own library, with bytecode for what a start imports.

    Pyodide brings sources alone, and would compile them in every tab. The
    rest stays as it is: bytecode is twice as big, and seldom asked for.

    Args:
        folder: The library; packages and files, unpacked, lie beside it.
        archive: Where to put the zip.
        imports: The modules that chapters begin with.
    """
    for name in ("packages", "files"):
        sys.path.append(str(folder.with_name(name)))
    for name in imports:
        import_module(name)
    modules = [getattr(m, "__file__", None) for m in sys.modules.values()]
    used = {str(file).removeprefix(LIBRARY) for file in modules}
    contents = {}
    for file in files(folder):
        if file.as_posix() in used:
            place = f"{LIBRARY}{file.as_posix()}"
            bytecode = compiled(folder, file, archive, place)
            contents[file.with_suffix(".pyc")] = bytecode
        else:
            contents[file] = (folder / file).read_bytes()
    write(contents, archive)


def files(folder: Path) -> list[Path]:
    """List the files below a folder, relative to it, in order."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder) for path in found)


def compiled(
    folder: Path, file: Path, archive: Path, place: str = ""
) -> bytes:
    """Compile one module.

    Args:
        folder: Where the module's package lies.
        file: The module, relative to the folder.
        archive: The zip, whose name stands in the bytecode for the folder's
            path.
        place: What stands in the bytecode instead.

    Raises:
        py_compile.PyCompileError: The module has a syntax error.
    """
    # Another process may be packing beside this one.
    bytecode = archive.with_suffix(".pyc")
    py_compile.compile(
        str(folder / file),
        cfile=str(bytecode),
        dfile=place or f"/{archive.name}/{file.as_posix()}",
        doraise=True,
        invalidation_mode=UNCHECKED,
    )
    return bytecode.read_bytes()


def write(contents: dict[Path, bytes], archive: Path) -> None:
    """Write a zip without dates, owners or the order of a disk."""
    with ZipFile(archive, "w") as made:
        for file in sorted(contents):
            entry = ZipInfo(file.as_posix(), date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            entry.compress_type = ZIP_DEFLATED
            made.writestr(entry, contents[file], compresslevel=9)
