/** What a call gave: a value, or the name of an error. */
export type Outcome = { ok: unknown } | { error: string };

/** Calls of one capability, by the name of their function. */
export type Outcomes = Record<string, Outcome>;

/** An error of the host comes as an exception whose `payload` is the case of the WIT enum. */
export function attempt(call: () => unknown): Outcome {
  try {
    return { ok: call() ?? null };
  } catch (error) {
    const { payload } = error as { payload?: string };
    return { error: payload ?? String(error) };
  }
}
