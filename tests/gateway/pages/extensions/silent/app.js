const host = new URL(location.href).searchParams.get("parentOrigin");
if (host) parent.postMessage({ alga: true, version: "1", type: "ready", payload: {} }, host);
