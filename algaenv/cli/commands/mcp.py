"""The command `mcp`: the commands as tools of the Model Context Protocol."""

from __future__ import annotations

import argparse

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import UsageError, add_file, add_output, add_runtime, duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.model.secret_mask import SecretMask

DESCRIPTION = (
    "Serve the commands as tools of the Model Context Protocol, on standard input and output, for "
    "agents and editors. It only reads unless writes are allowed. Each tool returns the JSON of "
    "the command of its name, without secrets. It needs `algaenv[mcp]`, and ends with its client."
)
EXAMPLES = (
    ("algaenv mcp -f team/algaenv.yaml", "What a client starts: status, plan, drift, logs, …"),
    ("algaenv mcp --allow-writes", "Also up, call, restart, test, rollback and down."),
)
_SECONDS = 600.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--allow-writes",
        action="store_true",
        help="offer up, call, restart, test, rollback and down as well",
    )
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=duration,
        default=_SECONDS,
        help="end the command behind a tool after so long, as Ctrl-C does (default: 10m)",
    )
    add_file(parser)
    add_runtime(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Serve until the client is gone. Raises Refused where the SDK is not installed."""
    from pathlib import Path

    options = invocation.options
    if invocation.json:
        raise UsageError("cannot print JSON: standard output speaks to the client", "leave it out")
    try:
        from algaenv.cli.mcp_server import ServerOptions, serve
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    if invocation.terminal.stdin.isatty():
        invocation.print_message("waiting for a client on standard input; Ctrl-C ends it\n")
    named = invocation.named_spec()
    runtime = (f"--runtime={options.runtime}",) if options.runtime else ()
    served = ServerOptions(
        options.allow_writes,
        options.timeout,
        Path.cwd(),
        (f"--file={named}",) if named else (),
        runtime,
        invocation.environ,
        lambda: _mask(invocation),
    )
    serve(served)
    return ExitCode.DONE


def _missing(error: ModuleNotFoundError) -> Exception:
    from algaenv.model.problem import Problem, Refused

    if (error.name or "").partition(".")[0] not in {"anyio", "mcp", "mcp_types"}:
        return error
    return Refused(
        Problem(
            code="mcp-missing",
            summary=f"cannot serve tools: the package {error.name} is not installed",
            hint="install `algaenv[mcp]`, as in `pipx install 'algaenv[embedded,mcp]'`",
        )
    )


def _mask(invocation: CommandInvocation) -> SecretMask:
    """Hides the secrets of the environment; before there is one, there are none."""
    from algaenv.model.problem import AlgaenvError
    from algaenv.model.secret_mask import SecretMask

    try:
        request = invocation.request(invocation.spec())
        return invocation.application(request).secret_mask(request)
    except AlgaenvError:
        return SecretMask(())
