"""The routes that runners call, for the document: five APIs, a configuration, two look-ups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from algaenv.gateway.apis.api_endpoint import API_KEY_HEADER, RUNNER_AUTH_HEADER, STATUS_BY_CODE
from algaenv.gateway.apis.scheduler import api, cron
from algaenv.gateway.apis.storage import requests
from algaenv.gateway.openapi import components
from algaenv.gateway.openapi.components import (
    ANY,
    BOOLEAN,
    INTEGER,
    NULLABLE_STRING,
    STRING,
    TIMESTAMP,
    UUID,
    BodySchemas,
    Json,
    array_of,
    enum_of,
    json_response,
    object_of,
    operation,
    parameter,
    ref,
)
from algaenv.gateway.quirks import QUIRK_HEADER as FAULT

RUNNER_TOKEN = {"type": "apiKey", "in": "header", "name": RUNNER_AUTH_HEADER}
REGISTRY_KEY = {"type": "apiKey", "in": "header", "name": API_KEY_HEADER}

_TOKEN: list[Json] = [{"runnerToken": []}]
_KEY: list[Json] = [{"registryKey": []}]
_BROKEN = json_response(
    "A body that is no JSON, an id that is no UUID, U+0000 in a text, or a failure of the gateway.",
    object_of({"error": STRING, "code": enum_of(["INTERNAL_ERROR"])}),
    [FAULT],
)
_CHANGED = {
    "revision": INTEGER,
    "ttlExpiresAt": TIMESTAMP,
    "createdAt": TIMESTAMP,
    "updatedAt": TIMESTAMP,
}
_SCHEDULE = {
    "id": STRING,
    "endpointPath": STRING,
    "endpointMethod": STRING,
    "name": NULLABLE_STRING,
    "cron": STRING,
    "timezone": STRING,
    "enabled": BOOLEAN,
    "payload": ANY,
    "lastRunAt": TIMESTAMP,
    "lastRunStatus": NULLABLE_STRING,
    "lastError": NULLABLE_STRING,
    "createdAt": TIMESTAMP,
}
_INVOICE = {
    "invoiceId": UUID,
    "invoiceNumber": STRING,
    "status": enum_of(["draft"]),
    "subtotal": INTEGER,
    "tax": INTEGER,
    "total": INTEGER,
}


def schemas() -> Json:
    """Those that other parts of the document refer to."""
    return {"Schedule": object_of(_SCHEDULE), "Invoice": object_of(_INVOICE)}


def paths(schemas_of: BodySchemas) -> Json:
    """Path → what can be asked there; `schemas_of` collects the schemas of bodies."""
    return {
        **_api("storage", components.storage(schemas_of), _storage(), _STORAGE),
        **_api("scheduler", components.scheduler(schemas_of), _scheduler(), _SCHEDULER),
        **_api("invoicing", components.invoicing(schemas_of), _invoicing(), _INVOICING),
        **_api("clients", components.directory(schemas_of, "Client"), _directory(_CLIENT), _READ),
        **_api(
            "services", components.directory(schemas_of, "Service"), _directory(_SERVICE), _READ
        ),
        "/api/internal/ext-runner/install-config": {"post": _configuration()},
        "/api/installs/lookup-by-host": {"get": _by_host()},
        "/api/installs/validate": {"get": _validate()},
    }


_STORAGE = (
    f"Records of JSON under keys in namespaces: {requests.MAX_NAMESPACES} namespaces with "
    f"{requests.MAX_KEYS} keys, {requests.MAX_TOTAL_BYTES >> 20} MiB in all, "
    f"{requests.MAX_VALUE_BYTES >> 10} KiB a value, "
    f"{requests.MAX_METADATA_BYTES >> 10} KiB of metadata, "
    f"{requests.MAX_BULK_BYTES >> 10} KiB at once. Lists are sorted by key. "
    "`ifRevision` must be the revision of the record."
)
_SCHEDULER = (
    f"At most {cron.MAX_SCHEDULES} schedules of an install, {api.MAX_CHANGES} changes in "
    f"{api.CHANGES_SECONDS:g} s. `endpoint` is `/path` or `METHOD /path`, GET or POST, without "
    "parameters. A cron expression has five fields; every five minutes is the most."
)
_INVOICING = (
    "Makes a draft, which is kept in memory only: `/algaenv/invoices` lists it. Needs "
    "`cap:invoice.manual.create`. Amounts are in minor units."
)
_READ = (
    "Those of the gateway's settings. Needs the capability; with `user` also the permission, "
    "as users of the settings have it by their id."
)
_CLIENT = {
    "clientId": UUID,
    "clientName": STRING,
    "clientType": enum_of(["company", "individual", None]),
    "isInactive": BOOLEAN,
    "defaultCurrencyCode": NULLABLE_STRING,
    "accountManagerId": NULLABLE_STRING,
    "accountManagerName": NULLABLE_STRING,
    "billingEmail": NULLABLE_STRING,
}
_SERVICE = {
    "serviceId": UUID,
    "serviceName": STRING,
    "itemKind": enum_of(["service", "product"]),
    "billingMethod": enum_of(["fixed", "hourly", "usage"]),
    "serviceTypeId": NULLABLE_STRING,
    "serviceTypeName": NULLABLE_STRING,
    "defaultRate": {"type": "number"},
    "unitOfMeasure": STRING,
    "isActive": BOOLEAN,
    "sku": NULLABLE_STRING,
}


def _api(name: str, body: Json, answers: Json, description: str) -> Json:
    identity = f"internal-{name}"
    found = operation(
        identity,
        f"What handlers ask of `{name}`",
        "internal",
        {**answers, "500": _BROKEN},
        description=description,
        security=_TOKEN,
        requestBody={"required": True, "content": {"application/json": {"schema": body}}},
    )
    install = parameter("path", "install_id", "The install that the handler runs for.", UUID)
    return {
        f"/api/internal/ext-{name}/install/{{install_id}}": {"parameters": [install], "post": found}
    }


def _coded(status: int, *, details: bool, shapes: Iterable[Json] = ()) -> Json:
    """The refusals of this status, by their codes."""
    codes = [code for code, its in STATUS_BY_CODE.items() if its == status]
    fields: dict[str, Json] = {"error": STRING, "code": enum_of(codes)}
    if details:
        fields["details"] = ANY
    return json_response(", ".join(codes), {"anyOf": [object_of(fields), *shapes]}, [FAULT])


def _invalid() -> Json:
    return object_of({"error": enum_of(["Validation error"]), "details": ref("Details")})


def _storage() -> Json:
    record = {"namespace": STRING, "key": STRING, **_CHANGED}
    owned = {"tenantId": STRING, "extensionInstallId": STRING, **record}
    kept = {"value": ANY, "metadata": {"type": "object"}}
    short = {name: _CHANGED[name] for name in ("revision", "ttlExpiresAt")}
    shapes = [
        object_of(record),
        object_of({**record, **kept}),
        object_of({"success": BOOLEAN}),
        object_of(
            {
                "items": array_of(object_of({**owned, **kept}, optional=kept)),
                "nextCursor": NULLABLE_STRING,
            },
        ),
        object_of({"namespace": STRING, "items": array_of(object_of({"key": STRING, **short}))}),
    ]
    return {
        "200": json_response("As the operation has it.", {"anyOf": shapes}, [FAULT]),
        "400": _coded(400, details=True, shapes=[_invalid()]),
        **{str(status): _coded(status, details=True) for status in (401, 404, 409, 429)},
    }


def _success(**more: Json) -> Json:
    return object_of({"success": {"const": True}, **more})


def _failure() -> Json:
    errors: Json = {"type": "object", "additionalProperties": STRING}
    fields = {"success": {"const": False}, "error": STRING, "fieldErrors": errors}
    return object_of(fields, optional=["fieldErrors"])


def _scheduler() -> Json:
    endpoint = {
        "id": UUID,
        "method": STRING,
        "path": STRING,
        "handler": STRING,
        "schedulable": BOOLEAN,
    }
    shapes = [
        object_of({"schedules": array_of(ref("Schedule"))}),
        object_of({"schedule": {"oneOf": [ref("Schedule"), {"type": "null"}]}}),
        object_of({"endpoints": array_of(object_of(endpoint))}),
        _success(),
    ]
    return {
        "200": json_response("As the operation has it.", {"anyOf": shapes}, [FAULT]),
        "201": json_response("It is made.", _success(scheduleId=UUID), [FAULT]),
        "400": _coded(400, details=True, shapes=[_failure(), _invalid()]),
        **{str(status): _coded(status, details=True) for status in (401, 404, 429)},
    }


def _invoicing() -> Json:
    unknown = enum_of(["Unsupported operation"])
    return {
        "201": json_response("It is made.", _success(invoice=ref("Invoice"))),
        "400": json_response(
            "It cannot be.", {"anyOf": [_failure(), object_of({"error": unknown})]}
        ),
        "401": _coded(401, details=False),
        "403": json_response("Not granted.", _failure()),
        "404": json_response("No such install.", object_of({"error": STRING})),
    }


def _directory(item: Mapping[str, Json]) -> Json:
    page = {
        "items": array_of(object_of(item)),
        "totalCount": INTEGER,
        "page": INTEGER,
        "pageSize": INTEGER,
    }
    one = {"item": {"anyOf": [object_of(item), {"type": "null"}]}}
    wrong = {"error": STRING, "code": enum_of(["INVALID_INPUT"]), "details": ref("Details")}
    return {
        "200": json_response(
            "As the operation has it.", {"anyOf": [object_of(page), object_of(one)]}
        ),
        "400": json_response("A body of another shape.", object_of(wrong)),
        **{str(status): _coded(status, details=False) for status in (401, 403, 404)},
    }


def _configuration() -> Json:
    texts: Json = {"type": "object", "additionalProperties": STRING}
    fields = {
        "tenantId": UUID,
        "extensionSlug": STRING,
        "installId": UUID,
        "versionId": UUID,
        "registryId": UUID,
        "contentHash": NULLABLE_STRING,
        "config": texts,
        "providers": array_of(STRING),
        "configVersion": STRING,
        "secretsVersion": STRING,
        "secretEnvelope": {"type": ["object", "null"]},
        "updatedAt": TIMESTAMP,
    }
    name = {**STRING, "minLength": 1}
    properties = {"tenantId": name, "extensionId": name}
    body = {"type": "object", "properties": properties, "required": list(properties)}
    refused = object_of({"error": enum_of(["invalid_request"]), "details": ref("Details")})
    return operation(
        "internal-install-config",
        "Configuration and sealed secrets of an install",
        "internal",
        {
            "200": json_response(
                "Found.", object_of(fields, optional=("configVersion", "secretsVersion"))
            ),
            "400": json_response("A body of another shape.", refused),
            **_errors({401: "unauthorized", 404: "install_not_found", 500: "internal_error"}),
        },
        security=_TOKEN,
        requestBody={"required": True, "content": {"application/json": {"schema": body}}},
    )


def _by_host() -> Json:
    fields = {"tenant_id": STRING, "extension_id": UUID, "content_hash": STRING}
    return operation(
        "lookup-by-host",
        "Whose host name this is",
        "internal",
        {
            "200": json_response("Found.", object_of(fields)),
            **_errors(
                {400: "missing_host", 401: "unauthorized", 404: "not_found", 500: "server_error"}
            ),
        },
        security=_KEY,
        parameters=[parameter("query", "host", "A port is passed over.", required=True)],
    )


def _validate() -> Json:
    names = {"tenant": "UUID.", "extension": "Registry id.", "hash": "`sha256:` may be left out."}
    return operation(
        "validate",
        "Whether the installed version of an extension has a bundle of this hash",
        "internal",
        {
            "200": json_response("The verdict.", object_of({"valid": BOOLEAN})),
            **_errors({401: "unauthorized"}),
        },
        security=_KEY,
        parameters=[parameter("query", name, text) for name, text in names.items()],
    )


def _errors(named: Mapping[int, str]) -> Json:
    return {
        str(status): json_response(word, object_of({"error": enum_of([word])}))
        for status, word in named.items()
    }
