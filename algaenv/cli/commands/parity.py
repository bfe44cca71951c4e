"""The command `parity`: compare the same spec on Docker and as processes."""

from __future__ import annotations

import argparse
import contextlib

from algaenv.bundle.value import dataclass, replace
from algaenv.cli.exit_codes import ExitCode, report_exit_code
from algaenv.cli.parser import add_extensions, add_file, add_images, add_output, header_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from algaenv.cli.invocation import CommandInvocation
    from algaenv.comparison.parity import ParityRow, Side
    from algaenv.model.comparison import ComparedCall
    from algaenv.model.event import Report
    from algaenv.model.intent import Intent, RuntimeChoice
    from algaenv.model.status import Status

USAGE = "[EXTENSION ...] [options]"
DESCRIPTION = (
    "Compare what the spec is on Docker and as processes: engines and their versions, settings of "
    "runner and gateway, installed versions, and what the same calls are answered. The environment "
    "of the spec counts as one side if it is up. A side that is missing is brought up as an "
    "environment of its own, with free ports, and removed afterwards with its data. Exits with 2 "
    "when something differs that is not meant to."
)
EXAMPLES = (
    ("algaenv parity", "All of it; what is missing is brought up and removed again."),
    ("algaenv parity hello --user client", "The calls of one extension, as another user."),
    ("algaenv parity --json | jq '.rows[] | select(.verdict == \"differs\")'", "What differs."),
)
RUNTIMES: tuple[RuntimeChoice, ...] = ("docker", "process")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_extensions(parser)
    parser.add_argument(
        "--user", metavar="NAME", type=header_value, help="who asks, one of gateway.users"
    )
    add_file(parser)
    add_images(parser)
    add_output(parser)


@dataclass(frozen=True, slots=True)
class _Target:
    """An environment that is up on one runtime; `own` is True for one that is removed again."""

    spec: Path
    status: Status
    own: bool


def run(invocation: CommandInvocation) -> ExitCode:
    """Bring up what is missing, compare, and print every row."""
    from algaenv.spec.load import load

    spec = invocation.spec()
    intent = load(spec, invocation.environ).intent
    with contextlib.ExitStack() as stack:
        targets: dict[str, _Target] = {}
        for target in _there(invocation, spec):
            targets[target.status.runtime] = target
        for name in RUNTIMES:
            if name in targets:
                continue
            made = stack.enter_context(_brought_up(invocation, spec, intent, name))
            if not isinstance(made, _Target):
                return report_exit_code(made) or ExitCode.NOT_READY
            targets[name] = made
        rows, left_out = _compare(invocation, *(targets[name] for name in RUNTIMES))
    from algaenv.cli.output.parity import parity_text, parity_to_json

    own = [name for name in RUNTIMES if targets[name].own]
    if invocation.json:
        invocation.print_json(parity_to_json(rows, left_out, own))
    else:
        paint, verbose = invocation.terminal.out_paint, invocation.verbose
        invocation.print_result(parity_text(rows, left_out, paint, verbose=verbose))
    differs = any(it.verdict == "differs" for it in rows)
    return ExitCode.DIFFERENCES if differs else ExitCode.DONE


def _there(invocation: CommandInvocation, spec: Path) -> Iterator[_Target]:
    """The environment of the spec, if all of it answers."""
    from algaenv.cli.output.text import all_ready

    request = invocation.request(spec)
    status = invocation.application(request).status(request, lambda _event: None)
    wanted = invocation.options.extensions
    if (
        status.services
        and all_ready(status)
        and {it.name for it in status.extensions} >= set(wanted)
    ):
        yield _Target(spec, status, own=False)


@contextlib.contextmanager
def _brought_up(
    invocation: CommandInvocation, spec: Path, intent: Intent, runtime: RuntimeChoice
) -> Iterator[_Target | Report]:
    """An environment of its own on a runtime, for as long as the `with` lasts; its report where it
    does not come up."""
    from algaenv.cli.ephemeral import ephemeral
    from algaenv.cli.errors import report_abandoned
    from algaenv.cli.signals import handle_interrupts

    with ephemeral(invocation, spec, intent) as own:
        with (
            invocation.progress_sinks(own.spec) as sinks,
            handle_interrupts(sinks.stopping, lambda: report_abandoned(invocation, sinks)) as stop,
        ):
            request = invocation.request(own.spec, cancelled=stop.cancelled)
            request = replace(request, ephemeral_name=own.name, runtime=runtime)
            report = invocation.application(request).up(request, sinks.emit)
        if report.status is None:
            yield report
        else:
            yield _Target(own.spec, report.status, own=True)


def _compare(
    invocation: CommandInvocation, docker: _Target, process: _Target
) -> tuple[Sequence[ParityRow], Sequence[str]]:
    """Every row, and what could not be compared."""
    from algaenv.comparison.parity import call_rows, compare_sides

    rows = [*compare_sides(_side(invocation, docker), _side(invocation, process))]
    left_out: list[str] = []
    if not all(_has_gateway(it.status) for it in (docker, process)):
        return rows, ["calls: the spec has no gateway to ask"]
    for extension in docker.status.extensions:
        if extension.name not in {it.name for it in process.status.extensions}:
            continue
        compared, more = _calls(invocation, docker, process, extension.name)
        rows += call_rows(extension.name, compared)
        left_out += more
    return rows, left_out


def _has_gateway(status: Status) -> bool:
    return any(it.name == "gateway" for it in status.services)


def _side(invocation: CommandInvocation, target: _Target) -> Side:
    from algaenv.comparison.parity import SETTINGS_OF, Side

    request = invocation.request(target.spec)
    lowered, runtime = invocation.application(request).settings_of(request)
    settings = {}
    for resource in lowered.resources:
        if resource.address in lowered.hosts.values() and resource.address.name in SETTINGS_OF:
            settings[resource.address.name] = {
                name.removeprefix("env."): str(value)
                for name, value in resource.inputs.items()
                if name.startswith("env.")
            }
    extensions = target.status.extensions
    installed = {it.name: (it.version, it.content_hash) for it in extensions}
    return Side(runtime, lowered.engines, settings, installed)


def _calls(
    invocation: CommandInvocation, docker: _Target, process: _Target, extension: str
) -> tuple[Sequence[ComparedCall], Sequence[str]]:
    from algaenv.cli.commands.compare import answers_of
    from algaenv.comparison.choice import declared_calls
    from algaenv.comparison.differences import compare_answers
    from algaenv.comparison.volatile import IgnoreRules

    endpoints = []
    for target in (docker, process):
        request = invocation.request(target.spec)
        endpoints.append(invocation.application(request).endpoint_of(request, extension))
    listed = declared_calls(endpoints[0].declared, invocation.options.user)
    compared = []
    for call in listed.calls:
        mine, theirs = answers_of(endpoints[0], endpoints[1], call, {}, direct=False)
        compared.append(compare_answers(call, mine, theirs, IgnoreRules.of(call.ignore)))
    left_out = [f"{extension}: {it.method} {it.path}: {it.why}" for it in listed.left_out]
    return compared, left_out
