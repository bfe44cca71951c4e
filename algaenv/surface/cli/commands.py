"""Which commands there are. Each has a module of its name, loaded only when it is run."""

from __future__ import annotations

import argparse
import importlib
from typing import TYPE_CHECKING, Protocol, cast

from algaenv.surface.cli.grammar import Pairs, Parser
from algaenv.surface.cli.options import add_help

if TYPE_CHECKING:
    from algaenv.surface.cli.commandline import Call
    from algaenv.surface.exit_codes import ExitCode

COMMANDS: tuple[tuple[str, str], ...] = (
    ("up", "bring the environment to what the spec says, and wait until it answers"),
    ("plan", "show what `up` would do, and change nothing"),
    ("status", "show what is there, and under which addresses"),
    ("call", "call a handler of an extension through the gateway"),
    ("open", "show the page of an extension in a browser"),
    ("down", "remove the environment; its data is kept unless asked"),
    ("validate", "check the spec without touching anything"),
    ("schema", "print the JSON Schema of the spec, for editors"),
    ("version", "print the version"),
)


class Command(Protocol):
    """What a command's module offers."""

    DESCRIPTION: str
    EXAMPLES: Pairs

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Declare what it takes."""
        ...

    def run(self, call: Call) -> ExitCode:
        """Do it. AlgaenvError and KeyboardInterrupt may pass: the dispatcher tells them."""
        ...


def command(name: str) -> Command:
    """The module of a command."""
    return cast(Command, importlib.import_module(f"algaenv.surface.cli.{name}"))


def parser_of(name: str) -> Parser:
    """The grammar of a command."""
    module = command(name)
    parser = Parser(
        f"algaenv {name}",
        usage=getattr(module, "USAGE", "[options]"),
        description=module.DESCRIPTION,
        examples=module.EXAMPLES,
    )
    add_help(parser)
    module.add_options(parser)
    return parser
