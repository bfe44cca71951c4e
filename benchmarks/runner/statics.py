"""Files: the runner with one worker beside a bare ASGI application on the same server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final

from benchmarks.command import Unmeasured
from benchmarks.runner.bench import Bench
from benchmarks.runner.components import EXTENSION, TENANT
from benchmarks.runner.rows import Row
from benchmarks.runner.service import ASSET, Line, request
from benchmarks.runner.wrk import load

LIMIT: Final = 0.6
CONNECTIONS: Final = 32
SECONDS: Final = 3.0


def statics(bench: Bench) -> None:
    """200 and 304 of 50 KB, requests a second, in turn with the floor."""
    digest = bench.store.keep({"ui/index.html": b"<p>", "ui/a.js": ASSET})
    path = f"/ext-ui/{EXTENSION}/{digest.prefixed}/a.js"
    with (
        bench.service(bench.fresh(), RUNNER_WORKERS="1") as service,
        _floor(bench) as floor,
        Line(service.port) as line,
    ):
        line.ask(request(f"{path}?tenant={TENANT}"))
        tag = _tag(service.port, path)
        for what, headers, good in (
            ("200", {}, "status == 200"),
            ("304", {"if-none-match": tag}, "status == 304"),
        ):
            pairs = []
            for turn in range(max(2, bench.runs // 2) + 1):
                rates = [
                    load(
                        url,
                        connections=CONNECTIONS,
                        seconds=SECONDS if turn else 1,
                        headers=headers,
                        good=good,
                    ).rate
                    for url in (f"{service.url}{path}", f"{floor}{path}")
                ]
                if turn:
                    pairs.append((rates[0], rates[1]))
            ratio = median(mine / theirs for mine, theirs in pairs)
            mine, theirs = (median(each) for each in zip(*pairs, strict=True))
            bench.table.rows.append(
                Row(
                    f"{what} of a 50 KB asset, one worker, {CONNECTIONS} connections",
                    f"{mine:.0f}/s",
                    f"{theirs:.0f}/s",
                    "a bare ASGI application",
                    ratio,
                    f"≥ {LIMIT} ×",
                    ratio >= LIMIT,
                )
            )


def _tag(port: int, path: str) -> str:
    import http.client

    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        link.request("GET", path)
        answer = link.getresponse()
        if answer.status != 200 or answer.read() != ASSET:
            raise Unmeasured(f"the asset answered {answer.status}")
        return answer.headers["etag"]
    finally:
        link.close()


@contextmanager
def _floor(bench: Bench) -> Iterator[str]:
    (port,) = bench.ports.take(1)
    command = [sys.executable, "-m", "benchmarks.runner.raw", str(port)]
    process = subprocess.Popen(command)
    try:
        until = time.monotonic() + 20
        while True:
            try:
                with Line(port) as line:
                    line.ask(request("/"))
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise Unmeasured("the bare application did not start") from None
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
