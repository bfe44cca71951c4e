// A handler that is evaluated anew in each call, from text that its host holds. The component made
// of this is compiled once; what an author edits is only that text.
import * as clients from "alga:extension/clients";
import * as context from "alga:extension/context";
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
import { source } from "algaenv:dev/shell";

const modules = new Map([
  ["clients", clients],
  ["context", context],
  ["http", http],
  ["invoicing", invoicing],
  ["logging", logging],
  ["scheduler", scheduler],
  ["secrets", secrets],
  ["services", services],
  ["storage", storage],
  ["types", {}],
  ["ui-proxy", uiProxy],
  ["user", user],
  ["user-v2", userV2],
]);

function require(name) {
  const prefix = "alga:extension/";
  const found = name.startsWith(prefix) && modules.get(name.slice(prefix.length));
  if (!found) throw new Error(`cannot import ${JSON.stringify(name)}: the world has no such interface`);
  return found;
}

export function handler(request) {
  // The text begins on the first line, so that its lines are those of the bundle.
  const evaluate = (0, eval)(
    `(function (module, exports, require) {"use strict";${source()}\n})\n//# sourceURL=dist/main.js`,
  );
  const module = { exports: {} };
  evaluate(module, module.exports, require);
  const called = module.exports.handler;
  if (typeof called !== "function") throw new TypeError("the bundle exports no function called handler");
  return called(request);
}
