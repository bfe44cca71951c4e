"""The rules for the path below a bundle's URL."""

from __future__ import annotations

import re

from algaenv.bundle.names import SERVED

_SUFFIXES = frozenset(SERVED)
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
"""Every control character there is, and the backslash."""


def clean(tail: str) -> str | None:
    """Bring a decoded tail to `a/b/c` without empty segments; None when it is not allowed.

    The empty result stands for the root. Absolute paths, hidden names, `.` and `..`, control
    characters, backslashes and suffixes Alga's runner does not serve are refused; a name without
    a dot is always allowed.
    """
    if tail.startswith("/") or _FORBIDDEN.search(tail):
        return None
    segments = [segment for segment in tail.split("/") if segment]
    if any(segment.startswith(".") for segment in segments):
        return None
    if segments:
        _, dot, suffix = segments[-1].rpartition(".")
        if dot and suffix.lower() not in _SUFFIXES:
            return None
    return "/".join(segments)
