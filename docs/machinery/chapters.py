"""Turn the notebooks into the site's chapters.

The notebooks live in a folder of their own, beside docs/. mkdocs-jupyter makes
each a page, and this hook writes that page: the prose, the code and the stored
outputs in plain markup, with headings, links and admonitions in the form that
the other pages have.
"""

import html
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from posixpath import dirname, join, normpath
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup, Tag
from markdown.extensions.toc import nest_toc_tokens, slugify, unique
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.structure.toc import get_toc
from nbconvert.filters import ansi2html, markdown2html
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers.python import PythonLexer

NOTEBOOKS = "notebooks/[0-9][0-9]-*.ipynb"
NAV_ENTRY = "notebooks/*.ipynb"
LIST_MARKER = "<!-- chapters -->"
TITLE = re.compile(r"# (?:\d+ *[·.:–-] *)?(.+)")
BLANKS = re.compile(r"(<(pre|script)\b.*?</\2>)|\s*\n\s*", re.DOTALL)
# A class for each token is a third of a page. Three kinds are shown, two of
# them by the shortest elements that HTML has; the rest is plain.
TOKENS = {"k": "b", "s": "i", "c": "span"}
# Pygments' names for `in`, a decorator, an f-string's braces and its prefix.
ODD_TOKENS = {"ow": "k", "nd": "k", "si": "", "sa": "s"}  # codespell:ignore nd
TOKEN_GAP = re.compile(r"</([bi])>( ?)<\1>")
ADMONITIONS = ("note", "tip", "warning")


@dataclass(frozen=True)
class Chapter:
    """A notebook, and what it says about itself."""

    src_uri: str
    number: int
    title: str
    minutes: int
    needs: str
    summary: str
    notebook: nbformat.NotebookNode


def read(path: Path) -> Chapter:
    """Read a chapter.

    Raises:
        PluginError: The notebook has no title or does not say how long it
            takes, what it needs and what it is about.
    """
    notebook = nbformat.read(path, as_version=4)
    src_uri = f"notebooks/{path.name}"
    facts = notebook.metadata.get("frame_by_frame", {})
    if missing := {"minutes", "needs", "summary"} - facts.keys():
        names = ", ".join(sorted(missing))
        raise PluginError(f"{src_uri}: metadata.frame_by_frame lacks {names}")
    title = TITLE.match(notebook.cells[0].source)
    if title is None:
        raise PluginError(f"{src_uri}: the first cell has no '# Title'")
    return Chapter(
        src_uri=src_uri,
        number=int(path.name.partition("-")[0]),
        title=title[1].replace("`", ""),
        minutes=facts["minutes"],
        needs=facts["needs"],
        summary=facts["summary"],
        notebook=notebook,
    )


def chapters(config: MkDocsConfig) -> list[Chapter]:
    """Read all chapters, in order."""
    return [read(path) for path in sorted(root(config).glob(NOTEBOOKS))]


def root(config: MkDocsConfig) -> Path:
    """The project's folder."""
    return Path(config.config_file_path).parent


def on_config(config: MkDocsConfig) -> None:
    """Put every chapter into the navigation."""
    for entry in config.nav or []:
        for section, value in entry.items():
            if value == NAV_ENTRY:
                entry[section] = [
                    {f"{chapter.number} · {chapter.title}": chapter.src_uri}
                    for chapter in chapters(config)
                ]


@event_priority(50)  # before mkdocs-jupyter looks for notebooks
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the notebooks, which lie outside docs/, to the site's files."""
    for chapter in chapters(config):
        files.append(
            File(
                chapter.src_uri,
                src_dir=str(root(config)),
                dest_dir=config.site_dir,
                use_directory_urls=config.use_directory_urls,
            )
        )
    return files


def on_page_markdown(markdown: str, config: MkDocsConfig, **_: Any) -> str:
    """Fill in the list of chapters where a page asks for it."""
    if LIST_MARKER not in markdown:
        return markdown
    entries = "\n".join(
        f"<li markdown>[<span>{chapter.number}</span> {chapter.title}]"
        f"({chapter.src_uri}) <small>{chapter.minutes} min</small>\n"
        f"<p>{html.escape(chapter.summary)}</p></li>\n"
        for chapter in chapters(config)
    )
    entries = f"<ol markdown>\n{entries}\n</ol>"
    return markdown.replace(LIST_MARKER, entries)


