// Runs a function of pack.py in Pyodide under Node:
//   node compile.mjs PYODIDE STAGE FUNCTION FOLDER ARCHIVE [ARGUMENT…]
// PYODIDE is the folder with Pyodide's files; FOLDER and ARCHIVE lie in STAGE.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [pyodide, stage, task, folder, archive, ...rest] = process.argv.slice(2);
const packer = new URL("pack.py", import.meta.url);

try {
  const { loadPyodide } = await import(pathToFileURL(`${pyodide}/pyodide.mjs`));
  const python = await loadPyodide({ env: { PYTHONHASHSEED: "0" } });
  python.mountNodeFS("/stage", stage);
  python.runPython(readFileSync(packer, "utf8"));
  const path = (name) => python.globals.get("Path")(`/stage/${name}`);
  python.globals.get(task)(path(folder), path(archive), ...rest);
} catch (error) {
  // Pyodide's errors hold its whole source: the last lines are what happened.
  console.error(String(error.message ?? error).trim().slice(-1000));
  process.exit(1);
}
