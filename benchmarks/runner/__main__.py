"""`python -m benchmarks.runner`: the bundled runner, beside floors of the same machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.runner import calls, holdings, statics
from benchmarks.runner.bench import Bench
from benchmarks.runner.rows import Table
from benchmarks.runner.spans import spans
from benchmarks.suite import Suite, say


@contextmanager
def _stage(root: Path, table: Table, runs: int) -> Iterator[Bench]:
    bench = Bench(root, table, runs, say)
    try:
        with bench.stack:
            yield bench
    finally:
        bench.store.close()


SUITE: Final = Suite(
    name="runner",
    description="Speed of the bundled runner, beside floors of the same machine.",
    packages=("wasmtime", "uvicorn", "uvloop", "starlette"),
    stage=_stage,
    measurements={
        "typical": calls.typical,
        "throughput": calls.throughput,
        "first": calls.first,
        "compiling": calls.compiling,
        "health": calls.health,
        "static": statics.statics,
        "memory": holdings.memory,
        "burst": holdings.burst,
        "overload": calls.overload,
        "spans": spans,
    },
)

if __name__ == "__main__":
    sys.exit(SUITE.main())
