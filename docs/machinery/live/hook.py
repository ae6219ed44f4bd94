"""Put the live runtime into the site; LIVE=0 leaves it out."""

import json
import os
from pathlib import Path
from typing import Any

from mkdocs.config.config_options import ExtraScript
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

import bundle
import licences
import parts

HERE = Path(__file__).parent
ASSETS = "assets/live/"
ELSEWHERE = {*bundle.SCRIPTS, "check.mjs", "compile.mjs"}
"""Scripts that are not the page's."""
TEXTS = "licences.txt"
MARKER = "<!-- shipped -->"
IS_ON = os.environ.get("LIVE") != "0"


def on_config(config: MkDocsConfig) -> None:
    """Have every page load the script and its styles."""
    if IS_ON:
        # A plain string would not be loaded as a module.
        script = ExtraScript().run_validation(f"{ASSETS}page.mjs")
        config.extra_javascript.append(script)
        config.extra_css.append(f"{ASSETS}live.css")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the scripts and the bundle.

    Raises:
        PluginError: The bundle cannot be built.
    """
    if not IS_ON:
        return files
    try:
        made = bundle.build()
    except bundle.BundleError as failed:
        raise PluginError(
            f"chapters cannot be made to run in the browser: {failed}\n"
            "LIVE=0 in the environment builds the site without."
        ) from None
    place = f"live/{made.folder.name}/"
    sources = {place + name: made.folder / name for name in made.files}
    for path in (*HERE.glob("*.mjs"), HERE / "live.css"):
        if path.name not in ELSEWHERE:
            sources[ASSETS + path.name] = path
    for address, path in sources.items():
        files.append(File.generated(config, address, abs_src_path=str(path)))
    run = [name for name in made.files if name != TEXTS]
    facts = json.dumps(
        {
            "path": place,
            "files": {name: made.files[name] for name in run},
            "gzip": sum(made.gzip[name] for name in run),
        }
    )
    content = f"export const BUNDLE = {facts};\n"
    address = f"{ASSETS}bundle.mjs"
    files.append(File.generated(config, address, content=content))
    return files


def on_page_markdown(markdown: str, files: Files, **_: Any) -> str:
    """Fill in what the bundle contains where a page asks for it."""
    if MARKER not in markdown:
        return markdown
    shipped = "This copy of the site was built without it (`LIVE=0`)."
    texts = [f.src_uri for f in files if f.src_uri.endswith(f"/{TEXTS}")]
    if texts:
        shipped = licences.table(parts.packages())
        shipped += f"\n\nTheir licences are [in one file]({texts[0]})."
    return markdown.replace(MARKER, shipped)
