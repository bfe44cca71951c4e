// Events of all extensions or of one, as they happen; those of one with what its handler logs.

import { follow, followGuest } from "./feed.js";
import { Panel, find } from "./panel.js";

const PAST_LINES = 200;
const main = find(document, "main");
const panel = new Panel(document);
const { extension = "", observer = "" } = main.dataset;
const text = /** @type {HTMLInputElement} */ (find(main, "#find"));
const dev = {
  found() {},
  /** @param {import("./feed.js").Event} event */
  event(event, /** @type {boolean} */ past) {
    if (past) return;
    panel.add({
      kind: "turn",
      at: event.at,
      badge: event.state ?? "ended",
      tone: event.state === "failed" ? "bad" : event.state === "applied" ? "good" : undefined,
      text: (event.changed ?? []).join(", ") || "algaenv dev",
      detail: event,
    });
  },
};

text.addEventListener("input", () => panel.search(text.value));
follow(extension || null, panel, dev, find(main, "#connection"), true);
if (extension) followGuest(extension, observer, panel, find(main, "#unheard"), PAST_LINES);
