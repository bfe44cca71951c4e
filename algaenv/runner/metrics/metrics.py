"""What a worker counts, and the answer to `GET /metrics`.

The library is loaded a moment after the service has begun to serve; what happens before is
remembered and counted then. Counting costs a microsecond or two a series.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from algaenv.runner.answers import text
from algaenv.runner.importing import importing
from algaenv.runner.invocation import Spent, Stream
from algaenv.runner.metrics.labels import Bundled, Compiled, Outcome, Watched, route
from algaenv.runner.wasm.failure import Kind

if TYPE_CHECKING:
    from algaenv.runner.metrics.series import Series

_SETTLING_SECONDS = 1.0
_SAMPLE_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Metrics:
    """The figures of one worker process; at most one object a process.

    `worker` is a number that no other living worker of the service has, and that the one started
    in its place gets again. Without a ledger nothing is counted.
    `contract` is the version of the behaviour that the runner follows.
    What counts may be called from any thread, and never raises.
    """

    def __init__(self, ledger: Path | None, *, worker: int, contract: str) -> None:
        self._ledger = ledger
        self._worker = worker
        self._contract = contract
        self._series: Series | None = None
        self._early: list[Callable[[Series], None]] = []
        self._changing = threading.Lock()
        self._broken = ledger is None
        self._loading: asyncio.Task[None] | None = None
        self._sampling: asyncio.Task[None] | None = None
        self._watched: dict[Watched, Callable[[], float]] = {}

    def begin(self) -> None:
        """Load the library soon, and look at what is watched every second from then on."""
        self._sampling = asyncio.create_task(self._sample_for_ever())

    async def aclose(self) -> None:
        """Stop looking."""
        if self._sampling is not None:
            self._sampling.cancel()
            with suppress(asyncio.CancelledError):
                await self._sampling

    def watch(self, readers: Mapping[Watched, Callable[[], float]]) -> None:
        """Have these read every second, on the event loop, and for every answer of this worker."""
        self._watched.update(readers)

    def request(self, path: str, status: int) -> None:
        """A request was answered."""
        if (series := self._series) is None:
            self._later(lambda series: series.request(route(path), status))
        else:
            series.request(route(path), status)

    def executed(self, outcome: Outcome | Kind, spent: Spent, seconds: float) -> None:
        """A call of a handler has ended after so long. Parts that took no time do not count."""
        if (series := self._series) is None:
            self._later(lambda series: series.call(outcome.value, spent, seconds))
        else:
            series.call(outcome.value, spent, seconds)

    def compiled(self, outcome: Compiled, seconds: float) -> None:
        """A component was compiled, or could not be."""
        self._count(lambda series: series.compile(outcome, seconds))

    def bundle(self, result: Bundled) -> None:
        """A bundle was asked of the cache, for a page or a call."""
        if (series := self._series) is None:
            self._later(lambda series: series.bundles[result].inc())
        else:
            series.bundles[result].inc()

    def replayed(self) -> None:
        """A call was answered with what an earlier one with its idempotency key got."""
        self._count(lambda series: series.replays.inc())

    def guest_line(self, stream: Stream) -> None:
        """A guest said something."""
        if (series := self._series) is None:
            self._later(lambda series: series.lines[stream].inc())
        else:
            series.lines[stream].inc()

    def events_dropped(self, number: int) -> None:
        """So many events will not be in the debug stream."""
        self._count(lambda series: series.dropped.inc(number))

    async def answer(self, request: Request) -> Response:
        """Answer `GET /metrics`: the figures of all workers, in the format the client asks for."""
        await self._load()
        if self._series is None or self._ledger is None:
            return text(503, "metrics are not available")
        self._sample(self._series)
        from algaenv.runner.metrics.series import expose

        accept = request.headers.get("accept", "")
        content, content_type = await asyncio.to_thread(expose, self._ledger, accept)
        headers = {"cache-control": "no-store", "content-type": content_type}
        return Response(content, headers=headers)

    def _count(self, counting: Callable[[Series], None]) -> None:
        if (series := self._series) is None:
            self._later(counting)
        else:
            counting(series)

    def _later(self, counting: Callable[[Series], None]) -> None:
        with self._changing:
            if (series := self._series) is None:
                if not self._broken:
                    self._early.append(counting)
                return
        counting(series)

    async def _sample_for_ever(self) -> None:
        await asyncio.sleep(_SETTLING_SECONDS)
        await self._load()
        while self._series is not None:
            self._sample(self._series)
            await asyncio.sleep(_SAMPLE_SECONDS)

    def _sample(self, series: Series) -> None:
        for watched, read in self._watched.items():
            series.now[watched].set(read())

    async def _load(self) -> None:
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(self._load_now))
        await asyncio.shield(self._loading)

    def _load_now(self) -> None:
        if self._ledger is None:
            return
        try:
            with importing():
                from algaenv.runner.metrics.series import Series

            series = Series(self._ledger, worker=self._worker, contract=self._contract)
        except (ImportError, OSError) as error:
            _log.warning("no metrics", extra={"fields": {"why": str(error)}})
            with self._changing:
                self._broken = True
                self._early.clear()
            return
        with self._changing:
            self._series = series
            early, self._early = self._early, []
        for counting in early:
            counting(series)