@event_priority(-50)  # after mkdocs-jupyter has put its own renderer there
def on_pre_page(page: Page, **_: Any) -> None:
    """Have a chapter's page written here.

    mkdocs-jupyter would convert the notebook twice, for a second or more, and
    next to nothing of what it makes would be kept.
    """
    if page.file.src_uri.endswith(".ipynb"):
        vars(page)["render"] = partial(render, page)


def render(page: Page, config: MkDocsConfig, files: Files) -> None:
    """Write a chapter's page."""
    chapter = read(root(config) / page.file.src_uri)
    page.meta["description"] = chapter.summary
    page.meta["search"] = {"boost": 2}

    cells = map(cell_html, chapter.notebook.cells)
    # Without a strip the search would take the title for a second section.
    soup = BeautifulSoup("\n".join(cells).strip(), "html.parser")
    page.toc = get_toc(nest_toc_tokens(number_headings(soup)))
    make_admonitions(soup)
    for span in soup.select(".highlight span"):
        mark_token(span)
    for svg in soup.select("svg[xmlns]"):  # inside HTML it goes without saying
        del svg["xmlns"]
    for element in soup.select(".frames [font-family]"):  # the stylesheet's
        del element["font-family"]
    for element in soup.select(".changes [style]"):  # as the stylesheet does
        del element["style"]
    # A terminal's 256 colours are for one background, the site has two.
    for span in soup.select(".output pre span[style]"):
        del span["style"]
    for element in soup.select("a[href], img[src]"):
        attribute = "href" if element.name == "a" else "src"
        link = str(element[attribute])
        element[attribute] = site_address(link, page.file, files)
    if heading := soup.h1:
        facts = BeautifulSoup(facts_html(chapter), "html.parser")
        heading.insert_after(facts)
    page.content = TOKEN_GAP.sub(r"\2", str(soup))


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Take the templates' indentation out of a chapter's page."""
    if not page.file.src_uri.endswith(".ipynb"):
        return output
    return BLANKS.sub(lambda found: found[1] or "\n", output)


def facts_html(chapter: Chapter) -> str:
    """What stands below a chapter's title."""
    name = chapter.src_uri.rpartition("/")[2]
    return (
        '<ul class="chapter-facts" data-search-exclude>'
        f"<li>Chapter {chapter.number}</li>"
        f"<li>{chapter.minutes} minutes</li>"
        f"<li>Needs {html.escape(chapter.needs)}</li>"
        f'<li><a href="{name}" download>Download the notebook</a></li>'
        "</ul>"
    )


def cell_html(cell: nbformat.NotebookNode) -> str:
    """Markup of one cell: prose as it is, code with its outputs in a block."""
    if cell.cell_type != "code":
        return markdown2html(cell.source)
    tags = cell.metadata.get("tags", [])
    if "raises-exception" not in tags and any(map(is_error, cell.outputs)):
        raise PluginError(
            f"the cell {cell.id} holds a traceback: mend it,"
            " or tag it raises-exception if it is meant to fail"
        )
    source = highlight(cell.source, PythonLexer(), HtmlFormatter(nowrap=True))
    outputs = "".join(map(output_html, cell.outputs))
    if outputs:
        # An element of its own: the search leaves out what is inside an
        # element, up to the next end tag of that name.
        outputs = (
            '<cell-outputs class="outputs no-copy" data-search-exclude>'
            f"{outputs}</cell-outputs>"
        )
    tagged = f' data-tags="{" ".join(tags)}"' if tags else ""
    return (
        f'<div class="cell" id="cell-{cell.id}"{tagged}>'
        '<div class="highlight">'
        f"<pre><code>{source}</code></pre></div>{outputs}</div>"
    )


