"""The command `restart`: start services anew."""

from __future__ import annotations

import argparse

from algaenv.bundle.value import replace
from algaenv.cli.exit_codes import ExitCode, report_exit_code
from algaenv.cli.parser import add_file, add_isolated, add_output, add_runtime, utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation

USAGE = "[SERVICE ...] [options]"
DESCRIPTION = (
    "Stop services and start them again on their data, as the last `up` made them, and wait until "
    "they answer. Nothing is built, and a spec that has changed since is left to `up`."
)
EXAMPLES = (
    ("algaenv restart runner", "One service: store, redis, database, runner or gateway."),
    ("algaenv restart", "All of them."),
)
TURN_SECONDS = 600.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "services",
        metavar="SERVICE",
        nargs="*",
        type=utf8,
        help="store, redis, database, runner, gateway, or a service of the spec (default: all)",
    )
    add_file(parser)
    add_isolated(parser)
    add_runtime(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Restart them."""
    from algaenv.cli.errors import report_abandoned
    from algaenv.cli.signals import handle_interrupts

    spec = invocation.spec()
    with (
        invocation.run_sinks(spec) as sinks,
        handle_interrupts(sinks.stopping, lambda: report_abandoned(invocation, sinks)) as stop,
    ):
        request = invocation.request(spec, cancelled=stop.cancelled)
        if invocation.dev_session(spec) is not None:
            request = replace(request, lock_seconds=TURN_SECONDS)
        report = invocation.application(request).restart(
            request, tuple(invocation.options.services), sinks.emit
        )
    return report_exit_code(report)
