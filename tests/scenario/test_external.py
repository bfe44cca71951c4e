"""Alga's own database: looked at, written to with care, never shaped, and left as it was found.

The services of one project serve the whole file; each test has a database and a tenant of its own.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests import servers
from tests.drivers import alga
from tests.guests import built
from tests.scenario.conftest import free_ports
from tests.scenario.project import Project, Run, get, page
from tests.servers import Database

postgres, database = servers.postgres, servers.database

OURS = "relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname !~ '^(pg_|information_sch)')"
CATALOGUE = f"""
SELECT format('column %s.%s %s %s %s', a.attrelid::regclass, a.attname,
    format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid))
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attnum > 0 AND {OURS}
UNION ALL SELECT format('relation %s %s %s', oid::regclass, relkind, relacl)
  FROM pg_class WHERE {OURS}
UNION ALL SELECT format('constraint %s %s %s', conrelid::regclass, conname,
    pg_get_constraintdef(k.oid)) FROM pg_constraint k JOIN pg_class c ON c.oid = conrelid
  WHERE {OURS}
UNION ALL SELECT format('index %s', pg_get_indexdef(indexrelid))
  FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE {OURS}
UNION ALL SELECT format('trigger %s', pg_get_triggerdef(oid)) FROM pg_trigger
  WHERE NOT tgisinternal
UNION ALL SELECT format('function %s', oid::regprocedure) FROM pg_proc
  WHERE {OURS.replace("relnamespace", "pronamespace")}
UNION ALL SELECT format('type %s', oid::regtype) FROM pg_type
  WHERE {OURS.replace("relnamespace", "typnamespace")}
UNION ALL SELECT format('schema %s', nspname) FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)'
UNION ALL SELECT format('extension %s %s', extname, extversion) FROM pg_extension
ORDER BY 1
"""
PING = {"method": "GET", "path": "/api/ping", "handler": "dist/main"}
REPORT = {"method": "POST", "path": "/api/report", "handler": "dist/main"}
Tables = dict[str, list[tuple[str, dict[str, Any]]]]


@dataclass
class House:
    """A project whose spec names an external database with one tenant, `Oz`."""

    project: Project
    database: Database
    tenant: str = field(default_factory=lambda: str(uuid.uuid4()))

    def spec(self, **keys: Any) -> None:
        """Lay keys over the spec; None takes one away."""
        self.project.spec |= keys
        self.project.write()

    def extension(
        self, *endpoints: dict[str, str], html: str = "<h1>hello</h1>", **manifest: Any
    ) -> None:
        """Write the extension `hello`; with endpoints it has a handler, too."""
        if endpoints:
            manifest |= {"runtime": "wasm-js@1", "api": {"endpoints": list(endpoints)}}
        source = self.project.extension(html=html, **manifest)
        if endpoints:
            (source / "dist").mkdir(exist_ok=True)
            (source / "dist" / "main.wasm").write_bytes(built("minimal").read_bytes())

    def up(self, *arguments: str) -> Run:
        return self.project.up(*arguments)

    def refused(self, code: str, *arguments: str) -> dict[str, Any]:
        """Run `up`, which must stop before any row; the one problem it names."""
        before = self.rows()
        run = self.up(*arguments)
        assert run.code == 7, run.report
        assert self.rows() == before
        (problem,) = run.problems()
        assert problem["code"] == code
        assert problem["summary"].startswith("cannot ")
        assert problem["hint"]
        return problem

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self.database.sql(statement, *values)

    def rows(self) -> Tables:
        """Every row of every table, with the transaction that wrote it."""
        tables = self.sql("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname='public'")
        return {
            table: self.sql(f"SELECT t.xmin::text, to_jsonb(t) FROM {table} t ORDER BY 2::text")
            for (table,) in tables
        }

    def catalogue(self) -> list[str]:
        """The shape of the whole database, one line a fact."""
        return [line for (line,) in self.sql(CATALOGUE)]

    def hello(self) -> dict[str, Any]:
        """What `status` says of the extension."""
        (found,) = self.project.status()["extensions"]
        return dict(found)

    def objects(self) -> list[str]:
        """The keys below this test's tenant."""
        return [key for key in self.project.objects() if self.tenant in key]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The services of one environment; they start with the first test."""
    root = tmp_path_factory.mktemp("external")
    project = Project(
        root, "process", free_ports("store", "console", "redis", "runner", "database")
    )
    cache = os.environ.get("ALGAENV_TEST_CACHE") or str(tmp_path_factory.getbasetemp() / "cache")
    project.environ["XDG_CACHE_HOME"] = cache
    yield project
    project.clean()


@pytest.fixture
def house(stack: Project, database: Database) -> Iterator[House]:
    """Alga's database with its tenant; whatever a test does, it keeps its shape."""
    house = House(stack, database)
    alga.migrate(database)
    alga.tenant(database, "Oz", house.tenant)
    stack.spec.clear()
    house.spec(database={"url": database.url})
    house.extension()
    shape = house.catalogue()
    assert len(shape) > 200
    yield house
    assert house.catalogue() == shape


