"""`/`, services and extensions at a glance, and `/environment`, the settings of this gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, LiteralString
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from algaenv.gateway.db import query
from algaenv.gateway.installs import Install
from algaenv.gateway.pages.calls import CallRepository, CallStats
from algaenv.gateway.pages.extension import PORTALS, Portal, sidebars
from algaenv.gateway.pages.rendering import Renderer, load_installs
from algaenv.gateway.quirks import DIFFERENCES, QUIRKS

if TYPE_CHECKING:
    from algaenv.gateway.dev_turns import DevTurn
    from algaenv.gateway.state import AppState

Health = Callable[[], Awaitable[Mapping[str, str]]]
"""The state of each service the gateway needs: `ok`, `off`, or the kind of the error."""

_BUNDLED: LiteralString = """
SELECT v.id::text AS version_id, max(b.created_at) AS at
FROM tenant_extension_install i JOIN extension_version v ON v.id = i.version_id
JOIN extension_bundle b ON b.version_id = v.id
WHERE i.tenant_id = %(tenant)s GROUP BY v.id"""
_LATEST = 8
_WORDS = {"building": "building", "failed": "last change failed", "applied": "", "idle": ""}


@dataclass(frozen=True, slots=True)
class ListedService:
    """A service and whether it answers."""

    name: str
    address: str
    state: str
    tone: str


@dataclass(frozen=True, slots=True)
class ListedExtension:
    """An extension, with its state in words and why a sidebar may not show it."""

    install: Install
    state: str
    tone: str
    paths: tuple[tuple[Portal, str], ...]
    remarks: tuple[str, ...]
    stats: CallStats
    bundled_at: datetime | None
    turn: DevTurn | None

    @property
    def turn_text(self) -> str:
        """What `algaenv dev` last did with it, where that is worth saying."""
        if self.turn is None:
            return ""
        words = _WORDS[self.turn.state]
        if self.turn.state == "failed" and self.turn.problems:
            first = self.turn.problems[0]
            return ": ".join(filter(None, (words, first.where, first.summary)))
        return words


class OverviewPages:
    """Answers for both pages."""

    def __init__(
        self, state: AppState, rendering: Renderer, calls: CallRepository, health: Health
    ) -> None:
        self._state = state
        self._rendering = rendering
        self._calls = calls
        self._health = health

    async def overview(self, request: Request) -> Response:  # noqa: ARG002
        """Services, extensions and the latest calls, from the present rows of the database."""
        state = self._state
        found = await load_installs(state, self._rendering)
        if isinstance(found, Response):
            return found
        stats = await self._calls.stats()
        tenant = {"tenant": state.tenant}
        bundled = {it["version_id"]: it["at"] for it in await query(state.pool, _BUNDLED, tenant)}
        return self._rendering.page(
            "overview.html",
            here="overview",
            installs=found,
            tenant=state.tenant,
            services=await self._services(),
            sidebars=sidebars(found),
            extensions=[
                list_extension(
                    install,
                    stats.get(install.registry_id, CallStats()),
                    bundled.get(install.version_id),
                    state.dev.by_extension.get(install.registry_id),
                )
                for install in found
            ],
            calls=await self._calls.recent(limit=_LATEST),
            names=state.users.names,
        )

    async def environment(self, request: Request) -> Response:  # noqa: ARG002
        """Settings, users, and where this gateway differs from the product."""
        state = self._state
        found = await load_installs(state, self._rendering)
        if isinstance(found, Response):
            return found
        return self._rendering.page(
            "environment.html",
            here="environment",
            installs=found,
            config=state.config,
            settings=state.settings,
            database=_location(state.config.database_url),
            users=state.users.all,
            differences=DIFFERENCES,
            quirks=QUIRKS,
        )

    async def _services(self) -> list[ListedService]:
        config = self._state.config
        stream = config.debug_stream
        addresses = {
            "database": _location(config.database_url),
            "runner": config.runner_url,
            "redis": _location(stream.url) if stream else "",
        }
        found = [ListedService("gateway", "this page", "ready", "good")]
        for name, seen in (await self._health()).items():
            text = {"ok": "ready", "off": "not configured"}.get(seen, f"does not answer: {seen}")
            tone = {"ok": "good", "off": "warn"}.get(seen, "bad")
            found.append(ListedService(name, addresses[name], text, tone))
        return found


def _location(url: str) -> str:
    """Host, port and path of an URL, without its password."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.hostname or ''}{port}{parts.path}"


def list_extension(
    install: Install, stats: CallStats, bundled_at: datetime | None, turn: DevTurn | None
) -> ListedExtension:
    """An extension as the overview shows it."""
    return ListedExtension(
        install,
        "enabled" if install.available else f"disabled (status {install.status})",
        "good" if install.available else "bad",
        tuple((portal, portal.path(install.registry_id)) for portal in PORTALS),
        tuple(_remarks(install)),
        stats,
        bundled_at,
        turn,
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
