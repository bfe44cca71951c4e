"""`python -m benchmarks.gateway`: measure the gateway, print, write down. Told, never asserted.

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
from benchmarks.gateway import calls
from benchmarks.gateway.place import Place, place
from benchmarks.gateway.storage import storage
from benchmarks.page import rewrite
from benchmarks.runner.rows import Table

LATEST: Final = Path(__file__).parents[1] / "results" / "gateway.json"

MEASUREMENTS: Final[Mapping[str, Callable[[Place, Table, int], None]]] = {
    "added": calls.added,
    "throughput": calls.throughput,
    "storage": storage,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _options(argv)
    table = Table(mine="gateway")
    table.facts |= machine.facts()
    table.facts["packages"] = ", ".join(
        f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "starlette", "psycopg")
    )
    table.facts["runs"] = str(options.runs)
    with tempfile.TemporaryDirectory(prefix="algaenv-bench-", dir=options.scratch) as root:
        _say("bringing an environment up; its handler is compiled")
        with place(Path(root)) as found:
            for name in options.only or MEASUREMENTS:
                _measure(found, table, name, options.runs)
    LATEST.parent.mkdir(exist_ok=True)
    if not options.only:
        LATEST.write_text(table.json())
    if options.markdown in (None, "-"):
        print(table.markdown())
    else:
        rewrite(Path(options.markdown), "gateway figures", table.markdown())
    return int(bool(table.unmeasured))


def _measure(found: Place, table: Table, name: str, runs: int) -> None:
    _say(f"measuring {name}; others keep {machine.busy():.1f} of {os.cpu_count()} processors busy")
    try:
        MEASUREMENTS[name](found, table, runs)
    except Unmeasured as error:
        table.unmeasured[name] = str(error)
        _say(f"NOT MEASURED: {error}")


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gateway",
        description="Speed of the gateway, beside the runner behind it.",
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
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="for the environment")
    options = parser.parse_args(argv)
    if options.runs < 1:
        parser.error("--runs needs at least 1")
    return options


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
