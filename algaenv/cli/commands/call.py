"""The command `call`: run a handler of an extension, as its page would."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.output.escape import escape_controls
from algaenv.cli.output.terminal import PLAIN, Paint
from algaenv.cli.parser import UsageError, add_file, add_output

if TYPE_CHECKING:
    from algaenv.cli.gateway_client import GatewayRequest, GatewayResponse
    from algaenv.cli.invocation import Invocation


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


def run(invocation: Invocation) -> ExitCode:
    """Ask, and show what came back."""
    from algaenv.cli.gateway_client import send_request

    asked = _asked(invocation)
    request = invocation.request(invocation.spec())
    endpoint_of = invocation.session(request).endpoint_of(request, invocation.options.extension)
    answer = send_request(endpoint_of, asked)
    if invocation.json:
        from algaenv.cli.output.json import response_to_json

        invocation.answer_json(response_to_json(invocation.options.extension, asked, answer))
    else:
        _show(invocation, answer)
    return ExitCode.CALL if answer.failed else ExitCode.DONE


def _asked(invocation: Invocation) -> GatewayRequest:
    from algaenv.cli.gateway_client import METHODS, GatewayRequest

    options = invocation.options
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
    return GatewayRequest(method, options.path, body, options.user)


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


def _show(invocation: Invocation, answer: GatewayResponse) -> None:
    from algaenv.cli.output.escape import escape_text

    invocation.say(response_text(answer, invocation.terminal.err_paint) + "\n")
    if text := escape_text(answer.body.decode(errors="replace")):
        invocation.answer(text if text.endswith("\n") else text + "\n")


# MERGED answer_text: What is told of a call beside its body: `200 OK  12 ms`, and why it failed.


def response_text(answer: GatewayResponse, paint: Paint = PLAIN) -> str:
    """One line, and some more when something is wrong."""
    told = answer.trouble
    answer = escape_controls(answer)
    style = "red" if answer.failed else "green"
    head = f"{answer.status} {answer.phrase}".rstrip()
    times = f"{answer.ms:g} ms"
    if runner := answer.headers.get("x-algaenv-runner-ms"):
        times += f", {runner} ms of it in the runner"
    lines = [f"{paint(head, style, 'bold')}  {paint(times, 'dim')}"]
    if fault := answer.headers.get("x-algaenv-product-fault"):
        lines.append(f"  {paint('product fault:', 'yellow')} {fault}")
    if told and (trouble := escape_controls(told)):
        # A backtrace has lines of its own; the mark keeps them from passing for lines of ours.
        first, *further = escape_controls(told.summary.split("\n"))
        lines.append(f"  {paint(first, 'red')}")
        lines += [f"    | {line}" for line in further]
        lines += [f"  reason: {trouble.reason}"] if trouble.reason else []
        lines += [f"  last host call: {trouble.host_call}"] if trouble.host_call else []
        lines += [f"  stderr: {line}" for line in trouble.stderr]
        lines += [f"  hint: {trouble.hint}"] if trouble.hint else []
    return "\n".join(lines)
