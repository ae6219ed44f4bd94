// Web pages that talk to an app in this tab. A cell's output has them as
// iframes with an address such as http://app-1.tab/client.html#/echo, where
// there is no server: the app is asked for the page's files through the runner,
// and the page is shown in a sandbox, with a WebSocket that leads to the app.

import { runner } from "./runner.mjs";

const panes = new Set(); // of {iframe, open: its sockets' ids, ours → its own}
const HELLO = 'parent.postMessage({ type: "hello" }, "*");';
let count = 0;

// Take the addresses out of the iframes of markup that is not in the document
// yet, or the browser would ask for them. Returns those iframes, for `fill`.
export function holdBack(markup) {
  const iframes = [...markup.querySelectorAll("iframe[src]")].filter(
    ({ src }) => new URL(src, location).hostname.endsWith(".tab"));
  for (const iframe of iframes) {
    iframe.dataset.src = iframe.src;
    iframe.removeAttribute("src");
    iframe.setAttribute("sandbox", "allow-scripts allow-forms");
  }
  return iframes;
}

// Bring the page of an iframe that was held back, now that it is shown.
export async function fill(iframe) {
  const url = new URL(iframe.dataset.src);
  const { hash } = url;
  url.hash = "";
  panes.add({ iframe, open: new Map() });
  const page = await selfContained(url).catch((error) => error.message);
  const blob = new Blob([page], { type: "text/html;charset=utf-8" });
  iframe.src = URL.createObjectURL(blob) + hash;
}

// Close what the panes in an element have open: it is about to go.
export function letGo(element) {
  for (const pane of panes) {
    if (!element.contains(pane.iframe)) continue;
    closeAll(pane);
    panes.delete(pane);
    URL.revokeObjectURL(pane.iframe.src.replace(/#.*/, ""));
  }
}

// A page with its stylesheets and scripts in it, and our WebSocket before them.
async function selfContained(url) {
  const html = await ask(url.href);
  const page = new DOMParser().parseFromString(html, "text/html");
  for (const link of page.querySelectorAll("link[rel=stylesheet][href]")) {
    const style = page.createElement("style");
    style.textContent = await ask(new URL(link.getAttribute("href"), url).href);
    link.replaceWith(style);
  }
  for (const script of page.querySelectorAll("script[src]")) {
    script.textContent = inScript(
      await ask(new URL(script.getAttribute("src"), url).href));
    script.removeAttribute("src");
  }
  const socket = await fetch(new URL("socket.mjs", import.meta.url));
  const module = inScript(await socket.text()).replace(/^export /gm, "");
  const call = `install(globalThis, toParent(globalThis), "${url.href}");`;
  const script = page.createElement("script");
  script.textContent = `(() => {\n${module}\n${call}\n${HELLO}\n})();`;
  page.head.prepend(script);
  return `<!doctype html>${page.documentElement.outerHTML}`;
}

// Get a text file from an app.
function ask(url) {
  return new Promise((resolve, reject) => {
    const id = count += 1;
    runner.addEventListener("fetched", function hear({ detail }) {
      if (detail.id !== id) return;
      runner.removeEventListener("fetched", hear);
      const text = new TextDecoder().decode(detail.body);
      if (detail.status === 200) resolve(text);
      else reject(new Error(`${url}: HTTP ${detail.status} ${text}`));
    });
    runner.post({ type: "fetch", id, url });
  });
}

// A script's text that can stand between script tags: in a comment or a string,
// where such a tag may be, the backslash changes nothing.
function inScript(text) {
  return text.replaceAll("</script", "<\\/script");
}

function closeAll(pane) {
  for (const id of pane.open.keys()) {
    runner.post({ type: "socket", id, event: "close", code: 1001 });
  }
  pane.open.clear();
}

function tell({ iframe, open }, message) {
  const id = open.get(message.id);
  iframe.contentWindow?.postMessage({ ...message, id }, "*");
  if (message.event === "close") open.delete(message.id);
}

addEventListener("message", ({ source, data }) => {
  const pane = [...panes].find(({ iframe }) => iframe.contentWindow === source);
  if (!pane) return;
  if (data?.type === "hello") closeAll(pane); // it is loaded anew
  if (data?.type !== "socket") return; // a page may post what it likes
  if (data.event === "open") pane.open.set(count += 1, data.id);
  const [id] = [...pane.open].find(([, own]) => own === data.id) ?? [];
  if (id) runner.post({ ...data, id });
});

runner.addEventListener("socket", ({ detail }) => {
  const pane = [...panes].find(({ open }) => open.has(detail.id));
  if (pane) tell(pane, detail);
});

runner.addEventListener("lost", () => {
  const lost = { type: "socket", event: "close", code: 1006, reason: "" };
  for (const pane of panes) {
    for (const id of pane.open.keys()) tell(pane, { ...lost, id, wasClean: false });
  }
});

// A pane on a page that is not shown has no window any more.
document$.subscribe(() => {
  for (const pane of panes) if (!pane.iframe.isConnected) closeAll(pane);
});
