"""Requests to the gateway for one tenant, beside calls of handlers."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from algaenv.bundle.value import dataclass
from algaenv.cli.gateway_client import ask
from algaenv.model.status import ExtensionEndpoint

TENANT_HEADER = "x-algaenv-tenant"


class GatewayRefused(Exception):
    """The gateway did not do it; `status` is of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class TenantGateway:
    """The gateway at `url`, for `tenant`; empty: for that of the environment."""

    url: str
    tenant: str = ""

    def endpoint(self, extension: str = "") -> ExtensionEndpoint:
        """Where an extension (registry id) is called for the tenant."""
        headers = {TENANT_HEADER: self.tenant} if self.tenant else {}
        return ExtensionEndpoint(self.url, extension, headers=headers)

    def request(self, method: str, path: str, body: object = None) -> Any:
        """The JSON that it answers. Raises GatewayRefused, and NotReady when nothing answers."""
        content = None if body is None else json.dumps(body).encode()
        answer = ask(self.endpoint(), method, path, content, {"content-type": "application/json"})
        found = answer.read()
        if answer.status >= HTTPStatus.BAD_REQUEST:
            error = found.get("error") if isinstance(found, dict) else found
            raise GatewayRefused(answer.status, str(error or answer.phrase))
        return found
