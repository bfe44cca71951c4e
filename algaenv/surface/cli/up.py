"""`algaenv up`: make it so, and wait until it answers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from algaenv.surface.cli.options import (
    add_extensions,
    add_file,
    add_images,
    add_output,
    add_runtime,
)
from algaenv.surface.exit_codes import ExitCode, of_report
from algaenv.surface.output import push

if TYPE_CHECKING:
    from pathlib import Path

    from algaenv.model.outcome import Report
    from algaenv.model.status import Status
    from algaenv.surface.cli.commandline import Call

USAGE = "[EXTENSION ...] [options]"
DESCRIPTION = (
    "Build every extension, start every service, install the extensions, and wait until the whole "
    "of it answers. What is already as the spec says is left alone, so running it again is cheap; "
    "after a crash, running it again is the remedy."
)
EXAMPLES = (
    ("algaenv up", "Everything that algaenv.yaml asks for, here or in a directory above."),
    ("algaenv up -f team/algaenv.yaml --runtime process", "Another spec, without containers."),
    ("algaenv up hello", "One extension; the others stay as they are."),
    ("algaenv up --json | jq -c 'select(.event == \"step_ended\")'", "Follow it from a program."),
)

_VARIABLES = ("status -o env", "prints what the app server needs")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    add_extensions(parser)
    add_file(parser)
    add_runtime(parser)
    add_images(parser)
    parser.add_argument(
        "--adopt",
        action="store_true",
        help="take over rows that another tool made for the same extensions",
    )
    parser.add_argument(
        "--yes",
        action="store_true",
        help="do not ask before data is left with another runtime; it begins without it",
    )
    add_output(parser)


def run(call: Call) -> ExitCode:
    """Converge, then show under which addresses it all answers."""
    spec = call.spec()
    report = _converge(call, spec, agreed=False)
    if _is_question(report) and call.terminal.asks and not call.json:
        push(call.terminal.err, "Begin without the data that stays behind? [y/N] ")
        if call.terminal.stdin.readline().strip().lower() in {"y", "yes"}:
            report = _converge(call, spec, agreed=True)
    code = of_report(report)
    if report.status is not None and not (call.json or call.quiet):
        _show(call, report.status)
    return code


def _converge(call: Call, spec: Path, *, agreed: bool) -> Report:
    from algaenv.surface.cli.failure import abandoned
    from algaenv.surface.interrupts import interrupts

    with (
        call.run_sinks(spec) as sinks,
        interrupts(sinks.stopping, lambda: abandoned(call, sinks)) as stop,
    ):
        request = call.request(spec, cancelled=stop.cancelled, agreed=agreed)
        return call.session(request).up(request, sinks.emit)


def _is_question(report: Report) -> bool:
    """Whether the run stopped only because somebody has to agree."""
    return [problem.code for problem in report.problems] == ["runtime-move"]


def _show(call: Call, status: Status) -> None:
    """The addresses under which it all answers."""
    from algaenv.surface.status_text import status_text

    terminal = call.terminal
    text = status_text(
        status,
        terminal.out_paint,
        width=terminal.width,
        variables=bool(status.app_server),
        verbose=call.verbose,
    )
    call.say("\n")
    call.answer(text + "\n")
    shown = [it.name for it in status.extensions if it.portal_urls]
    first = (f"open {shown[0]}", "shows its page") if shown else _VARIABLES
    call.suggest(first, ("down", "removes it all again"))
