"""The command `test`: bring the environment up, then run the checks of the spec, or a program."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from algaenv.bundle.value import replace
from algaenv.cli.exit_codes import ExitCode, report_exit_code
from algaenv.cli.output.streams import write_text
from algaenv.cli.parser import (
    UsageError,
    add_extensions,
    add_file,
    add_images,
    add_isolated,
    add_locked,
    add_output,
    add_profile,
    add_runtime,
    add_wait_timeout,
)
from algaenv.cli.support import add_support

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.model.check import CheckResult
    from algaenv.model.event import Report
    from algaenv.model.intent import ExtensionIntent, Intent
    from algaenv.model.status import Status

USAGE = "[EXTENSION ...] [options] [-- PROGRAM ...]"
DESCRIPTION = (
    "Bring the environment up as `up` does, then make the `checks` that the spec lists for each "
    "extension, and say of each whether it passed. With a program after `--` that is run instead, "
    "with the variables of `status -o env`, and its exit code is the one of this command."
)
EXAMPLES = (
    ("algaenv test", "Every check of every extension."),
    ("algaenv test hello --junit results.xml", "Those of one, with a report for CI."),
    ("algaenv test --ephemeral", "In an environment of its own, which is removed afterwards."),
    ("algaenv test --ephemeral -- npm test", "Your own tests in such an environment."),
)
TURN_SECONDS = 600.0
"""How long a run waits for a turn of `dev` to end."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.set_defaults(program=None)
    add_extensions(parser)
    add_file(parser)
    add_isolated(parser)
    add_profile(parser)
    add_runtime(parser)
    add_images(parser)
    add_locked(parser)
    add_wait_timeout(parser)
    parser.add_argument(
        "--ephemeral",
        action="store_true",
        help="in an environment of its own, with free ports; it is removed afterwards, whatever "
        "happens",
    )
    parser.add_argument(
        "--junit", metavar="FILE", help="write the results of the checks as JUnit XML, too"
    )
    add_support(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> int:
    """Bring it up, test it, and return the exit code."""
    from algaenv.cli.ephemeral import ephemeral
    from algaenv.model.isolated import authored_spec
    from algaenv.spec.load import load

    _check_options(invocation.options)
    spec = invocation.spec()
    if invocation.options.ephemeral:
        spec = authored_spec(spec)  # Whatever ALGAENV_ISOLATED says: it is isolated itself.
    intent = load(spec, invocation.environ).intent
    if invocation.options.program is None:
        _require_checks(invocation, intent)
    if not invocation.options.ephemeral:
        return _tested(invocation, spec, intent, None)
    with ephemeral(invocation, spec, intent) as own:
        return _tested(invocation, own.spec, intent, own.name)


def _check_options(options: argparse.Namespace) -> None:
    if options.program == []:
        raise UsageError("cannot run nothing", "write a program after `--`, or leave `--` out")
    if options.ephemeral and options.isolated is not None:
        raise UsageError(
            "cannot use both --ephemeral and --isolated: each means an environment of its own",
            "leave one of them out",
        )
    if options.junit is None:
        return
    if options.program is not None:
        raise UsageError(
            "cannot write the results of a program",
            "leave `--junit` out, or let the program write its own",
        )
    directory = (Path.cwd() / options.junit).parent
    if not directory.is_dir():
        raise UsageError(
            f"cannot write {options.junit}: there is no directory {directory}", "make it first"
        )


def _selected(invocation: CommandInvocation, intent: Intent) -> list[ExtensionIntent]:
    from algaenv.model.intent import with_named

    names = invocation.options.extensions
    return [it for it in with_named(intent, names).extensions if not names or it.name in names]


def _require_checks(invocation: CommandInvocation, intent: Intent) -> None:
    from algaenv.model.intent import BundledGateway
    from algaenv.model.problem import Problem, Refused

    known = {it.name for it in intent.every_extension}
    if not known.issuperset(invocation.options.extensions):
        return  # `up` says which is unknown.
    if not isinstance(intent.gateway, BundledGateway):
        why = "there is no gateway to ask"
        hint = "set `gateway: bundled` in the spec, or run a program of yours after `--`"
    elif not any(it.checks for it in _selected(invocation, intent)):
        why = "no extension has checks"
        hint = "list `checks` under the extension in the spec, or run a program of yours after `--`"
    else:
        return
    raise Refused(
        Problem(code="test-nothing", summary=f"cannot test {intent.name}: {why}", hint=hint)
    )


def _tested(invocation: CommandInvocation, spec: Path, intent: Intent, name: str | None) -> int:
    report = _bring_up(invocation, spec, name)
    status = report.status
    if status is None:
        _write_junit(invocation, name or intent.name, (), report)
        _print_report(invocation, report)
        return report_exit_code(report) or ExitCode.NOT_READY
    if invocation.options.program is not None:
        return _run_program(invocation, spec, status)
    results = []
    for result in _results(invocation, spec, intent, status):
        results.append(result)
        _print_result(invocation, result)
    _write_junit(invocation, status.environment.name, results, None)
    _print_total(invocation, status, results)
    return ExitCode.DONE if all(it.passed for it in results) else ExitCode.CHECK


def _bring_up(invocation: CommandInvocation, spec: Path, name: str | None) -> Report:
    from algaenv.cli.errors import report_abandoned
    from algaenv.cli.signals import handle_interrupts

    with (
        invocation.progress_sinks(spec) as sinks,
        handle_interrupts(sinks.stopping, lambda: report_abandoned(invocation, sinks)) as stop,
    ):
        request = invocation.request(spec, cancelled=stop.cancelled)
        request = replace(request, ephemeral_name=name)
        if invocation.dev_session(spec) is not None:
            request = replace(request, lock_seconds=TURN_SECONDS)
        return invocation.application(request).up(request, sinks.emit)


def _results(
    invocation: CommandInvocation, spec: Path, intent: Intent, status: Status
) -> Iterator[CheckResult]:
    from algaenv.cli.check_runner import run_checks

    shown = {it.name: it for it in status.extensions}
    for extension in _selected(invocation, intent):
        if not extension.checks:
            continue
        request = invocation.request(spec)
        endpoint = invocation.application(request).endpoint_of(request, extension.name)
        yield from run_checks(endpoint, shown[extension.name], extension.checks)


def _run_program(invocation: CommandInvocation, spec: Path, status: Status) -> int:
    import sys

    from algaenv.cli.child import run_program
    from algaenv.cli.output.check_report import results_to_json

    out = sys.__stderr__ if invocation.json else None
    environ = program_environment(invocation, spec, status)
    code = run_program(invocation.options.program, environ, out=out)
    if invocation.json:
        name, own = status.environment.name, invocation.options.ephemeral
        invocation.print_json(results_to_json(name, (), ephemeral=own, exit_code=code))
    return code


def program_environment(
    invocation: CommandInvocation, spec: Path, status: Status
) -> dict[str, str]:
    """Our variables, those of `status -o env`, the spec and the URL of the gateway."""
    from algaenv.model.secret import Secret

    environ = dict(invocation.environ)
    for name, value in (status.variables or {}).items():
        environ[name] = value.reveal() if isinstance(value, Secret) else value
    environ["ALGAENV_FILE"] = str(spec)
    for service in status.services:
        if service.name == "gateway" and "url" in service.endpoints:
            environ["ALGAENV_GATEWAY_URL"] = service.endpoints["url"]
    return environ


def _print_result(invocation: CommandInvocation, result: CheckResult) -> None:
    from algaenv.cli.output.check_report import result_lines

    if not invocation.json:
        invocation.print_result(result_lines(result, invocation.terminal.out_paint))
    if invocation.in_github and not result.passed:
        annotator = invocation.annotator(None)
        text = "\n".join((*result.failures, *result.details))
        title = f"{result.extension}: {result.name}"
        write_text(invocation.terminal.err, annotator.line(text, title, result.where))


def _print_total(
    invocation: CommandInvocation, status: Status, results: Sequence[CheckResult]
) -> None:
    from algaenv.cli.output.check_report import results_to_json, total_line

    if invocation.json:
        name, own = status.environment.name, invocation.options.ephemeral
        invocation.print_json(results_to_json(name, results, ephemeral=own))
        return
    paint = invocation.terminal.out_paint
    invocation.print_result(paint(total_line(results), "bold") + "\n")


def _print_report(invocation: CommandInvocation, report: Report) -> None:
    """With JSON; people have seen it as it came."""
    if invocation.json:
        from algaenv.cli.output.json import json_line, report_to_json

        invocation.print_result(json_line(report_to_json(report)))


def _write_junit(
    invocation: CommandInvocation, name: str, results: Sequence[CheckResult], broken: Report | None
) -> None:
    if invocation.options.junit is None:
        return
    from algaenv.cli.output.check_report import junit
    from algaenv.scaffold.files import write_file

    write_file(Path.cwd() / invocation.options.junit, junit(name, results, broken))
