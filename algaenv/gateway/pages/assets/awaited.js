// The page of an extension that cannot be shown yet: what the command `dev` does with it. The page
// is loaded anew once there is a version.

import { listen } from "./feed.js";
import { find } from "./panel.js";

const WORDS = { building: "building…", failed: "failed", applied: "up to date", idle: "up to date" };
const TONES = { building: "warn", failed: "bad", applied: "good", idle: "good" };

const section = find(document, "[data-awaited]");
const extension = section.dataset.extension ?? "";
const line = find(section, ".turn");

/** @param {import("./dev.js").Turn & {extension: string}} turn */
function show({ state, runs_from, problems }) {
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

listen(extension, {
  dev: {
    found({ digests, turns }) {
      if (digests?.[extension]) return location.reload();
      line.hidden = true;
      for (const turn of turns) show(turn);
    },
    event(event, past) {
      if (past) return;
      if (event.type !== "dev-turn") line.hidden = true;
      else if (event.state === "applied") location.reload();
      else show(/** @type {any} */ (event));
    },
  },
});
