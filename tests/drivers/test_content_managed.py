"""A database of our own: its tables and its tenant are ours too."""

from __future__ import annotations

import dataclasses
import re
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from algaenv.drivers.content_host import StoreAndDatabase
from algaenv.drivers.database import schema
from algaenv.drivers.database.queries import ENDPOINT_TABLE, REQUIRED_COLUMNS, STORAGE_TABLE
from algaenv.drivers.database.releases import ReleaseDriver
from algaenv.drivers.store_content import BundleDriver
from algaenv.model.intent import TenantIntent
from algaenv.model.problem import Conflict, Failed
from algaenv.model.resource import Present
from tests.drivers import alga
from tests.drivers.content_environment import ContentEnvironment, ExtensionFixture


def test_the_script_is_read_back_as_the_catalogue_has_it(env: ContentEnvironment) -> None:
    alga.migrate(env.database)
    live: dict[str, set[str]] = {}
    for table, column in env.sql(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public'"
    ):
        live.setdefault(table, set()).add(column)
    assert {table: set(columns) for table, columns in schema.tables().items()} == live
    assert len(live) == 15
    indexes = env.sql("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
    named = set(re.findall(r"INDEX IF NOT EXISTS (\w+)", schema.script()))
    assert named <= {it for (it,) in indexes}
    assert len(named) == 26


def test_what_the_drivers_need_is_in_the_script() -> None:
    tables = schema.tables()
    for table, needed in REQUIRED_COLUMNS.items():
        assert set(needed) <= set(tables[table]), table
    assert {ENDPOINT_TABLE, STORAGE_TABLE} <= set(tables)


def test_missing_tables_columns_and_indexes_are_named_and_made(env: ContentEnvironment) -> None:
    env.up()
    env.sql("DROP TABLE extension_quota_usage, extension_api_endpoint")
    env.sql("ALTER TABLE tenant_extension_install DROP COLUMN runner_domain")
    env.sql("ALTER TABLE extension_bundle DROP COLUMN size_bytes")
    assert set(env.present("schema/extensions").drift) == {
        "the table extension_quota_usage is missing",
        "the table extension_api_endpoint is missing",
        "the column tenant_extension_install.runner_domain is missing",
        "the column extension_bundle.size_bytes is missing",
    }
    assert env.up()[0] == "update schema/extensions"
    assert env.present("schema/extensions").drift == ()
    env.up()
    assert env.settled()
    assert env.sql(
        "SELECT count(*) FROM pg_indexes WHERE indexname ~ 'runner_domain_(idx|unique)'"
    ) == [(2,)]


def test_a_column_that_filled_rows_cannot_get_is_a_problem(env: ContentEnvironment) -> None:
    env.up()
    env.sql("ALTER TABLE tenants DROP COLUMN email")
    with pytest.raises(Failed) as caught:
        env.up()
    assert caught.value.problem.code == "schema-column"
    assert "tenants.email" in caught.value.problem.summary


def test_the_tables_may_be_made_by_several_at_once(env: ContentEnvironment) -> None:
    resource = env.resource("schema/extensions")
    drivers = StoreAndDatabase(env.lock()).drivers()["schema"]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(drivers.create, resource, print) for _ in range(4)]:
            done.result()
    assert env.present("schema/extensions").drift == ()


def test_the_tables_go_unless_something_leans_on_them(env: ContentEnvironment) -> None:
    env.up()
    seen = env.present("schema/extensions")
    address = env.resource("schema/extensions").address
    drivers = StoreAndDatabase(env.lock()).drivers()["schema"]
    env.sql("CREATE VIEW mine AS SELECT client_name FROM tenants")
    with pytest.raises(Conflict):
        drivers.delete(address, seen, env.messages.append)
    env.sql("DROP VIEW mine")
    drivers.delete(address, seen, env.messages.append)
    drivers.delete(address, seen, env.messages.append)
    assert env.sql(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    ) == [(0,)]


def test_the_tenant_is_named_after_the_environment(env: ContentEnvironment) -> None:
    env.up()
    assert env.sql("SELECT client_name, email FROM tenants") == [("demo", "dev@demo.invalid")]


def test_a_renamed_environment_keeps_its_tenant_and_its_rows(env: ContentEnvironment) -> None:
    env.up()
    before = env.snapshot().ids
    env.name = "renamed"
    assert env.up() == ["update tenant/main"]
    assert env.sql("SELECT client_name FROM tenants") == [("renamed",)]
    assert env.snapshot().ids.installs == before.installs
    assert env.settled()


