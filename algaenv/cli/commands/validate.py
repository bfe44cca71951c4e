"""The command `validate`: check the spec offline."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import add_file, add_output, add_profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.drivers.build.detection.project import Detected
    from algaenv.model.intent import Intent
    from algaenv.model.problem import Problem

DESCRIPTION = (
    "Read the spec, the stacks it extends, its local overlay and its variables, and tell every "
    "complaint at once with its place. Nothing is built, started or asked over the network."
)
EXAMPLES = (
    ("algaenv validate", "Check algaenv.yaml, here or in a directory above."),
    ("algaenv validate -f team/algaenv.yaml --json", "Another spec, told to a program."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_file(parser)
    add_profile(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Load the spec; raises SpecError with every problem, and ResolveError (`build-undetected`)."""
    from algaenv.cli.output.escape import escape_controls
    from algaenv.model.event import Report, Reported
    from algaenv.model.problem import SpecError
    from algaenv.spec.load import load

    spec = invocation.spec()
    try:
        loaded = load(spec, invocation.environ)
    except SpecError as error:
        _warn(invocation, error.warnings)
        raise
    _warn(invocation, loaded.warnings)
    found = list(_detected_builds(loaded.intent))
    if invocation.json:
        from algaenv.cli.output.json import JsonLines

        JsonLines(invocation.terminal.out, invocation.terminal.err).emit(
            Reported(Report(invocation.verb))
        )
        return ExitCode.DONE
    if not invocation.quiet:
        paint = invocation.terminal.out_paint
        count = len(loaded.intent.extensions)
        noun = "extension" if count == 1 else "extensions"
        invocation.print_result(
            f"{paint('valid:', 'green', 'bold')} {escape_controls(str(spec))}"
            f" ({loaded.intent.name}, "
        )
        invocation.print_result(f"{count} {noun})\n")
        for name, build in found:
            steps = ", ".join(step.name for step in build.steps)
            line = f"  {name} is built with {', '.join(build.tools)}: {steps}"
            invocation.print_result(f"{escape_controls(line)}\n")
    return ExitCode.DONE


def _detected_builds(intent: Intent) -> Iterator[tuple[str, Detected]]:
    """The builds that the spec leaves to the sources."""
    for extension in intent.extensions:
        if extension.build is not None and not extension.build.steps:
            from algaenv.drivers.build.detection.detect import detect_build

            yield extension.name, detect_build(extension, extension.build)


def _warn(invocation: CommandInvocation, warnings: Iterable[Problem]) -> None:
    if invocation.json:
        from algaenv.cli.output.json import JsonLines
        from algaenv.model.event import Warned

        sink = JsonLines(invocation.terminal.out, invocation.terminal.err)
        for warning in warnings:
            sink.emit(Warned(warning))
        return
    from algaenv.cli.output.escape import render_problem

    for warning in warnings:
        invocation.print_message(
            render_problem(warning, invocation.terminal.err_paint, label="warning") + "\n"
        )
