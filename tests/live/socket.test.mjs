// The frame's WebSocket without a browser: run by pytest, or by
//   node --test tests/live/
// What it does when an app answers is compared with the real one, in
// test_sockets.py; here are its messages, and what only they can cause.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { install, toParent } from "../../docs/machinery/live/socket.mjs";

globalThis.CloseEvent ??= class CloseEvent extends Event { // until Node 23
  constructor(type, { code = 0, reason = "", wasClean = false } = {}) {
    super(type);
    Object.assign(this, { code, reason, wasClean });
  }
};

const BASE = "http://app-1.tab/pages/chat.html";
let WebSocket, posted, hear;

beforeEach(() => {
  const global = {};
  posted = [];
  install(global, {
    post: (message) => posted.push(message),
    listen: (callback) => { hear = callback; },
  }, BASE);
  ({ WebSocket } = global);
});

const sent = () => new Promise((resolve) => setImmediate(resolve));
const answer = (id, event, rest) => hear({ type: "socket", id, event, ...rest });

function opened(...given) {
  const socket = new WebSocket(...given);
  answer(posted.length + 1, "open", { protocol: "" });
  return socket;
}

function recorded(socket) {
  const log = [];
  for (const type of ["open", "message", "error", "close"]) {
    socket.addEventListener(type, ({ code, reason, wasClean, data }) =>
      log.push({ type, code, reason, wasClean, data,
        readyState: socket.readyState }));
  }
  return log;
}

test("a new socket asks for its connection, once this script has ended", async () => {
  new WebSocket("/echo?x=1", ["b", "a"]);
  assert.deepEqual(posted, []);
  await sent();
  assert.deepEqual(posted, [{ type: "socket", id: 1, event: "open",
    url: "ws://app-1.tab/echo?x=1", protocols: ["b", "a"] }]);
});

test("addresses are those of the app", () => {
  const url = (address) => new WebSocket(address).url;
  assert.equal(url("echo"), "ws://app-1.tab/pages/echo");
  assert.equal(url("wss://else.example/a"), "wss://else.example/a");
  assert.equal(url("https://else.example/a"), "wss://else.example/a");
  assert.throws(() => url("/echo#part"), { name: "SyntaxError" });
});

test("each socket hears its own messages only", async () => {
  const [first, second] = [opened("/a"), new WebSocket("/b")];
  const [one, two] = [recorded(first), recorded(second)];
  answer(2, "open", { protocol: "" });
  answer(2, "message", { data: "hello" });
  answer(7, "message", { data: "nobody's" });
  await sent();
  assert.deepEqual(one, []);
  assert.deepEqual(two.map(({ type }) => type), ["open", "message"]);
});

test("what is sent goes out in order, whatever it is", async () => {
  const socket = opened("/echo");
  const bytes = Uint8Array.of(1, 2, 3);
  socket.send(new Blob(["slow"]));
  socket.send(bytes.subarray(1));
  socket.send("lone \ud800");
  socket.close(3001, "bye");
  bytes.fill(0);
  await sent();
  await sent();
  const [blob, view, text, close] = posted.slice(1);
  assert.equal(new TextDecoder().decode(blob.data), "slow");
  assert.deepEqual([...new Uint8Array(view.data)], [2, 3]);
  assert.equal(text.data, "lone \ufffd");
  assert.deepEqual(close, { type: "socket", id: 1, event: "close",
    code: 3001, reason: "bye" });
});

test("sending while it is connecting is an error, and later it is silent", async () => {
  const socket = new WebSocket("/echo");
  assert.throws(() => socket.send("early"), { name: "InvalidStateError" });
  answer(1, "open", { protocol: "" });
  socket.close();
  socket.send("late");
  await sent();
  assert.deepEqual(posted.map(({ event }) => event), ["open", "close"]);
});

test("a close needs a code to carry a reason", async () => {
  const socket = opened("/echo");
  socket.close(undefined, "why");
  await sent();
  assert.equal(posted[1].code, undefined);
  assert.equal(posted[1].reason, undefined);
});

test("a close while connecting fails, whatever the app has done by then", async () => {
  const socket = new WebSocket("/echo");
  const log = recorded(socket);
  socket.close(3001, "early");
  answer(1, "open", { protocol: "" });
  answer(1, "message", { data: "too late" });
  answer(1, "close", { code: 4001, reason: "bye", wasClean: true });
  await sent();
  assert.equal(posted[1].code, 1006);
  assert.deepEqual(log.map(({ type, code, wasClean, readyState }) =>
    [type, code, wasClean, readyState]),
  [["error", undefined, undefined, 3], ["close", 1006, false, 3]]);
});

test("after its close, a socket hears nothing", () => {
  const socket = opened("/echo");
  const log = recorded(socket);
  answer(1, "close", { code: 4001, reason: "bye", wasClean: true });
  answer(1, "message", { data: "late" });
  answer(1, "close", { code: 1000, reason: "", wasClean: true });
  assert.deepEqual(log, [{ type: "close", code: 4001, reason: "bye",
    wasClean: true, data: undefined, readyState: 3 }]);
});

test("bytes come as a Blob or as an ArrayBuffer", async () => {
  const socket = opened("/echo");
  const log = recorded(socket);
  const data = Uint8Array.of(1, 2).buffer;
  answer(1, "message", { data });
  socket.binaryType = "arraybuffer";
  answer(1, "message", { data });
  assert.ok(log[0].data instanceof Blob);
  assert.equal(log[0].data.size, 2);
  assert.equal(log[1].data, data);
});

test("a frame listens to its parent, and to nobody else", () => {
  const asked = [];
  const frame = Object.assign(new EventTarget(), {
    parent: { postMessage: (message, origin) => asked.push([message, origin]) },
  });
  const { post, listen } = toParent(frame);
  const heard = [];
  listen((message) => heard.push(message));
  const say = (source, data) => frame.dispatchEvent(
    Object.assign(new Event("message"), { source, data }));
  post({ type: "socket" });
  say(frame.parent, { type: "socket", id: 1 });
  say({}, { type: "socket", id: 2 });
  say(frame.parent, { type: "else" });
  say(frame.parent, null);
  assert.deepEqual(asked, [[{ type: "socket" }, "*"]]);
  assert.deepEqual(heard, [{ type: "socket", id: 1 }]);
});
