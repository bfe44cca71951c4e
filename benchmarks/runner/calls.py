"""Calls of handlers: one at a time against the floors, many at once, the first, and too many."""

from __future__ import annotations

import json
import os
import threading
import time
from base64 import b64decode
from statistics import median
from typing import Final

from benchmarks.command import Unmeasured
from benchmarks.runner import components
from benchmarks.runner.bench import Bench
from benchmarks.runner.rows import Row, milliseconds, percentile
from benchmarks.runner.service import Line, Service, request
from benchmarks.runner.wrk import Load, load

EXECUTE: Final = "/v1/execute"
ROUND: Final = 200
TYPICAL_LIMIT, FIRST_LIMIT, WELL_LIMIT = 2.0, 0.020, 0.050
RATE_SHARE: Final = 1_500 / (2 * 1_700)
"""Of what the processors could do with nothing but the layer: machines differ, and so do hours."""
CONNECTIONS: Final = 16
"""For throughput: enough to keep two workers busy, so few that nobody waits long."""
OVERLOAD: Final = 4
"""Times as many calls at once as the runner takes in."""
ANSWERED: Final = "status == 200 and body:find('\"status\":200', 1, true) ~= nil"
HEADERS: Final = {
    "content-type": "application/json",
    "x-alga-tenant": components.TENANT,
    "x-alga-extension": components.EXTENSION,
}
_PUBLISHED: Final = "the original: 5.8 – 6.6 s for 11.8 MB, 5 ms for 1 KB"


def typical(bench: Bench) -> None:
    """Six host calls that stay in the process and some JSON, over HTTP and without it."""
    digest = bench.handler()
    asked = request(EXECUTE, components.call(digest.prefixed, "/typical"))
    stock, layer = bench.floor("stock"), bench.floor("layer")
    over: list[tuple[float, float, float]] = []
    with bench.service(bench.warm_cache) as service, Line(service.port) as line:
        _same(line.ask(asked), stock.body, layer.body)
        for turn in range(bench.runs + 1):
            took = (line.times(asked, ROUND), stock.calls(ROUND), layer.calls(ROUND))
            if turn:
                http, bare, own = (median(each) for each in took)
                over.append((http, bare, own))
    http, bare, own = (median(each) for each in zip(*over, strict=True))
    bench.typical = http
    stocked, layered = "`wasmtime.component`, in process", "our layer alone, in process"
    rows = (
        ("typical call, HTTP, one client, p50", http, bare, stocked, 0, 1),
        ("typical call, our layer alone, p50", own, bare, stocked, 2, 1),
        ("typical call, HTTP, one client, p50", http, own, layered, 0, 2),
    )
    for what, mine, theirs, against, left, right in rows:
        ratio = median(each[left] / each[right] for each in over)
        bench.table.rows.append(
            Row(
                what,
                milliseconds(mine),
                milliseconds(theirs),
                against,
                ratio,
                f"{TYPICAL_LIMIT:g} ×",
                ratio <= TYPICAL_LIMIT,
            )
        )


