"""The command `schema`: the JSON Schema of the spec."""

from __future__ import annotations

import argparse

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import add_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import Invocation

DESCRIPTION = (
    "Print the JSON Schema (draft-07) that describes algaenv.yaml, with a description of every "
    "key. Editors complete and check the spec with it."
)
EXAMPLES = (
    ("algaenv schema > algaenv.schema.json", "Save it beside the spec."),
    (
        "# yaml-language-server: $schema=algaenv.schema.json",
        "As the first line of algaenv.yaml, this points an editor to it.",
    ),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_output(parser)


def run(invocation: Invocation) -> ExitCode:
    """Print the schema, with or without `--json`."""
    from algaenv.spec.schema import schema

    invocation.print_json(schema())
    return ExitCode.DONE
