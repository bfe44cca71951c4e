// The list of extensions, and the page of one that cannot be shown: what the command `dev` does with
// each. What is there for the first time has the page loaded anew.

import { listen } from "./feed.js";
import { find } from "./panel.js";

const WORDS = { building: "building…", failed: "failed", applied: "up to date", idle: "up to date" };
const TONES = { building: "warn", failed: "bad", applied: "good", idle: "good" };

/** The extension of a page that cannot be shown. @type {string | undefined} */
const awaited = /** @type {HTMLElement | null} */ (document.querySelector("[data-awaited]"))?.dataset
  .extension;

/** @param {string} extension registry id */
function lineOf(extension) {
  const card = document.querySelector(`[data-extension="${CSS.escape(extension)}"]`);
  return card && find(card, ".turn");
}

/** @param {import("./dev.js").Turn & {extension: string}} turn */
function show({ extension, state, runs_from, problems }) {
  const line = lineOf(extension);
  if (!line) {
    if (state === "applied" && !awaited) location.reload();
    return;
  }
  const badge = find(line, ".badge");
  badge.textContent = WORDS[state];
  badge.dataset.tone = TONES[state];
  find(line, ".from-source").hidden = runs_from !== "source";
  const [problem] = state === "failed" ? problems : [];
  find(line, ".text").textContent = problem
    ? [problem.where, problem.summary].filter(Boolean).join(": ")
    : "";
  line.hidden = false;
}

function clear() {
  for (const line of document.querySelectorAll(".turn")) /** @type {HTMLElement} */ (line).hidden = true;
}

listen(null, {
  dev: {
    found({ digests, turns }) {
      if (awaited && digests?.[awaited]) return location.reload();
      clear();
      for (const turn of turns) if (lineOf(turn.extension)) show(turn);
    },
    event(event, past) {
      if (past) return;
      if (event.type !== "dev-turn") return clear();
      show(/** @type {any} */ (event));
      if (event.extension === awaited && event.state === "applied") location.reload();
    },
  },
});
