"""Argument parsing on argparse: strict options, errors with suggestions, formatted help.

Nothing heavy may be imported here, or `--help` becomes slow; `typing` and `shutil` count as heavy.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

WIDEST = 96
NARROWEST = 40
_NO_TERMINAL = 80
_USAGE = "usage: "
"""The prefix that argparse writes."""

Pairs = tuple[tuple[str, str], ...]
"""Terms with their meanings: commands, or whole command lines."""


class UsageError(Exception):
    """The command line is wrong. `summary` says what cannot be done, `hint` what to do instead."""

    def __init__(self, summary: str, hint: str) -> None:
        self.summary = summary
        self.hint = hint
        super().__init__(f"{summary} ({hint})")


class CommandParser(argparse.ArgumentParser):
    """A parser that raises UsageError, never abbreviates, and shows commands and examples."""

    def __init__(
        self, prog: str, *, usage: str, description: str, examples: Pairs, commands: Pairs = ()
    ) -> None:
        super().__init__(
            prog=prog,
            usage=_wrapped_usage(f"{prog} {usage}"),
            description=description,
            formatter_class=lambda prog: argparse.HelpFormatter(
                prog, max_help_position=28, width=text_width()
            ),
            allow_abbrev=False,
            exit_on_error=False,
            add_help=False,
        )
        self._examples = examples
        self._commands = commands

    def error(self, message: str) -> NoReturn:
        """Raise an error of argparse as UsageError."""
        raise UsageError(f"cannot read the command line: {message}", self._look_up())

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options in `arguments`; raises UsageError."""
        try:
            # Intermixed: an option may stand between two arguments that need not both be there.
            parse = (
                self.parse_known_args if self._takes_rest() else self.parse_known_intermixed_args
            )
            options, unknown = parse(arguments)
        except argparse.ArgumentError as error:
            name = error.argument_name or "the command line"
            raise UsageError(f"cannot use {name}: {error.message}", self._look_up()) from None
        if unknown:
            raise self._unknown(unknown[0])
        return options

    def _takes_rest(self) -> bool:
        return any(action.nargs == argparse.REMAINDER for action in self._actions)

    def format_help(self) -> str:
        """The help: usage, description, commands, options, examples."""
        head, body = self._get_formatter(), self._get_formatter()
        head.add_usage(self.usage, self._actions, [])
        head.add_text(self.description)
        for group in self._action_groups:
            body.start_section(group.title)
            body.add_arguments(group._group_actions)
            body.end_section()
        parts = (
            head.format_help(),
            _listed("commands", self._commands, beside=True),
            body.format_help(),
            _listed("examples", self._examples, beside=False),
        )
        return "\n".join(part for part in parts if part)

    def option_names(self) -> tuple[str, ...]:
        """Every spelling of every option."""
        return tuple(name for action in self._actions for name in action.option_strings)

    def _unknown(self, word: str) -> UsageError:
        name = word.partition("=")[0]
        if not word.startswith("-"):
            summary = f"cannot use {word!r}: `{self.prog}` takes no argument there"
            return UsageError(summary, self._look_up())
        near = closest_match(
            name, [known for known in self.option_names() if known.startswith("--")]
        )
        return UsageError(
            f"cannot use {name}: `{self.prog}` has no such option",
            f"try `{near}`, or {self._look_up()}" if near else self._look_up(),
        )

    def _look_up(self) -> str:
        return f"run `{self.prog} --help` for what it takes"


def one_of(*choices: str) -> Callable[[str], str]:
    """An argument type that accepts `choices`, and suggests the closest otherwise."""

    def chosen(text: str) -> str:
        if text in choices:
            return text
        near = closest_match(text, choices)
        hint = f"; did you mean {near}?" if near else ""
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(choices)}{hint}")

    return chosen


