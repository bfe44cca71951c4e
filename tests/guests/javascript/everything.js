// A JavaScript guest as an extension's author builds it: the language of ../script/README.md, and
// the paths that the benchmarks and Alga's own fixture ask for.
import { getContext } from "alga:extension/context";
import { fetch } from "alga:extension/http";
import { logInfo, logWarn } from "alga:extension/logging";
import * as secrets from "alga:extension/secrets";
import * as storage from "alga:extension/storage";
import { callRoute } from "alga:extension/ui-proxy";
import { getUser } from "alga:extension/user";

import { hog, plain, recurse, run } from "./language.js";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const JSON_TYPE = { name: "content-type", value: "application/json" };

const answer = (status, value, ...more) => ({
  status,
  headers: [JSON_TYPE, ...more],
  body: encoder.encode(JSON.stringify(value)),
});

/** What a call gives, or null and the name of its error. */
const attempt = (call) => {
  try {
    return [call(), null];
  } catch (error) {
    return [null, error?.payload ?? String(error)];
  }
};

const TICKETS = Array.from({ length: 10 }, (_, index) => ({
  id: `ticket-${index}`,
  title: `The printer on floor ${index} is on fire`,
  open: index % 3 !== 0,
  minutes: index * 15,
}));
const LISTING = JSON.stringify({ items: TICKETS });

const summary = (listing) => {
  const items = JSON.parse(listing).items.filter((item) => item.open);
  return {
    count: items.length,
    minutes: items.reduce((sum, item) => sum + item.minutes, 0),
    items: items.map(({ id, title }) => ({ id, title: title.toUpperCase() })),
  };
};

/** Six host calls that stay in the runner's process, and some JSON. */
function typical() {
  const context = getContext();
  logInfo(`called by ${context.tenantId}`);
  const [secret, secretError] = attempt(() => secrets.get("ALGA_API_KEY"));
  const [entry, storageError] = attempt(() => storage.get("settings", "theme"));
  const [user, userError] = attempt(() => getUser());
  logWarn("about to answer");
  return answer(200, {
    tenant: context.tenantId,
    secret: secret?.length ?? secretError,
    storage: plain(entry) ?? storageError,
    user: user?.userName ?? userError,
    ...summary(LISTING),
  });
}

/** The same with a lookup and a request that leave the process; `x-fetch-url` says whereto. */
function typicalIo({ http: request }) {
  const context = getContext();
  logInfo(`called by ${context.tenantId}`);
  const [secret, secretError] = attempt(() => secrets.get("ALGA_API_KEY"));
  const [entry, storageError] = attempt(() => storage.get("settings", "theme"));
  const url = request.headers.find(({ name }) => name === "x-fetch-url")?.value;
  const headers = [{ name: "authorization", value: `Bearer ${secret}` }];
  const [fetched, fetchError] = attempt(() =>
    fetch({ method: "GET", url: url ?? "http://127.0.0.1:9/", headers, body: undefined }),
  );
  logWarn("about to answer");
  const found = fetched && attempt(() => summary(decoder.decode(fetched.body)))[0];
  return answer(200, {
    tenant: context.tenantId,
    secret: secret?.length ?? secretError,
    storage: plain(entry) ?? storageError,
    fetched: fetched?.status ?? fetchError,
    ...(found ?? summary(LISTING)),
  });
}

const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2));

/** How Alga's own fixture answers. */
function dynamic({ context, http: { method, url, body } }) {
  const made = { name: "x-generated-by", value: "js-component" };
  const { tenantId, extensionId } = context;
  const told = { ok: true, method, path: url, tenantId, extensionId };
  if (url.startsWith("/dynamic/secrets")) {
    const found = { value: null, keys: [], error: null };
    try {
      found.keys = secrets.listKeys();
      found.value = secrets.get("ALGA_API_KEY");
    } catch (error) {
      found.error = message(error);
    }
    return answer(200, { ...told, ok: found.error === null, secrets: found }, made);
  }
  if (url.startsWith("/dynamic/ui-proxy")) {
    const proxy = { response: null, error: null };
    try {
      proxy.response = Array.from(callRoute("/proxy/ping", body));
    } catch (error) {
      proxy.error = message(error);
    }
    return answer(200, { ...told, ok: proxy.error === null, proxy }, made);
  }
  return answer(200, { ...told, echo: body === undefined ? null : Array.from(body) }, made);
}

const message = (error) => [error?.message ?? String(error), error?.payload].join(" ");

export function handler(request) {
  const { url, body } = request.http;
  const [, first, second] = url.split("?")[0].split("/");
  switch (first) {
    case "min":
      return { status: 204, headers: [], body: undefined };
    case "small":
      return answer(200, { ok: true });
    case "typical":
      return typical();
    case "typical-io":
      return typicalIo(request);
    case "fib":
      return answer(200, { fib: fib(Number(second)) });
    case "echo":
      return { status: 200, headers: request.http.headers, body };
    case "loop":
      for (;;);
    case "throw":
      throw new Error("as it was asked to");
    case "deep":
      return answer(200, recurse(0));
    case "hog":
      return hog();
    case "dynamic":
      try {
        return dynamic(request);
      } catch (error) {
        return answer(500, { ok: false, error: String(error) });
      }
    default:
      return run(request);
  }
}
