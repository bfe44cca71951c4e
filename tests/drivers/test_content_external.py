"""An external database: read, written with care, and never altered in shape."""

from __future__ import annotations

import pytest

from algaenv.drivers.content_host import StoreAndDatabase
from algaenv.drivers.database.releases import ReleaseDriver
from algaenv.drivers.store_content import BundleDriver
from algaenv.model.intent import TenantIntent
from algaenv.model.problem import Conflict, Problem, Refused
from tests.drivers import alga
from tests.drivers.content_environment import ContentEnvironment, ExtensionFixture


@pytest.fixture
def env(env: ContentEnvironment) -> ContentEnvironment:
    """Alga's database with one tenant, and a spec that names it."""
    env.external = True
    env.tenant = TenantIntent(alga.OZ, None)
    alga.migrate(env.database)
    alga.tenant(env.database, "Oz", alga.OZ)
    return env


def problem(env: ContentEnvironment) -> Problem:
    (found,) = env.snapshot().ids.problems
    return found


def test_neither_tables_nor_tenants_are_made_and_rows_are(env: ContentEnvironment) -> None:
    done = env.up()
    assert [it.partition("@")[0] for it in done] == [
        f"create bucket/{env.bucket}",
        "create bundle/hello",
        "create release/hello",
    ]
    assert env.settled()
    assert env.sql("SELECT tenant_id FROM tenant_extension_install") == [(alga.OZ,)]


@pytest.mark.slow
def test_down_takes_the_install_and_names_what_stays(env: ContentEnvironment) -> None:
    env.up()
    registry = env.snapshot().ids.registry["hello"]
    env.sql(
        "INSERT INTO tenant_extension_schedule (install_id, tenant_id, endpoint_id, cron)"
        " SELECT i.id, i.tenant_id, e.id, '* * * * *' FROM tenant_extension_install i"
        " JOIN extension_api_endpoint e USING (version_id)"
    )
    env.down()
    gone = ("install", "install_config", "install_secrets", "schedule")
    for table in gone:
        assert env.sql(f"SELECT count(*) FROM tenant_extension_{table}") == [(0,)], table
    for table in ("registry", "version", "bundle", "api_endpoint"):
        assert env.sql(f"SELECT count(*) FROM extension_{table}") == [(1,)], table
    assert any(registry in it and "stay" in it for it in env.messages)
    assert env.objects() == []


def test_a_superseded_bundle_goes_with_its_row(env: ContentEnvironment) -> None:
    env.up()
    for build in ("second", "third"):
        env.change(build=build)
        env.up()
    assert env.sql("SELECT count(*) FROM extension_bundle") == [(2,)]
    env.change(version="0.2.0")
    env.up()
    env.change(version="0.3.0")
    env.up()
    assert env.sql("SELECT version FROM extension_version ORDER BY 1") == [("0.2.0",), ("0.3.0",)]


def test_a_version_that_others_published_outlives_our_bundle_of_it(env: ContentEnvironment) -> None:
    env.sql(
        "INSERT INTO extension_registry (id, publisher, name)"
        " VALUES (gen_random_uuid(), 'Example', 'com.example.hello')"
    )
    env.sql(
        "INSERT INTO extension_version (id, registry_id, version, runtime, main_entry)"
        " SELECT gen_random_uuid(), id, '0.1.0', 'wasm-js@1', 'main' FROM extension_registry"
    )
    ((registry,),) = env.sql("SELECT id::text FROM extension_registry")
    assert env.snapshot().ids.registry == {"hello": registry}
    env.up()
    assert registry in env.objects()[0]
    assert env.settled()
    for version in ("0.2.0", "0.3.0"):
        env.change(version=version)
        env.up()
    versions = env.sql("SELECT version FROM extension_version ORDER BY 1")
    assert versions == [("0.1.0",), ("0.2.0",), ("0.3.0",)]


