"""The APIs that runners call: storage, schedules, invoices, clients, services, install look-ups.

Each answers as the product does, status and body. Faults of the product are reproduced and
announced, unless the settings name them as fixed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import Route

    from algaenv.gateway.apis.api_endpoint import Api
    from algaenv.gateway.apis.storage.records import RecordRepository
    from algaenv.gateway.state import AppState, BackgroundTask

__all__ = ["background_tasks", "routes"]


def routes(state: AppState, records: RecordRepository) -> list[Route]:
    """Every route of these APIs. Raises SettingsError for invalid clients and services."""
    from algaenv.gateway.apis import directory
    from algaenv.gateway.apis.api_endpoint import api_route, first_token
    from algaenv.gateway.apis.directory import ClientsApi, ServicesApi
    from algaenv.gateway.apis.install_lookup import InstallLookup
    from algaenv.gateway.apis.invoicing import InvoicingApi
    from algaenv.gateway.apis.outbound_http import OutboundHttpApi
    from algaenv.gateway.apis.scheduler.api import ChangeLimiter, SchedulerApi
    from algaenv.gateway.apis.scheduler.loop import admin_routes
    from algaenv.gateway.apis.scheduler.repository import EndpointRepository, ScheduleRepository
    from algaenv.gateway.apis.storage.api import StorageApi
    from algaenv.gateway.scratch_tenants import ScratchEndpoints

    known = directory.load_directory(state.settings)
    schedules, endpoints = ScheduleRepository(state.pool), EndpointRepository(state.pool)
    invoicing = InvoicingApi(state, known)
    expected = first_token((state.config.storage_token, state.config.service_token))
    storage = StorageApi(records, state.quirks)
    apis: list[Api] = [
        storage,
        SchedulerApi(state.installs, schedules, endpoints, state.quirks, ChangeLimiter()),
        invoicing,
        ClientsApi(state, known),
        ServicesApi(state, known),
    ]
    scratch: list[Route] = []
    if state.scratch is not None:
        outbound = OutboundHttpApi(state.installs)
        apis.append(outbound)
        scratch = ScratchEndpoints(state, outbound, storage, invoicing, schedules).routes()
    return [
        *(api_route(api, expected, state.events) for api in apis),
        *InstallLookup(state).routes(),
        invoicing.listing(),
        *scratch,
        *admin_routes(state, schedules),
    ]


def background_tasks(state: AppState) -> list[BackgroundTask]:
    """The work between requests: runs of schedules."""
    from algaenv.gateway.apis.scheduler.loop import SchedulerLoop

    return [SchedulerLoop(state).run]
