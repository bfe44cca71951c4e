"""The command `compare`: put the same calls to two gateways, and show where they differ."""

from __future__ import annotations

import argparse
from pathlib import Path

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import (
    UsageError,
    add_extension,
    add_file,
    add_isolated,
    add_output,
    header_value,
    utf8,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from algaenv.cli.invocation import CommandInvocation
    from algaenv.model.comparison import Answer, Call, CallList, ComparedCall
    from algaenv.model.problem import Problem
    from algaenv.model.status import ExtensionEndpoint

USAGE = "EXT --with URL [options]"
DESCRIPTION = (
    "Put the same calls to the gateway of this environment and to another target, and show where "
    "the answers differ: status, headers, body, and the last host call where both tell it. Times "
    "are shown and are never a difference. Ids, times and durations in the answers are not "
    "compared. Without a file of calls, the endpoints are called that the manifest declares for "
    "GET without parameters."
)
EXAMPLES = (
    ("algaenv compare hello --with http://localhost:3000", "The declared GETs, of an app server."),
    ("algaenv compare hello --with http://localhost:3071 --calls calls.yaml", "Calls of a file."),
    (
        "algaenv compare hello --with http://localhost:3071 --recorded --ignore header:etag",
        "The reads that the gateway has lately been asked for.",
    ),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_extension(parser)
    parser.add_argument(
        "--with",
        dest="other",
        metavar="URL",
        required=True,
        help="the other target: a gateway, or an app server of Alga's",
    )
    parser.add_argument(
        "--calls",
        metavar="PATH",
        help="a file of calls, YAML or JSON; those that write are put to both targets",
    )
    parser.add_argument(
        "--recorded",
        action="store_true",
        help="the calls of GET and HEAD that the gateway of this environment has kept",
    )
    parser.add_argument(
        "--ignore",
        metavar="WHAT",
        action="append",
        default=[],
        help="do not compare status, headers, header:NAME, body, body:/POINTER or host-call; "
        "may be repeated",
    )
    parser.add_argument(
        "--direct",
        action="store_true",
        help="call through /api/ext/ instead of /api/ext-proxy/",
    )
    parser.add_argument(
        "--user", metavar="NAME", type=header_value, help="who asks, one of gateway.users"
    )
    parser.add_argument(
        "--other-extension",
        metavar="ID",
        type=utf8,
        help="what the other target calls the extension (default: the registry id here)",
    )
    parser.add_argument(
        "--other-header",
        metavar="HEADER",
        action="append",
        default=[],
        help="a header for the other target only, such as 'cookie: …'; @FILE takes lines from a "
        "file; may be repeated",
    )
    add_file(parser)
    add_isolated(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Put the calls to both, then print what differs."""
    from algaenv.comparison.differences import compare_answers
    from algaenv.comparison.volatile import IgnoreRules

    options = invocation.options
    _check_options(options)
    url, headers = _url(options.other), _headers(options.other_header)
    listed = _calls_of_file(options)
    request = invocation.request(invocation.spec())
    here = invocation.application(request).endpoint_of(request, options.extension)
    there = _other(here, url, options.other_extension)
    listed = listed or _calls_of_gateway(here, options)
    rules = (*options.ignore, *listed.ignore)
    compared = []
    for call in listed.calls:
        mine, theirs = answers_of(here, there, call, headers, direct=options.direct)
        ignored = IgnoreRules.of((*rules, *call.ignore))
        compared.append(compare_answers(call, mine, theirs, ignored))
    if invocation.json:
        from algaenv.cli.output.json import comparison_to_json

        targets = (here, there)
        invocation.print_json(
            comparison_to_json(options.extension, targets, compared, listed.left_out)
        )
    else:
        from algaenv.cli.output.comparison import comparison_text

        paint = invocation.terminal.out_paint
        text = comparison_text((here.gateway, url), compared, listed.left_out, paint)
        invocation.print_result(text)
    return ExitCode.DIFFERENCES if _differs(compared) else ExitCode.DONE


def _differs(compared: Sequence[ComparedCall]) -> bool:
    return any(one.differences for one in compared)


def _check_options(options: argparse.Namespace) -> None:
    from algaenv.comparison.volatile import rule_problem

    if options.calls and options.recorded:
        raise UsageError("cannot use both --calls and --recorded", "leave one of them out")
    wrong = {rule: rule_problem(rule) for rule in options.ignore}
    if found := [f"{rule!r} ({why})" for rule, why in wrong.items() if why]:
        raise UsageError(
            f"cannot ignore {', '.join(found)}",
            "write `--ignore header:NAME` or `--ignore body:/POINTER`, say",
        )


def _url(text: str) -> str:
    if not _is_base_url(text):
        # What stands before an @ may be a password.
        shown = "a URL with an @" if "@" in text else repr(text)
        raise UsageError(
            f"cannot use {shown} as a target", "write a URL such as http://localhost:3000"
        )
    return text.rstrip("/")


def _is_base_url(text: str) -> bool:
    """Whether it is a URL of HTTP with nothing but a host, a port and a path, escaped already."""
    from urllib.parse import urlsplit

    if not (text.isascii() and text.isprintable()) or any(char in " \\?#" for char in text):
        return False
    try:
        parts = urlsplit(text)
        # The same codec finds the address later on; it refuses labels that no name can have.
        (parts.hostname or "").encode("idna")
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return False
    return bool(usable) and "@" not in parts.netloc


def _headers(given: Sequence[str]) -> Mapping[str, str]:
    lines: list[str] = []
    for text in given:
        if not text.startswith("@"):
            lines.append(text)
            continue
        try:
            lines += Path(text[1:]).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise UsageError(
                f"cannot read headers from {text[1:]}: {why}", "correct the path after @"
            ) from None
    found = {}
    for number, line in enumerate(lines, 1):
        name, colon, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        token = name.replace("-", "").replace("_", "")
        text = f"{token}{value}"
        if not (colon and token.isalnum() and text.isascii() and text.isprintable()):
            # Without the value: it may be a secret.
            raise UsageError(
                f"cannot use header {number} for the other target: it has no name and value",
                "write it as `name: value`",
            )
        found[name] = value
    return found


def _other(here: ExtensionEndpoint, url: str, extension: str | None) -> ExtensionEndpoint:
    from algaenv.bundle.value import replace

    return replace(here, gateway=url, extension=extension or here.extension)


def _calls_of_file(options: argparse.Namespace) -> CallList | None:
    if not options.calls:
        return None
    from algaenv.spec.calls import read_calls

    return read_calls(Path(options.calls), options.user)


def _calls_of_gateway(here: ExtensionEndpoint, options: argparse.Namespace) -> CallList:
    from algaenv.cli.gateway_events import recorded_events
    from algaenv.comparison.choice import declared_calls, recorded_calls
    from algaenv.model.problem import Problem, Refused

    if options.recorded:
        listed = recorded_calls(recorded_events(here), options.user)
        why = "the gateway has recorded no call of GET or HEAD"
    else:
        listed = declared_calls(here.declared, options.user)
        why = "its manifest declares no endpoint for GET without parameters"
        if not here.installed:
            why = "only the gateway knows its endpoints, as the spec has no such extension"
    if not listed.calls:
        raise Refused(
            Problem(
                code="compare-nothing",
                summary=f"cannot compare {options.extension}: {why}",
                hint="write the calls into a file, and name it with `--calls`",
                detail=tuple(f"{it.method} {it.path}: {it.why}" for it in listed.left_out),
            )
        )
    return listed


def answers_of(
    here: ExtensionEndpoint,
    there: ExtensionEndpoint,
    call: Call,
    headers: Mapping[str, str],
    *,
    direct: bool,
) -> tuple[Answer, Answer]:
    """Ask one after the other, so that neither waits for the other. Raises NotReady with both."""
    from algaenv.bundle.value import replace
    from algaenv.model.problem import NotReady

    problems: list[Problem] = []
    answers: list[Answer] = []
    for endpoint, more in ((here, {}), (there, headers)):
        try:
            answers.append(_ask(endpoint, call, more, direct=direct))
        except NotReady as error:
            problem = error.problem
            if endpoint is there:
                problem = replace(problem, hint="start what should answer there, or mend `--with`")
            problems.append(problem)
    if problems:
        raise NotReady(*problems)
    mine, theirs = answers
    return mine, theirs


def _ask(
    endpoint: ExtensionEndpoint, call: Call, more: Mapping[str, str], *, direct: bool
) -> Answer:
    """Ask as a client that knows nothing of algaenv: the answer to such a one is compared."""
    from algaenv.cli.gateway_client import DIRECT, PROXY, GatewayRequest, send_request
    from algaenv.model.comparison import Answer

    headers = {"accept": "application/json, */*", **call.headers, **more}
    entry = DIRECT if direct else PROXY
    request = GatewayRequest(call.method, call.path, call.body, call.user, headers, entry)
    response = send_request(endpoint, request)
    return Answer(response.status, response.headers, response.body, response.ms)
