"""What every room of the gateway is handed: one value with all that they share.

`algaenv.gateway.internal` and `algaenv.gateway.pages` each export `routes(house)`. A room with
work of its own that goes on between requests also exports `chores(house)`, coroutine functions
without arguments that run from the start of the service and are cancelled at its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from algaenv.gateway.audit import Audit
from algaenv.gateway.environment import Environment
from algaenv.gateway.faults import Faults
from algaenv.gateway.feed import Feed
from algaenv.gateway.installs import Installs
from algaenv.gateway.relay import Relay
from algaenv.gateway.settings import Settings
from algaenv.gateway.users import Users

if TYPE_CHECKING:
    from algaenv.gateway.pool import Pool

Chore = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class House:
    """The shared parts, alive between the start and the end of the service."""

    environment: Environment
    pool: Pool
    installs: Installs
    users: Users
    relay: Relay
    audit: Audit
    feed: Feed
    faults: Faults
    settings: Settings
