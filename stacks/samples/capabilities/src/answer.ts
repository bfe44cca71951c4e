import type { ExecuteResponse } from "alga:extension/types";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function answer(status: number, value: unknown): ExecuteResponse {
  const body = encoder.encode(JSON.stringify(value, plain, 2));
  return { status, headers: [{ name: "content-type", value: "application/json" }], body };
}

/** What JSON has no word for: bytes are shown as text, and 64-bit numbers as numbers. */
function plain(_name: string, value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return decoder.decode(value);
  if (typeof value === "bigint") return Number(value);
  return value;
}
