// A number in the storage of the extension. Each call has a fresh instance: no variable outlives it.
import * as storage from "alga:extension/storage";

const NAMESPACE = "visits";
const KEY = "count";
const ATTEMPTS = 5;

export function readVisits(): number {
  return load().visits;
}

/** Adds one to the number as it is now; if another call was faster, as it is then. */
export function addVisit(): number {
  for (let attempt = 1; ; attempt += 1) {
    const { visits, revision } = load();
    const value = new TextEncoder().encode(JSON.stringify(visits + 1));
    try {
      storage.put({ namespace: NAMESPACE, key: KEY, value, revision });
      return visits + 1;
    } catch (error) {
      if (attempt === ATTEMPTS || caseOf(error) !== "conflict") throw error;
    }
  }
}

function load(): { visits: number; revision: bigint | undefined } {
  try {
    const { value, revision } = storage.get(NAMESPACE, KEY);
    return { visits: JSON.parse(new TextDecoder().decode(value)), revision };
  } catch (error) {
    if (caseOf(error) === "missing") return { visits: 0, revision: undefined };
    throw error;
  }
}

/** An error of the host is an exception whose `payload` names it, such as `missing`. */
const caseOf = (error: unknown) => (error as { payload?: string }).payload;
