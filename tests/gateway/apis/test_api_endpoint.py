"""What all internal APIs have in common: the token, the body, the published event."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from algaenv.gateway.apis.api_endpoint import MAX_BODY_BYTES
from tests.drivers.alga import OZ, migrate, tenant
from tests.gateway.conftest import Start
from tests.gateway.seed import Extension, install
from tests.servers import Database

from .conftest import Api, Gateways, find_event

CALLS: dict[str, Any] = {
    "storage": {"operation": "list", "namespace": "n"},
    "scheduler": {"operation": "list"},
    "clients": {"operation": "list"},
    "services": {"operation": "list"},
    "invoicing": {"operation": "createManualInvoice"},
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("token", [None, "", "wrong", "service-token", "storage-token ", "ü"])
def test_wrong_token(
    gateways: Gateways, extension: Extension, name: str, token: str | None
) -> None:
    """The second variable does not count where the first is set."""
    shown = token.encode().decode("latin-1") if token else token
    answer = Api(gateways.faithful, name, extension.install)(CALLS[name], token=shown)
    assert answer.status == 401
    assert answer.json["code"] == "UNAUTHORIZED"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", CALLS)
def test_token_comes_before_body(gateways: Gateways, extension: Extension, name: str) -> None:
    assert Api(gateways.faithful, name, extension.install)(b"{", token="wrong").status == 401


NO_JSON: dict[str, tuple[int, Any]] = {
    "storage": (500, {"error": "Internal error", "code": "INTERNAL_ERROR"}),
    "scheduler": (
        400,
        {"error": "Invalid JSON body", "code": "VALIDATION_FAILED", "details": None},
    ),
    "clients": (
        400,
        {
            "error": "Invalid request payload",
            "code": "INVALID_INPUT",
            "details": {"formErrors": ["Required"], "fieldErrors": {}},
        },
    ),
    "invoicing": (400, {"error": "Unsupported operation"}),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": NaN}'])
def test_bad_json(gateways: Gateways, extension: Extension, name: str, body: bytes) -> None:
    answer = Api(gateways.faithful, name, extension.install)(body)
    assert (answer.status, answer.json) == NO_JSON["clients" if name == "services" else name]


HALF = "a\ud800"
WITH_HALVES: list[tuple[str, dict[str, Any], int]] = [
    ("storage", {"operation": "put", "namespace": HALF, "key": HALF, "value": 1}, 200),
    ("storage", {"operation": "get", "namespace": "n", "key": HALF}, 404),
    ("storage", {"operation": "put", "namespace": "n", "key": "k", "value": HALF}, 500),
    ("storage", {"operation": HALF, "namespace": "n"}, 400),
    (
        "storage",
        {"operation": "bulkPut", "namespace": "n", "items": [{"key": HALF, "value": 1}] * 2},
        400,
    ),
    ("scheduler", {"operation": "create", "endpoint": HALF, "cron": "0 * * * *"}, 400),
    ("scheduler", {"operation": "create", "endpoint": "/hello", "cron": HALF}, 400),
    ("scheduler", {"operation": HALF}, 400),
    ("clients", {"operation": "list", "input": {"search": HALF}}, 500),
    ("services", {"operation": "list", "input": {"search": HALF}}, 200),
    ("services", {"operation": HALF}, 400),
    ("invoicing", {"operation": HALF}, 400),
]


@pytest.mark.parametrize(("name", "body", "status"), WITH_HALVES)
def test_half_a_surrogate_pair(
    gateways: Gateways, extension: Extension, name: str, body: dict[str, Any], status: int
) -> None:
    """It is no text that a column takes, and the error beside it is in the API's own shape."""
    answer = Api(gateways.faithful, name, extension.install)(json.dumps(body).encode())
    assert answer.status == status
    assert status < 400 or answer.json["error"] != "internal_error"


def test_a_body_above_64_mib_is_refused(gateways: Gateways, extension: Extension) -> None:
    answer = Api(gateways.faithful, "storage", extension.install)(b" " * (MAX_BODY_BYTES + 1))
    assert (answer.status, answer.json) == (413, {"error": "payload_too_large"})


@pytest.mark.parametrize("name", CALLS)
def test_a_document_that_nests_too_deeply_is_none(
    gateways: Gateways, extension: Extension, name: str
) -> None:
    answer = Api(gateways.faithful, name, extension.install)(b"[" * 200_000)
    assert (answer.status, answer.json) == NO_JSON["clients" if name == "services" else name]


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"invoicing"}))
def test_bytes_that_are_no_text_are_replaced(
    gateways: Gateways, extension: Extension, name: str
) -> None:
    answer = Api(gateways.faithful, name, extension.install)(b'\xef\xbb\xbf{"operation": "\xff"}')
    (told,) = answer.json["details"]["fieldErrors"]["operation"]
    assert told.startswith("Invalid enum value. Expected '")
    assert told.endswith(", received '\ufffd'")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"1", b"{}", b'{"operation": "no"}'])
def test_no_operation(gateways: Gateways, extension: Extension, name: str, body: bytes) -> None:
    answer = Api(gateways.faithful, name, extension.install)(body)
    assert answer.status == 400
    if name == "invoicing":
        assert answer.json == {"error": "Unsupported operation"}
    else:
        assert set(answer.json["details"]) == {"formErrors", "fieldErrors"}
        assert ("code" in answer.json) is (name in {"clients", "services"})


