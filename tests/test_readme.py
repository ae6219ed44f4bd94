"""README lists what there is: each chapter, each module, and nothing else."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINKED = re.findall(r"\[[^]]+\]\(([^)#:]+)\)", README)


def below(folder: str) -> list[str]:
    """List the links into a folder."""
    return [link for link in LINKED if link.startswith(folder + "/")]


def test_all_chapters_are_listed_in_order():
    chapters = sorted(ROOT.glob("notebooks/[0-9][0-9]-*.ipynb"))
    assert below("notebooks") == [
        path.relative_to(ROOT).as_posix() for path in chapters
    ]
    numbers = re.findall(r"^\| (\d+) \| \[", README, flags=re.MULTILINE)
    assert numbers == [str(number) for number in range(len(chapters))]


def test_all_modules_are_listed_in_order():
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("snippets/[!_]*")
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert below("snippets") == sorted(modules)


def test_all_that_is_linked_is_there():
    missing = [link for link in LINKED if not (ROOT / link).exists()]
    assert missing == []
