"""From an argument list to an exit code: finds the command, runs it, tells how it failed."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO, cast

from algaenv.surface.cli.commands import COMMANDS, command, parser_of
from algaenv.surface.cli.grammar import Parser, UsageError, nearest
from algaenv.surface.cli.options import add_file, add_help, add_output, add_runtime
from algaenv.surface.exit_codes import ExitCode
from algaenv.surface.output import Guarded

if TYPE_CHECKING:
    from algaenv.session import Request, Session

EXAMPLES = (
    ("algaenv up", "Build, start and install everything that algaenv.yaml asks for."),
    ("algaenv status -o env", "Print what the app server needs to find it."),
    ("algaenv down", "Remove it again and keep its data."),
)


def main(
    arguments: Sequence[str] | None = None,
    *,
    make_session: Callable[[Request], Session] | None = None,
) -> int:
    """Run one command line and return the code to exit with; `--help` raises SystemExit.

    `make_session` builds the program below the surface; by default the real one.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    _mend_streams()
    with _guarded_streams() as out:
        try:
            return _flushed(_run(argv, make_session), out)
        except UsageError as error:
            from algaenv.surface.cli.failure import tell_usage

            return _flushed(tell_usage(error, argv), out)
        except KeyboardInterrupt:  # before the command could begin
            return ExitCode.INTERRUPTED
        except SystemExit:
            if _flushed(ExitCode.DONE, out) is not ExitCode.DONE:
                raise SystemExit(ExitCode.OUTPUT) from None
            raise


def _run(argv: Sequence[str], make_session: Callable[[Request], Session] | None) -> ExitCode:
    top = top_parser()
    options = top.read(argv)
    if options.version:
        from algaenv.surface.cli.version import line

        sys.stdout.write(line())
        return ExitCode.DONE
    if options.command is None:
        sys.stderr.write(top.format_help())
        return ExitCode.USAGE
    name = _known(options.command)
    start = len(argv) - len(options.rest) - 1
    own = parser_of(name).read([*argv[:start], *options.rest])

    from algaenv.surface.cli.commandline import Call
    from algaenv.surface.cli.failure import telling

    call = Call.of(name, own, make_session)
    return telling(call, command(name).run)


def top_parser() -> Parser:
    """The grammar before the command. What a command takes may stand there too."""
    parser = Parser(
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


def _known(name: str) -> str:
    names = [known for known, _ in COMMANDS]
    if name in names:
        return name
    near = nearest(name, names)
    look_up = "run `algaenv --help` for the commands there are"
    raise UsageError(
        f"cannot run {name!r}: there is no such command",
        f"try `algaenv {near}`, or {look_up}" if near else look_up,
    )


def _mend_streams() -> None:
    """Nothing is lost or fails for a stream that is closed, or a character it cannot show."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _guarded_streams() -> Iterator[Guarded]:
    """No command fails in the middle for a full disk behind stdout or stderr; yields stdout."""
    before = sys.stdout, sys.stderr
    out, err = map(Guarded, before)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield out
    finally:
        sys.stdout, sys.stderr = before


def _flushed(code: ExitCode, out: Guarded) -> ExitCode:
    """Push out what was written; a reader that went away is no failure of ours."""
    from algaenv.surface.output import push

    for stream in (sys.stdout, sys.stderr):
        push(stream)
    if out.error is None:
        return code
    from algaenv.surface.cli.failure import tell_output

    tell_output(out.error)
    return ExitCode.OUTPUT if code in (ExitCode.DONE, ExitCode.DIFFERENCES) else code
