// Lets readers run the chapter before them: a bar above it, and its cells, kept
// with what was changed in them while the reader is on another page.

import { BUNDLE } from "./bundle.mjs";
import { Cell, element } from "./cells.mjs";
import { runner } from "./runner.mjs";

const chapters = new Map(); // by name
let queue = Promise.resolve(); // of what is to run, in all chapters
const mb = (bytes) => (bytes / 1e6).toFixed(1);
const sum = (sizes) => Object.values(sizes).reduce((all, one) => all + one, 0);
const TOTAL = sum(BUNDLE.files);
const lacks = ["Worker", "WebAssembly"].find((name) => !(name in globalThis));
const IDLE = lacks
  ? `This browser has no ${lacks}, so the chapter cannot run here.`
  : "Python and Litestar start in this tab, nothing is installed: "
    + `${mb(BUNDLE.gzip)} MB and a few seconds, once.`;
const STEPS = { compiling: "Starting Python", importing: "Starting Litestar" };
const ENDED = {
  error: "An error ended the run in",
  stopped: "Stopped in",
  lost: "Python was ended, and with it what was defined: it hung in",
};

class Chapter {
  cells = []; // once it is live
  #asked = 0; // runs that have not ended
  #round = 0; // a run that fails ends those that were asked for with it

  constructor(name, notebook) {
    Object.assign(this, { name, notebook }); // the latter is an address
    const button = (label, onclick, kind = "") => element("button",
      { type: "button", className: `md-button ${kind}`, onclick }, label);
    const all = () => this.ask(() => this.runnable);
    this.run = button("Run this chapter live", all, "md-button--primary");
    this.stop = button("Stop", () => this.end());
    this.reset = button("Reset", () => this.restore());
    this.save = button("Download my version", () => this.download());
    this.bar = element("progress", { max: TOTAL, ariaLabel: "Loading" });
    this.status = element("p", { role: "status" }, IDLE);
    this.block = element("section", { className: "live", ariaLabel: "Live" },
      this.run, this.stop, this.reset, this.save, this.bar, this.status);
  }

  get runnable() { return this.cells.filter((cell) => !cell.skipped); }

  // Show the reader's own version on a page that has just been opened.
  open() {
    for (const { block } of this.cells) {
      document.getElementById(block.id).replaceWith(block);
    }
    document.querySelector(".chapter-facts").after(this.block);
    if (runner.state === "ready") this.enliven();
    this.update();
  }

  enliven() {
    if (this.cells.length || !this.block.isConnected) return;
    const run = (cell, goOn) => {
      const place = this.runnable.indexOf(cell);
      if (goOn) this.runnable[place + 1]?.code.focus();
      this.ask(() => this.runnable.filter(
        ({ ran }, at) => at === place || (at < place && !ran)));
    };
    this.cells = [...document.querySelectorAll(".cell")].map(
      (block, index) => new Cell(block, this.name, index + 1, run));
  }

  // Run the cells that `choose()` gives, after what was asked for before.
  ask(choose) {
    const round = this.#round;
    this.#asked += 1;
    queue = queue.then(async () => {
      if (round !== this.#round) return;
      const started = runner.start();
      this.update(); // at once: what failed before is no news any more
      await started;
      this.enliven();
      if (this.cells.length) await this.#run(choose());
    }).catch((error) => this.#fail(error.message)).finally(() => {
      this.#asked -= 1;
      this.update();
    });
    this.update();
  }

  async #run(cells) {
    const round = this.#round;
    for (const [index, cell] of cells.entries()) {
      this.say(`Running ${cell.name}: ${index + 1} of ${cells.length}`);
      const goOn = await cell.run();
      if (!this.cells.includes(cell)) return; // there was a reset
      if (!goOn) return this.#fail(`${ENDED[cell.ended]} ${cell.name}.`);
      if (round !== this.#round) return;
    }
    const skipped = this.cells.length - this.runnable.length;
    const rest = skipped ? `; ${skipped} show what a real server gave.` : ".";
    this.say(cells.length < this.runnable.length ? `Ran ${cells.at(-1).name}.`
      : `All ${cells.length} cells ran in this tab${rest}`);
  }

  end() {
    this.#fail("Stopped.");
    runner.stop();
  }

  #fail(words) {
    this.#round += 1;
    this.say(words, true);
  }

  // Back to the chapter as it was published.
  restore() {
    this.end();
    runner.post({ type: "reset", chapter: this.name });
    for (const cell of this.cells) cell.restore();
    this.cells = [];
    this.enliven();
    this.say("The chapter is as it was published.");
  }

  // The notebook, with the reader's own code in it.
  async download() {
    const notebook = await (await fetch(this.notebook)).json();
    for (const { id, source } of this.cells.filter((cell) => cell.isEdited)) {
      Object.assign(notebook.cells.find((stored) => stored.id === id),
        { source: source.split(/(?<=\n)/), outputs: [], execution_count: null });
    }
    const text = JSON.stringify(notebook, null, 1);
    const href = URL.createObjectURL(new Blob([text]));
    element("a", { href, download: `${this.name}.ipynb` }).click();
  }

  say(words, isProblem = false) {
    this.status.textContent = words;
    this.status.classList.toggle("problem", isProblem);
  }

  update() {
    const { state, step, files, began } = runner;
    const isStarting = state === "starting";
    const isLive = this.cells.length > 0;
    this.run.textContent = isLive ? "Run all" : "Run this chapter live";
    this.run.hidden = Boolean(lacks);
    this.stop.hidden = !isLive && !isStarting;
    this.reset.hidden = this.save.hidden = !isLive;
    this.run.disabled = this.#asked > 0;
    this.stop.disabled = !this.#asked;
    this.bar.hidden = !isStarting;
    this.bar.value = sum(files);
    if (!isStarting || !this.#asked) return;
    const seconds = Math.round((performance.now() - began) / 1000);
    const loaded = `${mb(this.bar.value)} of ${mb(TOTAL)} MB, ${seconds} s`;
    this.say(`${STEPS[step] ?? "Loading"}: ${loaded}`);
  }
}

const update = () => chapters.forEach((chapter) => chapter.update());
setInterval(() => runner.state === "starting" && update(), 200);
runner.addEventListener("ready", update);
runner.addEventListener("output", ({ detail }) => chapters.get(detail.chapter)
  .cells.find(({ id }) => id === detail.cell)?.show(detail.output));
runner.addEventListener("lost", () => chapters.forEach(({ cells }) => {
  for (const cell of cells) cell.ran = false;
}));
runner.addEventListener("lost", update);

// Runs on the first page and on each one that instant navigation brings.
document$.subscribe(() => {
  const link = document.querySelector(".chapter-facts a[download]");
  if (!link) return;
  const name = link.href.split("/").pop().replace(".ipynb", "");
  if (!chapters.has(name)) chapters.set(name, new Chapter(name, link.href));
  chapters.get(name).open();
});
