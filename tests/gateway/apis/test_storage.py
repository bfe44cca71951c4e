"""The storage of extensions, row by row of the contract."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.drivers.alga import OZ
from tests.gateway.seed import Extension

from .conftest import Api, Gateways

PUT = {"operation": "put", "namespace": "n", "key": "k", "value": 1}
GET = {"operation": "get", "namespace": "n", "key": "k"}


@pytest.fixture
def storage(gateways: Gateways, extension: Extension) -> Api:
    return Api(gateways.faithful, "storage", extension.install)


@pytest.fixture
def fixed(gateways: Gateways, extension: Extension) -> Api:
    return Api(gateways.fixed, "storage", extension.install)


def test_put_answers_the_revision(storage: Api) -> None:
    first, second = storage(PUT).json, storage({**PUT, "value": 2}).json
    assert set(first) == {"namespace", "key", "revision", "ttlExpiresAt", "createdAt", "updatedAt"}
    assert (first["revision"], second["revision"]) == (1, 2)
    assert first["createdAt"] == second["createdAt"] < second["updatedAt"]
    assert first["createdAt"].endswith("Z")
    assert len(first["createdAt"]) == len("2026-01-02T03:04:05.678Z")
    assert first["ttlExpiresAt"] is None


@pytest.mark.parametrize(
    "value", [None, True, 0, 1.5, -7, "", "ü\n𝄞", [], [1, [2]], {}, {"a": {"b": [None]}}, 2**53]
)
def test_values_come_back(storage: Api, value: object) -> None:
    storage.ok("put", namespace="n", key="k", value=value, metadata={"a": [1]})
    found = storage.ok("get", namespace="n", key="k")
    assert found["value"] == value
    assert found["metadata"] == {"a": [1]}


def test_an_omitted_value_is_null(gateways: Gateways, extension: Extension, storage: Api) -> None:
    storage.ok("put", namespace="n", key="k")
    assert storage.ok("get", namespace="n", key="k")["value"] is None
    assert _sizes(gateways, extension) == [(4, 2)]


def test_numbers_are_those_of_javascript(storage: Api) -> None:
    storage(b'{"operation":"put","namespace":"n","key":"k","value":[1.0,9007199254740993]}')
    text = storage(GET).body
    assert b"[1,9007199254740992]" in text


def test_delete(storage: Api) -> None:
    storage.ok("put", namespace="n", key="k", value=1)
    assert storage.ok("delete", namespace="n", key="k") == {"success": True}
    assert storage.ok("delete", namespace="n", key="k") == {"success": False}
    assert storage(GET).status == 404
    assert storage(PUT).json["revision"] == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (GET, 404, "NOT_FOUND"),
        ({**GET, "ifRevision": 3}, 404, "NOT_FOUND"),
        ({**PUT, "ifRevision": 0}, 409, "REVISION_MISMATCH"),
        ({**PUT, "ifRevision": 1}, 409, "REVISION_MISMATCH"),
        ({**PUT, "key": "a/b"}, 400, "VALIDATION_FAILED"),
        ({**GET, "key": "a/b"}, 400, "VALIDATION_FAILED"),
        ({**PUT, "ttlSeconds": 59}, 400, "LIMIT_EXCEEDED"),
        ({**PUT, "ttlSeconds": 2_592_001}, 400, "LIMIT_EXCEEDED"),
        ({**PUT, "value": "x" * (64 * 1024 - 1)}, 400, "LIMIT_EXCEEDED"),
        ({**PUT, "metadata": {"a": "x" * 4096}}, 400, "LIMIT_EXCEEDED"),
        ({**PUT, "value": "\0"}, 500, "INTERNAL_ERROR"),
        ({**PUT, "value": "\ud800"}, 500, "INTERNAL_ERROR"),
        ({**PUT, "key": "\0"}, 500, "INTERNAL_ERROR"),
        ({**GET, "key": "\0"}, 500, "INTERNAL_ERROR"),
        ({**PUT, "key": ""}, 400, None),
        ({**PUT, "key": "x" * 257}, 400, None),
        ({**PUT, "key": "𝄞" * 129}, 400, None),
        ({**PUT, "key": 5}, 400, None),
        ({**PUT, "namespace": ""}, 400, None),
        ({**PUT, "namespace": "x" * 129}, 400, None),
        ({**PUT, "metadata": []}, 400, None),
        ({**PUT, "metadata": None}, 400, None),
        ({**PUT, "ttlSeconds": 0}, 400, None),
        ({**PUT, "ttlSeconds": 60.5}, 400, None),
        ({**PUT, "ifRevision": -1}, 400, None),
        ({**PUT, "ifRevision": True}, 400, None),
        ({**PUT, "ifRevision": "1"}, 400, None),
        ({"operation": "list", "namespace": "n", "limit": 0}, 400, None),
        ({"operation": "list", "namespace": "n", "limit": 101}, 400, None),
        ({"operation": "list", "namespace": "n", "cursor": "!"}, 400, "VALIDATION_FAILED"),
        ({"operation": "list", "namespace": "n", "cursor": "e30"}, 400, "VALIDATION_FAILED"),
        ({"operation": "bulkPut", "namespace": "n", "items": []}, 400, None),
        (
            {"operation": "bulkPut", "namespace": "n", "items": [{"key": "a"}] * 2},
            400,
            "VALIDATION_FAILED",
        ),
        (
            {
                "operation": "bulkPut",
                "namespace": "n",
                "items": [{"key": f"{it}"} for it in range(21)],
            },
            400,
            "LIMIT_EXCEEDED",
        ),
        (
            {
                "operation": "bulkPut",
                "namespace": "n",
                "items": [{"key": "a", "schemaVersion": 1}, {"key": "b", "schemaVersion": 2}],
            },
            400,
            "VALIDATION_FAILED",
        ),
        (
            {
                "operation": "bulkPut",
                "namespace": "n",
                "items": [{"key": f"{it}", "value": "x" * 60_000} for it in range(9)],
            },
            400,
            "LIMIT_EXCEEDED",
        ),
    ],
)
def test_refusals(storage: Api, body: Mapping[str, Any], status: int, code: str | None) -> None:
    answer = storage(body)
    assert answer.status == status
    if code is None:
        assert answer.json["error"] == "Validation error"
        assert "code" not in answer.json
        assert answer.json["details"]["fieldErrors"]
    else:
        assert answer.json["code"] == code
        assert set(answer.json) == {"error", "code"} | ({"details"} if status != 500 else set())


@pytest.mark.parametrize("more", [{"key": "k" * 256}, {"key": "𝄞" * 128}, {"ttlSeconds": 60.0}])
def test_just_allowed(storage: Api, more: Mapping[str, Any]) -> None:
    assert storage({**PUT, **more}).status == 200


def test_largest_value(storage: Api) -> None:
    assert storage({**PUT, "value": "x" * (64 * 1024 - 2)}).status == 200


@pytest.mark.parametrize(("enabled", "status"), [(False, "enabled"), (True, "disabled")])
@pytest.mark.parametrize(
    "body", [PUT, GET, {"operation": "list", "namespace": "n"}, {**PUT, "key": ""}]
)
def test_disabled_install(
    gateways: Gateways, enabled: bool, status: str, body: Mapping[str, Any]
) -> None:
    disabled = gateways.install(enabled=enabled, status=status)
    answer = Api(gateways.faithful, "storage", disabled.install)(body)
    assert (answer.status, answer.json["code"]) == (401, "UNAUTHORIZED")


def test_install_id_that_is_no_uuid(gateways: Gateways) -> None:
    answer = Api(gateways.faithful, "storage", "hello")(PUT)
    assert (answer.status, answer.json["code"]) == (500, "INTERNAL_ERROR")


def test_revisions(storage: Api) -> None:
    storage.ok("put", namespace="n", key="k", value=1)
    assert storage({**PUT, "ifRevision": 1}).json["revision"] == 2
    for body in ({**PUT, "ifRevision": 1}, {**GET, "ifRevision": 1}):
        assert storage(body).json["code"] == "REVISION_MISMATCH"
    assert storage({**GET, "ifRevision": 2}).status == 200
    stale = {"operation": "delete", "namespace": "n", "key": "k", "ifRevision": 1}
    assert storage(stale).status == 409
    assert storage({**stale, "ifRevision": 2}).json == {"success": True}
    assert storage(stale).json == {"success": False}


def test_bulk_is_all_or_nothing(storage: Api) -> None:
    storage.ok("put", namespace="n", key="b", value=1)
    items = [{"key": "a", "value": 1}, {"key": "b", "value": 2, "ifRevision": 9}]
    assert storage({"operation": "bulkPut", "namespace": "n", "items": items}).status == 409
    assert [it["key"] for it in storage.ok("list", namespace="n")["items"]] == ["b"]
    items[1]["ifRevision"] = 1
    done = storage.ok("bulkPut", namespace="n", items=items)
    assert done == {
        "namespace": "n",
        "items": [
            {"key": "a", "revision": 1, "ttlExpiresAt": None},
            {"key": "b", "revision": 2, "ttlExpiresAt": None},
        ],
    }


def test_list(storage: Api, extension: Extension) -> None:
    for key in ("b", "a", "a_1", "a%2", "B", "aé"):
        storage.ok("put", namespace="n", key=key, value={"v": key}, metadata={"m": key})
    storage.ok("put", namespace="other", key="z", value=1)
    listed = storage.ok("list", namespace="n")
    assert [it["key"] for it in listed["items"]] == ["B", "a", "a%2", "a_1", "aé", "b"]
    assert listed["nextCursor"] is None
    assert (
        listed["items"][0].items()
        >= {
            "tenantId": OZ,
            "extensionInstallId": extension.install,
            "namespace": "n",
            "revision": 1,
        }.items()
    )
    assert not {"value", "metadata"} & set(listed["items"][0])
    full = storage.ok("list", namespace="n", includeValues=True, includeMetadata=True)
    assert [it["value"]["v"] for it in full["items"]] == [
        it["metadata"]["m"] for it in full["items"]
    ]
    for prefix, found in {"a_": ["a_1"], "a%": ["a%2"], "aé": ["aé"], "\\": [], "": 6}.items():
        keys = [it["key"] for it in storage.ok("list", namespace="n", keyPrefix=prefix)["items"]]
        assert (len(keys) if isinstance(found, int) else keys) == found


def test_pages_lose_a_record_at_every_boundary(storage: Api, fixed: Api) -> None:
    for key in "abcde":
        storage.ok("put", namespace="n", key=key, value=1)
    assert _all(storage) == ["a", "b", "d", "e"]
    assert _all(fixed) == ["a", "b", "c", "d", "e"]
    page: dict[str, Any] = {"namespace": "n", "limit": 2}
    assert storage.fault("list", **page) == "storage-list-skips"
    assert fixed.fault("list", **page) is None
    assert storage.fault("list", namespace="n", limit=5) is None
    cursor = storage.ok("list", **page)["nextCursor"]
    assert json.loads(base64.urlsafe_b64decode(cursor + "==")) == {"key": "c"}


def _all(storage: Api) -> list[str]:
    keys: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = storage.ok("list", namespace="n", limit=2, **cursor)
        keys += [it["key"] for it in page["items"]]
        if page["nextCursor"] is None:
            return keys
        cursor = {"cursor": page["nextCursor"]}


def test_expiry(gateways: Gateways, storage: Api, fixed: Api, extension: Extension) -> None:
    made = storage.ok("put", namespace="n", key="k", value=1, ttlSeconds=60)
    assert made["ttlExpiresAt"] > made["createdAt"]
    storage.ok("put", namespace="n", key="other", value=1)
    _expire(gateways, extension)
    assert _usage(gateways, extension) == (6, 2, 1)
    for _ in range(2):
        answer = storage(GET)
        assert answer.status == 404
        assert answer.headers["x-algaenv-product-fault"] == "storage-expired-stays"
    assert len(_sizes(gateways, extension)) == 2
    storage.ok("get", namespace="n", key="other")
    assert len(_sizes(gateways, extension)) == 1
    assert _usage(gateways, extension) == (3, 1, 1)
    storage.ok("put", namespace="n", key="k", value=1, ttlSeconds=60)
    _expire(gateways, extension)
    answer = fixed(GET)
    assert answer.status == 404
    assert "x-algaenv-product-fault" not in answer.headers
    assert len(_sizes(gateways, extension)) == 1
    assert _usage(gateways, extension) == (3, 1, 1)


@pytest.mark.parametrize(
    "body",
    [
        PUT,
        {"operation": "bulkPut", "namespace": "n", "items": [{"key": "k"}]},
        {"operation": "list", "namespace": "n"},
        {"operation": "delete", "namespace": "n", "key": "k"},
        {"operation": "delete", "namespace": "n", "key": "kept"},
        {"operation": "get", "namespace": "n", "key": "kept"},
        {"operation": "put", "namespace": "n", "key": "new"},
    ],
)
def test_success_removes_what_has_expired(
    gateways: Gateways, storage: Api, extension: Extension, body: Mapping[str, Any]
) -> None:
    storage.ok("put", namespace="n", key="kept", value=1)
    for namespace in ("n", "elsewhere"):
        storage.ok("put", namespace=namespace, key="k", value=1, ttlSeconds=60)
    _expire(gateways, extension)
    answer = storage(body)
    assert answer.status == 200
    rows = gateways.database.sql(
        "SELECT count(*) FILTER (WHERE ttl_expires_at IS NOT NULL), count(*), count(DISTINCT"
        " namespace), sum(value_size_bytes + metadata_size_bytes) FROM ext_storage_records"
        " WHERE extension_install_id = %s",
        extension.install,
    )
    (expired, keys, namespaces, bytes_) = rows[0]
    assert expired == 0
    assert _usage(gateways, extension) == (bytes_ or 0, keys, namespaces)
    if body == PUT:
        assert answer.json["revision"] == 1


def test_quota_of_keys(gateways: Gateways, storage: Api, extension: Extension) -> None:
    _fill(gateways, extension, "'n', 'k' || g", "generate_series(1, 5120) g")
    assert storage({**PUT, "key": "new"}).json["code"] == "QUOTA_EXCEEDED"
    assert storage({**PUT, "key": "k1"}).json["revision"] == 2
    assert storage({**PUT, "namespace": "elsewhere"}).status == 200
    storage.ok("delete", namespace="n", key="k5")
    assert storage({**PUT, "key": "new"}).status == 200


def test_quota_of_namespaces(gateways: Gateways, storage: Api, extension: Extension) -> None:
    _fill(gateways, extension, "'n' || g, 'k'", "generate_series(1, 32) g")
    answer = storage({**PUT, "namespace": "new"})
    assert (answer.status, answer.json["code"]) == (429, "QUOTA_EXCEEDED")
    assert storage({**PUT, "namespace": "n1", "key": "new"}).status == 200


def test_quota_of_bytes(gateways: Gateways, storage: Api, extension: Extension) -> None:
    _fill(gateways, extension, "'n', 'k'", "generate_series(1, 1) g", size=256 * 1024 * 1024 - 2)
    answer = storage({**PUT, "key": "new"})
    assert answer.status == 429
    assert answer.json["details"] == {"limit": 268435456, "attempted": 268435457}
    assert storage(PUT).status == 200


def _schema(
    gateways: Gateways, extension: Extension, document: object, status: str = "active"
) -> None:
    gateways.database.sql(
        "INSERT INTO ext_storage_schemas (tenant, extension_install_id, namespace, schema_version,"
        " schema_document, status) VALUES (%s, %s, 'n', 3, %s, %s)",
        OZ,
        extension.install,
        json.dumps(document),
        status,
    )


def test_schema(gateways: Gateways, storage: Api, extension: Extension) -> None:
    _schema(gateways, extension, {"type": "object", "required": ["a"]})
    assert storage({**PUT, "value": {"a": 1}}).json["revision"] == 1
    answer = storage({**PUT, "value": {"b": 1}})
    assert (answer.status, answer.json["code"]) == (400, "VALIDATION_FAILED")
    assert answer.json["details"][0]["keyword"] == "required"
    assert answer.json["details"][0]["schemaPath"] == "#/required"
    items = [{"key": "x", "value": {"a": 1}}, {"key": "y", "value": {}}]
    assert storage({"operation": "bulkPut", "namespace": "n", "items": items}).status == 400
    assert storage({**PUT, "namespace": "elsewhere", "value": 5}).status == 200


def test_schema_that_is_a_draft(gateways: Gateways, storage: Api, extension: Extension) -> None:
    _schema(gateways, extension, {"type": "object"}, "draft")
    assert storage(PUT).status == 200


@pytest.mark.parametrize(
    "document",
    [
        {"type": 7},
        {"type": "string", "format": "email"},
        {"properties": {"a": {"type": "string", "bogus": 1}}},
        {"allOf": [{"formatMinimum": 1}]},
        {"$schema": "https://json-schema.org/draft/2020-12/schema"},
        {"$ref": "http://nowhere/schema"},
        {"definitions": {"a": {"format": "email"}}, "$ref": "#/definitions/a"},
    ],
)
def test_schema_that_is_none(
    gateways: Gateways, storage: Api, extension: Extension, document: object
) -> None:
    """The product's checker is strict: it takes no format, nor what it does not know."""
    _schema(gateways, extension, document)
    assert storage({**PUT, "value": {}}).status == 500
    assert storage.ok("list", namespace="n")["items"] == []


