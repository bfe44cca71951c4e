"""The two portals of the product, and which extensions their sidebars show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from algaenv.gateway.installs import Install
from algaenv.gateway.users import User, Users


@dataclass(frozen=True, slots=True)
class Portal:
    """One of them. `menu` is the hook of the manifest that puts an extension into its sidebar."""

    key: Literal["msp", "client"]
    title: str
    prefix: str
    menu: Literal["appMenu", "clientPortalMenu"]

    def path(self, registry_id: str) -> str:
        """Path of the page around an extension."""
        return f"{self.prefix}/{quote(registry_id, safe='')}"

    def label(self, install: Install) -> str | None:
        """The extension's entry in the sidebar; None where the product shows none.

        The sidebar of the MSP does not look at `status`; that of the client portal does.
        """
        shown = install.is_enabled if self.key == "msp" else install.available
        return install.menu_label(self.menu) if shown else None

    def fits(self, user: User) -> bool:
        """Whether the product would let this user in."""
        return user.is_client == (self.key == "client")

    def visitor(self, users: Users, chosen: User | None, *, named: bool) -> User:
        """Who looks at the page: whoever the request names, else the first one who fits.

        A choice that only a cookie remembers gives way, since it was made in the other portal.
        """
        if chosen is not None and (named or self.fits(chosen)):
            return chosen
        return next(filter(self.fits, users.all), users.default)


PORTALS = (
    Portal("msp", "MSP", "/msp/extensions", "appMenu"),
    Portal("client", "Client portal", "/client-portal/extensions", "clientPortalMenu"),
)
