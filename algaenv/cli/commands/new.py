"""The command `new`: begin an extension from a template."""

from __future__ import annotations

import argparse
from pathlib import Path

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.invocation import SPEC_NAME
from algaenv.cli.parser import UsageError, add_file, add_output, one_of, utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.scaffold.templates import Template

USAGE = "NAME [options]"
DESCRIPTION = (
    "Write a new extension into a directory of its name, and add it to algaenv.yaml: to the one "
    "here or in a directory above, else to a new one. What comes out builds and answers as it is. "
    "Nothing that exists is written over."
)
EXAMPLES = (
    ("algaenv new invoices", "A page and a handler in ./invoices."),
    ("algaenv new invoices --template handler", "Without a page."),
    ("algaenv new --list", "The templates there are."),
)
DEFAULT = "full"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        type=utf8,
        help="the name of the extension in the spec and of its directory",
    )
    parser.add_argument(
        "--template",
        metavar="NAME",
        type=one_of("ui", "handler", "full"),
        default=DEFAULT,
        help="ui, handler or full (the default)",
    )
    parser.add_argument("--list", action="store_true", help="list the templates, and write nothing")
    parser.add_argument(
        "--directory",
        metavar="PATH",
        help="where it is written (default: a directory of its name, here)",
    )
    parser.add_argument(
        "--publisher",
        metavar="NAME",
        type=utf8,
        default="Example",
        help="the publisher in its manifest (default: Example)",
    )
    add_file(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Write the extension and its entry. Raises Conflict, SpecError and Failed."""
    from algaenv.scaffold.templates import templates

    options = invocation.options
    known = templates()
    if options.list:
        _print_list(invocation, list(known.values()))
        return ExitCode.DONE
    if options.name is None:
        raise UsageError("cannot write an extension without a name", "write `algaenv new NAME`")
    _create(invocation, known[options.template])
    return ExitCode.DONE


def _print_list(invocation: CommandInvocation, known: list[Template]) -> None:
    if invocation.json:
        listed = [{"name": it.name, "summary": it.summary} for it in known]
        invocation.print_json({"version": 1, "templates": listed})
        return
    from algaenv.cli.output.terminal import aligned

    rows = aligned([(it.name, it.summary) for it in known])
    invocation.print_result("".join(f"{''.join(cells)}\n" for cells in rows))


def _create(invocation: CommandInvocation, template: Template) -> None:
    import shutil

    from algaenv.cli.output.escape import escape_controls
    from algaenv.model.problem import Failed
    from algaenv.scaffold.files import refuse_existing, write_directory, write_file
    from algaenv.scaffold.templates import fill

    options = invocation.options
    name = _checked_name(options.name)
    _check_publisher(options.publisher)
    target = Path.cwd() / (options.directory or name)
    refuse_existing(target)
    spec, exists = _spec(invocation)
    filled = fill(template, name, options.publisher, _source(target, spec.parent))
    text = _spec_text(invocation, spec, name, filled.entry, exists=exists)
    write_directory(target, filled.files)
    try:
        write_file(spec, text.encode())
    except Failed:
        shutil.rmtree(target, ignore_errors=True)
        raise
    if not exists:
        _ignore_private_files(spec.parent)
    if invocation.json:
        invocation.print_json(
            {
                "version": 1,
                "name": name,
                "template": template.name,
                "directory": str(target),
                "files": sorted(filled.files),
                "spec": str(spec),
                "spec_created": not exists,
            }
        )
        return
    where = "added to" if exists else "with the new spec"
    line = f"wrote {_shown(target)} ({len(filled.files)} files), {where} {_shown(spec)}"
    invocation.print_result(f"{escape_controls(line)}\n")
    invocation.suggest(("dev", "brings it up, and again after each save"), *filled.following)


def _checked_name(name: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from algaenv.spec.types import ExtensionName

    try:
        return str(TypeAdapter(ExtensionName).validate_python(name))
    except ValidationError as error:
        why = error.errors(include_url=False)[0]["msg"]
        raise UsageError(
            f"cannot use {name!r} as the name of an extension: {why}", "choose another name"
        ) from None


def _check_publisher(publisher: str) -> None:
    import re

    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}", publisher) is None:
        raise UsageError(
            f"cannot use {publisher!r} as a publisher: it may hold up to 63 letters, digits, "
            "blanks, dots, hyphens and underscores",
            "choose another name with `--publisher`",
        )


def _spec(invocation: CommandInvocation) -> tuple[Path, bool]:
    """The spec to write to, and whether it is there."""
    from algaenv.spec.paths import find_spec

    path = invocation.named_spec() or find_spec(Path.cwd()) or Path.cwd() / SPEC_NAME
    return path.absolute(), path.exists()


def _spec_text(
    invocation: CommandInvocation, spec: Path, name: str, entry: tuple[str, ...], *, exists: bool
) -> str:
    """The spec with the extension. Raises SpecError for one that is wrong, and Conflict."""
    from algaenv.model.problem import Conflict, Problem
    from algaenv.scaffold.discovery import environment_name
    from algaenv.scaffold.spec_text import add_extension, new_spec

    if not exists:
        return new_spec(environment_name(spec.parent), name, entry)
    from algaenv.spec.load import load

    loaded = load(spec, invocation.environ)
    if any(it.name == name for it in loaded.intent.every_extension):
        raise Conflict(
            Problem(
                code="scaffold-listed",
                summary=f"cannot add {name} to {spec}: it has an extension of that name",
                hint="choose another name",
            )
        )
    text = spec.read_bytes().decode("utf-8-sig")
    return add_extension(text, str(spec), name, entry)


def _source(target: Path, base: Path) -> str:
    """The path of the extension as the spec names it."""
    import os

    from algaenv.scaffold.spec_text import yaml_text

    relative = Path(os.path.relpath(target, os.path.realpath(base) if base.exists() else base))
    text = relative.as_posix()
    text = text if text.startswith("../") else f"./{text}"
    return yaml_text(text.replace("$", "$$"))  # A single one would begin a variable.


def _ignore_private_files(directory: Path) -> None:
    from algaenv.scaffold.discovery import ignored_lines
    from algaenv.scaffold.files import write_file

    if (text := ignored_lines(directory)) is not None:
        write_file(directory / ".gitignore", text.encode())


def _shown(path: Path) -> str:
    here = Path.cwd()
    return f"./{path.relative_to(here)}" if path.is_relative_to(here) else str(path)
