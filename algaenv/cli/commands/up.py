"""The command `up`: bring the environment to what the spec says, and wait until it answers."""

from __future__ import annotations

import argparse

from algaenv.bundle.value import replace
from algaenv.cli.exit_codes import ExitCode, report_exit_code
from algaenv.cli.output.streams import write_text
from algaenv.cli.parser import (
    UsageError,
    add_extensions,
    add_file,
    add_images,
    add_isolated,
    add_lifetime,
    add_locked,
    add_output,
    add_profile,
    add_runtime,
    add_thorough,
    add_wait_timeout,
)
from algaenv.cli.support import add_support

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from algaenv.cli.invocation import CommandInvocation
    from algaenv.model.event import Report
    from algaenv.model.lock import LifetimeChange
    from algaenv.model.status import Status
    from algaenv.plan.saved import SavedPlan

USAGE = "[EXTENSION ... | PLAN] [options]"
DESCRIPTION = (
    "Build every extension, start every service, install the extensions, and wait until the whole "
    "of it answers. What is already as the spec says is left alone, so running it again is cheap; "
    "after a crash, running it again is the remedy."
)
EXAMPLES = (
    ("algaenv up", "Everything that algaenv.yaml asks for, here or in a directory above."),
    ("algaenv up -f team/algaenv.yaml --runtime process", "Another spec, without containers."),
    ("algaenv up hello", "One extension; the others stay as they are."),
    ("algaenv up --locked", "Only what algaenv.lock names; exit with 2 where it would be other."),
    ("algaenv up --wait-timeout 5m --ttl 1h", "For CI: it gives up, and it ends, by itself."),
    ("algaenv up changes.plan", "What `plan --out` wrote down: exactly that, or nothing."),
    ("algaenv up --json | jq -c 'select(.event == \"step_ended\")'", "Follow it from a program."),
)

TURN_SECONDS = 600.0
"""How long a run waits for a turn of `dev` to end."""
_VARIABLES = ("status -o env", "prints what the app server needs")


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
        help="take over rows that another tool made for the same extensions",
    )
    parser.add_argument(
        "--yes",
        action="store_true",
        help="do not ask before data is left with another runtime; it begins without it",
    )
    add_locked(parser)
    add_thorough(parser)
    add_support(parser)
    add_wait_timeout(parser)
    add_lifetime(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Converge, then print the addresses."""
    plan = _plan_named(invocation)
    spec = invocation.spec() if plan is None else _spec_of(invocation, plan)
    holder = invocation.dev_session(spec)
    if holder is not None:
        invocation.print_message(
            f"{holder} watches this environment; this run waits for its turn\n"
        )
    lifetime = _lifetime(invocation.options)
    report = _converge(invocation, spec, plan, lifetime, leave_data=False)
    if _needs_confirmation(report) and invocation.terminal.asks and not invocation.json:
        write_text(invocation.terminal.err, "Begin without the data that stays behind? [y/N] ")
        if invocation.terminal.stdin.readline().strip().lower() in {"y", "yes"}:
            report = _converge(invocation, spec, plan, lifetime, leave_data=True)
    code = report_exit_code(report)
    if report.status is not None and not (invocation.json or invocation.quiet):
        _print_status(invocation, report.status)
    return code


def _lifetime(options: argparse.Namespace) -> LifetimeChange | None:
    """What the options say about the end of the environment; UsageError for a process that is not.

    The process is identified here, so that no other can have its number by the time it is watched.
    """
    if options.ttl is None and options.owner_pid is None:
        if options.expire_volumes:
            raise UsageError(
                "cannot remove the data with an environment that has no end",
                "add `--owner-pid` or `--ttl`, or leave `--expire-volumes` out",
            )
        return None
    from algaenv.model.lock import LifetimeChange
    from algaenv.system.processes import identify, process_name

    owner = None if options.owner_pid is None else ""
    if options.owner_pid:
        process = identify(options.owner_pid)
        if process is None:
            raise UsageError(
                f"cannot watch process {options.owner_pid}: there is no such process",
                "name one that runs, such as `$$` in a script for the shell itself",
            )
        owner = process_name(process)
    return LifetimeChange(options.ttl, owner, options.owner_pid or 0, options.expire_volumes)


def is_plan_name(word: str) -> bool:
    """Whether an argument names a file: an extension has no slash, and none ends so."""
    return "/" in word or word.endswith(".plan")


def _plan_named(invocation: CommandInvocation) -> SavedPlan | None:
    """The saved plan that the arguments name; None: they name extensions, or nothing.

    Raises SpecError for a file that is none, and UsageError for options that a plan has of its own.
    """
    options = invocation.options
    files = [word for word in options.extensions if is_plan_name(word)]
    if not files:
        return None
    hint = "make another plan with them: `algaenv plan --out FILE` takes the same"
    if len(options.extensions) > 1:
        raise UsageError(f"cannot use {files[0]} with other arguments: a plan is the whole", hint)
    for name in ("runtime", "images", "adopt", "thorough"):
        if getattr(options, name):
            raise UsageError(f"cannot use --{name} with a plan: it has options of its own", hint)
    from pathlib import Path

    from algaenv.drivers.state.plan_file import read_plan

    return read_plan(Path.cwd() / files[0])


def _spec_of(invocation: CommandInvocation, plan: SavedPlan) -> Path:
    """The spec that is named; else that of the plan, wherever this runs."""
    from pathlib import Path

    return invocation.named_spec() or Path(plan.spec)


def _converge(
    invocation: CommandInvocation,
    spec: Path,
    plan: SavedPlan | None,
    lifetime: LifetimeChange | None,
    *,
    leave_data: bool,
) -> Report:
    from algaenv.cli.errors import report_abandoned
    from algaenv.cli.signals import handle_interrupts

    with (
        invocation.run_sinks(spec) as sinks,
        handle_interrupts(sinks.stopping, lambda: report_abandoned(invocation, sinks)) as stop,
    ):
        request = invocation.request(spec, cancelled=stop.cancelled, leave_data=leave_data)
        request = replace(request, lifetime=lifetime)
        request = request if plan is None else request.of_plan(plan)
        if invocation.dev_session(spec) is not None:
            request = replace(request, lock_seconds=TURN_SECONDS)
        return invocation.application(request).up(request, sinks.emit)


def _needs_confirmation(report: Report) -> bool:
    """True when the run stopped only because leaving data behind needs confirmation."""
    return [problem.code for problem in report.problems] == ["runtime-move"]


def _print_status(invocation: CommandInvocation, status: Status) -> None:
    """Print the addresses and the next commands."""
    from algaenv.cli.output.text import status_text

    terminal = invocation.terminal
    text = status_text(
        status,
        terminal.out_paint,
        width=terminal.width,
        variables=bool(status.app_server),
        verbose=invocation.verbose,
    )
    invocation.print_message("\n")
    invocation.print_result(text + "\n")
    shown = [it.name for it in status.extensions if it.portal_urls]
    first = (f"open {shown[0]}", "shows its page") if shown else _VARIABLES
    invocation.suggest(first, ("down", "removes it all again"))
