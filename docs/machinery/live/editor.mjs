// Makes a block of Python code editable: the keys that a programmer expects,
// and colours that follow the text.

const KEYWORDS = "False|None|True|and|as|assert|async|await|break|class|"
  + "continue|def|del|elif|else|except|finally|for|from|global|if|import|in|"
  + "is|lambda|match|nonlocal|not|or|pass|raise|return|try|while|with|yield";
const TOKEN = new RegExp(
  String.raw`(?<comment>#.*)`
  + String.raw`|(?<string>(?:\b[bfruBFRU]{1,2})?(?:`
  + String.raw`"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)`
  + String.raw`|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))`
  + String.raw`|(?<keyword>@[\w.]+|\b(?:${KEYWORDS})\b)`, "g");

// The colours lie over the text and leave it alone: CSS custom highlights.
const canPaint = "Highlight" in globalThis;
const colours = Object.fromEntries(
  (canPaint ? ["comment", "string", "keyword"] : []).map((kind) => {
    const colour = new Highlight();
    CSS.highlights.set(`python-${kind}`, colour);
    return [kind, colour];
  }));

// Make a <code> element editable. `onInput()` is called when its text changes,
// `onRun(goOn)` at Shift+Enter (goOn is true) and Ctrl+Enter.
export function makeEditable(code, label, onInput, onRun) {
  code.setAttribute("contenteditable", "plaintext-only");
  if (!code.isContentEditable) code.contentEditable = "true";
  Object.assign(code, { role: "textbox", ariaMultiLine: "true",
    ariaLabel: label, spellcheck: false, translate: false });
  if (canPaint) code.textContent = code.textContent; // no colours of its own
  paint(code);
  let leaving = false; // Escape frees the Tab key, which indents otherwise
  code.addEventListener("focus", () => { leaving = false; });
  code.addEventListener("input", () => { paint(code); onInput(); });
  code.addEventListener("keydown", (event) => {
    const { key, shiftKey, ctrlKey, metaKey } = event;
    if (key === "Escape") leaving = true;
    if (event.isComposing || !["Enter", "Tab"].includes(key)) return;
    if (key === "Tab" && (leaving || shiftKey)) return;
    event.preventDefault();
    if (key === "Tab") insert("    ");
    else if (shiftKey || ctrlKey || metaKey) onRun(shiftKey);
    else insert(`\n${indentation(code)}`);
  });
}

// Take the colours off, before an element leaves the page for good.
export function unpaint(code) {
  for (const colour of Object.values(colours)) {
    for (const range of colour) {
      if (code.contains(range.startContainer)) colour.delete(range);
    }
  }
}

function paint(code) {
  unpaint(code);
  code.normalize();
  const text = code.firstChild;
  if (!canPaint || text?.nodeType !== Node.TEXT_NODE) return;
  for (const { 0: token, index, groups } of text.data.matchAll(TOKEN)) {
    const range = new Range();
    range.setStart(text, index);
    range.setEnd(text, index + token.length);
    colours[Object.keys(groups).find((kind) => groups[kind])].add(range);
  }
}

// Deprecated, and the only way that the browser's undo knows of.
const insert = (text) => document.execCommand("insertText", false, text);

// What the next line begins with: as much as this one, and more after a colon.
function indentation(code) {
  const before = getSelection().getRangeAt(0).cloneRange();
  before.setStart(code, 0);
  const line = before.toString().split("\n").pop();
  return line.match(/^ */)[0] + (line.trimEnd().endsWith(":") ? "    " : "");
}
