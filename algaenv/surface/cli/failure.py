"""How a command that could not go on says so, to people and to programs, and its exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from algaenv.model.outcome import Report
from algaenv.model.problem import AlgaenvError, Problem
from algaenv.surface.cli.commandline import Call
from algaenv.surface.cli.commands import COMMANDS
from algaenv.surface.cli.grammar import UsageError
from algaenv.surface.exit_codes import ExitCode, of_exception
from algaenv.surface.output import push
from algaenv.surface.sink import Fan


def telling(call: Call, run: Callable[[Call], ExitCode]) -> ExitCode:
    """Run a command; whatever it raises becomes a message and a code."""
    from algaenv.surface.interrupts import terminable

    try:
        with terminable():
            return run(call)
    except AlgaenvError as error:
        report = Report(call.verb, problems=error.problems, error=type(error).__name__)
        _tell(call, report)
        return of_exception(error)
    except KeyboardInterrupt:
        _tell(call, Report(call.verb, interrupted=True))
        return ExitCode.INTERRUPTED
    except Exception as error:  # the last place that can still name the file to report
        if isinstance(error, UsageError):
            raise
        _tell(call, Report(call.verb, problems=(_bug(call, error),), error=type(error).__name__))
        return ExitCode.UNEXPECTED


def abandoned(call: Call, sinks: Fan) -> None:
    """The same for a run that does not come to its end although it was told twice."""
    sinks.close()
    _tell(call, Report(call.verb, interrupted=True))


def tell_usage(error: UsageError, arguments: Sequence[str]) -> ExitCode:
    """A wrong command line, told before its options are known."""
    import os
    import sys

    from algaenv.surface.problem_text import render
    from algaenv.surface.terminal import Terminal

    problem = Problem("usage", error.summary, error.hint)
    if "--json" in arguments:
        names = [name for name, _ in COMMANDS]
        verb = next((word for word in arguments if word in names), "")
        push(sys.stdout, _line(Report(verb, problems=(problem,), error="UsageError")))
        return ExitCode.USAGE
    terminal = Terminal.of(
        (sys.stdin, sys.stdout, sys.stderr), os.environ, no_color="--no-color" in arguments
    )
    push(sys.stderr, render(problem, terminal.err_paint) + "\n")
    return ExitCode.USAGE


def tell_output(error: OSError) -> None:
    """Standard output took nothing: told on the other stream, whatever form was asked for."""
    import sys

    from algaenv.surface.problem_text import render
    from algaenv.surface.terminal import PLAIN

    problem = Problem("output-unwritable", f"cannot write the answer: {error.strerror or error}")
    push(sys.stderr, render(problem, PLAIN) + "\n")


def _tell(call: Call, report: Report) -> None:
    if call.json:
        call.answer(_line(report))
        return
    from algaenv.surface.problem_text import render_all

    paint = call.terminal.err_paint
    text = render_all(report.problems, paint)
    if report.interrupted:
        text = paint("interrupted", "yellow", "bold")
    push(call.terminal.err, text + "\n")


def _line(report: Report) -> str:
    from algaenv.surface.jsonl import line
    from algaenv.surface.shapes import of_report

    return line(of_report(report))


def _bug(call: Call, error: Exception) -> Problem:
    """An exception nobody foresaw, with its traceback in the log instead of on the screen."""
    import traceback

    from algaenv.surface.logfile import write_trace

    path = write_trace(call.verb, _spec_if_any(call), call.environ, traceback.format_exc())
    return Problem(
        code="unexpected",
        summary=f"cannot finish `{call.verb}`, this is a bug in algaenv: {_short(error)}",
        hint=f"report it with {path}" if path else "report it with the steps that lead to it",
        detail=() if path else tuple(traceback.format_exc().splitlines()),
    )


def _spec_if_any(call: Call) -> Path | None:
    if not hasattr(call.options, "file"):
        return None
    try:
        return call.spec()
    except (AlgaenvError, OSError):
        return None


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
