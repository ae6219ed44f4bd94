// The chat. Messages are JSON: {type: "say", text} goes out; {from, text} comes
// in, {here: [names]} if the server tells who is here, and {type: "error",
// message} if it does not take what was sent. Whoever opens the page as
// index.html#Ann has a name already.
//
// A server with rooms names one in what it sends. Then the page does so, too:
// {type: "say", room, text}. And it asks for more: {type: "join", room, ref}, or
// "leave"; the answer is {type: "ack", ref}, or an error with the same ref.

const { join, more, say } = document.forms;
const choice = document.querySelector("#rooms");
const leaveRoom = choice.querySelector("button");
const leave = document.querySelector("#leave");
const present = document.querySelector("#here");
let socket = null;
let left = false; // because we wanted to
let sent = ""; // the last text
let asked = []; // what to do when the answer is yes; a ref is a place in it
const rooms = [];
let shown; // one of them

join.addEventListener("submit", (event) => {
  event.preventDefault();
  connect(join.who.value.trim());
});

say.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!say.text.value) return;
  sent = say.text.value;
  send({ type: "say", text: sent, ...shown.address });
  say.text.value = "";
});

more.addEventListener("submit", (event) => {
  event.preventDefault();
  const name = more.room.value.trim();
  more.reset();
  ask({ type: "join", room: name }, () => {
    roomOf(name).show();
    say.text.focus();
  });
});

leaveRoom.addEventListener("click", () => {
  const room = shown;
  ask({ type: "leave", ...room.address }, () => {
    room.remove();
    say.text.focus();
  });
});

leave.addEventListener("click", () => {
  left = true;
  socket.close(1000);
});

function send(message) {
  socket.send(JSON.stringify(message));
}

function ask(message, then) {
  send({ ...message, ref: asked.push(then) - 1 });
}

function connect(name) {
  let opened = false;
  left = false;
  asked = [];
  join.querySelector("button").disabled = true;
  socket = new WebSocket(`chat/${encodeURIComponent(name)}`);
  socket.onopen = () => {
    opened = true;
    show(true, name);
    note("You are here.");
  };
  socket.onmessage = ({ data }) => {
    const { type, ref, message, room, from, text, here } = JSON.parse(data);
    if (type === "ack") asked[ref]?.();
    if (type === "error") refused(message, ref !== undefined);
    if (here) roomOf(room).tell(here);
    if (text !== undefined) add(from === name ? "own" : "", text, from, room);
  };
  socket.onclose = (event) => {
    show(false, name);
    for (const room of [...rooms]) if (room !== shown) room.remove();
    shown.remove();
    note(left ? "You left." : farewell(event, opened));
  };
}

// What the server did not take is not lost: it can be changed and sent again.
function refused(why, asked) {
  note(asked ? `Not joined: ${why}` : `Not sent: ${why}`);
  if (!asked) say.text.value ||= sent;
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
  leave.hidden = say.hidden = !connected;
  join.hidden = connected;
  choice.hidden = true;
  const again = join.querySelector("button");
  again.disabled = false;
  again.textContent = "Join again";
  if (hadFocus) (connected ? say.text : again).focus();
}

function note(text) {
  add("note", text);
}

// Text goes in as text: nothing that people write is ever read as HTML.
function add(kind, text, from = "", where = "") {
  const entry = element("p", { className: kind });
  if (from) entry.append(element("b", { textContent: from }));
  entry.append(text);
  roomOf(where).add(entry);
}

function element(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

// --- Rooms -------------------------------------------------------------------

// A log, and a radio button that shows it. There is always one: it has no name
// until the server names a room, and none again when the last has been left.
class Room {
  name = "";
  here = "";
  unread = 0;
  log = element("div", { role: "log", tabIndex: 0 });
  entries = element("div", {});
  radio = element("input", { type: "radio", name: "room" });
  label = element("label", {});
  words = element("span", {});

  constructor() {
    this.radio.addEventListener("change", () => this.show());
    this.label.append(this.radio, this.words);
    choice.querySelector("fieldset").append(this.label);
    this.log.append(this.entries);
    join.before(this.log);
    rooms.push(this);
  }

  // What says where a message goes.
  get address() {
    return this.name && { room: this.name };
  }

  add(entry) {
    this.entries.append(entry);
    if (this !== shown) this.unread += 1;
    this.draw();
  }

  tell(here) {
    this.here = here.join(", ");
    this.draw();
  }

  show() {
    shown = this;
    this.unread = 0;
    for (const room of rooms) room.draw();
  }

  remove() {
    if (rooms.length > 1) {
      rooms.splice(rooms.indexOf(this), 1);
      this.log.remove();
      this.label.remove();
    }
    this.name = this.here = "";
    (this === shown ? rooms[0] : shown).show();
  }

  // Bring the page up to date.
  draw() {
    const { name, here, unread, log } = this;
    log.ariaLabel = name ? `Messages in ${name}` : "Messages";
    log.hidden = this !== shown;
    this.label.hidden = !name;
    this.words.textContent = unread ? `${name} (${unread} new)` : name;
    if (this !== shown) return;
    this.radio.checked = true;
    leaveRoom.hidden = !name;
    leaveRoom.textContent = `Leave ${name}`;
    const who = here && `${name ? `In ${name}` : "Here"}: ${here}`;
    if (present.textContent !== who) present.textContent = who; // it is read out
  }
}

// The room of a name; the first one that is named is the one that we are in.
function roomOf(name) {
  if (!name) return shown;
  choice.hidden = false;
  const known = rooms.find((room) => room.name === name);
  const room = known ?? rooms.find((room) => !room.name) ?? new Room();
  room.name = name;
  room.draw();
  return room;
}

new Room().show();
join.who.value = decodeURIComponent(location.hash.slice(1));
if (join.who.value) connect(join.who.value);
