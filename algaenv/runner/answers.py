"""Answers that nobody may keep: errors, redirects and states."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response

_NO_STORE = {"cache-control": "no-store"}


def empty(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """An answer without a body."""
    return Response(status_code=status, headers={**_NO_STORE, **(headers or {})})


def text(status: int, message: str) -> Response:
    """A plain sentence."""
    return Response(message, status, _NO_STORE, media_type="text/plain")


def document(status: int, fields: Mapping[str, object]) -> Response:
    """A JSON object."""
    return Response(json.dumps(fields), status, _NO_STORE, media_type="application/json")