def test_a_fresh_extension_is_installed_for_the_only_tenant(house: House) -> None:
    others = house.rows()
    run = house.up().ok()
    assert {kind.partition("/")[0] for kind in run.steps() if "process" not in kind} <= {
        "create folder",
        "create bucket",
        "create bundle",
        "create release",
    }
    assert "create process/database" not in run.steps()
    ((install, version),) = house.sql(
        "SELECT id::text, version_id::text FROM tenant_extension_install WHERE tenant_id = %s",
        house.tenant,
    )
    hello = house.hello()
    assert hello["ready"] is True
    assert hello["install_id"] == install
    assert get(hello["page_url"]) == page("<h1>hello</h1>")
    assert house.objects() == [
        f"tenants/{house.tenant}/extensions/{hello['registry_id']}/sha256/"
        f"{hello['content_hash'].removeprefix('sha256:')}/bundle.tar.zst"
    ]
    assert house.sql(
        "SELECT content_hash FROM extension_bundle WHERE version_id = %s", version
    ) == [(hello["content_hash"],)]
    assert house.rows()["tenants"] == others["tenants"]
    written = {table for table, rows in house.rows().items() if rows != others[table]}
    assert written == {
        "extension_registry",
        "extension_version",
        "extension_bundle",
        "tenant_extension_install",
        "tenant_extension_install_config",
    }


def test_a_second_up_changes_nothing(house: House) -> None:
    house.up().ok()
    before = (house.rows(), house.objects())
    again = house.up().ok()
    assert (again.changed, again.steps()) == (0, {})
    assert (house.rows(), house.objects()) == before
    status = house.project.status()
    assert status["tenant_id"] == house.tenant
    assert {it["name"] for it in status["services"]} == {"store", "redis", "runner"}
    told = house.project.secrets()
    assert told["DEV_TENANT_ID"] == house.tenant
    assert [name for name in told if name.startswith("DB_")] == [], "it is not ours to hand out"


def test_of_several_tenants_none_is_guessed(house: House) -> None:
    kansas = alga.tenant(house.database, "Kansas")
    problem = house.refused("tenant-ambiguous")
    assert sorted(problem["detail"]) == sorted([f"{house.tenant}  Oz", f"{kansas}  Kansas"])
    assert "tenant.id" in problem["hint"]
    plan = house.project.text("plan")
    assert plan.returncode == 7
    assert f"{kansas}  Kansas" in plan.stdout + plan.stderr


def test_a_tenant_among_several_is_found_however_it_is_spelled(house: House) -> None:
    alga.tenant(house.database, "Kansas")
    house.spec(tenant={"name": "Oz"})
    house.up().ok()
    assert house.sql("SELECT tenant_id FROM tenant_extension_install") == [(house.tenant,)]
    assert house.hello()["ready"] is True
    for spelled in (house.tenant, house.tenant.upper()):
        house.spec(tenant={"id": spelled})
        assert house.up().ok().changed == 0


def test_an_unknown_tenant_is_refused_with_those_there_are(house: House) -> None:
    for tenant in ({"name": "Emerald City"}, {"id": str(uuid.UUID(int=7))}):
        house.spec(tenant=tenant)
        problem = house.refused("tenant-missing")
        assert next(iter(tenant.values())) in problem["summary"]
        assert problem["detail"] == [f"{house.tenant}  Oz"]


def test_a_tenant_of_another_product_is_refused(house: House) -> None:
    house.sql("UPDATE tenants SET product_code = 'algadesk'")
    problem = house.refused("tenant-product")
    assert "Oz" in problem["summary"]
    assert "algadesk" in problem["summary"]
    assert "psa" in problem["hint"]


def _fresh(make_project: Callable[..., Project], url: str) -> Project:
    project = make_project("process")
    project.spec["database"] = {"url": url}
    project.extension()
    return project


