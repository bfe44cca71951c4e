"""What runners call: storage, schedules, invoices, clients, services, and look-ups of installs.

Each answers as the product does, status and body; what the product does wrong on the way is done
wrong here too and announced, unless the settings have it fixed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import Route

    from algaenv.gateway.house import Chore, House

__all__ = ["chores", "routes"]


def routes(house: House) -> list[Route]:
    """Every route of this room. Raises BadSettings for clients and services that are none."""
    from algaenv.gateway.internal import fixtures, token
    from algaenv.gateway.internal.directory import Clients, Services
    from algaenv.gateway.internal.door import door
    from algaenv.gateway.internal.invoicing import Invoicing
    from algaenv.gateway.internal.lookup import Lookup
    from algaenv.gateway.internal.scheduler.desk import desk
    from algaenv.gateway.internal.scheduler.endpoints import Endpoints
    from algaenv.gateway.internal.scheduler.rate import Rate
    from algaenv.gateway.internal.scheduler.scheduler import Scheduler
    from algaenv.gateway.internal.scheduler.schedules import Schedules
    from algaenv.gateway.internal.storage.records import Records
    from algaenv.gateway.internal.storage.storage import Storage

    known = fixtures.read(house.settings)
    schedules, endpoints = Schedules(house.pool), Endpoints(house.pool)
    invoicing = Invoicing(house, known)
    expected = token.first((house.environment.storage_token, house.environment.service_token))
    apis = (
        Storage(Records(house.pool), house.faults),
        Scheduler(house.installs, schedules, endpoints, house.faults, Rate()),
        invoicing,
        Clients(house, known),
        Services(house, known),
    )
    return [
        *(door(api, expected, house.feed) for api in apis),
        *Lookup(house).routes(),
        invoicing.listing(),
        *desk(house, schedules),
    ]


def chores(house: House) -> list[Chore]:
    """What goes on between requests: schedules run."""
    from algaenv.gateway.internal.scheduler.clockwork import Clockwork

    return [Clockwork(house).work]
