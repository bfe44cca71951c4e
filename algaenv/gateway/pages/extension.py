"""The page around an extension, in either portal: its frame, notices, and the panel.

The product shows this page for an install whether it is enabled or not, by registry id only; other
names are redirected to that one. The address of the frame ends before `parentOrigin`, which the
browser adds. The frame may do what the product's may, which includes being of the same origin as
the page around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from algaenv.bundle.layout import page_path
from algaenv.gateway.installs import Install
from algaenv.gateway.pages.calls import CallRepository, Timeline
from algaenv.gateway.pages.rendering import Renderer, load_installs
from algaenv.gateway.responses import Problem
from algaenv.gateway.urls import is_http_url
from algaenv.gateway.users import USER_COOKIE, USER_HEADER, USER_QUERY, User, Users

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


SANDBOX = "allow-scripts allow-forms allow-popups allow-same-origin"


@dataclass(frozen=True, slots=True)
class Frame:
    """An address to show; `served_by` names the server of the page."""

    address: str
    served_by: str


def bundle_frame(install: Install, runner: str) -> Frame | Problem:
    """The page in the bundle: always `index.html`, without regard to `ui.entry`.

    `runner` is where browsers find the runner; a path is one of the gateway itself.
    """
    if install.digest is None:
        return Problem(
            "gateway-bundle-missing",
            f"cannot show {install.slug}: its version {install.version} has no bundle",
            "run algaenv up, which uploads one and records it",
        )
    page = page_path(install.registry_id, install.digest, install.tenant)
    return Frame(runner + page, "bundle")


def dev_server_frame(install: Install, server: str) -> Frame | Problem:
    """The page of a development server, asked as the bundle's would be."""
    if not is_http_url(server):
        return Problem(
            "gateway-ui-server-invalid",
            f"cannot show {install.slug} from {server!r}: that is not an http(s) URL",
            "write ui_dev_server like http://localhost:5173",
        )
    parts = urlsplit(server)
    asked = {"path": "/", "tenant": install.tenant, "extensionId": install.registry_id}
    query = urlencode(asked, safe="/")
    page = urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, ""))
    return Frame(page, server)


SOURCE = "source"
"""Query: `bundle` shows the bundle although there is a development server."""
MODE = "mode"
"""Query: `host` shows the frame as a runner with host names would, on an origin of its own."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the author should know about this page, and what to do about it."""

    code: str
    summary: str
    hint: str


class ExtensionPage:
    """Answers for one portal."""

    def __init__(
        self, state: AppState, rendering: Renderer, portal: Portal, calls: CallRepository
    ) -> None:
        self._calls = calls
        self._state = state
        self._rendering = rendering
        self._portal = portal

    async def respond(self, request: Request) -> Response:
        """The page; 404 for an extension that is not installed, 503 without a database."""
        found = await load_installs(self._state, self._rendering)
        if isinstance(found, Response):
            return found
        named = request.path_params["extension"]
        for install in found:
            if install.registry_id == named:
                return await self._shown(request, install, found)
        for install in found:
            if named.lower() in {install.registry_id, install.slug, install.install_id}:
                return RedirectResponse(self._portal.path(install.registry_id))
        problem = Problem(
            "gateway-extension-unknown",
            f"cannot find an extension with the id {named[:200]!r}",
            "choose one from the list; it names all that are installed",
        )
        return self._rendering.problem(404, problem, awaited=named[:200])

    async def _shown(
        self, request: Request, install: Install, installs: Sequence[Install]
    ) -> Response:
        settings = self._state.settings.of(install.registry_id, install.slug)
        server = settings.ui_dev_server
        from_server = bool(server) and request.query_params.get(SOURCE) != "bundle"
        runner = self._state.config.runner_public
        frame = (
            dev_server_frame(install, server)
            if server and from_server
            else bundle_frame(replace(install, tenant=self._state.config.tenant), runner)
        )
        if isinstance(frame, Problem):
            awaited = {} if server and from_server else {"awaited": install.registry_id}
            return self._rendering.problem(409, frame, **awaited)
        users = self._state.users
        chosen = users.select(request.headers, request.query_params, request.cookies)
        named = bool(request.headers.get(USER_HEADER) or request.query_params.get(USER_QUERY))
        user = self._portal.visitor(users, chosen, named=named)
        response = self._rendering.page(
            "extension.html",
            here=install.registry_id,
            installs=installs,
            install=install,
            label=install.menu_label(self._portal.menu) or install.name,
            portal=self._portal,
            portals=[(it, it.path(install.registry_id)) for it in PORTALS],
            frame=frame,
            sandbox=SANDBOX,
            mode="host" if request.query_params.get(MODE) == "host" else "path",
            user=user,
            users=users.all,
            observer=debug_user(users.all, user),
            server=server,
            from_server=from_server,
            line=await self._timeline(install.registry_id),
            notices=notices(install, self._portal, user, frame, from_server=from_server),
        )
        response.set_cookie(USER_COOKIE, user.key, httponly=True, samesite="lax")
        return response

    async def _timeline(self, registry_id: str) -> Timeline | None:
        """The last calls; None when the database, which knew the install, answers no more."""
        import psycopg

        try:
            return await self._calls.timeline(registry_id)
        except psycopg.Error:
            return None


def debug_user(users: Iterable[User], user: User) -> User:
    """A user who may read the debug stream: the panel is for the author, not for `user`."""
    may = (it for it in users if not it.is_client and "extension:read" in it.permissions)
    return next(may, user)


def notices(
    install: Install, portal: Portal, user: User, frame: Frame, *, from_server: bool
) -> list[Notice]:
    """What can be said before the page has run."""
    found = []
    if not install.available:
        found.append(
            Notice(
                "extension-disabled",
                f"The install is switched off (status {install.status}): the product shows this "
                "page, but answers every call with 404.",
                "Enable it in the spec, then run algaenv up.",
            )
        )
    if not install.ui:
        found.append(
            Notice(
                "no-page-declared",
                "The manifest declares no page, so no sidebar leads here.",
                "Add ui to the manifest.",
            )
        )
    elif install.available and not portal.label(install):
        found.append(
            Notice(
                "no-menu-entry",
                f"No entry in the sidebar ({portal.title}) leads here.",
                f"Set ui.hooks.{portal.menu}.label in the manifest.",
            )
        )
    if not portal.fits(user):
        found.append(
            Notice(
                "wrong-portal",
                f"The product would not let {user.name} into this portal.",
                "Choose another user, or go to the other portal.",
            )
        )
    if from_server:
        found.append(
            Notice(
                "development-server",
                f"The page comes from {frame.served_by}, not from the bundle: the runner's content "
                "security policy does not apply, and what it would block is not seen.",
                "Look at the bundle too before you publish.",
            )
        )
    return found
