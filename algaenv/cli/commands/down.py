"""The command `down`: remove the environment; its data stays unless `--volumes` is given."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from algaenv.cli.exit_codes import ExitCode, most_severe, report_exit_code
from algaenv.cli.invocation import SPEC_NAME
from algaenv.cli.output.streams import write_text
from algaenv.cli.parser import UsageError, add_file, add_isolated, add_output, add_runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.dependencies import Request, UseCases
    from algaenv.model.event import Report

DESCRIPTION = (
    "Remove the environment: containers or processes, and what was installed where it would stay "
    "behind. Only what carries this environment's mark is touched. The data of the services is "
    "kept for the next `up` unless --volumes is given. Works without the spec, too."
)
EXAMPLES = (
    ("algaenv down", "Stop and remove everything but the data."),
    ("algaenv down --volumes", "The data too, after asking."),
    ("algaenv down --volumes --yes", "The same without asking, for scripts."),
    ("algaenv down --all --expired --yes", "What has outlived its owner or its time."),
    ("algaenv down --all", "Every environment of this machine, after asking."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_file(parser)
    add_isolated(parser)
    add_runtime(parser)
    parser.add_argument(
        "--volumes", action="store_true", help="delete the data as well: buckets, tables, keys"
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="every environment that `algaenv ps` lists as this user's; asks, naming them",
    )
    parser.add_argument(
        "--expired",
        action="store_true",
        help="only what has outlived its `--ttl` or its `--owner-pid`, and nothing else",
    )
    parser.add_argument(
        "--yes", action="store_true", help="do not ask before data is deleted, or with --all"
    )
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Confirm the deletion of data, then remove."""
    if invocation.options.all:
        return _run_all(invocation)
    spec = _spec(invocation)
    if invocation.options.expired and not is_expired(spec):
        invocation.print_message("its time is not over; nothing was removed\n")
        return ExitCode.DONE
    if invocation.options.volumes and not invocation.options.yes:
        request = invocation.request(spec)
        if not _confirmed(invocation, invocation.application(request), request):
            invocation.print_message("nothing was removed\n")
            return ExitCode.INTERRUPTED
    return report_exit_code(_take_down(invocation, spec))


def _take_down(invocation: CommandInvocation, spec: Path) -> Report:
    from algaenv.cli.errors import report_abandoned
    from algaenv.cli.signals import handle_interrupts

    end_dev(invocation, spec)
    with (
        invocation.run_sinks(spec) as sinks,
        handle_interrupts(sinks.stopping, lambda: report_abandoned(invocation, sinks)) as stop,
    ):
        request = invocation.request(spec, cancelled=stop.cancelled)
        return invocation.application(request).down(
            request, sinks.emit, volumes=invocation.options.volumes
        )


def _run_all(invocation: CommandInvocation) -> ExitCode:
    """Take down what is up, with --volumes whatever there is; the gravest failure is the code."""
    from algaenv.cli.output.escape import escape_controls, escape_text
    from algaenv.inventory import noted_environments

    options = invocation.options
    if options.file is not None or options.isolated is not None:
        raise UsageError(
            "cannot take down both all and one", "leave out `--all`, or `-f` and `--isolated`"
        )
    found = [it for it in noted_environments(invocation.environ) if options.volumes or it.running]
    if options.expired:
        found = [it for it in found if is_expired(it.environment.spec)]
    if not found:
        what = "has outlived its time" if options.expired else "is up"
        invocation.print_message(f"no environment of this machine {what}\n")
        return ExitCode.DONE
    listed = "".join(f"  {it.environment.name}  {it.environment.spec}\n" for it in found)
    if not options.yes:
        data = "delete all of their data for good" if options.volumes else "keep their data"
        count = "1 environment" if len(found) == 1 else f"{len(found)} environments"
        invocation.print_message(escape_text(listed))
        if not _answered(invocation, f"Take down {count}, and {data}? [y/N] "):
            invocation.print_message("nothing was removed\n")
            return ExitCode.INTERRUPTED
    codes = []
    for one in found:
        invocation.print_message(escape_controls(f"{one.environment.name}:") + "\n")
        report = _take_down(invocation, one.environment.spec)
        codes.append(report_exit_code(report))
        if report.interrupted:
            return ExitCode.INTERRUPTED
    return most_severe(codes)


def is_expired(spec: Path) -> bool:
    """Whether the environment of a spec has outlived its time or its owner."""
    from algaenv.drivers.state.state_dir import identify
    from algaenv.system.lifetime import read_lifetime

    lifetime = read_lifetime(identify(spec, "").home)
    return lifetime is not None and lifetime.is_over()


def end_dev(invocation: CommandInvocation, spec: Path) -> None:
    """End a `dev` first, which would bring the environment up again. Raises Locked."""
    holder = invocation.dev_session(spec)
    if holder is not None:
        from algaenv.dev.session import stop_session
        from algaenv.drivers.state.state_dir import identify

        invocation.print_message(f"ending {holder}\n")
        stop_session(holder, identify(spec, spec.parent.name))


def _spec(invocation: CommandInvocation) -> Path:
    """The path of the spec; it need not exist, since an environment outlives its spec."""
    from algaenv.model.problem import SpecError

    try:
        return invocation.spec()
    except SpecError:
        here = Path.cwd()
        for directory in (here, *here.parents):
            if os.path.isdir(directory / ".algaenv"):  # noqa: PTH112 - never raises
                return invocation.isolated(directory / SPEC_NAME)
        raise


def _confirmed(invocation: CommandInvocation, application: UseCases, request: Request) -> bool:
    """Ask once, naming what is deleted; raises UsageError without a terminal."""
    from algaenv.cli.output.escape import escape_controls

    if invocation.json or not invocation.terminal.asks:
        return _answered(invocation, "")
    data = escape_controls(_deleted_data(application, request))
    return _answered(invocation, f"Delete {data} for good? [y/N] ")


def _answered(invocation: CommandInvocation, question: str) -> bool:
    """Whether a person says yes; raises UsageError without a terminal."""
    if invocation.json or not invocation.terminal.asks:
        if invocation.options.volumes:
            summary = "cannot delete data without being told so: there is nobody to ask"
            hint = "add `--yes` if its data is to go for good"
        else:
            summary = "cannot take down all without being told so: there is nobody to ask"
            hint = "add `--yes` if all are meant"
        raise UsageError(summary, hint)
    write_text(invocation.terminal.err, question)
    return invocation.terminal.stdin.readline().strip().lower() in {"y", "yes"}


def _deleted_data(application: UseCases, request: Request) -> str:
    """The data that is deleted: the environment and its services, as far as they are known."""
    from algaenv.model.problem import AlgaenvError

    try:
        status = application.status(request, lambda _: None)
    except AlgaenvError:
        return f"all data of the environment of {request.spec}{_orphaned_states(request.spec)}"
    holding = ("store", "redis", "database")
    names = [service.name for service in status.services if service.name in holding]
    holders = f" ({', '.join(names)})" if names else ""
    return f"all data of {status.environment.name}{holders}{_orphaned_states(request.spec)}"


def _orphaned_states(spec: Path) -> str:
    """The states of moved or copied checkouts in this directory, which are deleted too."""
    from algaenv.drivers.state.state_dir import find_orphaned_states, identify
    from algaenv.reconcile.relocation import size_text

    left = [it for it in find_orphaned_states(identify(spec, "")) if not it.here]
    return "".join(f" and the state of {it.environment.spec} ({size_text(it.size)})" for it in left)
