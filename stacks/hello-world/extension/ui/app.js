"use strict";

// Alga serves a page at /ext-ui/{extension id}/{content hash}/index.html and appends the tenant,
// the extension id and the host's origin to its address.
function facts(address) {
  const tail = address.pathname.split("/ext-ui/")[1];
  const [extension, content] = tail ? tail.split("/").map(decodeURIComponent) : [];
  const query = address.searchParams;
  return {
    extension: query.get("extensionId") || extension,
    content,
    tenant: query.get("tenant"),
    host: query.get("parentOrigin"),
  };
}

function show(found) {
  for (const [name, value] of Object.entries(found)) {
    if (value) {
      document.querySelector(`[data-fact="${name}"]`).textContent = value;
    }
  }
}

function connect(host) {
  const send = (type, payload) =>
    window.parent.postMessage({ alga: true, version: "1", type, payload }, host);

  window.addEventListener("message", (event) => {
    if (event.source === window.parent && event.data?.type === "theme") {
      adopt(event.data.payload);
    }
  });
  // The body, not the root: the root is never lower than the frame and could only grow.
  new ResizeObserver(() => send("resize", { height: Math.ceil(document.body.offsetHeight) }))
    .observe(document.body);
  send("ready", {});
}

function adopt(theme) {
  for (const [name, value] of Object.entries(theme ?? {})) {
    if (name.startsWith("--alga-")) {
      document.documentElement.style.setProperty(name, value);
    }
  }
}

const found = facts(new URL(window.location.href));
show(found);
if (window.parent !== window) {
  show({ host: found.host || "unknown: it did not give its origin" });
  // Neither message holds a secret, and one of Alga's hosts loses the origin on the way.
  connect(found.host || "*");
}
