"""What workers hold: idle, for each component, and after a burst of calls with long limits."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Final

from algaenv.bundle.digest import Digest
from benchmarks.command import Unmeasured
from benchmarks.runner import components
from benchmarks.runner.bench import Bench
from benchmarks.runner.calls import EXECUTE
from benchmarks.runner.rows import Row, megabytes
from benchmarks.runner.service import Footprint, Line, Service, request

IDLE_LIMIT, EACH_LIMIT, GROWTH_LIMIT = 80e6, 45e6, 5e6
LOADED: Final = 4
BURST: Final = 500
_SETTLING: Final = 1.0


def memory(bench: Bench) -> None:
    """Resident bytes of a worker, shared ones included."""
    digests = [bench.handler()] + [bench.handler(20 + number) for number in range(LOADED - 1)]
    cache = bench.fresh()
    with bench.service(cache, RUNNER_COMPILE_TIERS="1") as service:
        for digest in digests:
            service.warm(digest)
    with bench.service(cache) as service:
        with Line(service.port) as line:
            line.ask(request("/readyz"))
        time.sleep(_SETTLING)
        idle = _resident(service)
        sizes = [idle]
        for digest in digests:
            _everywhere(service, digest)
            sizes.append(_resident(service))
    growth = [after - before for before, after in pairwise(sizes)]
    further = sum(growth[1:]) / len(growth[1:])
    rows = (
        ("memory of a worker, idle", idle, IDLE_LIMIT, "≤ 80 MB"),
        ("with its first component loaded and called, more by", growth[0], EACH_LIMIT, "≤ 45 MB"),
        ("with each further one, more by", further, EACH_LIMIT, "≤ 45 MB"),
    )
    for what, size, limit, text in rows:
        bench.table.rows.append(Row(what, megabytes(size), limit=text, held=size <= limit))


def burst(bench: Bench) -> None:
    """500 quick calls with a limit of 30 s: nothing of them is there afterwards."""
    digest = bench.handler()
    with bench.service(bench.warm_cache) as service:
        # What a first burst makes, it keeps for the next: threads, slots, buffers. Either burst
        # goes to one worker, and not always to the same.
        _everywhere(service, digest)
        _calls(service, digest, BURST)
        time.sleep(_SETTLING)
        before = [Footprint.of(pid) for pid in service.workers()]
        _calls(service, digest, BURST)
        time.sleep(_SETTLING)
        after = [Footprint.of(pid) for pid in service.workers()]
    pairs = list(zip(before, after, strict=True))
    mappings = max(b.mappings - a.mappings for a, b in pairs)
    threads = max(b.threads - a.threads for a, b in pairs)
    files = max(b.files - a.files for a, b in pairs)
    resident = max(b.resident - a.resident for a, b in pairs)
    total = max(it.mappings for it in after)
    bench.table.rows.append(
        Row(
            f"{BURST} quick calls with `timeout_ms` 30000 leave behind, a worker",
            f"{mappings:+d} of {total} mappings, {threads:+d} threads, {files:+d} files, "
            f"{resident / 1e6:+.1f} MB",
            limit="nothing (memory: ≤ 5 MB)",
            held=mappings <= 8 and threads <= 0 and files <= 2 and resident <= GROWTH_LIMIT,
        )
    )


def _resident(service: Service) -> float:
    return float(max(Footprint.of(pid).resident for pid in service.workers()))


def _everywhere(service: Service, digest: Digest) -> None:
    """Call it often enough, over new connections, for every worker to have had a turn."""
    for _ in range(16 * len(service.workers())):
        _calls(service, digest, 2)


def _calls(service: Service, digest: Digest, count: int) -> None:
    asked = request(EXECUTE, components.call(digest.prefixed, "/small"))
    with Line(service.port) as line:
        for _ in range(count):
            status, said = line.ask(asked)
            if status != 200 or b'"status":200' not in said:
                raise Unmeasured(f"a call failed: {status} {said.decode(errors='replace')[:200]}")
