"""The command `compose`: an environment as a service of a Compose file."""

from __future__ import annotations

import argparse

from algaenv.cli.exit_codes import ExitCode, exception_exit_code, report_exit_code
from algaenv.cli.parser import UsageError, add_file, add_output, duration, one_of, utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from algaenv.cli.invocation import CommandInvocation
    from algaenv.cli.output.provider import ProviderSink
    from algaenv.dependencies import Request
    from algaenv.model.event import Report
    from algaenv.model.status import Status

USAGE = "up|down|stop|metadata [SERVICE] [options]"
DESCRIPTION = (
    "Bring the environment up and down as a service of a Compose file: Docker Compose runs this "
    "for a service with `provider: {type: algaenv}`, and reads its messages from standard output. "
    "Data is kept unless `volumes` is true."
)
EXAMPLES = (
    ("algaenv compose metadata", "The options that a Compose file may give."),
    ("algaenv compose --project-name shop up alga", "What `docker compose up` runs."),
)

_PARAMETERS: tuple[tuple[str, str, str, str], ...] = (
    ("file", "string", "", "the spec, or its directory; default: algaenv.yaml here or above"),
    ("runtime", "string", "", "where its services run, instead of what the spec says"),
)
_OF_UP: tuple[tuple[str, str, str, str], ...] = (
    ("extension", "string", "", "an extension of the spec, or a list of them; default: all"),
    ("wait-timeout", "string", "", "give up after so long, such as 5m"),
    (
        "variables",
        "string",
        "none",
        "the app server's variables, secrets included, for services that depend on this one: "
        "prefixed with its name, or raw",
    ),
)
_OF_DOWN: tuple[tuple[str, str, str, str], ...] = (
    ("volumes", "boolean", "false", "delete its data as well"),
)
_ENUMS = {"runtime": "auto,docker,process", "variables": "none,prefixed,raw"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; unlike elsewhere a boolean has a value, as Compose passes it."""
    parser.add_argument(
        "action", metavar="ACTION", type=one_of("up", "down", "stop", "metadata"), help="what to do"
    )
    parser.add_argument(
        "service", metavar="SERVICE", nargs="?", type=utf8, help="its name in the Compose file"
    )
    parser.add_argument(
        "--project-name", metavar="NAME", type=utf8, help="the Compose project, for the log"
    )
    parser.add_argument(
        "--extension",
        dest="extensions",
        metavar="EXT",
        action="append",
        type=utf8,
        help="up: work on this extension only; may be given again",
    )
    parser.add_argument(
        "--variables",
        metavar="HOW",
        type=one_of("none", "prefixed", "raw"),
        default="none",
        help="up: pass on the app server's variables, secrets included: none (the default), "
        "prefixed with the name of the service, or raw",
    )
    parser.add_argument(
        "--volumes",
        metavar="BOOL",
        type=one_of("true", "false"),
        default="false",
        help="down: true deletes the data as well",
    )
    parser.add_argument(
        "--wait-timeout", metavar="TIME", type=duration, help="up: give up after so long"
    )
    parser.add_argument(
        "--runtime",
        metavar="NAME",
        type=one_of("auto", "docker", "process"),
        help="where the services run, instead of what the spec says",
    )
    add_file(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Do what Compose asks for; everything that goes wrong is a message, too."""
    from algaenv.cli.output.provider import ProviderSink
    from algaenv.model.problem import AlgaenvError

    options = invocation.options
    if options.action == "metadata":
        invocation.print_json(metadata())
        return ExitCode.DONE
    if options.service is None:
        raise UsageError(f"cannot {options.action} nothing", "name the service")
    sink = ProviderSink(invocation.terminal.out, invocation.terminal.err)
    try:
        return _run(invocation, sink)
    except AlgaenvError as error:
        sink.fail(error.problems)
        return exception_exit_code(error)


def metadata() -> dict[str, Any]:
    """What Compose may pass, in its own form."""

    def described(rows: tuple[tuple[str, str, str, str], ...]) -> dict[str, Any]:
        return {
            "parameters": [
                {"name": name, "description": text, "required": False, "type": kind}
                | ({"default": default} if default else {})
                | ({"enum": _ENUMS[name]} if name in _ENUMS else {})
                for name, kind, default, text in rows
            ]
        }

    return {
        "description": "An Alga PSA extension environment, as an algaenv.yaml describes it",
        "up": described((*_PARAMETERS, *_OF_UP)),
        "down": described((*_PARAMETERS, *_OF_DOWN)),
        "stop": described(_PARAMETERS),
    }


def _run(invocation: CommandInvocation, sink: ProviderSink) -> ExitCode:
    from algaenv.cli.commands.down import end_dev
    from algaenv.cli.errors import report_abandoned
    from algaenv.cli.output.lines import report_problems
    from algaenv.cli.output.sinks import LogFile, MultiSink
    from algaenv.cli.signals import handle_interrupts

    options, spec = invocation.options, invocation.spec()
    if options.action != "up":
        end_dev(invocation, spec)
    with (
        MultiSink([LogFile(invocation.verb, spec), sink]) as sinks,
        handle_interrupts(sinks.stopping, lambda: report_abandoned(invocation, sinks)) as stop,
    ):
        request = invocation.request(spec, cancelled=stop.cancelled)
        application = invocation.application(request)
        if options.action == "up":
            report = application.up(request, sinks.emit)
        else:
            volumes = options.action == "down" and options.volumes == "true"
            report = application.down(request, sinks.emit, volumes=volumes)
    code = report_exit_code(report)
    if code:
        sink.fail(report_problems(report))
    elif options.action == "up":
        _send_variables(invocation, sink, _status(invocation, request, report))
    return code


def _status(invocation: CommandInvocation, request: Request, report: Report) -> Status:
    if report.status is not None:
        return report.status
    return invocation.application(request).status(request, lambda _: None)


def _send_variables(invocation: CommandInvocation, sink: ProviderSink, status: Status) -> None:
    """Addresses as `GATEWAY_URL` and the like, and what the app server needs if it is asked for."""
    from algaenv.model.secret import Secret

    for service in status.services:
        for name, address in service.endpoints.items():
            variable = f"{service.name}_{name}".upper().replace("-", "_")
            sink.send("setenv", f"{variable}={address}")
    how = invocation.options.variables
    if how == "none":
        return
    for name, value in (status.variables or {}).items():
        text = value.reveal() if isinstance(value, Secret) else value
        sink.send("rawsetenv" if how == "raw" else "setenv", f"{name}={text}")
