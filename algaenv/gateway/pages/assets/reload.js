// Brings a new version of the page into the frame: its style sheets alone, or all of it with the
// place kept at which the author was.

/** How long the new page may still be laid out after it has loaded, in milliseconds. */
const SETTLE_MS = 2000;
/** For a page that never loads, and for style sheets. */
const LOAD_MS = 15_000;
const SHEETS_MS = 5000;
/** After one of these the person decides where the page stands. */
const INPUT = ["wheel", "touchstart", "pointerdown", "keydown"];
const FILE = /^(.*\/ext-ui\/[^/]+\/sha256(?:%3A|:))[0-9a-f]{64}\/(.*)$/i;

/**
 * The digest in the address of a page of a bundle.
 * @param {URL} url
 */
export function digestOf(url) {
  return /\/sha256(?:%3A|:)([0-9a-f]{64})\//i.exec(url.pathname)?.[1].toLowerCase() ?? null;
}

/**
 * The same file in the bundle with this digest.
 * @param {URL} url
 * @param {string} digest
 */
export function inBundle(url, digest) {
  const other = new URL(url);
  other.pathname = url.pathname.replace(FILE, `$1${digest}/$2`);
  return other;
}

/**
 * The place in another bundle to which the page has gone: one with routes of its own stays there.
 * @param {URL} shown the address that the frame has now
 * @param {URL} page the address of the first page in the other bundle
 * @param {string} digest of that bundle
 */
export function sameRoute(shown, page, digest) {
  const root = prefix(shown);
  if (!root || root !== prefix(page)) return page;
  const route = inBundle(shown, digest);
  // Without these, which a page may have dropped, no page is served.
  for (const [name, value] of page.searchParams) {
    if (!route.searchParams.has(name)) route.searchParams.set(name, value);
  }
  return route;
}

/**
 * Swaps the style sheets of the page for those of another bundle, in place. An old one goes when
 * the new one has loaded.
 * @param {HTMLIFrameElement} frame
 * @param {URL} page its address
 * @param {string} digest
 * @param {string[]} changed files below `ui/`
 * @returns {Promise<boolean>} false where it cannot be sure that the page then is as a new one
 */
