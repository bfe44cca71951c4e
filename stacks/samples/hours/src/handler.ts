// The handler: GET /bill?minutes=95&rate=120 answers what is billed.
import { logInfo } from "alga:extension/logging";
import type { ExecuteRequest, ExecuteResponse } from "alga:extension/types";

import { bill } from "./bill";

export function handler({ http }: ExecuteRequest): ExecuteResponse {
  const query = http.url.split("?")[1] ?? "";
  const asked = Object.fromEntries(query.split("&").map((pair) => pair.split("=")));
  const answer = bill(Number(asked.minutes ?? 60), Number(asked.rate ?? 100));
  logInfo(`billed ${answer.hours} hours`);
  const body = new TextEncoder().encode(JSON.stringify(answer));
  return { status: 200, headers: [{ name: "content-type", value: "application/json" }], body };
}
