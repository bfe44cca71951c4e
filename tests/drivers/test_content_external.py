"""Somebody else's database: looked at, written to with care, and never shaped."""

from __future__ import annotations

import pytest

from algaenv.drivers.bundles import BundleHands
from algaenv.drivers.content import Content
from algaenv.drivers.releases import ReleaseHands
from algaenv.model.intent import TenantIntent
from algaenv.model.problem import Conflict, Problem, Refused
from tests.drivers import alga
from tests.drivers.worlds import Wanted, World


@pytest.fixture
def world(world: World) -> World:
    """Alga's database with one tenant, and a spec that names it."""
    world.external = True
    world.tenant = TenantIntent(alga.OZ, None)
    alga.migrate(world.database)
    alga.tenant(world.database, "Oz", alga.OZ)
    return world


def problem(world: World) -> Problem:
    (found,) = world.snapshot().ids.problems
    return found


def test_neither_tables_nor_tenants_are_made_and_rows_are(world: World) -> None:
    done = world.up()
    assert [it.partition("@")[0] for it in done] == [
        f"create bucket/{world.bucket}",
        "create bundle/hello",
        "create release/hello",
    ]
    assert world.settled()
    assert world.sql("SELECT tenant_id FROM tenant_extension_install") == [(alga.OZ,)]


def test_down_takes_the_install_and_names_what_stays(world: World) -> None:
    world.up()
    registry = world.snapshot().ids.registry["hello"]
    world.sql(
        "INSERT INTO tenant_extension_schedule (install_id, tenant_id, endpoint_id, cron)"
        " SELECT i.id, i.tenant_id, e.id, '* * * * *' FROM tenant_extension_install i"
        " JOIN extension_api_endpoint e USING (version_id)"
    )
    world.down()
    gone = ("install", "install_config", "install_secrets", "schedule")
    for table in gone:
        assert world.sql(f"SELECT count(*) FROM tenant_extension_{table}") == [(0,)], table
    for table in ("registry", "version", "bundle", "api_endpoint"):
        assert world.sql(f"SELECT count(*) FROM extension_{table}") == [(1,)], table
    assert any(registry in it and "stay" in it for it in world.said)
    assert world.objects() == []


def test_a_superseded_bundle_goes_with_its_row(world: World) -> None:
    world.up()
    for build in ("second", "third"):
        world.change(build=build)
        world.up()
    assert world.sql("SELECT count(*) FROM extension_bundle") == [(2,)]
    world.change(version="0.2.0")
    world.up()
    world.change(version="0.3.0")
    world.up()
    assert world.sql("SELECT version FROM extension_version ORDER BY 1") == [("0.2.0",), ("0.3.0",)]


def test_a_version_that_others_published_outlives_our_bundle_of_it(world: World) -> None:
    world.sql(
        "INSERT INTO extension_registry (id, publisher, name)"
        " VALUES (gen_random_uuid(), 'Example', 'com.example.hello')"
    )
    world.sql(
        "INSERT INTO extension_version (id, registry_id, version, runtime, main_entry)"
        " SELECT gen_random_uuid(), id, '0.1.0', 'wasm-js@1', 'main' FROM extension_registry"
    )
    ((registry,),) = world.sql("SELECT id::text FROM extension_registry")
    assert world.snapshot().ids.registry == {"hello": registry}
    world.up()
    assert registry in world.objects()[0]
    assert world.settled()
    for version in ("0.2.0", "0.3.0"):
        world.change(version=version)
        world.up()
    versions = world.sql("SELECT version FROM extension_version ORDER BY 1")
    assert versions == [("0.1.0",), ("0.2.0",), ("0.3.0",)]


@pytest.mark.parametrize("by", ["id", "name", "nothing"])
def test_the_tenant_is_found(world: World, by: str) -> None:
    if by == "name":
        alga.tenant(world.database, "Another")
        world.tenant = TenantIntent(None, "Oz")
    if by == "nothing":
        world.tenant = TenantIntent(None, None)
    ids = world.snapshot().ids
    assert (ids.problems, ids.tenant_id, ids.tenant_name) == ((), alga.OZ, "Oz")


def test_an_unknown_tenant_is_a_problem_that_lists_those_there_are(world: World) -> None:
    world.tenant = TenantIntent(None, "Kansas")
    found = problem(world)
    assert found.code == "tenant-missing"
    assert '"Kansas"' in found.summary
    assert found.detail == (f"{alga.OZ}  Oz",)
    world.tenant = TenantIntent("00000000-0000-4000-8000-000000000000", None)
    assert "00000000-0000" in problem(world).summary


def test_a_database_without_any_tenant_is_a_problem(world: World) -> None:
    world.sql("DELETE FROM tenants")
    world.tenant = TenantIntent(None, None)
    assert problem(world).code == "tenant-missing"
    assert "empty" in problem(world).summary


