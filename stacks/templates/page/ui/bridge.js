// How a page inside Alga talks to its host, and through it to the handler.
// A message is {alga: true, version: "1", type, request_id?, payload}.

const PATIENCE_MS = 30_000;

/** Rejected with the host's words; `unframed` is set when there is no host at all. */
export class HandlerError extends Error {
  constructor(message, { unframed = false } = {}) {
    super(message);
    this.unframed = unframed;
  }
}

/** The origin of the host: it appends it to the address, and where it does not it still refers. */
function hostOrigin() {
  if (window.parent === window) return null;
  const given = new URL(window.location.href).searchParams.get("parentOrigin");
  try {
    return new URL(given || document.referrer).origin;
  } catch {
    return null;
  }
}

const host = hostOrigin();
const waiting = new Map();

window.addEventListener("message", ({ source, origin, data }) => {
  if (source !== window.parent || origin !== host) return;
  if (data?.type === "apiproxy_response") waiting.get(data.request_id)?.(data.payload ?? {});
  if (data?.type === "theme") adopt(data.payload);
});

function send(type, payload, more = {}) {
  if (host) window.parent.postMessage({ alga: true, version: "1", type, payload, ...more }, host);
}

/** Asks the handler and gives the JSON it answers. `value` is sent as JSON unless it is absent. */
export function callHandler(method, route, value) {
  if (!host) {
    return Promise.reject(new HandlerError("This page is not inside Alga.", { unframed: true }));
  }
  const id = crypto.randomUUID();
  const body = value === undefined ? undefined : toBase64(JSON.stringify(value));
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => waiting.get(id)({ error: "Alga did not answer." }), PATIENCE_MS);
    waiting.set(id, ({ error, body: answered }) => {
      waiting.delete(id);
      clearTimeout(late);
      if (error) reject(new HandlerError(error));
      else resolve(answered ? JSON.parse(fromBase64(answered)) : null);
    });
    send("apiproxy", { route, method, body }, { request_id: id });
  });
}

/** Tells the host that the page is there, and from then on how high it is. */
export function announce() {
  send("ready", {});
  // The body, not the root: the root is never lower than the frame and could only grow.
  const tell = () => send("resize", { height: Math.ceil(document.body.offsetHeight) });
  new ResizeObserver(tell).observe(document.body);
}

function adopt(theme) {
  for (const [name, value] of Object.entries(theme ?? {})) {
    if (name.startsWith("--alga-")) document.documentElement.style.setProperty(name, value);
  }
}

function toBase64(text) {
  const bytes = new TextEncoder().encode(text);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

function fromBase64(text) {
  return new TextDecoder().decode(Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0)));
}
