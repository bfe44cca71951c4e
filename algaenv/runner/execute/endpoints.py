"""`POST /v1/execute` and `POST /warmup`.

Execute reads the request, runs the handler, and gives up when its client has disconnected.

Warmup fetches, compiles and loads a bundle before the first call. Alga's runner has the route and
refuses every request, because a content hash alone does not say whose bundle it is. With the
tenant and the extension in the body or in the routing headers, this one does what the name says.
A component as the body is compiled and kept: its bundle may come while that goes on.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from algaenv.runner.execute.invocation import Timings
from algaenv.runner.execute.invoker import (
    STAGES,
    InvocationOutcome,
    Routing,
    failed_outcome,
)
from algaenv.runner.http import (
    InvalidRequest,
    json_response,
    parse_body,
    read_json,
    request_header,
    text_response,
)
from algaenv.runner.observability.access_log import CallSpan, RequestLogEntry
from algaenv.runner.observability.metrics import OutcomeLabel
from algaenv.runner.wasm.failure import GuestFailure
from algaenv.runner.wasm.runtime import RuntimeUnavailable
from algaenv.serving.access_log import RECORD
from algaenv.serving.request_limits import (
    BodyTooLarge,
    BodyTooSlow,
    body_timeout_response,
    read_body,
)

if TYPE_CHECKING:
    from algaenv.runner.components.loaded import HandlerBundle, Handlers
    from algaenv.runner.execute.idempotency import Idempotency
    from algaenv.runner.execute.invocation import CallTrace
    from algaenv.runner.execute.invoker import Invoker
    from algaenv.runner.execute.request_models import ExecuteRequest
    from algaenv.runner.observability.metrics import Metrics
    from algaenv.runner.wasm.runtime import LazyWasmRuntime
    from algaenv.runner.worker_bus import WorkerBus
    from algaenv.serving.span_export import SpanExporter


T = TypeVar("T")

_LARGE_BODY_BYTES = 64 * 1024
"""Larger bodies are parsed in a thread: it takes milliseconds, in which the loop serves others."""
_CLIENT_CLOSED_REQUEST = 499
_WATCH_DELAY_SECONDS = 0.05
_OVERLOADED = "overloaded: all places to run and to wait are taken"
_STOPPING = "stopping: this runner takes no more calls"


class ExecuteEndpoint:
    """Answers requests to run a handler."""

    def __init__(
        self,
        invoker: Invoker,
        idempotency: Idempotency,
        metrics: Metrics,
        spans: SpanExporter | None = None,
    ) -> None:
        self._spans = spans
        self._invoker = invoker
        self._idempotency = idempotency
        self._metrics = metrics

    async def handle(self, request: Request) -> Response:
        """Run the handler, or replay its stored response; see `Invoker` for what can go wrong."""
        from algaenv.runner.wasm.guest_executor import ExecutorBusy, ExecutorClosed

        try:
            call = await _read(request)
        except InvalidRequest as refusal:
            return text_response(refusal.status, refusal.message)
        entry: RequestLogEntry = request.scope[RECORD]
        entry.tenant = request_header(request.scope, b"x-alga-tenant")
        entry.extension = request_header(request.scope, b"x-alga-extension")
        entry.hash = call.context.content_hash
        span = None if self._spans is None else CallSpan.begin(request.scope, call)
        call_entry = _CallLogEntry(entry, span)
        if not (entry.tenant and entry.extension):
            return self._respond(
                call_entry, failed_outcome(400, "missing_routing_headers", OutcomeLabel.BAD_REQUEST)
            )
        by_gateway = request_header(request.scope, b"x-algaenv-outbound") == "gateway"
        routing = Routing(entry.tenant, entry.extension, by_gateway)
        key = request_header(request.scope, b"x-idempotency-key")
        try:
            trace = None if span is None else span.trace
            coroutine = self._run_once(routing, call, key, call_entry.timings, trace)
            return self._respond(call_entry, await _unless_disconnected(request, coroutine))
        except _ClientDisconnected:
            return self._respond(
                call_entry, failed_outcome(_CLIENT_CLOSED_REQUEST, "caller_left", OutcomeLabel.LEFT)
            )
        except ExecutorBusy as busy:
            return self._refuse(call_entry, _OVERLOADED, busy.retry_after)
        except ExecutorClosed:
            return self._refuse(call_entry, _STOPPING, 1)

    async def _run_once(
        self,
        routing: Routing,
        call: ExecuteRequest,
        key: str | None,
        timings: Timings,
        trace: CallTrace | None,
    ) -> InvocationOutcome:
        if not key:
            return await self._invoker.run(routing, call, timings, trace)
        async with self._idempotency.once(routing.tenant, routing.extension, key) as idempotent:
            if idempotent.response is not None:
                return InvocationOutcome(idempotent.response, OutcomeLabel.REPLAYED, 200)
            outcome = await self._invoker.run(routing, call, timings, trace)
            if outcome.answered:
                idempotent.save(outcome.document)
            return outcome

    def _respond(self, call_entry: _CallLogEntry, outcome: InvocationOutcome) -> Response:
        self._metrics.executed(outcome.label, call_entry.timings, call_entry.end(outcome))
        if self._spans is not None and call_entry.span is not None:
            self._spans.add(
                *call_entry.span.end(
                    call_entry.timings, outcome.label, outcome.status, outcome.error
                )
            )
        if outcome.label is OutcomeLabel.REPLAYED:
            self._metrics.replayed()
        return _json(outcome)

    def _refuse(self, call_entry: _CallLogEntry, reason: str, seconds: float) -> Response:
        response = self._respond(call_entry, failed_outcome(503, reason, OutcomeLabel.BUSY))
        response.status_code = 503
        response.headers["retry-after"] = str(math.ceil(seconds))
        return response


class _CallLogEntry:
    """The fields of a log entry that are about the call."""

    def __init__(self, entry: RequestLogEntry, span: CallSpan | None) -> None:
        self._entry = entry
        self.span = span
        self._started = time.perf_counter()
        self.timings = Timings()

    def end(self, outcome: InvocationOutcome) -> float:
        """Write down how it ended; returns how many seconds it took."""
        extra: dict[str, object] = {"outcome": outcome.label, "guest_status": outcome.status}
        for stage in STAGES:
            if seconds := getattr(self.timings, stage):
                extra[f"{stage}_ms"] = round(seconds * 1000, 2)
        self._entry.extra = extra
        self._entry.reason = outcome.error
        return time.perf_counter() - self._started


class _ClientDisconnected(Exception):
    """The client has closed its connection."""


async def _unless_disconnected(request: Request, coroutine: Coroutine[Any, Any, T]) -> T:
    """Do the work as long as the client waits; it is cancelled then. Raises _ClientDisconnected.

    The connection is not watched before the work has taken a while: most calls end before.
    """
    watch = _DisconnectWatch(request)
    timer = asyncio.get_running_loop().call_later(_WATCH_DELAY_SECONDS, watch.start)
    try:
        return await coroutine
    except asyncio.CancelledError:
        if not watch.disconnected:
            raise
        watch.task.uncancel()
        raise _ClientDisconnected from None
    finally:
        timer.cancel()
        watch.end()


class _DisconnectWatch:
    """Cancels the task it is made in when the client has left."""

    def __init__(self, request: Request) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self.task = task
        self.disconnected = False
        self._request = request
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to look."""
        self._watching = asyncio.ensure_future(self._wait_for_disconnect())

    def end(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.cancel()

    async def _wait_for_disconnect(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.disconnected = True
        self.task.cancel()


async def _read(request: Request) -> ExecuteRequest:
    body = await read_json(request)
    if len(body) < _LARGE_BODY_BYTES:
        return _parse(body)
    return await asyncio.to_thread(_parse, body)


def _parse(body: bytes) -> ExecuteRequest:
    from algaenv.runner.execute.request_models import ExecuteRequest

    return parse_body(ExecuteRequest, body)


def _json(outcome: InvocationOutcome) -> Response:
    headers = {"cache-control": "no-store", **outcome.headers}
    return Response(outcome.document, 200, headers, media_type="application/json")


COMPONENT_TYPE = "application/wasm"
MAX_COMPONENT_BYTES = 64 << 20
"""Of a component that is compiled before its bundle comes; larger ones wait for that."""
WARMUP_UNSUPPORTED = "warmup unsupported without tenant + extension context"


class WarmupEndpoint:
    """Answers when the bundle's handler, if it has one, is ready to be called in every worker."""

    def __init__(
        self, handlers: Handlers, lazy_runtime: LazyWasmRuntime, worker_bus: WorkerBus
    ) -> None:
        self._handlers = handlers
        self._lazy_runtime = lazy_runtime
        self._worker_bus = worker_bus

    async def handle(self, request: Request) -> Response:
        """200 with what was done, 502 where no bundle came, 422 where its handler cannot run."""
        from algaenv.runner.components.loaded import BundleUnavailable
        from algaenv.runner.execute.request_models import WarmupRequest

        if request.headers.get("content-type") == COMPONENT_TYPE:
            return await self._compile_early(request)
        try:
            request_body = parse_body(WarmupRequest, await read_json(request))
        except InvalidRequest as refusal:
            return text_response(refusal.status, refusal.message)
        if request_body.runs_from is not None:
            return await self._ready(None, await self._handlers.shell(), request)
        tenant = request_body.tenant or request_header(request.scope, b"x-alga-tenant")
        extension = request_body.extension or request_header(request.scope, b"x-alga-extension")
        if not (tenant and extension):
            return text_response(400, WARMUP_UNSUPPORTED)
        entry: RequestLogEntry = request.scope[RECORD]
        entry.tenant, entry.extension, entry.hash = tenant, extension, request_body.content_hash
        try:
            bundle = await self._handlers.bundle(tenant, extension, request_body.content_hash)
        except BundleUnavailable as reason:
            entry.reason = str(reason)
            return json_response(502, {"code": reason.code, "error": str(reason)})
        return await self._ready(f"{tenant}/{extension}", bundle, request)

    async def _compile_early(self, request: Request) -> Response:
        entry: RequestLogEntry = request.scope[RECORD]
        try:
            content = await read_body(request, MAX_COMPONENT_BYTES)
        except BodyTooLarge:
            return text_response(413, f"a component of more than {MAX_COMPONENT_BYTES} bytes")
        except BodyTooSlow:
            return body_timeout_response()
        try:
            runtime = await self._lazy_runtime.get()
            await runtime.loaded.compile_early(content)
        except RuntimeUnavailable as reason:
            entry.reason = str(reason)
            return json_response(500, _engine_failed(reason))
        except GuestFailure as failure:
            entry.reason = failure.reason
            return json_response(422, _failure(failure))
        return json_response(200, {"status": "compiled"})

    async def _ready(self, owner: str | None, bundle: HandlerBundle, request: Request) -> Response:
        """Have the handler of a bundle ready; `owner` is the extension whose bundle it is."""
        fields: dict[str, object] = {
            "status": "ready",
            "handler": bundle.component is not None,
            "bundle": "fetched" if bundle.fetched else "cached",
        }
        if bundle.component is not None:
            started = time.perf_counter()
            entry: RequestLogEntry = request.scope[RECORD]
            try:
                runtime = await self._lazy_runtime.get()
                await self._handlers.guest(bundle, runtime)
                await self._worker_bus.load_everywhere(bundle.key, bundle.component)
                if owner is not None:
                    await runtime.loaded.set_current(owner, bundle.key, bundle.component)
            except RuntimeUnavailable as reason:
                entry.reason = str(reason)
                return json_response(500, _engine_failed(reason))
            except GuestFailure as failure:
                entry.reason = failure.reason
                return json_response(422, _failure(failure))
            fields["took_ms"] = round((time.perf_counter() - started) * 1000, 2)
        return json_response(200, fields)


def _engine_failed(reason: RuntimeUnavailable) -> dict[str, object]:
    code = "engine_init_failed"
    return {"code": code, "error": f"{code}: {reason}"}


def _failure(failure: GuestFailure) -> dict[str, object]:
    return {
        "code": "execute_failed",
        "error": f"execute_failed: {failure.message}",
        "failure": {
            "kind": failure.kind,
            "reason": failure.reason,
            "causes": list(failure.causes),
        },
    }
