"""The ASGI application: its dependencies, its routes, and its lifespan.

Also `GET /healthz`, in the format of Alga's runner, and `GET /readyz`, which is ours.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import DEFAULT_LIMITS
from algaenv.runner.bundle_cache import BundleCache
from algaenv.runner.bundle_store import Store, StoreStatus, open_store
from algaenv.runner.components.compile_cache import SharedCode
from algaenv.runner.components.compiled import CompiledComponents, CompileEnded, CompileEvent
from algaenv.runner.components.loaded import Handlers
from algaenv.runner.components.shell import ScriptBundles, shell_digest
from algaenv.runner.execute.endpoints import ExecuteEndpoint, WarmupEndpoint
from algaenv.runner.execute.idempotency import Idempotency
from algaenv.runner.execute.invocation import HostFunctions
from algaenv.runner.execute.invoker import Invoker
from algaenv.runner.host.secret_envelope import SecretEnvelopes
from algaenv.runner.http import CallerCheck, empty_response, json_response
from algaenv.runner.observability.access_log import RequestLogEntry, write_entry
from algaenv.runner.observability.guest_log import GuestLog
from algaenv.runner.observability.metrics import GaugeName, Metrics
from algaenv.runner.outbound import Outbound
from algaenv.runner.pages.assets import AssetCache, AssetDelivery
from algaenv.runner.pages.routes import HostDispatch, PagesRoute
from algaenv.runner.pages.tenancy import Registry, TenantHints, TenantResolver
from algaenv.runner.settings import Settings
from algaenv.runner.wasm.runtime import LazyWasmRuntime, WasmRuntime
from algaenv.runner.worker_bus import WorkerBus
from algaenv.runner.workers import Worker
from algaenv.serving.access_log import AccessLog
from algaenv.serving.background import restart_on_failure
from algaenv.serving.span_export import SpanExporter

_log = logging.getLogger(__name__)


CONTRACT = "1"
"""Of the behaviour that peers rely on; it is Alga's, and a new number if that changes."""


def build_app(
    settings: Settings, worker: Worker | None = None, metrics_dir: Path | None = None
) -> ASGIApp:
    """The ASGI application for these settings; opens no connection yet.

    Without a worker it serves for itself, and without `metrics_dir` it counts nothing.
    """
    outbound = Outbound()
    store = open_store(settings.source, outbound)
    registry = Registry(settings.registry_base, settings.auth_key, outbound)
    metrics = Metrics(metrics_dir, worker=worker.number if worker else 0, contract=CONTRACT)
    cache = BundleCache(
        settings.cache_root,
        store,
        max_bytes=settings.cache_max_bytes,
        limits=DEFAULT_LIMITS,
        on_result=metrics.bundle,
    )
    asset_cache = AssetCache(policy=settings.policy, max_file_bytes=settings.static_max_bytes)
    health = Health(
        cache_root=settings.cache_root,
        cache_max_text=settings.cache_max_text,
        store=store,
        has_store=settings.has_store,
        signed=settings.source.signed,
    )
    pages = PagesRoute(
        demands_tenant=settings.demands_tenant,
        asks_registry=settings.asks_registry,
        registry=registry,
        tenancy=TenantResolver(registry, TenantHints(settings.cache_root)),
        delivery=AssetDelivery(cache, asset_cache),
    )
    guest_log = GuestLog(settings.stream, metrics)
    on_compile_event = _CompileEventCounter(metrics)
    shared = settings.shared_code
    compiled = CompiledComponents(
        settings.cache_root,
        settings.compiling,
        on_event=on_compile_event,
        shared=SharedCode(shared, shell_digest()) if shared is not None else None,
    )
    lazy_runtime = LazyWasmRuntime(
        lambda: _host_table(settings, outbound),
        compiled,
        threads=settings.concurrency,
        queue=settings.queue,
        on_event=on_compile_event,
        recycle=worker.recycle if worker else _cannot_recycle,
        budget=settings.budget,
    )
    handlers = Handlers(cache, lazy_runtime, ScriptBundles(settings.cache_root))

    async def load(bundle: Digest, component: Path) -> None:
        await (await lazy_runtime.get()).loaded.guest(bundle, component)

    worker_bus = WorkerBus(worker, load)
    invoker = Invoker(
        handlers=handlers,
        envelopes=SecretEnvelopes(settings.host_settings, outbound),
        lazy_runtime=lazy_runtime,
        guest_log=guest_log,
        has_store=settings.has_store,
        traced=settings.traces_calls,
    )
    spans = SpanExporter(settings.spans, metrics.spans_dropped) if settings.spans else None
    idempotency = Idempotency(settings.cache_root, settings.idempotency)
    metrics.set_gauges(_gauge_readers(lazy_runtime, compiled))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        outbound.start()
        lazy_runtime.start()
        guest_log.start()
        metrics.start()
        worker_bus.start()
        for warning in settings.host_settings.warnings:
            _log.warning(warning)
        tasks = [
            asyncio.create_task(asyncio.to_thread(cache.tidy)),
            asyncio.create_task(restart_on_failure(compiled.keep_tidy)),
            asyncio.create_task(restart_on_failure(idempotency.sweep_forever)),
        ]
        try:
            yield
        finally:
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            worker_bus.stop()
            await lazy_runtime.aclose()
            await guest_log.aclose()
            if spans is not None:
                await asyncio.to_thread(spans.close)
            await metrics.aclose()
            await outbound.aclose()

    serving = Starlette(
        routes=[
            pages,
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            Route("/metrics", metrics.handle),
            Route(
                "/v1/execute",
                ExecuteEndpoint(invoker, idempotency, metrics, spans).handle,
                methods=["POST"],
            ),
            Route(
                "/warmup",
                WarmupEndpoint(handlers, lazy_runtime, worker_bus).handle,
                methods=["POST"],
            ),
            Route("/", HostDispatch(registry).handle),
        ],
        exception_handlers={
            404: _empty_http_error,
            405: _empty_http_error,
            Exception: _internal_error,
        },
        lifespan=lifespan,
    )
    serving.router.redirect_slashes = False
    guarded = CallerCheck(serving, settings.inbound_token, settings.allowed_hosts)

    def on_end(scope: Scope, entry: RequestLogEntry, seconds: float) -> None:
        metrics.request(scope["path"], entry.status)
        write_entry(scope, entry, seconds)

    return AccessLog(guarded, RequestLogEntry, on_end)


