"""A database of our own: its tables and its tenant are ours too."""

from __future__ import annotations

import dataclasses
import re
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from algaenv.drivers import schema
from algaenv.drivers.bundles import BundleHands
from algaenv.drivers.catalog_shape import ENDPOINTS, NEEDED, VALUES
from algaenv.drivers.content import Content
from algaenv.drivers.releases import ReleaseHands
from algaenv.model.intent import TenantIntent
from algaenv.model.problem import Conflict, Failed
from algaenv.model.resource import Present
from tests.drivers import alga
from tests.drivers.worlds import Wanted, World


def test_the_script_is_read_back_as_the_catalogue_has_it(world: World) -> None:
    alga.migrate(world.database)
    live: dict[str, set[str]] = {}
    for table, column in world.sql(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public'"
    ):
        live.setdefault(table, set()).add(column)
    assert {table: set(columns) for table, columns in schema.tables().items()} == live
    assert len(live) == 15
    indexes = world.sql("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
    named = set(re.findall(r"INDEX IF NOT EXISTS (\w+)", schema.script()))
    assert named <= {it for (it,) in indexes}
    assert len(named) == 26


def test_what_the_drivers_need_is_in_the_script() -> None:
    tables = schema.tables()
    for table, needed in NEEDED.items():
        assert set(needed) <= set(tables[table]), table
    assert {ENDPOINTS, VALUES} <= set(tables)


def test_missing_tables_columns_and_indexes_are_named_and_made(world: World) -> None:
    world.up()
    world.sql("DROP TABLE extension_quota_usage, extension_api_endpoint")
    world.sql("ALTER TABLE tenant_extension_install DROP COLUMN runner_domain")
    world.sql("ALTER TABLE extension_bundle DROP COLUMN size_bytes")
    assert set(world.present("schema/extensions").drift) == {
        "the table extension_quota_usage is missing",
        "the table extension_api_endpoint is missing",
        "the column tenant_extension_install.runner_domain is missing",
        "the column extension_bundle.size_bytes is missing",
    }
    assert world.up()[0] == "update schema/extensions"
    assert world.present("schema/extensions").drift == ()
    world.up()
    assert world.settled()
    assert world.sql(
        "SELECT count(*) FROM pg_indexes WHERE indexname ~ 'runner_domain_(idx|unique)'"
    ) == [(2,)]


def test_a_column_that_filled_rows_cannot_get_is_a_problem(world: World) -> None:
    world.up()
    world.sql("ALTER TABLE tenants DROP COLUMN email")
    with pytest.raises(Failed) as caught:
        world.up()
    assert caught.value.problem.code == "schema-column"
    assert "tenants.email" in caught.value.problem.summary


def test_the_tables_may_be_made_by_several_at_once(world: World) -> None:
    resource = world.resource("schema/extensions")
    drivers = Content(world.lock()).drivers()["schema"]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(drivers.create, resource, print) for _ in range(4)]:
            done.result()
    assert world.present("schema/extensions").drift == ()


def test_the_tables_go_unless_something_leans_on_them(world: World) -> None:
    world.up()
    seen = world.present("schema/extensions")
    address = world.resource("schema/extensions").address
    drivers = Content(world.lock()).drivers()["schema"]
    world.sql("CREATE VIEW mine AS SELECT client_name FROM tenants")
    with pytest.raises(Conflict):
        drivers.delete(address, seen, world.said.append)
    world.sql("DROP VIEW mine")
    drivers.delete(address, seen, world.said.append)
    drivers.delete(address, seen, world.said.append)
    assert world.sql(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    ) == [(0,)]


def test_the_tenant_is_named_after_the_environment(world: World) -> None:
    world.up()
    assert world.sql("SELECT client_name, email FROM tenants") == [("demo", "dev@demo.invalid")]


def test_a_renamed_environment_keeps_its_tenant_and_its_rows(world: World) -> None:
    world.up()
    before = world.snapshot().ids
    world.name = "renamed"
    assert world.up() == ["update tenant/main"]
    assert world.sql("SELECT client_name FROM tenants") == [("renamed",)]
    assert world.snapshot().ids.installs == before.installs
    assert world.settled()


def test_another_tenant_gets_rows_of_its_own_and_the_former_ones_go(world: World) -> None:
    world.up()
    world.tenant = TenantIntent(None, "Kansas")
    done = world.up()
    assert "create tenant/main" in done
    assert "create release/hello" in done
    assert any(it.startswith("delete release/hello~") for it in done)
    assert any(it.startswith("delete bundle/hello~") for it in done)
    assert len(world.objects()) == 1
    assert world.sql("SELECT count(*) FROM tenant_extension_install") == [(1,)]
    assert world.settled()