def test_definitions_that_nothing_refers_to(
    gateways: Gateways, storage: Api, extension: Extension
) -> None:
    _schema(gateways, extension, {"definitions": {"a": {"format": "email"}}, "type": "integer"})
    assert storage(PUT).status == 200


@pytest.mark.parametrize(
    ("document", "value", "told"),
    [
        ({"type": "object"}, 1, [("", "#/type", {"type": "object"}, "must be object")]),
        (
            {
                "properties": {"a": {"minimum": 2}, "format": {}},
                "additionalProperties": False,
                "required": ["b", "c"],
            },
            {"a": 1, "d": 1, "e": 1},
            [
                ("", "#/required", {"missingProperty": "b"}, "must have required property 'b'"),
                ("", "#/required", {"missingProperty": "c"}, "must have required property 'c'"),
                *(
                    (
                        "",
                        "#/additionalProperties",
                        {"additionalProperty": it},
                        "must NOT have additional properties",
                    )
                    for it in "de"
                ),
                (
                    "/a",
                    "#/properties/a/minimum",
                    {"comparison": ">=", "limit": 2},
                    "must be >= 2",
                ),
            ],
        ),
        (
            {"anyOf": [{"type": "string"}, {"const": 2}]},
            1,
            [
                ("", "#/anyOf/0/type", {"type": "string"}, "must be string"),
                ("", "#/anyOf/1/const", {"allowedValue": 2}, "must be equal to constant"),
                ("", "#/anyOf", {}, "must match a schema in anyOf"),
            ],
        ),
        (
            {"maxLength": 1, "pattern": "b$"},
            "aa",
            [
                ("", "#/maxLength", {"limit": 1}, "must NOT have more than 1 characters"),
                ("", "#/pattern", {"pattern": "b$"}, 'must match pattern "b$"'),
            ],
        ),
        (False, 1, [("", "#/false schema", {}, "boolean schema is false")]),
    ],
)
def test_words_of_a_schema(
    gateways: Gateways,
    storage: Api,
    extension: Extension,
    *,
    document: object,
    value: object,
    told: list[tuple[str, str, dict[str, object], str]],
) -> None:
    """Those of the product's checker, in its order."""
    _schema(gateways, extension, document)
    answer = storage({**PUT, "value": value})
    assert (answer.status, answer.json["error"]) == (400, "payload failed schema validation")
    names = ("instancePath", "schemaPath", "params", "message")
    assert [tuple(it[name] for name in names) for it in answer.json["details"]] == told
    assert all(it["schemaPath"].endswith(it["keyword"]) for it in answer.json["details"])


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        (r"^\d+$", "17", True),
        (r"^\d+$", "17\n", False),
        (r"^\d+$", "\u0661", False),
        (r"^\w+$", "\u00e9", False),
        (r"^\W$", "\u00e9", True),
        (r"\bb", "\u00e9b", True),
        (r"^\s+$", "\u00a0\u3000\ufeff\t", True),
        (r"^\s$", "\x85", False),
        (r"^[\s\d]+$", "1\u00a02", True),
        (r"^[^\S]+$", "\u00a0", True),
        (r"^[\s\S]*$", "a\n\u2028\U0001d11e", True),
        (r"^.$", "\U0001d11e", True),
        (r"^.$", "\u2028", False),
        (r"^[.$]+$", ".$", True),
        (r"^[.$]$", "x", False),
        (r"^\$\.$", "$.", True),
        (r"^[\]$]$", "]", True),
        (r"^(a$|b$)", "b\n", False),
    ],
)
def test_patterns_of_a_schema_are_those_of_javascript(
    gateways: Gateways,
    storage: Api,
    extension: Extension,
    *,
    pattern: str,
    value: str,
    matches: bool,
) -> None:
    status = 200 if matches else 400
    names = {"patternProperties": {pattern: True}, "additionalProperties": False}
    document = {"properties": {"text": {"pattern": pattern}, "names": names}}
    _schema(gateways, extension, document)
    answer = storage({**PUT, "value": {"text": value}})
    assert answer.status == status
    if not matches:
        told = answer.json["details"][0]
        assert told["params"] == {"pattern": pattern}
        assert told["message"] == f'must match pattern "{pattern}"'
    assert storage({**PUT, "value": {"names": {value: 1}}}).status == status