@pytest.mark.parametrize("name", [None, "Oz"])
def test_several_tenants_that_fit_are_a_problem(world: World, name: str | None) -> None:
    second = alga.tenant(world.database, "Oz")
    world.tenant = TenantIntent(None, name)
    found = problem(world)
    assert found.code == "tenant-ambiguous"
    assert {it.split()[0] for it in found.detail} == {alga.OZ, second}


def test_a_tenant_among_very_many_is_found(world: World) -> None:
    world.sql(
        "INSERT INTO tenants (tenant, client_name, email)"
        " SELECT gen_random_uuid(), 'A' || n, 'x' FROM generate_series(1, 200) n"
    )
    assert world.snapshot().ids.problems == ()
    world.tenant = TenantIntent(None, None)
    assert len(problem(world).detail) == 12


def test_a_tenant_of_another_product_is_a_problem(world: World) -> None:
    world.sql("UPDATE tenants SET product_code = 'algadesk'")
    found = problem(world)
    assert found.code == "tenant-product"
    assert "algadesk" in found.summary


def test_a_database_from_before_products_is_fine(world: World) -> None:
    world.sql("ALTER TABLE tenants DROP COLUMN product_code")
    world.up()
    assert world.settled()


def test_missing_tables_and_columns_are_named_all_at_once(world: World) -> None:
    world.sql("DROP TABLE extension_bundle, tenant_extension_install_config")
    world.sql("ALTER TABLE tenant_extension_install DROP COLUMN status")
    found = problem(world)
    assert found.code == "schema-missing"
    for lost in (
        "extension_bundle",
        "tenant_extension_install_config",
        "tenant_extension_install.status",
    ):
        assert lost in found.summary
    assert "npm run migrate:ee" in found.hint


def test_a_database_of_the_community_edition_is_a_problem(world: World) -> None:
    world.sql("DROP TABLE extension_registry CASCADE")
    world.sql("DROP TABLE tenants")
    assert problem(world).code == "schema-missing"


def test_a_database_without_the_table_of_endpoints_is_fine(world: World) -> None:
    """Migrated by the community edition first, a database never gets it."""
    world.sql("DROP TABLE extension_api_endpoint")
    world.up()
    assert world.settled()
    world.change(version="0.2.0")
    world.up()
    world.change(version="0.3.0")
    world.up()
    assert world.settled()
    world.down()
    assert world.sql("SELECT count(*) FROM tenant_extension_install") == [(0,)]


def test_what_another_tool_installed_is_taken_over_only_when_told(world: World) -> None:
    install = alga.install(world.database, alga.OZ)
    seen = world.release()
    assert seen.recorded is None
    assert seen.note == "version 0.1.0, made by another tool"
    assert "blocked release/hello" in world.plan()
    done = world.up(adopt=True)
    assert "update release/hello" in done
    assert world.snapshot().ids.installs == {"hello": install}
    assert world.settled()
    ((status,),) = world.sql("SELECT runner_status FROM tenant_extension_install")
    assert status["algaenv"]["made"] == {"registry": False, "versions": []}
    newest = world.sql("SELECT content_hash FROM extension_bundle ORDER BY created_at DESC LIMIT 1")
    assert newest == [(world.lock().extensions[0].digest.prefixed,)]
    assert world.sql("SELECT api_endpoints->0->>'path' FROM extension_version") == [("/api/ping",)]


def test_what_others_have_installed_in_the_meantime_is_not_overwritten(world: World) -> None:
    resource = world.resource("release/hello")
    alga.install(world.database, alga.OZ)
    before = world.sql("SELECT xmin::text FROM tenant_extension_install")
    with pytest.raises(Conflict) as caught:
        Content(world.lock()).drivers()["release"].create(resource, world.said.append)
    assert caught.value.problem.code == "not-ours"
    assert world.sql("SELECT xmin::text FROM tenant_extension_install") == before
    assert world.sql("SELECT count(*) FROM extension_bundle") == [(1,)]


def test_the_objects_that_others_serve_are_left_alone_while_they_do(world: World) -> None:
    alga.install(world.database, alga.OZ)
    registry = world.snapshot().ids.registry["hello"]
    key = f"tenants/{alga.OZ}/extensions/{registry}/sha256/{'1' * 64}/bundle.tar.zst"
    world.store.s3().create_bucket(Bucket=world.bucket)
    world.store.s3().put_object(Bucket=world.bucket, Key=key, Body=b"x")
    assert not any("@1111" in str(it) for it in world.seen())
    world.up()
    assert key in world.objects()
    world.up(adopt=True)
    assert any("@1111" in str(it) for it in world.seen())


def test_two_environments_do_not_touch_each_other(world: World) -> None:
    world.up()
    other = world.other()
    assert other.release().recorded is None
    assert other.release().note == f"version 0.1.0, made by the environment {world.environment}"
    assert "blocked release/hello" in other.plan()
    other.extensions = {"second": Wanted(name="com.example.second")}
    other.up()
    assert world.settled()
    assert other.settled()
    other.down()
    assert world.settled()
    assert world.sql("SELECT count(*) FROM tenant_extension_install") == [(1,)]


