"""The access log of the gateway: what a line says about a request, as JSON or as text.

No record holds a token, a query or a body.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from starlette.types import Scope

from algaenv.serving.access_log import SERVER_ERROR, fields_of, log_fields

_requests = logging.getLogger("algaenv.gateway.request")
_CALL_PREFIXES = ("/api/ext/", "/api/ext-proxy/")


@dataclass(slots=True)
class AccessRecord:
    """What is known about a request; the code that serves it fills it in."""

    request_id: str | None = None
    extension: str | None = None
    """Its slug."""
    user: str | None = None
    runner_ms: float | None = None
    reason: str | None = None
    status: int = 500
    sent: int = 0


def write_record(scope: Scope, record: AccessRecord, seconds: float) -> None:
    """Log a request: calls of handlers at level info, failures at error, all else at debug."""
    path: str = scope["path"]
    level = logging.DEBUG
    if record.status >= SERVER_ERROR:
        level = logging.ERROR
    elif path.startswith(_CALL_PREFIXES):
        level = logging.INFO
    fields = {
        "request_id": record.request_id,
        "method": scope["method"],
        "path": path,
        "extension": record.extension,
        "user": record.user,
        "status": record.status,
        "ms": round(seconds * 1000, 2),
        "runner_ms": record.runner_ms,
        "bytes": 0 if scope["method"] == "HEAD" else record.sent,
        "why": record.reason or None,
    }
    log_fields(_requests, level, "request", fields)


class TextFormatter(logging.Formatter):
    """Formats a record as one line of text for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """`12:00:01 POST /api/ext/… 200 12.3 ms (runner 9.8 ms) as msp`."""
        fields = fields_of(record)
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        if record.name != _requests.name:
            more = " ".join(f"{name}={value}" for name, value in fields.items())
            trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
            return f"{clock} {record.levelname.lower()}: {record.getMessage()} {more}{trace}"
        runner = f" (runner {fields['runner_ms']} ms)" if "runner_ms" in fields else ""
        user = f" as {fields['user']}" if "user" in fields else ""
        reason = f" - {fields['why']}" if "why" in fields else ""
        return (
            f"{clock} {fields['method']} {fields['path']!s:.100} {fields['status']} "
            f"{fields['ms']} ms{runner}{user}{reason}"
        )
