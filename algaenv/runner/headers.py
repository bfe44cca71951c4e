"""Reading one request header."""

from __future__ import annotations

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str | None:
    """The first value of a header; None when it is missing or not visible ASCII.

    `name` is lower case, as a server hands names over.
    """
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text if text.isascii() and text.isprintable() else None
    return None
