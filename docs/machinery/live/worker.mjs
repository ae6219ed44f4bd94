// The web worker that Python runs in. It downloads the bundle, all files at
// once, starts Python, and then does what it gets messages for (see boot.mjs).

import { boot } from "./boot.mjs";

const HOME = new URL("./", import.meta.url).href;

// Fetch a file, and tell of its bytes as they come. They are counted on a
// clone: browsers keep compiled wasm only for what came from the network.
async function get(file) {
  const response = await fetch(HOME + file);
  if (!response.ok) throw new Error(`${file}: HTTP ${response.status}`);
  count(file, response.clone().body.getReader()).catch(() => {});
  return response;
}

async function count(file, reader) {
  for (let received = 0, part; !(part = await reader.read()).done;) {
    received += part.value.length;
    postMessage({ type: "progress", file, received });
  }
}

const bytes = async (file) => (await get(file)).arrayBuffer();

// Import a module; its bytes are known only when all are there.
async function load(file) {
  const module = await import(HOME + file);
  const [timing] = performance.getEntriesByName(HOME + file);
  postMessage(
    { type: "progress", file, received: timing?.decodedBodySize ?? 0 });
  return module;
}

// Compile wasm while it comes, or after, if the host gets its type wrong.
async function compile(response) {
  const type = response.headers.get("Content-Type");
  return type === "application/wasm" ? WebAssembly.compileStreaming(response)
    : WebAssembly.compile(await response.arrayBuffer());
}

function fail(error, what = "could not be started", then = "see that you are"
  + " online and that your browser allows WebAssembly, and try again") {
  const why = `${error?.message ?? error}`.trim().split("\n").at(-1);
  const message = `Python ${what} (${why.slice(0, 150)}): ${then}.`;
  if (!failed) postMessage({ type: "failed", message });
  failed = true;
}

let failed = false;
const wasm = get("pyodide.asm.wasm").then(compile);
const stdlib = bytes("python_stdlib.zip");
const parts = {
  pyodide: load("pyodide.mjs"),
  main: load("pyodide.asm.mjs"),
  packages: bytes("packages.zip"),
  files: bytes("files.zip"),
};
Promise.all([wasm, stdlib, ...Object.values(parts)]).catch(fail);
// Pyodide fetches two files by itself, and would hang if they did not come.
globalThis.fetch = async () => new Response(await stdlib);
WebAssembly.instantiateStreaming = async (_, imports) => ({
  module: await wasm, instance: await WebAssembly.instantiate(await wasm, imports),
});

try {
  const send = (message) => postMessage(message);
  const step = (name) => postMessage({ type: "step", name });
  const python = await boot({ home: HOME, send, step, ...parts });
  delete globalThis.fetch; // so that it is the browser's own again
  const crashed = (error) =>
    fail(error, "has crashed", "run a cell to start it again");
  onmessage = ({ data }) => python[data.type](data)?.catch(crashed);
  send({ type: "ready" });
} catch (error) {
  fail(error);
}