def test_another_tenant_gets_rows_of_its_own_and_the_former_ones_go(
    env: ContentEnvironment,
) -> None:
    env.up()
    env.tenant = TenantIntent(None, "Kansas")
    done = env.up()
    assert "create tenant/main" in done
    assert "create release/hello" in done
    assert any(it.startswith("delete release/hello~") for it in done)
    assert any(it.startswith("delete bundle/hello~") for it in done)
    assert len(env.objects()) == 1
    assert env.sql("SELECT count(*) FROM tenant_extension_install") == [(1,)]
    assert env.settled()


def test_another_tenant_and_another_build_at_once(env: ContentEnvironment) -> None:
    """The former install runs the same version with another build, but it is ours and goes."""
    env.up()
    env.tenant = TenantIntent(None, "Kansas")
    env.change(build="second")
    assert "create release/hello" in env.up()
    env.up()
    assert env.settled()


def test_a_tenant_by_id_is_made_with_it_and_keeps_its_name(env: ContentEnvironment) -> None:
    env.tenant = TenantIntent(alga.OZ, None)
    env.up()
    env.sql("UPDATE tenants SET client_name = 'Oz'")
    assert env.settled()
    env.tenant = TenantIntent(alga.OZ, "Emerald City")
    assert env.up() == ["update tenant/main"]
    assert env.sql("SELECT tenant::text, client_name FROM tenants") == [(alga.OZ, "Emerald City")]


def test_a_tenant_that_is_there_already_is_used(env: ContentEnvironment) -> None:
    alga.migrate(env.database)
    alga.tenant(env.database, "Kansas")
    id_ = alga.tenant(env.database, "Oz")
    env.tenant = TenantIntent(None, "Oz")
    assert env.snapshot().ids.tenant_id == id_
    env.up()
    assert env.sql("SELECT tenant_id FROM tenant_extension_install") == [(id_,)]


def test_a_tenant_of_another_product_is_healed(env: ContentEnvironment) -> None:
    env.up()
    env.sql("UPDATE tenants SET product_code = 'algadesk'")
    assert env.present("tenant/main").drift == ("product_code is algadesk, not psa",)
    assert env.up() == ["update tenant/main"]
    assert env.settled()


def test_the_tenant_goes_and_may_have_gone(env: ContentEnvironment) -> None:
    env.up()
    seen, resource = env.present("tenant/main"), env.resource("tenant/main")
    drivers = StoreAndDatabase(env.lock()).drivers()["tenant"]
    drivers.delete(resource.address, seen, env.messages.append)
    drivers.delete(resource.address, seen, env.messages.append)
    assert env.sql("SELECT count(*) FROM tenants") == [(0,)]


def test_what_the_development_installer_made_here_is_taken_over_and_goes(
    env: ContentEnvironment,
) -> None:
    env.extensions, wanted = {}, env.extensions
    env.up()
    alga.install(env.database, env.snapshot().ids.tenant_id)
    env.extensions = wanted
    assert "blocked release/hello" in env.plan()
    env.up(adopt=True)
    assert env.settled()
    env.down()
    for table in ("registry", "version", "bundle", "api_endpoint"):
        assert env.sql(f"SELECT count(*) FROM extension_{table}") == [(0,)], table


def test_a_foreign_install_of_the_same_extension_outlives_ours(env: ContentEnvironment) -> None:
    env.up()
    kansas = alga.tenant(env.database, "Kansas")
    digest = env.lock().extensions[0].digest.prefixed
    install = alga.install(env.database, kansas, digest=digest)
    alga.install(env.database, kansas, name="com.example.other")
    env.down()
    assert env.sql(
        "SELECT id::text, (SELECT count(*) FROM extension_bundle b"
        " WHERE b.version_id = i.version_id), (SELECT count(*) FROM extension_api_endpoint e"
        " WHERE e.version_id = i.version_id) FROM tenant_extension_install i"
        " WHERE id::text = %s",
        install,
    ) == [(install, 1, 1)]
    assert env.sql("SELECT count(*) FROM extension_registry") == [(2,)]


def test_a_build_stays_that_another_tenant_begins_to_serve(env: ContentEnvironment) -> None:
    """A deletion reads first which tenants a build serves; that must not change meanwhile."""
    env.up()
    address = next(it for it in env.seen() if it.kind == "bundle")
    old = env.present(str(address))
    moved = dataclasses.replace(
        env, tenant=TenantIntent(alga.tenant(env.database, "Kansas"), "Kansas")
    )
    release = moved.resource("release/hello")
    moving, leaving = (StoreAndDatabase(it.lock()).drivers() for it in (moved, env))
    leaving["release"].delete(env.resource("release/hello").address, env.release(), print)
    env.sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END';"
        "CREATE TRIGGER wait BEFORE INSERT ON tenant_extension_install"
        " FOR EACH ROW EXECUTE FUNCTION wait()"
    )
    with ThreadPoolExecutor(2) as pool:
        with psycopg.connect(**env.database.dsn) as gate:
            gate.execute("SELECT pg_advisory_xact_lock(1)")
            writing = pool.submit(moving["release"].create, release, print)
            _until_waiting(env, 1)
            removing = pool.submit(leaving["bundle"].delete, address, old, print)
            _until_waiting(env, 2)
        writing.result(20)
        removing.result(20)
    assert env.sql("SELECT count(*) FROM extension_bundle") == [(1,)]
    assert isinstance(moved.release(), Present)
    assert moved.release().drift == ()


