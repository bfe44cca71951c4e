import { createManualInvoice } from "alga:extension/invoicing";
import * as scheduler from "alga:extension/scheduler";
import * as storage from "alga:extension/storage";

import { attempt, type Outcomes } from "./attempt";
import { NAMESPACE } from "./reads";

/** Whom to invoice for what; without it no invoice is asked for. */
export interface Order {
  client_id?: string;
  service_id?: string;
}

/** The capabilities that change something: each takes back what it did, the invoice excepted. */
export function writes(order: Order): Record<string, Outcomes> {
  return {
    "cap:storage.kv": {
      put: attempt(visit),
      get: attempt(() => storage.get(NAMESPACE, "visits")),
      delete: attempt(() => storage.delete(NAMESPACE, "visits")),
    },
    "cap:scheduler.manage": schedule(),
    "cap:invoice.manual.create": { "create-manual-invoice": attempt(() => invoice(order)) },
  };
}

function visit(): storage.StorageEntry {
  const value = new TextEncoder().encode(JSON.stringify({ visits: 1 }));
  return storage.put({ namespace: NAMESPACE, key: "visits", value, revision: undefined });
}

function schedule(): Outcomes {
  const made = scheduler.createSchedule({
    endpoint: "GET /report",
    cron: "0 6 * * *",
    timezone: "UTC",
    enabled: false,
    name: "capabilities sample",
    payload: undefined,
  });
  const found: Outcomes = { "create-schedule": { ok: made } };
  const id = made.scheduleId;
  if (id !== undefined) {
    found["get-schedule"] = attempt(() => scheduler.getSchedule(id));
    found["update-schedule"] = attempt(() => scheduler.updateSchedule(id, CHANGE));
    found["delete-schedule"] = attempt(() => scheduler.deleteSchedule(id));
  }
  return found;
}

const CHANGE = {
  endpoint: undefined,
  cron: "0 7 * * *",
  timezone: undefined,
  enabled: undefined,
  name: undefined,
  payload: undefined,
};

function invoice({ client_id: clientId, service_id: serviceId }: Order): object {
  if (!clientId || !serviceId) return { skipped: "the body names no client_id and service_id" };
  return createManualInvoice({
    clientId,
    items: [{ serviceId, quantity: 1, description: "A sample", rate: 100 }],
    invoiceDate: undefined,
    dueDate: undefined,
    poNumber: undefined,
  });
}