def test_another_tenant_and_another_build_at_once(world: World) -> None:
    """The former install runs the same version with another build, but it is ours and goes."""
    world.up()
    world.tenant = TenantIntent(None, "Kansas")
    world.change(build="second")
    assert "create release/hello" in world.up()
    world.up()
    assert world.settled()


def test_a_tenant_by_id_is_made_with_it_and_keeps_its_name(world: World) -> None:
    world.tenant = TenantIntent(alga.OZ, None)
    world.up()
    world.sql("UPDATE tenants SET client_name = 'Oz'")
    assert world.settled()
    world.tenant = TenantIntent(alga.OZ, "Emerald City")
    assert world.up() == ["update tenant/main"]
    assert world.sql("SELECT tenant::text, client_name FROM tenants") == [(alga.OZ, "Emerald City")]


def test_a_tenant_that_is_there_already_is_used(world: World) -> None:
    alga.migrate(world.database)
    alga.tenant(world.database, "Kansas")
    id_ = alga.tenant(world.database, "Oz")
    world.tenant = TenantIntent(None, "Oz")
    assert world.snapshot().ids.tenant_id == id_
    world.up()
    assert world.sql("SELECT tenant_id FROM tenant_extension_install") == [(id_,)]


def test_a_tenant_of_another_product_is_healed(world: World) -> None:
    world.up()
    world.sql("UPDATE tenants SET product_code = 'algadesk'")
    assert world.present("tenant/main").drift == ("product_code is algadesk, not psa",)
    assert world.up() == ["update tenant/main"]
    assert world.settled()


def test_the_tenant_goes_and_may_have_gone(world: World) -> None:
    world.up()
    seen, resource = world.present("tenant/main"), world.resource("tenant/main")
    drivers = Content(world.lock()).drivers()["tenant"]
    drivers.delete(resource.address, seen, world.said.append)
    drivers.delete(resource.address, seen, world.said.append)
    assert world.sql("SELECT count(*) FROM tenants") == [(0,)]


def test_what_the_development_installer_made_here_is_taken_over_and_goes(world: World) -> None:
    world.extensions, wanted = {}, world.extensions
    world.up()
    alga.install(world.database, world.snapshot().ids.tenant_id)
    world.extensions = wanted
    assert "blocked release/hello" in world.plan()
    world.up(adopt=True)
    assert world.settled()
    world.down()
    for table in ("registry", "version", "bundle", "api_endpoint"):
        assert world.sql(f"SELECT count(*) FROM extension_{table}") == [(0,)], table


def test_a_foreign_install_of_the_same_extension_outlives_ours(world: World) -> None:
    world.up()
    kansas = alga.tenant(world.database, "Kansas")
    digest = world.lock().extensions[0].digest.prefixed
    install = alga.install(world.database, kansas, digest=digest)
    alga.install(world.database, kansas, name="com.example.other")
    world.down()
    assert world.sql(
        "SELECT id::text, (SELECT count(*) FROM extension_bundle b"
        " WHERE b.version_id = i.version_id), (SELECT count(*) FROM extension_api_endpoint e"
        " WHERE e.version_id = i.version_id) FROM tenant_extension_install i"
        " WHERE id::text = %s",
        install,
    ) == [(install, 1, 1)]
    assert world.sql("SELECT count(*) FROM extension_registry") == [(2,)]


def test_a_build_stays_that_another_tenant_begins_to_serve(world: World) -> None:
    """Who removes a build asks first who is served by it, and nobody may begin in between."""
    world.up()
    address = next(it for it in world.seen() if it.kind == "bundle")
    old = world.present(str(address))
    moved = dataclasses.replace(
        world, tenant=TenantIntent(alga.tenant(world.database, "Kansas"), "Kansas")
    )
    release = moved.resource("release/hello")
    moving, leaving = (Content(it.lock()).drivers() for it in (moved, world))
    leaving["release"].delete(world.resource("release/hello").address, world.release(), print)
    world.sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END';"
        "CREATE TRIGGER wait BEFORE INSERT ON tenant_extension_install"
        " FOR EACH ROW EXECUTE FUNCTION wait()"
    )
    with ThreadPoolExecutor(2) as pool:
        with psycopg.connect(**world.database.dsn) as gate:
            gate.execute("SELECT pg_advisory_xact_lock(1)")
            writing = pool.submit(moving["release"].create, release, print)
            _until_waiting(world, 1)
            removing = pool.submit(leaving["bundle"].delete, address, old, print)
            _until_waiting(world, 2)
        writing.result(20)
        removing.result(20)
    assert world.sql("SELECT count(*) FROM extension_bundle") == [(1,)]
    assert isinstance(moved.release(), Present)
    assert moved.release().drift == ()


