"""The service put together: routes, what they need, and its beginning and end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from algaenv.bundle.limits import DEFAULT_LIMITS
from algaenv.runner.answers import empty
from algaenv.runner.cache import BundleCache
from algaenv.runner.delivery import Delivery
from algaenv.runner.environment import Environment
from algaenv.runner.execute import execute, warmup
from algaenv.runner.health import Health
from algaenv.runner.host import HostDispatch
from algaenv.runner.journal import Journal
from algaenv.runner.opening import open_store
from algaenv.runner.outbound import Outbound
from algaenv.runner.pages import Pages
from algaenv.runner.registry import Registry
from algaenv.runner.room import Room
from algaenv.runner.shelf import Shelf
from algaenv.runner.tenancy import Tenancy

_log = logging.getLogger(__name__)


def build(environment: Environment) -> ASGIApp:
    """The ASGI application for these settings; opens no connection yet."""
    outbound = Outbound()
    store = open_store(environment.source, outbound)
    registry = Registry(environment.registry_base, environment.auth_key, outbound)
    room = Room(environment.cache_root, environment.cache_max_bytes)
    cache = BundleCache(environment.cache_root, store, room=room, limits=DEFAULT_LIMITS)
    shelf = Shelf(policy=environment.policy, max_file_bytes=environment.static_max_bytes)
    health = Health(
        cache_root=environment.cache_root,
        cache_max_text=environment.cache_max_text,
        store=store,
        signed=environment.source.signed,
    )
    pages = Pages(
        demands_tenant=environment.demands_tenant,
        asks_registry=environment.asks_registry,
        registry=registry,
        tenancy=Tenancy(registry),
        delivery=Delivery(cache, shelf),
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        outbound.begin()
        tidying = asyncio.create_task(asyncio.to_thread(_tidy, room))
        try:
            yield
        finally:
            await tidying
            await outbound.aclose()

    return Journal(
        Starlette(
            routes=[
                pages,
                Route("/healthz", health.healthz),
                Route("/readyz", health.readyz),
                Route("/v1/execute", execute, methods=["POST"]),
                Route("/warmup", warmup, methods=["POST"]),
                Route("/", HostDispatch(registry).answer),
            ],
            exception_handlers={404: _bare, 405: _bare, Exception: _broken},
            lifespan=lifespan,
        )
    )


def _tidy(room: Room) -> None:
    with suppress(OSError):
        room.prepare()
        room.sweep()
        room.make()


async def _bare(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """404 and 405 without a body, as Alga's runner sends them."""
    allowed: str = (getattr(error, "headers", None) or {}).get("Allow", "")
    allow = {"allow": ",".join(sorted(allowed.split(", ")))} if allowed else None
    return empty(getattr(error, "status_code", 500), allow)


async def _broken(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return empty(500)
