// What the command `dev` does with this extension: the frame follows, and what failed is shown.

import { find } from "./panel.js";
import { Reloader, digestOf, inBundle, sameRoute, swapStyles } from "./reload.js";

/**
 * @typedef {{code: string, summary: string, hint: string, where: string | null, detail: string[]}} Problem
 * @typedef {{
 *   state: "building" | "failed" | "applied" | "idle", runs_from: "component" | "source",
 *   digest: string | null, changed: string[] | null, problems: Problem[], seconds: number | null,
 *   stages: Record<string, number> | null, replaces?: string | null, at?: number,
 * }} Turn as `algaenv.gateway.dev_turns` has it
 */

export class DevTurns {
  /**
   * @param {{
   *   extension: string, panel: import("./panel.js").Panel, main: HTMLElement, page: URL,
   *   fromServer: boolean, moved: () => void,
   * }} place `page` is the address of the frame, which changes with the bundle; `moved` is told
   *   then. A page `fromServer` reloads by itself.
   */
  constructor({ extension, panel, main, page, fromServer, moved }) {
    this.extension = extension;
    this.panel = panel;
    this.page = page;
    this.fromServer = fromServer;
    this.moved = moved;
    this.frame = /** @type {HTMLIFrameElement} */ (find(main, "iframe"));
    this.reloader = new Reloader(this.frame, find(main, ".stage"));
    this.failure = new Failure(main);
    this.building = find(main, "#building");
    this.source = find(main, "#from-source");
    document.addEventListener("keydown", ({ key }) => {
      if (key === "Escape") this.source.dataset.away = "";
    });
    for (const type of ["mouseenter", "focusin"]) {
      this.source.addEventListener(type, () => delete this.source.dataset.away);
    }
    this.shown = digestOf(page);
    /** What the version in the frame runs from. */
    this.runsFrom = "component";
    /** One version after the other. */
    this.queue = Promise.resolve();
  }

  /**
   * Something happened, or has happened while nobody listened: then `found` has come of it.
   * @param {import("./feed.js").Event} event
   * @param {boolean} past
   */
  event(event, past) {
    if (event.type !== "dev-turn") return past ? undefined : this.show(null);
    const turn = /** @type {Turn} */ (/** @type {unknown} */ (event));
    if (past) {
      const noted = event.at >= performance.timeOrigin;
      if (noted && turn.state === "applied") this.add(turn, "applied", "good");
      if (noted && turn.state === "failed") this.add(turn, "failed", "bad");
      return;
    }
    this.show(turn);
    if (turn.state === "failed") this.add(turn, "failed", "bad");
    if (turn.state !== "applied" && turn.state !== "idle") return;
    this.queue = this.queue.then(async () => {
      const how = await this.follow(turn);
      if (turn.state === "applied" || how !== "served") this.add(turn, how, "good");
    });
  }

  /**
   * What is so when the connection is there: events may have been missed.
   * @param {import("./feed.js").Found} found
   */
  found({ digests, turns: [turn] }) {
    this.show(turn ?? null);
    if (turn) this.runsFrom = turn.runs_from;
    const digest = digests?.[this.extension];
    if (!digest || digest === this.shown || this.fromServer) return;
    this.reload(digest);
    this.panel.add({ kind: "turn", badge: "reloaded", text: "another version is served now" });
  }

  /** @param {Turn | null} turn */
  show(turn) {
    this.building.hidden = turn?.state !== "building";
    this.source.hidden = turn?.runs_from !== "source";
    if (turn?.state === "failed") this.failure.show(turn.problems);
    else if (!turn) this.failure.clear("");
    else if (turn.state !== "building") this.failure.clear("The extension answers again.");
  }

  /**
   * Brings the version of a turn into the frame.
   * @param {Turn} turn
   * @returns {Promise<"served" | "styles" | "reloaded">} what that took
   */
  async follow({ digest, changed, replaces, runs_from }) {
    const before = this.runsFrom;
    this.runsFrom = runs_from;
    if (!digest || digest === this.shown) return "served";
    if (this.fromServer) return "served";
    const known = changed && (!replaces || replaces === this.shown);
    if (known && !changed.length && before === "source" && runs_from === "component") {
      // The component takes the place of the same source: the page is the same.
      this.move(digest);
      return "served";
    }
    const styles = known && changed.length && changed.every((it) => /^ui\/.+\.css$/.test(it));
    const swapped = styles && swapStyles(this.frame, this.page, digest, changed);
    if (swapped && (await swapped.catch(() => false))) {
      this.move(digest);
      return "styles";
    }
    this.reload(digest);
    return "reloaded";
  }

  /** @param {string} digest */
  reload(digest) {
    this.move(digest);
    const inside = this.frame.contentWindow;
    const shown = this.frame.contentDocument && inside ? inside.location.href : "about:blank";
    this.reloader.reload(sameRoute(new URL(shown), this.page, digest).href);
  }

