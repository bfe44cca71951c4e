"""`algaenv status`: what is there, and where it answers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from algaenv.surface.cli.grammar import UsageError, one_of
from algaenv.surface.cli.options import add_file, add_output, add_runtime
from algaenv.surface.exit_codes import ExitCode

if TYPE_CHECKING:
    from algaenv.model.event import Event
    from algaenv.model.problem import Problem
    from algaenv.model.status import Status
    from algaenv.surface.cli.commandline import Call

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
    """Declare what it takes."""
    add_file(parser)
    add_runtime(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FORM",
        type=one_of("table", "json", "env"),
        help="table (the default), json, or env for KEY=value lines with the secrets in them",
    )
    add_output(parser)


def run(call: Call) -> ExitCode:
    """Look, and print."""
    from algaenv.model.event import Warned

    if call.options.json and call.options.output not in {None, "json"}:
        raise UsageError(
            f"cannot print both JSON and {call.options.output}", "leave out `--json` or `-o`"
        )
    warnings: list[Problem] = []
    request = call.request(call.spec())
    with call.look_sinks() as sinks:

        def emit(event: Event) -> None:
            if isinstance(event, Warned):
                warnings.append(event.problem)
            if call.verbose or isinstance(event, Warned):
                sinks.emit(event)

        status = call.session(request).status(request, emit)
    if call.json:
        from algaenv.surface.shapes import of_status

        call.answer_json(of_status(status, tuple(warnings)))
    elif call.options.output == "env":
        _print_variables(call, status)
    else:
        _print_table(call, status)
    return ExitCode.DONE


def _print_variables(call: Call, status: Status) -> None:
    from algaenv.model.problem import NotReady, Problem
    from algaenv.surface.env_text import env_text

    if not status.variables:
        raise NotReady(
            Problem(
                code="no-variables",
                summary=f"cannot print the variables of {status.environment.name}: it is not there",
                hint="bring it up with `algaenv up`",
            )
        )
    call.answer(env_text(status.variables))


def _print_table(call: Call, status: Status) -> None:
    from algaenv.surface.status_text import all_ready, nothing_there, status_text

    terminal = call.terminal
    text = status_text(status, terminal.out_paint, width=terminal.width, verbose=call.verbose)
    call.answer(text + "\n")
    if nothing_there(status):
        call.suggest(("up", "brings it up"))
    elif all_ready(status):
        call.suggest(("plan", "shows whether the spec asks for something else by now"))
    else:
        call.suggest(("up", "mends what is not ready"))