export async function swapStyles(frame, page, digest, changed) {
  const inside = frame.contentDocument;
  const root = prefix(page);
  if (!root || inside?.readyState !== "complete" || inside.querySelector("iframe")) return false;
  /** @type {[HTMLLinkElement, URL][]} */
  const links = [];
  const found = new Set();
  for (const link of inside.querySelectorAll("link")) {
    const url = new URL(link.href, page);
    if (!link.relList.contains("stylesheet") || prefix(url) !== root) continue;
    links.push([link, inBundle(url, digest)]);
    for (const file of filesOf(url, link.sheet)) found.add(file);
  }
  if (!changed.every((path) => found.has(path.replace(/^ui\//, "")))) return false;
  const loaded = links.map(
    ([link, url]) =>
      new Promise((resolve, reject) => {
        const next = /** @type {HTMLLinkElement} */ (link.cloneNode());
        next.href = url.href;
        next.addEventListener("error", reject);
        next.addEventListener("load", () => {
          link.remove();
          resolve(null);
        });
        setTimeout(reject, SHEETS_MS);
        link.after(next);
      }),
  );
  return Promise.all(loaded).then(
    () => inside === frame.contentDocument,
    () => false,
  );
}

/**
 * Where the bundles of the extension are; nothing for another address.
 * @param {URL} url
 */
function prefix(url) {
  const root = FILE.exec(url.pathname)?.[1].replace(/%3A$/i, ":");
  return root && url.origin + root;
}

/**
 * The files that a style sheet is made of, below the bundle.
 * @param {URL} url
 * @param {CSSStyleSheet | null} sheet
 * @returns {string[]}
 */
function filesOf(url, sheet) {
  const file = decodeURIComponent(FILE.exec(url.pathname)?.[2] ?? "");
  const imported = [...(sheet?.cssRules ?? [])].flatMap((rule) => {
    const from = /** @type {CSSImportRule} */ (rule).styleSheet;
    return from?.href ? filesOf(new URL(from.href), from) : [];
  });
  return [file, ...imported];
}

/** @typedef {{x: number, y: number}} Position */

/** Loads addresses into a frame so that the place the person looks at stays. */
export class Reloader {
  /**
   * @param {HTMLIFrameElement} frame
   * @param {HTMLElement} stage the element around it that scrolls
   */
  constructor(frame, stage) {
    this.frame = frame;
    this.stage = stage;
    /** The place to go back to while a page is being laid out. @type {Place | null} */
    this.place = null;
    /** Ends the watch over that. @type {AbortController | null} */
    this.watch = null;
    /** The page that is watched. @type {Document | null} */
    this.followed = null;
  }

  /** @param {string} address */
  reload(address) {
    // A page that is replaced while it is being laid out is not where the author left it.
    this.place ??= new Place(this.frame, this.stage);
    const [earlier, watch] = [this.watch, new AbortController()];
    const { signal } = watch;
    this.watch = watch;
    earlier?.abort();
    signal.addEventListener("abort", () => {
      if (this.watch === watch) this.place = this.watch = null;
    });
    const end = () => watch.abort();
    setTimeout(end, LOAD_MS);
    const before = this.frame.contentDocument;
    // The task after the end of the old page is the first that sees the new one.
    before?.defaultView?.addEventListener("pagehide", () => setTimeout(() => this.follow(watch)), {
      once: true,
      signal,
    });
    this.frame.addEventListener(
      "load",
      () => {
        this.follow(watch);
        this.place?.restore();
        setTimeout(end, SETTLE_MS);
      },
      { once: true, signal },
    );
    for (const type of INPUT) addEventListener(type, end, { capture: true, passive: true, signal });
    const resized = new ResizeObserver(() => this.place?.restore());
    resized.observe(this.frame);
    signal.addEventListener("abort", () => resized.disconnect());
    // In place of the old page in the history, so that Back leads out of here.
    this.frame.contentWindow?.location.replace(address);
  }

  /** Goes back to the place whenever the new page grows. @param {AbortController} watch */
  follow(watch) {
    const { signal } = watch;
    const inside = this.frame.contentDocument;
    if (!inside || inside === this.followed || signal.aborted) return;
    this.followed = inside;
    const restore = () => this.place?.restore();
    const changes = new MutationObserver(restore);
    changes.observe(inside, { childList: true, subtree: true, attributes: true });
    signal.addEventListener("abort", () => changes.disconnect());
    inside.addEventListener("load", restore, { capture: true, signal });
    const end = () => watch.abort();
    for (const type of INPUT) {
      inside.addEventListener(type, end, { capture: true, passive: true, signal });
    }
    restore();
  }
}

/** Where the page and what is around it are scrolled to, and what has the focus. */
class Place {
  /**
   * @param {HTMLIFrameElement} frame
   * @param {HTMLElement} stage
   */
  constructor(frame, stage) {
    this.frame = frame;
    this.stage = stage;
    this.around = { x: scrollX, y: scrollY };
    this.beside = { x: stage.scrollLeft, y: stage.scrollTop };
    const [page, inside] = [frame.contentDocument, frame.contentWindow];
    this.inside = page && inside ? { x: inside.scrollX, y: inside.scrollY } : null;
    /** Id → position. @type {Map<string, Position>} */
    this.elements = new Map();
    for (const { id, scrollLeft, scrollTop } of page?.querySelectorAll("[id]") ?? []) {
      if (scrollLeft || scrollTop) this.elements.set(id, { x: scrollLeft, y: scrollTop });
    }
    this.focused = document.activeElement;
    this.focusedInside = this.focused === frame ? page?.activeElement?.id : undefined;
  }

  restore() {
    const { contentDocument: page, contentWindow: inside } = this.frame;
    to(window, this.around);
    to(this.stage, this.beside);
    if (page && inside && this.inside) to(inside, this.inside);
    for (const [id, position] of this.elements) {
      const element = page?.getElementById(id);
      if (element) to(element, position);
    }
    this.focus(page);
  }

  /** Takes the focus back from a page that grabs it. @param {Document | null} page */
  focus(page) {
    const { focused, frame, focusedInside } = this;
    if (focused !== frame) {
      if (document.activeElement !== frame || !(focused instanceof HTMLElement)) return;
      if (focused === document.body) frame.blur();
      else focused.focus({ preventScroll: true });
    } else if (focusedInside && page?.activeElement === page?.body) {
      page?.getElementById(focusedInside)?.focus({ preventScroll: true });
    }
  }
}

/**
 * @param {Window | Element} scrolled
 * @param {Position} position
 */
function to(scrolled, { x, y }) {
  scrolled.scrollTo({ left: x, top: y, behavior: "instant" });
}
