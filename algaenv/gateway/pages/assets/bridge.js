// The host's side of the messages between a page and what is around it, as the product's host
// page really does it: it knows three types and answers one. Whatever else a page may hope for
// is told to `note`, since it would wait in vain in the product as well.

/**
 * @typedef {{alga: true, version: "1", type: string, request_id?: unknown, payload: unknown}} Envelope
 * @typedef {{
 *   id: string | null, method: string, route: string, status: number | null, ms: number,
 *   sent: string, answered: string, headers: Record<string, string>,
 * }} Call `id` is what the gateway calls it; `status` is null when there was no answer at all.
 * @typedef {{
 *   message(direction: "in" | "out", message: unknown): void,
 *   call(call: Call): void, ready(): void, resize(height: number): void,
 *   note(code: import("./advice.js").Code, detail?: string): void,
 * }} Listener
 */

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const LOWEST = 100;
const HIGHEST = 4000;
/** The product's SDK for pages stops waiting then; the gateway goes on for longer. */
const SDK_PATIENCE_MS = 15_000;
const SHOWN = 20_000;

export class Bridge {
  /**
   * @param {{frame: HTMLIFrameElement, origin: string, extension: string, user: string}} place
   *   the frame, the origin its page has, the registry id, and who asks
   * @param {Listener} listener
   */
  constructor({ frame, origin, extension, user }, listener) {
    this.frame = frame;
    this.origin = origin;
    this.root = `/api/ext-proxy/${encodeURIComponent(extension)}`;
    this.user = user;
    this.listener = listener;
  }

  /** @param {MessageEvent} event any message this window gets */
  handle({ source, origin, data }) {
    if (source !== this.frame.contentWindow) return;
    if (origin !== this.origin) return this.listener.note("other-origin", origin);
    this.listener.message("in", data);
    if (data === null || typeof data !== "object") return this.listener.note("no-envelope");
    if (data?.alga !== true || data.version !== "1") this.listener.note("no-envelope");
    switch (data?.type) {
      case "ready":
        return this.listener.ready();
      case "resize":
        return this.resize(data.payload?.height);
      case "apiproxy":
        return void this.proxy(data);
      case "navigate":
        return this.listener.note("navigate", String(data.payload?.path));
      default:
        return this.listener.note(
          asksForSession(data) ? "session" : "unknown-type",
          String(data?.type),
        );
    }
  }

  /**
   * Sends to the page, whatever its origin is, as the product does.
   * @param {string} type
   * @param {unknown} payload
   * @param {unknown} [request]
   */
  send(type, payload, request) {
    /** @type {Envelope} */
    const message = { alga: true, version: "1", type, payload };
    if (request !== undefined) message.request_id = request;
    this.frame.contentWindow?.postMessage(message, "*");
    this.listener.message("out", message);
  }

  /** @param {unknown} given what stands for a number is one, as in the product */
  resize(given) {
    const height = Math.floor(Number(given));
    if (!Number.isFinite(height)) {
      return this.listener.note("height-no-number", String(given));
    }
    if (height > HIGHEST) this.listener.note("height-clamped", `${height} px`);
    this.listener.resize(Math.min(HIGHEST, Math.max(LOWEST, height)));
  }

  /** @param {{request_id?: unknown, payload?: {route?: unknown, method?: unknown, body?: unknown}}} message */
  async proxy({ request_id: request, payload }) {
    const { route, method: named, body } = payload ?? {};
    if (!request) return this.listener.note("no-request-id", String(route));
    const method = methodOf(named);
    if (!method) return this.listener.note("method-unknown", String(named));
    const began = performance.now();
    /** @type {Call} */
    const call = {
      id: null,
      method,
      route: String(route || "/"),
      status: null,
      ms: 0,
      sent: "",
      answered: "",
      headers: {},
    };
    let answer;
    try {
      if (route && typeof route !== "string") throw new Error("the route is no text");
      answer = await this.ask(call, body);
    } catch (error) {
      answer = { error: error instanceof Error ? error.message : String(error) };
      call.answered = answer.error;
    }
    call.ms = performance.now() - began;
    if (call.ms > SDK_PATIENCE_MS) this.listener.note("slow", `${call.method} ${call.route}`);
    this.listener.call(call);
    this.send("apiproxy_response", answer, request);
  }

  /**
   * One call through the gateway; fills in `call` on the way.
   * @param {Call} call
   * @param {unknown} body base64
   * @returns {Promise<{body: string} | {error: string}>}
   */
  async ask(call, body) {
    const slash = call.route.startsWith("/") ? "" : "/";
    const address = new URL(this.root + slash + call.route, window.location.origin);
    if (!address.pathname.startsWith("/api/ext-proxy/")) {
      this.listener.note("route-escapes", call.route);
      throw new Error("Proxy error 404: ");
    }
    if (body && call.method === "GET") this.listener.note("body-of-get", call.route);
    const bytes = body && call.method !== "GET" ? fromBase64(String(body)) : undefined;
    if (bytes) call.sent = preview(bytes);
    const response = await fetch(address, {
      method: call.method,
      headers: {
        "x-algaenv-user": this.user,
        ...(bytes && { "content-type": "application/octet-stream" }),
      },
      body: bytes,
    });
    call.status = response.status;
    call.headers = Object.fromEntries(response.headers);
    call.id = response.headers.get("x-algaenv-request-id");
    const content = new Uint8Array(await response.arrayBuffer());
    call.answered = preview(content);
    return response.ok
      ? { body: toBase64(content) }
      : { error: `Proxy error ${response.status}: ${new TextDecoder().decode(content)}` };
  }
}

/**
 * The method of a call, as the product's host reads it; nothing for one that it does not call.
 * @param {unknown} named
 */
function methodOf(named) {
  if (typeof named !== "string" || !named.trim()) return "POST";
  return METHODS.find((it) => it === named.toUpperCase());
}

/**
 * Whether a page asks for what only the product's documentation has: a token, a bootstrap.
 * @param {{type?: unknown} | null | undefined} message
 */
function asksForSession(message) {
  return /bootstrap|token|session|auth/i.test(String(message?.type));
}

/** @param {string} text */
function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** @param {Uint8Array} bytes */
function toBase64(bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(binary);
}

/**
 * The bytes as text, or how many there are.
 * @param {Uint8Array} bytes
 */
function preview(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return text.length > SHOWN ? `${text.slice(0, SHOWN)}… (${bytes.length} bytes)` : text;
  } catch {
    return `${bytes.length} bytes that are no text`;
  }
}