SHAPES: tuple[tuple[dict[str, object], dict[str, list[str]]], ...] = (
    ({"limit": 0}, {"limit": ["Number must be greater than or equal to 1"]}),
    ({"limit": 101}, {"limit": ["Number must be less than or equal to 100"]}),
    ({"limit": "1"}, {"limit": ["Expected number, received string"]}),
    ({"limit": True}, {"limit": ["Expected number, received boolean"]}),
    ({"limit": 1.5}, {"limit": ["Expected integer, received float"]}),
    (
        {"limit": 0.5},
        {
            "limit": [
                "Expected integer, received float",
                "Number must be greater than or equal to 1",
            ]
        },
    ),
    ({"limit": 1e21}, {"limit": ["Number must be less than or equal to 100"]}),
    ({"namespace": ""}, {"namespace": ["String must contain at least 1 character(s)"]}),
    ({"namespace": "𝄞" * 65}, {"namespace": ["String must contain at most 128 character(s)"]}),
    ({"includeValues": None}, {"includeValues": ["Expected boolean, received null"]}),
    ({"cursor": {}}, {"cursor": ["Expected string, received object"]}),
    (
        {"operation": "put", "key": "k", "metadata": []},
        {"metadata": ["Expected object, received array"]},
    ),
    (
        {"operation": "put", "key": "k", "ttlSeconds": -1.5},
        {"ttlSeconds": ["Expected integer, received float", "Number must be greater than 0"]},
    ),
    ({"operation": "put"}, {"key": ["Required"]}),
    (
        {"operation": "bulkPut", "items": []},
        {"items": ["Array must contain at least 1 element(s)"]},
    ),
    (
        {"operation": "bulkPut", "items": [5, {}]},
        {"items": ["Expected object, received number", "Required"]},
    ),
    (
        {"operation": 5, "namespace": None},
        {
            "operation": [
                "Expected 'put' | 'get' | 'list' | 'delete' | 'bulkPut', received number"
            ],
            "namespace": ["Expected string, received null"],
        },
    ),
)


@pytest.mark.parametrize(("more", "fields"), SHAPES)
def test_words_of_a_wrong_shape(
    gateways: Gateways,
    extension: Extension,
    more: dict[str, object],
    fields: dict[str, list[str]],
) -> None:
    """Handlers read them: they are those of the product's checker."""
    answer = Api(gateways.faithful, "storage", extension.install)({**CALLS["storage"], **more})
    assert answer.status == 400
    assert answer.json["details"] == {"formErrors": [], "fieldErrors": fields}


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"storage"}))
@pytest.mark.parametrize("change", ["is_enabled = false", "status = 'pending'"])
def test_an_install_that_may_not_be_called(gateways: Gateways, name: str, change: str) -> None:
    extension = gateways.install()
    gateways.database.sql(
        f"UPDATE tenant_extension_install SET {change} WHERE id = %s", extension.install
    )
    answer = Api(gateways.faithful, name, extension.install)(CALLS[name])
    assert (answer.status, answer.json["error"]) == (404, "Install not found")


@pytest.mark.parametrize("name", CALLS)
def test_an_install_id_that_is_no_uuid(gateways: Gateways, name: str) -> None:
    answer = Api(gateways.faithful, name, "nobody")(CALLS[name])
    assert answer.status == 500
    assert answer.json == {"error": "Internal error", "code": "INTERNAL_ERROR"}


@pytest.mark.parametrize("name", CALLS)
def test_unknown_install(gateways: Gateways, name: str) -> None:
    answer = Api(gateways.faithful, name, str(uuid.uuid4()))(CALLS[name])
    assert answer.status == 404
    if name == "invoicing":
        assert answer.json == {"error": "Install not found"}
    else:
        assert answer.json["code"] == "NOT_FOUND"


@pytest.mark.parametrize("name", CALLS)
def test_only_post(gateways: Gateways, extension: Extension, name: str) -> None:
    path = f"/api/internal/ext-{name}/install/{extension.install}"
    assert gateways.faithful.ask(path, {"x-runner-auth": "storage-token"}).status == 405


def test_second_token_where_the_first_is_blank(start: Start, hello: Extension) -> None:
    service = start(RUNNER_STORAGE_API_TOKEN=" ")
    storage = Api(service, "storage", hello.install)
    assert storage(CALLS["storage"], token="service-token").status == 200
    assert storage(CALLS["storage"], token=" ").status == 401


def test_nobody_has_a_token_that_is_not_set(start: Start, hello: Extension) -> None:
    service = start(RUNNER_STORAGE_API_TOKEN="", RUNNER_SERVICE_TOKEN="")
    assert Api(service, "storage", hello.install)(CALLS["storage"], token="").status == 401


def test_calls_are_on_the_feed(gateways: Gateways, extension: Extension) -> None:
    storage = Api(gateways.faithful, "storage", extension.install)
    storage({"operation": "get", "namespace": "n", "key": "nobody"})
    details = find_event(gateways.faithful, extension, "host-call")
    assert details["api"] == "storage"
    assert details["operation"] == "get"
    assert details["about"] == "n/nobody"
    assert details["status"] == 404
    assert details["error"]


@pytest.mark.slow
def test_database_down(start: Start, database: Database) -> None:
    migrate(database)
    tenant(database, "Oz", OZ)
    hello = install(database, OZ)
    service = start(DATABASE_URL=database.url)
    storage = Api(service, "storage", hello.install)
    assert storage(CALLS["storage"]).status == 200
    database.server.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
    database.server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database.name}'"
    )
    for name in CALLS.keys() - {"invoicing"}:
        answer = Api(service, name, hello.install)(CALLS[name])
        assert (answer.status, answer.json["code"]) == (503, "INTERNAL_ERROR")
