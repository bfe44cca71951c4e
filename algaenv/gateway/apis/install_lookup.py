"""Look-ups for runners: the owner of a host name, the validity of a bundle, and an install."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from algaenv.gateway.apis.api_endpoint import (
    API_KEY_HEADER,
    MAX_BODY_BYTES,
    RUNNER_AUTH_HEADER,
    TOO_LARGE,
    ApiResponse,
    InvalidBody,
    first_token,
    parse_body,
    to_http,
    token_matches,
)
from algaenv.gateway.db import log_failure
from algaenv.gateway.javascript import iso_timestamp, parse_json
from algaenv.serving.request_limits import (
    BodyTooLarge,
    BodyTooSlow,
    body_timeout_response,
    read_body,
)

if TYPE_CHECKING:
    from algaenv.gateway.installs import Install
    from algaenv.gateway.state import AppState

_log = logging.getLogger(__name__)


class _ConfigurationRequest(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    tenantId: Annotated[str, Field(min_length=1)]
    extensionId: Annotated[str, Field(min_length=1)]


class InstallLookup:
    """Three routes. They publish no events, since runners call them all the time."""

    def __init__(self, state: AppState) -> None:
        self._installs = state.installs
        self._key = state.config.auth_key
        config = state.config
        self._token = first_token((config.config_token, config.storage_token))

    def routes(self) -> list[Route]:
        """See the module."""
        return [
            Route("/api/installs/lookup-by-host", self._by_host),
            Route("/api/installs/validate", self._validate),
            Route("/api/internal/ext-runner/install-config", self._config, methods=["POST"]),
        ]

    async def _by_host(self, request: Request) -> Response:
        if not self._knows_key(request):
            return to_http(ApiResponse(401, {"error": "unauthorized"}))
        host = request.query_params.get("host")
        if not host:
            return to_http(ApiResponse(400, {"error": "missing_host"}))
        try:
            owner = await self._installs.lookup_by_host(host)
        except Exception as error:
            log_failure(_log, "cannot look up a host name", error)
            return to_http(ApiResponse(500, {"error": "server_error"}))
        if owner is None:
            return to_http(ApiResponse(404, {"error": "not_found"}))
        content = {
            "tenant_id": owner.tenant,
            "extension_id": owner.registry_id,
            "content_hash": owner.content_hash,
        }
        return to_http(ApiResponse(200, content))

    async def _validate(self, request: Request) -> Response:
        if not self._knows_key(request):
            return to_http(ApiResponse(401, {"error": "unauthorized"}))
        query = request.query_params
        try:
            valid = await self._installs.validate(
                query.get("tenant", ""), query.get("extension", ""), query.get("hash", "")
            )
        except Exception as error:
            # The product takes any failure for a no; that the database is down is said here only.
            log_failure(_log, "cannot validate an install", error)
            valid = False
        return to_http(ApiResponse(200, {"valid": valid}))

    async def _config(self, request: Request) -> Response:
        if not token_matches(request.headers.get(RUNNER_AUTH_HEADER), self._token):
            return to_http(ApiResponse(401, {"error": "unauthorized"}))
        try:
            content = await read_body(request, MAX_BODY_BYTES)
            body = parse_body(_ConfigurationRequest, parse_json(content))
            install = await self._installs.find(body.extensionId)
        except InvalidBody as error:
            return to_http(ApiResponse(400, {"error": "invalid_request", "details": error.details}))
        except BodyTooSlow:
            return body_timeout_response()
        except BodyTooLarge:
            return to_http(TOO_LARGE)
        except Exception as error:
            log_failure(_log, "cannot read the configuration of an install", error)
            return to_http(ApiResponse(500, {"error": "internal_error"}))
        if install is None or install.tenant != body.tenantId or not install.available:
            return to_http(ApiResponse(404, {"error": "install_not_found"}))
        return to_http(ApiResponse(200, _configuration(install)))

    def _knows_key(self, request: Request) -> bool:
        """Without a key of its own the product takes any, as long as there is one."""
        given = request.headers.get(API_KEY_HEADER)
        return token_matches(given, self._key) if self._key else bool(given)


def _configuration(install: Install) -> dict[str, Any]:
    versions = {
        "configVersion": install.config_version,
        "secretsVersion": install.secrets_version,
    }
    return {
        "tenantId": install.tenant,
        "extensionSlug": f"{install.publisher}.{install.name}",
        "installId": install.install_id,
        "versionId": install.version_id,
        "registryId": install.registry_id,
        "contentHash": install.content_hash,
        "config": install.config,
        "providers": install.providers,
        **{name: value for name, value in versions.items() if value is not None},
        "secretEnvelope": install.secret_envelope,
        "updatedAt": iso_timestamp(install.config_updated_at),
    }
