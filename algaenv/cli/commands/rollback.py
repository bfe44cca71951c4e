"""The command `rollback`: go back to a version of an extension that was kept."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from algaenv.bundle.value import replace
from algaenv.cli.exit_codes import ExitCode, report_exit_code
from algaenv.cli.parser import add_extension, add_file, add_isolated, add_output, add_runtime, utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.reconcile.rollback import KeptVersion

USAGE = "EXT [--to VERSION] [options]"
DESCRIPTION = (
    "Install an earlier version of an extension from its bundle in the object store, without "
    "building anything; without --to, list the versions there are. `keep_versions` in the spec "
    "says how many are kept. The source is not touched: the next `up`, or save in `dev`, installs "
    "what it holds."
)
EXAMPLES = (
    ("algaenv rollback hello", "List the versions of hello that are kept."),
    ("algaenv rollback hello --to 0.1.0", "Install that one."),
    ("algaenv rollback hello --to 1ad322f0e291", "The same, by the digest of its bundle."),
)
TURN_SECONDS = 600.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_extension(parser)
    parser.add_argument(
        "--to",
        metavar="VERSION",
        type=utf8,
        help="the version to install, as its manifest says, or the beginning of its digest",
    )
    add_file(parser)
    add_isolated(parser)
    add_runtime(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """List the versions, or install one. Raises Refused, Failed and NotReady."""
    options = invocation.options
    spec = invocation.spec()
    request = invocation.request(spec)
    versions = invocation.application(request).versions_of(request, options.extension)
    if options.to is None:
        _print_versions(invocation, versions)
        return ExitCode.DONE
    from algaenv.reconcile.rollback import choose_version

    chosen = choose_version(options.extension, versions, options.to)
    return _install(invocation, chosen)


def _print_versions(invocation: CommandInvocation, versions: Sequence[KeptVersion]) -> None:
    extension = invocation.options.extension
    if invocation.json:
        listed = [
            {
                "version": it.manifest.version,
                "bundle": it.digest.prefixed,
                "size": it.size,
                "released_at": it.released_at,
                "current": it.current,
            }
            for it in versions
        ]
        invocation.print_json({"version": 1, "extension": extension, "versions": listed})
        return
    from algaenv.cli.output.escape import escape_controls
    from algaenv.cli.output.terminal import aligned

    rows = [("version", "bundle", "released (UTC)", "")]
    for it in versions:
        released = it.released_at[:19].replace("T", " ")
        now = "current" if it.current else ""
        rows.append((it.manifest.version, it.digest.short, released, now))
    lines = ["".join(cells).rstrip() for cells in aligned(escape_controls(rows))]
    invocation.print_result("\n".join(lines) + "\n")
    older = next((it for it in versions if not it.current), None)
    if older is None:
        invocation.print_message("no other version is kept; `keep_versions` says how many are\n")
    else:
        invocation.suggest((f"rollback {extension} --to {older.digest.short}", "goes back to it"))


def _install(invocation: CommandInvocation, chosen: KeptVersion) -> ExitCode:
    from algaenv.cli.errors import report_abandoned
    from algaenv.cli.signals import handle_interrupts
    from algaenv.reconcile.rollback import KeptBundleBuilder

    extension = invocation.options.extension
    spec = invocation.spec()
    with (
        invocation.run_sinks(spec) as sinks,
        handle_interrupts(sinks.stopping, lambda: report_abandoned(invocation, sinks)) as stop,
    ):
        request = replace(
            invocation.request(spec, cancelled=stop.cancelled),
            extensions=(extension,),
            wrap_builder=lambda builder: KeptBundleBuilder(builder, extension, chosen),
            lock_seconds=TURN_SECONDS if invocation.dev_session(spec) is not None else 0.0,
        )
        report = invocation.application(request).up(request, sinks.emit)
    code = report_exit_code(report)
    if code is ExitCode.DONE and not invocation.json:
        _print_outcome(invocation, chosen)
    return code


def _print_outcome(invocation: CommandInvocation, chosen: KeptVersion) -> None:
    from algaenv.cli.output.escape import escape_controls

    extension = invocation.options.extension
    holder = invocation.dev_session(invocation.spec())
    line = f"{extension} is {chosen.manifest.version} ({chosen.digest.short}) now"
    invocation.print_result(f"{escape_controls(line)}\n")
    again = f"the next save in {holder} or the next `up`" if holder else "the next `up` or `dev`"
    invocation.print_message(
        f"the source was not touched: {again} installs what it holds; "
        "bring the source back to this version to stay with it\n"
    )
    invocation.suggest((f"plan {extension}", "shows what `up` would change"))
