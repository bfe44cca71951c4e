"""What runners ask about installs."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

import pytest

from algaenv.bundle.digest import Digest
from tests.drivers.alga import OZ, tenant
from tests.gateway.conftest import Start
from tests.gateway.gateway_process import AUTH_KEY, Answer, Gateway
from tests.gateway.seed import Extension, add_bundle, install

from .conftest import Gateways

OTHER = "0d9e0f62-8e2f-4a7e-8a52-6f9f1a5c1e11"


def _ask(gateway: Gateway, path: str, key: str | None = AUTH_KEY, **query: str) -> Answer:
    headers = {} if key is None else {"x-api-key": key}
    return gateway.ask(f"/api/installs/{path}?{urlencode(query, quote_via=quote)}", headers)


@pytest.mark.parametrize("path", ["lookup-by-host", "validate"])
@pytest.mark.parametrize("key", [None, "", "wrong"])
def test_key(gateways: Gateways, path: str, key: str | None) -> None:
    assert _ask(gateways.faithful, path, key, host="h").status == 401


def test_without_a_key_of_ours_any_will_do(start: Start, hello: Extension) -> None:
    service = start(ALGA_AUTH_KEY="")
    assert _ask(service, "validate", "anything").status == 200
    assert _ask(service, "validate", None).status == 401


@pytest.mark.parametrize("host", ["ext.example", "EXT.example", "ext.example:8443"])
def test_host(gateways: Gateways, host: str) -> None:
    extension = gateways.install(domain=f"{len(host)}{host.lower()[0]}.example", enabled=False)
    domain = f"{len(host)}{host.lower()[0]}.example"
    asked = host.replace("ext.example", domain).replace("EXT.example", domain.upper())
    answer = _ask(gateways.faithful, "lookup-by-host", host=asked, ts="1")
    assert answer.json == {
        "tenant_id": OZ,
        "extension_id": extension.registry,
        "content_hash": extension.digest.prefixed,
    }
    gateways.database.sql("UPDATE tenant_extension_install SET runner_domain = NULL")


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ({}, 400, "missing_host"),
        ({"host": ""}, 400, "missing_host"),
        ({"host": "x"}, 404, "not_found"),
    ],
)
def test_no_host(gateways: Gateways, query: Mapping[str, str], status: int, error: str) -> None:
    answer = _ask(gateways.faithful, "lookup-by-host", **query)
    assert (answer.status, answer.json) == (status, {"error": error})


def _valid(gateways: Gateways, extension: str, hash_: str, tenant_id: str = OZ) -> bool:
    answer = _ask(gateways.faithful, "validate", tenant=tenant_id, extension=extension, hash=hash_)
    assert answer.status == 200
    assert set(answer.json) == {"valid"}
    return bool(answer.json["valid"])


def test_validate(gateways: Gateways, extension: Extension) -> None:
    older = Digest.of(b"older")
    add_bundle(gateways.database, extension.version, older, "1 day")
    hash_, registry = extension.digest, extension.registry
    for spelled in (hash_.prefixed, hash_.hex, hash_.hex.upper(), older.prefixed):
        assert _valid(gateways, registry, spelled), spelled
    for wrong in (
        "sha256:" + hash_.hex.upper(),
        Digest.of(b"?").hex,
        hash_.hex[:-1],
        "",
        "\0" + hash_.hex,
    ):
        assert not _valid(gateways, registry, wrong), wrong
    assert not _valid(gateways, extension.slug, hash_.hex)
    assert not _valid(gateways, extension.install, hash_.hex)
    assert not _valid(gateways, registry, hash_.hex, "x")
    assert not _valid(gateways, registry, hash_.hex, OTHER)
    gateways.database.sql(
        "UPDATE tenant_extension_install SET is_enabled = false WHERE id = %s", extension.install
    )
    assert _valid(gateways, registry, hash_.hex)


def test_validate_wants_the_right_product(gateways: Gateways) -> None:
    desk = tenant(gateways.database, "Desk", product="algadesk")
    theirs = install(gateways.database, desk, name="Desk")
    assert not _valid(gateways, theirs.registry, theirs.digest.hex, desk)
    unknown = install(gateways.database, OTHER, name="Unknown")
    assert _valid(gateways, unknown.registry, unknown.digest.hex, OTHER)


def _config(gateway: Gateway, body: object, token: str = "storage-token") -> Answer:
    import json

    return gateway.ask(
        "/api/internal/ext-runner/install-config",
        {"x-runner-auth": token, "content-type": "application/json"},
        method="POST",
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
    )


def test_install_config(gateways: Gateways) -> None:
    config = {"a": 1, "b": None, "c": 1.0, "d": 1e-7, "e": 1e21, "f": [1.50, 12345678901234567890]}
    extension = gateways.install(config=config, secrets={"s": "x"})
    ((spelled,),) = gateways.database.sql(
        "SELECT publisher || '.' || name FROM extension_registry WHERE id = %s", extension.registry
    )
    assert spelled != extension.slug
    for ref in (extension.registry, extension.install, extension.slug):
        answer = _config(gateways.faithful, {"tenantId": OZ, "extensionId": ref})
        assert answer.status == 200
        assert (
            answer.json.items()
            >= {
                "tenantId": OZ,
                "extensionSlug": spelled,
                "installId": extension.install,
                "versionId": extension.version,
                "registryId": extension.registry,
                "contentHash": extension.digest.prefixed,
                # As text, numbers are spelled as JavaScript spells them.
                "config": {
                    "a": "1",
                    "b": "",
                    "c": "1",
                    "d": "1e-7",
                    "e": "1e+21",
                    "f": "[1.5,12345678901234567000]",
                },
                "configVersion": "config-1",
                "secretsVersion": "secrets-1",
            }.items()
        )
        # What the row does not say is left out.
        envelope = answer.json["secretEnvelope"]
        assert set(envelope) == {"ciphertext_b64", "algorithm", "version"}
        assert envelope["algorithm"] == "inline/base64"
        assert "cap:storage.kv" in answer.json["providers"]
        assert answer.json["updatedAt"].endswith("Z")


@pytest.mark.parametrize("change", ["is_enabled = false", "status = 'pending'"])
def test_install_config_of_what_may_not_be_called(gateways: Gateways, change: str) -> None:
    extension = gateways.install()
    gateways.database.sql(
        f"UPDATE tenant_extension_install SET {change} WHERE id = %s", extension.install
    )
    answer = _config(gateways.faithful, {"tenantId": OZ, "extensionId": extension.registry})
    assert (answer.status, answer.json) == (404, {"error": "install_not_found"})


def test_install_config_without_rows(gateways: Gateways, extension: Extension) -> None:
    answer = _config(gateways.faithful, {"tenantId": OZ, "extensionId": extension.registry}).json
    assert (answer["secretEnvelope"], answer["updatedAt"]) == (None, None)
    assert not {"configVersion", "secretsVersion"} & set(answer)
    assert answer["config"] == {"from": "install"}


@pytest.mark.parametrize(
    ("body", "token", "status", "error"),
    [
        ({"tenantId": OZ, "extensionId": "x"}, "wrong", 401, "unauthorized"),
        ({"tenantId": OZ, "extensionId": "x"}, "service-token", 401, "unauthorized"),
        ({"tenantId": OZ}, "storage-token", 400, "invalid_request"),
        ({"tenantId": "", "extensionId": "x"}, "storage-token", 400, "invalid_request"),
        ([], "storage-token", 400, "invalid_request"),
        ({"tenantId": OZ, "extensionId": "x"}, "storage-token", 404, "install_not_found"),
        (b"{", "storage-token", 500, "internal_error"),
    ],
)
def test_install_config_refusals(
    gateways: Gateways, body: object, token: str, status: int, error: str
) -> None:
    answer = _config(gateways.faithful, body, token)
    assert (answer.status, answer.json["error"]) == (status, error)


def test_install_config_of_another_tenant(gateways: Gateways, extension: Extension) -> None:
    asked = {"tenantId": OTHER, "extensionId": extension.registry}
    assert _config(gateways.faithful, asked).status == 404


def test_install_config_has_a_token_of_its_own(start: Start, hello: Extension) -> None:
    service = start(RUNNER_CONFIG_API_TOKEN="config-token")
    asked = {"tenantId": OZ, "extensionId": hello.registry}
    assert _config(service, asked, "config-token").status == 200
    assert _config(service, asked, "storage-token").status == 401
