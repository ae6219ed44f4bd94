// The WebSocket of a web page whose app runs in the reader's tab. It has the
// interface of the real one (https://websockets.spec.whatwg.org), but where
// that sends frames, this one sends messages, and tab/sockets.py answers them.
//
// How it is used: panes.mjs puts this text, without the word `export`, into the
// first script of a frame, followed by one call, so that WebSocket is there
// before any script of the page runs:
//
//   <script>(() => {
//     …this file…
//     install(globalThis, toParent(globalThis), "http://app-1.tab/chat.html");
//   })();</script>
//
// The ids of sockets are 1, 2, 3 in each frame; who passes messages on makes
// them unique. When a frame goes away, tell the app for each of its sockets
// that is still open: {type: "socket", id, event: "close", code: 1001}.

const STATES = { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 };
const EVENTS = ["open", "message", "error", "close"];
const TOKEN = /^[\w!#$%&'*+\-.^`|~]+$/; // RFC 9110 §5.6.2

// Messages to and from the page that holds a frame.
export function toParent(frame) {
  return {
    post: (message) => frame.parent.postMessage(message, "*"),
    listen: (hear) => frame.addEventListener("message", (event) => {
      const ours = event.source === frame.parent;
      if (ours && event.data?.type === "socket") hear(event.data);
    }),
  };
}

// Make `WebSocket` of a global object lead to an app in the tab.
//   transport: post(message) and listen(hear), with messages in both ways
//   base: the address of the page, for relative addresses
export function install(global, transport, base) {
  const hearing = new Map(); // the open sockets, by id
  let last = 0;
  transport.listen((message) => hearing.get(message.id)?.(message));

  class WebSocket extends EventTarget {
    #url;
    #id = ++last;
    #state = STATES.CONNECTING;
    #protocol = "";
    #binaryType = "blob";
    #failed = false; // to connect
    #handlers = {};
    #sent = Promise.resolve(); // when all before is sent, Blobs included

    constructor(url, protocols = []) {
      if (arguments.length === 0) {
        throw new TypeError(
          "Failed to construct 'WebSocket': 1 argument required");
      }
      super();
      this.#url = addressOf(`${url}`, base);
      protocols = offerOf(protocols);
      hearing.set(this.#id, (message) => this.#hear(message));
      this.#post({ event: "open", url: this.#url.href, protocols });
    }

    get url() { return this.#url.href; }
    get readyState() { return this.#state; }
    get protocol() { return this.#protocol; }
    get extensions() { return ""; }
    get bufferedAmount() { return 0; } // all is handed over at once
    get binaryType() { return this.#binaryType; }
    set binaryType(type) {
      if (["blob", "arraybuffer"].includes(`${type}`)) {
        this.#binaryType = `${type}`;
      }
    }

    send(data) {
      if (arguments.length === 0) {
        throw new TypeError("Failed to execute 'send': 1 argument required");
      }
      const payload = payloadOf(data);
      if (this.#state === STATES.CONNECTING) {
        throw new DOMException("Failed to execute 'send' on 'WebSocket': "
          + "Still in CONNECTING state.", "InvalidStateError");
      }
      if (this.#state === STATES.OPEN) this.#post({ event: "send" }, payload);
    }

    close(code, reason) {
      if (code !== undefined) code = closeCodeOf(code);
      if (reason !== undefined) reason = reasonOf(`${reason}`);
      if (this.#state >= STATES.CLOSING) return;
      if (this.#state === STATES.CONNECTING) {
        this.#failed = true;
        code = 1006;
      }
      this.#state = STATES.CLOSING;
      if (code === undefined) reason = undefined; // nothing to put it in
      this.#post({ event: "close", code, reason });
    }

    #post(message, payload) {
      this.#sent = this.#sent.then(async () => {
        if (payload !== undefined) message.data = await payload;
        transport.post({ type: "socket", id: this.#id, ...message });
      });
    }

    #hear({ event, protocol, data, code, reason, wasClean }) {
      if (event === "open" && this.#state === STATES.CONNECTING) {
        this.#state = STATES.OPEN;
        this.#protocol = protocol;
        this.dispatchEvent(new Event("open"));
      } else if (event === "message" && this.#state === STATES.OPEN) {
        const binary = typeof data !== "string";
        if (binary && this.#binaryType === "blob") data = new Blob([data]);
        const { origin } = this.#url;
        this.dispatchEvent(new MessageEvent("message", { data, origin }));
      } else if (event === "error") {
        this.#failed = true; // told right before the close, which follows
      } else if (event === "close") {
        this.#state = STATES.CLOSED;
        hearing.delete(this.#id);
        const how = this.#failed ? { code: 1006 } : { code, reason, wasClean };
        if (this.#failed) this.dispatchEvent(new Event("error"));
        this.dispatchEvent(new CloseEvent("close", how));
      }
    }

    // onopen and its like. A handler keeps its place among the listeners
    // until it is set to null.
    static {
      for (const type of EVENTS) {
        Object.defineProperty(this.prototype, `on${type}`, {
          configurable: true,
          enumerable: true,
          get() { return this.#handlers[type]?.handler ?? null; },
          set(handler) { this.#handle(type, handler); },
        });
      }
    }

    #handle(type, handler) {
      const entry = this.#handlers[type];
      if (typeof handler !== "function") {
        if (entry) this.removeEventListener(type, entry);
        delete this.#handlers[type];
      } else if (entry) entry.handler = handler;
      else {
        const handleEvent = (event) => added.handler.call(this, event);
        const added = this.#handlers[type] = { handler, handleEvent };
        this.addEventListener(type, added);
      }
    }
  }

  for (const [name, value] of Object.entries(STATES)) {
    const constant = { value, enumerable: true };
    Object.defineProperty(WebSocket, name, constant);
    Object.defineProperty(WebSocket.prototype, name, constant);
  }
  Object.defineProperty(WebSocket.prototype, Symbol.toStringTag,
    { value: "WebSocket", configurable: true });
  global.WebSocket = WebSocket;
}

function syntaxError(words) {
  return new DOMException(words, "SyntaxError");
}

function addressOf(address, base) {
  const failed = `Failed to construct 'WebSocket': The URL '${address}'`;
  let url;
  try {
    url = new URL(address, base);
  } catch {
    throw syntaxError(`${failed} is invalid.`);
  }
  url.protocol = { "http:": "ws:", "https:": "wss:" }[url.protocol]
    ?? url.protocol;
  if (!["ws:", "wss:"].includes(url.protocol)) {
    throw syntaxError(`${failed} must be 'ws', 'wss', 'http' or 'https', `
      + `or relative; '${url.protocol}' is not allowed.`);
  }
  if (url.href.includes("#")) {
    throw syntaxError(`${failed} contains a fragment identifier.`);
  }
  return url;
}

function offerOf(protocols) {
  const several = Object(protocols) === protocols
    && protocols[Symbol.iterator] != null;
  const offer = several ? Array.from(protocols, (name) => `${name}`) : [`${protocols}`];
  for (const [place, name] of offer.entries()) {
    if (!TOKEN.test(name) || offer.indexOf(name) < place) {
      throw syntaxError("Failed to construct 'WebSocket': The subprotocol "
        + `'${name}' is invalid, or offered twice.`);
    }
  }
  return offer;
}

// What is sent: a text, or a copy of the bytes as they are now.
function payloadOf(data) {
  if (data instanceof Blob) return data.arrayBuffer();
  if (data instanceof ArrayBuffer) return data.slice(0);
  if (ArrayBuffer.isView(data)) {
    const { buffer, byteOffset, byteLength } = data;
    return buffer.slice(byteOffset, byteOffset + byteLength);
  }
  return `${data}`.toWellFormed();
}

function closeCodeOf(code) {
  // Web IDL's [Clamp] unsigned short
  code = Math.round(Math.min(Math.max(Number(code), 0), 65535)) || 0;
  if (code !== 1000 && !(code >= 3000 && code <= 4999)) {
    throw new DOMException("Failed to execute 'close' on 'WebSocket': The "
      + "close code must be either 1000, or between 3000 and 4999. "
      + `${code} is neither.`, "InvalidAccessError");
  }
  return code;
}

function reasonOf(text) {
  const reason = text.toWellFormed();
  if (new TextEncoder().encode(reason).length > 123) {
    throw syntaxError("Failed to execute 'close' on 'WebSocket': The close "
      + "reason must not be greater than 123 UTF-8 bytes.");
  }
  return reason;
}
