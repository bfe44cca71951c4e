// The panel: notices, each once, and events in the order they came, to be filtered by kind.
// Whatever came from an extension is shown as text, never as markup.

/**
 * @typedef {"message" | "call" | "guest" | "host" | "policy" | "page" | "fault" | "turn" | "other"} Kind
 * @typedef {{
 *   kind: Kind, text: string, badge?: string, figure?: string, tone?: "good" | "warn" | "bad",
 *   detail?: unknown, at?: number, key?: string,
 * }} Entry an event with a `key` that is there already takes its place, details added
 */

import { ADVICE } from "./advice.js";

const KEPT = 500;
const FILTERS = /** @type {const} */ ([
  ["all", "All"],
  ["message", "Messages"],
  ["call", "Calls"],
  ["guest", "Guest"],
  ["host", "Host"],
  ["policy", "Policy"],
  ["page", "Page errors"],
  ["fault", "Faults"],
  ["turn", "Turns"],
  ["other", "Other"],
]);

export class Panel {
  /** @param {Document} document */
  constructor(document) {
    this.document = document;
    this.log = find(document, "#events");
    this.list = find(this.log, "ol");
    this.notices = find(document, "#notices");
    this.shown = "all";
    this.text = "";
    /** @type {Map<string, HTMLElement>} */
    this.keyed = new Map();
    /** @type {Map<string, Record<string, unknown>>} */
    this.details = new Map();
    this.filters = new Map(FILTERS.map(([kind, label]) => [kind, this.filter(kind, label)]));
    const clear = this.document.createElement("button");
    clear.type = "button";
    clear.textContent = "Clear";
    clear.addEventListener("click", () => this.clear());
    find(document, ".filters").append(clear);
    this.show("all");
  }

  /** @param {Entry} entry */
  add({ kind, text, badge = kind, figure = "", tone, detail, at = Date.now(), key }) {
    const near = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
    const item = (key && this.keyed.get(key)) || this.item(key);
    item.dataset.kind = kind;
    const time = find(item, "time");
    time.textContent ||= new Date(at).toLocaleTimeString([], { hour12: false });
    const label = find(item, ".badge");
    label.textContent = badge;
    if (tone) label.dataset.tone = tone;
    find(item, ".text").textContent = text;
    if (figure) find(item, ".figure").textContent = figure;
    find(item, "pre").textContent = this.told(detail, key);
    item.hidden = !this.isShown(item);
    while (this.list.children.length > KEPT) this.drop(this.list.firstElementChild);
    if (near) this.log.scrollTop = this.log.scrollHeight;
    this.count();
  }

  /**
   * @param {import("./advice.js").Code} code
   * @param {string} [detail]
   */
  note(code, detail) {
    const [summary, hint] = ADVICE[code];
    let item = /** @type {HTMLElement | null} */ (
      this.notices.querySelector(`[data-code="${code}"]`)
    );
    if (!item) {
      item = clone(this.document, "#notice");
      item.dataset.code = code;
      item.lastElementChild?.replaceChildren(hint);
      this.notices.append(item);
    }
    item.firstElementChild?.replaceChildren(
      detail ? `${summary} (${detail.slice(0, 200)})` : summary,
    );
  }

  clear() {
    this.list.replaceChildren();
    this.keyed.clear();
    this.details.clear();
    this.count();
  }

  /** @param {string | undefined} key */
  item(key) {
    const item = clone(this.document, "#event");
    if (key) this.keyed.set(key, item);
    if (key) item.dataset.key = key;
    this.list.append(item);
    return item;
  }

  /** @param {Element | null} item */
  drop(item) {
    const key = item instanceof HTMLElement ? item.dataset.key : undefined;
    if (key) this.keyed.delete(key);
    if (key) this.details.delete(key);
    item?.remove();
  }

  /**
   * @param {unknown} detail
   * @param {string | undefined} key
   */
  told(detail, key) {
    if (!key || typeof detail !== "object") return inWords(detail);
    const all = { ...this.details.get(key), ...detail };
    this.details.set(key, all);
    return inWords(all);
  }

  /**
   * @param {string} kind
   * @param {string} label
   */
  filter(kind, label) {
    const button = clone(this.document, "#filter");
    find(button, "span").textContent = label;
    button.addEventListener("click", () => this.show(kind));
    find(this.document, ".filters").append(button);
    return button;
  }

  /** @param {string} kind */
  show(kind) {
    this.shown = kind;
    for (const [each, button] of this.filters) button.ariaPressed = String(each === kind);
    for (const item of this.items()) item.hidden = !this.isShown(item);
  }

  /** @param {string} text show only what has it, details included */
  search(text) {
    this.text = text.toLowerCase();
    for (const item of this.items()) item.hidden = !this.isShown(item);
  }

  /** @param {HTMLElement} item */
  isShown(item) {
    if (this.shown !== "all" && item.dataset.kind !== this.shown) return false;
    return !this.text || (item.textContent ?? "").toLowerCase().includes(this.text);
  }

  count() {
    const items = this.items();
    for (const [kind, button] of this.filters) {
      const number =
        kind === "all" ? items.length : items.filter((it) => it.dataset.kind === kind).length;
      find(button, "b").textContent = String(number);
    }
  }

  /** @returns {HTMLElement[]} */
  items() {
    return /** @type {HTMLElement[]} */ ([...this.list.children]);
  }
}

/**
 * @param {ParentNode} within
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function find(within, selector) {
  const found = within.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`the page lacks ${selector}`);
  return found;
}

/**
 * @param {Document} document
 * @param {string} template
 * @returns {HTMLElement}
 */
function clone(document, template) {
  const { content } = /** @type {HTMLTemplateElement} */ (find(document, template));
  return /** @type {HTMLElement} */ (content.firstElementChild?.cloneNode(true));
}

/** @param {unknown} detail */
function inWords(detail) {
  if (detail === undefined) return "nothing more is known";
  return typeof detail === "string" ? detail : JSON.stringify(detail, null, 2);
}
