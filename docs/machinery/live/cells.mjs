// One code cell of a chapter that runs: its source can be changed, and its
// outputs come in the markup that the stored ones have (see chapters.py).

import { makeEditable, unpaint } from "./editor.mjs";
import { fill, holdBack, letGo } from "./panes.mjs";
import { runner } from "./runner.mjs";
import { SKIPPED } from "./tags.mjs";

// Make an HTML element; attributes are set as properties where there are such.
export function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export class Cell {
  ran = false; // by the Python that runs now

  // number: its place among the chapter's cells; run(cell, goOn): for its keys
  constructor(block, chapter, number, run) {
    this.block = block;
    this.published = block.cloneNode(true);
    this.chapter = chapter;
    this.id = block.id.replace(/^cell-/, "");
    this.name = `cell ${number}`;
    this.code = block.querySelector("pre > code");
    this.outputs = block.querySelector("cell-outputs");
    this.first = this.shown = this.source; // `shown`: what was run
    const tags = (block.dataset.tags ?? "").split(" ");
    this.mayFail = tags.includes("raises-exception");
    this.skipped = tags.map((tag) => SKIPPED[tag]).find(Boolean);
    if (this.skipped) {
      block.append(element("p", { className: "cell-note" }, this.skipped));
    } else {
      makeEditable(this.code, `Code of ${this.name}`,
        () => this.#markStale(), (goOn) => run(this, goOn));
      block.prepend(element("button", {
        className: "cell-run", type: "button", title: "Run (Shift+Enter)",
        ariaLabel: `Run ${this.name}`, onclick: () => run(this, false),
      }));
    }
  }

  get source() { return this.code.textContent.trimEnd(); }
  get isEdited() { return this.source !== this.first; }

  // Run it. Resolves with true if what comes after it may run, too.
  async run() {
    const { block, chapter, id, source } = this;
    this.#clear();
    this.shown = source;
    this.#markStale();
    block.dataset.state = "running";
    this.ended = await runner.run(chapter, id, source);
    block.dataset.state = this.ended;
    const failed = this.ended === "error" && !this.mayFail;
    return this.ran = !failed && ["ok", "error"].includes(this.ended);
  }

  // Show one output, given as notebooks store it.
  show({ output_type: kind, name, text, data, traceback }) {
    if (kind === "stream") return this.#write(`stream ${name}`, text);
    if (kind === "error") return this.#write("error", traceback.join("\n"));
    const markup = data["text/html"] ?? data["image/svg+xml"];
    if (!markup) return this.#write("text", data["text/plain"]);
    const template = element("template", { innerHTML: markup });
    const frames = holdBack(template.content);
    this.#add(data["text/html"] ? "html" : "svg", template.content);
    frames.forEach(fill);
  }

  // Put the published cell in its place.
  restore() {
    unpaint(this.code);
    this.#clear();
    this.block.replaceWith(this.published);
  }

  #write(kind, text) {
    const last = this.outputs?.lastElementChild;
    if (kind.startsWith("stream") && last?.className === `output ${kind}`) {
      last.querySelector("code").append(text);
    } else {
      this.#add(kind, element("pre", {}, element("code", {}, text)));
    }
  }

  #add(kind, content) {
    if (!this.outputs) {
      const name = { className: "outputs no-copy" };
      this.outputs = this.block.appendChild(element("cell-outputs", name));
    }
    const output = element("div", { className: `output ${kind}` }, content);
    this.outputs.append(output);
    output.dispatchEvent(new Event("shown", { bubbles: true })); // to site.js
  }

  #clear() {
    letGo(this.block);
    this.outputs?.remove();
    this.outputs = null;
  }

  #markStale() {
    const stale = this.outputs && this.source !== this.shown;
    this.block.classList.toggle("stale", Boolean(stale));
  }
}
