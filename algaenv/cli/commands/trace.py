"""The command `trace`: show what each request does, from the gateway's decision to the answer."""

from __future__ import annotations

import argparse
import time

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import add_file, add_isolated, add_output, not_a_path, utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from queue import Queue

    from algaenv.cli.invocation import CommandInvocation
    from algaenv.dev.gateway_feed import GatewayEvent
    from algaenv.model.secret_mask import SecretMask
    from algaenv.model.status import GatewayAddress
    from algaenv.model.trace import RequestTrace

USAGE = "[EXT] [options]"
DESCRIPTION = (
    "Show requests to handlers as trees: what the gateway decided, the stages in the runner, each "
    "host call with its time and size, what the handler wrote, and the answer. The gateway keeps "
    "its last 1,000 events, about 300 requests."
)
EXAMPLES = (
    ("algaenv trace", "The last 20 requests."),
    ("algaenv trace notes -f", "Requests to the extension notes, as they end."),
    ("algaenv trace --request 3249b16b", "One request; `logs` and `call` show its id."),
    ("algaenv trace --failed --last 5", "The last five that failed."),
    ("algaenv trace -f --json | jq -c .status", "Follow them from a program."),
)
DEFAULT_LAST = 20
_KEPT_LINES = 2_000
_QUIET_SECONDS = 1.0
"""After so long without an event, all that are kept have come."""
_ALL_SECONDS = 10.0
"""For all of them: others may go on to happen."""
_POLL_SECONDS = 0.1
_QUEUE_EVENTS = 1_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "extension",
        metavar="EXT",
        nargs="?",
        type=not_a_path,
        help="only requests to this extension: its name in the spec, or its registry id",
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="show requests as they end, until Ctrl-C"
    )
    parser.add_argument(
        "--last",
        metavar="N",
        type=_count,
        help="of the requests that are kept, so many (default: 20, with --follow 0)",
    )
    parser.add_argument(
        "--request",
        metavar="ID",
        type=utf8,
        default="",
        help="only the request of this id, or whose id begins like this",
    )
    parser.add_argument(
        "--failed", action="store_true", help="only requests with a status of 400 or more"
    )
    add_file(parser, short=False)
    add_isolated(parser)
    add_output(parser)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return int(text)


def run(invocation: CommandInvocation) -> ExitCode:
    """Print the requests; 0 at their end, 130 where Ctrl-C ends it."""
    from algaenv.cli.output.request_trace import request_to_json, request_tree
    from algaenv.cli.output.streams import write_text

    request = invocation.request(invocation.spec())
    application = invocation.application(request)
    gateway = application.gateway_of(request)
    _check(invocation, gateway)
    mask = application.secret_mask(request)
    paint = invocation.terminal.out_paint
    shown = 0
    try:
        for found in _requests(invocation, gateway, mask):
            shown += 1
            text = request_to_json(found) if invocation.json else request_tree(found, paint)
            if not write_text(invocation.terminal.out, text):
                return ExitCode.DONE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    if not shown and not invocation.json:
        invocation.print_message("there are no such requests among those that the gateway keeps\n")
    return ExitCode.DONE


def _check(invocation: CommandInvocation, gateway: GatewayAddress) -> None:
    """Raises Refused for an extension that is not there, NotReady when the gateway is silent."""
    from algaenv.cli.gateway_client import require_gateway
    from algaenv.model.problem import Refused
    from algaenv.reconcile.endpoints import unknown_extension

    name, known = invocation.options.extension, gateway.extensions
    if name is not None and name not in known and name not in known.values():
        raise Refused(unknown_extension(name, tuple(known.values())))
    require_gateway(gateway.url)


def _requests(
    invocation: CommandInvocation, gateway: GatewayAddress, mask: SecretMask
) -> Iterator[RequestTrace]:
    """What is wanted of what is kept, and with `--follow` what comes."""
    from collections import deque
    from queue import Queue

    from algaenv.cli.request_traces import RequestTraces
    from algaenv.dev.gateway_feed import GatewayFeed

    options = invocation.options
    events: Queue[GatewayEvent] = Queue(_QUEUE_EVENTS)
    wanted = _wanted(options, gateway)
    ids = [it for it in gateway.extensions if _is_named(options.extension, it, gateway)]
    traces = RequestTraces(gateway.extensions)
    last = options.last
    if last is None:
        last = 0 if options.follow else DEFAULT_LAST
    feed = GatewayFeed(events.put, _KEPT_LINES)
    feed.follow(gateway.url, ids)
    try:
        for event in _kept(events):
            traces.take(mask.json(event))
        traces.lost = 0
        kept: deque[RequestTrace] = deque(maxlen=last)
        kept.extend(it for it in traces.ended(all_=not options.follow) if wanted(it))
        yield from kept
        while options.follow:
            coming = _next(events, _POLL_SECONDS)
            if coming is not None:
                traces.take(mask.json(coming))
            if traces.lost:
                _tell_lost(invocation, traces.lost)
                traces.lost = 0
            yield from (it for it in traces.ended() if wanted(it))
    finally:
        feed.stop()


def _tell_lost(invocation: CommandInvocation, lost: int) -> None:
    from algaenv.cli.output.streams import write_text

    paint = invocation.terminal.err_paint
    text = f"-- {lost} events of the gateway were lost: requests may be missing here --"
    write_text(invocation.terminal.err, paint(text, "yellow", "bold") + "\n")


def _kept(events: Queue[GatewayEvent]) -> Iterator[GatewayEvent]:
    deadline = time.monotonic() + _ALL_SECONDS
    while time.monotonic() < deadline and (event := _next(events, _QUIET_SECONDS)) is not None:
        yield event


def _next(events: Queue[GatewayEvent], seconds: float) -> GatewayEvent | None:
    from queue import Empty

    try:
        return events.get(timeout=seconds)
    except Empty:
        return None


def _wanted(options: argparse.Namespace, gateway: GatewayAddress) -> Callable[[RequestTrace], bool]:
    name = gateway.extensions.get(options.extension, options.extension)

    def wanted(request: RequestTrace) -> bool:
        return (
            (name is None or request.extension == name)
            and request.request_id.startswith(options.request)
            and (request.failed or not options.failed)
        )

    return wanted


def _is_named(name: str | None, id_: str, gateway: GatewayAddress) -> bool:
    return name is None or name in (id_, gateway.extensions[id_])
