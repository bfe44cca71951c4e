"""Which calls are made where nobody has written them down."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from algaenv.model.comparison import SAFE_METHODS, Call, CallList, LeftOut

CHANGES = "its method may change something"
PARAMETERS = "its path has parameters"
NO_TEXT = "its path is no UTF-8"
NO_NAME = "the name of its user cannot be sent"
CUT = "the record has only the beginning of its path"
_REPLACED = re.compile(r"[\uFFFD\uD800-\uDFFF]")
"""What a decoder leaves of bytes that are no UTF-8."""
RECORDED_CHARS = 300
"""Characters of a path that the gateway keeps."""


def declared_calls(endpoints: Iterable[tuple[str, str]], user: str | None) -> CallList:
    """The endpoints of a manifest that change nothing and have no parameter."""
    calls, left_out = [], []
    for method, path in dict.fromkeys(endpoints):
        if method.upper() not in SAFE_METHODS:
            left_out.append(LeftOut(method, path, CHANGES))
        elif "/:" in path:
            left_out.append(LeftOut(method, path, PARAMETERS))
        elif _REPLACED.search(path):
            left_out.append(LeftOut(method, path, NO_TEXT))
        else:
            calls.append(Call(method.upper(), _escaped(path), user=user))
    return CallList(tuple(calls), left_out=tuple(left_out))


def recorded_calls(events: Iterable[Mapping[str, object]], user: str | None) -> CallList:
    """The calls among a gateway's events, each once, in the order of the first of them.

    Bodies and queries are not recorded: a call that had a query is made without it. Paths are
    recorded as they read without escapes.
    """
    calls: dict[tuple[str, str, str | None], Call] = {}
    left_out: dict[LeftOut, None] = {}
    for event in events:
        if event.get("type") != "call-ended" or event.get("gateway") not in ("direct", "proxy"):
            continue
        method, path = str(event.get("method", "")).upper(), str(event.get("path", ""))
        recorded_user = event.get("user")
        who = user or (recorded_user if isinstance(recorded_user, str) else None)
        if method not in SAFE_METHODS:
            left_out[LeftOut(method, path, CHANGES)] = None
        elif len(path) >= RECORDED_CHARS:
            left_out[LeftOut(method, path, CUT)] = None
        elif _REPLACED.search(path):
            left_out[LeftOut(method, path, NO_TEXT)] = None
        elif who is not None and not (who.isascii() and who.isprintable()):
            left_out[LeftOut(method, path, NO_NAME)] = None
        else:
            calls.setdefault((method, path, who), Call(method, _escaped(path), user=who))
    return CallList(tuple(calls.values()), left_out=tuple(left_out))


def _escaped(path: str) -> str:
    """The path as a URL has it, where a question mark begins a query and `%` an escape."""
    return quote(path, safe="/:@!$&'()*+,;=~-._")
