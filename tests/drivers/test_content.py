"""Rows and objects on real servers: made, left alone, changed, taken back, removed."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from algaenv.bundle.digest import Digest
from algaenv.drivers.content_host import StoreAndDatabase
from algaenv.drivers.database.release_checks import decode_secrets
from algaenv.drivers.object_store import Bucket, StoreEndpoint
from algaenv.model.content import BundleSpec
from algaenv.model.kind import Address
from algaenv.model.plan import Same
from algaenv.model.problem import Conflict
from algaenv.model.resource import Absent, Present, fingerprint
from algaenv.model.secret import Secret
from tests.drivers.content_environment import ENDPOINT, ContentEnvironment, ExtensionFixture
from tests.servers import ObjectStore, Postgres, new_database


@pytest.fixture(scope="module")
def made_once(
    postgres: Postgres, minio: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ContentEnvironment]:
    """An environment that is up, whose rows are copied and never changed."""
    with new_database(postgres) as database:
        made = ContentEnvironment(database, minio, tmp_path_factory.mktemp("made"))
        made.up()
        yield made


@pytest.fixture
def env_up(made_once: ContentEnvironment) -> Iterator[ContentEnvironment]:
    """An environment that is up: rows of its own, the bucket is shared.

    Copying a database costs a tenth of filling one.
    """
    original = made_once.database
    with new_database(original.server, template=original.name) as copy:
        yield dataclasses.replace(made_once, database=copy)


def test_a_bucket_is_made_by_one_request(minio: ObjectStore) -> None:
    store = StoreEndpoint(
        minio.endpoint, Secret(minio.access_key), Secret(minio.secret_key), "us-east-1"
    )
    bucket = Bucket(store, f"made-{secrets.token_hex(6)}")
    assert bucket.list("algaenv/") is None
    assert bucket.create()
    assert bucket.list("algaenv/") == ()
    denied = dataclasses.replace(store, secret_key=Secret("another secret"))
    assert not Bucket(denied, f"denied-{secrets.token_hex(6)}").create()
    minio.s3().delete_bucket(Bucket=bucket.name)


def test_a_fresh_environment_is_made_and_then_left_alone(env: ContentEnvironment) -> None:
    assert env.snapshot().observe(env.wanted()).keys() == {it.address for it in env.wanted()}
    assert all(isinstance(it, Absent) for it in env.seen().values())
    assert {it.partition("@")[0] for it in env.up()} == {
        f"create bucket/{env.bucket}",
        "create schema/extensions",
        "create tenant/main",
        "create bundle/hello",
        "create release/hello",
    }
    before = env.sql("SELECT xmin::text FROM tenant_extension_install")
    assert all(isinstance(it, Same) for it in env.decisions()), env.plan()
    assert env.up() == []
    assert env.sql("SELECT xmin::text FROM tenant_extension_install") == before


def test_what_is_recorded_is_what_was_wanted(env: ContentEnvironment) -> None:
    env.up()
    for resource in env.wanted():
        seen = env.present(str(resource.address))
        assert seen.recorded == resource.fingerprint == fingerprint(seen.inputs)
        assert seen.drift == ()


def test_the_rows_of_a_sample_of_alga_have_the_ids_its_own_installer_derives(
    env: ContentEnvironment,
) -> None:
    env.extensions = {
        "hello": ExtensionFixture(
            name="com.alga.sample.hello-world", publisher="Alga", version="0.1.1"
        )
    }
    env.tenant = type(env.tenant)("51bbbfe5-0720-4d9b-b3e5-b5b43e441a52", None)
    env.up()
    assert env.sql(
        "SELECT i.registry_id::text, i.version_id::text, i.id::text FROM tenant_extension_install i"
    ) == [
        (
            "3b8b0204-25d9-57d0-951b-3ed518145469",
            "d1164241-1ba8-525c-bcee-689e6fa1a534",
            "16a77336-ea5a-5b0e-9402-db2e9936f29d",
        )
    ]
    assert env.snapshot().ids.installs == {"hello": "16a77336-ea5a-5b0e-9402-db2e9936f29d"}


def test_every_row_says_what_the_product_reads(env: ContentEnvironment) -> None:
    env.up()
    body = env.resource("release/hello").body
    (version,) = env.sql(
        "SELECT version, runtime, main_entry, api, ui, capabilities, api_endpoints"
        " FROM extension_version"
    )
    stored = [{"method": "GET", "path": "/api/ping", "handler": "dist/main"}]
    ui = {"type": "iframe", "entry": "ui/index.html", "hooks": {"appMenu": {"label": "Hello"}}}
    capabilities = ["cap:http.fetch", "cap:log.emit"]
    assert version == ("0.1.0", "wasm-js@1", "ui/index.html", {}, ui, capabilities, stored)
    (bundle,) = env.sql(
        "SELECT content_hash, size_bytes, storage_url, created_at IS NOT NULL FROM extension_bundle"
    )
    assert isinstance(body, object)
    wanted = env.lock().extensions[0]
    (key,) = env.objects()
    address = f"{env.store.endpoint}/{env.bucket}/{key}"
    assert bundle == (wanted.digest.prefixed, wanted.size, address, True)
    (install,) = env.sql(
        "SELECT tenant_id, granted_caps, is_enabled, status, runner_status->>'state'"
        " FROM tenant_extension_install"
    )
    tenant = env.snapshot().ids.tenant_id
    assert install == (tenant, capabilities, True, "enabled", "ready")
    (config,) = env.sql("SELECT tenant_id, config, providers FROM tenant_extension_install_config")
    providers = ["cap:http.fetch", "cap:log.emit", "cap:context.read", "cap:user.read"]
    assert config == (tenant, {"region": "eu"}, providers)
    (secret,) = env.sql(
        "SELECT tenant_id, algorithm, ciphertext FROM tenant_extension_install_secrets"
    )
    assert secret[:2] == (tenant, "inline/base64")
    assert decode_secrets(secret[2]) == {"api_key": "s3cr3t-value"}
    assert env.sql("SELECT method, path, handler FROM extension_api_endpoint") == [
        ("GET", "/api/ping", "dist/main")
    ]
    assert env.sql("SELECT tenant::text, client_name, product_code FROM tenants") == [
        (tenant, "demo", "psa")
    ]


def test_the_mark_says_who_made_what_and_no_secret(env: ContentEnvironment) -> None:
    env.up()
    ((status,),) = env.sql("SELECT runner_status FROM tenant_extension_install")
    mark = status["algaenv"]
    assert mark["environment"] == env.environment
    assert mark["address"] == "release/hello"
    assert mark["made"]["registry"] is True
    assert len(mark["made"]["versions"]) == 1
    assert "s3cr3t-value" not in json.dumps(status)


def test_an_edited_bundle_is_served_and_the_one_before_stays(env: ContentEnvironment) -> None:
    env.up()
    first = env.objects()
    env.change(build="second")
    done = env.up()
    assert [it.partition("@")[0] for it in done] == ["create bundle/hello", "update release/hello"]
    assert set(first) < set(env.objects())
    assert len(env.objects()) == 2
    assert env.settled()
    env.change(build="third")
    done = env.up()
    gone = Digest(first[0].split("/")[-2])
    assert f"delete bundle/hello@{gone.short}" in done
    assert len(env.objects()) == 2
    hashes = env.sql("SELECT content_hash FROM extension_bundle ORDER BY created_at DESC")
    assert hashes[0] == (env.lock().extensions[0].digest.prefixed,)
    assert (gone.prefixed,) not in hashes
    assert len(hashes) == 2


def test_going_back_to_an_earlier_bundle(env: ContentEnvironment) -> None:
    env.up()
    env.change(build="second")
    env.up()
    env.change(build="first")
    assert env.up() == ["update release/hello"]
    newest = env.sql("SELECT content_hash FROM extension_bundle ORDER BY created_at DESC LIMIT 1")
    assert newest == [(env.lock().extensions[0].digest.prefixed,)]
    assert env.settled()


def test_a_new_version_gets_a_row_and_the_old_one_goes_with_its_last_bundle(
    env: ContentEnvironment,
) -> None:
    env.up()
    env.change(version="0.2.0")
    assert "manifest version 0.1.0 → 0.2.0" in env.plan()
    env.up()
    versions = "SELECT version FROM extension_version ORDER BY version"
    assert env.sql(versions) == [("0.1.0",), ("0.2.0",)]
    env.change(version="0.3.0")
    env.up()
    assert env.sql(versions) == [("0.2.0",), ("0.3.0",)]
    endpoints = env.sql("SELECT count(*) FROM extension_api_endpoint")
    assert endpoints == [(2,)]
    assert env.settled()


def test_a_disabled_extension_and_other_settings_reach_the_rows(env: ContentEnvironment) -> None:
    env.up()
    versions = (
        "SELECT c.version, s.version FROM tenant_extension_install_config c"
        " JOIN tenant_extension_install_secrets s USING (install_id)"
    )
    before = env.sql(versions)
    env.change(enabled=False)
    assert env.up() == ["update release/hello"]
    assert env.sql("SELECT is_enabled, status FROM tenant_extension_install") == [
        (False, "disabled")
    ]
    assert env.sql(versions) == before, "a fresh version without a change"
    env.change(enabled=True, config={"region": "us", "n": 1}, secrets={"api_key": "other"})
    env.up()
    ((config, secret),) = env.sql(versions)
    assert config != before[0][0]
    assert secret != before[0][1]
    env.change(secrets={})
    assert "secrets.api_key removed" in env.plan()
    env.up()
    assert env.sql("SELECT count(*) FROM tenant_extension_install_secrets") == [(0,)]
    assert env.settled()


def test_fewer_grants_than_asked_for(env: ContentEnvironment) -> None:
    env.change(granted=("cap:http.fetch",))
    env.up()
    assert env.sql("SELECT granted_caps FROM tenant_extension_install") == [(["cap:http.fetch"],)]
    assert env.settled()


@pytest.mark.parametrize(
    ("damage", "message"),
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
def test_a_row_changed_by_hand_is_named_and_healed(
    env_up: ContentEnvironment, damage: str, message: str
) -> None:
    env = env_up
    env.sql(damage)
    drift = env.release().drift
    assert any(message in it for it in drift), drift
    assert "guess" not in str(drift)
    done = env.up()
    assert done == ["update release/hello"]
    assert env.settled(), env.plan()
    assert env.release().drift == ()


def test_rows_deleted_by_hand_are_made_again(env: ContentEnvironment) -> None:
    env.up()
    env.sql("DELETE FROM extension_registry")
    assert env.up() == ["create release/hello"]
    assert env.settled()


def test_a_damaged_record_is_written_anew(env: ContentEnvironment) -> None:
    env.up()
    env.sql(
        "UPDATE tenant_extension_install SET runner_status ="
        " jsonb_build_object('algaenv', jsonb_build_object('environment',"
        " runner_status#>>'{algaenv,environment}', 'inputs', 7, 'made', 7))"
    )
    assert env.release().recorded == ""
    assert env.up() == ["update release/hello"]
    assert env.settled()


def test_an_object_removed_or_overwritten_by_hand_is_put_right(env: ContentEnvironment) -> None:
    env.up()
    (key,) = env.objects()
    env.store.s3().delete_object(Bucket=env.bucket, Key=key)
    assert [it.partition("@")[0] for it in env.up()] == ["create bundle/hello"]
    env.store.s3().put_object(Bucket=env.bucket, Key=key, Body=b"not a bundle")
    address = str(next(it.address for it in env.wanted() if it.address.kind == "bundle"))
    assert "12 bytes" in env.present(address).drift[0]
    assert env.up() == [f"update {address}"]
    size = env.lock().extensions[0].size
    env.store.s3().put_object(Bucket=env.bucket, Key=key, Body=b"x" * size)
    assert "other bytes" in env.present(address).drift[0]
    assert env.up() == [f"update {address}"]
    assert env.settled()


def test_an_extension_taken_out_of_the_spec_goes_with_everything(env: ContentEnvironment) -> None:
    env.extensions["second"] = ExtensionFixture(name="com.example.second")
    env.up()
    install = env.snapshot().ids.installs["second"]
    tenant = env.snapshot().ids.tenant_id
    env.sql(
        "INSERT INTO ext_storage_records (tenant, extension_install_id, namespace, key, value)"
        " VALUES (%s, %s, 'n', 'k', '1')",
        tenant,
        install,
    )
    env.sql(
        "INSERT INTO tenant_extension_schedule (install_id, tenant_id, endpoint_id, cron)"
        " SELECT %s, %s, id, '* * * * *' FROM extension_api_endpoint LIMIT 1",
        install,
        tenant,
    )
    del env.extensions["second"]
    done = env.up()
    assert done[0] == "delete release/second"
    assert done[1].startswith("delete bundle/second@")
    assert len(env.objects()) == 1
    for table in ("registry", "version", "bundle", "api_endpoint"):
        assert env.sql(f"SELECT count(*) FROM extension_{table}") == [(1,)], table
    assert env.sql("SELECT count(*) FROM tenant_extension_schedule") == [(0,)]
    assert env.sql("SELECT count(*) FROM ext_storage_records") == [(1,)]
    assert any("1 stored value" in it and install in it for it in env.messages)
    assert env.settled()


def test_down_takes_the_content_and_up_brings_it_back(env: ContentEnvironment) -> None:
    env.up()
    done = env.down()
    assert [it.partition("@")[0] for it in done] == ["delete release/hello", "delete bundle/hello"]
    assert env.objects() == []
    assert env.sql("SELECT count(*) FROM extension_registry") == [(0,)]
    assert env.down() == []
    env.up()
    assert env.settled()


def test_every_step_may_be_repeated(env: ContentEnvironment) -> None:
    """A run that died did a step without knowing; the next one does it again."""
    env.up()
    drivers = StoreAndDatabase(env.lock()).drivers()
    for resource in env.wanted():
        drivers[resource.address.kind].create(resource, env.messages.append)
    assert env.settled()
    seen = env.snapshot().observe(())
    for address in sorted(seen, key=lambda it: it.kind, reverse=True):
        there = seen[address]
        assert isinstance(there, Present)
        drivers[address.kind].delete(address, there, env.messages.append)
        drivers[address.kind].delete(address, there, env.messages.append)
    assert env.objects() == []


def test_a_bundle_that_is_served_cannot_be_removed(env: ContentEnvironment) -> None:
    env.up()
    resource = next(it for it in env.wanted() if isinstance(it.body, BundleSpec))
    seen = env.present(str(resource.address))
    with pytest.raises(Conflict) as caught:
        StoreAndDatabase(env.lock()).drivers()["bundle"].delete(
            resource.address, seen, env.messages.append
        )
    assert caught.value.problem.code == "bundle-in-use"
    assert env.settled()


def test_an_extension_with_a_new_key_in_the_spec_keeps_its_rows(env: ContentEnvironment) -> None:
    env.up()
    before = env.snapshot().ids.installs["hello"]
    env.extensions = {"renamed": env.extensions["hello"]}
    done = env.up()
    assert "update release/renamed" in done
    assert not any("delete" in it for it in done)
    assert env.snapshot().ids.installs == {"renamed": before}
    assert env.settled()


def test_two_extensions_that_swap_their_keys(env: ContentEnvironment) -> None:
    env.extensions["second"] = ExtensionFixture(name="com.example.second")
    env.up()
    rows = env.sql("SELECT id FROM tenant_extension_install ORDER BY id")
    first, second = env.extensions["hello"], env.extensions["second"]
    env.extensions = {"hello": second, "second": first}
    done = env.up()
    assert not any("delete" in it for it in done), done
    assert env.sql("SELECT id FROM tenant_extension_install ORDER BY id") == rows
    assert env.settled()


def test_an_extension_with_a_new_name_in_its_manifest_is_another_one(
    env: ContentEnvironment,
) -> None:
    env.up()
    env.change(name="com.example.renamed")
    done = env.up()
    assert "create release/hello" in done
    assert any(it.startswith("delete release/hello~") for it in done)
    assert env.sql("SELECT name FROM extension_registry") == [("com.example.renamed",)]
    assert len(env.objects()) == 1
    assert env.settled()


def test_the_same_manifest_twice_is_refused_before_anything_is_written(
    env: ContentEnvironment,
) -> None:
    env.extensions["again"] = env.extensions["hello"]
    snapshot = env.snapshot()
    blockers = snapshot.blockers(env.wanted(snapshot))
    assert {str(it): problem.code for it, problem in blockers.items()} == {
        "release/again": "extension-twice"
    }


def test_foreign_things_are_never_seen(env: ContentEnvironment) -> None:
    env.up()
    tenant = env.snapshot().ids.tenant_id
    foreign = "aaaaaaaa-0000-4000-8000-000000000001"
    env.sql(
        "INSERT INTO extension_registry (id, publisher, name) VALUES (%s, 'Other', 'x')", foreign
    )
    env.sql(
        "INSERT INTO extension_version (id, registry_id, version, runtime, main_entry)"
        " VALUES (%s, %s, '1.0.0', 'wasm-js@1', 'main')",
        foreign,
        foreign,
    )
    env.sql(
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
        env.store.s3().put_object(Bucket=env.bucket, Key=key, Body=b"x")
    assert env.settled()
    env.down()
    assert env.objects() == sorted(keys)
    assert env.sql("SELECT id::text FROM tenant_extension_install") == [(foreign,)]
    assert env.sql("SELECT name FROM extension_registry") == [("x",)]


def _schedule(env: ContentEnvironment, path: str = "/api/ping", name: str = "nightly") -> str:
    ((id_,),) = env.sql(
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


def test_schedules_follow_an_upgrade(env: ContentEnvironment) -> None:
    env.up()
    _schedule(env)
    env.change(version="0.2.0")
    env.up()
    assert env.sql(_SCHEDULED) == [("/api/ping", "0.2.0")]
    assert env.settled()
    env.change(version="0.3.0")
    env.up()
    assert env.sql(_SCHEDULED) == [("/api/ping", "0.3.0")]


def test_a_schedule_left_at_another_version_is_drift(env: ContentEnvironment) -> None:
    env.up()
    schedule = _schedule(env)
    ((endpoint,),) = env.sql("SELECT endpoint_id::text FROM tenant_extension_schedule")
    env.change(version="0.2.0")
    env.up()
    env.sql("UPDATE tenant_extension_schedule SET endpoint_id = %s", endpoint)
    assert env.release().drift == ('the schedule "nightly" calls an endpoint of another version',)
    assert env.up() == ["update release/hello"]
    assert env.sql(_SCHEDULED) == [("/api/ping", "0.2.0")]
    assert env.sql("SELECT id::text FROM tenant_extension_schedule") == [(schedule,)]


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_an_endpoint_that_a_schedule_calls_cannot_be_taken_away(
    env: ContentEnvironment, version: str
) -> None:
    env.up()
    _schedule(env)
    other = {**ENDPOINT, "path": "/api/other"}
    env.change(version=version, endpoints=(other,), build="second")
    plan = env.plan()
    assert "blocked release/hello" in plan
    assert 'the schedule "nightly" calls GET /api/ping' in plan
    rows = "SELECT xmin::text, * FROM extension_version"
    before: Any = env.sql(rows)
    snapshot = env.snapshot()
    wanted = env.wanted(snapshot)
    seen = snapshot.observe(wanted)[Address("release", "hello")]
    assert isinstance(seen, Present)
    with pytest.raises(Conflict) as caught:
        StoreAndDatabase(env.lock()).drivers()["release"].update(
            env.resource("release/hello"), seen, env.messages.append
        )
    assert caught.value.problem.code == "schedule-endpoint-gone"
    assert env.sql(rows) == before
    assert env.sql("SELECT count(*) FROM extension_bundle") == [(1,)]


@pytest.mark.parametrize("keep_versions", [0, 1])
def test_what_is_served_stays_while_its_successor_is_blocked(
    env: ContentEnvironment, keep_versions: int
) -> None:
    env.keep_versions = keep_versions
    env.up()
    (served,) = env.objects()
    _schedule(env)
    env.change(endpoints=())
    for build in ("second", "third"):
        env.change(build=build)
        env.up()
        assert served in env.objects()
        assert "served for as long as" in env.plan()
    env.change(endpoints=(ENDPOINT,))
    env.up()
    env.up()
    assert len(env.objects()) == 1 + keep_versions
    assert env.settled()


def test_an_endpoint_that_no_schedule_calls_goes(env: ContentEnvironment) -> None:
    env.change(endpoints=(ENDPOINT, {**ENDPOINT, "path": "/api/other"}))
    env.up()
    _schedule(env)
    env.change(endpoints=(ENDPOINT,), build="second")
    env.up()
    assert env.sql("SELECT path FROM extension_api_endpoint") == [("/api/ping",)]
    assert env.settled()
