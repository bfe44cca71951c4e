"""`/`: what the sidebars of both portals show, and every extension, shown there or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from algaenv.gateway.installs import Install
from algaenv.gateway.pages.portal import PORTALS, Portal
from algaenv.gateway.pages.reading import installs
from algaenv.gateway.pages.rendering import Rendering

if TYPE_CHECKING:
    from algaenv.gateway.house import House


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a sidebar."""

    label: str
    path: str


@dataclass(frozen=True, slots=True)
class Sidebar:
    """What one portal shows."""

    portal: Portal
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Listed:
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
                        Entry(label, portal.path(install.registry_id))
                        for install in found
                        if (label := portal.label(install))
                    ),
                    key=lambda entry: (entry.label.casefold(), entry.path),
                )
            ),
        )
        for portal in PORTALS
    )


def listed(install: Install) -> Listed:
    """An extension as the list shows it."""
    return Listed(
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

    def __init__(self, house: House, rendering: Rendering) -> None:
        self._house = house
        self._rendering = rendering

    async def answer(self, request: Request) -> Response:  # noqa: ARG002
        """The page, from what the database says now."""
        found = await installs(self._house, self._rendering)
        if isinstance(found, Response):
            return found
        return self._rendering.page(
            "index.html",
            tenant=self._house.environment.tenant,
            sidebars=sidebars(found),
            extensions=[listed(install) for install in found],
        )
