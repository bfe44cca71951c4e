"""The command `logs`: show what services and handlers write, merged by time."""

from __future__ import annotations

import argparse
import re

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import add_file, add_isolated, add_output, add_runtime, not_a_path, utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation

USAGE = "[SERVICE|EXT ...] [options]"
DESCRIPTION = (
    "Show the logs of the services and what handlers write, merged by time. A service is store, "
    "redis, database, runner or gateway; an extension is named as in the spec, and stands for what "
    "its handlers write and for its requests. What belongs to one request has the first eight "
    "characters of its id in brackets. Secrets of the environment are shown as ***."
)
EXAMPLES = (
    ("algaenv logs", "The last 200 lines of everything."),
    ("algaenv logs notes -f", "What the extension notes does, as it happens."),
    ("algaenv logs runner gateway --since 10m --grep error", "Lines of two services."),
    ("algaenv logs --request 3249b16b", "All that belongs to one request."),
)
DEFAULT_TAIL = 200
_DURATION = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?")
_WIDTH = len("database")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "names",
        metavar="SERVICE|EXT",
        nargs="*",
        type=not_a_path,
        help="a service, or an extension of the spec (default: all)",
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C"
    )
    parser.add_argument(
        "--since",
        metavar="WHEN",
        type=moment,
        help="only what came after: 10m, 1h30m, 2d ago, or a time such as 2026-11-30T18:57:00Z",
    )
    parser.add_argument(
        "--tail",
        metavar="N",
        type=tail,
        help="of what is there, so many lines, or all (default: 200, and all with --since, "
        "--grep or --request)",
    )
    parser.add_argument(
        "--grep",
        metavar="REGEX",
        type=pattern,
        default="",
        help="only lines in which this regular expression is found; (?i) at its begin ignores case",
    )
    parser.add_argument(
        "--request",
        metavar="ID",
        type=utf8,
        default="",
        help="only what belongs to the request of this id, or whose id begins like this",
    )
    add_file(parser, short=False)
    add_isolated(parser)
    add_runtime(parser)
    add_output(parser)


def moment(text: str) -> float:
    """An argument type: Unix time of `10m`, which is ten minutes ago, or of an ISO 8601 text."""
    import time
    from datetime import datetime

    if text and (match := _DURATION.fullmatch(text)):
        amounts = zip(match.groups(), (86_400, 3_600, 60, 1), strict=True)
        return time.time() - sum(int(amount) * unit for amount, unit in amounts if amount)
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a time such as 2026-11-30T18:57:00Z nor one ago such as 10m"
        ) from None


def tail(text: str) -> int | None:
    """An argument type: a number of lines, or `all`, which is -1."""
    if text == "all":
        return -1
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines, and not `all`")
    return int(text)


def pattern(text: str) -> str:
    """An argument type: a regular expression."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None
    return text


def run(invocation: CommandInvocation) -> ExitCode:
    """Print the entries; 0 at their end, 130 where Ctrl-C ends it."""
    from algaenv.cli.output.log_lines import LogLines, entry_to_json
    from algaenv.cli.output.streams import write_text
    from algaenv.model.log import LogQuery

    options = invocation.options
    last = options.tail
    if last is None and not (options.since is not None or options.grep or options.request):
        last = DEFAULT_TAIL
    query = LogQuery(
        names=tuple(dict.fromkeys(options.names)),
        since=options.since,
        last=None if last is None or last < 0 else last,
        pattern=options.grep,
        request_id=options.request,
        follow=options.follow,
    )
    request = invocation.request(invocation.spec())
    entries = invocation.application(request).logs(request, query, lambda: False)
    lines = LogLines(invocation.terminal.out_paint, _WIDTH)
    shown = 0
    try:
        for entry in entries:
            if not (invocation.json or entry.message.strip()):
                continue  # Banners have lines without text.
            shown += 1
            text = entry_to_json(entry) if invocation.json else lines.line(entry)
            if not write_text(invocation.terminal.out, text):
                return ExitCode.DONE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    if not shown and not invocation.json:
        invocation.print_message("there are no such lines\n")
    return ExitCode.DONE