def test_a_pattern_as_a_name_is_told_as_it_is(
    gateways: Gateways, storage: Api, extension: Extension
) -> None:
    _schema(gateways, extension, {"patternProperties": {r"^\s$": {"type": "string"}}})
    told = storage({**PUT, "value": {"\u00a0": 1}}).json["details"]
    assert [it["schemaPath"] for it in told] == [r"#/patternProperties/^\s$/type"]


@pytest.mark.parametrize("pattern", ["(?i)a", "(?<a>b)", "("])
def test_a_pattern_that_is_not_known_is_no_schema(
    gateways: Gateways, storage: Api, extension: Extension, pattern: str
) -> None:
    _schema(gateways, extension, {"pattern": pattern})
    assert storage({**PUT, "value": "a"}).status == 500


def test_several_items_are_refused_in_the_products_order(storage: Api) -> None:
    """What holds for one item is looked at last, and how long it lives after its size."""

    def put(*items: Mapping[str, object]) -> tuple[str, str]:
        answer = storage({"operation": "bulkPut", "namespace": "n", "items": items})
        assert answer.status >= 400
        return answer.json["code"], answer.json["error"]

    large, short = "x" * 70_000, {"key": "s", "ttlSeconds": 5}
    mismatch = {"key": "m", "ifRevision": 1}
    assert put(*[{"key": "a/b"}] * 21)[1] == "bulk operations limited to 20 items"
    assert put({"key": "a"}, {"key": "a"}, {"key": "a/b"})[1] == "duplicate key in bulk payload: a"
    assert put(short, {"key": "k", "value": large}, mismatch)[0] == "REVISION_MISMATCH"
    assert put(short, {"key": "k", "value": large})[1] == "value for key k exceeds max size"
    assert put(short, {"key": "k"})[1] == "ttlSeconds must be >= 60"
    assert storage.ok("list", namespace="n")["items"] == []


