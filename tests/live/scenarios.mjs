// What a page may do with a WebSocket. Each scenario is run against the real
// one and against socket.mjs, and what it returns must be the same.

// Note every event of a socket: type, readyState, and what it carries.
function watch(socket) {
  const log = [];
  const waiting = {};
  for (const type of ["open", "message", "error", "close"]) {
    waiting[type] = new Promise((resolve) => {
      socket.addEventListener(type, (event) => {
        const { constructor, bubbles, cancelable, target } = event;
        const { code, reason, wasClean } = event;
        log.push([type, constructor.name, bubbles, cancelable,
          target === socket, socket.readyState, kindOf(event.data),
          code, reason, wasClean]);
        resolve(event);
      });
    });
  }
  return { log, ...waiting };
}

function kindOf(data) {
  if (data instanceof Blob) return `Blob of ${data.size}, ${data.type}`;
  if (data instanceof ArrayBuffer) return `ArrayBuffer of ${data.byteLength}`;
  return data?.length > 100 ? `${data.length} characters` : data;
}

function bytesOf(buffer) {
  return new Uint8Array(buffer).join(" ");
}

function attempt(act) {
  try {
    const result = act();
    return result === undefined ? "done" : result;
  } catch (error) {
    return `${error.constructor.name} ${error.name}`;
  }
}

// The data of the next messages, in order.
function receive(socket, count) {
  return new Promise((resolve) => {
    const data = [];
    socket.addEventListener("message", (event) => {
      data.push(event.data);
      if (data.length === count) resolve(data);
    });
  });
}

async function closed(socket, ...how) {
  const { log, close } = watch(socket);
  await new Promise((resolve) => { socket.onopen = resolve; });
  const result = attempt(() => socket.close(...how));
  log.push(result, socket.readyState);
  if (result !== "done") socket.close();
  await close;
  return log;
}

const refusedBy = (path) => async (WebSocket, at) => {
  const socket = new WebSocket(at(path));
  const { log, close } = watch(socket);
  await close;
  log.push(socket.readyState, attempt(() => socket.send("too late")));
  log.push(attempt(() => socket.close()), socket.readyState);
  return log;
};

