"""JSON output, as docs/reference/*.schema.json describe it.

Keys are only added. No document holds a secret.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TextIO

from algaenv.bundle.value import field_names
from algaenv.cli.output.escape import escape_json
from algaenv.cli.output.lines import STOPPING
from algaenv.cli.output.streams import write_from_signal
from algaenv.model.event import Event, Planned, Reported
from algaenv.model.secret import Secret
from algaenv.system.clock import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algaenv.cli.gateway_client import GatewayRequest, GatewayResponse
    from algaenv.model.comparison import ComparedCall, Difference, LeftOut
    from algaenv.model.event import Ended, Report
    from algaenv.model.plan import Cause, Kept, Plan, Step
    from algaenv.model.problem import Problem
    from algaenv.model.resource import Json
    from algaenv.model.status import ExtensionEndpoint, ExtensionStatus, ServiceStatus, Status
    from algaenv.model.trace import CallTrace


VERSION = 1
"""Version of the documents; it changes only when a key changes its meaning or goes away."""

JsonObject = dict[str, "Json"]
_TRACE = "x-algaenv-trace"
"""A header that is shown as what it tells."""


def problem_to_json(problem: Problem) -> JsonObject:
    """Code, summary, hint, detail, url; file, line, column when the problem has a place."""
    document: JsonObject = {"code": problem.code, "summary": problem.summary}
    if problem.hint:
        document["hint"] = problem.hint
    if problem.detail:
        document["detail"] = list(problem.detail)
    document["url"] = problem.url
    if problem.where:
        document |= {
            "file": problem.where.file,
            "line": problem.where.line,
            "column": problem.where.column,
        }
    return document


def step_to_json(step: Step) -> JsonObject:
    """A step of a plan."""
    needs: list[Json] = [str(need) for need in sorted(step.needs)]
    return {
        "verb": str(step.verb),
        "address": str(step.address),
        "cause": _cause(step.cause),
        "needs": needs,
    }


def event_to_json(event: Event) -> JsonObject:
    """`{"event": "<snake_name>", "version": …, "time": …}` with the fields of the event."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(event).__name__).lower()
    match event:
        case Reported(report):
            return report_to_json(report)
        case Planned(steps):
            return event_document(name, steps=[step_to_json(step) for step in steps])
        case _:
            fields = {key: getattr(event, key) for key in field_names(event)}
            return event_document(name) | _flat(fields)


def event_document(name: str, /, **fields: Json) -> JsonObject:
    """An event that happens now, as every line of a stream begins."""
    return {"event": name, "version": VERSION, "time": rfc3339(), **fields}


def report_to_json(report: Report) -> JsonObject:
    """The last event of a run, and the whole output of a command that failed."""
    return event_document(
        "report",
        verb=report.verb,
        changed=report.changed,
        failed=report.failed,
        interrupted=report.interrupted,
        steps=[_ended(ended) for ended in report.ended],
        problems=[problem_to_json(problem) for problem in report.problems],
        kept=[_kept(kept) for kept in report.kept],
    )


def plan_to_json(plan: Plan, warnings: tuple[Problem, ...] = (), written: str = "") -> JsonObject:
    """The document of `plan --json`; `written` is the file that holds the plan."""
    deferred: list[Json] = [
        {"address": str(one.resource.address), "why": one.why} for one in plan.deferred
    ]
    blocked: list[Json] = [
        {"address": str(one.address), "problem": problem_to_json(one.problem)}
        for one in plan.blocked
    ]
    engines: list[Json] = [
        {"service": it.service, "name": it.name, "version": it.version, "source": it.source}
        for it in plan.engines
    ]
    return {
        "version": VERSION,
        "plan": {
            "steps": [step_to_json(step) for step in plan.steps],
            "deferred": deferred,
            "blocked": blocked,
            "kept": [_kept(kept) for kept in plan.kept],
            "engines": engines,
        },
        "changes": len(plan.changes),
        "warnings": [problem_to_json(warning) for warning in warnings],
        **({"written": written} if written else {}),
    }


def status_to_json(status: Status, warnings: tuple[Problem, ...] = ()) -> JsonObject:
    """The document of `status --json`; of a secret variable only the name is listed."""
    variables = status.variables or {}
    environment = status.environment
    return {
        "version": VERSION,
        "environment": {
            "id": environment.id,
            "name": environment.name,
            "spec": str(environment.spec),
        },
        "runtime": status.runtime,
        "tenant_id": status.tenant_id,
        "app_server": status.app_server,
        "services": [_service(service) for service in status.services],
        "extensions": [_extension(extension) for extension in status.extensions],
        "variables": {k: v for k, v in variables.items() if not isinstance(v, Secret)},
        "secret_variables": [k for k, v in variables.items() if isinstance(v, Secret)],
        "warnings": [problem_to_json(warning) for warning in warnings],
    }