def utf8(text: str) -> str:
    """An argument type of what goes into a URL or a document: the shell may pass other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8") from None
    return text


def not_a_path(text: str) -> str:
    """An argument type of names, for commands in which `-f` does not name the spec."""
    if "/" in text or text.endswith((".yaml", ".yml")):
        raise argparse.ArgumentTypeError(
            f"{text!r} is a path: name the spec with --file, or with -f before the command"
        )
    return utf8(text)


def header_value(text: str) -> str:
    """An argument type of what is sent as the value of a header."""
    if not (text.isascii() and text.isprintable()):
        raise argparse.ArgumentTypeError(f"{text!r} is not printable ASCII")
    return text


def duration(text: str) -> float:
    """An argument type: `90`, `90s`, `5m`, `1h`, in seconds."""
    return _seconds(text, 86_400, "a day")


def lifetime(text: str) -> float:
    """An argument type of `--ttl`: as a duration, or `7d`; `none` is 0."""
    return 0.0 if text == "none" else _seconds(text, 30 * 86_400, "30 days")


def _seconds(text: str, most: float, most_text: str) -> float:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
    number = text.rstrip("mshd")
    try:
        seconds = float(number) * units.get(text[len(number) :] or "s", 0.0)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= most:
        what = f"no time such as 90s or 5m, up to {most_text}"
        raise argparse.ArgumentTypeError(f"{text!r} is {what}")
    return seconds


def process_id(text: str) -> int:
    """An argument type of `--owner-pid`; `none` is 0."""
    if text == "none":
        return 0
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 31):
        raise argparse.ArgumentTypeError(f"{text!r} is no process id")
    return int(text)


def closest_match(word: str, known: Sequence[str]) -> str | None:
    """The most similar known word; None when none is similar."""
    import difflib

    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), None)


def text_width() -> int:
    """The width of help: COLUMNS, or that of the terminal, within bounds."""
    columns = os.environ.get("COLUMNS", "")
    try:
        width = int(columns) if columns.isdecimal() else os.get_terminal_size(1).columns
    except OSError:
        width = _NO_TERMINAL
    return min(max(width or _NO_TERMINAL, NARROWEST), WIDEST) - 2


def _wrapped_usage(usage: str) -> str:
    width = text_width() - len(_USAGE)
    if len(usage) <= width:  # As most are, on every run.
        return usage
    import textwrap

    return textwrap.fill(usage, width, subsequent_indent=" " * len(_USAGE), break_on_hyphens=False)


def _listed(title: str, pairs: Pairs, *, beside: bool) -> str:
    """Terms with their meanings, wrapped; meanings stand `beside` the terms or below them."""
    if not pairs:
        return ""
    import textwrap

    column = max(len(term) for term, _ in pairs) + 4 if beside else 6
    lines = [f"{title}:"]
    for term, meaning in pairs:
        first = f"  {term}".ljust(column) if beside else " " * column
        lines += [] if beside else [f"  {term}"]
        lines += textwrap.wrap(
            meaning, text_width(), initial_indent=first, subsequent_indent=" " * column
        )
    return "\n".join(lines) + "\n"


# Options that several commands share.


def add_help(parser: argparse.ArgumentParser) -> None:
    """`-h`."""
    parser.add_argument("-h", "--help", action="help", help="show this help and exit")


def add_extensions(parser: argparse.ArgumentParser) -> None:
    """`EXTENSION…`."""
    parser.add_argument(
        "extensions",
        metavar="EXTENSION",
        nargs="*",
        help="work on these extensions of the spec only, and leave the others as they are "
        "(default: all)",
    )


def add_extension(parser: argparse.ArgumentParser) -> None:
    """EXT."""
    parser.add_argument(
        "extension",
        metavar="EXT",
        type=utf8,
        help="the extension: its name in the spec, its registry or install id, or publisher.name",
    )


def add_file(parser: argparse.ArgumentParser, *, short: bool = True) -> None:
    """`--file`, and `-f` unless that means another thing here."""
    parser.add_argument(
        *(("-f",) if short else ()),
        "--file",
        metavar="PATH",
        help="the spec, or the directory that holds algaenv.yaml "
        "(default: ALGAENV_FILE, else algaenv.yaml here or in a directory above)",
    )


def profile(text: str) -> str:
    """An argument type of `--profile`."""
    if not text or "," in text or text != text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no name; give the option once for each")
    return utf8(text)


def add_profile(parser: argparse.ArgumentParser) -> None:
    """`--profile`."""
    parser.add_argument(
        "--profile",
        metavar="NAME",
        action="append",
        type=profile,
        help="count what the spec has of this profile as well; may be given again, '*' means all "
        "(default: ALGAENV_PROFILES, with commas)",
    )


def isolated_name(text: str) -> str:
    """An argument type of `--isolated`."""
    from algaenv.model.isolated import is_isolated_name

    if not is_isolated_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of up to 20 of a-z, 0-9 and -")
    return text


def add_isolated(parser: argparse.ArgumentParser) -> None:
    """`--isolated`."""
    parser.add_argument(
        "--isolated",
        metavar="NAME",
        nargs="?",
        const="isolated",
        type=isolated_name,
        help="the environment NAME of the same spec, beside the one without a name: with a name, "
        "data and free ports of its own (default: ALGAENV_ISOLATED; without NAME: isolated)",
    )


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """`--runtime`."""
    parser.add_argument(
        "--runtime",
        metavar="NAME",
        type=one_of("auto", "docker", "process"),
        help="where the services run, instead of what the spec says: auto, docker or process",
    )


def add_locked(parser: argparse.ArgumentParser) -> None:
    """`--locked`."""
    parser.add_argument(
        "--locked",
        action="store_true",
        help="exit with 2 and change nothing unless the lock file is there, is right for the spec, "
        "and names exactly what would run",
    )


def add_thorough(parser: argparse.ArgumentParser) -> None:
    """`--thorough`."""
    parser.add_argument(
        "--thorough",
        action="store_true",
        help="look into containers as well, as `drift` does: at their generated files, and at "
        "variables that were added",
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    """`--images`."""
    parser.add_argument(
        "--images",
        metavar="HOW",
        type=one_of("auto", "pull", "build"),
        help="where images come from, instead of what the spec says: auto, pull or build",
    )


def add_wait_timeout(parser: argparse.ArgumentParser) -> None:
    """`--wait-timeout`."""
    parser.add_argument(
        "--wait-timeout",
        metavar="TIME",
        type=duration,
        help="give up after so long, such as 90s or 5m, and say what was waited for (default: "
        "never; each service still has the `ready_timeout` of the spec)",
    )


def add_lifetime(parser: argparse.ArgumentParser) -> None:
    """`--owner-pid`, `--ttl` and `--expire-volumes`."""
    group = parser.add_argument_group("the end of the environment")
    group.add_argument(
        "--owner-pid",
        metavar="PID",
        type=process_id,
        help="take it down once this process is gone, however it ends; none: no longer",
    )
    group.add_argument(
        "--ttl",
        metavar="TIME",
        type=lifetime,
        help="take it down after so long, such as 30m or 7d; each `up` begins anew; none: never",
    )
    group.add_argument(
        "--expire-volumes", action="store_true", help="its data goes with it then, without asking"
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """`--json`, `--no-color`, `-q`, `-v`."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print JSON, for programs")
    group.add_argument(
        "--no-color", action="store_true", help="no colour (also by setting NO_COLOR)"
    )
    loudness = group.add_mutually_exclusive_group()
    loudness.add_argument(
        "-q", "--quiet", action="store_true", help="only warnings, errors and the answer itself"
    )
    loudness.add_argument(
        "-v", "--verbose", action="store_true", help="every step, and what each has to say"
    )
