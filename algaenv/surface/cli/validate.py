"""`algaenv validate`: is the spec right? Offline."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from algaenv.surface.cli.options import add_file, add_output
from algaenv.surface.exit_codes import ExitCode

if TYPE_CHECKING:
    from algaenv.model.problem import Problem
    from algaenv.surface.cli.commandline import Call

DESCRIPTION = (
    "Read the spec, the stacks it extends, its local overlay and its variables, and tell every "
    "complaint at once with its place. Nothing is built, started or asked over the network."
)
EXAMPLES = (
    ("algaenv validate", "Check algaenv.yaml, here or in a directory above."),
    ("algaenv validate -f team/algaenv.yaml --json", "Another spec, told to a program."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    add_file(parser)
    add_output(parser)


def run(call: Call) -> ExitCode:
    """Load it; what is wrong is raised as SpecError."""
    from algaenv.model.event import Reported
    from algaenv.model.outcome import Report
    from algaenv.model.problem import SpecError
    from algaenv.spec.load import load
    from algaenv.surface.visible import visible

    spec = call.spec()
    try:
        loaded = load(spec, call.environ)
    except SpecError as error:
        _warn(call, error.warnings)
        raise
    _warn(call, loaded.warnings)
    if call.json:
        from algaenv.surface.jsonl import JsonLines

        JsonLines(call.terminal.out, call.terminal.err).emit(Reported(Report(call.verb)))
        return ExitCode.DONE
    if not call.quiet:
        paint = call.terminal.out_paint
        count = len(loaded.intent.extensions)
        noun = "extension" if count == 1 else "extensions"
        call.answer(
            f"{paint('valid:', 'green', 'bold')} {visible(str(spec))} ({loaded.intent.name}, "
        )
        call.answer(f"{count} {noun})\n")
    return ExitCode.DONE


def _warn(call: Call, warnings: Iterable[Problem]) -> None:
    if call.json:
        from algaenv.model.event import Warned
        from algaenv.surface.jsonl import JsonLines

        sink = JsonLines(call.terminal.out, call.terminal.err)
        for warning in warnings:
            sink.emit(Warned(warning))
        return
    from algaenv.surface.problem_text import render

    for warning in warnings:
        call.say(render(warning, call.terminal.err_paint, label="warning") + "\n")
