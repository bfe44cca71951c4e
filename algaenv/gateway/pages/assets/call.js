// The form that sends a call as a user, and what came of it. An answer is shown as text.

import { find } from "./panel.js";

const form = /** @type {HTMLFormElement} */ (find(document, "#send"));
const answer = find(document, "#answer");
const field = (/** @type {string} */ name) =>
  /** @type {HTMLSelectElement & HTMLInputElement} */ (form.elements.namedItem(name));

/** Offers the endpoints of the extension that is chosen. */
function offer() {
  const [chosen] = field("extension").selectedOptions;
  const endpoints = (chosen?.dataset.endpoints ?? "").split("\n").filter(Boolean);
  // One that declares nothing answers 404 to all, which may be what is to be seen.
  const offered = endpoints.length ? endpoints : ["GET /", "POST /"];
  field("endpoint").replaceChildren(...offered.map((it) => new Option(it)));
  take();
}

/** Takes method and path of the endpoint; `:name` parts are for the person to fill in. */
function take() {
  const [method, path] = parts();
  if (path) field("path").value = path;
  field("body").disabled = method === "GET" || method === "HEAD";
}

/** @returns {[string, string]} */
function parts() {
  const [method = "GET", ...path] = field("endpoint").value.split(" ");
  return [method || "GET", path.join(" ")];
}

/** @param {Response} response */
function headersOf(response) {
  return [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
}

/** @param {string} text */
function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function send() {
  const [method] = parts();
  const body = field("body").value;
  const path = field("path").value.replace(/^\/*/, "/");
  const address = `/api/ext-proxy/${encodeURIComponent(field("extension").value)}${path}`;
  const request = { method, headers: new Headers({ "x-algaenv-user": field("user").value }) };
  if (body && !field("body").disabled) Object.assign(request, { body });
  if (body) request.headers.set("content-type", readable(body) === body ? "text/plain" : "application/json");
  const began = performance.now();
  try {
    const response = await fetch(address, request);
    const text = await response.text();
    show(String(response.status), response.ok, performance.now() - began, response, text);
  } catch (error) {
    show("no answer", false, performance.now() - began, null, String(error));
  }
}

/**
 * @param {string} status
 * @param {boolean} good
 * @param {number} ms
 * @param {Response | null} response
 * @param {string} text
 */
function show(status, good, ms, response, text) {
  const badge = find(answer, ".badge");
  badge.textContent = status;
  badge.dataset.tone = good ? "good" : "bad";
  const runner = response?.headers.get("x-algaenv-runner-ms");
  find(answer, ".figure").textContent =
    `${ms.toFixed(0)} ms` + (runner ? ` (runner ${runner} ms)` : "");
  const link = /** @type {HTMLAnchorElement} */ (find(answer, "a"));
  const id = response?.headers.get("x-algaenv-request-id");
  link.hidden = !id;
  if (id) link.href = `/calls/${encodeURIComponent(id)}`;
  const why = response?.headers.get("x-algaenv-reason") ?? response?.headers.get("x-algaenv-error");
  find(answer, ".why").textContent = why ?? "";
  find(answer, ".headers").textContent = response ? headersOf(response) : "";
  find(answer, ".body").textContent = readable(text) || "(no body)";
  answer.hidden = false;
}

field("extension").addEventListener("change", offer);
field("endpoint").addEventListener("change", take);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
offer();
