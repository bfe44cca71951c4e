// What the gateway says about the extension, as it happens: calls, guests, faults.

/** @typedef {Record<string, any> & {type: string, at: number}} Event as `algaenv.gateway.feed` has it */

const REOPEN_MS = 2000;

/**
 * Listens to the feed. What happened before this page was there is left out.
 * @param {string | null} extension registry id; null for all
 * @param {{event(event: Event, past: boolean): void, open(): void, error?(): void}} listener
 *   `open` is told each time that the connection is there; events from before that are `past`
 */
export function listen(extension, listener) {
  let [last, opened] = [0, Infinity];
  whileVisible((reopen) => {
    const asked = new URLSearchParams({ after: String(last), ...(extension && { extension }) });
    const source = new EventSource(`/algaenv/events?${asked}`);
    source.addEventListener("open", () => {
      opened = Date.now();
      listener.open();
    });
    source.addEventListener("error", () => {
      listener.error?.();
      // The browser connects again by itself, except after an answer that is no stream.
      if (source.readyState === EventSource.CLOSED) setTimeout(reopen, REOPEN_MS);
    });
    source.addEventListener("message", ({ data }) => {
      const event = JSON.parse(data);
      last = event.id;
      if (event.at >= performance.timeOrigin) listener.event(event, event.at < opened);
    });
    return source;
  });
}

/**
 * Follows the feed and shows it.
 * @param {string} extension registry id
 * @param {import("./panel.js").Panel} panel
 * @param {import("./dev.js").DevTurns} dev
 * @param {HTMLElement} state shows whether the feed is heard
 */
export function follow(extension, panel, dev, state) {
  listen(extension, {
    open() {
      tell(state, "live", "good");
      dev.compare();
    },
    error: () => tell(state, "not connected", "bad"),
    event(event, past) {
      if (event.type === "dev-turn") dev.turn(/** @type {any} */ (event), { past });
      else if (event.type === "dev-ended") dev.ended();
      else show(event, panel);
    },
  });
}

/**
 * Follows what guests log, which runners write to a Redis.
 * @param {string} extension registry id
 * @param {string} observer a user who may read it
 * @param {import("./panel.js").Panel} panel
 * @param {HTMLElement} unheard shown when there is no Redis
 */
export function followGuest(extension, observer, panel, unheard) {
  /** The last entry's moment and its number in that moment. @type {[number, number] | null} */
  let last = null;
  whileVisible(() => {
    const tail = last ? "50" : "0";
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
