"""What going through the gateway adds to a call, and how many go through."""

from __future__ import annotations

import json
from base64 import b64decode
from statistics import median
from typing import Final

from benchmarks.command import Unmeasured
from benchmarks.gateway.services import Bench, Services, ask, request
from benchmarks.runner.rows import Row, milliseconds
from benchmarks.runner.service import Line
from benchmarks.runner.wrk import load

ROUND: Final = 100
ADDED_LIMIT, RATE_LIMIT = 0.003, 500
RATE_SHARE: Final = 500 / 1_500
"""The same limit where the runner alone does as much as is asked of it: machines differ."""
CONNECTIONS: Final = 16
EXECUTE: Final = "/v1/execute"


def added(bench: Bench) -> None:
    """One client: the same call asked of the runner and of the gateway, in turn."""
    services = bench.services
    direct = request(EXECUTE, services.routing, services.execute)
    proxied = request(services.proxied, {})
    pairs: list[tuple[float, float]] = []
    with Line(services.runner) as runner, Line(services.gateway) as gateway:
        _same(runner, gateway, services)
        for turn in range(bench.runs + 1):
            pair = (gateway.times(proxied, ROUND), runner.times(direct, ROUND))
            if turn:
                pairs.append((median(pair[0]), median(pair[1])))
    through, bare = (median(each) for each in zip(*pairs, strict=True))
    more = median(mine - theirs for mine, theirs in pairs)
    bench.table.rows.append(
        Row(
            "typical call through the gateway, one client, p50",
            f"{milliseconds(through)}, {milliseconds(more)} more",
            milliseconds(bare),
            "`/v1/execute` asked directly",
            median(mine / theirs for mine, theirs in pairs),
            f"≤ {ADDED_LIMIT * 1000:g} ms more",
            more <= ADDED_LIMIT,
        )
    )


def throughput(bench: Bench) -> None:
    """Many clients; runner, database and load on the same processors."""
    services = bench.services
    url = f"http://127.0.0.1:{services.gateway}{services.proxied}"
    load(url, connections=CONNECTIONS, seconds=2)
    rates = [load(url, connections=CONNECTIONS, seconds=5) for _ in range(max(1, bench.runs // 2))]
    if failed := [each for each in rates if each.good != each.requests]:
        raise Unmeasured(f"not all calls were answered: {failed[0]}")
    middle = sorted(rates, key=lambda it: it.rate)[len(rates) // 2]
    direct = load(
        f"http://127.0.0.1:{services.runner}{EXECUTE}",
        connections=CONNECTIONS,
        seconds=5,
        body=services.execute,
        headers=services.routing,
    )
    bench.table.rows += (
        Row(
            f"typical calls a second through the gateway, {CONNECTIONS} connections",
            f"{middle.rate:.0f}/s, p99 {milliseconds(middle.p99)}",
            limit=f"≥ {RATE_LIMIT}/s",
            held=middle.rate >= RATE_LIMIT,
        ),
        Row(
            "the same as a share of what the runner does",
            f"{middle.rate:.0f}/s",
            f"{direct.rate:.0f}/s",
            "`/v1/execute` asked directly",
            middle.rate / direct.rate,
            f"≥ {RATE_SHARE:.2f} × (500 where it is 1,500)",
            middle.rate >= RATE_SHARE * direct.rate,
        ),
    )


def _same(runner: Line, gateway: Line, services: Services) -> None:
    """Raise Unmeasured unless both ways bring what the handler said."""
    said = json.loads(ask(runner, EXECUTE, services.routing, services.execute))
    if said["status"] != 200:
        raise Unmeasured(f"the call failed: {said}")
    bare = json.loads(b64decode(said["body_b64"]))
    through = json.loads(ask(gateway, services.proxied, {}))
    if bare.keys() != through.keys() or bare["tenant"] != through["tenant"]:
        raise Unmeasured(f"they do not do the same work: {through} – {bare}")
