"""The command `lock`: write the versions that run into `algaenv.lock`, or compare with it."""

from __future__ import annotations

import argparse

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import UsageError, add_file, add_images, add_output, add_runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation

USAGE = "[--update [NAME ...]] [--check] [options]"
DESCRIPTION = (
    "Write algaenv.lock beside the spec: images by digest, programs and Python packages by "
    "version, tools of builds, and algaenv itself. Check it in: `up` then runs what it names, and "
    "`up --locked` nothing else. What is locked already stays as it is, unless --update names it. "
    "Each runtime and platform has entries of its own; those of others stay."
)
EXAMPLES = (
    ("algaenv lock", "Lock what is not locked yet, and what the spec asks for otherwise by now."),
    ("algaenv lock --update", "Take all of it anew, as it would run here without a lock file."),
    ("algaenv lock --update store wasmtime", "Only the object store and one package."),
    ("algaenv lock --check", "For CI: exit with 2 where something else would run."),
    ("algaenv lock --check --json | jq -r '.differences[].text'", "What that is."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--update",
        metavar="NAME",
        nargs="*",
        help="take these anew: services, extensions, packages, tools, `packages`, `tools` or "
        "`algaenv`; without a name everything",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit with 2 where the file is not what would run here",
    )
    add_file(parser)
    add_runtime(parser)
    add_images(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Write or compare, and print what changed or differs."""
    options = invocation.options
    if options.check and options.update is not None:
        raise UsageError("cannot check and update at once", "leave --check or --update out")
    return _check(invocation) if options.check else _write(invocation)


def _check(invocation: CommandInvocation) -> ExitCode:
    from algaenv.cli.output.lock import check_text, check_to_json

    spec = invocation.spec()
    request = invocation.request(spec)
    found = invocation.application(request).check_lock(request)
    if invocation.json:
        invocation.print_json(check_to_json(spec.with_suffix(".lock"), found))
    else:
        text = check_text(spec.with_suffix(".lock"), found, invocation.terminal.out_paint)
        invocation.print_result(text + "\n")
        if found:
            invocation.suggest(("lock --update", "locks what is here"))
    return ExitCode.DIFFERENCES if found else ExitCode.DONE


def _write(invocation: CommandInvocation) -> ExitCode:
    from algaenv.cli.output.lock import result_text, result_to_json

    request = invocation.request(invocation.spec())
    result = invocation.application(request).write_lock(request, invocation.options.update)
    if invocation.json:
        invocation.print_json(result_to_json(result))
    else:
        text = result_text(result, invocation.terminal.out_paint, verbose=invocation.verbose)
        invocation.print_result(text + "\n")
    return ExitCode.DONE