def test_an_environment_takes_over_from_another_and_that_one_lets_go(world: World) -> None:
    world.up()
    seen = world.release()
    other = world.other()
    other.up(adopt=True)
    assert other.settled()
    ((status,),) = world.sql("SELECT runner_status FROM tenant_extension_install")
    assert status["algaenv"]["made"]["registry"] is True
    drivers = Content(world.lock()).drivers()["release"]
    drivers.delete(world.resource("release/hello").address, seen, world.said.append)
    assert "taken it over" in world.said[-1]
    assert other.settled()


def test_another_tenant_with_the_same_build_shares_its_rows(world: World) -> None:
    world.up()
    other = world.other(tenant=TenantIntent(alga.tenant(world.database, "Kansas"), None))
    other.up()
    assert other.settled()
    other.down()
    assert world.sql("SELECT tenant_id FROM tenant_extension_install") == [(alga.OZ,)]
    assert world.sql("SELECT count(*) FROM extension_bundle") == [(1,)]
    assert world.sql("SELECT count(*) FROM extension_api_endpoint") == [(1,)]


@pytest.mark.parametrize("by", ["environment", "tool"])
def test_a_version_that_another_tenant_runs_is_not_overwritten(world: World, by: str) -> None:
    kansas = alga.tenant(world.database, "Kansas")
    if by == "tool":
        alga.install(world.database, kansas)
    else:
        world.other(tenant=TenantIntent(kansas, None)).up()
    world.change(build="second")
    plan = world.plan()
    assert "blocked release/hello: cannot overwrite version 0.1.0" in plan
    assert kansas in plan
    resource = world.resource("release/hello")
    bundles = world.sql("SELECT content_hash, created_at FROM extension_bundle")
    with pytest.raises(Conflict) as caught:
        Content(world.lock()).drivers()["release"].create(resource, world.said.append)
    assert caught.value.problem.code == "version-shared"
    assert world.sql("SELECT content_hash, created_at FROM extension_bundle") == bundles
    world.change(version="0.1.1")
    world.up()
    assert world.settled()


def test_an_upper_case_tenant_of_another_tool_is_respelled(world: World) -> None:
    """Alga compares tenants as text: a row spelled otherwise is invisible to it."""
    install = alga.install(world.database, alga.OZ.upper())
    world.up(adopt=True)
    assert world.sql("SELECT id::text, tenant_id FROM tenant_extension_install") == [
        (install, alga.OZ)
    ]
    assert world.settled()


def test_an_id_that_changed_since_the_plan_is_a_conflict(world: World) -> None:
    resource = world.resource("release/hello")
    world.sql(
        "INSERT INTO extension_registry (id, publisher, name)"
        " VALUES (gen_random_uuid(), 'Example', 'com.example.hello')"
    )
    with pytest.raises(Conflict) as caught:
        Content(world.lock()).drivers()["release"].create(resource, world.said.append)
    assert caught.value.problem.code == "registry-moved"


def test_tables_that_vanish_after_the_plan_are_a_refusal(world: World) -> None:
    resource = world.resource("release/hello")
    world.sql("DROP TABLE extension_bundle")
    with pytest.raises(Refused) as caught:
        Content(world.lock()).drivers()["release"].create(resource, world.said.append)
    assert caught.value.problem.code == "schema-missing"


def test_rows_from_before_cascades_name_the_constraint_in_the_way(world: World) -> None:
    world.up()
    world.sql(
        "CREATE TABLE extension_execution_log_old (id int, install_id uuid"
        " CONSTRAINT old_log_install_fkey REFERENCES tenant_extension_install (id))"
    )
    world.sql("INSERT INTO extension_execution_log_old SELECT 1, id FROM tenant_extension_install")
    with pytest.raises(Conflict) as caught:
        world.down()
    assert caught.value.problem.code == "rows-conflict"
    assert "old_log_install_fkey" in caught.value.problem.summary
    assert world.settled()


def test_what_a_killed_run_uploaded_is_found_by_its_mark(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = alga.OZ
    foreign = f"tenants/{tenant}/extensions/{alga.OZ}/sha256/{'7' * 64}/bundle.tar.zst"
    world.up()
    world.store.s3().put_object(Bucket=world.bucket, Key=foreign, Body=b"x")
    before = world.objects()
    world.extensions["late"] = Wanted(name="com.example.late")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ReleaseHands, "create", die)
        with pytest.raises(KeyboardInterrupt):
            world.up()
    assert len(world.objects()) == len(before) + 2
    del world.extensions["late"]
    assert not world.settled()
    world.up()
    assert world.objects() == before
    assert world.settled()
    with monkeypatch.context() as patched:
        patched.setattr(BundleHands, "delete", die)
        with pytest.raises(KeyboardInterrupt):
            world.down()
    world.down()
    assert world.objects() == [foreign]


def test_a_mark_whose_object_is_gone_goes_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.up()
    (key,) = [it for it in world.objects() if it.startswith("tenants/")]
    world.store.s3().delete_object(Bucket=world.bucket, Key=key)
    world.down()
    assert world.objects() == []
