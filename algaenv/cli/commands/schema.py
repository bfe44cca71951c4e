"""The command `schema`: the JSON Schemas of the spec, and of what commands print for programs."""

from __future__ import annotations

import argparse
import os

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import UsageError, add_output, closest_match

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation

USAGE = "[NAME] [options]"
DESCRIPTION = (
    "Print a JSON Schema (draft-07). Without a name that of algaenv.yaml, with a description of "
    "every key: editors complete and check the spec with it. With the name of a command that of "
    "the document which it prints with --json; `events` describes the lines of up, down, restart, "
    "run, rollback --to, validate and dev."
)
EXAMPLES = (
    ("algaenv schema > algaenv.schema.json", "Save that of the spec beside it."),
    ("algaenv schema plan", "What `algaenv plan --json` prints."),
    ("algaenv schema events", "The lines of `algaenv up --json`."),
    (
        "# yaml-language-server: $schema=algaenv.schema.json",
        "As the first line of algaenv.yaml, this points an editor to it.",
    ),
)
_SPEC = "spec"
_ENDING = ".schema.json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    names = schema_names()
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        default=_SPEC,
        help=f"{', '.join(names)} (default: {_SPEC})",
    )
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Print the schema, with or without `--json`."""
    name = _known(invocation.options.name)
    if name == _SPEC:
        from algaenv.spec.schema import schema

        invocation.print_json(schema())
        return ExitCode.DONE
    import json

    with open(os.path.join(_directory(), name + _ENDING), encoding="utf-8") as file:  # noqa: PTH118, PTH123 - pathlib is heavy
        invocation.print_json(json.load(file))
    return ExitCode.DONE


def _known(name: str) -> str:
    """The name, which is checked here so that an option that does not exist is told first."""
    names = schema_names()
    if name not in names:
        near = closest_match(name, names)
        raise UsageError(
            f"cannot print the schema of {name!r}: there is none of this name",
            f"did you mean {near}?" if near else f"choose one of {', '.join(names)}",
        )
    return name


def schema_names() -> tuple[str, ...]:
    """`spec`, and the documents that a schema is shipped of, by name."""
    files = sorted(it for it in os.listdir(_directory()) if it.endswith(_ENDING))  # noqa: PTH208
    names = (it.removesuffix(_ENDING) for it in files)
    return (_SPEC, *(name for name in names if name != "algaenv"))


def _directory() -> str:
    """`schemas` inside the installed package, or the reference pages of a checkout."""
    import algaenv

    package = os.path.dirname(os.path.abspath(algaenv.__file__))  # noqa: PTH100, PTH120
    installed = os.path.join(package, "schemas")  # noqa: PTH118
    if os.path.isdir(installed):  # noqa: PTH112
        return installed
    return os.path.join(package, os.pardir, "docs", "reference")  # noqa: PTH118
