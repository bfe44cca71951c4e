"""What is sent to a runner for one call: pure functions from an install and a request.

The two gateways of the product differ in small things that a handler can see, and runs of
schedules in more; each has its column here.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from algaenv.gateway.installs import Install
from algaenv.gateway.users import User

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Road(StrEnum):
    """Which way a call came."""

    DIRECT = "direct"
    PROXY = "proxy"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Asked:
    """The HTTP part of a call, as the handler shall see it."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those of the caller that go on; the names of tenant and extension are added."""
    body: bytes | None = None
    """Left out for GET, whatever it is."""


def document(
    install: Install,
    asked: Asked,
    *,
    road: Road,
    request_id: str,
    timeout_ms: int,
    user: User | None = None,
    trigger: Mapping[str, str],
) -> bytes:
    """The JSON body. What is empty is left out, as far as the product does."""
    http: dict[str, object] = {"method": asked.method, "path": asked.path}
    if road is Road.PROXY:
        http["url"] = asked.path
    http["query"] = asked.query
    http["headers"] = {
        **asked.headers,
        "x-alga-tenant": install.tenant,
        "x-alga-extension": install.registry_id,
    }
    if asked.body is not None and asked.method not in {"GET", "HEAD"}:
        http["body_b64"] = b64encode(asked.body).decode()
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
    if road is Road.PROXY:
        fields["endpoint"] = f"ui-proxy:{asked.path}"
    if user is not None:
        fields["user"] = _user(user, road)
    # A path may hold what is no text; the caller wrote it, and the handler may read it.
    return _encode(fields).encode(errors="replace")


def routing(
    install: Install,
    method: str,
    *,
    road: Road,
    request_id: str,
    idempotency_key: str | None,
    service_token: str,
    inbound_token: str,
) -> dict[str, str]:
    """The headers of the request. A key of the proxy's callers is not among them: the product
    hands it to the handler instead."""
    headers = {
        "content-type": "application/json",
        "x-request-id": request_id,
        "x-alga-tenant": install.tenant,
        "x-alga-extension": install.registry_id,
    }
    if inbound_token:
        # The product shows its token on the proxy's road only.
        headers["x-runner-service-token"] = inbound_token
    if road is not Road.PROXY:
        if method not in {"GET", "HEAD"} or road is Road.SCHEDULE:
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


def _user(user: User, road: Road) -> dict[str, object]:
    fields: dict[str, object] = {
        "user_id": user.id,
        "user_email": user.email,
        "user_name": user.name,
        "user_type": user.type,
    }
    if user.client_name:
        fields["client_name" if road is Road.PROXY else "company_name"] = user.client_name
    if user.client_id:
        fields["client_id"] = user.client_id
    if road is Road.PROXY:
        fields["additional_fields"] = user.additional_fields
    return fields
