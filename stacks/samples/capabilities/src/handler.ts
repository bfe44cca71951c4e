// Uses every capability that a host can grant, and says what each call gave.
//
//   GET  /report?url=…&route=…   only reads
//   POST /report?url=…&route=…   writes as well; the body says what to invoice:
//                                {"client_id": "…", "service_id": "…"}
import type { ExecuteRequest, ExecuteResponse } from "alga:extension/types";

import { answer } from "./answer";
import { reads } from "./reads";
import { writes, type Order } from "./writes";

export function handler({ http }: ExecuteRequest): ExecuteResponse {
  const [path, query = ""] = http.url.split("?");
  if (path !== "/report") return answer(404, { error: `there is nothing at ${path}` });
  const asked = parameters(query);
  switch (http.method) {
    case "GET":
      return answer(200, reads(asked));
    case "POST":
      try {
        return answer(200, { ...reads(asked), ...writes(order(http.body)) });
      } catch (error) {
        return answer(400, { error: `cannot read the body: ${error}` });
      }
    default:
      return answer(405, { error: "only GET and POST are answered" });
  }
}

/** The runner gives a query as forms write it: with + for a space. */
function parameters(query: string): Record<string, string> {
  const pairs = query.split("&").filter(Boolean);
  const text = (part: string) => decodeURIComponent(part.replaceAll("+", " "));
  return Object.fromEntries(
    pairs.map((pair) => {
      const [name, ...value] = pair.split("=");
      return [text(name), text(value.join("="))];
    }),
  );
}

function order(body: Uint8Array | undefined): Order {
  return body?.length ? JSON.parse(new TextDecoder().decode(body)) : {};
}
