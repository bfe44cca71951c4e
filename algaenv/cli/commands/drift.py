"""The command `drift`: what something else changed since the last `up`."""

from __future__ import annotations

import argparse

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import add_file, add_isolated, add_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.model.drift import DriftReport
    from algaenv.model.problem import Problem

DESCRIPTION = (
    "Show what something else has changed since the last `up`, field by field, and change nothing: "
    "containers or processes, networks, volumes, buckets, bundles, rows, generated files and "
    "secrets are compared with what that `up` left. What the spec asks for by now plays no part; "
    "`plan` shows that. Exits with 2 when there is any drift. `drift.ignore` in the spec names "
    "fields that may differ."
)
EXAMPLES = (
    ("algaenv drift", "What differs, and since when if that is known."),
    ("algaenv drift --json | jq -r '.drifted[].address'", "The addresses of what has drifted."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_file(parser)
    add_isolated(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Compare, and print what differs. Raises NotReady where no `up` has left anything."""
    warnings: list[Problem] = []
    request = invocation.request(invocation.spec())
    with invocation.read_sinks() as sinks:
        emit = invocation.emit_warnings(sinks, warnings)
        report = invocation.application(request).drift(request, emit)
    if invocation.json:
        from algaenv.cli.output.drift import drift_to_json

        invocation.print_json(drift_to_json(report, tuple(warnings)))
    else:
        from algaenv.cli.output.drift import drift_text

        invocation.print_result(drift_text(report, invocation.terminal.out_paint) + "\n")
        if report.drifted:
            _suggest(invocation, report)
    return ExitCode.DIFFERENCES if report.drifted else ExitCode.DONE


def _suggest(invocation: CommandInvocation, report: DriftReport) -> None:
    from algaenv.reconcile.drift import SECRETS

    if any(it.address == SECRETS for it in report.drifted):
        invocation.suggest(("explain secrets-damaged", "says what can be done"))
        return
    # `up` looks into containers only when asked: it takes a request for each.
    deep = any(
        it.address.kind == "container" and drift.field.startswith(("files.", "env."))
        for it in report.drifted
        for drift in it.fields
    )
    command = "up --thorough" if deep else "up"
    invocation.suggest((command, "reverts it, and applies what the spec asks for by now"))
