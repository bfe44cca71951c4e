"""The service put together: routes, what they need, and its beginning and end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from algaenv.bundle.digest import Digest
from algaenv.bundle.limits import DEFAULT_LIMITS
from algaenv.runner.answers import empty
from algaenv.runner.cache import BundleCache
from algaenv.runner.capabilities.envelope import Envelopes
from algaenv.runner.compiling.compiled import Compiled
from algaenv.runner.compiling.events import CompileEnded, Event
from algaenv.runner.components import Components
from algaenv.runner.delivery import Delivery
from algaenv.runner.direct import Direct
from algaenv.runner.engine import Engine, Works
from algaenv.runner.environment import Environment
from algaenv.runner.execute import Execute
from algaenv.runner.guard import Guard
from algaenv.runner.guestlog.log import GuestLog
from algaenv.runner.health import Health
from algaenv.runner.hints import Hints
from algaenv.runner.host import HostDispatch
from algaenv.runner.idempotency import Idempotency
from algaenv.runner.invocation import HostTable
from algaenv.runner.invoke import Invoker
from algaenv.runner.journal import Journal
from algaenv.runner.metrics.labels import Watched
from algaenv.runner.metrics.metrics import Metrics
from algaenv.runner.neighbours import Neighbours
from algaenv.runner.opening import open_store
from algaenv.runner.outbound import Outbound
from algaenv.runner.pages import Pages
from algaenv.runner.recent import Recent
from algaenv.runner.registry import Registry
from algaenv.runner.room import Room
from algaenv.runner.shelf import Shelf
from algaenv.runner.tenancy import Tenancy
from algaenv.runner.warm import Warm
from algaenv.runner.workers import Worker
from algaenv.serving.background import restart_on_failure

_log = logging.getLogger(__name__)


EXECUTE = "/v1/execute"
CONTRACT = "1"
"""Of the behaviour that peers rely on; it is Alga's, and a new number if that changes."""


def build(
    environment: Environment, worker: Worker | None = None, ledger: Path | None = None
) -> ASGIApp:
    """The ASGI application for these settings; opens no connection yet.

    Without a worker it serves for itself, and without a ledger it counts nothing.
    """
    workers = environment.workforce.workers
    outbound = Outbound()
    store = open_store(environment.source, outbound)
    registry = Registry(environment.registry_base, environment.auth_key, outbound)
    room = Room(environment.cache_root, environment.cache_max_bytes)
    metrics = Metrics(ledger, worker=worker.number if worker else 0, contract=CONTRACT)
    cache = BundleCache(
        environment.cache_root, store, room=room, limits=DEFAULT_LIMITS, tell=metrics.bundle
    )
    shelf = Shelf(policy=environment.policy, max_file_bytes=environment.static_max_bytes)
    hints = Hints(environment.cache_root, workers=workers)
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
        tenancy=Tenancy(registry, hints),
        delivery=Delivery(cache, shelf),
    )
    log = GuestLog(environment.stream, metrics)
    tell = _Teller(metrics)
    compiled = Compiled(environment.cache_root, environment.compiling, tell=tell)
    engine = Engine(
        lambda: _table(environment, outbound),
        compiled,
        threads=environment.concurrency,
        queue=environment.queue,
        tell=tell,
        recycle=worker.recycle if worker else _nothing,
        budget=environment.budget,
    )
    components = Components(cache, engine)

    async def load(bundle: Digest, component: Path) -> None:
        await (await engine.works()).loaded.guest(bundle, component)

    neighbours = Neighbours(worker, load)
    invoker = Invoker(
        components=components,
        envelopes=Envelopes(environment.peers, outbound),
        engine=engine,
        log=log,
        has_store=environment.has_store,
    )
    idempotency = Idempotency(environment.cache_root, environment.memory, workers=workers)
    metrics.watch(_watched(engine, compiled))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        outbound.begin()
        engine.begin()
        log.begin()
        metrics.begin()
        neighbours.begin()
        for complaint in environment.peers.complaints:
            _log.warning(complaint)
        chores = [
            asyncio.create_task(asyncio.to_thread(_tidy, room)),
            asyncio.create_task(restart_on_failure(compiled.keep_tidy)),
            asyncio.create_task(restart_on_failure(idempotency.tend)),
        ]
        try:
            yield
        finally:
            for chore in chores[1:]:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)
            neighbours.end()
            await engine.aclose()
            await log.aclose()
            await metrics.aclose()
            await outbound.aclose()

    execute = Execute(invoker, idempotency, metrics).answer
    serving = Starlette(
        routes=[
            pages,
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            Route("/metrics", metrics.answer),
            Route(EXECUTE, execute, methods=["POST"]),
            Route("/warmup", Warm(components, engine, neighbours).answer, methods=["POST"]),
            Route("/", HostDispatch(registry).answer),
        ],
        exception_handlers={404: _bare, 405: _bare, Exception: _broken},
        lifespan=lifespan,
    )
    serving.router.redirect_slashes = False
    guarded = Guard(
        Direct(serving, EXECUTE, execute), environment.inbound_token, environment.allowed_hosts
    )
    app = Journal(guarded, metrics.request)
    return Recent(app, metrics.request, hints.get)


class _Teller:
    """Counts what happens to components."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __call__(self, event: Event) -> None:
        if isinstance(event, CompileEnded):
            self._metrics.compiled("failed" if event.failure else "done", event.seconds)


def _watched(engine: Engine, compiled: Compiled) -> dict[Watched, Callable[[], float]]:
    def of(look: Callable[[Works], float]) -> Callable[[], float]:
        return lambda: look(engine.now) if engine.now is not None else 0.0

    return {
        Watched.LANES_BUSY: of(lambda works: works.lanes.running),
        Watched.LANES_STUCK: of(lambda works: works.lanes.stuck),
        Watched.CALLS_QUEUED: of(lambda works: works.lanes.waiting),
        Watched.COMPONENTS_LOADED: of(lambda works: len(works.loaded)),
        Watched.COMPILES_RUNNING: lambda: float(compiled.running),
    }


def _table(environment: Environment, outbound: Outbound) -> HostTable:
    from algaenv.runner.capabilities.table import table

    return table(environment.peers, outbound)


def _nothing() -> None:
    """Without a supervisor nobody can replace this process."""


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
