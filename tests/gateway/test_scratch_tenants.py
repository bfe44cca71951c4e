"""Scratch tenants: made by copying, told apart by a header, deleted with all their rows."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.drivers.alga import OZ, migrate, tenant
from tests.gateway.gateway_process import TOKEN, Answer, Gateway, gateway
from tests.gateway.seed import Extension, install
from tests.gateway.stub_runner import StubRunner, start_stub_runner
from tests.servers import Database, Postgres

CAPABILITIES = ("cap:storage.kv", "cap:http.fetch", "cap:invoice.manual.create")
TABLES = (
    "tenants",
    "tenant_extension_install",
    "tenant_extension_install_config",
    "tenant_extension_install_secrets",
    "tenant_extension_schedule",
    "extension_execution_log",
    "ext_storage_records",
    "ext_storage_usage",
)


@dataclass(frozen=True, slots=True)
class Stage:
    database: Database
    runner: StubRunner
    gateway: Gateway
    extension: Extension

    def create(self, owner: str = "o") -> dict[str, Any]:
        answer = self.gateway.call("/algaenv/tenants", json.dumps({"owner": owner}).encode())
        assert answer.status == 201, answer.body
        found: dict[str, Any] = answer.json
        return found

    def delete(self, id_: str) -> Answer:
        return self.gateway.call(f"/algaenv/tenants/{id_}", method="DELETE")

    def internal(self, api: str, install_id: str, body: object) -> Answer:
        return self.gateway.call(
            f"/api/internal/ext-{api}/install/{install_id}",
            json.dumps(body).encode(),
            x_runner_auth=TOKEN,
        )

    def counts(self) -> dict[str, int]:
        with self.database.session() as sql:
            return {table: sql(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}


@pytest.fixture(scope="module")
def stage(postgres: Postgres) -> Iterator[Stage]:
    name = f"test_{secrets.token_hex(6)}"
    postgres.execute(f"CREATE DATABASE {name}")
    database = Database(postgres, name)
    migrate(database)
    tenant(database, "Oz", OZ)
    extension = install(
        database, OZ, capabilities=CAPABILITIES, config={"a": "1"}, secrets={"key": "x"}
    )
    with start_stub_runner() as runner:
        env = {
            "DATABASE_URL": database.url,
            "TENANT_ID": OZ,
            "RUNNER_BASE_URL": runner.url,
            "RUNNER_STORAGE_API_TOKEN": TOKEN,
            "ALGAENV_SCRATCH_TENANTS": "true",
        }
        with gateway(env) as started:
            yield Stage(database, runner, started, extension)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_call_acts_for_the_tenant_that_the_header_names(stage: Stage) -> None:
    made = stage.create()
    (installed,) = made["extensions"]
    assert installed["id"] == stage.extension.registry
    assert installed["slug"] == stage.extension.slug
    path = f"/api/ext/{stage.extension.registry}/hello"
    assert stage.gateway.call(path, b"{}", x_idempotency_key="k").status == 200
    own = stage.runner.last
    named = {"x_algaenv_tenant": made["tenant"], "x_idempotency_key": "k"}
    assert stage.gateway.call(path, b"{}", **named).status == 200
    other = stage.runner.last
    assert other.json["context"] == own.json["context"] | {
        "tenant_id": made["tenant"],
        "install_id": installed["install"],
        "request_id": other.json["context"]["request_id"],
    }
    assert other.json["secret_envelope"]["ciphertext_b64"]
    assert other.json["http"]["headers"]["x-alga-tenant"] == made["tenant"]
    # The bundle is the one of the environment's tenant; keys and HTTP requests are not.
    assert other.headers["x-alga-tenant"] == OZ
    assert (own.headers["x-idempotency-key"], other.headers["x-idempotency-key"]) == (
        "k",
        f"{made['tenant']}/k",
    )
    assert "x-algaenv-outbound" not in own.headers
    assert other.headers["x-algaenv-outbound"] == "gateway"
    stage.delete(made["tenant"])


def test_it_is_deleted_with_all_its_rows(stage: Stage) -> None:
    before = stage.counts()
    made = stage.create()
    (installed,) = made["extensions"]
    with stage.database.session() as sql:
        sql("UPDATE tenant_extension_install SET granted_caps = %s", json.dumps(CAPABILITIES))
    item = {"operation": "put", "namespace": "n", "key": "k", "value": 1}
    assert stage.internal("storage", installed["install"], item).status == 200
    found = stage.gateway.call(
        f"/algaenv/tenants/{made['tenant']}/storage/{installed['install']}",
        json.dumps({"operation": "get", "namespace": "n", "key": "k"}).encode(),
    )
    assert found.json["value"] == 1
    wrong = f"/algaenv/tenants/{made['tenant']}/storage/{stage.extension.install}"
    assert stage.gateway.call(wrong, json.dumps(item).encode()).status == 404
    during = stage.counts()
    assert during["ext_storage_records"] == before["ext_storage_records"] + 1
    assert during["tenant_extension_install_secrets"] == 2
    assert stage.delete(made["tenant"]).status == 200
    assert stage.counts() == before
    assert stage.delete(made["tenant"]).status == 404
    assert stage.gateway.call("/readyz", x_algaenv_tenant=made["tenant"]).status == 404


def test_no_other_tenant_is_named_or_deleted(stage: Stage) -> None:
    for name in (OZ, str(uuid.uuid4()), "x", "' OR true"):
        answer = stage.gateway.call("/algaenv/schedules", x_algaenv_tenant=name)
        assert answer.status == 404
        assert answer.headers["x-algaenv-error"].startswith("gateway-tenant-unknown: ")
    before = stage.counts()
    assert stage.delete(OZ).status == 404
    assert stage.counts() == before


@pytest.mark.parametrize("owner", ["", "a b", "é", 1, "x" * 101, None])
def test_an_owner_that_is_no_name_is_refused(stage: Stage, owner: object) -> None:
    answer = stage.gateway.call("/algaenv/tenants", json.dumps({"owner": owner}).encode())
    assert answer.status == 400


def test_it_is_listed_with_its_owner(stage: Stage) -> None:
    made = stage.create("boot-1.2.3")
    listed = stage.gateway.call("/algaenv/tenants").json["tenants"]
    assert [(it["tenant"], it["owner"]) for it in listed] == [(made["tenant"], "boot-1.2.3")]
    stage.delete(made["tenant"])
    assert stage.gateway.call("/algaenv/tenants").json == {"tenants": []}


def test_requests_of_handlers_are_answered_for_their_tenant(stage: Stage) -> None:
    one, other = stage.create(), stage.create()
    place = f"/algaenv/tenants/{one['tenant']}/http"
    response = {"method": "GET", "url": "https://a.example/x", "status": 201, "body": "e30="}
    assert stage.gateway.call(place, json.dumps(response).encode()).status == 201
    asked = {"operation": "fetch", "method": "GET", "url": "https://a.example:443/x?q=1"}
    (mine,), (theirs,) = one["extensions"], other["extensions"]
    answer = stage.internal("http", mine["install"], asked)
    assert answer.json == {"status": 201, "headers": [], "body": "e30="}
    refused = stage.internal("http", theirs["install"], asked)
    assert refused.status == 404
    assert "no response is prepared for GET https://a.example:443/x?q=1" in refused.json["error"]
    report = stage.gateway.call(place).json
    assert [it["answered"] for it in report["requests"]] == [True]
    assert report["unused"] == []
    for id_ in (one["tenant"], other["tenant"]):
        stage.delete(id_)
    assert stage.gateway.call(place).status == 404


@pytest.mark.parametrize(
    "change", [{"status": 99}, {"body": "%"}, {"url": None}, {"unknown": 1}, {"headers": [["a"]]}]
)
def test_what_is_no_response_is_refused(stage: Stage, change: dict[str, object]) -> None:
    made = stage.create()
    fields = {"method": "GET", "url": "https://a.example/", **change}
    answer = stage.gateway.call(
        f"/algaenv/tenants/{made['tenant']}/http", json.dumps(fields).encode()
    )
    assert answer.status == 400
    assert next(iter(change)) in answer.json["error"]
    stage.delete(made["tenant"])


@pytest.mark.parametrize(
    ("since", "until"), [("x", "y"), ("2026-01-01T00:00:00", "2026-01-01T01:00:00")]
)
def test_a_span_needs_two_times(stage: Stage, since: str, until: str) -> None:
    made = stage.create()
    answer = stage.gateway.call(
        f"/algaenv/tenants/{made['tenant']}/schedules",
        json.dumps({"since": since, "until": until}).encode(),
    )
    assert answer.status == 400
    stage.delete(made["tenant"])


def test_there_are_none_unless_they_are_switched_on(stage: Stage) -> None:
    env = {"DATABASE_URL": stage.database.url, "TENANT_ID": OZ}
    with gateway(env) as plain:
        assert plain.call("/algaenv/tenants", b"{}").status == 404
        made = stage.create()
        assert plain.call("/algaenv/schedules", x_algaenv_tenant=made["tenant"]).status == 404
        stage.delete(made["tenant"])
