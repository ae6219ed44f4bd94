// Runs chapters in Pyodide under Node, as a reader's tab would, and prints
// what came of it as JSON: {chapter: {cell: {status, outputs}}}.
//
//   node check.mjs BUNDLE NOTEBOOK…
//
// Cells that do not run in a tab (tags.mjs) are left out.

import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";
import { SKIPPED } from "./tags.mjs";

const [folder, ...notebooks] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(`${folder}/${name}`));
const found = {};

function hear({ type, chapter, cell, output, status }) {
  const seen = (found[chapter] ??= {})[cell] ??= { outputs: [] };
  if (type === "output") seen.outputs.push(output);
  if (type === "done") seen.status = status;
}

async function runChapter(python, path) {
  const chapter = basename(path, ".ipynb");
  const { cells } = JSON.parse(await readFile(path, "utf8"));
  for (const { id, cell_type, metadata, source } of cells) {
    const skipped = metadata.tags?.some((tag) => tag in SKIPPED);
    if (cell_type !== "code" || skipped) continue;
    await python.run({ chapter, cell: id, source: [source].flat().join("") });
  }
  await python.reset({ chapter });
}

try {
  const { boot } = await load("boot.mjs");
  const python = await boot({
    pyodide: load("pyodide.mjs"),
    main: load("pyodide.asm.mjs"),
    home: folder,
    packages: readFile(`${folder}/packages.zip`),
    files: readFile(`${folder}/files.zip`),
    send: hear,
    step: () => {},
  });
  for (const path of notebooks) await runChapter(python, path);
  process.stdout.write(JSON.stringify(found), () => process.exit());
} catch (error) {
  // Pyodide's errors hold its whole source: the last lines are what happened.
  console.error(String(error.stack ?? error).trim().slice(-2000));
  process.exit(1);
}