export const scenarios = {
  constants(WebSocket) {
    const names = ["CONNECTING", "OPEN", "CLOSING", "CLOSED"];
    const both = [WebSocket, WebSocket.prototype];
    return [WebSocket.name, WebSocket.length, names.map((name) => [
      ...both.map((holder) => holder[name]),
      ...both.map((holder) => Object.keys(holder).includes(name)),
      attempt(() => { "use strict"; WebSocket[name] = 7; }),
    ]), Object.prototype.toString.call(WebSocket.prototype),
    WebSocket.prototype instanceof EventTarget];
  },

  members(WebSocket) {
    return ["url", "readyState", "bufferedAmount", "onopen", "onerror",
      "onclose", "extensions", "protocol", "close", "onmessage",
      "binaryType", "send"].map((name) => {
      const prototype = WebSocket.prototype;
      const { get, set, value, configurable } =
        Object.getOwnPropertyDescriptor(prototype, name);
      return [name, typeof get, typeof set, typeof value, configurable];
    });
  },

  wrong_calls(WebSocket, at) {
    return [() => WebSocket(at("/echo")), () => new WebSocket(),
      () => new WebSocket(Symbol("x")),
      () => new WebSocket(at("/echo"), [Symbol("x")])].map(attempt);
  },

  wrong_addresses(WebSocket, at) {
    const addresses = ["ws://", "ws://a b/", "ftp://example/", "mailto:x",
      "javascript:0", "ws://example:99999/", "http://",
      `${at("/echo")}#part`, `${at("/echo")}#`, "#part"];
    return addresses.map((url) => [
      url.replace(at(""), ""), attempt(() => new WebSocket(url) && "fine"),
    ]);
  },

  async addresses(WebSocket, at) {
    const host = at("").replace("ws:", "");
    const given = [at("/dies"), at("/dies?a=b c&d=é"), `http:${host}/dies`,
      `WS:${host}/dies`, "/dies", "dies?x", "", `${host}/dies`,
      new URL(at("/dies"))];
    const sockets = given.map((url) => new WebSocket(url));
    await Promise.all(sockets.map((socket) => watch(socket).close
      .then(socket.readyState === 0 && socket.close())));
    return sockets.map(({ url }) => url.replace(host, "//host"));
  },

  wrong_offers(WebSocket, at) {
    return ["", " ", "a b", "a,b", "ü", "a/b", "(a)", '"a"', ["a", ""],
      ["a", "a"], ["a", "b", "a"], {}, null, [null, "null"], "a\n", "\x7f",
    ].map((offer) => {
      let socket;
      const said = attempt(() => {
        socket = new WebSocket(at("/dies"), offer);
        return "fine";
      });
      socket?.close();
      return [String(offer), said];
    });
  },

  async offers(WebSocket, at) {
    const logs = [];
    for (const offer of ["b", ["a", "b"], ["B", "b"], [], ["a"], undefined,
      new Set(["b", "c"])]) {
      const socket = new WebSocket(at("/chooses-b"), offer);
      const { log, close, open } = watch(socket);
      logs.push(socket.protocol);
      open.then(() => socket.close());
      await close;
      logs.push(log, socket.protocol, socket.extensions !== null);
    }
    return logs;
  },

  async a_new_one(WebSocket, at) {
    const socket = new WebSocket(at("/echo"));
    const { log, open, close } = watch(socket);
    const seen = () => [socket.readyState, socket.protocol,
      socket.bufferedAmount, socket.binaryType, socket.onopen,
      socket.onmessage, socket.onerror, socket.onclose];
    const states = [seen(), attempt(() => socket.send("early"))];
    await open;
    states.push(seen());
    socket.close();
    states.push(seen());
    await close;
    return [log, states, seen()];
  },

  async texts(WebSocket, at) {
    const socket = new WebSocket(at("/echo"));
    const { log, open, close } = watch(socket);
    await open;
    const sent = ["tea?", "", "Grüße 🔥", "lone \ud800!", 12, null, undefined,
      true, {}, ["a", "b"], { toString: () => "mine" }, "x".repeat(1_000_000)];
    const received = receive(socket, sent.length);
    log.push(sent.map((data) => attempt(() => socket.send(data))));
    log.push(attempt(() => socket.send()));
    log.push(attempt(() => socket.send(Symbol("x"))));
    log.push((await received).map(kindOf));
    socket.close();
    await close;
    return log;
  },

  async bytes(WebSocket, at) {
    const socket = new WebSocket(at("/echo"));
    const { log, open, close } = watch(socket);
    await open;
    const bytes = Uint8Array.of(0, 1, 254, 255);
    const sent = [bytes.buffer, bytes, bytes.subarray(1, 3),
      new DataView(bytes.buffer, 2), new ArrayBuffer(0),
      new Blob(["Grüße", bytes]), new Uint16Array(bytes.buffer)];
    let received = receive(socket, sent.length);
    sent.forEach((data) => socket.send(data));
    const blobs = await Promise.all(
      (await received).map((blob) => blob.arrayBuffer()));
    log.push(blobs.map(bytesOf));
    for (const type of ["nonsense", "arraybuffer", "BLOB", null]) {
      socket.binaryType = type;
      log.push(socket.binaryType);
    }
    received = receive(socket, 2);
    socket.send(bytes);
    socket.send(new ArrayBuffer(10_000));
    log.push((await received).map(({ byteLength }) => byteLength));
    socket.close();
    await close;
    return log;
  },

  async bytes_change_after_they_were_sent(WebSocket, at) {
    const socket = new WebSocket(at("/echo"));
    socket.binaryType = "arraybuffer";
    const { open, close } = watch(socket);
    await open;
    const bytes = Uint8Array.of(1, 2, 3);
    const received = receive(socket, 2);
    socket.send(bytes);
    socket.send(bytes.buffer);
    bytes.fill(9);
    const result = (await received).map(bytesOf);
    socket.close();
    await close;
    return result;
  },

  async order(WebSocket, at) {
    const socket = new WebSocket(at("/echo"));
    const { open, close } = watch(socket);
    await open;
    const received = receive(socket, 60);
    for (let i = 0; i < 60; i += 3) {
      socket.send(`${i}`);
      socket.send(new Blob([`${i + 1}`]));
      socket.send(new TextEncoder().encode(`${i + 2}`));
    }
    const result = await Promise.all((await received).map(
      (data) => data instanceof Blob ? data.text() : data));
    socket.close();
    await close;
    return result;
  },

  async all_is_sent_before_the_close(WebSocket, at) {
    const socket = new WebSocket(at("/listens?name=before-the-close"));
    const { open, close } = watch(socket);
    await open;
    for (let i = 0; i < 5; i++) socket.send(new Blob([`${i}`]));
    socket.send("last");
    socket.close(3000);
    const { code } = await close;
    return code;
  },

  async message_events(WebSocket, at) {
    const socket = new WebSocket(at("/echo"));
    const { open, message, close } = watch(socket);
    await open;
    socket.send("x");
    const { origin, lastEventId, source, ports } = await message;
    socket.close();
    await close;
    return [origin.replace(at(""), "host"), lastEventId, source, ports.length];
  },

  async handlers(WebSocket, at) {
    const socket = new WebSocket(at("/echo"));
    const { open, close } = watch(socket);
    await open;
    const said = [];
    const first = function (event) {
      said.push("first", this === socket, event.type);
    };
    socket.addEventListener("message", () => said.push("early"));
    socket.onmessage = () => said.push("never");
    socket.addEventListener("message", () => said.push("late"));
    socket.onmessage = first; // in the place of the one before
    said.push(socket.onmessage === first);
    socket.send("1");
    await receive(socket, 1);
    socket.onmessage = null;
    said.push(socket.onmessage);
    socket.send("2");
    await receive(socket, 1);
    socket.onmessage = first;
    socket.onerror = "no function";
    said.push(socket.onerror);
    socket.send("3");
    await receive(socket, 1);
    socket.close();
    await close;
    return said;
  },

  async closing(WebSocket, at) {
    const logs = [];
    for (const how of [[], [1000], [3000], [4999, "bye"], [3001, "ü".repeat(61)],
      [1000, undefined], [1000, null], ["3002"], [3003.4], [999], [1001], [1005], [2999], [5000], [-1], [70000], [null],
      ["x"], [NaN], [1000, "x".repeat(124)], [999, "x".repeat(124)],
      [3000, "\ud800"], [3000, "x".repeat(123)],
    ]) {
      const socket = new WebSocket(at("/echo?name=closing"));
      logs.push([String(how), await closed(socket, ...how)]);
    }
    return logs;
  },

  async closing_twice(WebSocket, at) {
    const socket = new WebSocket(at("/echo?name=twice"));
    const { log, open, close } = watch(socket);
    await open;
    socket.close(3001, "first");
    log.push(attempt(() => socket.close(3002, "second")));
    log.push(attempt(() => socket.close(7)));
    log.push(attempt(() => socket.send("dropped")), socket.readyState);
    await close;
    log.push(attempt(() => socket.close(7)), attempt(() => socket.close()));
    return log;
  },

  async closing_with_messages_on_the_way(WebSocket, at) {
    const socket = new WebSocket(at("/talks"));
    const { log, message, close } = watch(socket);
    await message;
    socket.close(3001);
    await close;
    return log;
  },

  async closing_before_it_is_open(WebSocket, at) {
    const logs = [];
    for (const path of ["/dies", "/waits", "/refuses"]) {
      const socket = new WebSocket(at(path));
      const { log, close } = watch(socket);
      log.push(attempt(() => socket.close(3001, "early")), socket.readyState);
      await close;
      logs.push(log);
    }
    return logs;
  },

  async the_app_closes(WebSocket, at) {
    const logs = [];
    for (const query of ["code=1000", "code=4001&reason=bye", "code=1001",
      "code=1011&reason=Gr%C3%BC%C3%9Fe", "code=3999", "code=1012"]) {
      const socket = new WebSocket(at(`/closes?name=app&${query}`));
      const { log, close } = watch(socket);
      await close;
      logs.push(log, socket.readyState);
    }
    return logs;
  },

  async the_app_says_something_and_closes(WebSocket, at) {
    const socket = new WebSocket(at("/says"));
    const { log, close } = watch(socket);
    await close;
    return log;
  },

  the_line_goes_dead: refusedBy("/dies"),
  the_app_fails: refusedBy("/fails"),
  a_refusal: refusedBy("/refuses"),
  a_denial: refusedBy("/denies"),
  no_such_path: refusedBy("/nothing-here"),
};