def response_to_json(
    extension: str,
    request: GatewayRequest,
    response: GatewayResponse,
    trace: CallTrace | None = None,
) -> JsonObject:
    """The document of `call --json`."""
    headers: JsonObject = {it: v for it, v in response.headers.items() if it != _TRACE}
    document: JsonObject = {
        "version": VERSION,
        "extension": extension,
        "method": request.method,
        "path": request.path,
        "status": response.status,
        "ms": response.ms,
        "headers": headers,
        "body": response.read(),
    }
    if error := response.error:
        document["trouble"] = {
            "summary": error.summary,
            "hint": error.hint,
            "reason": error.reason,
            "stderr": list(error.stderr),
        }
    if request_id := response.headers.get("x-algaenv-request-id"):
        document["request_id"] = request_id
    if trace is not None:
        from algaenv.cli.output.trace import trace_to_json

        document["trace"] = trace_to_json(trace)
    return document


def comparison_to_json(
    extension: str,
    targets: Sequence[ExtensionEndpoint],
    compared: Sequence[ComparedCall],
    left_out: Sequence[LeftOut],
) -> JsonObject:
    """The document of `compare --json`."""
    differing = sum(bool(one.differences) for one in compared)
    return {
        "version": VERSION,
        "extension": extension,
        "targets": [{"url": it.gateway, "extension": it.extension} for it in targets],
        "same": len(compared) - differing,
        "different": differing,
        "calls": [compared_call_to_json(one) for one in compared],
        "left_out": [{"method": it.method, "path": it.path, "why": it.why} for it in left_out],
    }


def compared_call_to_json(one: ComparedCall) -> JsonObject:
    """A call with both outcomes, and all that differs."""
    return {
        "method": one.call.method,
        "path": one.call.path,
        "user": one.call.user,
        "status": [one.here.status, one.there.status],
        "ms": [one.here.ms, one.there.ms],
        "differences": [_difference(each) for each in one.differences],
    }


def _difference(difference: Difference) -> JsonObject:
    document: JsonObject = {"what": difference.what, "at": difference.at}
    for side, values in (("here", difference.here), ("there", difference.there)):
        if values:
            document[side] = values[0]
    return document


def _flat(fields: dict[str, object]) -> JsonObject:
    """The fields of a small event: a step becomes its address, verb and cause."""
    from algaenv.model.plan import Step
    from algaenv.model.problem import Problem

    document: JsonObject = {}
    for key, value in fields.items():
        match value:
            case None:
                continue
            case Step():
                document |= {
                    "address": str(value.address),
                    "verb": str(value.verb),
                    "cause": _cause(value.cause),
                }
            case Problem():
                document[key] = problem_to_json(value)
            case float():
                document[key] = round(value, 3)
            case _:
                document[key] = str(value)
    return document


def _cause(cause: Cause) -> JsonObject:
    return {"kind": cause.kind, "detail": list(cause.detail)}


def _kept(kept: Kept) -> JsonObject:
    return {"address": str(kept.address), "why": kept.why}


def _ended(ended: Ended) -> JsonObject:
    from algaenv.model.event import FailedStep, Skipped, outcome_name

    step = ended.step
    document: JsonObject = {
        "address": str(step.address),
        "verb": str(step.verb),
        "cause": _cause(step.cause),
        "outcome": outcome_name(ended.outcome),
        "seconds": round(ended.seconds, 3),
    }
    match ended.outcome:
        case FailedStep(problem, error):
            document |= {"problem": problem_to_json(problem), "error": error}
        case Skipped(because):
            document["because"] = because
        case _:
            pass
    return document


def _service(service: ServiceStatus) -> JsonObject:
    return {
        "name": service.name,
        "state": service.state,
        "endpoints": dict(service.endpoints),
        "detail": service.detail,
        "engine": service.engine,
    }


def _extension(extension: ExtensionStatus) -> JsonObject:
    endpoints: list[Json] = [
        {"method": method, "path": path} for method, path in extension.endpoints
    ]
    return {
        "name": extension.name,
        "registry_id": extension.registry_id,
        "install_id": extension.install_id,
        "version": extension.version,
        "content_hash": extension.content_hash,
        "page_url": extension.page_url,
        "call_url": extension.call_url,
        "endpoints": endpoints,
        "portal_urls": dict(extension.portal_urls),
        "ready": extension.ready,
        "detail": extension.detail,
    }


def json_line(document: JsonObject) -> str:
    """One line of JSON, newline included; text stays readable, controls are escaped."""
    return escape_json(json.dumps(document, ensure_ascii=False)) + "\n"


class JsonLines:
    """Writes every event as a line of JSON at once; the report is the last."""

    def __init__(self, stream: TextIO, messages: TextIO) -> None:
        self._stream = stream
        self._messages = messages

    def emit(self, event: Event) -> None:
        """Write the event."""
        self._stream.write(json_line(event_to_json(event)))
        self._stream.flush()

    def stopping(self) -> None:
        """Acknowledge the interrupt on stderr; the report states it on stdout."""
        write_from_signal(self._messages, f"{STOPPING}\n")

    def close(self) -> None:
        """Nothing to do."""
