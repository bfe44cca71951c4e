"""The command `completion`: what has a shell complete the command line."""

from __future__ import annotations

import argparse

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import add_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation

USAGE = "bash|zsh|fish [options]"
DESCRIPTION = (
    "Print the lines that have a shell complete commands, options, and the names of extensions and "
    "services after TAB. Nothing is written; the shell's own file of settings is the place."
)
EXAMPLES = (
    ('eval "$(algaenv completion bash)"', "In ~/.bashrc."),
    ('eval "$(algaenv completion zsh)"', "In ~/.zshrc, after `compinit`."),
    ("algaenv completion fish | source", "In ~/.config/fish/config.fish."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="%(choices)s"
    )
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Print them, with or without `--json`."""
    from argcomplete.shell_integration import shellcode

    shell = invocation.options.shell
    code = shellcode(["algaenv"], shell=shell)
    if invocation.json:
        invocation.print_json({"version": 1, "shell": shell, "code": code})
    else:
        invocation.print_result(f"{code.rstrip()}\n")
    return ExitCode.DONE
