"""`algaenv plan`: what `up` would do."""

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
from algaenv.surface.exit_codes import ExitCode, of_plan

if TYPE_CHECKING:
    from algaenv.model.event import Event
    from algaenv.model.problem import Problem
    from algaenv.surface.cli.commandline import Call

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
    """Declare what it takes."""
    add_extensions(parser)
    add_file(parser)
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
    add_output(parser)


def run(call: Call) -> ExitCode:
    """Draw the plan and print it."""
    from algaenv.model.event import Planned, Warned

    warnings: list[Problem] = []
    request = call.request(call.spec())
    with call.look_sinks() as sinks:

        def emit(event: Event) -> None:
            if isinstance(event, Warned):
                warnings.append(event.problem)
            if not isinstance(event, Planned):  # its steps will not be taken
                sinks.emit(event)

        plan = call.session(request).plan(request, emit)
    if call.json:
        from algaenv.surface.shapes import of_plan as shape_of_plan

        call.answer_json(shape_of_plan(plan, tuple(warnings)))
    else:
        from algaenv.surface.plan_text import plan_text

        call.answer(plan_text(plan, call.terminal.out_paint) + "\n")
        if plan.changes and of_plan(plan, detailed=False) is not ExitCode.RESOURCE:
            chosen = call.options.runtime
            call.suggest((f"up --runtime {chosen}" if chosen else "up", "does this"))
    return of_plan(plan, detailed=call.options.detailed_exitcode)
