"""`algaenv down`: take away what is ours, and keep the data unless asked."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from algaenv.surface.cli.commandline import SPEC_NAME
from algaenv.surface.cli.grammar import UsageError
from algaenv.surface.cli.options import add_file, add_output, add_runtime
from algaenv.surface.exit_codes import ExitCode, of_report
from algaenv.surface.output import push

if TYPE_CHECKING:
    from algaenv.session import Request, Session
    from algaenv.surface.cli.commandline import Call

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


def run(call: Call) -> ExitCode:
    """Ask if data would go, then remove."""
    from algaenv.surface.cli.failure import abandoned
    from algaenv.surface.interrupts import interrupts

    spec = _spec(call)
    if call.options.volumes and not call.options.yes:
        request = call.request(spec)
        if not _agreed(call, call.session(request), request):
            call.say("nothing was removed\n")
            return ExitCode.INTERRUPTED
    with (
        call.run_sinks(spec) as sinks,
        interrupts(sinks.stopping, lambda: abandoned(call, sinks)) as stop,
    ):
        request = call.request(spec, cancelled=stop.cancelled)
        report = call.session(request).down(request, sinks.emit, volumes=call.options.volumes)
    return of_report(report)


def _spec(call: Call) -> Path:
    """The spec, or where it was: an environment outlives the file it came from."""
    from algaenv.model.problem import SpecError

    try:
        return call.spec()
    except SpecError:
        here = Path.cwd()
        for directory in (here, *here.parents):
            if os.path.isdir(directory / ".algaenv"):  # noqa: PTH112 - never raises
                return directory / SPEC_NAME
        raise


def _agreed(call: Call, session: Session, request: Request) -> bool:
    """Ask once, naming what goes; raises UsageError where nobody can answer."""
    if call.json or not call.terminal.asks:
        raise UsageError(
            "cannot delete data without being told so: there is nobody to ask",
            "add `--yes` if its data is to go for good",
        )
    from algaenv.surface.visible import visible

    question = f"Delete {visible(_what_goes(session, request))} for good? [y/N] "
    push(call.terminal.err, question)
    return call.terminal.stdin.readline().strip().lower() in {"y", "yes"}


def _what_goes(session: Session, request: Request) -> str:
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
    from algaenv.reconcile.moved import size_text

    left = [it for it in left_beside(identify(spec, "")) if not it.here]
    return "".join(f" and the state of {it.environment.spec} ({size_text(it.size)})" for it in left)
