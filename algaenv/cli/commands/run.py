"""The command `run`: run a task of the spec by hand."""

from __future__ import annotations

import argparse

from algaenv.cli.exit_codes import ExitCode, report_exit_code
from algaenv.cli.parser import add_file, add_isolated, add_output, utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from algaenv.cli.invocation import CommandInvocation
    from algaenv.cli.output.sinks import MultiSink
    from algaenv.model.event import Event

USAGE = "TASK [options]"
DESCRIPTION = (
    "Run a task of the spec now, whatever its inputs, its profiles and its last run, and print "
    "what it prints. What it needs is neither started nor run first: the environment has to be "
    "up. A task that ends well counts as run for the next `up`."
)
EXAMPLES = (
    ("algaenv run seed", "The task `seed` of the spec."),
    ("algaenv run seed --json", "Its events, for programs; the last one is the report."),
)
TURN_SECONDS = 600.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("task", metavar="TASK", type=utf8, help="the name of the task in the spec")
    add_file(parser)
    add_isolated(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Run it."""
    from algaenv.bundle.value import replace
    from algaenv.cli.errors import report_abandoned
    from algaenv.cli.signals import handle_interrupts

    spec = invocation.spec()
    with (
        _sinks(invocation, spec) as sinks,
        handle_interrupts(sinks.stopping, lambda: report_abandoned(invocation, sinks)) as stop,
    ):
        request = invocation.request(spec, cancelled=stop.cancelled)
        if invocation.dev_session(spec) is not None:
            request = replace(request, lock_seconds=TURN_SECONDS)
        application = invocation.application(request)
        report = application.run_task(request, invocation.options.task, sinks.emit)
    return report_exit_code(report)


def _sinks(invocation: CommandInvocation, spec: Path) -> MultiSink:
    from algaenv.cli.output.sinks import LogFile, MultiSink

    log = LogFile(invocation.verb, spec)

    if invocation.json:
        from algaenv.cli.output.json import JsonLines

        return MultiSink([log, JsonLines(invocation.terminal.out, invocation.terminal.err)])
    return MultiSink([log, TaskOutput(invocation)])


class TaskOutput:
    """Prints what a task prints to stdout, and what is wrong to stderr."""

    def __init__(self, invocation: CommandInvocation) -> None:
        self._invocation = invocation

    def emit(self, event: Event) -> None:
        """Print it, if it is for people."""
        from algaenv.bundle.value import replace
        from algaenv.cli.output.escape import escape_controls, render_problem
        from algaenv.cli.output.streams import write_text
        from algaenv.model.event import FailedStep, Reported, StepProgress, Warned

        terminal = self._invocation.terminal
        match event:
            case StepProgress(note=note):
                self._invocation.print_result(escape_controls(note) + "\n")
            case Warned(problem):
                shown = render_problem(problem, terminal.err_paint, label="warning")
                self._invocation.print_message(shown + "\n")
            case Reported(report):
                failed = [it.outcome for it in report.ended if isinstance(it.outcome, FailedStep)]
                # The last lines of its output were printed as they came.
                problems = (replace(it.problem, detail=()) for it in failed)
                for problem in (*report.problems, *problems):
                    write_text(terminal.err, render_problem(problem, terminal.err_paint) + "\n")

    def stopping(self) -> None:
        """The task is ended, and then the report is printed."""

    def close(self) -> None:
        """Nothing is open."""
