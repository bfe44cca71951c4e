// The page around an extension: builds its frame, carries its messages, and shows what happens.

import { Bridge } from "./bridge.js";
import { DevTurns } from "./dev.js";
import { follow, followGuest } from "./feed.js";
import { listenInside } from "./inside.js";
import { Panel, find } from "./panel.js";
import { tokens } from "./themes.js";

const OVERLAY_MS = 1500;
const SILENCE_MS = 4000;
/** Two names of this machine are two origins. */
const SIBLINGS = { "127.0.0.1": "localhost", localhost: "127.0.0.1" };

const main = find(document, "main");
const { extension = "", user = "", address = "", mode, observer = "" } = main.dataset;
const frame = /** @type {HTMLIFrameElement} */ (find(main, "iframe"));
const overlay = find(main, "#overlay");
const theme = /** @type {HTMLSelectElement} */ (find(main, "#theme"));
const viewport = /** @type {HTMLSelectElement} */ (find(main, "#viewport"));
const panel = new Panel(document);
const byHost = mode === "host";
const page = byHost
  ? byHostName(new URL(address, location.href))
  : byPath(new URL(address, location.href));
// What such a page cannot tell is among the notices that came with it.
const fromServer = document.querySelector('[data-code="development-server"]') !== null;
let heard = false;

/**
 * The product's browser side adds the origin of the page around the frame.
 * @param {URL} url
 */
function byPath(url) {
  url.searchParams.set("parentOrigin", location.origin);
  return url;
}

/**
 * What is left after a runner with host names has redirected; on another origin, as there.
 * @param {URL} url
 */
function byHostName(url) {
  url.searchParams.delete("path");
  if (url.origin !== location.origin) return url;
  const sibling = SIBLINGS[/** @type {keyof typeof SIBLINGS} */ (url.hostname)];
  if (sibling) url.hostname = sibling;
  else panel.note("no-second-origin");
  return url;
}

/** @param {any} message */
function inShort(message) {
  const { type, payload } = message ?? {};
  switch (type) {
    case "resize":
      return `resize ${payload?.height}`;
    case "apiproxy":
      return `apiproxy ${payload?.method ?? "POST"} ${payload?.route}`;
    case "apiproxy_response":
      return payload?.error ? `apiproxy_response: ${payload.error}` : type;
    default:
      return String(type);
  }
}

function sendTheme() {
  const chosen = /** @type {"light" | "dark" | ""} */ (theme.value);
  if (chosen || byHost) bridge.send("theme", tokens(chosen || "light"));
  if (chosen && !byHost) panel.note("theme-in-docker");
}

const bridge = new Bridge(
  { frame, origin: page.origin, extension, user },
  {
    message(direction, message) {
      heard ||= direction === "in";
      const failed = /** @type {any} */ (message)?.payload?.error;
      panel.add({
        kind: "message",
        badge: direction === "in" ? "→ host" : "→ page",
        text: inShort(message),
        detail: message,
        tone: failed ? "bad" : undefined,
      });
    },
    call({ id, method, route, status, ms, headers, ...more }) {
      const why = headers["x-algaenv-reason"] ?? headers["x-algaenv-error"];
      const runner = headers["x-algaenv-runner-ms"];
      panel.add({
        kind: "call",
        key: id ? `call:${id}` : undefined,
        badge: String(status ?? "failed"),
        tone: status && status < 400 ? "good" : "bad",
        text: why ? `${method} ${route}: ${why}` : `${method} ${route}`,
        figure: runner ? `${ms.toFixed(1)} ms (runner ${runner})` : `${ms.toFixed(1)} ms`,
        detail: { seen_by_the_page_ms: ms, headers, ...more },
      });
    },
    ready() {
      overlay.hidden = true;
      if (byHost || theme.value) sendTheme();
    },
    resize(height) {
      frame.style.height = `${height}px`;
    },
    note: (code, detail) => panel.note(code, detail),
  },
);

listenInside(frame, {
  violation(event) {
    const { effectiveDirective, blockedURI, sourceFile, lineNumber, originalPolicy } = event;
    panel.note("policy-violation");
    panel.add({
      kind: "policy",
      badge: effectiveDirective,
      tone: "bad",
      text: `blocked ${blockedURI}`,
      figure: sourceFile ? `line ${lineNumber}` : "",
      detail: { effectiveDirective, blockedURI, sourceFile, lineNumber, originalPolicy },
    });
  },
  error(text, detail) {
    panel.add({ kind: "page", badge: "error", tone: "bad", text, detail });
  },
  loaded(status) {
    if (status && status >= 400) {
      panel.note("page-failed", `HTTP ${status}`);
      panel.add({
        kind: "page",
        badge: String(status),
        tone: "bad",
        text: "the page did not load",
        detail: frame.contentDocument?.body?.innerText ?? "",
      });
    }
  },
  left() {
    if (page.origin === location.origin) panel.note("frame-left");
  },
});

function load() {
  heard = false;
  overlay.hidden = false;
  setTimeout(() => (overlay.hidden = true), OVERLAY_MS);
  frame.src = page.href;
}

function showAddress() {
  find(main, "#address").textContent = page.href;
  if (!fromServer && dev.shown) find(main, "#bundle").textContent = `sha256:${dev.shown}`;
}

/** @param {HTMLSelectElement} select what is kept in this browser for all extensions */
function remember(select, /** @type {() => void} */ apply) {
  const key = `algaenv-${select.id}`;
  const kept = localStorage.getItem(key);
  if ([...select.options].some((it) => it.value === kept)) select.value = kept ?? "";
  apply();
  select.addEventListener("change", () => {
    localStorage.setItem(key, select.value);
    apply();
  });
}

window.addEventListener("message", (event) => bridge.handle(event));
frame.addEventListener("load", () => {
  overlay.hidden = true;
  if (byHost) setTimeout(() => heard || panel.note("silent-in-host-mode"), SILENCE_MS);
});
find(main, "#reload").addEventListener("click", load);
remember(viewport, () => (main.dataset.viewport = viewport.value));
remember(theme, () => {
  if (theme.value) document.documentElement.dataset.theme = theme.value;
  else delete document.documentElement.dataset.theme;
});
theme.addEventListener("change", sendTheme);
const dev = new DevTurns({ extension, panel, main, page, fromServer, moved: showAddress });
showAddress();
if (page.origin !== location.origin && !fromServer) panel.note("deaf");
follow(extension, panel, dev, find(main, "#connection"));
followGuest(extension, observer, panel, find(main, "#unheard"));
load();
