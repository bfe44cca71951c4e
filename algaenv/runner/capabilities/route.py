"""From a route as a guest names it to the URL behind the UI's proxy."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

_PATH_KEEPS = "!$&'()*+,:;=@[]|~"
"""All other characters than these, digits, letters and `-._` are encoded; so is `%`, again."""
_QUERY_KEEPS = "!$%&()*+,/:;=?@[\\]^`{|}~"
_DOTS = frozenset((".", ".."))


class BadRoute(Exception):
    """Empty, or it tries to leave its place."""


def address(base: str, extension: str, route: str) -> str:
    """The URL of `route` below `base`, whose own query is dropped. Raises BadRoute.

    A route of the platform's API (`/api/…`) lies directly below the base, another one below the
    extension's id. Empty segments are dropped; the query stays as it is.
    """
    route = route.strip()
    if not route:
        raise BadRoute
    path, _, query = route.partition("?")
    segments = [segment for segment in path.split("/") if segment]
    if _DOTS.intersection(segments):
        raise BadRoute
    if not path.startswith(("/api/", "api/")) and extension and extension not in _DOTS:
        segments.insert(0, extension)
    parts = urlsplit(base)
    below = "".join("/" + quote(segment, safe=_PATH_KEEPS) for segment in segments)
    asked = f"?{quote(query, safe=_QUERY_KEEPS)}" if query else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix('/')}{below}{asked}"
