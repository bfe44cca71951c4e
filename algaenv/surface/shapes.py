"""How values look in JSON: the shapes that docs/reference/*.schema.json describe.

Keys are only ever added. No secret has a place in any of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from algaenv.model.event import Event, Planned, Reported
from algaenv.model.secret import Secret

if TYPE_CHECKING:
    from algaenv.model.outcome import Ended, Report
    from algaenv.model.plan import Cause, Kept, Plan, Step
    from algaenv.model.problem import Problem
    from algaenv.model.resource import Json
    from algaenv.model.status import ExtensionStatus, ServiceStatus, Status
    from algaenv.surface.calling import Answer, Asked

VERSION = 1
"""Of these shapes; it changes only when a key changes its meaning or goes away."""

Shape = dict[str, "Json"]


def of_problem(problem: Problem) -> Shape:
    """Code, summary, hint, detail; and file, line, column when the problem has a place."""
    shape: Shape = {"code": problem.code, "summary": problem.summary}
    if problem.hint:
        shape["hint"] = problem.hint
    if problem.detail:
        shape["detail"] = list(problem.detail)
    if problem.where:
        shape |= {
            "file": problem.where.file,
            "line": problem.where.line,
            "column": problem.where.column,
        }
    return shape


def of_step(step: Step) -> Shape:
    """A step of a plan."""
    needs: list[Json] = [str(need) for need in sorted(step.needs)]
    return {
        "verb": str(step.verb),
        "address": str(step.address),
        "cause": _cause(step.cause),
        "needs": needs,
    }


def of_event(event: Event) -> Shape:
    """`{"event": "<snake_name>", …}` with the fields of the event."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(event).__name__).lower()
    match event:
        case Reported(report):
            return of_report(report)
        case Planned(steps):
            return {"event": name, "steps": [of_step(step) for step in steps]}
        case _:
            fields = {key: getattr(event, key) for key in event.__dataclass_fields__}
            return {"event": name} | _flat(fields)


def of_report(report: Report) -> Shape:
    """The last event of a run, and the whole answer of a command that failed."""
    return {
        "event": "report",
        "version": VERSION,
        "verb": report.verb,
        "changed": report.changed,
        "failed": report.failed,
        "interrupted": report.interrupted,
        "steps": [_ended(ended) for ended in report.ended],
        "problems": [of_problem(problem) for problem in report.problems],
        "kept": [_kept(kept) for kept in report.kept],
    }


def of_plan(plan: Plan, warnings: tuple[Problem, ...] = ()) -> Shape:
    """What `plan --json` prints."""
    deferred: list[Json] = [
        {"address": str(one.resource.address), "why": one.why} for one in plan.deferred
    ]
    blocked: list[Json] = [
        {"address": str(one.address), "problem": of_problem(one.problem)} for one in plan.blocked
    ]
    engines: list[Json] = [
        {"service": it.service, "name": it.name, "version": it.version, "source": it.source}
        for it in plan.engines
    ]
    return {
        "version": VERSION,
        "plan": {
            "steps": [of_step(step) for step in plan.steps],
            "deferred": deferred,
            "blocked": blocked,
            "kept": [_kept(kept) for kept in plan.kept],
            "engines": engines,
        },
        "changes": len(plan.changes),
        "warnings": [of_problem(warning) for warning in warnings],
    }


def of_status(status: Status, warnings: tuple[Problem, ...] = ()) -> Shape:
    """What `status --json` prints; of a secret variable only the name is told."""
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
        "warnings": [of_problem(warning) for warning in warnings],
    }


def of_answer(extension: str, asked: Asked, answer: Answer) -> Shape:
    """What `call --json` prints."""
    headers: Shape = dict(answer.headers)
    shape: Shape = {
        "version": VERSION,
        "extension": extension,
        "method": asked.method,
        "path": asked.path,
        "status": answer.status,
        "ms": answer.ms,
        "headers": headers,
        "body": answer.read(),
    }
    if trouble := answer.trouble:
        shape["trouble"] = {
            "summary": trouble.summary,
            "hint": trouble.hint,
            "reason": trouble.reason,
            "stderr": list(trouble.stderr),
        }
    return shape


def _flat(fields: dict[str, object]) -> Shape:
    """The fields of a small event: a step becomes its address, verb and cause."""
    from algaenv.model.plan import Step
    from algaenv.model.problem import Problem

    shape: Shape = {}
    for key, value in fields.items():
        match value:
            case None:
                continue
            case Step():
                shape |= {
                    "address": str(value.address),
                    "verb": str(value.verb),
                    "cause": _cause(value.cause),
                }
            case Problem():
                shape[key] = of_problem(value)
            case float():
                shape[key] = round(value, 3)
            case _:
                shape[key] = str(value)
    return shape


def _cause(cause: Cause) -> Shape:
    return {"kind": cause.kind, "detail": list(cause.detail)}


def _kept(kept: Kept) -> Shape:
    return {"address": str(kept.address), "why": kept.why}


def _ended(ended: Ended) -> Shape:
    from algaenv.model.outcome import FailedStep, Skipped, word

    step = ended.step
    shape: Shape = {
        "address": str(step.address),
        "verb": str(step.verb),
        "cause": _cause(step.cause),
        "outcome": word(ended.outcome),
        "seconds": round(ended.seconds, 3),
    }
    match ended.outcome:
        case FailedStep(problem, error):
            shape |= {"problem": of_problem(problem), "error": error}
        case Skipped(because):
            shape["because"] = because
        case _:
            pass
    return shape


def _service(service: ServiceStatus) -> Shape:
    return {
        "name": service.name,
        "state": service.state,
        "endpoints": dict(service.endpoints),
        "detail": service.detail,
        "engine": service.engine,
    }


def _extension(extension: ExtensionStatus) -> Shape:
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
