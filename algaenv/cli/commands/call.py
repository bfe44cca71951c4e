"""The command `call`: call a handler of an extension through the gateway."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import (
    UsageError,
    add_extension,
    add_file,
    add_isolated,
    add_output,
    header_value,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.gateway_client import GatewayRequest, GatewayResponse
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.cli.output.terminal import Paint
    from algaenv.model.status import ExtensionEndpoint
    from algaenv.model.trace import CallTrace

USAGE = "EXT [METHOD] PATH [options]"
DESCRIPTION = (
    "Call a handler of an extension through the gateway's `/api/ext-proxy/`, by the rules that "
    "hold for its page. The body of the answer goes to stdout, its status and time to stderr; "
    "when it failed, also the reason, which the app server would keep to itself, and what the call "
    "did: its host calls and the lines that the handler wrote. `--verbose` shows those of any call."
)
EXAMPLES = (
    ("algaenv call hello /api/status", "GET an endpoint of the extension called hello."),
    ("algaenv call notes POST /api/notes -d @note.json", "Send the content of a file."),
    ("algaenv call notes /api/notes --user client | jq .", "As the user of the client portal."),
    ("algaenv call notes /api/notes -v", "With the host calls and the lines of the handler."),
    ("algaenv call notes /api/notes --repeat 100", "How long it takes: p50, p95, longest."),
    ("algaenv call notes /api/notes --record notes.json", "Keep it for `replay`."),
)
_MOST_DIGITS = 6


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
        help="the body; @FILE takes it from a file, @- or - from standard input",
    )
    parser.add_argument(
        "--user",
        metavar="NAME",
        type=header_value,
        help="who asks, one of gateway.users (default: the first)",
    )
    parser.add_argument(
        "--repeat",
        metavar="N",
        type=_count,
        default=1,
        help="make the call so many times, one after the other, and print a summary of statuses "
        "and times instead of the bodies",
    )
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="keep the call and its answer in this file, for `replay`",
    )
    add_file(parser)
    add_isolated(parser)
    add_output(parser)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:_MOST_DIGITS]) > 0 and len(text) < 7):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 999999")
    return int(text)


def run(invocation: CommandInvocation) -> ExitCode:
    """Send the call, then print the response."""
    from algaenv.cli.gateway_client import send_request

    call = _gateway_request(invocation)
    options = invocation.options
    if options.record and options.repeat > 1:
        raise UsageError("cannot record a call that is repeated", "leave out --repeat or --record")
    if options.record:
        from algaenv.cli.recording import check_target

        check_target(Path(options.record))
    request = invocation.request(invocation.spec())
    extension = options.extension
    application = invocation.application(request)
    endpoint = application.endpoint_of(request, extension)
    if options.repeat > 1:
        return _repeat(invocation, endpoint, call)
    began = time.time()
    response = send_request(endpoint, call)
    trace = _trace(invocation, endpoint, response, began)
    if options.record:
        from algaenv.cli.recording import write_recording

        mask = application.secret_mask(request)
        write_recording(Path(options.record), (extension, endpoint), call, response, mask)
    if invocation.json:
        from algaenv.cli.output.json import response_to_json

        invocation.print_json(response_to_json(extension, call, response, trace))
    else:
        _print_response(invocation, response, trace)
    return ExitCode.CALL if response.failed else ExitCode.DONE


def _trace(
    invocation: CommandInvocation,
    endpoint: ExtensionEndpoint,
    response: GatewayResponse,
    began: float,
) -> CallTrace | None:
    """What the call did, where that is shown, with the lines of its guest."""
    from algaenv.cli.gateway_client import read_guest_lines

    trace = response.trace
    if trace is None or not (invocation.verbose or response.failed):
        return trace
    request_id = response.headers.get("x-algaenv-request-id", "")
    return read_guest_lines(endpoint, trace, request_id, began)


def _repeat(
    invocation: CommandInvocation, endpoint: ExtensionEndpoint, call: GatewayRequest
) -> ExitCode:
    """The same call again and again; an interrupt ends it, and what was measured is shown."""
    from algaenv.cli.gateway_client import send_request
    from algaenv.cli.output.call_summary import CallSummary

    summary = CallSummary(invocation.options.repeat)
    shown = False
    interrupted = False
    try:
        for _ in range(invocation.options.repeat):
            began = time.time()
            response = send_request(endpoint, call)
            summary.add(response)
            if not invocation.json and invocation.terminal.live and not invocation.quiet:
                invocation.print_message(f"\r{summary.progress}")
            if response.failed and not shown and not invocation.json:
                # The first one only: the others fail alike, most of the time.
                shown = True
                trace = _trace(invocation, endpoint, response, began)
                invocation.print_message("\r" if invocation.terminal.live else "")
                text = response_text(response, invocation.terminal.err_paint, trace)
                invocation.print_message(text + "\n")
    except KeyboardInterrupt:
        interrupted = True
    if invocation.terminal.live and not invocation.json:
        invocation.print_message("\n")
    if invocation.json:
        from algaenv.cli.output.json import VERSION

        head = {"version": VERSION, "extension": invocation.options.extension}
        called: dict[str, object] = {"method": call.method, "path": call.path}
        invocation.print_json({**head, **called, **summary.to_json()})
    else:
        invocation.print_result(summary.text(invocation.terminal.out_paint))
    if interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.CALL if summary.failed else ExitCode.DONE


def _gateway_request(invocation: CommandInvocation) -> GatewayRequest:
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
    return GatewayRequest(method, options.path, body, options.user, traced=True)


def _body(data: str | None) -> bytes | None:
    if data is None:
        return None
    if not data.startswith("@") and data != "-":
        # Bytes of the shell that are no UTF-8 are sent as they are.
        return data.encode(errors="surrogateescape")
    try:
        return sys.stdin.buffer.read() if data in ("@-", "-") else Path(data[1:]).read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read the body from {data[1:]}: {error.strerror}", "correct the path after @"
        ) from None


def _print_response(
    invocation: CommandInvocation, response: GatewayResponse, trace: CallTrace | None
) -> None:
    from algaenv.cli.output.escape import escape_text

    shown = trace if invocation.verbose or response.failed else None
    text = response_text(response, invocation.terminal.err_paint, shown)
    invocation.print_message(text + "\n")
    if invocation.verbose and trace is None:
        invocation.print_message("  its runner does not tell what the call did\n")
    if text := escape_text(response.body.decode(errors="replace")):
        invocation.print_result(text if text.endswith("\n") else text + "\n")


def response_text(response: GatewayResponse, paint: Paint, trace: CallTrace | None = None) -> str:
    """Status and time in one line, `200 OK  12 ms`; the reported error in further lines.

    `trace` is shown below: the request id, the stages, the host calls and the lines of the guest.
    """
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
        shown = trace is not None and trace.guest_lines
        lines += [] if shown else [f"  stderr: {line}" for line in error.stderr]
        lines += [f"  hint: {error.hint}"] if error.hint else []
    if trace is not None:
        from algaenv.cli.output.trace import stages_text, steps_text

        id_ = response.headers.get("x-algaenv-request-id", "")
        lines.append(f"  request {id_}")
        lines += [f"  {paint(f'runner: {stages_text(trace)}', 'dim')}"] if trace.times else []
        lines += steps_text(trace, paint)
    return "\n".join(lines)