@pytest.mark.parametrize("by", ["id", "name", "nothing"])
def test_the_tenant_is_found(env: ContentEnvironment, by: str) -> None:
    if by == "name":
        alga.tenant(env.database, "Another")
        env.tenant = TenantIntent(None, "Oz")
    if by == "nothing":
        env.tenant = TenantIntent(None, None)
    ids = env.snapshot().ids
    assert (ids.problems, ids.tenant_id, ids.tenant_name) == ((), alga.OZ, "Oz")


def test_an_unknown_tenant_is_a_problem_that_lists_those_there_are(env: ContentEnvironment) -> None:
    env.tenant = TenantIntent(None, "Kansas")
    found = problem(env)
    assert found.code == "tenant-missing"
    assert '"Kansas"' in found.summary
    assert found.detail == (f"{alga.OZ}  Oz",)
    env.tenant = TenantIntent("00000000-0000-4000-8000-000000000000", None)
    assert "00000000-0000" in problem(env).summary


def test_a_database_without_any_tenant_is_a_problem(env: ContentEnvironment) -> None:
    env.sql("DELETE FROM tenants")
    env.tenant = TenantIntent(None, None)
    assert problem(env).code == "tenant-missing"
    assert "empty" in problem(env).summary


@pytest.mark.parametrize("name", [None, "Oz"])
def test_several_tenants_that_fit_are_a_problem(env: ContentEnvironment, name: str | None) -> None:
    second = alga.tenant(env.database, "Oz")
    env.tenant = TenantIntent(None, name)
    found = problem(env)
    assert found.code == "tenant-ambiguous"
    assert {it.split()[0] for it in found.detail} == {alga.OZ, second}


def test_a_tenant_among_very_many_is_found(env: ContentEnvironment) -> None:
    env.sql(
        "INSERT INTO tenants (tenant, client_name, email)"
        " SELECT gen_random_uuid(), 'A' || n, 'x' FROM generate_series(1, 200) n"
    )
    assert env.snapshot().ids.problems == ()
    env.tenant = TenantIntent(None, None)
    assert len(problem(env).detail) == 12


def test_a_tenant_of_another_product_is_a_problem(env: ContentEnvironment) -> None:
    env.sql("UPDATE tenants SET product_code = 'algadesk'")
    found = problem(env)
    assert found.code == "tenant-product"
    assert "algadesk" in found.summary


def test_a_database_from_before_products_is_fine(env: ContentEnvironment) -> None:
    env.sql("ALTER TABLE tenants DROP COLUMN product_code")
    env.up()
    assert env.settled()


def test_missing_tables_and_columns_are_named_all_at_once(env: ContentEnvironment) -> None:
    env.sql("DROP TABLE extension_bundle, tenant_extension_install_config")
    env.sql("ALTER TABLE tenant_extension_install DROP COLUMN status")
    found = problem(env)
    assert found.code == "schema-missing"
    for lost in (
        "extension_bundle",
        "tenant_extension_install_config",
        "tenant_extension_install.status",
    ):
        assert lost in found.summary
    assert "npm run migrate:ee" in found.hint


def test_a_database_of_the_community_edition_is_a_problem(env: ContentEnvironment) -> None:
    env.sql("DROP TABLE extension_registry CASCADE")
    env.sql("DROP TABLE tenants")
    assert problem(env).code == "schema-missing"


def test_a_database_without_the_table_of_endpoints_is_fine(env: ContentEnvironment) -> None:
    """Migrated by the community edition first, a database never gets it."""
    env.sql("DROP TABLE extension_api_endpoint")
    env.up()
    assert env.settled()
    env.change(version="0.2.0")
    env.up()
    env.change(version="0.3.0")
    env.up()
    assert env.settled()
    env.down()
    assert env.sql("SELECT count(*) FROM tenant_extension_install") == [(0,)]


