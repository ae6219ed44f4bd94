"""TypeScript's own compiler takes what `snippets/declarations.py` writes.

It comes from npm, as Pyodide does, and is kept in the same cache.
"""

import base64
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import msgspec
import pytest

import bundle
import fetch
from snippets.declarations import typescript
from snippets.messages import Ack, ClientMessage, Error, Number, ServerMessage

TYPESCRIPT = "5.9.3"
INTEGRITY = (  # SHA-512, as in `npm view typescript dist.integrity`
    "jl1vZzPDinLr9eUt3J/t7V6FgNEw9QjvBPdysz9KfQDD41fQrC2Y4vKQdiaUpFT4"
    "bXlb1RHhLpp8wtm6M5TgSw=="
)


class Say(ClientMessage, tag="say", frozen=True):
    text: str


class Draw(ClientMessage, tag="draw", frozen=True):
    points: list[tuple[Number, Number]]
    labels: dict[str, str | None] = {}  # noqa: RUF012 - each gets its own


class Said(ServerMessage, tag="said"):
    sender: str = msgspec.field(name="from")
    text: str


USE = """
import type { Client, Server } from "./contract";

const spoken: Client[] = [
  { type: "say", text: "tea?", ref: 7 },
  { type: "draw", points: [[0, 1.5]], labels: { a: null } },
];

export function show(message: Server): string {
  switch (message.type) {
    case "said": return `${message.from}: ${message.text}`;
    case "ack": return `${message.ref} was taken`;
    case "error": return message.code === "forbidden" ? message.message : "";
  }
}
"""
MISTAKES = [
    ('text: "tea?"', "text: 7", "'number' is not assignable"),
    ('text: "tea?"', 'txt: "tea?"', "'txt' does not exist"),
    ('type: "say"', 'type: "sey"', "'\"sey\"' is not assignable"),
    ("[[0, 1.5]]", "[[0]]", "Type '[number]' is not assignable"),
    ("message.from", "message.sender", "'sender' does not exist"),
    ('"forbidden"', '"forbid"', "no overlap"),
    ('case "ack"', 'case "ok"', "is not comparable"),
]


def compiler(folder: Path) -> Path:
    """Get the compiler, from the cache if it is there."""
    archive = bundle.WORK / "cache" / f"typescript-{TYPESCRIPT}.tgz"
    archive.parent.mkdir(parents=True, exist_ok=True)
    if not archive.exists():
        name = f"typescript@{TYPESCRIPT}"
        fetch.run("npm", "pack", name, "--loglevel=error", cwd=str(folder))
        shutil.move(folder / archive.name, archive)
    digest = hashlib.sha512(archive.read_bytes()).digest()
    assert base64.b64encode(digest).decode() == INTEGRITY
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / "package" / "lib" / "tsc.js"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the compiler says of the client as it is, and of each mistake."""
    folder = tmp_path_factory.mktemp("typescript")
    tsc = compiler(folder)
    contract = typescript(Client=Say | Draw, Server=Said | Ack | Error)
    (folder / "contract.d.ts").write_text(contract, encoding="utf-8")
    uses = [USE, *(USE.replace(right, no, 1) for right, no, _ in MISTAKES)]
    files = [f"use{number}.ts" for number in range(len(uses))]
    for file, use in zip(files, uses, strict=True):
        (folder / file).write_text(use, encoding="utf-8")
    options = ["--strict", "--noEmit", "--pretty", "false"]
    run = subprocess.run(
        [fetch.find("node"), tsc, *options, "contract.d.ts", *files],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = run.stdout.splitlines()
    assert all(line.startswith((" ", "use")) for line in lines)
    return [
        "\n".join(line for line in lines if line.startswith(f"{file}("))
        for file in files
    ]


def test_a_client_compiles_against_the_declaration(said: list[str]):
    assert said[0] == ""


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_a_mistake_in_a_client_is_found(said: list[str], number: int):
    assert MISTAKES[number][2] in said[number + 1]
