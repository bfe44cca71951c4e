"""Both portals of the product, their sidebars, and `/`, the list of all extensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from algaenv.gateway.installs import Install
from algaenv.gateway.pages.rendering import Renderer, load_installs
from algaenv.gateway.quirks import DIFFERENCES
from algaenv.gateway.users import User, Users

if TYPE_CHECKING:
    from algaenv.gateway.state import AppState


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
        """The user of the page: the one that the request names, else the first who fits.

        A choice that only a cookie remembers gives way, since it was made in the other portal.
        """
        if chosen is not None and (named or self.fits(chosen)):
            return chosen
        return next(filter(self.fits, users.all), users.default)


PORTALS = (
    Portal("msp", "MSP", "/msp/extensions", "appMenu"),
    Portal("client", "Client portal", "/client-portal/extensions", "clientPortalMenu"),
)


@dataclass(frozen=True, slots=True)
class SidebarEntry:
    """A line of a sidebar."""

    label: str
    path: str


@dataclass(frozen=True, slots=True)
class Sidebar:
    """What one portal shows."""

    portal: Portal
    entries: tuple[SidebarEntry, ...]


@dataclass(frozen=True, slots=True)
class ListedExtension:
    """An extension, with its state in words and why a sidebar may not show it."""

    install: Install
    state: str
    paths: tuple[tuple[Portal, str], ...]
    remarks: tuple[str, ...]


def sidebars(found: list[Install]) -> tuple[Sidebar, ...]:
    """Both, in the order of the labels."""
    return tuple(
        Sidebar(
            portal,
            tuple(
                sorted(
                    (
                        SidebarEntry(label, portal.path(install.registry_id))
                        for install in found
                        if (label := portal.label(install))
                    ),
                    key=lambda entry: (entry.label.casefold(), entry.path),
                )
            ),
        )
        for portal in PORTALS
    )


def list_extension(install: Install) -> ListedExtension:
    """An extension as the list shows it."""
    return ListedExtension(
        install,
        "enabled" if install.available else f"disabled (status {install.status})",
        tuple((portal, portal.path(install.registry_id)) for portal in PORTALS),
        tuple(_remarks(install)),
    )


def _remarks(install: Install) -> list[str]:
    found = []
    if not install.available:
        found.append("Calls to it are answered 404 until it is enabled.")
    if not install.ui:
        found.append("Its manifest declares no page.")
    elif not any(install.menu_label(portal.menu) for portal in PORTALS):
        found.append("Its manifest asks for no menu entry.")
    if not install.content_hash:
        found.append("It has no bundle.")
    return found


class IndexPage:
    """Answers for the page."""

    def __init__(self, state: AppState, rendering: Renderer) -> None:
        self._state = state
        self._rendering = rendering

    async def respond(self, request: Request) -> Response:  # noqa: ARG002
        """The page, from the present rows of the database."""
        found = await load_installs(self._state, self._rendering)
        if isinstance(found, Response):
            return found
        return self._rendering.page(
            "index.html",
            tenant=self._state.config.tenant,
            sidebars=sidebars(found),
            extensions=[list_extension(install) for install in found],
            differences=DIFFERENCES,
        )
