"""The command `call`: run a handler of an extension, as its page would."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from algaenv.surface.cli.grammar import UsageError
from algaenv.surface.cli.options import add_file, add_output
from algaenv.surface.exit_codes import ExitCode

if TYPE_CHECKING:
    from algaenv.surface.calling import Answer, Asked
    from algaenv.surface.cli.commandline import Call

USAGE = "EXT [METHOD] PATH [options]"
DESCRIPTION = (
    "Call a handler of an extension through the gateway's `/api/ext-proxy/`, by the rules that "
    "hold for its page. The body of the answer goes to stdout, its status and time to stderr; "
    "when it failed, also the reason, which the app server would keep to itself."
)
EXAMPLES = (
    ("algaenv call hello /api/status", "GET an endpoint of the extension called hello."),
    ("algaenv call notes POST /api/notes -d @note.json", "Send the content of a file."),
    ("algaenv call notes /api/notes --user client | jq .", "As the user of the client portal."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    parser.add_argument(
        "extension",
        metavar="EXT",
        help="the extension: its name in the spec, its registry or install id, or publisher.name",
    )
    parser.add_argument(
        "method", metavar="METHOD", nargs="?", help="default: GET, with a body POST"
    )
    parser.add_argument("path", metavar="PATH", help="the endpoint, with its query")
    parser.add_argument(
        "-d",
        "--data",
        metavar="BODY",
        help="the body; @FILE takes it from a file, @- from standard input",
    )
    parser.add_argument(
        "--user", metavar="NAME", help="who asks, one of gateway.users (default: the first)"
    )
    add_file(parser)
    add_output(parser)


def run(call: Call) -> ExitCode:
    """Ask, and show what came back."""
    from algaenv.surface.calling import ask

    asked = _asked(call)
    request = call.request(call.spec())
    reach = call.session(request).reach(request, call.options.extension)
    answer = ask(reach, asked)
    if call.json:
        from algaenv.surface.shapes import of_answer

        call.answer_json(of_answer(call.options.extension, asked, answer))
    else:
        _show(call, answer)
    return ExitCode.CALL if answer.failed else ExitCode.DONE


def _asked(call: Call) -> Asked:
    from algaenv.surface.calling import METHODS, Asked

    options = call.options
    body = _body(options.data)
    method = (options.method or ("GET" if body is None else "POST")).upper()
    if options.method is None and options.path.upper() in METHODS:
        raise UsageError(
            f"cannot call {options.extension} without a path", "write the endpoint after the method"
        )
    if method not in METHODS:
        raise UsageError(
            f"cannot use the method {options.method!r}", f"choose one of {', '.join(METHODS)}"
        )
    return Asked(method, options.path, body, options.user)


def _body(data: str | None) -> bytes | None:
    if data is None:
        return None
    if not data.startswith("@"):
        return data.encode()
    try:
        return sys.stdin.buffer.read() if data == "@-" else Path(data[1:]).read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read the body from {data[1:]}: {error.strerror}", "correct the path after @"
        ) from None


def _show(call: Call, answer: Answer) -> None:
    from algaenv.surface.answer_text import answer_text
    from algaenv.surface.visible import visible_text

    call.say(answer_text(answer, call.terminal.err_paint) + "\n")
    if text := visible_text(answer.body.decode(errors="replace")):
        call.answer(text if text.endswith("\n") else text + "\n")