def test_what_another_tool_installed_is_taken_over_only_when_told(env: ContentEnvironment) -> None:
    install = alga.install(env.database, alga.OZ)
    seen = env.release()
    assert seen.recorded is None
    assert seen.note == "version 0.1.0, made by another tool"
    assert "blocked release/hello" in env.plan()
    done = env.up(adopt=True)
    assert "update release/hello" in done
    assert env.snapshot().ids.installs == {"hello": install}
    assert env.settled()
    ((status,),) = env.sql("SELECT runner_status FROM tenant_extension_install")
    assert status["algaenv"]["made"] == {"registry": False, "versions": []}
    newest = env.sql("SELECT content_hash FROM extension_bundle ORDER BY created_at DESC LIMIT 1")
    assert newest == [(env.lock().extensions[0].digest.prefixed,)]
    assert env.sql("SELECT api_endpoints->0->>'path' FROM extension_version") == [("/api/ping",)]


def test_what_others_have_installed_in_the_meantime_is_not_overwritten(
    env: ContentEnvironment,
) -> None:
    resource = env.resource("release/hello")
    alga.install(env.database, alga.OZ)
    before = env.sql("SELECT xmin::text FROM tenant_extension_install")
    with pytest.raises(Conflict) as caught:
        StoreAndDatabase(env.lock()).drivers()["release"].create(resource, env.messages.append)
    assert caught.value.problem.code == "not-ours"
    assert env.sql("SELECT xmin::text FROM tenant_extension_install") == before
    assert env.sql("SELECT count(*) FROM extension_bundle") == [(1,)]


def test_the_objects_that_others_serve_are_left_alone_while_they_do(
    env: ContentEnvironment,
) -> None:
    alga.install(env.database, alga.OZ)
    registry = env.snapshot().ids.registry["hello"]
    key = f"tenants/{alga.OZ}/extensions/{registry}/sha256/{'1' * 64}/bundle.tar.zst"
    env.store.s3().create_bucket(Bucket=env.bucket)
    env.store.s3().put_object(Bucket=env.bucket, Key=key, Body=b"x")
    assert not any("@1111" in str(it) for it in env.seen())
    env.up()
    assert key in env.objects()
    env.up(adopt=True)
    assert any("@1111" in str(it) for it in env.seen())


@pytest.mark.slow
def test_two_environments_do_not_touch_each_other(env: ContentEnvironment) -> None:
    env.up()
    other = env.other()
    assert other.release().recorded is None
    assert other.release().note == f"version 0.1.0, made by the environment {env.environment}"
    assert "blocked release/hello" in other.plan()
    other.extensions = {"second": ExtensionFixture(name="com.example.second")}
    other.up()
    assert env.settled()
    assert other.settled()
    other.down()
    assert env.settled()
    assert env.sql("SELECT count(*) FROM tenant_extension_install") == [(1,)]


def test_an_environment_takes_over_from_another_and_that_one_lets_go(
    env: ContentEnvironment,
) -> None:
    env.up()
    seen = env.release()
    other = env.other()
    other.up(adopt=True)
    assert other.settled()
    ((status,),) = env.sql("SELECT runner_status FROM tenant_extension_install")
    assert status["algaenv"]["made"]["registry"] is True
    drivers = StoreAndDatabase(env.lock()).drivers()["release"]
    drivers.delete(env.resource("release/hello").address, seen, env.messages.append)
    assert "taken it over" in env.messages[-1]
    assert other.settled()


def test_another_tenant_with_the_same_build_shares_its_rows(env: ContentEnvironment) -> None:
    env.up()
    other = env.other(tenant=TenantIntent(alga.tenant(env.database, "Kansas"), None))
    other.up()
    assert other.settled()
    other.down()
    assert env.sql("SELECT tenant_id FROM tenant_extension_install") == [(alga.OZ,)]
    assert env.sql("SELECT count(*) FROM extension_bundle") == [(1,)]
    assert env.sql("SELECT count(*) FROM extension_api_endpoint") == [(1,)]


