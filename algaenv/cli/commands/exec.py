"""The command `exec`: run a program with the variables and the clients of a service."""

from __future__ import annotations

import argparse
import os

from algaenv.cli.parser import UsageError, add_file, add_isolated, add_output, add_runtime, utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation

USAGE = "SERVICE [options] -- PROGRAM ..."
DESCRIPTION = (
    "Run a program in the container of a service; without containers on this machine, with the "
    "variables of the service and the programs beside its own first on PATH. The variables that "
    "clients of database, store and redis read are set, secrets included. The exit code is that of "
    "the program."
)
EXAMPLES = (
    ("algaenv exec database -- psql", "A session in the database."),
    ("algaenv exec database -- pg_dump --schema-only", "Its tables."),
    ("algaenv exec runner -- env", "What the runner was started with."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.set_defaults(program=None)
    parser.add_argument(
        "service",
        metavar="SERVICE",
        type=utf8,
        help="store, redis, database, runner, gateway, or a service of the spec",
    )
    add_file(parser)
    add_isolated(parser)
    add_runtime(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> int:
    """Run it, and return its exit code. Raises NotReady, Refused and ResolveError."""
    import sys

    from algaenv.cli.child import run_program
    from algaenv.model.secret import Secret

    options = invocation.options
    if not options.program:
        raise UsageError(
            f"cannot run nothing in {options.service}",
            f"write a program after `--`, such as `algaenv exec {options.service} -- env`",
        )
    request = invocation.request(invocation.spec())
    terminal = invocation.terminal
    tty = terminal.stdin.isatty() and terminal.out.isatty()
    program = invocation.application(request).program_in(
        request, options.service, options.program, tty=tty
    )
    environ = dict(invocation.environ)
    for name, value in program.environment.items():
        environ[name] = value.reveal() if isinstance(value, Secret) else value
    environ["PATH"] = os.pathsep.join((*program.path, environ.get("PATH", os.defpath)))
    out = sys.__stderr__ if invocation.json else None
    code = run_program(program.words, environ, out=out)
    if invocation.json:
        invocation.print_json({"version": 1, "service": options.service, "exit_code": code})
    return code
