// The chat. Messages are JSON: {type: "say", text} goes out; {from, text} comes
// in, {here: [names]} if the server tells who is here, and {type: "error",
// message} if it does not take what was sent. Whoever opens the page as
// index.html#Ann has a name already.

const [join, say] = document.forms;
const log = document.querySelector("[role=log]");
const leave = document.querySelector("#leave");
const present = document.querySelector("#here");
let socket = null;
let left = false; // because we wanted to
let sent = ""; // the last text

join.addEventListener("submit", (event) => {
  event.preventDefault();
  connect(join.who.value.trim());
});

say.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!say.text.value) return;
  sent = say.text.value;
  socket.send(JSON.stringify({ type: "say", text: sent }));
  say.text.value = "";
});

leave.addEventListener("click", () => {
  left = true;
  socket.close(1000);
});

function connect(name) {
  let opened = false;
  left = false;
  join.querySelector("button").disabled = true;
  socket = new WebSocket(`chat/${encodeURIComponent(name)}`);
  socket.onopen = () => {
    opened = true;
    show(true, name);
    note("You are here.");
  };
  socket.onmessage = ({ data }) => {
    const { type, message, from, text, here } = JSON.parse(data);
    if (type === "error") refused(message);
    if (here) present.textContent = `Here: ${here.join(", ")}`;
    if (text !== undefined) add(from === name ? "own" : "", text, from);
  };
  socket.onclose = (event) => {
    note(left ? "You left." : farewell(event, opened));
    show(false, name);
  };
}

// What the server did not take is not lost: it can be changed and sent again.
function refused(why) {
  note(`Not sent: ${why}`);
  say.text.value ||= sent;
}

// Why a connection is over, in plain words.
function farewell({ code, reason, wasClean }, opened) {
  if (wasClean) return `The server closed: ${code} ${reason}`.trim();
  if (opened) return "The connection was lost.";
  return "No connection: the server is not there, or turned you away.";
}

function show(connected, name) {
  const hadFocus = document.activeElement !== document.body;
  document.querySelector("h1").textContent = connected ? `Chat, as ${name}` : "Chat";
  present.textContent = "";
  leave.hidden = say.hidden = !connected;
  join.hidden = connected;
  const again = join.querySelector("button");
  again.disabled = false;
  again.textContent = "Join again";
  if (hadFocus) (connected ? say.text : again).focus();
}

function note(text) {
  add("note", text);
}

// Text goes in as text: nothing that people write is ever read as HTML.
function add(kind, text, from = "") {
  const entry = document.createElement("p");
  entry.className = kind;
  if (from) {
    const who = document.createElement("b");
    who.textContent = from;
    entry.append(who);
  }
  entry.append(text);
  const atEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 8;
  log.append(entry);
  if (atEnd) log.scrollTop = log.scrollHeight;
}

join.who.value = decodeURIComponent(location.hash.slice(1));
if (join.who.value) connect(join.who.value);
