"""`python -m benchmarks.runner`: measure the runner, print, write down. Told, never asserted.

Exits with 0 when all was measured and 1 when something could not be; a limit that does not hold is
said in the table.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.command import Unmeasured
from benchmarks.page import rewrite
from benchmarks.runner import calls, holdings, statics
from benchmarks.runner.bench import Bench
from benchmarks.runner.rows import Table

LATEST: Final = Path(__file__).parents[1] / "results" / "runner.json"

MEASUREMENTS: Final[Mapping[str, Callable[[Bench], None]]] = {
    "typical": calls.typical,
    "throughput": calls.throughput,
    "first": calls.first,
    "compiling": calls.compiling,
    "health": calls.health,
    "static": statics.statics,
    "memory": holdings.memory,
    "burst": holdings.burst,
    "overload": calls.overload,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _options(argv)
    table = Table()
    table.facts |= machine.facts()
    table.facts["packages"] = ", ".join(
        f"{name} {version(name)}" for name in ("wasmtime", "uvicorn", "uvloop", "starlette")
    )
    table.facts["runs"] = str(options.runs)
    with tempfile.TemporaryDirectory(prefix="algaenv-bench-", dir=options.scratch) as root:
        bench = Bench(Path(root), table, options.runs, _say)
        with bench.stack:
            for name in options.only or MEASUREMENTS:
                _measure(bench, name)
        bench.store.close()
    LATEST.parent.mkdir(exist_ok=True)
    if not options.only:
        LATEST.write_text(table.json())
    if options.markdown in (None, "-"):
        print(table.markdown())
    else:
        rewrite(Path(options.markdown), "runner figures", table.markdown())
    return int(bool(table.unmeasured))


def _measure(bench: Bench, name: str) -> None:
    busy = machine.busy()
    _say(f"measuring {name}; others keep {busy:.1f} of {os.cpu_count()} processors busy")
    try:
        MEASUREMENTS[name](bench)
    except Exception as error:
        # Whatever it was, the other measurements can still be taken.
        why = str(error) if isinstance(error, Unmeasured) else repr(error)
        bench.table.unmeasured[name] = why
        _say(f"NOT MEASURED: {why}")


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.runner",
        description="Speed of the bundled runner, beside floors of the same machine.",
        allow_abbrev=False,
    )
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="rounds (default: 7)")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(MEASUREMENTS),
        metavar="NAME",
        help="may be given again: " + ", ".join(MEASUREMENTS),
    )
    parser.add_argument(
        "--markdown",
        nargs="?",
        const="-",
        metavar="PAGE",
        help="print the table in Markdown, or put it between the marks of PAGE",
    )
    parser.add_argument(
        "--scratch", type=Path, metavar="DIR", help="for caches, on a disk that may hold programs"
    )
    options = parser.parse_args(argv)
    if options.runs < 1:
        parser.error("--runs needs at least 1")
    return options


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
