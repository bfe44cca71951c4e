"""What handlers store: one record after another, and from many at once, as the runner asks."""

from __future__ import annotations

import json
import time
from statistics import median
from typing import Final

from benchmarks.command import Unmeasured
from benchmarks.gateway.services import Bench, ask, request
from benchmarks.runner.rows import Row
from benchmarks.runner.service import Line
from benchmarks.runner.wrk import load

KEYS: Final = 100
ROUND: Final = 500
MANY: Final = 2_000
RATE_LIMIT: Final = 1_000
CONNECTIONS: Final = 16
SECONDS: Final = 4.0


def storage(bench: Bench) -> None:
    """Records written anew, written again, and read: by one client, then by many."""
    services = bench.services
    headers = {"content-type": "application/json", "x-runner-auth": services.token}
    target = f"/api/internal/ext-storage/install/{services.install}"

    def asked(operation: str, number: int, **more: object) -> bytes:
        fields = {"operation": operation, "namespace": "bench", "key": f"k{number:06}", **more}
        return request(target, headers, json.dumps(fields).encode())

    def put(number: int) -> bytes:
        return asked("put", number, value={"text": "x" * 200, "number": number})

    with Line(services.gateway) as line:
        probe = {"operation": "put", "namespace": "other", "key": "k", "value": 1}
        ask(line, target, headers, json.dumps(probe).encode())
        fresh = _rate(line, [put(number) for number in range(MANY)])
        puts, gets = [], []
        for _ in range(bench.runs):
            numbers = [number % KEYS for number in range(ROUND)]
            puts.append(_rate(line, [put(number) for number in numbers]))
            gets.append(_rate(line, [asked("get", number) for number in numbers]))
    url = f"http://127.0.0.1:{services.gateway}{target}"
    together = {}
    for operation, fields in (("put", {"value": {"text": "x" * 200}}), ("get", {})):
        asks = {"operation": operation, "namespace": "bench", "key": f"k{KEYS:06}", **fields}
        seen = load(
            url,
            connections=CONNECTIONS,
            seconds=SECONDS,
            body=json.dumps(asks).encode(),
            headers=headers,
        )
        if seen.good != seen.requests:
            raise Unmeasured(f"not all were answered: {seen}")
        together[operation] = seen.rate
    for what, rate in (
        (f"storage: {MANY} records written anew, a second, one client", fresh),
        (f"storage: put again among {MANY}, a second, one client", median(puts)),
        (f"storage: get among {MANY}, a second, one client", median(gets)),
        (f"storage: put, a second, {CONNECTIONS} clients of one install", together["put"]),
        (f"storage: get, a second, {CONNECTIONS} clients of one install", together["get"]),
    ):
        limit = f"≥ {RATE_LIMIT}/s"
        bench.table.rows.append(Row(what, f"{rate:.0f}/s", limit=limit, held=rate >= RATE_LIMIT))


def _rate(line: Line, requests: list[bytes]) -> float:
    began = time.perf_counter()
    for each in requests:
        status, text = line.ask(each)
        assert status == 200, text
    return len(requests) / (time.perf_counter() - began)
