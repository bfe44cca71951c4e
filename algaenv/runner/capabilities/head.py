"""Names and values of headers as they go over the wire."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class BadHeader(Exception):
    """Not to be sent; without a text, since the value may be a secret."""


def is_token(text: str) -> bool:
    """Whether this can be a method or the name of a header."""
    return _TOKEN.fullmatch(text) is not None


def pair(name: str, value: str) -> tuple[bytes, bytes]:
    """A header for the wire; text beyond ASCII goes as UTF-8. Raises BadHeader."""
    # Space around a value has no meaning, and the HTTP library refuses to send it.
    encoded = value.encode().strip(b" \t")
    if not is_token(name) or _FORBIDDEN.search(encoded):
        raise BadHeader
    return name.encode(), encoded