def _until_waiting(world: World, transactions: int) -> None:
    """Return when so many transactions wait for another."""
    until = time.monotonic() + 4
    while True:
        ((waiting,),) = world.sql(
            "SELECT count(DISTINCT l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE NOT l.granted AND a.datname = current_database()"
        )
        if waiting >= transactions:
            return
        assert time.monotonic() < until, f"{waiting} wait, not {transactions}"
        time.sleep(0.01)


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it is done."""


def _killed_before(world: World, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Walk the plan of `world` until just before the first step that begins with `step`."""
    verb, _, address = step.partition(" ")
    drivers = {"release": ReleaseHands, "bundle": BundleHands}[address.partition("/")[0]]

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(drivers, verb, die)
        with pytest.raises(Killed):
            world.up() if world.extensions or verb == "create" else world.down()


def test_what_a_killed_removal_left_is_collected(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.up()
    extensions, world.extensions = world.extensions, {"other": Wanted(name="com.example.other")}
    _killed_before(world, monkeypatch, "delete bundle/hello")
    assert world.sql("SELECT name FROM extension_registry") == [("com.example.other",)]
    assert len(world.objects()) == 2
    assert any(it.startswith("delete bundle/orphan~") for it in world.up())
    assert len(world.objects()) == 1
    assert world.settled()
    world.extensions = extensions
    world.up()
    assert world.settled()


def test_what_a_killed_down_left_is_collected_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.up()
    world.extensions = {}
    _killed_before(world, monkeypatch, "delete bundle/hello")
    assert len(world.objects()) == 1
    (done,) = world.down()
    assert done.startswith("delete bundle/orphan~")
    assert world.objects() == []


@pytest.mark.parametrize("then", ["down", "up"])
def test_an_extension_that_was_never_released_and_is_dropped_leaves_no_object(
    world: World, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    world.extensions["late"] = Wanted(name="com.example.late")
    _killed_before(world, monkeypatch, "create release/late")
    del world.extensions["late"]
    getattr(world, then)()
    assert not [it for it in world.objects() if it not in _served(world)]


def test_a_build_that_was_never_released_is_nothing_to_go_back_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.up()
    world.change(build="second")
    _killed_before(world, monkeypatch, "update release/hello")
    assert len(world.objects()) == 2
    world.change(build="third")
    world.up()
    assert len(world.objects()) == 2
    world.change(build="first")
    assert world.lock().extensions[0].digest.hex in "".join(world.objects())


def test_an_object_that_any_row_names_is_not_collected(world: World) -> None:
    world.up()
    foreign = alga.install(
        world.database, alga.tenant(world.database, "Kansas"), name="com.example.published"
    )
    ((registry, digest),) = world.sql(
        "SELECT v.registry_id::text, b.content_hash FROM tenant_extension_install i"
        " JOIN extension_version v ON v.id = i.version_id"
        " JOIN extension_bundle b ON b.version_id = v.id WHERE i.id::text = %s",
        foreign,
    )
    tenant = world.snapshot().ids.tenant_id
    key = f"tenants/{tenant}/extensions/{registry}/sha256/{digest.removeprefix('sha256:')}"
    url = f"s3://{world.bucket}/{key}/bundle.tar.zst"
    world.store.s3().put_object(Bucket=world.bucket, Key=f"{key}/bundle.tar.zst", Body=b"x")
    world.sql("UPDATE extension_bundle SET storage_url = %s WHERE content_hash = %s", url, digest)
    assert world.settled()
    world.down()
    assert world.objects() == [f"{key}/bundle.tar.zst"]


def test_nothing_is_collected_while_rows_cannot_be_read(world: World) -> None:
    world.up()
    world.sql("ALTER TABLE extension_version DROP COLUMN main_entry CASCADE")
    world.extensions = {}
    assert not [it for it in world.seen() if it.kind == "bundle"]


def _served(world: World) -> set[str]:
    rows = world.sql("SELECT storage_url FROM extension_bundle")
    return {url.partition(f"/{world.bucket}/")[2] for (url,) in rows}