def test_what_the_tables_lack_is_named_at_once_and_nothing_is_made(
    make_project: Callable[..., Project], database: Database
) -> None:
    alga.migrate(database)
    database.sql("DROP TABLE extension_bundle, tenant_extension_install_secrets")
    database.sql("ALTER TABLE tenant_extension_install DROP COLUMN status")
    house = House(_fresh(make_project, database.url), database)
    alga.tenant(database, "Oz", house.tenant)
    shape = house.catalogue()
    problem = house.refused("schema-missing")
    for lost in (
        "extension_bundle",
        "tenant_extension_install_secrets",
        "tenant_extension_install.status",
    ):
        assert lost in problem["summary"]
    assert "npm run migrate:ee" in problem["hint"]
    assert house.catalogue() == shape
    assert house.project.s3().list_buckets()["Buckets"] == []


def test_a_database_without_any_of_algas_tables_is_explained(
    house: House, postgres: servers.Postgres
) -> None:
    name = f"empty_{uuid.uuid4().hex}"
    postgres.execute(f"CREATE DATABASE {name}")
    empty = House(house.project, Database(postgres, name))
    try:
        house.spec(database={"url": empty.database.url})
        problem = empty.refused("schema-missing")
        assert "tenants" in problem["summary"]
        assert empty.rows() == {}
    finally:
        postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_rows_of_another_tool_are_taken_over_only_when_told(house: House) -> None:
    install = alga.install(house.database, house.tenant)
    ids = (
        "SELECT r.id, v.id, i.id FROM extension_registry r"
        " JOIN extension_version v ON v.registry_id = r.id"
        " JOIN tenant_extension_install i ON i.registry_id = r.id AND i.version_id = v.id"
    )
    before = house.sql(ids)
    problem = house.refused("not-ours")
    assert "--adopt" in problem["hint"]
    assert "another tool" in problem["summary"]
    assert house.project.text("plan").returncode == 7
    plan = house.project.text("plan", "--adopt")
    assert plan.returncode == 0
    assert "release/hello" in plan.stdout
    run = house.up("--adopt").ok()
    assert run.steps()["update release/hello"] == "done"
    assert run.cause("release/hello").startswith("adopted")
    assert house.sql(ids) == before
    hello = house.hello()
    assert (hello["install_id"], hello["ready"]) == (install, True)
    newest = house.sql("SELECT content_hash FROM extension_bundle ORDER BY created_at DESC LIMIT 1")
    assert newest == [(hello["content_hash"],)]
    assert house.up().ok().changed == 0


def test_a_registry_row_of_another_tool_keeps_its_id_and_its_words(house: House) -> None:
    registry = str(uuid.uuid4())
    house.sql(
        "INSERT INTO extension_registry (id, publisher, name, display_name, description)"
        " VALUES (%s, 'Example', 'com.example.hello', 'Hello!', 'By hand')",
        registry,
    )
    house.up().ok()
    assert house.sql("SELECT id::text, display_name, description FROM extension_registry") == [
        (registry, "Hello!", "By hand")
    ]
    (key,) = house.objects()
    assert f"/extensions/{registry}/" in key
    hello = house.hello()
    assert hello["registry_id"] == registry
    assert registry in hello["page_url"]
    assert get(hello["page_url"]) == page("<h1>hello</h1>")


def _schedule(house: House, path: str, name: str) -> None:
    house.sql(
        "INSERT INTO tenant_extension_schedule (install_id, tenant_id, endpoint_id, name, cron)"
        " SELECT i.id, i.tenant_id, e.id, %s, '0 * * * *' FROM tenant_extension_install i"
        " JOIN extension_api_endpoint e USING (version_id) WHERE e.path = %s",
        name,
        path,
    )


SCHEDULED = (
    "SELECT s.name, e.path, v.version, i.version_id = v.id FROM tenant_extension_schedule s"
    " JOIN tenant_extension_install i ON i.id = s.install_id"
    " JOIN extension_api_endpoint e ON e.id = s.endpoint_id"
    " JOIN extension_version v ON v.id = e.version_id ORDER BY 1"
)


def test_an_upgrade_takes_the_schedules_along(house: House) -> None:
    house.extension(PING, REPORT)
    house.up().ok()
    _schedule(house, "/api/ping", "hourly")
    _schedule(house, "/api/report", "reports")
    assert house.up().ok().changed == 0
    house.extension(REPORT, PING, version="0.2.0")
    run = house.up().ok()
    assert "manifest version 0.1.0 → 0.2.0" in run.cause("release/hello")
    assert house.sql(SCHEDULED) == [
        ("hourly", "/api/ping", "0.2.0", True),
        ("reports", "/api/report", "0.2.0", True),
    ]
    assert house.up().ok().changed == 0


