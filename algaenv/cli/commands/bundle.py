"""The command `bundle`: carry all that an `up` needs to a machine without a network."""

from __future__ import annotations

import argparse
from pathlib import Path

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import UsageError, add_file, add_images, add_output, add_runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from algaenv.cli.invocation import CommandInvocation

USAGE = "ACTION FILE [options]"
DESCRIPTION = (
    "Export what an `up` of this spec needs into one archive: images, wheels of Python, programs, "
    "packages that builds install, the lock file. Import it on a machine without a network: all of "
    "it is checked before anything is put in place, and `up` then needs no registry and no index. "
    "The sources are not in it."
)
EXAMPLES = (
    ("algaenv bundle export hello.tar.zst", "After an `up`, where there is a network."),
    ("algaenv bundle import hello.tar.zst", "Where there is none; then `algaenv up`."),
    ("algaenv bundle export p.tar.zst --runtime process", "Without images."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "action", metavar="ACTION", choices=("export", "import"), help="export or import"
    )
    parser.add_argument("archive", metavar="FILE", help="the archive, such as offline.tar.zst")
    add_file(parser)
    add_runtime(parser)
    add_images(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Export or import, and print what the archive holds."""
    path = Path.cwd() / invocation.options.archive
    exports = invocation.options.action == "export"
    return _export(invocation, path) if exports else _import(invocation, path)


def _export(invocation: CommandInvocation, path: Path) -> ExitCode:
    from algaenv.cli.output.offline import exported_text, exported_to_json
    from algaenv.offline.contents import export

    request = invocation.request(invocation.spec())
    result = export(path, request, _progress(invocation))
    if invocation.json:
        invocation.print_json(exported_to_json(path, result))
    else:
        invocation.print_result(exported_text(path, result, invocation.terminal.out_paint))
        invocation.suggest((f"bundle import {path.name}", "there, beside the same sources"))
    return ExitCode.DONE


def _import(invocation: CommandInvocation, path: Path) -> ExitCode:
    from algaenv.cli.output.offline import imported_text, imported_to_json
    from algaenv.offline.restore import restore
    from algaenv.spec.paths import find_spec

    for name in ("runtime", "images"):
        if getattr(invocation.options, name):
            raise UsageError(f"cannot import with --{name}", f"give --{name} to the export")
    spec = invocation.named_spec() or find_spec(Path.cwd())
    result = restore(path, spec, invocation.environ, _progress(invocation))
    if invocation.json:
        invocation.print_json(imported_to_json(path, result))
    else:
        invocation.print_result(imported_text(path, result, invocation.terminal.out_paint))
        invocation.suggest(("up", "needs no network for what was imported"))
    return ExitCode.DONE


def _progress(invocation: CommandInvocation) -> Callable[[str], None]:
    from algaenv.cli.output.escape import escape_controls

    return lambda line: invocation.print_message(f"{escape_controls(line)}\n")
