"""The client of the runner: the request for one call, and everything that the runner answers.

Both gateways of the product differ in small things that a handler can see, and runs of schedules
in more; `EntryPoint` says which applies. What the product drops from an answer is kept.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from algaenv.gateway.http_client import HttpClient, HttpResponse, RequestFailed, ResponseTooLarge
from algaenv.gateway.installs import Install
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
    """Left out for GET, whatever it is."""


def execute_request(
    install: Install,
    request: HandlerRequest,
    *,
    entry_point: EntryPoint,
    request_id: str,
    timeout_ms: int,
    user: User | None = None,
    trigger: Mapping[str, str],
) -> bytes:
    """The JSON body. What is empty is left out, as far as the product does."""
    http: dict[str, object] = {"method": request.method, "path": request.path}
    if entry_point is EntryPoint.PROXY:
        http["url"] = request.path
    http["query"] = request.query
    http["headers"] = {
        **request.headers,
        "x-alga-tenant": install.tenant,
        "x-alga-extension": install.registry_id,
    }
    if request.body is not None and request.method not in {"GET", "HEAD"}:
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
        fields["user"] = _user_fields(user, entry_point)
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
        if method not in {"GET", "HEAD"} or entry_point is EntryPoint.SCHEDULE:
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


def _user_fields(user: User, entry_point: EntryPoint) -> dict[str, object]:
    fields: dict[str, object] = {
        "user_id": user.id,
        "user_email": user.email,
        "user_name": user.name,
        "user_type": user.type,
    }
    if user.client_name:
        fields["client_name" if entry_point is EntryPoint.PROXY else "company_name"] = (
            user.client_name
        )
    if user.client_id:
        fields["client_id"] = user.client_id
    if entry_point is EntryPoint.PROXY:
        fields["additional_fields"] = user.additional_fields
    return fields


EXECUTE_PATH = "/v1/execute"

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
"""Of an answer of the runner, where its caller wants no less."""

_FIRST_ERROR_STATUS = 400
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
    headers: Mapping[str, str]
    """The handler's, names in lower case."""
    body: bytes | None
    error: str | None
    """Begins with the runner's word for what went wrong; the product drops it."""
    failure: HandlerFailure | None
    runner_headers: Mapping[str, str]
    """Of the runner's own HTTP answer, names in lower case."""
    ms: float


@dataclass(frozen=True, slots=True)
class RunnerRefused:
    """The runner answered with something that is no answer: HTTP `status` and how it begins."""

    status: int
    text: str
    ms: float
    error: str | None = None
    """Its `error`, where the refusal is a JSON object that has one."""


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

    def __init__(self, runner_url: str, service_token: str, inbound_token: str = "") -> None:
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
        idempotency_key: str | None = None,
        trigger: Mapping[str, str] | None = None,
        max_bytes: int | None = None,
    ) -> RunnerOutcome:
        """Have a handler run; never raises for what the runner does.

        The handler has `timeout_ms`, and the answer has to be there within `seconds`, if that is
        less. `trigger` is added to the context (`{"trigger": "schedule", "schedule_id": …}`). An
        answer of more than `max_bytes`, else MAX_RESPONSE_BYTES, is refused and not read further.
        """
        content = execute_request(
            install,
            request,
            entry_point=entry_point,
            request_id=request_id,
            timeout_ms=timeout_ms,
            user=user,
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
        started = time.perf_counter()
        try:
            async with asyncio.timeout(min(timeout_ms / 1000, seconds)):
                answer = await self._http_client.post(
                    content, headers, max_bytes or MAX_RESPONSE_BYTES
                )
        except TimeoutError:
            return RunnerTimedOut(_elapsed_ms(started))
        except ResponseTooLarge as error:
            return RunnerRefused(error.status, str(error), _elapsed_ms(started))
        except RequestFailed as error:
            return RunnerUnreachable(str(error), _elapsed_ms(started))
        return parse_response(answer, _elapsed_ms(started))

    def close(self) -> None:
        """Close the connections kept open."""
        self._http_client.close()


def _elapsed_ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)


def parse_response(answer: HttpResponse, ms: float) -> RunnerOutcome:
    """The outcome that an answer of the runner stands for; `ms` is how long it took."""
    content = answer.content
    try:
        document: Any = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if answer.status >= _FIRST_ERROR_STATUS or not isinstance(document, dict):
        error = document.get("error") if isinstance(document, dict) else None
        return RunnerRefused(
            answer.status,
            content[:_EXCERPT_BYTES].decode(errors="replace"),
            ms,
            _text_or_none(error),
        )
    status, body = document.get("status"), document.get("body_b64")
    try:
        decoded = b64decode(body, validate=True) if isinstance(body, str) else None
    except ValueError:
        return RunnerRefused(answer.status, "its body_b64 is not base64", ms)
    return HandlerResult(
        status=status if isinstance(status, int) else 200,
        headers=_parse_headers(document.get("headers")),
        body=decoded,
        error=_text_or_none(document.get("error")),
        failure=_parse_failure(document.get("failure"), answer.headers),
        runner_headers=answer.headers,
        ms=ms,
    )


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _parse_headers(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name.lower(): each for name, each in value.items() if isinstance(each, str)}


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
