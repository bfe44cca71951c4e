"""The command `plan`: what `up` would do."""

from __future__ import annotations

import argparse

from algaenv.cli.exit_codes import ExitCode, plan_exit_code
from algaenv.cli.parser import (
    add_extensions,
    add_file,
    add_images,
    add_isolated,
    add_output,
    add_profile,
    add_runtime,
    add_thorough,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.model.event import Event
    from algaenv.model.problem import Problem

USAGE = "[EXTENSION ...] [options]"
DESCRIPTION = (
    "Show what `up` would do and why, without doing it. Extensions are built for it, since only "
    "the bundle tells whether anything changed; nothing outside of the build cache is written. "
    "What lives inside a service that does not answer is decided once it does."
)
EXAMPLES = (
    ("algaenv plan", "What would change, and why."),
    ("algaenv plan --detailed-exitcode", "Exit with 2 when something would change, for CI."),
    ("algaenv plan --json | jq .changes", "How many changes there are."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_extensions(parser)
    add_file(parser)
    add_isolated(parser)
    add_profile(parser)
    add_runtime(parser)
    add_images(parser)
    parser.add_argument(
        "--adopt",
        action="store_true",
        help="plan as `up --adopt` would: rows that another tool made are taken over",
    )
    parser.add_argument(
        "--detailed-exitcode",
        action="store_true",
        help="exit with 2 instead of 0 when something would change",
    )
    add_thorough(parser)
    add_output(parser)


def _up(options: argparse.Namespace) -> str:
    """The `up` that does what was planned: without the same options it could be refused."""
    line = ["up", *options.extensions]
    line += ["--runtime", options.runtime] if options.runtime else []
    line += ["--images", options.images] if options.images else []
    line += ["--adopt"] if options.adopt else []
    line += ["--thorough"] if options.thorough else []
    return " ".join(line)


def run(invocation: CommandInvocation) -> ExitCode:
    """Make the plan and print it."""
    from algaenv.model.event import Planned, Warned

    warnings: list[Problem] = []
    request = invocation.request(invocation.spec())
    with invocation.read_sinks() as sinks:

        def emit(event: Event) -> None:
            if isinstance(event, Warned):
                warnings.append(event.problem)
            if not isinstance(event, Planned):  # its steps are not executed
                sinks.emit(event)

        plan = invocation.application(request).plan(request, emit)
    if invocation.json:
        from algaenv.cli.output.json import plan_to_json as shape_of_plan

        invocation.print_json(shape_of_plan(plan, tuple(warnings)))
    else:
        from algaenv.cli.output.text import plan_text

        invocation.print_result(plan_text(plan, invocation.terminal.out_paint) + "\n")
        if plan.changes and plan_exit_code(plan, detailed=False) is not ExitCode.RESOURCE:
            invocation.suggest((_up(invocation.options), "does this"))
    return plan_exit_code(plan, detailed=invocation.options.detailed_exitcode)
