// What the gateway says about the extension, as it happens: calls, guests, faults.

/** @typedef {Record<string, any> & {type: string, at: number}} Event as `algaenv.gateway.feed` has it */

/**
 * Follows the feed and shows it. What happened before this page was there is left out.
 * @param {string} extension registry id
 * @param {import("./panel.js").Panel} panel
 * @param {HTMLElement} state shows whether the feed is heard
 */
export function follow(extension, panel, state) {
  let last = 0;
  whileVisible(() => {
    const asked = new URLSearchParams({ extension, after: String(last) });
    const source = new EventSource(`/algaenv/events?${asked}`);
    source.addEventListener("open", () => tell(state, "live", "good"));
    source.addEventListener("error", () => tell(state, "not connected", "bad"));
    source.addEventListener("message", ({ data }) => {
      const event = JSON.parse(data);
      last = event.id;
      if (event.at >= performance.timeOrigin) show(event, panel);
    });
    return source;
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
 * @param {() => EventSource} open
 */
function whileVisible(open) {
  /** @type {EventSource | null} */
  let source = null;
  function turn() {
    if (!document.hidden) source ??= open();
    else {
      source?.close();
      source = null;
    }
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
