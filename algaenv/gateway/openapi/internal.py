"""What runners ask: the five internal APIs, an install's configuration, and two look-ups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from algaenv.gateway.faults import HEADER as FAULT
from algaenv.gateway.internal import token
from algaenv.gateway.internal.refusal import STATUS
from algaenv.gateway.internal.scheduler import rate, rules
from algaenv.gateway.internal.storage import limits
from algaenv.gateway.openapi import bodies
from algaenv.gateway.openapi.bodies import Bodies
from algaenv.gateway.openapi.pieces import (
    ANYTHING,
    MOMENT,
    TEXT,
    UUID,
    WHOLE,
    WORDS,
    YES_OR_NO,
    Json,
    fields,
    json,
    many,
    one_of,
    operation,
    parameter,
    ref,
)

RUNNER_TOKEN = {"type": "apiKey", "in": "header", "name": token.RUNNER_HEADER}
REGISTRY_KEY = {"type": "apiKey", "in": "header", "name": token.KEY_HEADER}

_TOKEN: list[Json] = [{"runnerToken": []}]
_KEY: list[Json] = [{"registryKey": []}]
_BROKEN = json(
    "A body that is no JSON, an id that is no UUID, U+0000 in a text, or a failure of the gateway.",
    fields({"error": TEXT, "code": one_of(["INTERNAL_ERROR"])}),
    [FAULT],
)
_CHANGED = {
    "revision": WHOLE,
    "ttlExpiresAt": MOMENT,
    "createdAt": MOMENT,
    "updatedAt": MOMENT,
}
_SCHEDULE = {
    "id": TEXT,
    "endpointPath": TEXT,
    "endpointMethod": TEXT,
    "name": WORDS,
    "cron": TEXT,
    "timezone": TEXT,
    "enabled": YES_OR_NO,
    "payload": ANYTHING,
    "lastRunAt": MOMENT,
    "lastRunStatus": WORDS,
    "lastError": WORDS,
    "createdAt": MOMENT,
}
_INVOICE = {
    "invoiceId": UUID,
    "invoiceNumber": TEXT,
    "status": one_of(["draft"]),
    "subtotal": WHOLE,
    "tax": WHOLE,
    "total": WHOLE,
}


def schemas() -> Json:
    """Those that other parts of the document refer to."""
    return {"Schedule": fields(_SCHEDULE), "Invoice": fields(_INVOICE)}


def paths(made: Bodies) -> Json:
    """Path → what can be asked there; `made` is given the schemas of the bodies."""
    return {
        **_api("storage", bodies.storage(made), _storage(), _STORAGE),
        **_api("scheduler", bodies.scheduler(made), _scheduler(), _SCHEDULER),
        **_api("invoicing", bodies.invoicing(made), _invoicing(), _INVOICING),
        **_api("clients", bodies.directory(made, "Client"), _directory(_CLIENT), _READ),
        **_api("services", bodies.directory(made, "Service"), _directory(_SERVICE), _READ),
        "/api/internal/ext-runner/install-config": {"post": _configuration()},
        "/api/installs/lookup-by-host": {"get": _by_host()},
        "/api/installs/validate": {"get": _validate()},
    }


_STORAGE = (
    f"Records of JSON under keys in namespaces: {limits.NAMESPACES} namespaces with "
    f"{limits.KEYS_IN_NAMESPACE} keys, {limits.TOTAL_BYTES >> 20} MiB in all, "
    f"{limits.VALUE_BYTES >> 10} KiB a value, {limits.METADATA_BYTES >> 10} KiB of metadata, "
    f"{limits.BULK_BYTES >> 10} KiB at once. Lists are sorted by key. `ifRevision` must be the "
    "revision of the record."
)
_SCHEDULER = (
    f"At most {rules.MOST_SCHEDULES} schedules of an install, {rate.MOST} changes in "
    f"{rate.SECONDS:g} s. `endpoint` is `/path` or `METHOD /path`, GET or POST, without "
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
    "clientName": TEXT,
    "clientType": one_of(["company", "individual", None]),
    "isInactive": YES_OR_NO,
    "defaultCurrencyCode": WORDS,
    "accountManagerId": WORDS,
    "accountManagerName": WORDS,
    "billingEmail": WORDS,
}
_SERVICE = {
    "serviceId": UUID,
    "serviceName": TEXT,
    "itemKind": one_of(["service", "product"]),
    "billingMethod": one_of(["fixed", "hourly", "usage"]),
    "serviceTypeId": WORDS,
    "serviceTypeName": WORDS,
    "defaultRate": {"type": "number"},
    "unitOfMeasure": TEXT,
    "isActive": YES_OR_NO,
    "sku": WORDS,
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
    codes = [code for code, its in STATUS.items() if its == status]
    said: dict[str, Json] = {"error": TEXT, "code": one_of(codes)}
    if details:
        said["details"] = ANYTHING
    return json(", ".join(codes), {"anyOf": [fields(said), *shapes]}, [FAULT])


def _invalid() -> Json:
    return fields({"error": one_of(["Validation error"]), "details": ref("Details")})


def _storage() -> Json:
    record = {"namespace": TEXT, "key": TEXT, **_CHANGED}
    owned = {"tenantId": TEXT, "extensionInstallId": TEXT, **record}
    kept = {"value": ANYTHING, "metadata": {"type": "object"}}
    short = {name: _CHANGED[name] for name in ("revision", "ttlExpiresAt")}
    shapes = [
        fields(record),
        fields({**record, **kept}),
        fields({"success": YES_OR_NO}),
        fields(
            {"items": many(fields({**owned, **kept}, optional=kept)), "nextCursor": WORDS},
        ),
        fields({"namespace": TEXT, "items": many(fields({"key": TEXT, **short}))}),
    ]
    return {
        "200": json("As the operation has it.", {"anyOf": shapes}, [FAULT]),
        "400": _coded(400, details=True, shapes=[_invalid()]),
        **{str(status): _coded(status, details=True) for status in (401, 404, 409, 429)},
    }


def _success(**more: Json) -> Json:
    return fields({"success": {"const": True}, **more})


def _failure() -> Json:
    errors: Json = {"type": "object", "additionalProperties": TEXT}
    said = {"success": {"const": False}, "error": TEXT, "fieldErrors": errors}
    return fields(said, optional=["fieldErrors"])


def _scheduler() -> Json:
    endpoint = {
        "id": UUID,
        "method": TEXT,
        "path": TEXT,
        "handler": TEXT,
        "schedulable": YES_OR_NO,
    }
    shapes = [
        fields({"schedules": many(ref("Schedule"))}),
        fields({"schedule": {"oneOf": [ref("Schedule"), {"type": "null"}]}}),
        fields({"endpoints": many(fields(endpoint))}),
        _success(),
    ]
    return {
        "200": json("As the operation has it.", {"anyOf": shapes}, [FAULT]),
        "201": json("It is made.", _success(scheduleId=UUID), [FAULT]),
        "400": json("It cannot be.", {"anyOf": [_failure(), _invalid()]}, [FAULT]),
        **{str(status): _coded(status, details=True) for status in (401, 404, 429)},
    }


def _invoicing() -> Json:
    unknown = one_of(["Unsupported operation"])
    return {
        "201": json("It is made.", _success(invoice=ref("Invoice"))),
        "400": json("It cannot be.", {"anyOf": [_failure(), fields({"error": unknown})]}),
        "401": _coded(401, details=False),
        "403": json("Not granted.", _failure()),
        "404": json("No such install.", fields({"error": TEXT})),
    }


def _directory(item: Mapping[str, Json]) -> Json:
    page = {"items": many(fields(item)), "totalCount": WHOLE, "page": WHOLE, "pageSize": WHOLE}
    one = {"item": {"anyOf": [fields(item), {"type": "null"}]}}
    wrong = {"error": TEXT, "code": one_of(["INVALID_INPUT"]), "details": ref("Details")}
    return {
        "200": json("As the operation has it.", {"anyOf": [fields(page), fields(one)]}),
        "400": json("A body of another shape.", fields(wrong)),
        **{str(status): _coded(status, details=False) for status in (401, 403, 404)},
    }


def _configuration() -> Json:
    texts: Json = {"type": "object", "additionalProperties": TEXT}
    said = {
        "tenantId": UUID,
        "extensionSlug": TEXT,
        "installId": UUID,
        "versionId": UUID,
        "registryId": UUID,
        "contentHash": WORDS,
        "config": texts,
        "providers": many(TEXT),
        "configVersion": TEXT,
        "secretsVersion": TEXT,
        "secretEnvelope": {"type": ["object", "null"]},
        "updatedAt": MOMENT,
    }
    name = {**TEXT, "minLength": 1}
    asked = {"tenantId": name, "extensionId": name}
    body = {"type": "object", "properties": asked, "required": list(asked)}
    refused = fields({"error": one_of(["invalid_request"]), "details": ref("Details")})
    return operation(
        "internal-install-config",
        "Configuration and sealed secrets of an install",
        "internal",
        {
            "200": json("Found.", fields(said, optional=("configVersion", "secretsVersion"))),
            "400": json("A body of another shape.", refused),
            **_errors({401: "unauthorized", 404: "install_not_found", 500: "internal_error"}),
        },
        security=_TOKEN,
        requestBody={"required": True, "content": {"application/json": {"schema": body}}},
    )


def _by_host() -> Json:
    said = {"tenant_id": TEXT, "extension_id": UUID, "content_hash": TEXT}
    return operation(
        "lookup-by-host",
        "Whose host name this is",
        "internal",
        {
            "200": json("Found.", fields(said)),
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
            "200": json("The verdict.", fields({"valid": YES_OR_NO})),
            **_errors({401: "unauthorized"}),
        },
        security=_KEY,
        parameters=[parameter("query", name, text) for name, text in names.items()],
    )


def _errors(named: Mapping[int, str]) -> Json:
    return {
        str(status): json(word, fields({"error": one_of([word])})) for status, word in named.items()
    }
