// Python in a web worker: one for the whole site, kept from page to page.
//
// Events: the worker's messages, by their types, as `detail`; and "lost": Python
// was ended, which also is how a start that fails ends.

import { BUNDLE } from "./bundle.mjs";

const POLITE = 1000; // milliseconds that a cell has to end when it is asked to
const WORKER = new URL(`../../${BUNDLE.path}worker.mjs`, import.meta.url);
const UNREACHABLE = "What runs Python could not be loaded. Is the network gone, "
  + "or the browser too old? The chapter reads as before; try again.";

class Runner extends EventTarget {
  state = "idle"; // then "starting", then "ready"
  step = ""; // what is being done while it starts
  files = {}; // bytes received of each
  #worker = null;
  #ready = null;
  #running = null; // resolves what run() has returned

  // Start Python, if it is not there yet. Rejects with an Error whose message
  // is for the reader; another call tries again.
  start() {
    this.#ready ??= new Promise((resolve, reject) => {
      this.fail = (message) => {
        this.#drop();
        reject(new Error(message));
      };
      const began = performance.now();
      Object.assign(this, { state: "starting", step: "loading", files: {}, began });
      this.#worker = new Worker(WORKER, { type: "module" });
      this.#worker.onerror = () => this.fail(UNREACHABLE);
      this.#worker.onmessage = ({ data }) => this.#hear(data, resolve);
    });
    return this.#ready;
  }

  // Run a cell; one at a time. Resolves with "ok", "error" or "stopped", or
  // with "lost" if Python was ended meanwhile.
  run(chapter, cell, source) {
    return new Promise((end) => {
      this.#running = end;
      this.post({ type: "run", chapter, cell, source });
    });
  }

  // Ask the running cell to end; if it does not, end Python.
  stop() {
    if (this.state === "starting") this.fail("Stopped while it was starting.");
    const asked = this.#running;
    this.post({ type: "stop" });
    setTimeout(() => {
      if (asked && this.#running === asked) this.#drop();
    }, POLITE);
  }

  post(message) { this.#worker?.postMessage(message); }

  #hear(data, resolve) {
    const { type } = data;
    if (type === "progress") this.files[data.file] = data.received;
    if (type === "step") this.step = data.name;
    if (type === "ready") resolve(this.state = type);
    if (type === "failed") this.fail(data.message);
    if (type === "done") this.#end(data.status);
    this.dispatchEvent(new CustomEvent(type, { detail: data }));
  }

  #drop() {
    this.#worker?.terminate();
    this.#worker = this.#ready = null;
    this.state = "idle";
    this.dispatchEvent(new Event("lost"));
    this.#end("lost");
  }

  #end(status) {
    this.#running?.(status);
    this.#running = null;
  }
}

export const runner = new Runner();