def test_cursors_are_read_as_the_product_reads_them(storage: Api) -> None:
    for key in "ab":
        storage({**PUT, "key": key})

    def listed(cursor: str) -> list[str]:
        page = storage.ok("list", namespace="n", cursor=cursor)
        return [it["key"] for it in page["items"]]

    assert listed("eyJrZXkiOiJhIn0") == listed("eyJrZXkiOiJhIn0=") == ["b"]
    assert listed("eyJr ZXki\nOiJhIn0!") == ["b"]
    assert listed("eyJrZXkiOiIifQ") == ["a", "b"]
    # Bytes that are no UTF-8 are replaced by a character that comes after all letters.
    assert listed("eyJrZXkiOiL_In0") == listed("eyJrZXkiOiL/In0") == []


def test_numbers_are_spelled_as_javascript_spells_them(
    gateways: Gateways, storage: Api, extension: Extension
) -> None:
    storage({**PUT, "value": [1.0, 1e-7, 1e21, 123456789012345680000]})
    (row,) = gateways.database.sql(
        "SELECT value_size_bytes FROM ext_storage_records WHERE extension_install_id = %s",
        extension.install,
    )
    assert row[0] == len("[1,1e-7,1e+21,123456789012345680000]")


def test_arrays_are_validated_by_element(
    gateways: Gateways, storage: Api, fixed: Api, extension: Extension
) -> None:
    _schema(gateways, extension, {"type": "object"})
    for value, status in (([], 200), ([{}], 200), ([1], 400)):
        answer = storage({**PUT, "value": value})
        assert answer.status == status
        assert answer.headers["x-algaenv-product-fault"] == "storage-array-schema"
        assert fixed({**PUT, "value": value}).status == 400


