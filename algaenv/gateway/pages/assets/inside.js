// Listens inside a frame of our own origin: what its policy blocks, and errors nobody caught.
//
// A document can only be listened to once it is there, and it meets its policy while it is being
// read. The page before it is told when it goes (`pagehide`), and the task after that one comes
// before any event of the new document.

/**
 * @typedef {{
 *   violation(event: SecurityPolicyViolationEvent): void,
 *   error(text: string, detail: unknown): void, loaded(status: number | null): void, left(): void,
 * }} Listener `status` is of the answer that brought the page, where the browser tells it
 */

/**
 * Listens to this page of the frame and to all that follow.
 * @param {HTMLIFrameElement} frame
 * @param {Listener} listener
 */
export function listenInside(frame, listener) {
  /** @type {WeakSet<Document>} */
  const known = new WeakSet();

  function attach() {
    const [page, inside] = [frame.contentDocument, frame.contentWindow];
    if (!page || !inside || known.has(page)) return;
    known.add(page);
    inside.addEventListener("pagehide", () => setTimeout(attach));
    page.addEventListener("securitypolicyviolation", listener.violation);
    inside.addEventListener("error", ({ message, filename, lineno, error }) => {
      if (message) listener.error(message, error?.stack ?? `${filename}:${lineno}`);
    });
    inside.addEventListener("unhandledrejection", ({ reason }) => {
      listener.error(`unhandled: ${reason?.message ?? reason}`, reason?.stack ?? String(reason));
    });
  }

  frame.addEventListener("load", () => {
    attach();
    if (!frame.contentDocument) return listener.left();
    const [entry] = frame.contentWindow?.performance.getEntriesByType("navigation") ?? [];
    listener.loaded(/** @type {{responseStatus?: number}} */ (entry)?.responseStatus || null);
  });
  attach();
}
