// Starts Python under Node and imports what chapters need, once.
//   node live_parts.mjs PYODIDE_FOLDER ARCHIVE how
// how: "zip" imports from the archive, "folder" unpacks it first.
// Prints seconds as JSON: {load, place, import}.

import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [home, archive, how] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${home}/pyodide.mjs`));
const content = new Uint8Array(await readFile(archive));
const times = [performance.now()];
const lap = () => times.push(performance.now());

const python = await loadPyodide({
  indexURL: home,
  lockFileContents: { info: { abi_version: "2026_0" }, packages: {} },
});
lap();
const native = new Uint8Array(await readFile(`${home}/files.zip`));
const site = "/lib/python3.14/site-packages";
python.unpackArchive(native, "zip", { extractDir: site });
if (how === "zip") python.FS.writeFile("/packages.zip", content);
else {
  python.FS.mkdir("/packages");
  python.unpackArchive(content, "zip", { extractDir: "/packages" });
}
const place = how === "zip" ? "/packages.zip" : "/packages";
python.runPython(`import sys; sys.path.insert(0, "${place}")`);
lap();
await python.runPythonAsync("import tab.shims, litestar, snippets.testing");
lap();
const [load, placed, imported] = [1, 2, 3].map(
  (at) => (times[at] - times[at - 1]) / 1000);
console.log(JSON.stringify({ load, place: placed, import: imported }));
