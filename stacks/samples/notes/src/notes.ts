// The notes as one stored document: a list of entries is given out in pages, a document is whole.
import * as storage from "alga:extension/storage";

export interface Note {
  id: string;
  text: string;
  /** ISO 8601, by the clock of the page that wrote it. */
  at: string;
  author: string;
}

const NAMESPACE = "notes";
const KEY = "all";
const ATTEMPTS = 5;
/** A stored value may have 64 KiB. */
const MOST_BYTES = 60_000;

export function read(): Note[] {
  return load().notes;
}

/** Changes the notes as they are now; if another call was faster, as they are then. */
export function change(apply: (notes: Note[]) => Note[]): Note[] {
  for (let attempt = 1; ; attempt += 1) {
    const { notes, revision } = load();
    const changed = fitting(apply(notes));
    try {
      const value = encode(changed);
      storage.put({ namespace: NAMESPACE, key: KEY, value, revision });
      return changed;
    } catch (error) {
      if (attempt === ATTEMPTS || nameOf(error) !== "conflict") throw error;
    }
  }
}

function load(): { notes: Note[]; revision: bigint | undefined } {
  try {
    const { value, revision } = storage.get(NAMESPACE, KEY);
    return { notes: JSON.parse(new TextDecoder().decode(value)), revision };
  } catch (error) {
    if (nameOf(error) === "missing") return { notes: [], revision: undefined };
    throw error;
  }
}

/** Without the oldest, if they would no longer be stored. */
function fitting(notes: Note[]): Note[] {
  let fits = notes;
  while (encode(fits).length > MOST_BYTES) fits = fits.slice(0, -1);
  return fits;
}

const encode = (notes: Note[]) => new TextEncoder().encode(JSON.stringify(notes));

const nameOf = (error: unknown) => (error as { payload?: string }).payload;