@pytest.mark.parametrize("by", ["environment", "tool"])
def test_a_version_that_another_tenant_runs_is_not_overwritten(
    env: ContentEnvironment, by: str
) -> None:
    kansas = alga.tenant(env.database, "Kansas")
    if by == "tool":
        alga.install(env.database, kansas)
    else:
        env.other(tenant=TenantIntent(kansas, None)).up()
    env.change(build="second")
    plan = env.plan()
    assert "blocked release/hello: cannot overwrite version 0.1.0" in plan
    assert kansas in plan
    resource = env.resource("release/hello")
    bundles = env.sql("SELECT content_hash, created_at FROM extension_bundle")
    with pytest.raises(Conflict) as caught:
        StoreAndDatabase(env.lock()).drivers()["release"].create(resource, env.messages.append)
    assert caught.value.problem.code == "version-shared"
    assert env.sql("SELECT content_hash, created_at FROM extension_bundle") == bundles
    env.change(version="0.1.1")
    env.up()
    assert env.settled()


def test_an_upper_case_tenant_of_another_tool_is_respelled(env: ContentEnvironment) -> None:
    """Alga compares tenants as text: a row spelled otherwise is invisible to it."""
    install = alga.install(env.database, alga.OZ.upper())
    env.up(adopt=True)
    assert env.sql("SELECT id::text, tenant_id FROM tenant_extension_install") == [
        (install, alga.OZ)
    ]
    assert env.settled()


def test_an_id_that_changed_since_the_plan_is_a_conflict(env: ContentEnvironment) -> None:
    resource = env.resource("release/hello")
    env.sql(
        "INSERT INTO extension_registry (id, publisher, name)"
        " VALUES (gen_random_uuid(), 'Example', 'com.example.hello')"
    )
    with pytest.raises(Conflict) as caught:
        StoreAndDatabase(env.lock()).drivers()["release"].create(resource, env.messages.append)
    assert caught.value.problem.code == "registry-moved"


def test_tables_that_vanish_after_the_plan_are_a_refusal(env: ContentEnvironment) -> None:
    resource = env.resource("release/hello")
    env.sql("DROP TABLE extension_bundle")
    with pytest.raises(Refused) as caught:
        StoreAndDatabase(env.lock()).drivers()["release"].create(resource, env.messages.append)
    assert caught.value.problem.code == "schema-missing"


def test_rows_from_before_cascades_name_the_constraint_in_the_way(env: ContentEnvironment) -> None:
    env.up()
    env.sql(
        "CREATE TABLE extension_execution_log_old (id int, install_id uuid"
        " CONSTRAINT old_log_install_fkey REFERENCES tenant_extension_install (id))"
    )
    env.sql("INSERT INTO extension_execution_log_old SELECT 1, id FROM tenant_extension_install")
    with pytest.raises(Conflict) as caught:
        env.down()
    assert caught.value.problem.code == "rows-conflict"
    assert "old_log_install_fkey" in caught.value.problem.summary
    assert env.settled()


def test_what_a_killed_run_uploaded_is_found_by_its_mark(
    env: ContentEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = alga.OZ
    foreign = f"tenants/{tenant}/extensions/{alga.OZ}/sha256/{'7' * 64}/bundle.tar.zst"
    env.up()
    env.store.s3().put_object(Bucket=env.bucket, Key=foreign, Body=b"x")
    before = env.objects()
    env.extensions["late"] = ExtensionFixture(name="com.example.late")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ReleaseDriver, "create", die)
        with pytest.raises(KeyboardInterrupt):
            env.up()
    assert len(env.objects()) == len(before) + 2
    del env.extensions["late"]
    assert not env.settled()
    env.up()
    assert env.objects() == before
    assert env.settled()
    with monkeypatch.context() as patched:
        patched.setattr(BundleDriver, "delete", die)
        with pytest.raises(KeyboardInterrupt):
            env.down()
    env.down()
    assert env.objects() == [foreign]


def test_a_mark_whose_object_is_gone_goes_too(
    env: ContentEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.up()
    (key,) = [it for it in env.objects() if it.startswith("tenants/")]
    env.store.s3().delete_object(Bucket=env.bucket, Key=key)
    env.down()
    assert env.objects() == []
