"""What a handler can be allowed to do, and what it was."""

from __future__ import annotations

from collections.abc import Iterable

CONTEXT = "cap:context.read"
SECRETS = "cap:secrets.get"
HTTP = "cap:http.fetch"
STORAGE = "cap:storage.kv"
LOG = "cap:log.emit"
UI_PROXY = "cap:ui.proxy"
USER = "cap:user.read"
SCHEDULER = "cap:scheduler.manage"
INVOICING = "cap:invoice.manual.create"
CLIENTS = "cap:client.read"
SERVICES = "cap:service.read"

DEFAULTS = frozenset((CONTEXT, LOG, USER))
"""Every handler has these."""

KNOWN = DEFAULTS | {
    SECRETS,
    HTTP,
    STORAGE,
    UI_PROXY,
    SCHEDULER,
    INVOICING,
    CLIENTS,
    SERVICES,
}


class UnknownCapabilities(Exception):
    """The text is the `error` of the answer: `unknown_capabilities: cap:a, cap:b`."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        super().__init__(f"unknown_capabilities: {', '.join(self.names)}")


def granted(providers: Iterable[str]) -> frozenset[str]:
    """The capabilities of a request, trimmed, in lower case and without blanks, with the defaults.

    Raises UnknownCapabilities with all that do not exist, each once and in the order given.
    """
    named = [name for provider in providers if (name := provider.strip().lower())]
    if unknown := [name for name in dict.fromkeys(named) if name not in KNOWN]:
        raise UnknownCapabilities(unknown)
    return DEFAULTS.union(named)
