"""Entry point of the command line: parses the arguments and runs one command."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence

from algaenv.cli.commands import ALIASES, COMMANDS, TAKE_PROGRAMS
from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.output.streams import TolerantStream
from algaenv.cli.parser import (
    CommandParser,
    Pairs,
    UsageError,
    add_file,
    add_help,
    add_output,
    add_runtime,
    closest_match,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from algaenv.cli.invocation import CommandInvocation
    from algaenv.dependencies import Request, UseCases

    class Command(Protocol):
        """The interface of a command's module."""

        DESCRIPTION: str
        EXAMPLES: Pairs

        def add_options(self, parser: argparse.ArgumentParser) -> None:
            """Declare the arguments."""

        def run(self, invocation: CommandInvocation) -> int:
            """Run the command. AlgaenvError and KeyboardInterrupt are reported by the caller."""


EXAMPLES = (
    ("algaenv up", "Build, start and install everything that algaenv.yaml asks for."),
    ("algaenv status -o env", "Print what the app server needs to find it."),
    ("algaenv down", "Remove it again and keep its data."),
)


def command_module(name: str) -> Command:
    """Import the module of a command."""
    module: Any = importlib.import_module(f"algaenv.cli.commands.{name}")
    command: Command = module
    return command


def parser_of(name: str) -> CommandParser:
    """The argument parser of a command."""
    module = command_module(name)
    parser = CommandParser(
        f"algaenv {name}",
        usage=getattr(module, "USAGE", "[options]"),
        description=module.DESCRIPTION,
        examples=module.EXAMPLES,
    )
    add_help(parser)
    module.add_options(parser)
    return parser


def main(
    arguments: Sequence[str] | None = None,
    *,
    make_application: Callable[[Request], UseCases] | None = None,
) -> int:
    """Run one command line and return the code to exit with; `--help` raises SystemExit.

    `make_application` builds the application; None means the real one.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    _repair_streams()
    with _tolerant_streams() as out:
        try:
            return _flushed(_run(argv, make_application), out)
        except UsageError as error:
            from algaenv.cli.errors import report_usage_error

            return _flushed(report_usage_error(error, argv), out)
        except KeyboardInterrupt:  # before the command could begin
            return ExitCode.INTERRUPTED
        except SystemExit:
            if _flushed(ExitCode.DONE, out) is not ExitCode.DONE:
                raise SystemExit(ExitCode.OUTPUT) from None
            raise


def _run(argv: Sequence[str], make_application: Callable[[Request], UseCases] | None) -> int:
    options, own = read_command_line(argv)
    if options.version:
        from algaenv.cli.commands.version import line

        sys.stdout.write(line())
        return ExitCode.DONE
    if own is None:
        sys.stderr.write(top_parser().format_help())
        return ExitCode.USAGE
    name = options.command

    from algaenv.cli.errors import run_reporting_errors
    from algaenv.cli.invocation import CommandInvocation

    invocation = CommandInvocation.of(name, own, make_application)
    return run_reporting_errors(invocation, command_module(name).run)


def _long_file(word: str) -> str:
    """`--file` for `-f`: before a command it names the spec, whatever it means after it."""
    if word.startswith("-f"):
        return f"--file={word[2:].removeprefix('=')}" if word[2:] else "--file"
    return word


def top_parser() -> CommandParser:
    """The parser of what precedes the command. Shared options may stand there too."""
    parser = CommandParser(
        "algaenv",
        usage="<command> [options]",
        description="One file and one command for an Alga PSA extension environment that answers. "
        "`algaenv <command> --help` tells more of each command; options may stand before it, too.",
        examples=EXAMPLES,
        commands=COMMANDS,
    )
    add_help(parser)
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    add_file(parser)
    add_runtime(parser)
    add_output(parser)
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def read_command_line(
    argv: Sequence[str],
) -> tuple[argparse.Namespace, argparse.Namespace | None]:
    """What precedes the command, with its name; and the options of the command, None without one.

    Raises UsageError.
    """
    top = top_parser()
    before, program = _split(argv)
    options = top.read(before)
    if program is not None and options.command not in TAKE_PROGRAMS:
        # To other commands `--` says that no option follows.
        before, program = argv, None
        options = top.read(before)
    if options.version or options.command is None:
        return options, None
    options.command = _known_command(options.command)
    start = len(before) - len(options.rest) - 1
    own = parser_of(options.command).read([*map(_long_file, before[:start]), *options.rest])
    own.program = program
    return options, own


def _split(argv: Sequence[str]) -> tuple[Sequence[str], list[str] | None]:
    """What precedes the first `--`, and what follows it; None without one."""
    if "--" not in argv:
        return argv, None
    at = argv.index("--")
    return argv[:at], list(argv[at + 1 :])


def _known_command(name: str) -> str:
    names = [known for known, _ in COMMANDS]
    name = ALIASES.get(name, name)
    if name in names:
        return name
    near = closest_match(name, names)
    look_up = "run `algaenv --help` for the commands there are"
    raise UsageError(
        f"cannot run {name!r}: there is no such command",
        f"try `algaenv {near}`, or {look_up}" if near else look_up,
    )


def _repair_streams() -> None:
    """Replace closed streams, and escape characters that stdout cannot encode."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _tolerant_streams() -> Iterator[TolerantStream]:
    """Make stdout and stderr survive a full disk inside the block; yields stdout."""
    before = sys.stdout, sys.stderr
    out, err = map(TolerantStream, before)
    streams: Any = out, err
    sys.stdout, sys.stderr = streams
    try:
        yield out
    finally:
        sys.stdout, sys.stderr = before


def _flushed(code: int, out: TolerantStream) -> int:
    """Flush both streams. A closed reader is no failure; a full disk changes the code."""
    from algaenv.cli.output.streams import write_text

    for stream in (sys.stdout, sys.stderr):
        write_text(stream)
    if out.error is None:
        return code
    from algaenv.cli.errors import report_output_error

    report_output_error(out.error)
    return ExitCode.OUTPUT if code in (ExitCode.DONE, ExitCode.DIFFERENCES) else code
