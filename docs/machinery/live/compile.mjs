// Runs a function of pack.py in Pyodide under Node:
//   node compile.mjs PYODIDE STAGE FUNCTION NAME [ARGUMENT…]
// turns the folder STAGE/NAME into STAGE/NAME.zip. PYODIDE is the folder with
// Pyodide's files.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [pyodide, stage, task, name, ...rest] = process.argv.slice(2);

try {
  const { version } = process;
  if (parseInt(version.slice(1)) < 20)
    throw new Error(`this is Node ${version}, and 20 or newer is needed`);
  const { loadPyodide } = await import(pathToFileURL(`${pyodide}/pyodide.mjs`));
  const python = await loadPyodide({
    env: { PYTHONHASHSEED: "0" },
    lockFileContents: { info: { abi_version: "2026_0" }, packages: {} },
  });
  python.mountNodeFS("/stage", stage);
  python.runPython(readFileSync(new URL("pack.py", import.meta.url), "utf8"));
  const path = python.globals.get("Path");
  const archive = path(`/stage/${name}.zip`);
  python.globals.get(task)(path(`/stage/${name}`), archive, ...rest);
} catch (error) {
  // Node would show the line that threw, which is all of Pyodide.
  console.error(String(error.message ?? error));
  process.exit(1);
}
