"""The command `call`: call a handler of an extension through the gateway."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import UsageError, add_extension, add_file, add_output, header_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.gateway_client import GatewayRequest, GatewayResponse
    from algaenv.cli.invocation import Invocation
    from algaenv.cli.output.terminal import Paint

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
    """Declare the arguments."""
    add_extension(parser)
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
        "--user",
        metavar="NAME",
        type=header_value,
        help="who asks, one of gateway.users (default: the first)",
    )
    add_file(parser)
    add_output(parser)


def run(invocation: Invocation) -> ExitCode:
    """Send the call, then print the response."""
    from algaenv.cli.gateway_client import send_request

    call = _gateway_request(invocation)
    request = invocation.request(invocation.spec())
    extension = invocation.options.extension
    endpoint = invocation.application(request).endpoint_of(request, extension)
    response = send_request(endpoint, call)
    if invocation.json:
        from algaenv.cli.output.json import response_to_json

        invocation.print_json(response_to_json(extension, call, response))
    else:
        _print_response(invocation, response)
    return ExitCode.CALL if response.failed else ExitCode.DONE


def _gateway_request(invocation: Invocation) -> GatewayRequest:
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
        # Bytes of the shell that are no UTF-8 are sent as they are.
        return data.encode(errors="surrogateescape")
    try:
        return sys.stdin.buffer.read() if data == "@-" else Path(data[1:]).read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read the body from {data[1:]}: {error.strerror}", "correct the path after @"
        ) from None


def _print_response(invocation: Invocation, response: GatewayResponse) -> None:
    from algaenv.cli.output.escape import escape_text

    invocation.print_message(response_text(response, invocation.terminal.err_paint) + "\n")
    if text := escape_text(response.body.decode(errors="replace")):
        invocation.print_result(text if text.endswith("\n") else text + "\n")


def response_text(response: GatewayResponse, paint: Paint) -> str:
    """Status and time in one line, `200 OK  12 ms`; the reported error in further lines."""
    from algaenv.cli.output.escape import escape_controls

    reported = response.error
    response = escape_controls(response)
    style = "red" if response.failed else "green"
    head = f"{response.status} {response.phrase}".rstrip()
    times = f"{response.ms:g} ms"
    if runner := response.headers.get("x-algaenv-runner-ms"):
        times += f", {runner} ms of it in the runner"
    lines = [f"{paint(head, style, 'bold')}  {paint(times, 'dim')}"]
    if fault := response.headers.get("x-algaenv-product-fault"):
        lines.append(f"  {paint('product fault:', 'yellow')} {fault}")
    if reported and (error := escape_controls(reported)):
        # A backtrace has several lines; the mark tells them from lines of algaenv.
        first, *further = escape_controls(reported.summary.split("\n"))
        lines.append(f"  {paint(first, 'red')}")
        lines += [f"    | {line}" for line in further]
        lines += [f"  reason: {error.reason}"] if error.reason else []
        lines += [f"  last host call: {error.host_call}"] if error.host_call else []
        lines += [f"  stderr: {line}" for line in error.stderr]
        lines += [f"  hint: {error.hint}"] if error.hint else []
    return "\n".join(lines)