class _CompileEventCounter:
    """Counts what happens to components."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __call__(self, event: CompileEvent) -> None:
        if isinstance(event, CompileEnded):
            self._metrics.compiled("failed" if event.failure else "done", event.seconds)


def _gauge_readers(
    lazy_runtime: LazyWasmRuntime, compiled: CompiledComponents
) -> dict[GaugeName, Callable[[], float]]:
    def of(read: Callable[[WasmRuntime], float]) -> Callable[[], float]:
        return lambda: read(lazy_runtime.current) if lazy_runtime.current is not None else 0.0

    return {
        GaugeName.THREADS_BUSY: of(lambda runtime: runtime.executor.running),
        GaugeName.THREADS_STUCK: of(lambda runtime: runtime.executor.stuck),
        GaugeName.CALLS_QUEUED: of(lambda runtime: runtime.executor.waiting),
        GaugeName.COMPONENTS_LOADED: of(lambda runtime: len(runtime.loaded)),
        GaugeName.COMPILES_RUNNING: lambda: float(compiled.running),
    }


def _host_table(settings: Settings, outbound: Outbound) -> HostFunctions:
    from algaenv.runner.host.functions import host_functions

    return host_functions(settings.host_settings, outbound)


def _cannot_recycle() -> None:
    """Without a supervisor this process cannot be replaced."""


async def _empty_http_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """404 and 405 without a body, as Alga's runner sends them."""
    allowed: str = (getattr(error, "headers", None) or {}).get("Allow", "")
    allow = {"allow": ",".join(sorted(allowed.split(", ")))} if allowed else None
    return empty_response(getattr(error, "status_code", 500), allow)


async def _internal_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return empty_response(500)


PROBE_TIMEOUT_SECONDS = 0.8
"""For each probe, so that a health check has its response within a second."""

T = TypeVar("T")


class Health:
    """Looks at the two things the service stands on: its cache directory and the store."""

    def __init__(
        self,
        *,
        cache_root: Path,
        cache_max_text: str | None,
        store: Store,
        has_store: bool,
        signed: bool,
    ) -> None:
        self._cache_root = cache_root
        self._cache_max_text = cache_max_text
        self._store = store
        self._has_store = has_store
        self._signed = signed
        # Of its own: the threads that all others share may all be waiting for something.
        self._thread = ThreadPoolExecutor(1, "health")

    async def healthz(self, request: Request) -> Response:  # noqa: ARG002
        """Answer 200 when the cache can be written to; the store does not decide.

        A store that nobody has named is `ok`, as in Alga's runner.
        """
        if self._has_store:
            writable, status = await self._probe()
        else:
            writable = await _within_timeout(self._writable(), otherwise=False)
            status = StoreStatus.OK
        fields = {
            "cache_writable": writable,
            "bundle_store": "ok" if status is StoreStatus.OK else "bundle_store_unreachable",
            "ext_cache_max_bytes": self._cache_max_text,
        }
        return json_response(200 if writable else 503, fields)

    async def readyz(self, request: Request) -> Response:  # noqa: ARG002
        """Answer 200 when a bundle could be fetched now, asked with the service's own keys."""
        writable, status = await self._probe()
        ready = writable and status is StoreStatus.OK
        fields = {
            "ready": ready,
            "cache_writable": writable,
            "store": status,
            "store_access": "signed" if self._signed else "unsigned",
        }
        return json_response(200 if ready else 503, fields)

    async def _probe(self) -> tuple[bool, StoreStatus]:
        return await asyncio.gather(
            _within_timeout(self._writable(), otherwise=False),
            _within_timeout(self._store.status(), otherwise=StoreStatus.UNREACHABLE),
        )

    async def _writable(self) -> bool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, _is_writable, self._cache_root)


async def _within_timeout(read: Coroutine[object, object, T], *, otherwise: T) -> T:
    """The result within PROBE_TIMEOUT_SECONDS, else `otherwise`; the read itself goes on."""
    task = asyncio.ensure_future(read)
    await asyncio.wait((task,), timeout=PROBE_TIMEOUT_SECONDS)
    if task.done():
        return task.result()
    task.cancel()
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return otherwise


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="healthz.", suffix=".tmp") as file:
            file.write(b"ok")
    except OSError:
        return False
    return True
