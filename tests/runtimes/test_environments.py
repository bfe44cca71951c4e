"""The gateway's environment and settings, read back by the gateway itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from algaenv.gateway.pages.extension import PORTALS
from algaenv.gateway.settings import GatewayConfig, Settings
from algaenv.gateway.users import default_users
from algaenv.model.intent import (
    AppServer,
    BundledGateway,
    ExternalDatabase,
    GatewayUser,
    TenantIntent,
)
from algaenv.model.secret import Secret
from algaenv.plan.desired import predicted_ids
from algaenv.reconcile.endpoints import CLIENT_MENU, portal_path
from algaenv.runtimes.environments import (
    SETTINGS,
    database_url,
    gateway_environment,
    settings_files,
    tenant_id,
)
from algaenv.runtimes.services import Values, probes, reveal_all
from algaenv.spec.gateway import quirk_names
from tests.runtimes.locks import GATEWAY, make_lock

TENANT = "51bbbfe5-0720-4d9b-b3e5-b5b43e441a52"
RUNNER: Values = {
    "ALGA_AUTH_KEY": Secret("key of the author"),
    "RUNNER_STORAGE_API_TOKEN": Secret("token"),
    "RUNNER_DEBUG_REDIS_URL": "redis://redis:6379/0",
    "RUNNER_DEBUG_REDIS_PASSWORD": Secret("p@ss"),
    "S3_SECRET_KEY": Secret("not its business"),
}
FULL = replace(
    GATEWAY,
    users=(
        GatewayUser("glinda", "internal", "Glinda", TENANT, "g@oz.example", None, None, (), {}),
        GatewayUser("toto", "client", None, None, None, TENANT, "Oz", None, {"locale": "en"}),
    ),
    checks_off=("client-portal-menu",),
    rate_limit="product",
    faults_fixed=quirk_names(),
    timeout_ms=5_000,
    clients=({"clientId": TENANT, "clientName": "Oz"},),
    services=({"serviceId": TENANT, "serviceName": "Rides"},),
)


def environment(tmp_path: Path, gateway: BundledGateway, settings: str = "") -> Values:
    lock = make_lock(tmp_path, gateway=gateway)
    return gateway_environment(
        lock,
        runner=RUNNER,
        runner_url="http://runner:8080",
        database_url=database_url(lock, host="database", port=5432),
        host="127.0.0.1",
        port=3000,
        settings=settings,
    )


def test_the_gateway_takes_its_environment(tmp_path: Path) -> None:
    found = environment(tmp_path, replace(GATEWAY, timeout_ms=5_000))
    assert "S3_SECRET_KEY" not in found
    shown = {name for name, text in found.items() if not isinstance(text, Secret)}
    assert not shown & {"DATABASE_URL", "ALGA_AUTH_KEY", "RUNNER_STORAGE_API_TOKEN"}
    read = GatewayConfig.read(reveal_all(found))
    assert (read.host, read.port, read.timeout_ms) == ("127.0.0.1", 3000, 5_000)
    assert read.runner_url == "http://runner:8080"
    assert (read.auth_key, read.storage_token) == ("key of the author", "token")
    assert read.debug_stream is not None
    assert read.debug_stream.url == "redis://:p%40ss@redis:6379/0"
    assert read.settings == Settings()


def test_the_gateway_takes_its_settings(tmp_path: Path) -> None:
    lock = make_lock(tmp_path, gateway=FULL)
    file = tmp_path / SETTINGS
    file.touch(0o600)
    file.write_text(settings_files(lock)[SETTINGS])
    read = GatewayConfig.read(reveal_all(environment(tmp_path, FULL, str(file)))).settings
    glinda, toto = read.users
    assert (glinda.key, glinda.name, glinda.id, glinda.permissions) == (
        "glinda",
        "Glinda",
        TENANT,
        frozenset(),
    )
    assert (toto.is_client, toto.client_id, toto.client_name) == (True, TENANT, "Oz")
    assert toto.additional_fields == {"locale": "en"}
    assert read.checks_off == {"client-portal-menu"}
    assert read.rate_limit == "product"
    assert read.faults_fixed == set(quirk_names())
    assert read.clients == FULL.clients
    assert read.services == FULL.services


def test_settings_that_say_nothing_are_no_file(tmp_path: Path) -> None:
    assert settings_files(make_lock(tmp_path, gateway=GATEWAY)) == {}
    assert settings_files(make_lock(tmp_path, gateway=AppServer())) == {}


def test_any_password_can_stand_in_the_url(tmp_path: Path) -> None:
    from psycopg.conninfo import conninfo_to_dict

    lock = make_lock(tmp_path, gateway=GATEWAY)
    password = "a/b@c:d%e?f#g h"
    credentials = replace(lock.credentials, database_password=Secret(password))
    url = database_url(replace(lock, credentials=credentials), host="127.0.0.1", port=5436)
    assert conninfo_to_dict(url.reveal()) == {
        "user": "alga",
        "password": password,
        "host": "127.0.0.1",
        "port": "5436",
        "dbname": "algadb",
    }
    external = make_lock(tmp_path, database=ExternalDatabase(Secret("postgresql://x/y")))
    assert database_url(external, host="", port=0) == Secret("postgresql://x/y")


def test_the_tenant_is_given_else_recorded_else_predicted(tmp_path: Path) -> None:
    lock = make_lock(tmp_path, gateway=GATEWAY)
    assert tenant_id(lock) == predicted_ids(lock).tenant_id
    learned = replace(lock, tenant_id="11111111-2222-5333-8444-555555555555")
    assert tenant_id(learned) == learned.tenant_id
    details = replace(learned, intent=replace(lock.intent, tenant=TenantIntent(TENANT, None)))
    assert tenant_id(details) == TENANT


def test_it_is_asked_only_where_there_is_one(tmp_path: Path) -> None:
    assert "gateway" in probes(make_lock(tmp_path, gateway=GATEWAY))
    assert "gateway" not in probes(make_lock(tmp_path))


def test_portals_are_where_the_gateway_has_them() -> None:
    assert {portal.key: portal.path("7d") for portal in PORTALS} == {
        key: portal_path(key, "7d") for key in ("msp", "client")
    }
    assert [portal.menu for portal in PORTALS if portal.key == "client"] == [CLIENT_MENU]


def test_fixtures_of_a_spec_are_taken(tmp_path: Path) -> None:
    from algaenv.gateway.apis import directory
    from algaenv.spec.load import load

    spec = tmp_path / "algaenv.yaml"
    spec.write_text("name: demo\ngateway: {users: [{name: toto, type: client}]}\n")
    alone = load(spec, {}).intent.gateway
    assert isinstance(alone, BundledGateway)
    assert alone.users[0].client_id == default_users()[1].client_id
    spec.write_text(
        "name: demo\n"
        "gateway:\n"
        "  clients: [{name: Oz, type: company, inactive: no}, {name: Kansas}]\n"
        "  services: [{name: Rides, default_rate: 12.5}, {name: Shoes, kind: product, sku: S}]\n"
    )
    gateway = load(spec, {}).intent.gateway
    found = settings_files(make_lock(tmp_path, gateway=gateway))[SETTINGS]
    settings = Settings.parse(json.loads(found))
    assert len(settings.clients) == len(settings.services) == 2
    known = directory.load_directory(settings)
    assert "Oz" in repr(known)
    assert "Shoes" in repr(known)


def test_servers_of_extensions_that_are_left_as_they_are_stay_known(tmp_path: Path) -> None:
    lock = replace(make_lock(tmp_path, gateway=GATEWAY), dev_servers={TENANT: "http://localhost:5"})
    found = json.loads(settings_files(lock)[SETTINGS])
    assert found["extensions"] == {TENANT: {"ui_dev_server": "http://localhost:5"}}
