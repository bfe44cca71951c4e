"""What a shell offers after TAB: commands, options, and names from the spec, through argcomplete.

The shell runs this program with `_ARGCOMPLETE` set; the command `completion` prints what makes it
do so.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from algaenv.cli.commands import ALIASES, COMMANDS
from algaenv.cli.commands.wait import SERVICES
from algaenv.cli.dispatch import command_module
from algaenv.cli.parser import add_file, add_output, add_runtime

ASKED = "_ARGCOMPLETE"
"""The variable that a shell sets."""

Completer = Callable[..., Iterable[str]]


def complete(environ: Mapping[str, str]) -> NoReturn:
    """Answer the shell, and end the process. Nothing is printed where something is wrong."""
    import argcomplete

    words = environ.get("COMP_LINE", "").split()
    argcomplete.autocomplete(_parser(words), always_complete_options=False)
    # Reached only where the shell's request is none.
    os._exit(1)


def _parser(words: Iterable[str]) -> argparse.ArgumentParser:
    """All commands, with the options of the one on the line."""
    parser = argparse.ArgumentParser("algaenv", add_help=False)
    for add in (add_file, add_runtime, add_output):
        add(parser)
    commands = parser.add_subparsers(dest="command")
    on_the_line = set(words)
    for name, summary in (*COMMANDS, *((alias, "") for alias in ALIASES)):
        made = commands.add_parser(name, help=summary or None, add_help=False)
        if name in on_the_line:
            command_module(ALIASES.get(name, name)).add_options(made)
            for action in made._actions:
                _set_completer(action)
    return parser


def _set_completer(action: argparse.Action) -> None:
    completers: dict[str, Completer] = {
        "EXT": _extensions,
        "EXTENSION": _extensions,
        "SERVICE": _services,
        "SERVICE|EXT": _either,
        "SUBJECT": _subjects,
        "ACTION": _actions,
        "SNAPSHOT": _snapshots,
        "TASK": _tasks,
        "PIN": _pins,
    }
    positional = not action.option_strings
    key = "SERVICE|EXT" if positional and action.dest == "names" else str(action.metavar)
    key = "PIN" if action.dest == "update" else key
    if (found := completers.get(key)) and action.choices is None:
        action.completer = found  # type: ignore[attr-defined]


def _services(parsed_args: argparse.Namespace | None = None, **_: Any) -> Iterable[str]:
    return (*SERVICES, *_named(parsed_args, "services"))


def _extensions(parsed_args: argparse.Namespace | None = None, **_: Any) -> Iterable[str]:
    return _named(parsed_args, "extensions")


def _tasks(parsed_args: argparse.Namespace | None = None, **_: Any) -> Iterable[str]:
    return _named(parsed_args, "tasks")


def _named(parsed_args: argparse.Namespace | None, section: str) -> Iterable[str]:
    from algaenv.model.problem import AlgaenvError
    from algaenv.spec.provenance import extension_names

    spec = _spec(parsed_args)
    try:
        return sorted(extension_names(spec, os.environ, section)) if spec is not None else ()
    except (AlgaenvError, OSError):
        return ()


def _spec(parsed_args: argparse.Namespace | None) -> Path | None:
    """The spec that the line names, or that is found from here."""
    from algaenv.spec.paths import find_spec

    named = getattr(parsed_args, "file", None) or os.environ.get("ALGAENV_FILE")
    spec = Path(named).absolute() if named else find_spec(Path.cwd())
    return spec / "algaenv.yaml" if spec is not None and spec.is_dir() else spec


def _pins(parsed_args: argparse.Namespace | None = None, **_: Any) -> Iterable[str]:
    """What the lock file names."""
    from algaenv.model.pins import names_of
    from algaenv.model.problem import AlgaenvError
    from algaenv.spec import lock_file

    spec = _spec(parsed_args)
    try:
        pins = lock_file.read(spec) if spec is not None else None
    except (AlgaenvError, OSError):
        return ()
    return names_of([pins]) if pins is not None else ()


def _actions(**_: Any) -> Iterable[str]:
    from algaenv.cli.commands.snapshot import ACTIONS

    return ACTIONS


def _snapshots(parsed_args: argparse.Namespace | None = None, **_: Any) -> Iterable[str]:
    """Those of the environment of the spec."""
    from algaenv.drivers.snapshots.directory import SnapshotDirectory
    from algaenv.drivers.state.state_dir import identify
    from algaenv.model.problem import AlgaenvError

    spec = _spec(parsed_args)
    if spec is None or getattr(parsed_args, "action", None) == "save":
        return ()
    try:
        return [it.name for it in SnapshotDirectory(identify(spec, "")).list()]
    except (AlgaenvError, OSError):
        return ()


def _either(**given: Any) -> Iterable[str]:
    return (*_services(**given), *_extensions(**given))


def _subjects(**given: Any) -> Iterable[str]:
    from algaenv.problems import load_problem_codes

    codes = {code.code for codes in load_problem_codes().values() for code in codes}
    return (*_extensions(**given), *sorted(codes))
