"""The access log of the runner: what a line says about a request.

It names the tenant, the extension and the outcome, and holds no key, query or address of the store.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Scope

from algaenv.runner.http import request_header
from algaenv.serving.access_log import SERVER_ERROR, log_fields

_requests = logging.getLogger("algaenv.runner.request")
_QUIET = frozenset(("/healthz", "/readyz", "/metrics"))


@dataclass(slots=True)
class RequestLogEntry:
    """What is known about a request so far; the handler fills in what it learns."""

    tenant: str | None = None
    extension: str | None = None
    hash: str | None = None
    cache: str | None = None
    """`hit`, `miss`, or `spa-fallback` where the index answered for another path."""
    reason: str | None = None
    status: int = 500
    sent: int = 0
    extra: Mapping[str, object] | None = None
    """Further fields, such as the times of a call's parts."""


def write_entry(scope: Scope, entry: RequestLogEntry, seconds: float) -> None:
    """Log a request. Questions about health are of level debug: they come every few seconds."""
    level = logging.INFO
    if entry.status >= SERVER_ERROR:
        level = logging.ERROR
    elif scope["path"] in _QUIET:
        level = logging.DEBUG
    fields = {
        "request_id": request_header(scope, b"x-request-id"),
        "method": scope["method"],
        "path": scope["path"],
        "tenant": entry.tenant,
        "extension": entry.extension,
        "hash": entry.hash,
        "cache": entry.cache,
        "why": entry.reason,
        "status": entry.status,
        "duration_ms": round(seconds * 1000, 2),
        "bytes": 0 if scope["method"] == "HEAD" else entry.sent,
        **(entry.extra or {}),
    }
    log_fields(_requests, level, "request", fields)
