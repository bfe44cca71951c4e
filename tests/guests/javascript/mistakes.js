// A guest that fails in the way that the last part of its path names: what authors do wrong.
import { fetch as hostFetch } from "alga:extension/http";
import { get as secret } from "alga:extension/secrets";
import { logInfo } from "alga:extension/logging";

const ask = (url) => hostFetch({ method: "GET", url, headers: [], body: undefined });

function deep(n) {
  return 1 + deep(n + 1);
}

const MISTAKES = {
  throw() {
    throw new Error("the author's own words");
  },
  "type-error"() {
    return null.nothing;
  },
  undefined() {
    return undefined;
  },
  shape() {
    return { status: "fine", headers: [], body: undefined };
  },
  memory() {
    const kept = [];
    for (let size = 0; size < 1024; size += 16) kept.push(new Uint8Array(16 * 1024 * 1024).fill(1));
    return { status: 200, headers: [], body: undefined };
  },
  recursion() {
    return { status: deep(0), headers: [], body: undefined };
  },
  secret() {
    return { status: secret("api_key").length, headers: [], body: undefined };
  },
  "host-fetch"() {
    return ask("http://127.0.0.1:9/");
  },
  async timeout() {
    await new Promise((done) => setTimeout(done, 10));
    return { status: 200, headers: [], body: undefined };
  },
  async fetch() {
    const response = await fetch("http://127.0.0.1:9/");
    return { status: response.status, headers: [], body: undefined };
  },
  fine() {
    logInfo("all is well");
    return { status: 200, headers: [], body: undefined };
  },
};

export function handler(request) {
  return MISTAKES[request.http.url.split("/").pop()]();
}
