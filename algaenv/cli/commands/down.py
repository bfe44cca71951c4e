"""`algaenv down`: take away what is ours, and keep the data unless asked."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from algaenv.cli.exit_codes import ExitCode, report_exit_code
from algaenv.cli.invocation import SPEC_NAME
from algaenv.cli.output.streams import write_text
from algaenv.cli.parser import UsageError, add_file, add_output, add_runtime

if TYPE_CHECKING:
    from algaenv.cli.invocation import Invocation
    from algaenv.session import Request, UseCases

DESCRIPTION = (
    "Remove the environment: containers or processes, and what was installed where it would stay "
    "behind. Only what carries this environment's mark is touched. The data of the services is "
    "kept for the next `up` unless --volumes is given. Works without the spec, too."
)
EXAMPLES = (
    ("algaenv down", "Stop and remove everything but the data."),
    ("algaenv down --volumes", "The data too, after asking."),
    ("algaenv down --volumes --yes", "The same without asking, for scripts."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    add_file(parser)
    add_runtime(parser)
    parser.add_argument(
        "--volumes", action="store_true", help="delete the data as well: buckets, tables, keys"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before data is deleted")
    add_output(parser)


def run(invocation: Invocation) -> ExitCode:
    """Ask if data would go, then remove."""
    from algaenv.cli.errors import report_abandoned
    from algaenv.cli.signals import handle_interrupts

    spec = _spec(invocation)
    if invocation.options.volumes and not invocation.options.yes:
        request = invocation.request(spec)
        if not _agreed(invocation, invocation.session(request), request):
            invocation.say("nothing was removed\n")
            return ExitCode.INTERRUPTED
    with (
        invocation.run_sinks(spec) as sinks,
        handle_interrupts(sinks.stopping, lambda: report_abandoned(invocation, sinks)) as stop,
    ):
        request = invocation.request(spec, cancelled=stop.cancelled)
        report = invocation.session(request).down(
            request, sinks.emit, volumes=invocation.options.volumes
        )
    return report_exit_code(report)


def _spec(invocation: Invocation) -> Path:
    """The spec, or where it was: an environment outlives the file it came from."""
    from algaenv.model.problem import SpecError

    try:
        return invocation.spec()
    except SpecError:
        here = Path.cwd()
        for directory in (here, *here.parents):
            if os.path.isdir(directory / ".algaenv"):  # noqa: PTH112 - never raises
                return directory / SPEC_NAME
        raise


def _agreed(invocation: Invocation, session: UseCases, request: Request) -> bool:
    """Ask once, naming what goes; raises UsageError where nobody can answer."""
    if invocation.json or not invocation.terminal.asks:
        raise UsageError(
            "cannot delete data without being told so: there is nobody to ask",
            "add `--yes` if its data is to go for good",
        )

    question = f"Delete {visible(_what_goes(session, request))} for good? [y/N] "
    write_text(invocation.terminal.err, question)
    return invocation.terminal.stdin.readline().strip().lower() in {"y", "yes"}


def _what_goes(session: UseCases, request: Request) -> str:
    """The environment and its services by name, as far as they can be seen."""
    from algaenv.model.problem import AlgaenvError

    try:
        status = session.status(request, lambda _: None)
    except AlgaenvError:
        return f"all data of the environment of {request.spec}{_left_beside(request.spec)}"
    stateless = ("runner", "gateway")
    names = [service.name for service in status.services if service.name not in stateless]
    holders = f" ({', '.join(names)})" if names else ""
    return f"all data of {status.environment.name}{holders}{_left_beside(request.spec)}"


def _left_beside(spec: Path) -> str:
    """What a checkout that was moved or copied here brought along, which goes too."""
    from algaenv.drivers.home import identify, left_beside
    from algaenv.reconcile.relocation import size_text

    left = [it for it in left_beside(identify(spec, "")) if not it.here]
    return "".join(f" and the state of {it.environment.spec} ({size_text(it.size)})" for it in left)
