"""The client of the runner: the request for one call, and everything that the runner answers.

Both gateways of the product differ in small things that a handler can see, and runs of schedules
in more; `EntryPoint` says which applies. What the product drops from an answer is kept.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from algaenv.gateway.http_client import HttpClient, HttpResponse, RequestFailed, ResponseTooLarge
from algaenv.gateway.installs import Install
from algaenv.gateway.javascript import (
    decode_base64,
    is_true,
    parse_json,
    to_number,
    to_text,
)
from algaenv.gateway.users import User

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class EntryPoint(StrEnum):
    """The way a call came in."""

    DIRECT = "direct"
    PROXY = "proxy"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class HandlerRequest:
    """The HTTP part of a call, as the handler shall see it."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those of the caller that go on; the names of tenant and extension are added."""
    body: bytes | None = None
    """Left out for GET, whatever it is; HEAD has an empty one."""


def execute_request(
    install: Install,
    request: HandlerRequest,
    *,
    entry_point: EntryPoint,
    request_id: str,
    timeout_ms: int,
    user: User | None = None,
    company: str | None = None,
    trigger: Mapping[str, str],
) -> bytes:
    """The JSON body. What is empty is left out, as far as the product does.

    `company` is what the handler is told of whose `user` it is; None leaves it out.
    """
    http: dict[str, object] = {"method": request.method, "path": request.path}
    if entry_point is EntryPoint.PROXY:
        http["url"] = request.path
    http["query"] = request.query
    http["headers"] = {
        **request.headers,
        "x-alga-tenant": install.tenant,
        "x-alga-extension": install.registry_id,
    }
    if request.body is not None and request.method != "GET":
        http["body_b64"] = b64encode(request.body).decode()
    fields: dict[str, object] = {
        "context": {
            "request_id": request_id,
            "tenant_id": install.tenant,
            "extension_id": install.registry_id,
            "install_id": install.install_id,
            "version_id": install.version_id,
            "content_hash": install.content_hash,
            "config": install.config,
            **trigger,
        },
        "http": http,
        "limits": {"timeout_ms": timeout_ms},
    }
    if install.providers:
        fields["providers"] = install.providers
    if install.secret_envelope is not None:
        fields["secret_envelope"] = install.secret_envelope
    if entry_point is EntryPoint.PROXY:
        fields["endpoint"] = f"ui-proxy:{request.path}"
    if user is not None:
        fields["user"] = _user_fields(user, entry_point, company)
    # A path may hold what is no text; the caller wrote it, and the handler may read it.
    return _encode(fields).encode(errors="replace")


def execute_headers(
    install: Install,
    method: str,
    *,
    entry_point: EntryPoint,
    request_id: str,
    idempotency_key: str | None,
    service_token: str,
    inbound_token: str,
) -> dict[str, str]:
    """The headers of the request. A key of the proxy's callers is not among them: the product
    passes it to the handler instead."""
    headers = {
        "content-type": "application/json",
        "x-request-id": request_id,
        "x-alga-tenant": install.tenant,
        "x-alga-extension": install.registry_id,
    }
    if inbound_token:
        # The product sends its token through the proxy only.
        headers["x-runner-service-token"] = inbound_token
    if entry_point is not EntryPoint.PROXY:
        if method != "GET" or entry_point is EntryPoint.SCHEDULE:
            headers["x-idempotency-key"] = idempotency_key or request_id
        return headers
    headers["x-ext-install-id"] = install.install_id
    headers["x-ext-version-id"] = install.version_id
    headers["x-ext-registry-id"] = install.registry_id
    for name, value in (
        ("x-ext-config-version", install.config_version),
        ("x-ext-secrets-version", install.secrets_version),
        ("x-runner-service-token", inbound_token or service_token),
    ):
        if value:
            headers[name] = value
    return headers


def _scratch_headers(tenant: str, owner: str, headers: Mapping[str, str]) -> dict[str, str]:
    """What differs in a call for a scratch tenant.

    Its bundle lies under the `owner`, the tenant of the environment; its keys are its own all the
    same; and its HTTP requests are answered here, by `algaenv.gateway.apis.outbound_http`.
    """
    found = {"x-alga-tenant": owner, OUTBOUND_HEADER: "gateway"}
    if key := headers.get("x-idempotency-key"):
        found["x-idempotency-key"] = f"{tenant}/{key}"
    return found


