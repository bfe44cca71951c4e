"""`algaenv up`: make it so, and wait until it answers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from algaenv.cli.exit_codes import ExitCode, report_exit_code
from algaenv.cli.output.streams import write_text
from algaenv.cli.parser import (
    add_extensions,
    add_file,
    add_images,
    add_output,
    add_runtime,
)

if TYPE_CHECKING:
    from pathlib import Path

    from algaenv.cli.invocation import Invocation
    from algaenv.model.event import Report
    from algaenv.model.status import Status

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


def run(invocation: Invocation) -> ExitCode:
    """Converge, then show under which addresses it all answers."""
    spec = invocation.spec()
    report = _converge(invocation, spec, leave_data=False)
    if _is_question(report) and invocation.terminal.asks and not invocation.json:
        write_text(invocation.terminal.err, "Begin without the data that stays behind? [y/N] ")
        if invocation.terminal.stdin.readline().strip().lower() in {"y", "yes"}:
            report = _converge(invocation, spec, leave_data=True)
    code = report_exit_code(report)
    if report.status is not None and not (invocation.json or invocation.quiet):
        _show(invocation, report.status)
    return code


def _converge(invocation: Invocation, spec: Path, *, leave_data: bool) -> Report:
    from algaenv.cli.errors import report_abandoned
    from algaenv.cli.signals import handle_interrupts

    with (
        invocation.run_sinks(spec) as sinks,
        handle_interrupts(sinks.stopping, lambda: report_abandoned(invocation, sinks)) as stop,
    ):
        request = invocation.request(spec, cancelled=stop.cancelled, leave_data=leave_data)
        return invocation.session(request).up(request, sinks.emit)


def _is_question(report: Report) -> bool:
    """Whether the run stopped only because somebody has to agree."""
    return [problem.code for problem in report.problems] == ["runtime-move"]


def _show(invocation: Invocation, status: Status) -> None:
    """The addresses under which it all answers."""
    from algaenv.cli.output.status_text import status_text

    terminal = invocation.terminal
    text = status_text(
        status,
        terminal.out_paint,
        width=terminal.width,
        variables=bool(status.app_server),
        verbose=invocation.verbose,
    )
    invocation.say("\n")
    invocation.answer(text + "\n")
    shown = [it.name for it in status.extensions if it.portal_urls]
    first = (f"open {shown[0]}", "shows its page") if shown else _VARIABLES
    invocation.suggest(first, ("down", "removes it all again"))
