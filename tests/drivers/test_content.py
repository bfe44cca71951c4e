"""Rows and objects on real servers: made, left alone, changed, taken back, removed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from algaenv.bundle.digest import Digest
from algaenv.drivers.catalog_drift import revealed
from algaenv.drivers.content import Content
from algaenv.model.address import Address
from algaenv.model.content import BundleSpec
from algaenv.model.plan import Same
from algaenv.model.problem import Conflict
from algaenv.model.resource import Absent, Present, fingerprint
from tests.drivers.worlds import ENDPOINT, Wanted, World


def test_a_fresh_environment_is_made_and_then_left_alone(world: World) -> None:
    assert world.snapshot().observe(world.wanted()).keys() == {it.address for it in world.wanted()}
    assert all(isinstance(it, Absent) for it in world.seen().values())
    assert {it.partition("@")[0] for it in world.up()} == {
        f"create bucket/{world.bucket}",
        "create schema/extensions",
        "create tenant/main",
        "create bundle/hello",
        "create release/hello",
    }
    before = world.sql("SELECT xmin::text FROM tenant_extension_install")
    assert all(isinstance(it, Same) for it in world.decisions()), world.plan()
    assert world.up() == []
    assert world.sql("SELECT xmin::text FROM tenant_extension_install") == before


def test_what_is_recorded_is_what_was_wanted(world: World) -> None:
    world.up()
    for resource in world.wanted():
        seen = world.present(str(resource.address))
        assert seen.recorded == resource.fingerprint == fingerprint(seen.inputs)
        assert seen.drift == ()


def test_the_rows_of_a_sample_of_alga_have_the_ids_its_own_installer_derives(world: World) -> None:
    world.extensions = {
        "hello": Wanted(name="com.alga.sample.hello-world", publisher="Alga", version="0.1.1")
    }
    world.tenant = type(world.tenant)("51bbbfe5-0720-4d9b-b3e5-b5b43e441a52", None)
    world.up()
    assert world.sql(
        "SELECT i.registry_id::text, i.version_id::text, i.id::text FROM tenant_extension_install i"
    ) == [
        (
            "3b8b0204-25d9-57d0-951b-3ed518145469",
            "d1164241-1ba8-525c-bcee-689e6fa1a534",
            "16a77336-ea5a-5b0e-9402-db2e9936f29d",
        )
    ]
    assert world.snapshot().ids.installs == {"hello": "16a77336-ea5a-5b0e-9402-db2e9936f29d"}


def test_every_row_says_what_the_product_reads(world: World) -> None:
    world.up()
    body = world.resource("release/hello").body
    (version,) = world.sql(
        "SELECT version, runtime, main_entry, api, ui, capabilities, api_endpoints"
        " FROM extension_version"
    )
    stored = [{"method": "GET", "path": "/api/ping", "handler": "dist/main"}]
    ui = {"type": "iframe", "entry": "ui/index.html", "hooks": {"appMenu": {"label": "Hello"}}}
    capabilities = ["cap:http.fetch", "cap:log.emit"]
    assert version == ("0.1.0", "wasm-js@1", "ui/index.html", {}, ui, capabilities, stored)
    (bundle,) = world.sql(
        "SELECT content_hash, size_bytes, storage_url, created_at IS NOT NULL FROM extension_bundle"
    )
    assert isinstance(body, object)
    wanted = world.lock().extensions[0]
    (key,) = world.objects()
    address = f"{world.store.endpoint}/{world.bucket}/{key}"
    assert bundle == (wanted.digest.prefixed, wanted.size, address, True)
    (install,) = world.sql(
        "SELECT tenant_id, granted_caps, is_enabled, status, runner_status->>'state'"
        " FROM tenant_extension_install"
    )
    tenant = world.snapshot().ids.tenant_id
    assert install == (tenant, capabilities, True, "enabled", "ready")
    (config,) = world.sql(
        "SELECT tenant_id, config, providers FROM tenant_extension_install_config"
    )
    providers = ["cap:http.fetch", "cap:log.emit", "cap:context.read", "cap:user.read"]
    assert config == (tenant, {"region": "eu"}, providers)
    (secret,) = world.sql(
        "SELECT tenant_id, algorithm, ciphertext FROM tenant_extension_install_secrets"
    )
    assert secret[:2] == (tenant, "inline/base64")
    assert revealed(secret[2]) == {"api_key": "s3cr3t-value"}
    assert world.sql("SELECT method, path, handler FROM extension_api_endpoint") == [
        ("GET", "/api/ping", "dist/main")
    ]
    assert world.sql("SELECT tenant::text, client_name, product_code FROM tenants") == [
        (tenant, "demo", "psa")
    ]


def test_the_mark_says_who_made_what_and_no_secret(world: World) -> None:
    world.up()
    ((status,),) = world.sql("SELECT runner_status FROM tenant_extension_install")
    mark = status["algaenv"]
    assert mark["environment"] == world.environment
    assert mark["address"] == "release/hello"
    assert mark["made"]["registry"] is True
    assert len(mark["made"]["versions"]) == 1
    assert "s3cr3t-value" not in json.dumps(status)


def test_an_edited_bundle_is_served_and_the_one_before_stays(world: World) -> None:
    world.up()
    first = world.objects()
    world.change(build="second")
    done = world.up()
    assert [it.partition("@")[0] for it in done] == ["create bundle/hello", "update release/hello"]
    assert set(first) < set(world.objects())
    assert len(world.objects()) == 2
    assert world.settled()
    world.change(build="third")
    done = world.up()
    gone = Digest(first[0].split("/")[-2])
    assert f"delete bundle/hello@{gone.short}" in done
    assert len(world.objects()) == 2
    hashes = world.sql("SELECT content_hash FROM extension_bundle ORDER BY created_at DESC")
    assert hashes[0] == (world.lock().extensions[0].digest.prefixed,)
    assert (gone.prefixed,) not in hashes
    assert len(hashes) == 2


def test_going_back_to_an_earlier_bundle(world: World) -> None:
    world.up()
    world.change(build="second")
    world.up()
    world.change(build="first")
    assert world.up() == ["update release/hello"]
    newest = world.sql("SELECT content_hash FROM extension_bundle ORDER BY created_at DESC LIMIT 1")
    assert newest == [(world.lock().extensions[0].digest.prefixed,)]
    assert world.settled()


def test_a_new_version_gets_a_row_and_the_old_one_goes_with_its_last_bundle(world: World) -> None:
    world.up()
    world.change(version="0.2.0")
    assert "manifest version 0.1.0 → 0.2.0" in world.plan()
    world.up()
    versions = "SELECT version FROM extension_version ORDER BY version"
    assert world.sql(versions) == [("0.1.0",), ("0.2.0",)]
    world.change(version="0.3.0")
    world.up()
    assert world.sql(versions) == [("0.2.0",), ("0.3.0",)]
    endpoints = world.sql("SELECT count(*) FROM extension_api_endpoint")
    assert endpoints == [(2,)]
    assert world.settled()


def test_a_disabled_extension_and_other_settings_reach_the_rows(world: World) -> None:
    world.up()
    versions = (
        "SELECT c.version, s.version FROM tenant_extension_install_config c"
        " JOIN tenant_extension_install_secrets s USING (install_id)"
    )
    before = world.sql(versions)
    world.change(enabled=False)
    assert world.up() == ["update release/hello"]
    assert world.sql("SELECT is_enabled, status FROM tenant_extension_install") == [
        (False, "disabled")
    ]
    assert world.sql(versions) == before, "a fresh version without a change"
    world.change(enabled=True, config={"region": "us", "n": 1}, secrets={"api_key": "other"})
    world.up()
    ((config, secret),) = world.sql(versions)
    assert config != before[0][0]
    assert secret != before[0][1]
    world.change(secrets={})
    assert "secrets.api_key removed" in world.plan()
    world.up()
    assert world.sql("SELECT count(*) FROM tenant_extension_install_secrets") == [(0,)]
    assert world.settled()


def test_fewer_grants_than_asked_for(world: World) -> None:
    world.change(granted=("cap:http.fetch",))
    world.up()
    assert world.sql("SELECT granted_caps FROM tenant_extension_install") == [(["cap:http.fetch"],)]
    assert world.settled()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE tenant_extension_install SET is_enabled = false", "enabled is false, recorded"),
        ("UPDATE tenant_extension_install SET status = 'pending'", "enabled is false, recorded"),
        ("UPDATE tenant_extension_install SET granted_caps = '[]'", "granted is []"),
        ("UPDATE tenant_extension_install SET tenant_id = upper(tenant_id)", "tenant is"),
        ("UPDATE tenant_extension_install SET tenant_id = tenant_id || ' '", "tenant is"),
        ("UPDATE extension_version SET ui = NULL", "ui is null"),
        ("UPDATE extension_version SET runtime = 'wasm'", "manifest runtime is wasm"),
        ("UPDATE extension_version SET main_entry = 'x'", "main entry is x"),
        ("UPDATE extension_version SET capabilities = '[]'", "capabilities is []"),
        ("UPDATE extension_version SET api_endpoints = '[]'", "endpoints is []"),
        ("UPDATE extension_version SET version = '9.9.9'", "manifest version is 9.9.9"),
        ("UPDATE extension_registry SET name = 'x'", "the registry row is called Example/x"),
        ("DELETE FROM extension_bundle", "the bundle row sha256:"),
        ("UPDATE extension_bundle SET size_bytes = 1", "bundle size is 1"),
        ("UPDATE extension_bundle SET storage_url = NULL", "bundle address is null"),
        ("UPDATE extension_bundle SET created_at = NULL", "without created_at"),
        ("UPDATE extension_bundle SET content_hash = 'sha256:x'", "sha256:x is served"),
        (
            "INSERT INTO extension_bundle (id, version_id, content_hash, created_at) SELECT"
            " gen_random_uuid(), version_id, 'sha256:other', created_at FROM extension_bundle",
            "is as new as the recorded",
        ),
        (
            "INSERT INTO extension_bundle (id, version_id, content_hash, created_at) SELECT"
            " gen_random_uuid(), version_id, 'sha256:other', 'infinity' FROM extension_bundle",
            "is newer than the recorded",
        ),
        (
            "INSERT INTO extension_bundle (id, version_id, content_hash, created_at) SELECT"
            " gen_random_uuid(), version_id, 'sha256:other', NULL FROM extension_bundle",
            "without created_at",
        ),
        (
            "INSERT INTO extension_bundle (id, version_id, content_hash, created_at) SELECT"
            " gen_random_uuid(), version_id, 'sha256:other', created_at + interval '9 years'"
            " FROM extension_bundle",
            "is newer than the recorded",
        ),
        ("DELETE FROM extension_api_endpoint", "the endpoint row GET /api/ping is missing"),
        ("UPDATE extension_api_endpoint SET handler = 'x'", "names another handler"),
        ("UPDATE extension_api_endpoint SET path = '/x'", "GET /x is not in the record"),
        ("DELETE FROM tenant_extension_install_config", "the config row is missing"),
        ("UPDATE tenant_extension_install_config SET config = '{}'", "config.region is missing"),
        ("UPDATE tenant_extension_install_config SET config = '[]'", "not an object"),
        (
            "UPDATE tenant_extension_install_config SET config = config || '{\"more\": true}'",
            "config.more is true, nothing recorded",
        ),
        ("UPDATE tenant_extension_install_config SET providers = '[]'", "providers is []"),
        ("UPDATE tenant_extension_install_config SET tenant_id = 'x'", "for the tenant x"),
        ("DELETE FROM tenant_extension_install_secrets", "the secrets row is missing"),
        ("UPDATE tenant_extension_install_secrets SET tenant_id = 'x'", "for the tenant x"),
        ("UPDATE tenant_extension_install_secrets SET ciphertext = 'e30='", "api_key is missing"),
        ("UPDATE tenant_extension_install_secrets SET ciphertext = '?'", "cannot be read"),
        ("UPDATE tenant_extension_install_secrets SET algorithm = 'v'", "kept as v"),
        (
            "UPDATE tenant_extension_install_secrets SET ciphertext ="
            ' encode(\'{"api_key":"guess","b":"c"}\', \'base64\')',
            "secrets.api_key is another one than recorded",
        ),
        (
            "UPDATE tenant_extension_install SET runner_status ="
            " jsonb_set(runner_status, '{algaenv,address}', '\"release/older\"')",
            "recorded as release/older",
        ),
    ],
)
def test_a_row_changed_by_hand_is_named_and_healed(world: World, damage: str, said: str) -> None:
    world.up()
    world.sql(damage)
    drift = world.release().drift
    assert any(said in it for it in drift), drift
    assert "guess" not in str(drift)
    done = world.up()
    assert done == ["update release/hello"]
    assert world.settled(), world.plan()
    assert world.release().drift == ()


def test_rows_deleted_by_hand_are_made_again(world: World) -> None:
    world.up()
    world.sql("DELETE FROM extension_registry")
    assert world.up() == ["create release/hello"]
    assert world.settled()


def test_a_damaged_record_is_written_anew(world: World) -> None:
    world.up()
    world.sql(
        "UPDATE tenant_extension_install SET runner_status ="
        " jsonb_build_object('algaenv', jsonb_build_object('environment',"
        " runner_status#>>'{algaenv,environment}', 'inputs', 7, 'made', 7))"
    )
    assert world.release().recorded == ""
    assert world.up() == ["update release/hello"]
    assert world.settled()


def test_an_object_removed_or_overwritten_by_hand_is_put_right(world: World) -> None:
    world.up()
    (key,) = world.objects()
    world.store.s3().delete_object(Bucket=world.bucket, Key=key)
    assert [it.partition("@")[0] for it in world.up()] == ["create bundle/hello"]
    world.store.s3().put_object(Bucket=world.bucket, Key=key, Body=b"not a bundle")
    address = str(next(it.address for it in world.wanted() if it.address.kind == "bundle"))
    assert "12 bytes" in world.present(address).drift[0]
    assert world.up() == [f"update {address}"]
    size = world.lock().extensions[0].size
    world.store.s3().put_object(Bucket=world.bucket, Key=key, Body=b"x" * size)
    assert "other bytes" in world.present(address).drift[0]
    assert world.up() == [f"update {address}"]
    assert world.settled()


def test_an_extension_taken_out_of_the_spec_goes_with_everything(world: World) -> None:
    world.extensions["second"] = Wanted(name="com.example.second")
    world.up()
    install = world.snapshot().ids.installs["second"]
    tenant = world.snapshot().ids.tenant_id
    world.sql(
        "INSERT INTO ext_storage_records (tenant, extension_install_id, namespace, key, value)"
        " VALUES (%s, %s, 'n', 'k', '1')",
        tenant,
        install,
    )
    world.sql(
        "INSERT INTO tenant_extension_schedule (install_id, tenant_id, endpoint_id, cron)"
        " SELECT %s, %s, id, '* * * * *' FROM extension_api_endpoint LIMIT 1",
        install,
        tenant,
    )
    del world.extensions["second"]
    done = world.up()
    assert done[0] == "delete release/second"
    assert done[1].startswith("delete bundle/second@")
    assert len(world.objects()) == 1
    for table in ("registry", "version", "bundle", "api_endpoint"):
        assert world.sql(f"SELECT count(*) FROM extension_{table}") == [(1,)], table
    assert world.sql("SELECT count(*) FROM tenant_extension_schedule") == [(0,)]
    assert world.sql("SELECT count(*) FROM ext_storage_records") == [(1,)]
    assert any("1 stored value" in it and install in it for it in world.said)
    assert world.settled()


def test_down_takes_the_content_and_up_brings_it_back(world: World) -> None:
    world.up()
    done = world.down()
    assert [it.partition("@")[0] for it in done] == ["delete release/hello", "delete bundle/hello"]
    assert world.objects() == []
    assert world.sql("SELECT count(*) FROM extension_registry") == [(0,)]
    assert world.down() == []
    world.up()
    assert world.settled()


def test_every_step_may_be_repeated(world: World) -> None:
    """A run that died did a step without knowing; the next one does it again."""
    world.up()
    drivers = Content(world.lock()).drivers()
    for resource in world.wanted():
        drivers[resource.address.kind].create(resource, world.said.append)
    assert world.settled()
    seen = world.snapshot().observe(())
    for address in sorted(seen, key=lambda it: it.kind, reverse=True):
        there = seen[address]
        assert isinstance(there, Present)
        drivers[address.kind].delete(address, there, world.said.append)
        drivers[address.kind].delete(address, there, world.said.append)
    assert world.objects() == []


def test_a_bundle_that_is_served_cannot_be_removed(world: World) -> None:
    world.up()
    resource = next(it for it in world.wanted() if isinstance(it.body, BundleSpec))
    seen = world.present(str(resource.address))
    with pytest.raises(Conflict) as caught:
        Content(world.lock()).drivers()["bundle"].delete(resource.address, seen, world.said.append)
    assert caught.value.problem.code == "bundle-in-use"
    assert world.settled()


def test_an_extension_with_a_new_key_in_the_spec_keeps_its_rows(world: World) -> None:
    world.up()
    before = world.snapshot().ids.installs["hello"]
    world.extensions = {"renamed": world.extensions["hello"]}
    done = world.up()
    assert "update release/renamed" in done
    assert not any("delete" in it for it in done)
    assert world.snapshot().ids.installs == {"renamed": before}
    assert world.settled()


def test_two_extensions_that_swap_their_keys(world: World) -> None:
    world.extensions["second"] = Wanted(name="com.example.second")
    world.up()
    rows = world.sql("SELECT id FROM tenant_extension_install ORDER BY id")
    first, second = world.extensions["hello"], world.extensions["second"]
    world.extensions = {"hello": second, "second": first}
    done = world.up()
    assert not any("delete" in it for it in done), done
    assert world.sql("SELECT id FROM tenant_extension_install ORDER BY id") == rows
    assert world.settled()


def test_an_extension_with_a_new_name_in_its_manifest_is_another_one(world: World) -> None:
    world.up()
    world.change(name="com.example.renamed")
    done = world.up()
    assert "create release/hello" in done
    assert any(it.startswith("delete release/hello~") for it in done)
    assert world.sql("SELECT name FROM extension_registry") == [("com.example.renamed",)]
    assert len(world.objects()) == 1
    assert world.settled()


def test_the_same_manifest_twice_is_refused_before_anything_is_written(world: World) -> None:
    world.extensions["again"] = world.extensions["hello"]
    snapshot = world.snapshot()
    blockers = snapshot.blockers(world.wanted(snapshot))
    assert {str(it): problem.code for it, problem in blockers.items()} == {
        "release/again": "extension-twice"
    }


def test_foreign_things_are_never_seen(world: World) -> None:
    world.up()
    tenant = world.snapshot().ids.tenant_id
    foreign = "aaaaaaaa-0000-4000-8000-000000000001"
    world.sql(
        "INSERT INTO extension_registry (id, publisher, name) VALUES (%s, 'Other', 'x')", foreign
    )
    world.sql(
        "INSERT INTO extension_version (id, registry_id, version, runtime, main_entry)"
        " VALUES (%s, %s, '1.0.0', 'wasm-js@1', 'main')",
        foreign,
        foreign,
    )
    world.sql(
        "INSERT INTO tenant_extension_install (id, tenant_id, registry_id, version_id)"
        " VALUES (%s, %s, %s, %s)",
        foreign,
        tenant,
        foreign,
        foreign,
    )
    keys = [
        f"tenants/{tenant}/extensions/{foreign}/sha256/{'0' * 64}/bundle.tar.zst",
        f"tenants/{tenant}/extensions/{foreign}/notes.txt",
        f"tenants/{tenant}/extensions/something",
    ]
    for key in keys:
        world.store.s3().put_object(Bucket=world.bucket, Key=key, Body=b"x")
    assert world.settled()
    world.down()
    assert world.objects() == sorted(keys)
    assert world.sql("SELECT id::text FROM tenant_extension_install") == [(foreign,)]
    assert world.sql("SELECT name FROM extension_registry") == [("x",)]


def _schedule(world: World, path: str = "/api/ping", name: str = "nightly") -> str:
    ((id_,),) = world.sql(
        "INSERT INTO tenant_extension_schedule (install_id, tenant_id, endpoint_id, name, cron)"
        " SELECT i.id, i.tenant_id, e.id, %s, '0 3 * * *' FROM tenant_extension_install i"
        " JOIN extension_api_endpoint e USING (version_id) WHERE e.path = %s RETURNING id::text",
        name,
        path,
    )
    return str(id_)


_SCHEDULED = (
    "SELECT e.path, v.version FROM tenant_extension_schedule s"
    " JOIN extension_api_endpoint e ON e.id = s.endpoint_id"
    " JOIN extension_version v ON v.id = e.version_id"
)


def test_schedules_follow_an_upgrade(world: World) -> None:
    world.up()
    _schedule(world)
    world.change(version="0.2.0")
    world.up()
    assert world.sql(_SCHEDULED) == [("/api/ping", "0.2.0")]
    assert world.settled()
    world.change(version="0.3.0")
    world.up()
    assert world.sql(_SCHEDULED) == [("/api/ping", "0.3.0")]


def test_a_schedule_left_at_another_version_is_drift(world: World) -> None:
    world.up()
    schedule = _schedule(world)
    ((endpoint,),) = world.sql("SELECT endpoint_id::text FROM tenant_extension_schedule")
    world.change(version="0.2.0")
    world.up()
    world.sql("UPDATE tenant_extension_schedule SET endpoint_id = %s", endpoint)
    assert world.release().drift == ('the schedule "nightly" calls an endpoint of another version',)
    assert world.up() == ["update release/hello"]
    assert world.sql(_SCHEDULED) == [("/api/ping", "0.2.0")]
    assert world.sql("SELECT id::text FROM tenant_extension_schedule") == [(schedule,)]


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_an_endpoint_that_a_schedule_calls_cannot_be_taken_away(world: World, version: str) -> None:
    world.up()
    _schedule(world)
    other = {**ENDPOINT, "path": "/api/other"}
    world.change(version=version, endpoints=(other,), build="second")
    plan = world.plan()
    assert "blocked release/hello" in plan
    assert 'the schedule "nightly" calls GET /api/ping' in plan
    rows = "SELECT xmin::text, * FROM extension_version"
    before: Any = world.sql(rows)
    snapshot = world.snapshot()
    wanted = world.wanted(snapshot)
    seen = snapshot.observe(wanted)[Address("release", "hello")]
    assert isinstance(seen, Present)
    with pytest.raises(Conflict) as caught:
        Content(world.lock()).drivers()["release"].update(
            world.resource("release/hello"), seen, world.said.append
        )
    assert caught.value.problem.code == "schedule-endpoint-gone"
    assert world.sql(rows) == before
    assert world.sql("SELECT count(*) FROM extension_bundle") == [(1,)]


@pytest.mark.parametrize("keep_versions", [0, 1])
def test_what_is_served_stays_while_its_successor_is_blocked(
    world: World, keep_versions: int
) -> None:
    world.keep_versions = keep_versions
    world.up()
    (served,) = world.objects()
    _schedule(world)
    world.change(endpoints=())
    for build in ("second", "third"):
        world.change(build=build)
        world.up()
        assert served in world.objects()
        assert "served for as long as" in world.plan()
    world.change(endpoints=(ENDPOINT,))
    world.up()
    world.up()
    assert len(world.objects()) == 1 + keep_versions
    assert world.settled()


def test_an_endpoint_that_no_schedule_calls_goes(world: World) -> None:
    world.change(endpoints=(ENDPOINT, {**ENDPOINT, "path": "/api/other"}))
    world.up()
    _schedule(world)
    world.change(endpoints=(ENDPOINT,), build="second")
    world.up()
    assert world.sql("SELECT path FROM extension_api_endpoint") == [("/api/ping",)]
    assert world.settled()
