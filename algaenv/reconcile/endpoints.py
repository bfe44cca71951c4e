"""Where the gateway shows an extension's page: the paths of the app server's two portals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

PREFIXES: Final[Mapping[str, str]] = {
    "msp": "/msp/extensions/",
    "client": "/client-portal/extensions/",
}
CLIENT_MENU: Final = "clientPortalMenu"
"""The hook of a manifest without which the client portal shows nothing of an extension."""


def portal_path(portal: str, registry: str) -> str:
    """Path of the page around an extension; raises KeyError for what is no portal."""
    return PREFIXES[portal] + quote(registry, safe="")


def portals_of(ui: object) -> tuple[str, ...]:
    """The portals that show an extension, by the `ui` of its rows."""
    if not isinstance(ui, Mapping):
        return ()
    hooks = ui.get("hooks")
    in_both = isinstance(hooks, Mapping) and CLIENT_MENU in hooks
    return ("msp", "client") if in_both else ("msp",)
