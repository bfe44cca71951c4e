"""Whom a request is for: the extension and the path in its URL, taken apart by raw bytes.

The server hands the path over decoded, where a slash that was written `%2F` looks like one
between segments. Here segments are split first and decoded afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_to_bytes

from starlette.types import Scope

from algaenv.gateway.users import QUERY

_NEVER = frozenset("/\\\0")


@dataclass(frozen=True, slots=True)
class Target:
    """`ref` names an extension; `path` begins with a slash and has no empty segment."""

    ref: str
    path: str
    query: dict[str, str]
    """Of equal names the last; without the one that chooses a user."""
    sound: bool
    """False for a path that climbs, hides a slash in a segment, or is no text: it matches no
    endpoint, whatever is declared."""


def target(scope: Scope, prefix: str) -> Target | None:
    """The target of a request below `prefix`; None when its raw path is not below it."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    start = prefix.encode()
    if not raw.startswith(start):
        return None
    first, *rest = raw[len(start) :].split(b"/")
    ref, whole = _decoded(first)
    segments = [_decoded(each) for each in rest if each]
    text = scope["query_string"].decode("latin-1")
    query = dict(parse_qsl(text, keep_blank_values=True, errors="replace"))
    query.pop(QUERY, None)
    return Target(
        ref=ref,
        path="/" + "/".join(segment for segment, _ in segments),
        query=query,
        sound=whole and all(sound for _, sound in segments),
    )


def _decoded(segment: bytes) -> tuple[str, bool]:
    content = unquote_to_bytes(segment)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content.decode(errors="replace"), False
    return text, text not in {".", ".."} and not _NEVER & set(text)
