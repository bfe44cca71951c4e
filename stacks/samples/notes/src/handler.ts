// The handler of the notes: three endpoints over one stored document.
import { getContext } from "alga:extension/context";
import { logInfo } from "alga:extension/logging";
import type { ExecuteRequest, ExecuteResponse } from "alga:extension/types";
import { getUser } from "alga:extension/user";

import { answer } from "./answer";
import { change, read, type Note } from "./notes";

const LONGEST = 2000;

export function handler({ http }: ExecuteRequest): ExecuteResponse {
  const path = http.url.split("?")[0];
  const id = path.match(/^\/notes\/([^/]+)$/)?.[1];
  try {
    if (http.method === "GET" && path === "/notes") return answer(200, read());
    if (http.method === "POST" && path === "/notes") return add(http.body);
    if (http.method === "DELETE" && id) return remove(decodeURIComponent(id));
    return answer(404, { error: `there is no ${http.method} ${path}` });
  } catch (error) {
    const { payload } = error as { payload?: string };
    return answer(502, { error: `the notes are out of reach: ${payload ?? error}` });
  }
}

function add(body: Uint8Array | undefined): ExecuteResponse {
  const note = written(body);
  if (!note) return answer(400, { error: `a note is {"text", "at"} of up to ${LONGEST} characters` });
  const notes = change((notes) => [note, ...notes]);
  logInfo(`note ${note.id} added, ${notes.length} in all`);
  return answer(201, notes);
}

function remove(id: string): ExecuteResponse {
  const notes = change((notes) => notes.filter((note) => note.id !== id));
  logInfo(`note ${id} removed, ${notes.length} left`);
  return answer(200, notes);
}

/**
 * Every call has a fresh instance of a component without clock and randomness, so `Date.now()` and
 * `crypto.randomUUID()` say the same every time: the id is that of the request, the time is the page's.
 */
function written(body: Uint8Array | undefined): Note | undefined {
  try {
    const { text, at } = JSON.parse(new TextDecoder().decode(body));
    if (typeof text !== "string" || typeof at !== "string") return undefined;
    const trimmed = text.trim();
    if (!trimmed || trimmed.length > LONGEST) return undefined;
    const id = getContext().requestId ?? `${at}-${trimmed.length}`;
    return { id, text: trimmed, at, author: author() };
  } catch {
    return undefined;
  }
}

function author(): string {
  try {
    return getUser().userName;
  } catch {
    return "somebody";
  }
}
