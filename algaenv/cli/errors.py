"""Reports the errors that end a command, as text or as JSON, and chooses the exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from algaenv.cli.commands import COMMANDS
from algaenv.cli.exit_codes import ExitCode, exception_exit_code
from algaenv.cli.invocation import CommandInvocation
from algaenv.cli.output.streams import write_text
from algaenv.cli.parser import UsageError
from algaenv.model.event import Report
from algaenv.model.problem import AlgaenvError, Problem

if TYPE_CHECKING:
    from algaenv.cli.output.sinks import MultiSink


def run_reporting_errors(
    invocation: CommandInvocation, run: Callable[[CommandInvocation], int]
) -> int:
    """Run a command; an exception becomes a message and an exit code."""
    from algaenv.cli.signals import sigterm_as_interrupt

    try:
        with sigterm_as_interrupt():
            code = run(invocation)
            if code:
                _write_bundle(invocation, code)
            return code
    except AlgaenvError as error:
        report = Report(invocation.verb, problems=error.problems, error=type(error).__name__)
        _report(invocation, report)
        _write_bundle(invocation, exception_exit_code(error), report)
        return exception_exit_code(error)
    except KeyboardInterrupt:
        _report(invocation, Report(invocation.verb, interrupted=True))
        return ExitCode.INTERRUPTED
    except Exception as error:  # the last place that can still name the file to report
        if isinstance(error, UsageError):
            raise
        problems = (_bug(invocation, error),)
        report = Report(invocation.verb, problems=problems, error=type(error).__name__)
        _report(invocation, report)
        _write_bundle(invocation, ExitCode.UNEXPECTED, report)
        return ExitCode.UNEXPECTED


def _write_bundle(invocation: CommandInvocation, code: int, report: Report | None = None) -> None:
    if hasattr(invocation.options, "no_bundle"):
        from algaenv.cli.support import bundle_after

        bundle_after(invocation, code, report)


def report_abandoned(invocation: CommandInvocation, sinks: MultiSink) -> None:
    """Report a run that does not end after a second interrupt."""
    sinks.close()
    _report(invocation, Report(invocation.verb, interrupted=True))


def report_usage_error(error: UsageError, arguments: Sequence[str]) -> ExitCode:
    """Report a wrong command line, whose options may be unknown."""
    import os
    import sys

    from algaenv.cli.output.escape import render_problem
    from algaenv.cli.output.terminal import Terminal

    problem = Problem("usage", error.summary, error.hint)
    if "--json" in arguments:
        names = [name for name, _ in COMMANDS]
        verb = next((word for word in arguments if word in names), "")
        write_text(sys.stdout, _line(Report(verb, problems=(problem,), error="UsageError")))
        return ExitCode.USAGE
    terminal = Terminal.of(
        (sys.stdin, sys.stdout, sys.stderr), os.environ, no_color="--no-color" in arguments
    )
    write_text(sys.stderr, render_problem(problem, terminal.err_paint) + "\n")
    return ExitCode.USAGE


def report_output_error(error: OSError) -> None:
    """Report on stderr that stdout cannot be written, with or without `--json`."""
    import sys

    from algaenv.cli.output.escape import render_problem
    from algaenv.cli.output.terminal import PLAIN

    problem = Problem("output-unwritable", f"cannot write the answer: {error.strerror or error}")
    write_text(sys.stderr, render_problem(problem, PLAIN) + "\n")


def _report(invocation: CommandInvocation, report: Report) -> None:
    invocation.annotate(*report.problems)
    if invocation.json:
        invocation.print_result(_line(report))
        return
    from algaenv.cli.output.escape import explain_line, render_problems

    paint = invocation.terminal.err_paint
    text = render_problems(report.problems, paint)
    if report.problems and (invocation.terminal.live or invocation.verbose):
        text += f"\n{explain_line(report.problems, paint)}"
    if report.interrupted:
        text = paint("interrupted", "yellow", "bold")
    write_text(invocation.terminal.err, text + "\n")


def _line(report: Report) -> str:
    from algaenv.cli.output.json import json_line, report_to_json

    return json_line(report_to_json(report))


def _bug(invocation: CommandInvocation, error: Exception) -> Problem:
    """The problem of an unexpected exception, whose traceback goes to the log."""
    import traceback

    from algaenv.cli.output.sinks import log_traceback

    path = log_traceback(
        invocation.verb, _spec_if_any(invocation), invocation.environ, traceback.format_exc()
    )
    return Problem(
        code="unexpected",
        summary=f"cannot finish `{invocation.verb}`, this is a bug in algaenv: {_short(error)}",
        hint=f"report it with {path}" if path else "report it with the steps that lead to it",
        detail=() if path else tuple(traceback.format_exc().splitlines()),
    )


def _spec_if_any(invocation: CommandInvocation) -> Path | None:
    if not hasattr(invocation.options, "file"):
        return None
    try:
        return invocation.spec()
    except (AlgaenvError, OSError):
        return None


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
