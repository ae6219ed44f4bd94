// A WebSocket client to use by hand. The address to connect to may be given
// in the page's own: client.html#/echo

const STATES = ["0 CONNECTING", "1 OPEN", "2 CLOSING", "3 CLOSED"];
const [line, message, goodbye] = document.forms;
const log = document.querySelector("[role=log]");
let socket = null;

line.address.value = decodeURIComponent(location.hash.slice(1)) || "/";

line.addEventListener("submit", (event) => {
  event.preventDefault();
  const offered = line.subprotocols.value.split(/[\s,]+/).filter(Boolean);
  attempt(() => {
    socket = new WebSocket(line.address.value, offered);
    socket.binaryType = "arraybuffer";
    note("", `connecting to ${line.address.value}`);
    follow(socket);
  });
});

message.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = message.data.value;
  const data = message.kind.value === "text" ? text : bytesOf(text);
  if (data === null) {
    note("failed", "hex is written like this: 00 7f ff");
    return;
  }
  attempt(() => {
    socket.send(data);
    noteMessage("sent", data);
    message.data.value = "";
  });
});

goodbye.addEventListener("submit", (event) => {
  event.preventDefault();
  const { code, reason } = goodbye;
  attempt(() => {
    // Without a code there is no room for a reason.
    const how = code.value ? [code.value, reason.value] : [];
    socket.close(...how);
    note("sent", ["close", ...how].join(" ").trim());
  });
});

function follow(socket) {
  socket.onopen = () => {
    const { protocol } = socket;
    note("received", `open${protocol && `, speaking ${protocol}`}`);
    message.data.focus();
  };
  socket.onmessage = ({ data }) => noteMessage("received", data);
  socket.onerror = () => note("failed", "error");
  socket.onclose = ({ code, reason, wasClean }) => {
    const why = reason && ` ${JSON.stringify(reason)}`;
    note(wasClean ? "received" : "failed",
      `close ${code}${why}, wasClean ${wasClean}`);
  };
}

// Do something that the browser may refuse, and show what it says.
function attempt(act) {
  try {
    act();
  } catch (error) {
    note("failed", `${error.name}: ${error.message}`);
  }
  showState();
}

function showState() {
  const state = socket ? socket.readyState : WebSocket.CLOSED;
  document.querySelector("#state output").value =
    socket ? STATES[state] : "none yet";
  const [connect, send, close] = document.querySelectorAll("button");
  connect.disabled = state !== WebSocket.CLOSED;
  send.disabled = state !== WebSocket.OPEN;
  close.disabled = state >= WebSocket.CLOSING;
}

function noteMessage(kind, data) {
  const text = typeof data === "string";
  const size = text ? new TextEncoder().encode(data).length : data.byteLength;
  note(kind, text ? JSON.stringify(data) : hexOf(data), `${size} B`);
}

// Text goes in as text: nothing that was received is ever read as HTML.
function note(kind, text, size = "") {
  const entry = document.createElement("p");
  entry.className = kind;
  for (const [name, content] of [["span", text], ["small", size]]) {
    const part = document.createElement(name);
    part.textContent = content;
    if (content) entry.append(part, " ");
  }
  const atEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 8;
  log.append(entry);
  if (atEnd) log.scrollTop = log.scrollHeight;
  showState();
}

// "00 7f ff" as bytes; null if it is nothing like that.
function bytesOf(hex) {
  const digits = hex.replace(/\s/g, "");
  if (!/^([0-9a-f]{2})*$/i.test(digits)) return null;
  const pairs = digits.match(/../g) ?? [];
  return Uint8Array.from(pairs, (pair) => parseInt(pair, 16));
}

function hexOf(buffer) {
  const shown = new Uint8Array(buffer).subarray(0, 64);
  const pairs = Array.from(shown, (byte) => byte.toString(16).padStart(2, "0"));
  return pairs.join(" ") + (shown.length < buffer.byteLength ? " …" : "");
}
