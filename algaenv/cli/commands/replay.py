"""The command `replay`: make a recorded call again, and show where the answer differs."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import UsageError, add_file, add_isolated, add_output, header_value, utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.gateway_client import GatewayResponse
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.model.comparison import Answer, ComparedCall, Recording
    from algaenv.model.secret_mask import SecretMask
    from algaenv.model.status import ExtensionEndpoint
    from algaenv.model.trace import CallTrace

USAGE = "RECORDING [options]"
DESCRIPTION = (
    "Make a call again that `call --record` has kept, and compare the answer with the one "
    "that was given then: status, headers, and the body, JSON value by value. What differs from "
    "call to call anyway (ids, times, durations) is not compared; `compare` has the same rules."
)
EXAMPLES = (
    ("algaenv replay notes.json", "Exit code 0: the same answer. 2: another one."),
    ("algaenv replay notes.json --ignore body:/items/*/rank", "Leave out a part of the body."),
    ("algaenv replay notes.json -v", "With the host calls and the lines of the handler."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("recording", metavar="RECORDING", help="a file of `call --record`")
    parser.add_argument(
        "--extension",
        metavar="EXT",
        type=utf8,
        help="call this extension (default: the one of the recording)",
    )
    parser.add_argument(
        "--user",
        metavar="NAME",
        type=header_value,
        help="who asks, one of gateway.users (default: who asked then)",
    )
    parser.add_argument(
        "--ignore",
        metavar="WHAT",
        action="append",
        default=[],
        help="do not compare status, headers, header:NAME, body, body:/POINTER or host-call; "
        "may be repeated",
    )
    add_file(parser)
    add_isolated(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Make the call, then print what differs."""
    from algaenv.cli.gateway_client import GatewayRequest, read_guest_lines, send_request
    from algaenv.comparison.differences import compare_answers
    from algaenv.comparison.volatile import IgnoreRules
    from algaenv.spec.recordings import read_recording

    options = invocation.options
    _check_rules(options)
    recording = read_recording(Path(options.recording))
    extension = options.extension or recording.extension
    request = invocation.request(invocation.spec())
    application = invocation.application(request)
    endpoint = application.endpoint_of(request, extension)
    call = recording.call
    user = options.user or call.user
    sent = GatewayRequest(call.method, call.path, call.body, user, traced=True)
    began = time.time()
    response = send_request(endpoint, sent)
    trace = response.trace
    if trace is not None and invocation.verbose:
        request_id = response.headers.get("x-algaenv-request-id", "")
        trace = read_guest_lines(endpoint, trace, request_id, began)
    answer = _masked_answer(response, application.secret_mask(request))
    compared = compare_answers(call, recording.answer, answer, IgnoreRules.of(options.ignore))
    if invocation.json:
        invocation.print_json(_to_json(extension, recording, endpoint, compared, trace))
    else:
        _print(invocation, recording, endpoint, compared, trace)
    return ExitCode.DIFFERENCES if compared.differences else ExitCode.DONE


def _check_rules(options: argparse.Namespace) -> None:
    from algaenv.comparison.volatile import rule_problem

    wrong = {rule: rule_problem(rule) for rule in options.ignore}
    if found := [f"{rule!r} ({why})" for rule, why in wrong.items() if why]:
        raise UsageError(
            f"cannot ignore {', '.join(found)}",
            "write `--ignore header:NAME` or `--ignore body:/POINTER`, say",
        )


def _masked_answer(response: GatewayResponse, mask: SecretMask) -> Answer:
    """The answer as a recording of it would hold it."""
    from algaenv.cli.recording import answer_headers
    from algaenv.model.comparison import Answer

    headers = mask.json(answer_headers(response.headers))
    return Answer(response.status, headers, mask.bytes(response.body), response.ms)


def _print(
    invocation: CommandInvocation,
    recording: Recording,
    endpoint: ExtensionEndpoint,
    compared: ComparedCall,
    trace: CallTrace | None,
) -> None:
    from algaenv.cli.output.comparison import MOST_SHOWN, difference_line
    from algaenv.cli.output.escape import escape_controls
    from algaenv.cli.output.trace import steps_text

    paint, err_paint = invocation.terminal.out_paint, invocation.terminal.err_paint
    call, then, now = compared.call, compared.here, compared.there
    for remark in _remarks(recording, endpoint):
        invocation.print_message(f"{err_paint('note:', 'yellow')} {escape_controls(remark)}\n")
    if trace is not None and invocation.verbose:
        lines = steps_text(trace, err_paint)
        invocation.print_message("".join(f"{line}\n" for line in lines))
    word, style = ("differs", "red") if compared.differences else ("same", "green")
    title = escape_controls(f"{call.method} {call.path}")
    times = f"{then.ms:g} ms then, {now.ms:g} ms now"
    shown = [f"{paint(word, style, 'bold')}  {title}  {now.status}  {paint(times, 'dim')}"]
    shown += [
        f"    {escape_controls(difference_line(each))}"
        for each in compared.differences[:MOST_SHOWN]
    ]
    if (more := len(compared.differences) - MOST_SHOWN) > 0:
        shown.append(f"    and {more} more")
    invocation.print_result("".join(f"{line}\n" for line in shown))


def _remarks(recording: Recording, endpoint: ExtensionEndpoint) -> list[str]:
    """What else is not as it was."""
    found = []
    before, after = recording.content_hash, endpoint.content_hash
    if before and after and before != after:
        versions = f"version {recording.version}, now {endpoint.version}"
        found.append(f"the bundle is another one than then ({versions})")
    if recording.masked:
        found.append("the call held secrets, which are not in the recording: `***` is sent")
    return found


def _to_json(
    extension: str,
    recording: Recording,
    endpoint: ExtensionEndpoint,
    compared: ComparedCall,
    trace: CallTrace | None,
) -> dict[str, object]:
    from algaenv.cli.output.json import VERSION, compared_call_to_json
    from algaenv.cli.output.trace import trace_to_json

    one = compared_call_to_json(compared)
    document: dict[str, object] = {
        "version": VERSION,
        "extension": extension,
        "recorded": recording.recorded,
        "same": not compared.differences,
        "manifest_version": [recording.version, endpoint.version],
        "content_hash": [recording.content_hash, endpoint.content_hash],
        "masked": recording.masked,
        "call": one,
    }
    if trace is not None:
        document["trace"] = trace_to_json(trace)
    return document