def _user_fields(user: User, entry_point: EntryPoint, company: str | None) -> dict[str, object]:
    fields: dict[str, object] = {
        "user_id": user.id,
        "user_email": user.email,
        "user_name": user.name,
        "user_type": user.type,
    }
    if company is not None:
        fields["client_name" if entry_point is EntryPoint.PROXY else "company_name"] = company
    if user.client_id:
        fields["client_id"] = user.client_id
    if entry_point is EntryPoint.PROXY:
        fields["additional_fields"] = user.additional_fields
    return fields


EXECUTE_PATH = "/v1/execute"
OUTBOUND_HEADER = "x-algaenv-outbound"
"""`gateway`: our runner asks the gateway in place of the servers that a handler asks."""
TRACE_HEADER = "x-algaenv-trace"
"""What a call did, in answers of our runner; a caller asks for it with a header of this name."""

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
"""Of an answer of the runner, where its caller wants no less."""

_SUCCESS = range(200, 300)
_FIRST_ERROR_STATUS = 400
_BAD_GATEWAY = 502
_EXCERPT_BYTES = 500


@dataclass(frozen=True, slots=True)
class HandlerFailure:
    """Why a handler gave no answer; only our runner reports it."""

    kind: str
    reason: str
    causes: tuple[str, ...]
    stderr: tuple[str, ...]
    """The last lines that the guest wrote."""
    hint: str = ""
    host_call: str = ""
    """The last call of its host: `http.fetch: transport (ConnectError)`."""


@dataclass(frozen=True, slots=True)
class HandlerResult:
    """The runner answered, for the handler or in its place."""

    status: int
    """Whatever the handler says, also what is no status."""
    headers: Mapping[str, str]
    """The handler's, names in lower case."""
    body: bytes | None
    """None where there is none, which for a status without a body is not the same as empty."""
    error: str | None
    """Begins with the runner's word for what went wrong; the product drops it."""
    failure: HandlerFailure | None
    runner_headers: Mapping[str, str]
    """Of the runner's own HTTP answer, names in lower case."""
    ms: float
    answer: HttpResponse | None = None
    """As it came: runs of schedules read it in another way."""

    @property
    def trace(self) -> Mapping[str, Any]:
        """What the call did: `times` in ms, `lines`, `calls` and `more`; empty where untold."""
        try:
            found = json.loads(self.runner_headers.get(TRACE_HEADER, ""))
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class RunnerRefused:
    """The runner answered with something that is no answer: HTTP `status` and how it begins."""

    status: int
    text: str
    ms: float
    error: str | None = None
    """Its `error`, where the refusal is a JSON object that has one."""
    audit_error: str = "runner_error"
    audit_status: int = _BAD_GATEWAY
    """What the audit says of it."""
    answer: HttpResponse | None = None
    """As it came; None for one that is too large."""


@dataclass(frozen=True, slots=True)
class RunnerUnreachable:
    """No server answers there."""

    reason: str
    ms: float


@dataclass(frozen=True, slots=True)
class RunnerTimedOut:
    """The time of the call was over before there was an answer."""

    ms: float


RunnerOutcome = HandlerResult | RunnerRefused | RunnerUnreachable | RunnerTimedOut


