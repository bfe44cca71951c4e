"""The command `wait`: wait until services and extensions answer."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from algaenv.bundle.value import dataclass
from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import (
    UsageError,
    add_file,
    add_isolated,
    add_output,
    add_runtime,
    closest_match,
    duration,
    utf8,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.dependencies import Request
    from algaenv.model.status import Status

USAGE = "[EXTENSION|SERVICE ...] [options]"
DESCRIPTION = (
    "Wait until the services and extensions named answer, or all of them: for scripts that start "
    "`algaenv up` or `algaenv dev` in the background. Nothing is started or changed."
)
EXAMPLES = (
    ("algaenv wait", "Until everything answers, for a minute at most."),
    ("algaenv wait hello --timeout 5m", "Until the extension called hello does."),
    ("algaenv wait database redis", "Until two services do."),
)
SERVICES = ("store", "redis", "database", "runner", "gateway")
_TIMEOUT = 60.0
_PAUSE = 0.25
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Waited:
    """What does not answer yet, and why."""

    name: str
    state: str


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        type=utf8,
        help="an extension or a service of the spec, or store, redis, database, runner or gateway "
        "(default: all)",
    )
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=duration,
        default=_TIMEOUT,
        help="how long at most, such as 90s or 5m (default: 60s)",
    )
    add_file(parser)
    add_isolated(parser)
    add_runtime(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Look until all answer. Raises NotReady (`wait-timeout`) with everything that does not."""
    from algaenv.model.problem import NotReady, Problem

    options = invocation.options
    names = _checked_names(invocation, options.names)
    request = invocation.request(invocation.spec())
    started = time.monotonic()
    shown: tuple[Waited, ...] = ()
    while waited := _unready(invocation, request, names):
        if time.monotonic() - started >= options.timeout:
            raise NotReady(
                *(
                    Problem(
                        code="wait-timeout",
                        summary=f"cannot wait longer for {it.name}: {it.state} "
                        f"after {options.timeout:g} s",
                        hint="bring it up with `algaenv up`, or raise `--timeout`",
                    )
                    for it in waited
                )
            )
        if waited != shown:
            _print_waited(invocation, waited)
            shown = waited
        time.sleep(_PAUSE)
    seconds = round(time.monotonic() - started, 1)
    if invocation.json:
        invocation.print_json({"version": 1, "ready": True, "seconds": seconds})
    elif not invocation.quiet:
        about = ", ".join(names) or "everything"
        invocation.print_result(f"ready: {about} after {seconds:g} s\n")
    return ExitCode.DONE


def _checked_names(invocation: CommandInvocation, names: Sequence[str]) -> tuple[str, ...]:
    from algaenv.spec.load import load

    known = [*SERVICES]
    if any(name not in SERVICES for name in names):
        intent = load(invocation.spec(), invocation.environ).intent
        known += [it.name for it in intent.services]
        known += [it.name for it in intent.every_extension]
    for name in names:
        if name not in known:
            near = closest_match(name, known)
            raise UsageError(
                f"cannot wait for {name!r}: it is neither a service nor an extension of the spec",
                f"did you mean {near}?" if near else f"choose one of {', '.join(known)}",
            )
    return tuple(dict.fromkeys(names))


def _unready(
    invocation: CommandInvocation, request: Request, names: Sequence[str]
) -> tuple[Waited, ...]:
    """What does not answer; an engine or a service that is not there yet is waited for, too."""
    from algaenv.model.problem import AlgaenvError, SpecError

    try:
        status = invocation.application(request).status(request, lambda _: None)
    except SpecError:
        raise
    except AlgaenvError as error:
        return (Waited("the environment", error.problem.summary),)
    states = _states(status)
    wanted = names or tuple(states)
    found = [Waited(name, states.get(name, "not there")) for name in wanted]
    return tuple(it for it in found if it.state)


def _states(status: Status) -> dict[str, str]:
    """Name → why it is not ready; empty when it is. A service comes before its namesake."""
    found = {
        it.name: "" if it.ready else it.detail or "does not answer" for it in status.extensions
    }
    for service in status.services:
        detail = f" ({service.detail})" if service.detail else ""
        found[service.name] = "" if service.state == "ready" else f"{service.state}{detail}"
    return found


def _print_waited(invocation: CommandInvocation, waited: Sequence[Waited]) -> None:
    from algaenv.cli.output.escape import escape_controls

    listed = "; ".join(f"{it.name}: {it.state}" for it in escape_controls(tuple(waited)))
    invocation.print_message(f"waiting for {listed}\n")
