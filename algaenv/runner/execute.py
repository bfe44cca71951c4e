"""`POST /v1/execute`: reading the request, and giving up on it when its caller has left."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from algaenv.runner.answers import text
from algaenv.runner.body import Refusal, parse, read_json
from algaenv.runner.envelope import Outcome, failed
from algaenv.runner.headers import header
from algaenv.runner.invocation import Spent
from algaenv.runner.invoke import Routing
from algaenv.runner.journal import LINE, Line
from algaenv.runner.metrics.labels import Outcome as Label

if TYPE_CHECKING:
    from algaenv.runner.call import Call
    from algaenv.runner.idempotency import Idempotency
    from algaenv.runner.invoke import Invoker
    from algaenv.runner.metrics.metrics import Metrics

T = TypeVar("T")

_LARGE = 64 * 1024
"""A body from which on reading it is left to a thread: some milliseconds for all others."""
_CLIENT_CLOSED_REQUEST = 499
_LOOK_SECONDS = 0.05
_STAGES = ("queued", "load", "instantiate", "run", "waiting")
_OVERLOADED = "overloaded: all places to run and to wait are taken"
_STOPPING = "stopping: this runner takes no more calls"


class Execute:
    """Answers requests to run a handler."""

    def __init__(self, invoker: Invoker, idempotency: Idempotency, metrics: Metrics) -> None:
        self._invoker = invoker
        self._idempotency = idempotency
        self._metrics = metrics

    async def answer(self, request: Request) -> Response:
        """Run the handler, or replay what it said; see `Invoker` for what can go wrong."""
        from algaenv.runner.wasm.lanes import Busy, Closed

        try:
            call = await _read(request)
        except Refusal as refusal:
            return text(refusal.status, refusal.message)
        line: Line = request.scope[LINE]
        line.tenant = header(request.scope, b"x-alga-tenant")
        line.extension = header(request.scope, b"x-alga-extension")
        line.hash = call.context.content_hash
        call_line = _CallLine(line)
        if not (line.tenant and line.extension):
            return self._say(call_line, failed(400, "missing_routing_headers", Label.BAD_REQUEST))
        routing = Routing(line.tenant, line.extension)
        key = header(request.scope, b"x-idempotency-key")
        try:
            work = self._once(routing, call, key, call_line.spent)
            return self._say(call_line, await _unless_gone(request, work))
        except _Gone:
            return self._say(call_line, failed(_CLIENT_CLOSED_REQUEST, "caller_left", Label.LEFT))
        except Busy as busy:
            return self._refuse(call_line, _OVERLOADED, busy.retry_after)
        except Closed:
            return self._refuse(call_line, _STOPPING, 1)

    async def _once(self, routing: Routing, call: Call, key: str | None, spent: Spent) -> Outcome:
        if not key:
            return await self._invoker.run(routing, call, spent)
        async with self._idempotency.once(routing.tenant, routing.extension, key) as turn:
            if turn.answer is not None:
                return Outcome(turn.answer, Label.REPLAYED, 200)
            outcome = await self._invoker.run(routing, call, spent)
            if outcome.answered:
                turn.keep(outcome.document)
            return outcome

    def _say(self, call_line: _CallLine, outcome: Outcome) -> Response:
        self._metrics.executed(outcome.label, call_line.spent, call_line.end(outcome))
        if outcome.label is Label.REPLAYED:
            self._metrics.replayed()
        return _json(outcome)

    def _refuse(self, call_line: _CallLine, why: str, seconds: float) -> Response:
        answer = self._say(call_line, failed(503, why, Label.BUSY))
        answer.status_code = 503
        answer.headers["retry-after"] = str(math.ceil(seconds))
        return answer


class _CallLine:
    """What the line of a request says about the call in it."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._started = time.perf_counter()
        self.spent = Spent()

    def end(self, outcome: Outcome) -> float:
        """Write down how it ended; returns how many seconds it took."""
        more: dict[str, object] = {"outcome": outcome.label, "guest_status": outcome.status}
        for stage in _STAGES:
            if seconds := getattr(self.spent, stage):
                more[f"{stage}_ms"] = round(seconds * 1000, 2)
        self._line.more = more
        self._line.why = outcome.error
        return time.perf_counter() - self._started


class _Gone(Exception):
    """Nobody waits for the answer any more."""


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work as long as the client waits. Raises _Gone; the work is cancelled then.

    Nobody looks at the client before the work has taken a while: most calls end before.
    """
    watch = _Watch(request)
    look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, watch.begin)
    try:
        return await work
    except asyncio.CancelledError:
        if not watch.gone:
            raise
        watch.working.uncancel()
        raise _Gone from None
    finally:
        look.cancel()
        watch.end()


class _Watch:
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


async def _read(request: Request) -> Call:
    body = await read_json(request)
    if len(body) < _LARGE:
        return _parse(body)
    return await asyncio.to_thread(_parse, body)


def _parse(body: bytes) -> Call:
    from algaenv.runner.call import Call

    return parse(Call, body)


def _json(outcome: Outcome) -> Response:
    headers = {"cache-control": "no-store", **outcome.headers}
    return Response(outcome.document, 200, headers, media_type="application/json")
