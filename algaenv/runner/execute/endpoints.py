"""`POST /v1/execute` and `POST /warmup`.

Execute reads the request, runs the handler, and gives up when its client has disconnected.

Warmup fetches, compiles and loads a bundle before the first call. Alga's runner has the route and
refuses every request, because a content hash alone does not say whose bundle it is. With the
tenant and the extension in the body or in the routing headers, this one does what the name says.
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
from algaenv.runner.execute.invoker import Outcome, Routing, failed_outcome
from algaenv.runner.http import (
    InvalidRequest,
    json_response,
    parse_body,
    read_json,
    request_header,
    text_response,
)
from algaenv.runner.observability.access_log import ENTRY, RequestLogEntry
from algaenv.runner.observability.metrics import Outcome as Label
from algaenv.runner.wasm.failure import GuestFailure
from algaenv.runner.wasm.runtime import RuntimeUnavailable

if TYPE_CHECKING:
    from algaenv.runner.components.loaded import Handlers
    from algaenv.runner.execute.idempotency import Idempotency
    from algaenv.runner.execute.invoker import Invoker
    from algaenv.runner.execute.request_models import ExecuteRequest
    from algaenv.runner.observability.metrics import Metrics
    from algaenv.runner.wasm.runtime import LazyRuntime
    from algaenv.runner.worker_bus import WorkerBus


T = TypeVar("T")

_LARGE_BODY_BYTES = 64 * 1024
"""A body from which on reading it is left to a thread: some milliseconds for all others."""
_CLIENT_CLOSED_REQUEST = 499
_WATCH_DELAY_SECONDS = 0.05
_STAGES = ("queued", "load", "instantiate", "run", "waiting")
_OVERLOADED = "overloaded: all places to run and to wait are taken"
_STOPPING = "stopping: this runner takes no more calls"


class ExecuteEndpoint:
    """Answers requests to run a handler."""

    def __init__(self, invoker: Invoker, idempotency: Idempotency, metrics: Metrics) -> None:
        self._invoker = invoker
        self._idempotency = idempotency
        self._metrics = metrics

    async def answer(self, request: Request) -> Response:
        """Run the handler, or replay what it said; see `Invoker` for what can go wrong."""
        from algaenv.runner.wasm.guest_executor import ExecutorBusy, ExecutorClosed

        try:
            call = await _read(request)
        except InvalidRequest as refusal:
            return text_response(refusal.status, refusal.message)
        line: RequestLogEntry = request.scope[ENTRY]
        line.tenant = request_header(request.scope, b"x-alga-tenant")
        line.extension = request_header(request.scope, b"x-alga-extension")
        line.hash = call.context.content_hash
        call_line = _CallLogEntry(line)
        if not (line.tenant and line.extension):
            return self._say(
                call_line, failed_outcome(400, "missing_routing_headers", Label.BAD_REQUEST)
            )
        routing = Routing(line.tenant, line.extension)
        key = request_header(request.scope, b"x-idempotency-key")
        try:
            work = self._once(routing, call, key, call_line.spent)
            return self._say(call_line, await _unless_disconnected(request, work))
        except _ClientDisconnected:
            return self._say(
                call_line, failed_outcome(_CLIENT_CLOSED_REQUEST, "caller_left", Label.LEFT)
            )
        except ExecutorBusy as busy:
            return self._refuse(call_line, _OVERLOADED, busy.retry_after)
        except ExecutorClosed:
            return self._refuse(call_line, _STOPPING, 1)

    async def _once(
        self, routing: Routing, call: ExecuteRequest, key: str | None, spent: Timings
    ) -> Outcome:
        if not key:
            return await self._invoker.run(routing, call, spent)
        async with self._idempotency.once(routing.tenant, routing.extension, key) as turn:
            if turn.answer is not None:
                return Outcome(turn.answer, Label.REPLAYED, 200)
            outcome = await self._invoker.run(routing, call, spent)
            if outcome.answered:
                turn.keep(outcome.document)
            return outcome

    def _say(self, call_line: _CallLogEntry, outcome: Outcome) -> Response:
        self._metrics.executed(outcome.label, call_line.spent, call_line.end(outcome))
        if outcome.label is Label.REPLAYED:
            self._metrics.replayed()
        return _json(outcome)

    def _refuse(self, call_line: _CallLogEntry, why: str, seconds: float) -> Response:
        answer = self._say(call_line, failed_outcome(503, why, Label.BUSY))
        answer.status_code = 503
        answer.headers["retry-after"] = str(math.ceil(seconds))
        return answer


class _CallLogEntry:
    """What the line of a request says about the call in it."""

    def __init__(self, line: RequestLogEntry) -> None:
        self._line = line
        self._started = time.perf_counter()
        self.spent = Timings()

    def end(self, outcome: Outcome) -> float:
        """Write down how it ended; returns how many seconds it took."""
        more: dict[str, object] = {"outcome": outcome.label, "guest_status": outcome.status}
        for stage in _STAGES:
            if seconds := getattr(self.spent, stage):
                more[f"{stage}_ms"] = round(seconds * 1000, 2)
        self._line.more = more
        self._line.why = outcome.error
        return time.perf_counter() - self._started


class _ClientDisconnected(Exception):
    """Nobody waits for the answer any more."""


async def _unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work as long as the client waits. Raises _Gone; the work is cancelled then.

    Nobody looks at the client before the work has taken a while: most calls end before.
    """
    watch = _DisconnectWatch(request)
    look = asyncio.get_running_loop().call_later(_WATCH_DELAY_SECONDS, watch.begin)
    try:
        return await work
    except asyncio.CancelledError:
        if not watch.gone:
            raise
        watch.working.uncancel()
        raise _ClientDisconnected from None
    finally:
        look.cancel()
        watch.end()


