import * as clients from "alga:extension/clients";
import { getContext } from "alga:extension/context";
import { fetch } from "alga:extension/http";
import { logError, logInfo, logWarn } from "alga:extension/logging";
import * as scheduler from "alga:extension/scheduler";
import * as secrets from "alga:extension/secrets";
import * as services from "alga:extension/services";
import * as storage from "alga:extension/storage";
import { callRoute } from "alga:extension/ui-proxy";
import * as user from "alga:extension/user";
import * as userV2 from "alga:extension/user-v2";

import { attempt, type Outcomes } from "./attempt";

export const NAMESPACE = "capabilities";

const PAGE = { search: undefined, page: 1, pageSize: 5 };

/** Every capability, without changing anything. */
export function reads(asked: Record<string, string>): Record<string, Outcomes> {
  const url = asked.url ?? "https://example.com/";
  const route = asked.route ?? "/ping";
  return {
    "cap:context.read": { "get-context": attempt(getContext) },
    "cap:log.emit": {
      "log-info": attempt(() => logInfo("this is information")),
      "log-warn": attempt(() => logWarn("this is a warning")),
      "log-error": attempt(() => logError("this is an error, of no consequence")),
    },
    "cap:user.read": {
      "user.get-user": attempt(user.getUser),
      "user-v2.get-user": attempt(userV2.getUser),
    },
    "cap:secrets.get": secretKeys(),
    "cap:http.fetch": { fetch: attempt(() => summary(url)) },
    "cap:ui.proxy": { "call-route": attempt(() => callRoute(route, undefined)) },
    "cap:storage.kv": {
      get: attempt(() => storage.get(NAMESPACE, "visits")),
      "list-entries": attempt(() => storage.listEntries(NAMESPACE, undefined)),
    },
    "cap:scheduler.manage": {
      "get-endpoints": attempt(scheduler.getEndpoints),
      "list-schedules": attempt(scheduler.listSchedules),
    },
    "cap:client.read": {
      "list-clients": attempt(() => clients.listClients({ ...PAGE, includeInactive: false })),
    },
    "cap:service.read": {
      "list-services": attempt(() =>
        services.listServices({ ...PAGE, itemKind: "service", isActive: true, billingMethod: undefined }),
      ),
    },
  };
}

/** Which secrets there are and how long they are: a report is no place for what they say. */
function secretKeys(): Outcomes {
  const found: Outcomes = { "list-keys": attempt(secrets.listKeys) };
  for (const key of secrets.listKeys()) {
    found[`get ${key}`] = attempt(() => `${secrets.get(key).length} characters`);
  }
  return found;
}

function summary(url: string): object {
  const headers = [{ name: "accept", value: "*/*" }];
  const response = fetch({ method: "GET", url, headers, body: undefined });
  const type = response.headers.find(({ name }) => name === "content-type")?.value;
  return { status: response.status, type, bytes: response.body?.length ?? 0 };
}
