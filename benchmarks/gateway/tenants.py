"""What a test costs beside its calls: a scratch tenant, made and deleted."""

from __future__ import annotations

import json
import time
from statistics import median
from typing import Final

from benchmarks.command import Unmeasured
from benchmarks.gateway.services import Bench, ask, request
from benchmarks.runner.rows import Row
from benchmarks.runner.service import Line

TENANTS: Final = 30
_TARGET: Final = "/algaenv/tenants"
_JSON: Final = {"content-type": "application/json"}


def tenants(bench: Bench) -> None:
    """A tenant made, one call for it, and the tenant deleted; each in turn with one call."""
    services = bench.services
    made, deleted, calls = [], [], []
    with Line(services.gateway) as line:
        ask(line, services.proxied, {})
        for _ in range(TENANTS * bench.runs):
            began = time.perf_counter()
            status, text = line.ask(request(_TARGET, _JSON, b'{"owner": "benchmark"}'))
            made.append(time.perf_counter() - began)
            if status != 201:
                raise Unmeasured(f"{_TARGET} answered {status}: {text[:300]!r}")
            tenant = json.loads(text)["tenant"]
            began = time.perf_counter()
            ask(line, services.proxied, {"x-algaenv-tenant": tenant})
            calls.append(time.perf_counter() - began)
            removal = f"DELETE {_TARGET}/{tenant} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
            began = time.perf_counter()
            status, text = line.ask(removal.encode())
            deleted.append(time.perf_counter() - began)
            if status != 200:
                raise Unmeasured(f"a tenant was not deleted: {status} {text[:300]!r}")
    call = median(calls)
    for what, times in (("made", made), ("deleted", deleted)):
        took = median(times)
        bench.table.rows.append(
            Row(
                f"scratch tenant {what}",
                f"{took * 1000:.1f} ms",
                f"{call * 1000:.1f} ms",
                "one call for it",
                took / call,
            )
        )
