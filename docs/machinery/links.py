"""Check every link of the built site: files, pages and anchors.

MkDocs looks at links in Markdown only. This looks at what a browser gets, so
it also sees notebooks, generated pages, templates and raw HTML. A broken link
is a warning, and `--strict` makes warnings fail the build.
"""

import logging
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import Files

log = logging.getLogger("mkdocs.hooks.links")

# Built file → the file a writer knows it by.
sources: dict[str, str] = {}


class Links(HTMLParser):
    """The anchors that a page has and the links that it makes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: dict[str, None] = {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        """Take note of what an element names and where it leads."""
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value or "")
            elif name in ("href", "src"):
                self.targets[value or ""] = None


def on_env(_env: object, files: Files, **_: object) -> None:
    """Remember which source each page is built from."""
    sources.clear()
    sources.update((file.dest_uri, file.src_uri) for file in files)


@event_priority(-100)  # when the other plugins have written their files
def on_post_build(config: MkDocsConfig) -> None:
    """Report every broken link of the site."""
    site = Path(config.site_dir)
    base = urlsplit(config.site_url or "").path
    for page in sorted(site.rglob("*.html")):
        name = page.relative_to(site).as_posix()
        for problem in broken_links(page, site, base):
            log.warning("%s: %s", sources.get(name, name), problem)
    parsed.cache_clear()


@cache
def parsed(path: Path) -> Links:
    """Read a page once, however many others link to it."""
    return Links(path)


def broken_links(page: Path, site: Path, base: str) -> Iterator[str]:
    """Say what is wrong with the links of one built page.

    Args:
        page: The HTML file.
        site: The folder of the built site.
        base: The path below which the site is served, for absolute links.
    """
    here = urljoin(f"{base}/", page.relative_to(site).as_posix())
    for link in parsed(page).targets:
        parts = urlsplit(urljoin(here, link))
        if parts.scheme or parts.netloc:
            continue
        target = site / unquote(parts.path).removeprefix(base).lstrip("/")
        if target.is_dir():
            target = target / "index.html"
        if not target.is_file():
            yield f"the link '{link}' leads to no file of the site"
        elif target.suffix == ".html":
            anchor = unquote(parts.fragment)
            if anchor and anchor not in parsed(target).anchors:
                yield f"the link '{link}' leads to no anchor of its page"
