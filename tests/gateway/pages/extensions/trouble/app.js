window.say = (type, payload, more = {}) =>
  window.parent.postMessage({ alga: true, version: "1", type, payload, ...more }, "*");
/** The host's next message, for a call. */
window.ask = (payload, request) =>
  new Promise((resolve) => {
    window.addEventListener("message", ({ data }) => resolve(data), { once: true });
    window.say("apiproxy", payload, { request_id: request });
  });
window.fail = () => setTimeout(() => { throw new Error("nobody caught this"); });