@pytest.mark.parametrize("keep_versions", [0, 1])
def test_an_upgrade_that_would_strand_a_schedule_stops_before_the_rows(
    house: House, keep_versions: int
) -> None:
    house.spec(keep_versions=keep_versions)
    house.extension(PING, REPORT)
    house.up().ok()
    _schedule(house, "/api/report", "reports")
    served = house.hello()["page_url"]
    (key,) = house.objects()
    for build in ("second", "third"):
        house.extension(PING, html=f"<h1>{build}</h1>", version="0.2.0")
        problem = house.refused("schedule-endpoint-gone")
        for word in ("reports", "POST", "/api/report"):
            assert word in problem["summary"]
        assert key in house.objects(), "it is still the one that is served"
    assert get(served) == page("<h1>hello</h1>")
    house.extension(PING, REPORT, html="<h1>third</h1>", version="0.2.0")
    house.up().ok()
    assert house.sql(SCHEDULED) == [("reports", "/api/report", "0.2.0", True)]


def _notes(run: Run) -> str:
    kept = [it["why"] for it in run.report["kept"]]
    return "\n".join([*kept, *(it["note"] for it in run.events if it["event"] == "step_progress")])


def test_down_takes_our_install_and_says_what_stays(house: House) -> None:
    kansas = alga.tenant(house.database, "Kansas")
    alga.install(house.database, kansas)
    alga.install(house.database, house.tenant, name="com.example.theirs")
    house.spec(tenant={"name": "Oz"})
    house.extension(PING, version="0.2.0")
    before = house.rows()
    house.up().ok()
    _schedule(house, "/api/ping", "hourly")
    install = house.hello()["install_id"]
    registry = house.hello()["registry_id"]
    house.sql(
        "INSERT INTO ext_storage_records (tenant, extension_install_id, namespace, key, value)"
        " VALUES (%s, %s, 'n', 'k', '1')",
        house.tenant,
        install,
    )
    run = house.project.down().ok()
    after = house.rows()
    for table in ("tenants", *(it for it in before if it.startswith("tenant_extension_"))):
        assert after[table] == before[table], table
    for table in ("registry", "version", "bundle"):
        for row in before[f"extension_{table}"]:
            assert row[1]["id"] in {it["id"] for _, it in after[f"extension_{table}"]}
    assert len(after["extension_version"]) == len(before["extension_version"]) + 1
    assert len(after["ext_storage_records"]) == 1
    notes = _notes(run)
    assert registry in notes
    for table in ("extension_registry", "extension_version", "extension_bundle"):
        assert table in notes
    assert f"1 stored value of the install {install} stay" in notes
    assert house.project.down().ok().changed == 0
    house.up().ok()
    assert house.hello()["install_id"] == install
    assert house.project.down("--volumes", "--yes").ok()
    assert house.rows()["tenant_extension_install"] == before["tenant_extension_install"]


def test_an_extension_taken_out_of_the_spec_goes_and_theirs_stay(house: House) -> None:
    alga.install(house.database, house.tenant, name="com.example.theirs")
    theirs = house.sql("SELECT id, xmin::text FROM tenant_extension_install")
    house.up().ok()
    house.spec(extensions={})
    run = house.up().ok()
    assert "delete release/hello" in run.steps()
    assert house.sql("SELECT id, xmin::text FROM tenant_extension_install") == theirs
    assert house.objects() == []


def test_another_tenant_in_the_spec_moves_the_installation(house: House) -> None:
    kansas = alga.tenant(house.database, "Kansas")
    house.spec(tenant={"name": "Oz"})
    house.up().ok()
    house.spec(tenant={"name": "Kansas"})
    house.up().ok()
    assert house.sql("SELECT tenant_id FROM tenant_extension_install") == [(kansas,)]
    assert kansas in house.hello()["page_url"]
    assert get(house.hello()["page_url"]) == page("<h1>hello</h1>")
    assert house.up().ok().changed == 0


