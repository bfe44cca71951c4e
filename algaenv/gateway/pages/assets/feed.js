// What the gateway says about the extension, as it happens: calls, guests, faults.

/** @typedef {Record<string, any> & {type: string, at: number}} Event as `algaenv.gateway.feed` has it */

/** @typedef {{digests: Record<string, string | null> | null, turns: any[]}} Found what is so now */
/** @typedef {{found(found: Found): void, event(event: Event, past: boolean): void}} DevListener */

const REOPEN_MS = 2000;

/**
 * Listens to the feed. What happened before this page was there is left out, unless `past` is given.
 * @param {string | null} extension registry id; null for all
 * @param {{
 *   past?: boolean, dev: DevListener, event?(event: Event): void, open?(): void, error?(): void,
 * }} listener `dev` hears of the command `dev`, `event` of all else
 */
export function listen(extension, listener) {
  let last = 0;
  const dev = new DevFeed(extension, listener.dev);
  whileVisible((reopen) => {
    const asked = new URLSearchParams({ after: String(last), ...(extension && { extension }) });
    const source = new EventSource(`/algaenv/events?${asked}`);
    source.addEventListener("open", () => {
      announce(true);
      listener.open?.();
      dev.open();
    });
    source.addEventListener("error", () => {
      announce(false);
      listener.error?.();
      // The browser connects again by itself, except after an answer that is no stream.
      if (source.readyState === EventSource.CLOSED) setTimeout(reopen, REOPEN_MS);
    });
    source.addEventListener("message", ({ data }) => {
      const event = JSON.parse(data);
      last = event.id;
      if (event.type.startsWith("dev-")) dev.event(event);
      else if (listener.past || event.at >= performance.timeOrigin) listener.event?.(event);
    });
    return source;
  });
}

/** Has `state.js` show whether the gateway is heard. @param {boolean} heard */
function announce(heard) {
  document.dispatchEvent(new CustomEvent("algaenv:feed", { detail: heard }));
}

/**
 * Tells what is so when the connection is there, and then what happens. Events are in the past that
 * the gateway had already published when it told what is so.
 */
class DevFeed {
  /**
   * @param {string | null} extension
   * @param {DevListener} listener
   */
  constructor(extension, listener) {
    this.address = "/algaenv/dev" + (extension ? `?${new URLSearchParams({ extension })}` : "");
    this.listener = listener;
    this.opened = 0;
    /** The last event of the past; null until it is known. @type {number | null} */
    this.last = null;
    /** @type {Event[]} */
    this.waiting = [];
  }

  open() {
    this.opened += 1;
    this.last = null;
    this.ask(this.opened);
  }

  /** @param {Event} event */
  event(event) {
    if (this.last === null) this.waiting.push(event);
    else this.listener.event(event, event.id <= this.last);
  }

  /** @param {number} opened the connection that it is for */
  async ask(opened) {
    const answer = await fetch(this.address).catch(() => null);
    const found = answer?.ok ? await answer.json().catch(() => null) : null;
    if (opened !== this.opened) return;
    // Without a database the turns are known, and the digests are asked for again.
    if (!found?.digests) setTimeout(() => this.again(opened), REOPEN_MS);
    if (!found) return;
    this.last = /** @type {number} */ (found.last);
    this.listener.found(found);
    for (const event of this.waiting.splice(0)) this.event(event);
  }

  /** @param {number} opened */
  again(opened) {
    if (!document.hidden && opened === this.opened) this.ask(opened);
  }
}

/**
 * Follows the feed and shows it.
 * @param {string | null} extension registry id; null for all
 * @param {import("./panel.js").Panel} panel
 * @param {DevListener} dev
 * @param {HTMLElement} state shows whether the feed is heard
 * @param {boolean} [past] whether what happened before is shown as well
 */
export function follow(extension, panel, dev, state, past = false) {
  listen(extension, {
    past,
    dev,
    open: () => tell(state, "live", "good"),
    error: () => tell(state, "not connected", "bad"),
    event: (event) => show(event, panel),
  });
}

/**
 * Follows what guests log, which runners write to a Redis.
 * @param {string} extension registry id
 * @param {string} observer a user who may read it
 * @param {import("./panel.js").Panel} panel
 * @param {HTMLElement} unheard shown when there is no Redis
 * @param {number} [lines] of the past that are shown as well
 */