class RunnerClient:
    """Asks the runner."""

    def __init__(
        self, runner_url: str, service_token: str, inbound_token: str = "", *, tenant: str = ""
    ) -> None:
        """`tenant`: that of the environment, whose bundles scratch tenants share."""
        self._tenant = tenant
        self._http_client = HttpClient(runner_url + EXECUTE_PATH)
        self._service_token = service_token
        self._inbound_token = inbound_token

    async def execute(
        self,
        install: Install,
        request: HandlerRequest,
        *,
        entry_point: EntryPoint,
        request_id: str,
        timeout_ms: int,
        seconds: float = math.inf,
        user: User | None = None,
        company: str | None = None,
        idempotency_key: str | None = None,
        trigger: Mapping[str, str] | None = None,
        trace_headers: Mapping[str, str] | None = None,
    ) -> RunnerOutcome:
        """Have a handler run; never raises for what the runner does.

        The handler has `timeout_ms`, and the answer has to be there within `seconds`, if that is
        less. `trigger` is added to the context (`{"trigger": "schedule", "schedule_id": …}`), and
        `trace_headers` (W3C Trace Context) to the headers. An answer of more than
        MAX_RESPONSE_BYTES is refused and not read further.
        """
        content = execute_request(
            install,
            request,
            entry_point=entry_point,
            request_id=request_id,
            timeout_ms=timeout_ms,
            user=user,
            company=company,
            trigger=trigger or {},
        )
        headers = execute_headers(
            install,
            request.method,
            entry_point=entry_point,
            request_id=request_id,
            idempotency_key=idempotency_key,
            service_token=self._service_token,
            inbound_token=self._inbound_token,
        )
        headers.update(trace_headers or {})
        if self._tenant and install.tenant != self._tenant:
            headers |= _scratch_headers(install.tenant, self._tenant, headers)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(min(timeout_ms / 1000, seconds)):
                answer = await self._http_client.post(content, headers, MAX_RESPONSE_BYTES)
        except TimeoutError:
            return RunnerTimedOut(_elapsed_ms(started))
        except ResponseTooLarge as error:
            return RunnerRefused(error.status, str(error), _elapsed_ms(started))
        except RequestFailed as error:
            return RunnerUnreachable(str(error), _elapsed_ms(started))
        return parse_response(answer, _elapsed_ms(started), entry_point)

    def close(self) -> None:
        """Close the connections kept open."""
        self._http_client.close()


def _elapsed_ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)


def parse_response(
    answer: HttpResponse, ms: float, entry_point: EntryPoint = EntryPoint.PROXY
) -> HandlerResult | RunnerRefused:
    """The outcome that an answer of the runner stands for; `ms` is how long it took.

    Both gateways read any JSON, and take what they miss for 200 without headers and body. The
    direct one cannot read `null`, nor a body that is neither a text nor empty.
    """
    direct = entry_point is EntryPoint.DIRECT
    text = answer.content.decode("utf-8-sig", errors="replace")
    audit = "runner_error", answer.status if answer.status >= _FIRST_ERROR_STATUS else _BAD_GATEWAY
    document: Any
    try:
        document, readable = parse_json(text), True
    except (ValueError, RecursionError):
        document, readable = None, False
        if direct and answer.status in _SUCCESS:
            audit = "invalid_response" if text else "empty_response", answer.status
    fields: dict[str, Any] = document if isinstance(document, dict) else {}
    status, body = fields.get("status"), fields.get("body_b64")
    error = _text_or_none(fields.get("error"))
    if direct and (document is None or (is_true(body) and not isinstance(body, str))):
        readable = False
    if not readable or answer.status not in _SUCCESS:
        excerpt = answer.content[:_EXCERPT_BYTES].decode(errors="replace")
        return RunnerRefused(answer.status, excerpt, ms, error, *audit, answer=answer)
    return HandlerResult(
        status=_direct_status(status, answer.status) if direct else _status(status, 200),
        headers=_parse_headers(fields.get("headers")),
        body=decode_base64(body) if isinstance(body, str) and (body or not direct) else None,
        error=error,
        failure=_parse_failure(fields.get("failure"), answer.headers),
        runner_headers=answer.headers,
        ms=ms,
        answer=answer,
    )


def _direct_status(value: object, missing: int) -> int:
    """What counts as false is missing; anything else is what `Number` makes of it."""
    return _status(to_number(value), 0) if is_true(value) else missing


def _status(value: object, missing: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return missing
    return int(value) if math.isfinite(value) else 0


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _parse_headers(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {
        name.lower(): ", ".join("" if it is None else to_text(it) for it in each)
        if isinstance(each, list)
        else each
        for name, each in value.items()
        if isinstance(each, str | list)
    }


def _parse_failure(value: object, headers: Mapping[str, str]) -> HandlerFailure | None:
    if not isinstance(value, dict):
        return None
    return HandlerFailure(
        kind=str(value.get("kind", "")),
        reason=str(value.get("reason", "")),
        causes=_texts(value.get("causes")),
        stderr=_texts(value.get("stderr")),
        hint=headers.get("x-algaenv-hint", ""),
        host_call=headers.get("x-algaenv-host-call", ""),
    )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
