"""The command `status`: services, extensions and their addresses."""

from __future__ import annotations

import argparse
import os

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import UsageError, add_file, add_isolated, add_output, add_runtime, one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.model.problem import Problem
    from algaenv.model.status import Status

DESCRIPTION = (
    "Show the services and extensions that are there, whether they answer, and their addresses. "
    "Secrets are shown by `-o env` only, which prints the variables that the app server needs."
)
EXAMPLES = (
    ("algaenv status", "Services, extensions, addresses."),
    ("algaenv status -o env > .env.algaenv", "The app server's variables, secrets included."),
    ("algaenv status --json | jq '.extensions[].page_url'", "The pages of all extensions."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_file(parser)
    add_isolated(parser)
    add_runtime(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FORM",
        type=one_of("table", "json", "env"),
        help="table (the default), json, or env for KEY=value lines with the secrets in them",
    )
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Read the status and print it."""
    if invocation.options.json and invocation.options.output not in {None, "json"}:
        raise UsageError(
            f"cannot print both JSON and {invocation.options.output}", "leave out `--json` or `-o`"
        )
    warnings: list[Problem] = []
    request = invocation.request(invocation.spec())
    with invocation.read_sinks() as sinks:
        emit = invocation.emit_warnings(sinks, warnings)
        status = _with_sources(invocation.application(request).status(request, emit))
    if invocation.json:
        from algaenv.cli.output.json import status_to_json

        invocation.print_json(status_to_json(status, tuple(warnings)))
    elif invocation.options.output == "env":
        _print_variables(invocation, status)
    else:
        _print_table(invocation, status)
    return ExitCode.DONE


def _with_sources(status: Status) -> Status:
    """Say of which extensions a `dev` has left a handler that runs from source."""
    if not os.path.isdir(status.environment.home / "cache" / "source"):  # noqa: PTH112 - never raises
        return status
    from algaenv.bundle.value import replace
    from algaenv.dev.handlers import digests_from_source

    digests = digests_from_source(status.environment)
    extensions = tuple(
        replace(it, detail=f"runs from source{'; ' if it.detail else ''}{it.detail}")
        if it.content_hash.rpartition(":")[2] in digests
        else it
        for it in status.extensions
    )
    return replace(status, extensions=extensions)


def _print_variables(invocation: CommandInvocation, status: Status) -> None:
    from algaenv.cli.output.text import env_text
    from algaenv.model.problem import NotReady, Problem

    if not status.variables:
        raise NotReady(
            Problem(
                code="no-variables",
                summary=f"cannot print the variables of {status.environment.name}: it is not there",
                hint="bring it up with `algaenv up`",
            )
        )
    invocation.print_result(env_text(status.variables))


def _print_table(invocation: CommandInvocation, status: Status) -> None:
    from algaenv.cli.output.text import all_ready, nothing_there, status_text

    terminal = invocation.terminal
    text = status_text(status, terminal.out_paint, width=terminal.width, verbose=invocation.verbose)
    invocation.print_result(text + "\n")
    if nothing_there(status):
        invocation.suggest(("up", "brings it up"))
    elif all_ready(status):
        invocation.suggest(("plan", "shows whether the spec asks for something else by now"))
    else:
        invocation.suggest(("up", "mends what is not ready"))
