/** Minutes that are billed at least, and in steps of which. */
const STEP = 15;

/** What is billed for the time spent, at a rate for an hour. */
export function bill(minutes: number, rate: number): { hours: number; total: number } {
  const hours = (Math.ceil(minutes / STEP) * STEP) / 60;
  return { hours, total: hours * rate };
}
