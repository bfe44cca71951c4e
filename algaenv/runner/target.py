"""What a request for a page asks for, taken from its raw URL."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_to_bytes

PREFIX = b"/ext-ui/"
_PARTS = ("extension_id", "content_hash", "path")


class BadUrl(Exception):
    """The URL cannot be read; the text is for the client."""


@dataclass(frozen=True, slots=True)
class Target:
    """The three parts of the path, decoded once, and the tenant of the query, if it has one."""

    extension: str
    content_hash: str
    tail: str
    tenant: str | None


def split(raw_path: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Split `/ext-ui/a/b/c…` before decoding, so that an encoded slash separates nothing.

    None when a part is missing or empty: there is nothing at such a path.
    """
    if not raw_path.startswith(PREFIX):
        return None
    parts = raw_path[len(PREFIX) :].split(b"/", 2)
    return (parts[0], parts[1], parts[2]) if len(parts) == len(_PARTS) and all(parts) else None


def read_target(parts: tuple[bytes, bytes, bytes], query: bytes) -> Target:
    """Decode the parts. Raises BadUrl."""
    extension, content_hash, tail = (
        _decode(part, name) for part, name in zip(parts, _PARTS, strict=True)
    )
    return Target(extension, content_hash, tail, _tenant(query) if query else None)


def _decode(part: bytes, name: str) -> str:
    try:
        return (unquote_to_bytes(part) if b"%" in part else part).decode()
    except UnicodeDecodeError:
        raise BadUrl(f"Invalid URL: Invalid UTF-8 in `{name}`") from None


def _tenant(query: bytes) -> str | None:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    for name in ("tenant", "path"):
        if sum(key == name for key, _ in pairs) > 1:
            raise BadUrl(f"Failed to deserialize query string: duplicate field `{name}`")
    return next((value for key, value in pairs if key == "tenant"), None)