  /** @param {string} digest */
  move(digest) {
    this.shown = digest;
    this.page.href = inBundle(this.page, digest).href;
    this.moved();
  }

  /**
   * @param {Turn} turn
   * @param {string} badge
   * @param {"good" | "bad"} tone
   */
  add(turn, badge, tone) {
    const [problem] = turn.problems;
    const text = problem ? [problem.where, problem.summary].filter(Boolean).join(": ") : "";
    const spent = timesOf(turn);
    this.panel.add({
      kind: "turn",
      at: turn.at,
      badge,
      tone,
      text: [text, spent].filter(Boolean).join(" · "),
      detail: turn,
    });
  }
}

/**
 * `52 ms: build 12 · pack 3`
 * @param {Turn} turn
 */
function timesOf({ seconds, stages }) {
  const parts = Object.entries(stages ?? {}).map(([name, ms]) => `${name} ${Math.round(ms)}`);
  const whole =
    seconds === null || seconds === undefined
      ? ""
      : seconds < 1
        ? `${Math.round(seconds * 1000)} ms`
        : `${seconds.toFixed(1)} s`;
  return [whole, parts.join(" · ")].filter(Boolean).join(": ");
}

/** What failed, over the frame. It does not take the focus, and can be put away. */
class Failure {
  /** @param {HTMLElement} main */
  constructor(main) {
    this.frame = /** @type {HTMLIFrameElement} */ (find(main, "iframe"));
    this.box = find(main, "#failure");
    this.list = find(this.box, ".problems");
    this.template = /** @type {HTMLTemplateElement} */ (find(document, "#problem"));
    this.again = find(main, "#show-failure");
    this.status = find(main, "#turn-status");
    /** What is shown or put away, as text. */
    this.told = "";
    /** Had the focus before the frame could not be reached. @type {HTMLElement | null} */
    this.focused = null;
    this.card = find(this.box, "div");
    addEventListener("scroll", () => this.keepInSight(), { passive: true });
    find(this.box, "button").addEventListener("click", () => this.dismiss());
    this.again.addEventListener("click", () => {
      this.open();
      find(this.box, "button").focus();
    });
    /** @param {KeyboardEvent} event */
    this.escape = ({ key }) => {
      if (key === "Escape" && !this.box.hidden) this.dismiss();
    };
    document.addEventListener("keydown", this.escape);
    this.frame.addEventListener("load", () => this.hearInside());
  }

  /** @param {Problem[]} problems */
  show(problems) {
    const told = JSON.stringify(problems);
    if (told === this.told) return;
    this.told = told;
    this.list.replaceChildren(...problems.map((it) => this.item(it)));
    const [first] = problems;
    const words = first ? [first.where, first.summary].filter(Boolean).join(": ") : "";
    this.status.textContent = `The last change failed. ${words}`;
    this.open();
  }

  /** @param {string} words for those who cannot see it go */
  clear(words) {
    if (!this.told) return;
    this.told = "";
    this.status.textContent = words;
    this.close();
    this.again.hidden = true;
  }

  open() {
    const within = document.activeElement === this.frame;
    const focused = within ? this.frame.contentDocument?.activeElement : null;
    this.focused = /** @type {HTMLElement | null} */ (focused ?? null);
    this.box.hidden = false;
    this.keepInSight();
    this.again.hidden = true;
    // What is covered cannot be seen, and is not to be reached by Tab.
    this.frame.inert = true;
  }

  /** A page that had the focus goes on to get what is typed. */
  hearInside() {
    this.frame.contentDocument?.addEventListener("keydown", this.escape);
  }

  /** A frame may be higher than the window. */
  keepInSight() {
    if (this.box.hidden) return;
    const { top, height } = this.box.getBoundingClientRect();
    const space = height - this.card.offsetHeight - 2 * this.card.offsetTop;
    this.card.style.translate = `0 ${Math.max(0, Math.min(-top, space))}px`;
  }

  /** Put away, until something else fails. */
  dismiss() {
    const within = this.box.contains(document.activeElement);
    this.close();
    this.again.hidden = false;
    if (within) this.again.focus();
  }

  close() {
    const lost = this.box.contains(document.activeElement);
    this.box.hidden = true;
    this.frame.inert = false;
    if (this.focused?.isConnected && (lost || document.activeElement === document.body)) {
      this.focused.focus({ preventScroll: true });
    }
    this.focused = null;
  }

  /** @param {Problem} problem */
  item({ code, summary, hint, where, detail }) {
    const item = /** @type {HTMLElement} */ (this.template.content.firstElementChild?.cloneNode(true));
    /** @param {string} name @param {string | null} text */
    const fill = (name, text) => {
      const part = find(item, name);
      part.textContent = text ?? "";
      part.hidden = !text;
    };
    fill(".summary", summary);
    fill(".where", where);
    fill("pre", detail.join("\n"));
    fill(".hint", hint && `What to do: ${hint}`);
    fill(".code", code);
    return item;
  }
}
