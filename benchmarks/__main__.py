"""`python -m benchmarks`: measure, print, write down. Speed is told, never asserted.

Exits with 0 when all was measured, with 1 when something could not be, with 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks import machine, table
from benchmarks.command import Unmeasured, run
from benchmarks.figures import Results
from benchmarks.measures import MEASUREMENTS
from benchmarks.page import rewrite
from benchmarks.peer import program
from benchmarks.stage import Stage, alone

LATEST = Path(__file__).with_name("results") / "latest.json"
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _options(argv)
    results = Results()
    code = 0
    try:
        with alone() as root, _on_signals(_interrupt):
            stage = Stage(root, _say)
            try:
                stage.clear()
                _measure(stage, options, results)
            finally:
                _tidy(stage)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except Unmeasured as error:
        results.unmeasured["everything"] = str(error)
    _publish(results, options)
    return code or int(bool(results.unmeasured))


def _measure(stage: Stage, options: argparse.Namespace, results: Results) -> None:
    results.facts |= {**machine.facts(), **_versions(stage)}
    results.facts["runs"] = f"{options.runs}, thrice that for what is quick"
    start = time.monotonic()
    for name in options.only or MEASUREMENTS:
        _say(f"measuring {name}")
        try:
            MEASUREMENTS[name](stage, options.runs, results)
        except Exception as error:
            # Whatever it was, the other measurements can still be taken.
            why = str(error) if isinstance(error, Unmeasured) else repr(error)
            results.unmeasured[name] = why
            _say(f"NOT MEASURED: {why}")
            stage.clear()
    if results.figures:
        taken = [figure.busy for figure in results.figures]
        results.notes.append(
            f"The run took {(time.monotonic() - start) / 60:.0f} min. Just before each "
            f"measurement, others kept {median(taken):.1f} ({min(taken):.1f} – {max(taken):.1f}) "
            f"of {os.cpu_count()} processors busy."
        )


def _versions(stage: Stage) -> dict[str, str]:
    subject = stage.subject
    said = run([subject.algaenv, "--version"], environ=subject.environ, cwd=subject.venv).text
    found = {"algaenv": f"{said.strip()}, wheel {subject.wheel}", "object store": stage.store}
    try:
        found |= stage.engine.facts()
        said = run(
            [program(), "version", "--short"], environ=subject.environ, cwd=subject.venv
        ).text
        found["Compose"] = said.strip()
    except Unmeasured as error:
        found["Docker engine"] = str(error)
    return found


def _tidy(stage: Stage) -> None:
    """Remove everything, whatever else is pressed meanwhile."""
    _say("removing what was made")
    with _on_signals(signal.SIG_IGN):
        stage.clear()


def _publish(results: Results, options: argparse.Namespace) -> None:
    if results.figures or results.anatomies:
        LATEST.parent.mkdir(exist_ok=True)
        for file in filter(None, (LATEST, options.json)):
            file.write_text(table.as_json(results))
    print(table.plain(results))
    match options.markdown:
        case None:
            pass
        case "-":
            print("\n" + table.markdown(results))
        case page:
            rewrite(Path(page), "figures", table.markdown(results))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _on_signals(handler: Callable[..., None] | signal.Handlers) -> Iterator[None]:
    """What ends a program is handled by `handler` inside."""
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    kept = {number: signal.signal(number, handler) for number in ends}
    try:
        yield
    finally:
        for number, before in kept.items():
            signal.signal(number, before)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Speed of the installed wheel, as ratios to Docker Compose in the same run.",
        allow_abbrev=False,
    )
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="pairs (default: 7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times here as well")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(MEASUREMENTS),
        metavar="NAME",
        help="may be given again: " + ", ".join(MEASUREMENTS) + " (with `down`: cold)",
    )
    parser.add_argument(
        "--markdown",
        nargs="?",
        const="-",
        metavar="PAGE",
        help="print the tables in Markdown, or put them between the marks of PAGE",
    )
    options = parser.parse_args(argv)
    if options.runs < 1:
        parser.error("--runs needs at least 1")
    if options.only and options.markdown not in (None, "-"):
        parser.error("a page gets all figures; leave out --only")
    return options


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
