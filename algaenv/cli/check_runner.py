"""Makes the checks of an extension, one after another, as its users would."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from algaenv.bundle.value import replace
from algaenv.cli.gateway_client import USER, GatewayRequest, GatewayResponse, ask, send_request
from algaenv.comparison.subset import missing_parts
from algaenv.model.check import CheckResult
from algaenv.model.comparison import Difference
from algaenv.model.intent import CallCheck, Check, ExpectedAnswer, PageCheck, ScheduleCheck
from algaenv.model.problem import NotReady
from algaenv.model.status import ExtensionEndpoint, ExtensionStatus
from algaenv.reconcile.endpoints import portal_path

_SCHEDULES = "/algaenv/schedules"
_HTML = "text/html"
_LONGEST = 72


def run_checks(
    endpoint: ExtensionEndpoint, status: ExtensionStatus, checks: Sequence[Check]
) -> Iterator[CheckResult]:
    """The result of each check, as it is there. A gateway that does not answer is a failure."""
    for check in checks:
        started = time.perf_counter()
        try:
            match check:
                case CallCheck():
                    result = _call(endpoint, status.name, check)
                case PageCheck():
                    result = _page(endpoint, status, check)
                case ScheduleCheck():
                    result = _schedule(endpoint, status, check)
        except NotReady as error:
            problem = error.problem
            result = _result(
                status.name, check, "no answer", (problem.summary,), (f"hint: {problem.hint}",)
            )
        yield replace(result, ms=round((time.perf_counter() - started) * 1000, 1))


def unmet(expected: ExpectedAnswer, response: GatewayResponse) -> tuple[str, ...]:
    """What an answer lacks of what is expected of it, in phrases."""
    found = []
    if expected.status is None and response.failed:
        found.append(f"status: {response.status} instead of one below 400")
    if expected.status not in (None, response.status):
        found.append(f"status: {response.status} instead of {expected.status}")
    for name, value in expected.headers.items():
        there = response.headers.get(name)
        if there is None:
            found.append(f"header {name}: absent instead of {value!r}")
        elif value not in (there, there.partition(";")[0].rstrip()):
            found.append(f"header {name}: {there!r} instead of {value!r}")
    for wanted in expected.json:
        found += _unmet_json(wanted, response)
    if expected.text is not None and expected.text not in response.body.decode(errors="replace"):
        found.append(f"body: does not contain {expected.text!r}")
    return tuple(found)


def _unmet_json(wanted: Any, response: GatewayResponse) -> list[str]:
    try:
        body = json.loads(response.body)
    except (ValueError, RecursionError):
        return ["body: is no JSON"]
    return [_phrase(it) for it in missing_parts(wanted, body)]


def _phrase(difference: Difference) -> str:
    place = f"body {difference.at}".rstrip()
    found = _short(difference.there[0]) if difference.there else "absent"
    return f"{place}: {found} instead of {_short(difference.here[0])}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _call(endpoint: ExtensionEndpoint, extension: str, check: CallCheck) -> CheckResult:
    body = None if check.body is None else check.body.encode()
    request = GatewayRequest(check.method, check.path, body, check.user, check.headers)
    response = send_request(endpoint, request)
    failures = unmet(check.expect, response)
    details = _reported(response) if failures else ()
    return _result(extension, check, _answer(response), failures, details)


def _answer(response: GatewayResponse) -> str:
    return f"{response.status} {response.phrase}".rstrip()


def _reported(response: GatewayResponse) -> tuple[str, ...]:
    """Why a call failed, as the gateway says; else what the body begins with."""
    error = response.error
    if error is None:
        text = " ".join(response.body[:2000].decode(errors="replace").split())
        return (f"body: {text[:300]}",) if text else ()
    lines = [error.summary]
    lines += [f"reason: {error.reason}"] if error.reason else []
    lines += [f"last host call: {error.host_call}"] if error.host_call else []
    lines += [f"stderr: {line}" for line in error.stderr]
    lines += [f"hint: {error.hint}"] if error.hint else []
    return tuple(lines)


def _page(endpoint: ExtensionEndpoint, status: ExtensionStatus, check: PageCheck) -> CheckResult:
    """The page around it in the portal, then the page itself."""
    if check.portal not in status.portal_urls or status.page_url is None:
        shown = ", ".join(status.portal_urls) or "none"
        failure = f"page: it has none in the portal {check.portal} (its manifest has: {shown})"
        return _result(status.name, check, "no page", (failure,))
    headers = {"accept": _HTML, **({USER: check.user} if check.user else {})}
    path = portal_path(check.portal, endpoint.extension)
    around = ask(endpoint, "GET", path, None, headers)
    failures = _not_loaded("portal page", around)
    if failures:
        return _result(status.name, check, _answer(around), failures, _reported(around))
    parts = urlsplit(status.page_url)
    runner = replace(endpoint, gateway=f"{parts.scheme}://{parts.netloc}")
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    page = ask(runner, "GET", target, None, headers)
    failures = _not_loaded("page", page)
    lacks = check.text is not None and check.text not in page.body.decode(errors="replace")
    if lacks and not failures:
        failures = (f"page: does not contain {check.text!r}",)
    return _result(status.name, check, _answer(page), failures)


def _not_loaded(what: str, response: GatewayResponse) -> tuple[str, ...]:
    if response.status != HTTPStatus.OK:
        return (f"{what}: status {response.status} instead of 200",)
    kind = response.headers.get("content-type", "")
    return () if kind.startswith(_HTML) else (f"{what}: {kind or 'nothing'} instead of {_HTML}",)


def _schedule(
    endpoint: ExtensionEndpoint, status: ExtensionStatus, check: ScheduleCheck
) -> CheckResult:
    listed = ask(endpoint, "GET", _SCHEDULES).read()
    schedules = listed.get("schedules") if isinstance(listed, dict) else None
    rows = [it for it in schedules if isinstance(it, dict)] if isinstance(schedules, list) else []
    wanted = [it for it in rows if _is_of(it, status, check)]
    if not wanted:
        failure = f"schedule: the extension has none of {check.method} {check.path}"
        hint = "hint: let an earlier check call what makes the schedule"
        return _result(status.name, check, "none", (failure,), (hint,))
    failures: list[str] = []
    for row in wanted:
        target = f"{_SCHEDULES}/{quote(str(row['id']), safe='')}/run"
        failures += _not_run(row, ask(endpoint, "POST", target))
    count = len(wanted)
    return _result(status.name, check, f"{count} run" if count == 1 else f"{count} runs", failures)


def _is_of(row: Mapping[str, Any], status: ExtensionStatus, check: ScheduleCheck) -> bool:
    return (
        row.get("installId") == status.install_id
        and row.get("endpointPath") == check.path
        and check.method in ("", row.get("endpointMethod"))
    )


def _not_run(row: Mapping[str, Any], response: GatewayResponse) -> list[str]:
    ended = response.read()
    fields = ended if isinstance(ended, dict) else {}
    if response.status == HTTPStatus.OK and fields.get("status") == "success":
        return []
    why = fields.get("error") or _answer(response)
    detail = f" ({fields['detail']})" if fields.get("detail") else ""
    return [f"schedule {row.get('name') or row['id']}: {why}{detail}"]


def _about(check: Check) -> str:
    match check:
        case PageCheck():
            return f"page in {check.portal}"
        case ScheduleCheck():
            return f"schedule of {check.method} {check.path}".replace("  ", " ")
        case CallCheck():
            return f"{check.method} {check.path}"


def _result(
    extension: str,
    check: Check,
    answer: str,
    failures: Sequence[str],
    details: Sequence[str] = (),
) -> CheckResult:
    return CheckResult(
        extension,
        check.name,
        _about(check),
        answer,
        0.0,
        tuple(failures),
        tuple(details) if failures else (),
        check.where,
    )
