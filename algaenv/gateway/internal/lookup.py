"""What runners ask about installs: whose a host name is, whether a bundle is installed, and all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from algaenv.gateway.body_limit import BodyTooSlow, in_time, too_slow
from algaenv.gateway.internal import jsontext, token
from algaenv.gateway.internal.door import Said, answer
from algaenv.gateway.internal.moments import spelled
from algaenv.gateway.internal.refusal import Invalid, shaped

if TYPE_CHECKING:
    from algaenv.gateway.house import House
    from algaenv.gateway.installs import Install

_log = logging.getLogger(__name__)


class _Asked(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    tenantId: Annotated[str, Field(min_length=1)]
    extensionId: Annotated[str, Field(min_length=1)]


class Lookup:
    """Three routes; no word about them on the feed, as they are asked for all the time."""

    def __init__(self, house: House) -> None:
        self._installs = house.installs
        self._key = house.environment.auth_key
        environment = house.environment
        self._token = token.first((environment.config_token, environment.storage_token))

    def routes(self) -> list[Route]:
        """See the module."""
        return [
            Route("/api/installs/lookup-by-host", self._by_host),
            Route("/api/installs/validate", self._validate),
            Route("/api/internal/ext-runner/install-config", self._config, methods=["POST"]),
        ]

    async def _by_host(self, request: Request) -> Response:
        if not self._knows_key(request):
            return answer(Said(401, {"error": "unauthorized"}))
        host = request.query_params.get("host")
        if not host:
            return answer(Said(400, {"error": "missing_host"}))
        try:
            owner = await self._installs.lookup_by_host(host)
        except Exception:
            _log.exception("cannot look up a host name")
            return answer(Said(500, {"error": "server_error"}))
        if owner is None:
            return answer(Said(404, {"error": "not_found"}))
        content = {
            "tenant_id": owner.tenant,
            "extension_id": owner.registry_id,
            "content_hash": owner.content_hash,
        }
        return answer(Said(200, content))

    async def _validate(self, request: Request) -> Response:
        if not self._knows_key(request):
            return answer(Said(401, {"error": "unauthorized"}))
        query = request.query_params
        try:
            valid = await self._installs.validate(
                query.get("tenant", ""), query.get("extension", ""), query.get("hash", "")
            )
        except Exception:
            # The product takes any failure for a no; that the database is down is said here only.
            _log.exception("cannot validate an install")
            valid = False
        return answer(Said(200, {"valid": valid}))

    async def _config(self, request: Request) -> Response:
        if not token.shown(request.headers.get(token.RUNNER_HEADER), self._token):
            return answer(Said(401, {"error": "unauthorized"}))
        try:
            asked = shaped(_Asked, jsontext.read(await in_time(request.body())))
            install = await self._installs.find(asked.extensionId)
        except Invalid as error:
            return answer(Said(400, {"error": "invalid_request", "details": error.details}))
        except BodyTooSlow:
            return too_slow()
        except Exception:
            _log.exception("cannot read the configuration of an install")
            return answer(Said(500, {"error": "internal_error"}))
        if install is None or install.tenant != asked.tenantId:
            return answer(Said(404, {"error": "install_not_found"}))
        return answer(Said(200, _configuration(install)))

    def _knows_key(self, request: Request) -> bool:
        """Without a key of its own the product takes any, as long as there is one."""
        given = request.headers.get(token.KEY_HEADER)
        return token.shown(given, self._key) if self._key else bool(given)


def _configuration(install: Install) -> dict[str, Any]:
    versions = {
        "configVersion": install.config_version,
        "secretsVersion": install.secrets_version,
    }
    return {
        "tenantId": install.tenant,
        "extensionSlug": install.slug,
        "installId": install.install_id,
        "versionId": install.version_id,
        "registryId": install.registry_id,
        "contentHash": install.content_hash,
        "config": install.config,
        "providers": install.providers,
        **{name: value for name, value in versions.items() if value is not None},
        "secretEnvelope": install.secret_envelope,
        "updatedAt": spelled(install.config_updated_at),
    }
