// The language of ../script/README.md for JavaScript guests.
import { getContext } from "alga:extension/context";
import * as clients from "alga:extension/clients";
import * as http from "alga:extension/http";
import * as invoicing from "alga:extension/invoicing";
import * as logging from "alga:extension/logging";
import * as scheduler from "alga:extension/scheduler";
import * as secrets from "alga:extension/secrets";
import * as services from "alga:extension/services";
import * as storage from "alga:extension/storage";
import * as uiProxy from "alga:extension/ui-proxy";
import * as user from "alga:extension/user";
import * as userV2 from "alga:extension/user-v2";

import { fromBase64, toBase64 } from "./base64.js";

const encoder = new TextEncoder();

const text = (value) => {
  if (typeof value === "string") return value;
  if (value?.b64 !== undefined) {
    return new TextDecoder("utf-8", { fatal: true }).decode(fromBase64(value.b64));
  }
  if (value?.repeat !== undefined) {
    return value.repeat.repeat(value.times);
  }
  throw new Error(`not a string: ${JSON.stringify(value)}`);
};

const FLOATS = { nan: NaN, inf: Infinity, "-inf": -Infinity };
const optional = (value) => value ?? undefined;
const bytes = (value) => (value == null ? undefined : fromBase64(value));
const headers = (pairs) => (pairs ?? []).map(([name, value]) => ({ name: text(name), value: text(value) }));
const float = (value) => FLOATS[value] ?? value;

/** A record whose fields need nothing but their names: snake_case here, camelCase in the ABI. */
const record = (value) =>
  Object.fromEntries(
    Object.entries(value ?? {}).map(([name, field]) => [
      name.replace(/_(.)/g, (_, letter) => letter.toUpperCase()),
      optional(field),
    ]),
  );

const entry = (value) => ({
  namespace: text(value.namespace),
  key: text(value.key),
  value: fromBase64(value.value),
  revision: value.revision == null ? undefined : BigInt(value.revision),
});

const outbound = (value) => ({
  method: text(value.method),
  url: text(value.url),
  headers: headers(value.headers),
  body: bytes(value.body),
});

const invoice = (value) => ({
  ...record(value),
  items: value.items.map((item) => ({
    ...record(item),
    quantity: float(item.quantity),
    rate: float(item.rate),
  })),
});

const FUNCTIONS = {
  "context.get-context": () => getContext(),
  "secrets.get": (key) => secrets.get(text(key)),
  "secrets.list-keys": () => secrets.listKeys(),
  "http.fetch": (request) => http.fetch(outbound(request)),
  "storage.get": (namespace, key) => storage.get(text(namespace), text(key)),
  "storage.put": (value) => storage.put(entry(value)),
  "storage.delete": (namespace, key) => storage.delete(text(namespace), text(key)),
  "storage.list-entries": (namespace, cursor) => storage.listEntries(text(namespace), optional(cursor)),
  "logging.log-info": (message) => logging.logInfo(text(message)),
  "logging.log-warn": (message) => logging.logWarn(text(message)),
  "logging.log-error": (message) => logging.logError(text(message)),
  "ui-proxy.call-route": (route, payload) => uiProxy.callRoute(text(route), bytes(payload)),
  "user.get-user": () => user.getUser(),
  "user-v2.get-user": () => userV2.getUser(),
  "scheduler.list-schedules": () => scheduler.listSchedules(),
  "scheduler.get-schedule": (id) => scheduler.getSchedule(text(id)),
  "scheduler.create-schedule": (input) => scheduler.createSchedule(record(input)),
  "scheduler.update-schedule": (id, input) => scheduler.updateSchedule(text(id), record(input)),
  "scheduler.delete-schedule": (id) => scheduler.deleteSchedule(text(id)),
  "scheduler.get-endpoints": () => scheduler.getEndpoints(),
  "invoicing.create-manual-invoice": (input) => invoicing.createManualInvoice(invoice(input)),
  "clients.list-clients": (input) => clients.listClients(record(input)),
  "clients.get-client": (id) => clients.getClient(text(id)),
  "services.list-services": (input) => services.listServices(record(input)),
  "services.get-service": (id) => services.getService(text(id)),
  spin: (loops) => void spin(loops),
};

function spin(loops) {
  let sum = 0;
  for (let index = 0; index < loops * 100_000; index += 1) {
    sum = (sum + index) | 0;
  }
  return sum;
}

/** What a value of the ABI is in the answer's JSON. */
export function plain(value) {
  if (value === undefined || value === null) return null;
  if (ArrayBuffer.isView(value)) return toBase64(value);
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      name === "headers" ? field.map((header) => [header.name, header.value]) : plain(field),
    ]),
  );
}

export function call({ fn, args = [] }) {
  if (fn === "times") {
    let last = { ok: null };
    for (let count = 0; count < args[0]; count += 1) last = call(args[1]);
    return last;
  }
  if (!(fn in FUNCTIONS)) return { bad: `there is no function ${fn}` };
  try {
    return { ok: plain(FUNCTIONS[fn](...args)) };
  } catch (error) {
    return error?.payload === undefined ? { bad: String(error) } : { err: error.payload };
  }
}

export const recurse = (depth) => 1 + recurse(depth + 1);

export function hog() {
  const held = [];
  for (;;) held.push(new Uint8Array(1 << 20).fill(1));
}

function finish(then) {
  if (then == null) return;
  if (then.spin !== undefined) return void spin(then.spin);
  switch (then) {
    case "loop":
      for (;;);
    case "recurse":
      return void recurse(0);
    case "grow":
      return hog();
    default:
      throw new Error(`then: ${JSON.stringify(then)}`);
  }
}

function parse(body) {
  if (body === undefined) return [undefined, null];
  try {
    const script = JSON.parse(new TextDecoder().decode(body));
    if (script !== null && typeof script === "object" && !Array.isArray(script)) return [script, null];
    return [undefined, "not an object"];
  } catch (error) {
    return [undefined, String(error)];
  }
}

const json = (value) => encoder.encode(JSON.stringify(value));

export function run({ context, http: request }) {
  const [script, wrong] = parse(request.body);
  const { method, url } = request;
  const seen = { method, url, headers: request.headers.map(({ name, value }) => [name, value]) };
  if (script === undefined) seen.body_b64 = plain(request.body);
  const told = { context: plain(context), request: seen, results: [], script: wrong };
  for (const name of ["request_id", "install_id", "version_id"]) told.context[name] ??= null;
  for (const one of script?.calls ?? []) told.results.push(call(one));
  finish(script?.then);

  const wanted = script?.respond;
  if (wanted == null) {
    const type = { name: "content-type", value: "application/json" };
    return { status: 200, headers: [type], body: json(told) };
  }
  let body;
  if (wanted.body != null) body = encoder.encode(text(wanted.body));
  else if (wanted.body_b64 != null) body = fromBase64(wanted.body_b64);
  else if (wanted.body_size != null) body = new Uint8Array(wanted.body_size).fill(120);
  else if (wanted.results) body = json(told);
  return { status: wanted.status ?? 200, headers: headers(wanted.headers), body };
}
