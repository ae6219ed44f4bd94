// Which cells do not run in a tab, by their tags, and what is said instead.

export const SKIPPED = {
  "needs-server": "This cell needs a real server. Its output is from one; run"
    + " it in JupyterLab.",
  "skip-live": "This cell does not run in a browser. Its output is from"
    + " JupyterLab.",
};

// Threads are made up for where the browser can suspend Python (JSPI).
if (!globalThis.WebAssembly?.Suspending) {
  SKIPPED["needs-threads"] = "This cell needs threads, which this browser does"
    + " not have. Its output is from JupyterLab.";
}
