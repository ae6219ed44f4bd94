"""Write the reference pages from the code they describe.

Every module below snippets/ that has a docstring gets a page; the catalogue
lists them; the table of close codes comes from the enumeration itself.
"""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from snippets.closing import CloseCode

NAV_ENTRY = "snippets/**/*.py"
CATALOGUE_MARKER = "<!-- snippets -->"
CLOSE_CODES_MARKER = "<!-- close codes -->"
LANGUAGES = {".css": "css", ".html": "html", ".js": "javascript"}


@dataclass(frozen=True)
class Module:
    """A snippet: one Python file with a docstring."""

    file: str
    dotted: str
    name: str
    src_uri: str
    summary: str
    test: str
    pages: tuple[str, ...]


def read(path: Path, root: Path) -> Module | None:
    """Read a module; nothing if it has no docstring."""
    source = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source))
    file = path.relative_to(root)
    if not docstring or file == Path("snippets/__init__.py"):
        return None
    package = file.name == "__init__.py"
    page = file.with_name("index.md") if package else file.with_suffix(".md")
    dotted = ".".join((file.parent if package else file.with_suffix("")).parts)
    return Module(
        file=file.as_posix(),
        dotted=dotted,
        name=dotted.removeprefix("snippets."),
        src_uri=page.as_posix(),
        summary=docstring.partition("\n\n")[0].replace("\n", " "),
        test=("tests" / file.with_name(f"test_{file.name}")).as_posix(),
        pages=tuple(
            page.relative_to(root).as_posix()
            for page in web_pages(path, source)
        ),
    )


def web_pages(path: Path, source: str) -> list[Path]:
    """List the web pages of a package, or of a module that has some."""
    folder = path.parent
    if path.name != "__init__.py":
        folder = folder / ("pages" if '"pages"' in source else "none")
    files = sorted(folder.glob("*.*"))
    return [file for file in files if file.suffix in LANGUAGES]


def modules(config: MkDocsConfig) -> list[Module]:
    """Read all snippets, each package before its modules."""
    root = Path(config.config_file_path).parent
    paths = root.glob(NAV_ENTRY)
    found = [module for path in paths if (module := read(path, root))]
    return sorted(found, key=lambda module: module.dotted.split("."))


def page_of(module: Module, config: MkDocsConfig) -> str:
    """Markdown of a snippet's page: what it promises, its source, its test."""
    root = Path(config.config_file_path).parent
    parts = [
        f"---\ntitle: {module.name}\n---",
        f"# {module.name}",
        f"::: {module.dotted}",
    ]
    if (root / f"tests/faults/test_{module.name}.py").exists():
        link = f"[What it promises](../promises.md#{module.name})"
        parts.append(f"{link}, and which test proves each promise.")
    figures = f"benchmarks/results/{module.name}.md"
    if (root / figures).exists():
        parts += ["## What it costs", f'--8<-- "{figures}"']
        parts.append(
            f"`python benchmarks/{module.name}.py` measures it again."
        )
    parts.append(included("Source", module.file))
    parts += [included(Path(page).name, page) for page in module.pages]
    if (root / module.test).exists():
        parts.append(included("Test", module.test))
    return "\n\n".join(parts)


def included(heading: str, file: str) -> str:
    """Markdown of a section that shows a whole file.

    The search leaves it out: what a module promises is found above it.
    """
    # Longer than any fence inside a docstring.
    fence = "`" * 6
    language = LANGUAGES.get(Path(file).suffix, "python")
    return (
        f"## {heading} {{ data-search-exclude }}\n\n"
        f'{fence}{language} title="{file}"\n--8<-- "{file}"\n{fence}'
    )


def on_config(config: MkDocsConfig) -> None:
    """Put every snippet's page into the navigation, after the catalogue."""
    for entry in config.nav or []:
        for title, value in entry.items():
            if value == NAV_ENTRY:
                pages = [
                    {module.name: module.src_uri} for module in modules(config)
                ]
                entry[title] = ["snippets/index.md", *pages]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every snippet."""
    for module in modules(config):
        content = page_of(module, config)
        files.append(File.generated(config, module.src_uri, content=content))
    return files


def on_page_markdown(markdown: str, config: MkDocsConfig, **_: Any) -> str:
    """Fill in what is computed where a page asks for it."""
    if CATALOGUE_MARKER in markdown:
        markdown = markdown.replace(CATALOGUE_MARKER, catalogue(config))
    if CLOSE_CODES_MARKER in markdown:
        markdown = markdown.replace(CLOSE_CODES_MARKER, close_codes())
    return markdown


def catalogue(config: MkDocsConfig) -> str:
    """Markdown of the table of all snippets."""
    rows = []
    for module in modules(config):
        address = module.src_uri.removeprefix("snippets/")
        rows.append(f"| [{module.name}]({address}) | {module.summary} |")
    return "\n".join(["| Module | What it is for |", "| --- | --- |", *rows])


def close_codes() -> str:
    """Markdown of the table of close codes, from the enumeration itself."""
    head = "| Code | Name | Meaning | Sent by | Reconnect? |"
    rows = [
        f"| **{code.value}**{{ #{code.value} }} | `{code.name}`"
        f" | {code.meaning} | {code.sender} |"
        f" {'yes' if code.reconnect else 'no'} |"
        for code in CloseCode
    ]
    return "\n".join([head, "| --- | --- | --- | --- | --- |", *rows])