def mark_token(span: Tag) -> None:
    """Write a Pygments token as a keyword, a string, a comment, or plain."""
    token = (span.get_attribute_list("class") or [""])[0] or ""
    kind = ODD_TOKENS.get(token, token[:1])
    if kind not in TOKENS or not span.contents:
        span.unwrap()
        return
    span.name = TOKENS[kind]
    span.attrs = {"class": "c"} if kind == "c" else {}


def is_error(output: nbformat.NotebookNode) -> bool:
    """Whether an output is a traceback."""
    return output.output_type == "error"


def output_html(output: nbformat.NotebookNode) -> str:
    """Markup of one stored output, in the richest form that it has."""
    if output.output_type == "stream":
        return text_html(f"stream {output.name}", output.text)
    if is_error(output):
        return text_html("error", "\n".join(output.traceback))
    data = output.data
    if "text/html" in data:
        return f'<div class="output html">{data["text/html"]}</div>'
    if "image/svg+xml" in data:
        return f'<div class="output svg">{data["image/svg+xml"]}</div>'
    if "image/png" in data:
        source = f"data:image/png;base64,{data['image/png']}"
        name = html.escape(data["text/plain"])
        return f'<div class="output"><img src="{source}" alt="{name}"></div>'
    return text_html("text", data["text/plain"])


def text_html(kind: str, text: str) -> str:
    """Markup of plain text, with a terminal's colours as classes."""
    code = ansi2html(text.rstrip())
    return f'<div class="output {kind}"><pre><code>{code}</code></pre></div>'


def number_headings(soup: BeautifulSoup) -> list[dict[str, Any]]:
    """Give headings ids and permanent links; return them for the contents."""
    used: set[str] = set()
    headings = []
    for heading in soup.find_all(re.compile("^h[1-6]$")):
        if heading.find_parent(class_="outputs"):
            continue
        for link in heading.select(".anchor-link"):
            link.decompose()
        name = heading.get_text()
        anchor = unique(slugify(name, "-"), used)
        heading["id"] = anchor
        level = int(heading.name.removeprefix("h"))
        headings.append(
            {"level": level, "id": anchor, "name": html.escape(name)}
        )
        link = f'<a class="headerlink" href="#{anchor}"'
        link += ' title="Permanent link">¶</a>'
        heading.append(BeautifulSoup(link, "html.parser"))
    return headings


def make_admonitions(soup: BeautifulSoup) -> None:
    """Turn quotes that begin in bold, as in **Tip**, into admonitions."""
    for quote in soup.find_all("blockquote"):
        label = quote.select_one("p:first-child > strong:first-child")
        if label is None or label.previous_sibling:
            continue
        words = label.extract().decode_contents()
        kind = words.rstrip(".:").lower()
        title = f'<p class="admonition-title">{words}</p>'
        quote.name = "div"
        quote["class"] = (
            f"admonition {kind if kind in ADMONITIONS else 'note'}"
        )
        quote.insert(0, BeautifulSoup(title, "html.parser"))


def site_address(link: str, source: File, files: Files) -> str:
    """Where a notebook's link, made for the repository, leads on the site.

    A link that leads nowhere stays as it is: the link check reports it.
    """
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return link
    path = normpath(join(dirname(source.src_uri), unquote(parts.path)))
    names = possible_names(PurePosixPath(path)) if parts.path else []
    found = [file for name in names if (file := files.src_uris.get(name))]
    target = found[0] if found else source
    if parts.path and not found:
        return link
    anchor = parts.fragment
    if target.src_uri.endswith(".ipynb"):
        # Jupyter's anchors keep capitals and punctuation.
        anchor = slugify(unquote(anchor), "-")
    address = target.url_relative_to(source) if parts.path else ""
    return f"{address}#{anchor}" if anchor else address


def possible_names(path: PurePosixPath) -> list[str]:
    """Names under which a file of the repository may be on the site."""
    if path.parts[0] == "docs":
        path = path.relative_to("docs")
    index = path.parent if path.name == "__init__.py" else path
    candidates = [path, path.with_suffix(".md"), index / "index.md"]
    return [candidate.as_posix() for candidate in candidates]