def test_another_schema_version_switches_validation_off(
    gateways: Gateways, storage: Api, fixed: Api, extension: Extension
) -> None:
    _schema(gateways, extension, {"type": "object"})
    asked = {**PUT, "schemaVersion": 2}
    answer = storage(asked)
    assert answer.status == 200
    assert answer.headers["x-algaenv-product-fault"] == "storage-schema-version"
    assert fixed(asked).status == 400
    for api in (storage, fixed):
        assert api({**PUT, "schemaVersion": 3}).status == 400


def test_writers_do_not_lose_each_other(
    gateways: Gateways, storage: Api, extension: Extension
) -> None:
    with ThreadPoolExecutor(8) as threads:
        same = list(threads.map(lambda _: storage(PUT).json["revision"], range(40)))
        keys = [f"key-{number}" for number in range(40)]
        list(threads.map(lambda key: storage.ok("put", namespace=key[-1], key=key), keys))
        won = list(threads.map(lambda _: storage({**PUT, "ifRevision": 40}).status, range(16)))
    assert sorted(same) == list(range(1, 41))
    assert sorted(won) == [200] + [409] * 15
    assert _usage(gateways, extension) == (3 + 40 * 6, 41, 11)


def _fill(
    gateways: Gateways, extension: Extension, columns: str, source: str, *, size: int = 1
) -> None:
    gateways.database.sql(
        "INSERT INTO ext_storage_records (tenant, extension_install_id, namespace, key, value,"
        f" value_size_bytes) SELECT '{OZ}', '{extension.install}', {columns}, '1', {size}"
        f" FROM {source}"
    )