class _DisconnectWatch:
    """Cancels the task it is made in when the client has left."""

    def __init__(self, request: Request) -> None:
        working = asyncio.current_task()
        assert working is not None  # noqa: S101
        self.working = working
        self.gone = False
        self._request = request
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start to look."""
        self._watching = asyncio.ensure_future(self._look())

    def end(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.cancel()

    async def _look(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.working.cancel()


async def _read(request: Request) -> ExecuteRequest:
    body = await read_json(request)
    if len(body) < _LARGE_BODY_BYTES:
        return _parse(body)
    return await asyncio.to_thread(_parse, body)


def _parse(body: bytes) -> ExecuteRequest:
    from algaenv.runner.execute.request_models import ExecuteRequest

    return parse_body(ExecuteRequest, body)


def _json(outcome: Outcome) -> Response:
    headers = {"cache-control": "no-store", **outcome.headers}
    return Response(outcome.document, 200, headers, media_type="application/json")


WARMUP_UNSUPPORTED = "warmup unsupported without tenant + extension context"


class WarmupEndpoint:
    """Answers when the bundle's handler, if it has one, is ready to be called in every worker."""

    def __init__(self, components: Handlers, engine: LazyRuntime, neighbours: WorkerBus) -> None:
        self._components = components
        self._engine = engine
        self._neighbours = neighbours

    async def answer(self, request: Request) -> Response:
        """200 with what was done, 502 where no bundle came, 422 where its handler cannot run."""
        from algaenv.runner.components.loaded import BundleUnavailable
        from algaenv.runner.execute.request_models import WarmupRequest

        try:
            wanted = parse_body(WarmupRequest, await read_json(request))
        except InvalidRequest as refusal:
            return text_response(refusal.status, refusal.message)
        tenant = wanted.tenant or request_header(request.scope, b"x-alga-tenant")
        extension = wanted.extension or request_header(request.scope, b"x-alga-extension")
        if not (tenant and extension):
            return text_response(400, WARMUP_UNSUPPORTED)
        line: RequestLogEntry = request.scope[ENTRY]
        line.tenant, line.extension, line.hash = tenant, extension, wanted.content_hash
        try:
            bundle = await self._components.bundle(tenant, extension, wanted.content_hash)
        except BundleUnavailable as reason:
            line.why = str(reason)
            return json_response(502, {"code": reason.code, "error": str(reason)})
        fields: dict[str, object] = {
            "status": "ready",
            "handler": bundle.component is not None,
            "bundle": "fetched" if bundle.fetched else "cached",
        }
        if bundle.component is not None:
            started = time.perf_counter()
            try:
                await self._components.guest(bundle, await self._engine.works())
                await self._neighbours.warm(bundle.digest, bundle.component)
            except RuntimeUnavailable as why:
                line.why = str(why)
                code = "engine_init_failed"
                return json_response(500, {"code": code, "error": f"{code}: {why}"})
            except GuestFailure as failure:
                line.why = failure.reason
                return json_response(422, _failure(failure))
            fields["took_ms"] = round((time.perf_counter() - started) * 1000, 2)
        return json_response(200, fields)


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
