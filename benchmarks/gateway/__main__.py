"""`python -m benchmarks.gateway`: the gateway, beside the runner behind it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.gateway import calls
from benchmarks.gateway.followers import followers
from benchmarks.gateway.services import Bench, start_services
from benchmarks.gateway.storage import storage
from benchmarks.gateway.tenants import tenants
from benchmarks.runner.rows import Table
from benchmarks.suite import Suite, say


@contextmanager
def _start(root: Path, table: Table, runs: int) -> Iterator[Bench]:
    say("bringing an environment up; its handlers are compiled")
    with start_services(root) as found:
        yield Bench(*found, table, runs)


SUITE: Final = Suite(
    name="gateway",
    description="Speed of the gateway, beside the runner behind it.",
    packages=("uvicorn", "uvloop", "starlette", "psycopg"),
    stage=_start,
    measurements={
        "added": calls.added,
        "throughput": calls.throughput,
        "storage": storage,
        "followers": followers,
        "tenants": tenants,
    },
)

if __name__ == "__main__":
    sys.exit(SUITE.main())