export function followGuest(extension, observer, panel, unheard, lines = 0) {
  /** The last entry's moment and its number in that moment. @type {[number, number] | null} */
  let last = null;
  whileVisible(() => {
    const tail = last ? "50" : String(lines);
    const asked = new URLSearchParams({ extensionId: extension, tail, __user: observer });
    const source = new EventSource(`/api/ext-debug/stream?${asked}`);
    source.addEventListener("error", () => {
      unheard.hidden = source.readyState !== EventSource.CLOSED;
    });
    source.addEventListener("message", ({ data, lastEventId }) => {
      const line = JSON.parse(data);
      const [moment, number] = lastEventId.split("-").map(Number);
      if (last && (moment < last[0] || (moment === last[0] && number <= last[1]))) return;
      last = [moment, number];
      panel.add({
        kind: "guest",
        badge: line.level ?? "log",
        text: line.message ?? "",
        detail: line,
        tone: /error|warn/i.test(line.level ?? "") ? "warn" : undefined,
      });
    });
    return source;
  });
}

/**
 * Keeps a stream open while somebody looks. A browser has six connections for a server, and
 * a few pages in the background would hold them all.
 * @param {(reopen: () => void) => EventSource} open `reopen` replaces one that has ended
 */
function whileVisible(open) {
  /** @type {EventSource | null} */
  let source = null;
  function turn() {
    if (!document.hidden) source ??= open(reopen);
    else {
      source?.close();
      source = null;
    }
  }
  function reopen() {
    if (source?.readyState === EventSource.CLOSED) source = null;
    turn();
  }
  document.addEventListener("visibilitychange", turn);
  turn();
}

/**
 * @param {HTMLElement} state
 * @param {string} words
 * @param {string} tone
 */
function tell(state, words, tone) {
  state.textContent = words;
  state.dataset.tone = tone;
}

/**
 * @param {Event} event
 * @param {import("./panel.js").Panel} panel
 */
function show(event, panel) {
  const { type, at, request_id: request } = event;
  const key = request && `call:${request}`;
  switch (type) {
    case "call-started":
      return panel.add({ kind: "call", at, key, badge: "…", text: named(event), detail: event });
    case "call-ended":
      return panel.add({
        kind: "call",
        at,
        key,
        badge: String(event.status),
        text: named(event),
        tone: event.status < 400 ? "good" : "bad",
        figure: spent(event),
        detail: event,
      });
    case "guest-failure":
      return panel.add({
        kind: "guest",
        at,
        badge: event.kind || "failed",
        tone: "bad",
        text: event.reason || "it failed",
        detail: event,
      });
    case "page-error":
      return panel.add({
        kind: "page",
        at,
        badge: "missing",
        tone: "bad",
        text: event.summary ?? "",
        detail: event,
      });
    case "product-fault":
      panel.note("product-fault", event.name);
      return panel.add({
        kind: "fault",
        at,
        badge: event.name,
        tone: "warn",
        text: event.summary ?? "",
        detail: event,
      });
    case "host-call":
      return panel.add({
        kind: "host",
        at,
        badge: `${event.api} ${event.operation ?? ""}`.trim(),
        tone: event.status < 400 ? undefined : "bad",
        text: [event.about, event.error].filter(Boolean).join(": "),
        figure: `${event.status} in ${event.ms} ms`,
        detail: event,
      });
    default:
      return panel.add({
        kind: "other",
        at,
        badge: type,
        text: event.summary ?? event.message ?? "",
        detail: event,
      });
  }
}

/** @param {Event} event */
function named({ method, path, gateway, reason, error }) {
  const why = reason || error;
  return `${method} ${path}${gateway === "direct" ? " (direct)" : ""}${why ? `: ${why}` : ""}`;
}

/** @param {Event} event */
function spent({ ms, runner_ms: runner }) {
  if (typeof ms !== "number") return "";
  return typeof runner === "number"
    ? `${ms.toFixed(1)} ms (runner ${runner.toFixed(1)})`
    : `${ms.toFixed(1)} ms`;
}
