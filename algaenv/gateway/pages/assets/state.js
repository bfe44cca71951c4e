// What every page of the workbench has: whether the gateway is heard, live parts that are fetched
// anew when something has happened, and forms that act at once.

import { listen } from "./feed.js";
import { find } from "./panel.js";

const REFRESH_MS = 500;
/** Happenings that change what a live part shows. */
const CHANGES = new Set(["call-ended", "dev-turn", "dev-ended", "schedule-ran", "invoice-created"]);

let due = 0;

/** Has the live part of the page fetched anew, once for all that happens in a short time. */
function refresh() {
  due ||= window.setTimeout(() => {
    due = 0;
    document.querySelector("[data-live]")?.dispatchEvent(new CustomEvent("refresh"));
  }, REFRESH_MS);
}

document.addEventListener("algaenv:feed", (event) => {
  const heard = /** @type {CustomEvent<boolean>} */ (event).detail;
  find(document, "#feed").dataset.tone = heard ? "good" : "bad";
  find(document, "#feed-text").textContent = heard ? "live" : "the gateway does not answer";
});

// What is opened by hand stays open when its part is replaced.
/** @type {Set<string>} */
const opened = new Set();
document.addEventListener("htmx:beforeSwap", () => {
  opened.clear();
  for (const it of document.querySelectorAll("details[data-keep][open]")) opened.add(it.id);
});
document.addEventListener("htmx:afterSettle", () => {
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
});

// On a phone the lists of pages scroll sideways: the one that is open has to be seen.
for (const it of document.querySelectorAll(".side [aria-current]"))
  it.scrollIntoView({ block: "nearest", inline: "center" });

document.addEventListener("change", ({ target }) => {
  if (target instanceof HTMLElement && target.matches("[data-submits]"))
    /** @type {HTMLFormElement | null} */ (target.closest("form"))?.requestSubmit();
});
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

// A browser has six connections for a server, so a page that listens by itself does it for both.
if (!("listens" in document.body.dataset))
  listen(null, {
    event: ({ type }) => CHANGES.has(type) && refresh(),
    dev: {
      found() {},
      event(_, past) {
        if (!past) refresh();
      },
    },
  });
