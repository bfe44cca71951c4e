"""`AppState`: what all parts of the gateway share.

`algaenv.gateway.apis` and `algaenv.gateway.pages` each export `routes(state)`. `apis` also exports
`background_tasks(state)`: coroutine functions without arguments, which run from the start of the
service and are cancelled at its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from algaenv.gateway.audit import AuditLog
from algaenv.gateway.events import EventBus
from algaenv.gateway.installs import Installs
from algaenv.gateway.quirks import Quirks
from algaenv.gateway.runner_client import RunnerClient
from algaenv.gateway.scratch_tenants import ScratchTenants, request_tenant
from algaenv.gateway.settings import GatewayConfig, Settings
from algaenv.gateway.users import Users
from algaenv.serving.span_export import SpanExporter

if TYPE_CHECKING:
    from algaenv.gateway.db import Pool
    from algaenv.gateway.dev_turns import DevTurns

BackgroundTask = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class AppState:
    """The shared parts, alive between the start and the end of the service."""

    config: GatewayConfig
    pool: Pool
    installs: Installs
    users: Users
    runner: RunnerClient
    audit: AuditLog
    events: EventBus
    dev: DevTurns
    quirks: Quirks
    settings: Settings
    spans: SpanExporter | None = None
    """Takes the spans of calls; None where they go nowhere."""
    scratch: ScratchTenants | None = None
    """None where there are none."""

    @property
    def tenant(self) -> str:
        """Of the request at hand: a scratch tenant that it names, else the environment's."""
        return request_tenant.get() or self.config.tenant
