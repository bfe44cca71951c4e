import { announce, callHandler } from "./bridge.js";

const form = document.querySelector("form");
const list = document.querySelector("ul");
const empty = document.querySelector("#empty");
const status = document.querySelector("#status");

/** Runs one request, with the form out of reach until it has ended. */
async function attempt(words, request) {
  status.textContent = words;
  form.inert = list.inert = true;
  try {
    show(await request());
    status.textContent = "";
    return true;
  } catch (error) {
    status.textContent = error.unframed
      ? "Open this page in Alga: it reaches its handler through the page around it."
      : error.message;
    return false;
  } finally {
    form.inert = list.inert = false;
  }
}

function show(notes) {
  empty.hidden = notes.length > 0;
  list.replaceChildren(...notes.map(item));
}

function item({ id, text, at, author }) {
  const shown = document.querySelector("template").content.cloneNode(true);
  shown.querySelector("p").textContent = text;
  shown.querySelector("b").textContent = author;
  const time = shown.querySelector("time");
  time.dateTime = at;
  time.textContent = new Date(at).toLocaleString();
  const remove = () => callHandler("DELETE", `/notes/${encodeURIComponent(id)}`);
  const button = shown.querySelector("button");
  button.setAttribute("aria-label", `Remove the note: ${text.slice(0, 60)}`);
  button.addEventListener("click", () => attempt("Removing…", remove));
  return shown;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const note = { text: form.elements.text.value, at: new Date().toISOString() };
  if (await attempt("Adding…", () => callHandler("POST", "/notes", note))) form.reset();
  form.elements.text.focus();
});

announce();
attempt("Loading…", () => callHandler("GET", "/notes"));
