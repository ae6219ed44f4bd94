// Starts Python with the packages, the project's modules and the kernel: in
// the browser for worker.mjs, under Node for check.mjs.

// All that Pyodide asks of a lock file if no package is loaded by it.
const LOCK = { info: { abi_version: "2026_0" }, packages: {} };
const SITE = "/lib/python3.14/site-packages";

// Takes promises of the modules pyodide.mjs and pyodide.asm.mjs, the folder
// with Pyodide's other files, promises of what is in packages.zip and
// files.zip, and whom to tell: send(message) of the kernel, step(name).
// Returns a function for each message that a worker gets.
export async function boot(
  { pyodide, main, home, packages, files, send, step },
) {
  const [{ loadPyodide }, core] = await Promise.all([pyodide, main]);
  step("compiling");
  const python = await loadPyodide({
    indexURL: home,
    createPyodideModule: core.default,
    lockFileContents: LOCK,
    stdout: () => {}, // the kernel has its own, for what Python prints
    stderr: () => {},
  });
  python.FS.writeFile("/packages.zip", new Uint8Array(await packages));
  python.unpackArchive(
    new Uint8Array(await files), "zip", { extractDir: SITE });
  step("importing");
  python.runPython('import sys; sys.path.insert(0, "/packages.zip")');
  const tell = (message) => send(plain(message));
  const [kernel, sockets] = await python.pyimport("tab").start(tell);
  return {
    run: ({ chapter, cell, source }) => kernel.run(chapter, cell, source),
    stop: () => kernel.stop(),
    reset: async ({ chapter }) => {
      await sockets.close_all(chapter);
      kernel.reset(chapter);
    },
    socket: (message) => sockets.take(python.toPy(message)),
    fetch: async ({ id, url }) => {
      const [status, type_, body] = (await sockets.fetch(url)).toJs();
      send({ type: "fetched", id, status, type_, body: body.slice().buffer });
    },
  };
}

// A Python message as a plain object, with bytes as an ArrayBuffer.
function plain(message) {
  const made = message.toJs({ dict_converter: Object.fromEntries });
  if (made.data instanceof Uint8Array) made.data = made.data.slice().buffer;
  return made;
}
