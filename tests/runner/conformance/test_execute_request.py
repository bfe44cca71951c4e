"""1.2: the fields of a request to run a handler. What is accepted fails later, inside a 200."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .asking import Runner
from .calls import USER, Json, merged
from .kinds import Kind, differs, settle
from .test_json_bodies import SHAPE

ROUTING = {"x-alga-tenant": "t", "x-alga-extension": "e"}
FULL: Json = {
    "context": {
        "request_id": "r",
        "tenant_id": "t",
        "extension_id": "e",
        "install_id": "i",
        "content_hash": "sha256:dummy",
        "version_id": "v",
        "config": {"a": "b"},
    },
    "http": {
        "method": "POST",
        "path": "/foo",
        "query": {"a": "b"},
        "headers": {"c": "d"},
        "body_b64": "",
    },
    "limits": {"timeout_ms": 1000, "memory_mb": 64, "fuel": 1},
    "secret_envelope": {
        "ciphertext_b64": "",
        "version": "1",
        "algorithm": "inline/base64",
        "expires_at": "2030-01-01T00:00:00Z",
        "key_path": "k",
        "mount": "m",
    },
    "providers": ["cap:log.emit"],
    "user": USER,
}
REQUIRED = (
    "context",
    "context.tenant_id",
    "context.extension_id",
    "context.content_hash",
    "http",
    "http.method",
    "http.path",
    "secret_envelope.ciphertext_b64",
    "user.user_id",
    "user.user_email",
    "user.user_name",
    "user.user_type",
)
OPTIONAL_NULL_OK = (
    "context.request_id",
    "context.install_id",
    "context.version_id",
    "http.body_b64",
    "limits.timeout_ms",
    "limits.memory_mb",
    "limits.fuel",
    "secret_envelope",
    "secret_envelope.version",
    "secret_envelope.algorithm",
    "secret_envelope.expires_at",
    "secret_envelope.key_path",
    "secret_envelope.mount",
    "user",
    "user.client_id",
)
OPTIONAL_NOT_NULL = (
    "context.config",
    "http.query",
    "http.headers",
    "limits",
    "providers",
    "user.client_name",
    "user.additional_fields",
)
NUMBERS = ("limits.timeout_ms", "limits.memory_mb", "limits.fuel")
MAPS = ("context.config", "http.query", "http.headers", "user.additional_fields")
TEXTS = tuple(
    place
    for place in REQUIRED + OPTIONAL_NULL_OK + ("user.client_name",)
    if place not in {"context", "http", "user", "secret_envelope", *NUMBERS}
)


def accepted(runner: Runner, fields: Json | bytes) -> dict[str, Any]:
    answer = runner.post("/v1/execute", fields, ROUTING)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json
    assert {"status", "headers", "body_b64", "error"} <= found.keys()
    return found


def refused(runner: Runner, fields: Json | bytes, status: int = 422) -> str:
    answer = runner.post("/v1/execute", fields, ROUTING)
    assert answer.status == status, answer
    text = answer.body.decode()
    if status == 422:
        assert text.startswith(SHAPE)
    return text


def test_1_2_every_field_at_once(runner: Runner) -> None:
    accepted(runner, FULL)


@pytest.mark.parametrize("place", REQUIRED)
def test_1_2_required(runner: Runner, place: str) -> None:
    refused(runner, merged(FULL, {place: ...}))
    refused(runner, merged(FULL, {place: None}) if "." in place else merged(FULL, {place: 5}))


@pytest.mark.parametrize("place", OPTIONAL_NULL_OK)
def test_1_2_may_be_absent_or_null(runner: Runner, place: str) -> None:
    accepted(runner, merged(FULL, {place: ...}))
    accepted(runner, merged(FULL, {place: None}))


@pytest.mark.parametrize("place", OPTIONAL_NOT_NULL)
def test_1_2_may_be_absent_but_not_null(runner: Runner, place: str) -> None:
    accepted(runner, merged(FULL, {place: ...}))
    refused(runner, merged(FULL, {place: None}))


@pytest.mark.parametrize("place", TEXTS)
@pytest.mark.parametrize(
    "value", [5, True, ["x"], {"x": "y"}], ids=["number", "bool", "array", "object"]
)
def test_1_2_strings(runner: Runner, *, place: str, value: object) -> None:
    refused(runner, merged(FULL, {place: value}))


@pytest.mark.parametrize("place", NUMBERS)
@pytest.mark.parametrize("value", [-1, 5.0, 1.5, "5", True, 2**64, [1]])
def test_1_2_numbers_that_are_no_u64(runner: Runner, *, place: str, value: object) -> None:
    refused(runner, merged(FULL, {place: value}))


@pytest.mark.parametrize("place", NUMBERS)
@pytest.mark.parametrize("value", [0, 2**63, 2**64 - 1])
def test_1_2_numbers_that_are_u64(runner: Runner, *, place: str, value: object) -> None:
    accepted(runner, merged(FULL, {place: value}))


@pytest.mark.parametrize("place", MAPS)
@pytest.mark.parametrize("value", [{"a": 1}, {"a": None}, {"a": {}}, [["a", "b"]], "a", 5])
def test_1_2_maps_of_strings(runner: Runner, *, place: str, value: object) -> None:
    refused(runner, merged(FULL, {place: value}))


@pytest.mark.parametrize("value", ["cap:log.emit", [1], [None], {"a": "b"}, 5])
def test_1_2_providers_are_an_array_of_strings(runner: Runner, value: object) -> None:
    refused(runner, merged(FULL, {"providers": value}))


def test_1_2_company_name_is_another_client_name(runner: Runner) -> None:
    accepted(runner, merged(FULL, {"user.client_name": ..., "user.company_name": "C"}))
    refused(runner, merged(FULL, {"user.company_name": "C"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"a": 1}},
        {"endpoint": 5},
        {"context.trigger": "schedule", "context.schedule_id": 7},
        {"http.more": None},
        {"limits.more": []},
        {"secret_envelope.more": 1},
        {"user.more": 1},
    ],
    ids="+".join,
)
def test_1_2_unknown_fields_are_ignored(runner: Runner, changes: Json) -> None:
    accepted(runner, merged(FULL, changes))


def _twice(place: str, again: object) -> bytes:
    """The request with a key repeated in its object."""
    *parents, last = place.split(".")
    marked = merged(FULL, {".".join([*parents, "@again"]): again})
    return json.dumps(marked).replace('"@again"', json.dumps(last)).encode()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("context", FULL["context"]),
        ("context.tenant_id", "t"),
        ("http.method", "GET"),
        ("limits.timeout_ms", 5),
        ("secret_envelope.version", "2"),
        ("user.user_id", "2"),
    ],
)
def test_1_2_a_field_given_twice(runner: Runner, kind: Kind, *, place: str, value: object) -> None:
    if settle(kind, differs("the-last-of-equal-keys-counts", ours=True, original=False)):
        accepted(runner, _twice(place, value))
    else:
        refused(runner, _twice(place, value))


def test_1_2_what_may_be_repeated(runner: Runner) -> None:
    accepted(runner, _twice("http.query.a", "again"))
    twice = json.dumps(FULL)[:-1] + ', "unknown": 1, "unknown": 2}'
    accepted(runner, twice.encode())


def test_1_2_refusals_do_not_repeat_secrets(runner: Runner) -> None:
    secret = "c2VjcmV0LXZhbHVl"
    text = refused(runner, merged(FULL, {"secret_envelope.ciphertext_b64": secret, "providers": 5}))
    assert secret not in text
