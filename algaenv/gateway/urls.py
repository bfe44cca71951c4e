"""URLs taken apart: the extension and path of a request, and the origin of a server.

The server hands the path over decoded. `parse_target` takes the raw bytes apart as the product
does: `.` and `..` lead where they lead in a browser, and segments are decoded after that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from algaenv.gateway.users import USER_QUERY

if TYPE_CHECKING:
    from starlette.types import Scope

_HIDDEN = frozenset("/\\\0")
_DOT = re.compile(rb"\.|%2e", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """`ref` names an extension; `path` begins with a slash and has no empty segment."""

    ref: str
    path: str
    query: dict[str, str]
    """Of equal names the last; without the one that selects a user."""
    is_text: bool
    """False for a path that is no UTF-8: it matches no endpoint, whatever is declared."""
    is_plain: bool
    """False for one that has dots for a segment, or hides a slash, a backslash or a NUL in one."""


def parse_target(scope: Scope, prefix: str) -> RequestTarget | None:
    """The target of a request below `prefix`; None when its raw path is not below it."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    start = prefix.encode()
    if not raw.startswith(start):
        return None
    below = raw[len(start) :]
    resolved = _without_dots(below.replace(b"\\", b"/").split(b"/"))
    if resolved is None:
        return None
    decoded = [unquote_to_bytes(each) for each in resolved]
    ref, *rest = (each.decode(errors="replace") for each in decoded)
    text = scope["query_string"].decode("latin-1")
    query = dict(parse_qsl(text, keep_blank_values=True, errors="replace"))
    query.pop(USER_QUERY, None)
    return RequestTarget(
        ref=ref,
        path="/" + "/".join(filter(None, rest)),
        query=query,
        is_text=all(map(_is_text, decoded)),
        is_plain=resolved == below.split(b"/") and not _HIDDEN & set("".join((ref, *rest))),
    )


def _without_dots(segments: list[bytes]) -> list[bytes] | None:
    """What is left once `.` and `..`, encoded or not, are followed; None above the first."""
    found: list[bytes] = []
    for segment in segments:
        match _DOT.sub(b".", segment):
            case b".":
                continue
            case b"..":
                if not found:
                    return None
                found.pop()
            case _:
                found.append(segment)
    return found or None


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


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
