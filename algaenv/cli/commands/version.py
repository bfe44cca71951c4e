"""The command `version`."""

from __future__ import annotations

import argparse
import sys

from algaenv import __version__
from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import add_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation

DESCRIPTION = "Print the version of algaenv and of the Python that runs it."
EXAMPLES = (
    ("algaenv version", "For people."),
    ("algaenv version --json", "For programs."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Print the version."""
    if invocation.json:
        shape = {"version": __version__, "python": _python(), "platform": sys.platform}
        invocation.print_json(shape)
    else:
        invocation.print_result(line())
    return ExitCode.DONE


def line() -> str:
    """The output of `algaenv --version`, which imports nothing else."""
    return f"algaenv {__version__} (Python {_python()}, {sys.platform})\n"


def _python() -> str:
    return ".".join(str(part) for part in sys.version_info[:3])
