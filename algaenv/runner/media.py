"""The media types of the files a page is made of, as Alga's runner names them."""

from __future__ import annotations

HTML = "text/html"
UNKNOWN = "application/octet-stream"

_BY_SUFFIX = {
    "html": HTML,
    "js": "text/javascript",
    "css": "text/css",
    "json": "application/json",
    "map": "text/plain",
    "svg": "image/svg+xml",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "woff": "application/font-woff",
    "woff2": "font/woff2",
}


def media_type(name: str) -> str:
    """The type for a file name, without a charset."""
    _, dot, suffix = name.rpartition(".")
    return _BY_SUFFIX.get(suffix.lower(), UNKNOWN) if dot else UNKNOWN
