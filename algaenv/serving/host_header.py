"""Reads the host of a request, to tell this machine's own names from those of other sites."""

from __future__ import annotations

from urllib.parse import urlsplit

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
_NOT_IN_HOST = frozenset("/?#@\\")


def host_name(netloc: str) -> str | None:
    """The name in `host[:port]`, in lower case and without a dot at its end; None for no host."""
    if not _NOT_IN_HOST.isdisjoint(netloc):
        return None
    try:
        parts = urlsplit(f"//{netloc}")
        name = (parts.hostname or "").rstrip(".")
        _ = parts.port
    except ValueError:
        return None
    return name or None


def is_loopback(netloc: str) -> bool:
    """Whether `host[:port]` is a name of this machine, on whatever port."""
    name = host_name(netloc)
    return name is not None and (name in LOOPBACK or name.endswith(".localhost"))
