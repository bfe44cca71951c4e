"""What a handler may be granted. Server and runner of Alga know the same eleven names."""

from __future__ import annotations

from collections.abc import Iterable

PREFIX = "cap:"

DEFAULTS = ("cap:context.read", "cap:log.emit", "cap:user.read")
"""Granted to every handler, in the order in which the product stores them."""

KNOWN = (
    "cap:context.read",
    "cap:secrets.get",
    "cap:http.fetch",
    "cap:storage.kv",
    "cap:log.emit",
    "cap:ui.proxy",
    "cap:user.read",
    "cap:scheduler.manage",
    "cap:invoice.manual.create",
    "cap:client.read",
    "cap:service.read",
)


def normalize(capability: str) -> str:
    """Normalize a name as the product compares it: trimmed and in lower case."""
    return capability.strip().lower()


def known(capabilities: Iterable[str]) -> tuple[str, ...]:
    """Keep the known ones, normalised, each once, in the given order."""
    return tuple(dict.fromkeys(it for it in map(normalize, capabilities) if it in KNOWN))


def effective(capabilities: Iterable[str]) -> tuple[str, ...]:
    """The capabilities of an installation: the known ones, then the missing defaults."""
    return tuple(dict.fromkeys((*known(capabilities), *DEFAULTS)))
