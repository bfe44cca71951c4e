// The list of extensions: what the command `dev` does with each.

import { listen } from "./feed.js";
import { find } from "./panel.js";

const WORDS = { building: "building…", failed: "failed", applied: "up to date", idle: "up to date" };
const TONES = { building: "warn", failed: "bad", applied: "good", idle: "good" };

/** @param {string} extension registry id */
function lineOf(extension) {
  const card = document.querySelector(`[data-extension="${CSS.escape(extension)}"]`);
  return card && find(card, ".turn");
}

/** @param {import("./dev.js").Turn & {extension: string}} turn */
function show({ extension, state, runs_from, problems }) {
  const line = lineOf(extension);
  if (!line) return;
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
  async open() {
    const answer = await fetch("/algaenv/dev").catch(() => null);
    if (!answer?.ok) return;
    clear();
    (await answer.json()).turns.forEach(show);
  },
  event(event, past) {
    if (past) return;
    if (event.type === "dev-turn") show(/** @type {any} */ (event));
    if (event.type === "dev-ended") clear();
  },
});
