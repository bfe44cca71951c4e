// The handler: one function answers every endpoint that manifest.json declares.
import { logInfo } from "alga:extension/logging";
import type { ExecuteRequest, ExecuteResponse } from "alga:extension/types";
import { getUser } from "alga:extension/user";

import { addVisit, readVisits } from "./visits";

export function handler({ http }: ExecuteRequest): ExecuteResponse {
  const path = http.url.split("?")[0];
  switch (`${http.method} ${path}`) {
    case "GET /greeting":
      return json(200, { message: `Hello, ${userName()}!` });
    case "GET /visits":
      return json(200, { visits: readVisits() });
    case "POST /visits": {
      const visits = addVisit();
      logInfo(`visit ${visits}`);
      return json(201, { visits });
    }
    default:
      return json(404, { error: `there is no ${http.method} ${path}` });
  }
}

function userName(): string {
  try {
    return getUser().userName;
  } catch {
    return "stranger"; // A schedule has no user.
  }
}

function json(status: number, value: unknown): ExecuteResponse {
  return {
    status,
    headers: [{ name: "content-type", value: "application/json" }],
    body: new TextEncoder().encode(JSON.stringify(value)),
  };
}
