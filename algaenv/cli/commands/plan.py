"""The command `plan`: what `up` would do."""

from __future__ import annotations

import argparse
import os

from algaenv.cli.exit_codes import ExitCode, plan_exit_code
from algaenv.cli.parser import (
    UsageError,
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
    from pathlib import Path

    from algaenv.cli.invocation import CommandInvocation
    from algaenv.model.event import Event
    from algaenv.model.problem import Problem
    from algaenv.plan.saved import SavedPlan

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
    ("algaenv plan --out changes.plan", "Keep it, for `algaenv up changes.plan`."),
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
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write the plan to a file, which `up FILE` carries out as it is, or not at all",
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


def _up_of(name: str) -> str:
    """The `up` of a file: without a slash only `.plan` tells it from an extension."""
    from shlex import quote

    from algaenv.cli.commands.up import is_plan_name

    return f"up {quote(name if is_plan_name(name) else f'./{name}')}"


def _target(name: str) -> Path:
    """Where the plan is written. Raises UsageError before anything is built."""
    from pathlib import Path

    from algaenv.drivers.state.plan_file import is_plan

    path = Path.cwd() / name
    if os.path.lexists(path) and not is_plan(path):
        raise UsageError(
            f"cannot write a plan to {path}: it exists, and is no plan", "name a new file"
        )
    if not path.parent.is_dir():
        raise UsageError(
            f"cannot write a plan to {path}: there is no such directory", "make it first"
        )
    return path


def _write(path: Path | None, saved: SavedPlan | None) -> str:
    """Write the plan; returns the path, empty when none was asked for."""
    if path is None or saved is None:
        return ""
    from algaenv.drivers.state.plan_file import write_plan

    write_plan(path, saved)
    return str(path)


def run(invocation: CommandInvocation) -> ExitCode:
    """Make the plan and print it."""
    from algaenv.cli.errors import report_abandoned
    from algaenv.cli.signals import handle_interrupts
    from algaenv.model.event import Planned, Warned

    warnings: list[Problem] = []
    target = _target(invocation.options.out) if invocation.options.out else None
    spec = invocation.spec()
    saved: SavedPlan | None = None
    with (
        invocation.read_sinks() as sinks,
        # Builds end in order: an exception between two of their steps could leave one behind.
        handle_interrupts(sinks.stopping, lambda: report_abandoned(invocation, sinks)) as stop,
    ):
        request = invocation.request(spec, cancelled=stop.cancelled)

        def emit(event: Event) -> None:
            if isinstance(event, Warned):
                warnings.append(event.problem)
            if not isinstance(event, Planned):  # its steps are not executed
                sinks.emit(event)

        if target is None:
            plan = invocation.application(request).plan(request, emit)
        else:
            plan, saved = invocation.application(request).plan_to_save(request, emit)
    if stop.cancelled():
        raise KeyboardInterrupt
    written = "" if plan.blocked else _write(target, saved)
    if invocation.json:
        from algaenv.cli.output.json import plan_to_json as shape_of_plan

        invocation.print_json(shape_of_plan(plan, tuple(warnings), written))
    else:
        from algaenv.cli.output.text import plan_text

        invocation.print_result(plan_text(plan, invocation.terminal.out_paint) + "\n")
        if written:
            invocation.print_message(f"plan written to {invocation.options.out}\n")
            invocation.suggest((_up_of(invocation.options.out), "does exactly this, or nothing"))
        elif target is not None:
            invocation.print_message("plan not written: something is in its way\n")
        elif plan.changes and plan_exit_code(plan, detailed=False) is not ExitCode.RESOURCE:
            invocation.suggest((_up(invocation.options), "does this"))
    return plan_exit_code(plan, detailed=invocation.options.detailed_exitcode)