def test_the_url_is_a_secret_wherever_it_comes_from(house: House) -> None:
    project, url = house.project, house.database.url
    password = house.database.server.password
    (project.root / "secrets").mkdir(exist_ok=True)
    (project.root / "secrets" / "url").write_text(url + "\n")
    project.environ |= {"ALGA_DATABASE_URL": url, "ALGA_PASSWORD": password}
    ways: tuple[Any, ...] = (
        url.replace(password, "${ALGA_PASSWORD}"),
        {"env": "ALGA_DATABASE_URL"},
        {"file": "./secrets/url"},
    )
    changed = []
    for way in ways:
        house.spec(database={"url": way})
        run = house.up().ok()
        changed.append(run.changed > 0)
        assert password not in json.dumps(run.events) + run.stderr
    assert changed == [True, False, False]
    assert house.hello()["ready"] is True
    assert password not in project.text("status").stdout
    for path in (project.root / ".algaenv").rglob("*"):
        if path.is_file() and not path.is_relative_to(project.home / "data"):
            holds = password.encode() in path.read_bytes()
            assert not holds or path.stat().st_mode & 0o077 == 0, path
            assert not (holds and path.suffix == ".log"), path


def test_a_wrong_password_is_told_and_is_not(house: House) -> None:
    secret = "not-the-pass-word"
    url = house.database.url.replace(house.database.server.password, secret)
    house.spec(database={"url": url})
    problem = house.refused("database-password")
    assert "database.url" in problem["hint"]
    plan = house.project.text("plan")
    assert plan.returncode == 7
    assert "database-password" in plan.stderr
    assert secret not in json.dumps(problem) + plan.stderr + plan.stdout


def test_a_database_that_does_not_exist_is_told(house: House) -> None:
    house.spec(database={"url": house.database.url + "_not"})
    problem = house.refused("database-missing")
    assert "database.url" in problem["hint"]


def _nobody() -> tuple[int, str]:
    """A port where nobody listens, and a URL with it."""
    port = servers.free_port()
    return port, f"postgresql://alga:pass-word@127.0.0.1:{port}/server"


def test_a_database_that_does_not_answer_is_told(house: House) -> None:
    port, url = _nobody()
    house.spec(database={"url": url})
    problem = house.refused("database-unreachable")
    assert "database.url" in problem["hint"]
    assert "pass-word" not in json.dumps(problem)
    assert f"127.0.0.1:{port}" in problem["summary"], "it names where it knocked"


def test_a_plan_says_that_the_database_does_not_answer(house: House) -> None:
    _, url = _nobody()
    house.up().ok()
    house.spec(database={"url": url})
    plan = house.project.text("plan")
    assert plan.returncode in (0, 7)
    assert "the external database" in plan.stdout + plan.stderr


@contextmanager
def _away(house: House) -> Iterator[None]:
    """The database is gone, for as long as the block lasts."""
    name = house.database.name
    house.database.server.execute(f"ALTER DATABASE {name} RENAME TO {name}_away")
    try:
        yield
    finally:
        house.database.server.execute(f"ALTER DATABASE {name}_away RENAME TO {name}")


def test_status_says_that_the_database_cannot_be_asked(house: House) -> None:
    house.up().ok()
    with _away(house):
        status = house.project.text("status")
    assert status.returncode == 0
    assert "the external database" in status.stdout + status.stderr


def test_down_does_not_need_the_database(house: House) -> None:
    """It may be gone for good, or its password changed; our services go, and it says what stays."""
    house.up().ok()
    before = house.rows()
    with _away(house):
        run = house.project.down().ok()
    assert "delete process/runner" in run.steps()
    assert "the external database" in _notes(run)
    assert house.rows() == before
    house.up().ok()
    house.project.down().ok()
    assert house.rows()["tenant_extension_install"] == []


def test_a_user_who_may_only_read_is_told_and_the_rows_stay(
    house: House, postgres: servers.Postgres
) -> None:
    user = f"reader_{uuid.uuid4().hex[:8]}"
    house.sql(f"CREATE ROLE {user} LOGIN PASSWORD 'reader-pass' IN ROLE pg_read_all_data")
    try:
        url = f"postgresql://{user}:reader-pass@127.0.0.1:{postgres.port}/{house.database.name}"
        house.spec(database={"url": url})
        house.refused("database-permission")
    finally:
        house.sql(f"DROP ROLE {user}")


def test_an_upper_case_tenant_of_another_tool_is_respelled(house: House) -> None:
    """Alga compares tenants as text: a row that spells one otherwise is invisible to it."""
    install = alga.install(house.database, house.tenant.upper())
    house.refused("not-ours")
    house.up("--adopt").ok()
    assert house.sql("SELECT id::text, tenant_id FROM tenant_extension_install") == [
        (install, house.tenant)
    ]
    (key,) = house.objects()
    assert key.startswith(f"tenants/{house.tenant}/")
    assert house.hello()["ready"] is True