def throughput(bench: Bench) -> None:
    """Many clients; then the same with a request that leaves the process."""
    digest = bench.handler()
    cores = len(os.sched_getaffinity(0))
    layer = bench.floor("layer")
    layer.calls(ROUND)
    with bench.service(bench.warm_cache) as service:
        service.warm(digest)
        body = components.call(digest.prefixed, "/typical")
        _flood(service, body, CONNECTIONS, 2)
        rates, alone = [], []
        for _ in range(max(1, bench.runs // 2)):
            alone.append(median(layer.calls(5 * ROUND)))
            rates.append(_flood(service, body, CONNECTIONS, 5))
        floor = cores / median(alone)
        best = sorted(rates, key=lambda it: it.rate)[len(rates) // 2]
        bench.table.rows.append(
            Row(
                f"typical calls a second, {CONNECTIONS} connections, load on the same processors",
                f"{best.rate:.0f}/s, p99 {milliseconds(best.p99)}",
                f"{floor:.0f}/s",
                f"our layer alone, one process on each of {cores} processors, nothing else there",
                best.rate / floor,
                f"≥ {RATE_SHARE:.2f} × (1,500 where it is 3,400)",
                best.rate >= RATE_SHARE * floor and best.broken == 0,
            )
        )
        url = {"x-fetch-url": f"{bench.store.url}/fetch"}
        body = components.call(digest.prefixed, "/typical-io", url)
        seen = _flood(service, body, CONNECTIONS, 5)
        bench.table.rows.append(
            Row(
                f"the same with an HTTP request to another process, {CONNECTIONS} connections",
                f"{seen.rate:.0f}/s, p99 {milliseconds(seen.p99)}",
            )
        )


def first(bench: Bench) -> None:
    """The first call after a warm-up, each time of a service just started; and the warm-up."""
    digest = bench.handler()
    asked = request(EXECUTE, components.call(digest.prefixed, "/typical"))
    took, warmed = [], []
    for _ in range(bench.runs):
        with bench.service(bench.warm_cache) as service:
            warmed.append(service.warm(digest))
            with Line(service.port) as line:
                began = time.perf_counter()
                line.ask(asked)
                took.append(time.perf_counter() - began)
    worst = max(took)
    bench.table.rows.append(
        Row(
            "first call after `/warmup`, service just started, worst",
            f"{milliseconds(worst)} (median {milliseconds(median(took))})",
            limit=f"≤ {FIRST_LIMIT * 1000:g} ms",
            held=worst <= FIRST_LIMIT,
        )
    )
    bench.table.rows.append(Row("`/warmup` of a compiled component", milliseconds(median(warmed))))


def compiling(bench: Bench) -> None:
    """What it costs to compile: once here, for every call in a runner that keeps nothing."""
    digest = bench.handler(1)
    floor = bench.floor("stock")
    call = floor.compile_seconds + median(floor.calls(ROUND))
    for tiers, code in (("2", "quick code"), ("1", "with optimisation")):
        with bench.service(bench.fresh(), RUNNER_COMPILE_TIERS=tiers) as service:
            seconds = service.warm(digest)
        bench.table.rows.append(
            Row(
                f"`/warmup` of a 12 MB component never seen: fetch, compile ({code}), load",
                milliseconds(seconds),
                milliseconds(call),
                "a call in a process that compiles each time",
                seconds / call,
            )
        )
    if bench.typical is not None:
        bench.table.rows.append(
            Row(
                "a call, beside a runner that compiles for every one",
                milliseconds(bench.typical),
                milliseconds(call),
                f"instantiate, call and compile here; {_PUBLISHED}",
                bench.typical / call,
            )
        )


def overload(bench: Bench) -> None:
    """More calls at once than the runner takes in: how long anybody waits, and what comes after."""
    digest = bench.handler()
    body = components.call(digest.prefixed, "/typical")
    taken = 64
    with bench.service(bench.warm_cache, RUNNER_QUEUE=str(taken // 2)) as service:
        service.warm(digest)
        before = _flood(service, body, CONNECTIONS, 4)
        flood = _flood(service, body, OVERLOAD * taken * len(service.workers()) // 2, 5)
        after = _flood(service, body, CONNECTIONS, 4)
    turned_away = flood.busy / max(1, flood.requests)
    bench.table.rows.append(
        Row(
            f"{OVERLOAD} × as many calls at once as are taken in: p99",
            f"{milliseconds(flood.p99)}, longest {milliseconds(flood.max)}; "
            f"{flood.rate:.0f}/s answered, {turned_away:.0%} turned away",
            limit="bounded: ≤ 2 s, none broken",
            held=flood.p99 <= 2 and flood.broken == 0,
        )
    )
    ratio = after.rate / before.rate
    bench.table.rows.append(
        Row(
            "calls a second right after it",
            f"{after.rate:.0f}/s",
            f"{before.rate:.0f}/s",
            "before it",
            ratio,
            "≥ 0.8 ×",
            ratio >= 0.8,
        )
    )


def health(bench: Bench) -> None:
    """`/healthz` while two components compile."""
    digests = [bench.handler(10 + number) for number in range(2)]
    took: list[float] = []
    with bench.service(bench.fresh()) as service:
        threads = [threading.Thread(target=_quietly, args=(service, it)) for it in digests]
        for thread in threads:
            thread.start()
        with Line(service.port) as line:
            while any(thread.is_alive() for thread in threads):
                began = time.perf_counter()
                status, _ = line.ask(request("/healthz"))
                took.append(time.perf_counter() - began)
                if status != 200:
                    raise Unmeasured(f"/healthz answered {status}")
                time.sleep(0.005)
        for digest in digests:
            if service.warm(digest) > 1:
                raise Unmeasured("it had not been compiled")
    high = percentile(took, 0.99)
    bench.table.rows.append(
        Row(
            f"`/healthz` p99 while two 12 MB components compile ({len(took)} asked)",
            f"{milliseconds(high)} (p50 {milliseconds(median(took))}, "
            f"longest {milliseconds(max(took))})",
            limit=f"≤ {WELL_LIMIT * 1000:g} ms",
            held=high <= WELL_LIMIT,
        )
    )


def _quietly(service: Service, digest: object) -> None:
    try:
        service.warm(digest)  # type: ignore[arg-type]
    except Unmeasured:
        return  # Said again by the caller, who warms it once more.


def _same(answer: tuple[int, bytes], *bodies: str) -> None:
    """Raise Unmeasured unless all three say the same."""
    status, said = answer
    found = json.loads(said)
    if status != 200 or found["status"] != 200:
        raise Unmeasured(f"the call failed: {status} {said.decode(errors='replace')[:300]}")
    ours = b64decode(found["body_b64"]).decode()
    if any(body != ours for body in bodies):
        raise Unmeasured(f"they do not do the same work: {ours[:200]} – {bodies[0][:200]}")


def _flood(service: Service, body: bytes, connections: int, seconds: float) -> Load:
    seen = load(
        service.url + EXECUTE,
        connections=connections,
        seconds=seconds,
        body=body,
        headers=HEADERS,
        good=ANSWERED,
    )
    if not seen.good:
        raise Unmeasured(f"no call was answered: {seen}")
    return seen
