"""`algaenv schema`: the JSON Schema of the spec."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from algaenv.surface.cli.options import add_output
from algaenv.surface.exit_codes import ExitCode

if TYPE_CHECKING:
    from algaenv.surface.cli.commandline import Call

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
    """Declare what it takes."""
    add_output(parser)


def run(call: Call) -> ExitCode:
    """Print it; it is JSON with or without `--json`."""
    from algaenv.spec.schema import schema

    call.answer_json(schema())
    return ExitCode.DONE
