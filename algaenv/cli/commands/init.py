"""The command `init`: write a spec for what a directory holds."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.invocation import SPEC_NAME
from algaenv.cli.parser import UsageError, add_output, closest_match, utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.scaffold.discovery import Discovery

USAGE = "[DIRECTORY] [options]"
DESCRIPTION = (
    "Write algaenv.yaml for a directory: with every extension found in it or below, how each is "
    "built, and what Alga's compose file and .env.runner say of ports; and the lines of .gitignore "
    "that keep state and secrets of this machine out of a repository. Nothing is started, and "
    "nothing that exists is written over without --force."
)
EXAMPLES = (
    ("algaenv init", "For this directory."),
    ("algaenv init --dry-run", "Print the spec, and write nothing."),
    ("algaenv init shop --from notes", "Copy the sample called notes into the directory shop."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.set_defaults(file=None)
    parser.add_argument(
        "directory",
        metavar="DIRECTORY",
        nargs="?",
        default=".",
        help="what the spec is for (default: this directory)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the spec, and write nothing")
    parser.add_argument(
        "--from", metavar="SAMPLE", dest="sample", help="copy a sample: capabilities or notes"
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        type=utf8,
        help="the name of the environment (default: as the directory is called)",
    )
    parser.add_argument("--force", action="store_true", help="write over what is there")
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Write the spec, or print it. Raises Conflict and Failed."""
    options = invocation.options
    directory = Path.cwd() / options.directory
    if options.sample is not None:
        _copy_sample(invocation, directory)
        return ExitCode.DONE
    if not directory.is_dir():
        raise UsageError(
            f"cannot write a spec for {options.directory}: there is no such directory",
            "correct the path, or take a sample with `--from`",
        )
    from algaenv.runtimes.ports import find_port_holder
    from algaenv.scaffold.discovered_spec import discovered_spec
    from algaenv.scaffold.discovery import discover, environment_name, ignored_lines

    found = discover(directory)
    name = _checked_name(options.name) if options.name else environment_name(directory)
    text = discovered_spec(name, found, lambda port: find_port_holder(port) is None)
    files = {SPEC_NAME: text.encode()}
    if (ignored := ignored_lines(directory)) is not None:
        files[".gitignore"] = ignored.encode(errors="surrogateescape")
    _write(invocation, directory, files, replaced=(SPEC_NAME,))
    _report(invocation, directory, files, found, text)
    return ExitCode.DONE


def _write(
    invocation: CommandInvocation,
    directory: Path,
    files: Mapping[str, bytes],
    replaced: tuple[str, ...],
) -> None:
    """Write all files, or none where one of `replaced` is there and --force is not given."""
    from algaenv.model.problem import Conflict, Problem
    from algaenv.scaffold.files import unwritable, write_file

    there = [name for name in replaced if (directory / name).exists()]
    if there and not (invocation.options.force or invocation.options.dry_run):
        raise Conflict(
            *(
                Problem(
                    code="init-exists",
                    summary=f"cannot write {directory / name}: it is there already",
                    hint="add `--force` to write over it, or `--dry-run` to see it first",
                )
                for name in there
            )
        )
    if invocation.options.dry_run:
        return
    for name, content in files.items():
        path = directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error
        write_file(path, content)


def _report(
    invocation: CommandInvocation,
    directory: Path,
    files: Mapping[str, bytes],
    found: Discovery,
    text: str,
) -> None:
    from algaenv.cli.output.escape import escape_controls

    usable = [it for it in found.extensions if not it.problem]
    if invocation.json:
        listed = [
            {
                "name": it.name,
                "source": it.source,
                "build": it.build,
                "problem": it.problem or None,
            }
            for it in found.extensions
        ]
        _print_document(invocation, directory, files, text, listed)
        return
    if invocation.options.dry_run:
        invocation.print_result(text)
        return
    count = len(usable)
    noun = "extension" if count == 1 else "extensions"
    invocation.print_result(
        escape_controls(f"wrote {directory / SPEC_NAME} ({count} {noun})") + "\n"
    )
    for one in found.extensions:
        how = "left out: " + one.problem if one.problem else _how(one.tools)
        invocation.print_message(escape_controls(f"  {one.name}  {one.source}  {how}") + "\n")
    _suggest(invocation, ("up", "brings it up") if usable else ("new NAME", "begins an extension"))


def _how(tools: str) -> str:
    return f"built with {tools}" if tools else "packed as it is"


def _print_document(
    invocation: CommandInvocation,
    directory: Path,
    files: Mapping[str, bytes],
    text: str,
    extensions: list[dict[str, str | None]],
) -> None:
    invocation.print_json(
        {
            "version": 1,
            "directory": str(directory),
            "written": not invocation.options.dry_run,
            "files": sorted(files),
            "spec": text,
            "extensions": extensions,
        }
    )


def _copy_sample(invocation: CommandInvocation, directory: Path) -> None:
    from algaenv.cli.output.escape import escape_controls
    from algaenv.scaffold.samples import sample_files, sample_names

    options = invocation.options
    names = sample_names()
    if options.sample not in names:
        near = closest_match(options.sample, names)
        raise UsageError(
            f"cannot copy the sample {options.sample!r}: there is none of that name",
            f"did you mean {near}?" if near else f"choose one of {', '.join(names)}",
        )
    files = sample_files(options.sample, _checked_name(options.name) if options.name else None)
    _write(invocation, directory, files, replaced=tuple(files))
    text = files[SPEC_NAME].decode()
    if invocation.json:
        _print_document(invocation, directory, files, text, [])
    elif options.dry_run:
        invocation.print_result("".join(f"{escape_controls(name)}\n" for name in files))
    else:
        invocation.print_result(
            escape_controls(f"wrote {len(files)} files into {directory}") + "\n"
        )
        _suggest(invocation, ("up", "brings it up"))


def _suggest(invocation: CommandInvocation, command: tuple[str, str]) -> None:
    if invocation.options.directory != ".":
        invocation.options.file = invocation.options.directory
    invocation.suggest(command)


def _checked_name(name: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from algaenv.spec.types import Name

    try:
        return str(TypeAdapter(Name).validate_python(name))
    except ValidationError as error:
        why = error.errors(include_url=False)[0]["msg"]
        raise UsageError(
            f"cannot use {name!r} as the name of an environment: {why}", "choose another name"
        ) from None
