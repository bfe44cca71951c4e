import { announce, callHandler } from "./bridge.js";

const greeting = document.querySelector("#greeting");
const button = document.querySelector("button");
const status = document.querySelector("#status");

/** Runs one request; shows what it gave, or why it failed. */
async function attempt(request) {
  button.disabled = true;
  try {
    await request();
  } catch (error) {
    status.textContent = error.unframed
      ? "Open this page in Alga: it reaches its handler through the page around it."
      : error.message;
  } finally {
    button.disabled = false;
  }
}

const show = ({ visits }) => (status.textContent = `Visits: ${visits}`);

button.addEventListener("click", () =>
  attempt(async () => show(await callHandler("POST", "/visits"))),
);

announce();
attempt(async () => {
  greeting.textContent = (await callHandler("GET", "/greeting")).message;
  show(await callHandler("GET", "/visits"));
});