def _until_waiting(env: ContentEnvironment, transactions: int) -> None:
    """Return when so many transactions wait for another."""
    until = time.monotonic() + 4
    while True:
        ((waiting,),) = env.sql(
            "SELECT count(DISTINCT l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE NOT l.granted AND a.datname = current_database()"
        )
        if waiting >= transactions:
            return
        assert time.monotonic() < until, f"{waiting} wait, not {transactions}"
        time.sleep(0.01)


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it is done."""


def _killed_before(env: ContentEnvironment, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Walk the plan of `world` until just before the first step that begins with `step`."""
    verb, _, address = step.partition(" ")
    drivers = {"release": ReleaseDriver, "bundle": BundleDriver}[address.partition("/")[0]]

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(drivers, verb, die)
        with pytest.raises(Killed):
            env.up() if env.extensions or verb == "create" else env.down()


def test_what_a_killed_removal_left_is_collected(
    env: ContentEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.up()
    extensions, env.extensions = (
        env.extensions,
        {"other": ExtensionFixture(name="com.example.other")},
    )
    _killed_before(env, monkeypatch, "delete bundle/hello")
    assert env.sql("SELECT name FROM extension_registry") == [("com.example.other",)]
    assert len(env.objects()) == 2
    assert any(it.startswith("delete bundle/orphan~") for it in env.up())
    assert len(env.objects()) == 1
    assert env.settled()
    env.extensions = extensions
    env.up()
    assert env.settled()


def test_what_a_killed_down_left_is_collected_by_the_next(
    env: ContentEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.up()
    env.extensions = {}
    _killed_before(env, monkeypatch, "delete bundle/hello")
    assert len(env.objects()) == 1
    (done,) = env.down()
    assert done.startswith("delete bundle/orphan~")
    assert env.objects() == []


@pytest.mark.parametrize("then", ["down", "up"])
def test_an_extension_that_was_never_released_and_is_dropped_leaves_no_object(
    env: ContentEnvironment, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    env.extensions["late"] = ExtensionFixture(name="com.example.late")
    _killed_before(env, monkeypatch, "create release/late")
    del env.extensions["late"]
    getattr(env, then)()
    assert not [it for it in env.objects() if it not in _served(env)]


def test_a_build_that_was_never_released_is_nothing_to_go_back_to(
    env: ContentEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.up()
    env.change(build="second")
    _killed_before(env, monkeypatch, "update release/hello")
    assert len(env.objects()) == 2
    env.change(build="third")
    env.up()
    assert len(env.objects()) == 2
    env.change(build="first")
    assert env.lock().extensions[0].digest.hex in "".join(env.objects())


def test_an_object_that_any_row_names_is_not_collected(env: ContentEnvironment) -> None:
    env.up()
    foreign = alga.install(
        env.database, alga.tenant(env.database, "Kansas"), name="com.example.published"
    )
    ((registry, digest),) = env.sql(
        "SELECT v.registry_id::text, b.content_hash FROM tenant_extension_install i"
        " JOIN extension_version v ON v.id = i.version_id"
        " JOIN extension_bundle b ON b.version_id = v.id WHERE i.id::text = %s",
        foreign,
    )
    tenant = env.snapshot().ids.tenant_id
    key = f"tenants/{tenant}/extensions/{registry}/sha256/{digest.removeprefix('sha256:')}"
    url = f"s3://{env.bucket}/{key}/bundle.tar.zst"
    env.store.s3().put_object(Bucket=env.bucket, Key=f"{key}/bundle.tar.zst", Body=b"x")
    env.sql("UPDATE extension_bundle SET storage_url = %s WHERE content_hash = %s", url, digest)
    assert env.settled()
    env.down()
    assert env.objects() == [f"{key}/bundle.tar.zst"]


def test_nothing_is_collected_while_rows_cannot_be_read(env: ContentEnvironment) -> None:
    env.up()
    env.sql("ALTER TABLE extension_version DROP COLUMN main_entry CASCADE")
    env.extensions = {}
    assert not [it for it in env.seen() if it.kind == "bundle"]


def _served(env: ContentEnvironment) -> set[str]:
    rows = env.sql("SELECT storage_url FROM extension_bundle")
    return {url.partition(f"/{env.bucket}/")[2] for (url,) in rows}
