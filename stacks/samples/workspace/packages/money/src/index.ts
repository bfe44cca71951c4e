/** An amount of cents as text. */
export function money(cents: number): string {
  return `${(cents / 100).toFixed(2)} EUR`;
}
