// Python in a web worker: one for the whole site, kept from page to page.
//
// Events: "change" (of `state`, `step`, `files`), "lost" (Python was ended),
// "output", "socket", "fetched" (the worker's messages, as `detail`).

import { BUNDLE } from "./bundle.mjs";

const POLITE = 1000; // milliseconds that a cell has to end when it is asked to
const WORKER = new URL(`../../${BUNDLE.path}worker.mjs`, import.meta.url);
const UNREACHABLE = "What runs Python could not be loaded. Is the network gone, "
  + "or the browser too old? The chapter reads as before; try again.";

class Runner extends EventTarget {
  state = "idle"; // then "starting", then "ready"
  step = "";
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
      this.files = {};
      this.began = performance.now();
      this.#set("starting", "loading");
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

  post(message) {
    this.#worker?.postMessage(message);
  }

  #hear(data, resolve) {
    if (data.type === "progress") {
      this.files[data.file] = data.received;
      this.#set(this.state, this.step);
    } else if (data.type === "step") {
      this.#set(this.state, data.name);
    } else if (data.type === "ready") {
      resolve(this.#set("ready", ""));
    } else if (data.type === "failed") {
      this.fail(data.message);
    } else if (data.type === "done") {
      this.#end(data.status);
    } else {
      this.dispatchEvent(new CustomEvent(data.type, { detail: data }));
    }
  }

  #drop() {
    this.#worker?.terminate();
    this.#worker = this.#ready = null;
    this.#set("idle", "");
    this.dispatchEvent(new Event("lost"));
    this.#end("lost");
  }

  #end(status) {
    this.#running?.(status);
    this.#running = null;
  }

  #set(state, step) {
    Object.assign(this, { state, step });
    this.dispatchEvent(new Event("change"));
  }
}

export const runner = new Runner();
