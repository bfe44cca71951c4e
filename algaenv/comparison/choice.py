"""Which calls are made where nobody has written them down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from algaenv.model.comparison import SAFE_METHODS, Call, CallList, LeftOut

CHANGES = "its method may change something"
PARAMETERS = "its path has parameters"
CUT = "the record has only the beginning of its path"
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
        else:
            calls.append(Call(method.upper(), path, user=user))
    return CallList(tuple(calls), left_out=tuple(left_out))


def recorded_calls(events: Iterable[Mapping[str, object]], user: str | None) -> CallList:
    """The calls among a gateway's events, each once, in the order of the first of them.

    Bodies and queries are not recorded.
    """
    calls: dict[tuple[str, str, str | None], Call] = {}
    left_out: dict[LeftOut, None] = {}
    for event in events:
        if event.get("type") != "call-ended" or event.get("gateway") not in ("direct", "proxy"):
            continue
        method, path = str(event.get("method", "")).upper(), str(event.get("path", ""))
        who = event.get("user")
        if method not in SAFE_METHODS:
            left_out[LeftOut(method, path, CHANGES)] = None
        elif len(path) >= RECORDED_CHARS:
            left_out[LeftOut(method, path, CUT)] = None
        else:
            asked = user or (who if isinstance(who, str) else None)
            calls.setdefault((method, path, asked), Call(method, path, user=asked))
    return CallList(tuple(calls.values()), left_out=tuple(left_out))
