"""A set of measurements as a command: measure, print, write down. Told, never asserted.

It ends with 0 when all was measured and with 1 when something could not be; a limit that does not
hold is said in the table.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, Generic, TypeVar

from benchmarks import machine
from benchmarks.command import Unmeasured
from benchmarks.page import rewrite
from benchmarks.runner.rows import Table

RESULTS: Final = Path(__file__).parent / "results"

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Suite(Generic[S]):
    """`stage` makes, below a folder, what every measurement is given; `packages` are told."""

    name: str
    description: str
    packages: tuple[str, ...]
    stage: Callable[[Path, Table, int], AbstractContextManager[S]]
    measurements: Mapping[str, Callable[[S], None]]

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run the command; returns its exit code."""
        options = self._options(argv)
        table = Table(mine=self.name)
        table.facts |= machine.facts()
        packages = ", ".join(f"{name} {version(name)}" for name in self.packages)
        table.facts |= {"packages": packages, "runs": str(options.runs)}
        with (
            tempfile.TemporaryDirectory(prefix="algaenv-bench-", dir=options.scratch) as root,
            self.stage(Path(root), table, options.runs) as stage,
        ):
            for name in options.only or self.measurements:
                self._measure(stage, table, name)
        RESULTS.mkdir(exist_ok=True)
        if not options.only:
            (RESULTS / f"{self.name}.json").write_text(table.json())
        if options.markdown in (None, "-"):
            print(table.markdown())
        else:
            rewrite(Path(options.markdown), f"{self.name} figures", table.markdown())
        return int(bool(table.unmeasured))

    def _measure(self, stage: S, table: Table, name: str) -> None:
        busy = machine.busy()
        say(f"measuring {name}; others keep {busy:.1f} of {os.cpu_count()} processors busy")
        try:
            self.measurements[name](stage)
        except Exception as error:
            # Whatever it was, the other measurements can still be taken.
            why = str(error) if isinstance(error, Unmeasured) else repr(error)
            table.unmeasured[name] = why
            say(f"NOT MEASURED: {why}")

    def _options(self, argv: Sequence[str] | None) -> argparse.Namespace:
        parser = argparse.ArgumentParser(
            prog=f"python -m benchmarks.{self.name}",
            description=self.description,
            allow_abbrev=False,
        )
        parser.add_argument("--runs", type=int, default=7, metavar="N", help="rounds (default: 7)")
        parser.add_argument(
            "--only",
            action="append",
            choices=list(self.measurements),
            metavar="NAME",
            help="may be given again: " + ", ".join(self.measurements),
        )
        parser.add_argument(
            "--markdown",
            nargs="?",
            const="-",
            metavar="PAGE",
            help="print the table in Markdown, or put it between the marks of PAGE",
        )
        parser.add_argument(
            "--scratch",
            type=Path,
            metavar="DIR",
            help="for files, on a disk that may hold programs",
        )
        options = parser.parse_args(argv)
        if options.runs < 1:
            parser.error("--runs needs at least 1")
        return options


def say(text: str) -> None:
    """Tell whoever waits what is being done."""
    print(f"… {text}", file=sys.stderr, flush=True)
