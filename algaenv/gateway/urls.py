"""URLs taken apart: the extension and path of a request, and the origin of a server.

The server hands the path over decoded, where a slash that was written `%2F` looks like one
between segments. `parse_target` splits the raw bytes first and decodes the segments afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from algaenv.gateway.users import USER_QUERY

if TYPE_CHECKING:
    from starlette.types import Scope

_FORBIDDEN = frozenset("/\\\0")


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """`ref` names an extension; `path` begins with a slash and has no empty segment."""

    ref: str
    path: str
    query: dict[str, str]
    """Of equal names the last; without the one that selects a user."""
    is_valid: bool
    """False for a path that climbs, hides a slash in a segment, or is no text: it matches no
    endpoint, whatever is declared."""


def parse_target(scope: Scope, prefix: str) -> RequestTarget | None:
    """The target of a request below `prefix`; None when its raw path is not below it."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    start = prefix.encode()
    if not raw.startswith(start):
        return None
    first, *rest = raw[len(start) :].split(b"/")
    ref, whole = _decode(first)
    segments = [_decode(each) for each in rest if each]
    text = scope["query_string"].decode("latin-1")
    query = dict(parse_qsl(text, keep_blank_values=True, errors="replace"))
    query.pop(USER_QUERY, None)
    return RequestTarget(
        ref=ref,
        path="/" + "/".join(segment for segment, _ in segments),
        query=query,
        is_valid=whole and all(is_valid for _, is_valid in segments),
    )


def _decode(segment: bytes) -> tuple[str, bool]:
    content = unquote_to_bytes(segment)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content.decode(errors="replace"), False
    return text, text not in {".", ".."} and not _FORBIDDEN & set(text)


def is_http_url(value: str) -> bool:
    """Whether this is an absolute URL with a host that can be asked over HTTP."""
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def origin_of(url: str) -> str | None:
    """`http://host:port` of a URL, as browsers spell it; None for what is no http(s) URL."""
    url = url.strip()
    if not is_http_url(url):
        return None
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    port = f":{parts.port}" if parts.port not in {None, usual} else ""
    return f"{parts.scheme}://{host}{port}"