def _expire(gateways: Gateways, extension: Extension) -> None:
    gateways.database.sql(
        "UPDATE ext_storage_records SET ttl_expires_at = now() WHERE extension_install_id = %s"
        " AND ttl_expires_at IS NOT NULL",
        extension.install,
    )


def _sizes(gateways: Gateways, extension: Extension) -> list[tuple[Any, ...]]:
    return gateways.database.sql(
        "SELECT value_size_bytes, metadata_size_bytes FROM ext_storage_records"
        " WHERE extension_install_id = %s",
        extension.install,
    )


def _usage(gateways: Gateways, extension: Extension) -> tuple[Any, ...]:
    (row,) = gateways.database.sql(
        "SELECT bytes_used, keys_count, namespaces_count FROM ext_storage_usage"
        " WHERE extension_install_id = %s",
        extension.install,
    )
    return row


def test_upper_case_install_id(gateways: Gateways, storage: Api, extension: Extension) -> None:
    storage.ok("put", namespace="n", key="k", value=1)
    listed = Api(gateways.faithful, "storage", extension.install.upper()).ok("list", namespace="n")
    assert listed["items"][0]["extensionInstallId"] == extension.install


def test_usage_heals(gateways: Gateways, storage: Api, extension: Extension) -> None:
    """Rows written by hand are counted when a key goes, or a limit is near."""
    storage.ok("put", namespace="n", key="k", value=1)
    _fill(gateways, extension, "'other', 'k' || g", "generate_series(1, 3) g")
    storage.ok("put", namespace="n", key="new", value=1)
    storage.ok("put", namespace="n", key="old", value=1)
    storage.ok("delete", namespace="n", key="old")
    assert _usage(gateways, extension) == (6 + 3, 5, 2)
    gateways.database.sql(
        "UPDATE ext_storage_usage SET keys_count = 5120 WHERE extension_install_id = %s",
        extension.install,
    )
    storage.ok("put", namespace="n", key="old", value=1)
    assert _usage(gateways, extension) == (9 + 3, 6, 2)
    storage.ok("delete", namespace="n", key="old")
    gateways.database.sql(
        "DELETE FROM ext_storage_usage WHERE extension_install_id = %s", extension.install
    )
    storage.ok("put", namespace="n", key="k", value=22)
    assert _usage(gateways, extension) == (7 + 3, 5, 2)
