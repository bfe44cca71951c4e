"""The guests that are called: real ones, and as many different ones of a kind as are needed."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, Final

from benchmarks.command import Unmeasured

TENANT: Final = "tenant-a"
EXTENSION: Final = "demo-ext"
SECRET: Final = {"ALGA_API_KEY": "sk_live_secret"}
USER: Final = {
    "user_id": "u-1",
    "user_email": "ada@example.com",
    "user_name": "Ada",
    "user_type": "internal",
    "client_name": "Example",
}
GRANTED: Final = ("cap:secrets.get", "cap:http.fetch")
"""Storage is not granted: its answer, `denied`, stays in the process."""


def everything() -> bytes:
    """A JavaScript component of 12 MB, as Alga's tools build it. Raises Unmeasured."""
    from tests import guests

    try:
        return guests.built("everything-js").read_bytes()
    except guests.ToolMissing as error:
        raise Unmeasured(str(error)) from error


def minimal() -> bytes:
    """The smallest component there is: 1 KB."""
    from tests import guests

    return guests.built("minimal").read_bytes()


def variant(component: bytes, number: int) -> bytes:
    """The same behaviour under another digest: a custom section more, which nothing reads."""
    name, text = b"variant", str(number).encode()
    content = bytes((len(name),)) + name + text
    return component + bytes((0, len(content))) + content


def call(
    content_hash: str, path: str, headers: dict[str, str] | None = None, timeout_ms: int = 30_000
) -> bytes:
    """The body of an execute request, as the gateway would send it."""
    fields: dict[str, Any] = {
        "context": {
            "request_id": "r-1",
            "tenant_id": TENANT,
            "extension_id": EXTENSION,
            "content_hash": content_hash,
        },
        "http": {"method": "GET", "path": path, "headers": headers or {}},
        "limits": {"timeout_ms": timeout_ms},
        "providers": list(GRANTED),
        "user": USER,
        "secret_envelope": {
            "algorithm": "inline/base64",
            "ciphertext_b64": b64encode(json.dumps(SECRET).encode()).decode(),
            "version": "v1",
        },
    }
    return json.dumps(fields).encode()
