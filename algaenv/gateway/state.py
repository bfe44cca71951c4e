"""What every room of the gateway is handed: one value with all that they share.

`algaenv.gateway.apis` and `algaenv.gateway.pages` each export `routes(house)`. A room with
work of its own that goes on between requests also exports `chores(house)`, coroutine functions
without arguments that run from the start of the service and are cancelled at its end.
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
from algaenv.gateway.settings import GatewayConfig, Settings
from algaenv.gateway.users import Users

if TYPE_CHECKING:
    from algaenv.gateway.db import Pool

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
    quirks: Quirks
    settings: Settings
