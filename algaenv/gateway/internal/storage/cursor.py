"""Where a listing goes on: base64url of `{"key": …}`; the next page begins after that key."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

from algaenv.gateway.internal import jsontext
from algaenv.gateway.internal.refusal import Refused


def encode_cursor(key: str) -> str:
    """The cursor of a page that begins after this key."""
    return urlsafe_b64encode(jsontext.write({"key": key})).rstrip(b"=").decode()


def decode_cursor(cursor: str | None) -> str | None:
    """The key in a cursor; None without one. Raises Refused for what is none of ours."""
    if not cursor:
        return None
    try:
        found = json.loads(
            urlsafe_b64decode(cursor.rstrip("=") + "=" * (-len(cursor.rstrip("=")) % 4))
        )
        text = found["key"]
    except (ValueError, TypeError, KeyError):
        text = None
    if not isinstance(text, str):
        raise Refused("VALIDATION_FAILED", "The cursor is not one that a page gave")
    return text
