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
class ExternalProject:
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
def external(stack: Project, database: Database) -> Iterator[ExternalProject]:
    """Alga's database with its tenant; whatever a test does, it keeps its shape."""
    external = ExternalProject(stack, database)
    alga.migrate(database)
    alga.tenant(database, "Oz", external.tenant)
    stack.spec.clear()
    external.spec(database={"url": database.url})
    external.extension()
    shape = external.catalogue()
    assert len(shape) > 200
    yield external
    assert external.catalogue() == shape


def test_a_fresh_extension_is_installed_for_the_only_tenant(external: ExternalProject) -> None:
    others = external.rows()
    run = external.up().ok()
    assert {kind.partition("/")[0] for kind in run.steps() if "process" not in kind} <= {
        "create folder",
        "create bucket",
        "create bundle",
        "create release",
    }
    assert "create process/database" not in run.steps()
    ((install, version),) = external.sql(
        "SELECT id::text, version_id::text FROM tenant_extension_install WHERE tenant_id = %s",
        external.tenant,
    )
    hello = external.hello()
    assert hello["ready"] is True
    assert hello["install_id"] == install
    assert get(hello["page_url"]) == page("<h1>hello</h1>")
    assert external.objects() == [
        f"tenants/{external.tenant}/extensions/{hello['registry_id']}/sha256/"
        f"{hello['content_hash'].removeprefix('sha256:')}/bundle.tar.zst"
    ]
    assert external.sql(
        "SELECT content_hash FROM extension_bundle WHERE version_id = %s", version
    ) == [(hello["content_hash"],)]
    assert external.rows()["tenants"] == others["tenants"]
    written = {table for table, rows in external.rows().items() if rows != others[table]}
    assert written == {
        "extension_registry",
        "extension_version",
        "extension_bundle",
        "tenant_extension_install",
        "tenant_extension_install_config",
    }


def test_a_second_up_changes_nothing(external: ExternalProject) -> None:
    external.up().ok()
    before = (external.rows(), external.objects())
    again = external.up().ok()
    assert (again.changed, again.steps()) == (0, {})
    assert (external.rows(), external.objects()) == before
    status = external.project.status()
    assert status["tenant_id"] == external.tenant
    assert {it["name"] for it in status["services"]} == {"store", "redis", "runner"}
    details = external.project.secrets()
    assert details["DEV_TENANT_ID"] == external.tenant
    assert [name for name in details if name.startswith("DB_")] == [], "it is not ours to hand out"


def test_of_several_tenants_none_is_guessed(external: ExternalProject) -> None:
    kansas = alga.tenant(external.database, "Kansas")
    problem = external.refused("tenant-ambiguous")
    assert sorted(problem["detail"]) == sorted([f"{external.tenant}  Oz", f"{kansas}  Kansas"])
    assert "tenant.id" in problem["hint"]
    plan = external.project.text("plan")
    assert plan.returncode == 7
    assert f"{kansas}  Kansas" in plan.stdout + plan.stderr


@pytest.mark.slow
def test_a_tenant_among_several_is_found_however_it_is_spelled(external: ExternalProject) -> None:
    alga.tenant(external.database, "Kansas")
    external.spec(tenant={"name": "Oz"})
    external.up().ok()
    assert external.sql("SELECT tenant_id FROM tenant_extension_install") == [(external.tenant,)]
    assert external.hello()["ready"] is True
    for spelled in (external.tenant, external.tenant.upper()):
        external.spec(tenant={"id": spelled})
        assert external.up().ok().changed == 0


@pytest.mark.slow
def test_an_unknown_tenant_is_refused_with_those_there_are(external: ExternalProject) -> None:
    for tenant in ({"name": "Emerald City"}, {"id": str(uuid.UUID(int=7))}):
        external.spec(tenant=tenant)
        problem = external.refused("tenant-missing")
        assert next(iter(tenant.values())) in problem["summary"]
        assert problem["detail"] == [f"{external.tenant}  Oz"]


@pytest.mark.slow
def test_a_tenant_of_another_product_is_refused(external: ExternalProject) -> None:
    external.sql("UPDATE tenants SET product_code = 'algadesk'")
    problem = external.refused("tenant-product")
    assert "Oz" in problem["summary"]
    assert "algadesk" in problem["summary"]
    assert "psa" in problem["hint"]


def _fresh(make_project: Callable[..., Project], url: str) -> Project:
    project = make_project("process")
    project.spec["database"] = {"url": url}
    project.extension()
    return project


@pytest.mark.slow
def test_what_the_tables_lack_is_named_at_once_and_nothing_is_made(
    make_project: Callable[..., Project], database: Database
) -> None:
    alga.migrate(database)
    database.sql("DROP TABLE extension_bundle, tenant_extension_install_secrets")
    database.sql("ALTER TABLE tenant_extension_install DROP COLUMN status")
    external = ExternalProject(_fresh(make_project, database.url), database)
    alga.tenant(database, "Oz", external.tenant)
    shape = external.catalogue()
    problem = external.refused("schema-missing")
    for lost in (
        "extension_bundle",
        "tenant_extension_install_secrets",
        "tenant_extension_install.status",
    ):
        assert lost in problem["summary"]
    assert "npm run migrate:ee" in problem["hint"]
    assert external.catalogue() == shape
    assert external.project.s3().list_buckets()["Buckets"] == []


def test_a_database_without_any_of_algas_tables_is_explained(
    external: ExternalProject, postgres: servers.Postgres
) -> None:
    name = f"empty_{uuid.uuid4().hex}"
    postgres.execute(f"CREATE DATABASE {name}")
    empty = ExternalProject(external.project, Database(postgres, name))
    try:
        external.spec(database={"url": empty.database.url})
        problem = empty.refused("schema-missing")
        assert "tenants" in problem["summary"]
        assert empty.rows() == {}
    finally:
        postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.slow
def test_rows_of_another_tool_are_taken_over_only_when_told(external: ExternalProject) -> None:
    install = alga.install(external.database, external.tenant)
    ids = (
        "SELECT r.id, v.id, i.id FROM extension_registry r"
        " JOIN extension_version v ON v.registry_id = r.id"
        " JOIN tenant_extension_install i ON i.registry_id = r.id AND i.version_id = v.id"
    )
    before = external.sql(ids)
    problem = external.refused("not-ours")
    assert "--adopt" in problem["hint"]
    assert "another tool" in problem["summary"]
    assert external.project.text("plan").returncode == 7
    plan = external.project.text("plan", "--adopt")
    assert plan.returncode == 0
    assert "release/hello" in plan.stdout
    run = external.up("--adopt").ok()
    assert run.steps()["update release/hello"] == "done"
    assert run.cause("release/hello").startswith("adopted")
    assert external.sql(ids) == before
    hello = external.hello()
    assert (hello["install_id"], hello["ready"]) == (install, True)
    newest = external.sql(
        "SELECT content_hash FROM extension_bundle ORDER BY created_at DESC LIMIT 1"
    )
    assert newest == [(hello["content_hash"],)]
    assert external.up().ok().changed == 0


def test_a_registry_row_of_another_tool_keeps_its_id_and_its_words(
    external: ExternalProject,
) -> None:
    registry = str(uuid.uuid4())
    external.sql(
        "INSERT INTO extension_registry (id, publisher, name, display_name, description)"
        " VALUES (%s, 'Example', 'com.example.hello', 'Hello!', 'By hand')",
        registry,
    )
    external.up().ok()
    assert external.sql("SELECT id::text, display_name, description FROM extension_registry") == [
        (registry, "Hello!", "By hand")
    ]
    (key,) = external.objects()
    assert f"/extensions/{registry}/" in key
    hello = external.hello()
    assert hello["registry_id"] == registry
    assert registry in hello["page_url"]
    assert get(hello["page_url"]) == page("<h1>hello</h1>")


def _schedule(external: ExternalProject, path: str, name: str) -> None:
    external.sql(
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


@pytest.mark.slow
def test_an_upgrade_takes_the_schedules_along(external: ExternalProject) -> None:
    external.extension(PING, REPORT)
    external.up().ok()
    _schedule(external, "/api/ping", "hourly")
    _schedule(external, "/api/report", "reports")
    assert external.up().ok().changed == 0
    external.extension(REPORT, PING, version="0.2.0")
    run = external.up().ok()
    assert "manifest version 0.1.0 → 0.2.0" in run.cause("release/hello")
    assert external.sql(SCHEDULED) == [
        ("hourly", "/api/ping", "0.2.0", True),
        ("reports", "/api/report", "0.2.0", True),
    ]
    assert external.up().ok().changed == 0


@pytest.mark.slow
@pytest.mark.parametrize("keep_versions", [0, 1])
def test_an_upgrade_that_would_strand_a_schedule_stops_before_the_rows(
    external: ExternalProject, keep_versions: int
) -> None:
    external.spec(keep_versions=keep_versions)
    external.extension(PING, REPORT)
    external.up().ok()
    _schedule(external, "/api/report", "reports")
    served = external.hello()["page_url"]
    (key,) = external.objects()
    for build in ("second", "third"):
        external.extension(PING, html=f"<h1>{build}</h1>", version="0.2.0")
        problem = external.refused("schedule-endpoint-gone")
        for word in ("reports", "POST", "/api/report"):
            assert word in problem["summary"]
        assert key in external.objects(), "it is still the one that is served"
    assert get(served) == page("<h1>hello</h1>")
    external.extension(PING, REPORT, html="<h1>third</h1>", version="0.2.0")
    external.up().ok()
    assert external.sql(SCHEDULED) == [("reports", "/api/report", "0.2.0", True)]


def _notes(run: Run) -> str:
    kept = [it["why"] for it in run.report["kept"]]
    return "\n".join([*kept, *(it["note"] for it in run.events if it["event"] == "step_progress")])


@pytest.mark.slow
def test_down_takes_our_install_and_says_what_stays(external: ExternalProject) -> None:
    kansas = alga.tenant(external.database, "Kansas")
    alga.install(external.database, kansas)
    alga.install(external.database, external.tenant, name="com.example.theirs")
    external.spec(tenant={"name": "Oz"})
    external.extension(PING, version="0.2.0")
    before = external.rows()
    external.up().ok()
    _schedule(external, "/api/ping", "hourly")
    install = external.hello()["install_id"]
    registry = external.hello()["registry_id"]
    external.sql(
        "INSERT INTO ext_storage_records (tenant, extension_install_id, namespace, key, value)"
        " VALUES (%s, %s, 'n', 'k', '1')",
        external.tenant,
        install,
    )
    run = external.project.down().ok()
    after = external.rows()
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
    assert external.project.down().ok().changed == 0
    external.up().ok()
    assert external.hello()["install_id"] == install
    assert external.project.down("--volumes", "--yes").ok()
    assert external.rows()["tenant_extension_install"] == before["tenant_extension_install"]


@pytest.mark.slow
def test_an_extension_taken_out_of_the_spec_goes_and_theirs_stay(external: ExternalProject) -> None:
    alga.install(external.database, external.tenant, name="com.example.theirs")
    theirs = external.sql("SELECT id, xmin::text FROM tenant_extension_install")
    external.up().ok()
    external.spec(extensions={})
    run = external.up().ok()
    assert "delete release/hello" in run.steps()
    assert external.sql("SELECT id, xmin::text FROM tenant_extension_install") == theirs
    assert external.objects() == []


def test_another_tenant_in_the_spec_moves_the_installation(external: ExternalProject) -> None:
    kansas = alga.tenant(external.database, "Kansas")
    external.spec(tenant={"name": "Oz"})
    external.up().ok()
    external.spec(tenant={"name": "Kansas"})
    external.up().ok()
    assert external.sql("SELECT tenant_id FROM tenant_extension_install") == [(kansas,)]
    assert kansas in external.hello()["page_url"]
    assert get(external.hello()["page_url"]) == page("<h1>hello</h1>")
    assert external.up().ok().changed == 0


def test_the_url_is_a_secret_wherever_it_comes_from(external: ExternalProject) -> None:
    project, url = external.project, external.database.url
    password = external.database.server.password
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
        external.spec(database={"url": way})
        run = external.up().ok()
        changed.append(run.changed > 0)
        assert password not in json.dumps(run.events) + run.stderr
    assert changed == [True, False, False]
    assert external.hello()["ready"] is True
    assert password not in project.text("status").stdout
    for path in (project.root / ".algaenv").rglob("*"):
        if path.is_file() and not path.is_relative_to(project.home / "data"):
            holds = password.encode() in path.read_bytes()
            assert not holds or path.stat().st_mode & 0o077 == 0, path
            assert not (holds and path.suffix == ".log"), path


def test_a_wrong_password_is_told_and_is_not(external: ExternalProject) -> None:
    secret = "not-the-pass-word"
    url = external.database.url.replace(external.database.server.password, secret)
    external.spec(database={"url": url})
    problem = external.refused("database-password")
    assert "database.url" in problem["hint"]
    plan = external.project.text("plan")
    assert plan.returncode == 7
    assert "database-password" in plan.stderr
    assert secret not in json.dumps(problem) + plan.stderr + plan.stdout


def test_a_database_that_does_not_exist_is_told(external: ExternalProject) -> None:
    external.spec(database={"url": external.database.url + "_not"})
    problem = external.refused("database-missing")
    assert "database.url" in problem["hint"]


def _nobody() -> tuple[int, str]:
    """A port where nobody listens, and a URL with it."""
    port = servers.free_port()
    return port, f"postgresql://alga:pass-word@127.0.0.1:{port}/server"


@pytest.mark.slow
def test_a_database_that_does_not_answer_is_told(external: ExternalProject) -> None:
    port, url = _nobody()
    external.spec(database={"url": url})
    problem = external.refused("database-unreachable")
    assert "database.url" in problem["hint"]
    assert "pass-word" not in json.dumps(problem)
    assert f"127.0.0.1:{port}" in problem["summary"], "it names where it knocked"


def test_a_plan_says_that_the_database_does_not_answer(external: ExternalProject) -> None:
    _, url = _nobody()
    external.up().ok()
    external.spec(database={"url": url})
    plan = external.project.text("plan")
    assert plan.returncode in (0, 7)
    assert "the external database" in plan.stdout + plan.stderr


@contextmanager
def _away(external: ExternalProject) -> Iterator[None]:
    """The database is gone, for as long as the block lasts."""
    name = external.database.name
    external.database.server.execute(f"ALTER DATABASE {name} RENAME TO {name}_away")
    try:
        yield
    finally:
        external.database.server.execute(f"ALTER DATABASE {name}_away RENAME TO {name}")


def test_status_says_that_the_database_cannot_be_asked(external: ExternalProject) -> None:
    external.up().ok()
    with _away(external):
        status = external.project.text("status")
    assert status.returncode == 0
    assert "the external database" in status.stdout + status.stderr


@pytest.mark.slow
def test_down_does_not_need_the_database(external: ExternalProject) -> None:
    """It may be gone for good, or its password changed; our services go, and it says what stays."""
    external.up().ok()
    before = external.rows()
    with _away(external):
        run = external.project.down().ok()
    assert "delete process/runner" in run.steps()
    assert "the external database" in _notes(run)
    assert external.rows() == before
    external.up().ok()
    external.project.down().ok()
    assert external.rows()["tenant_extension_install"] == []


@pytest.mark.slow
def test_a_user_who_may_only_read_is_told_and_the_rows_stay(
    external: ExternalProject, postgres: servers.Postgres
) -> None:
    user = f"reader_{uuid.uuid4().hex[:8]}"
    external.sql(f"CREATE ROLE {user} LOGIN PASSWORD 'reader-pass' IN ROLE pg_read_all_data")
    try:
        url = f"postgresql://{user}:reader-pass@127.0.0.1:{postgres.port}/{external.database.name}"
        external.spec(database={"url": url})
        external.refused("database-permission")
    finally:
        external.sql(f"DROP ROLE {user}")


@pytest.mark.slow
def test_an_upper_case_tenant_of_another_tool_is_respelled(external: ExternalProject) -> None:
    """Alga compares tenants as text: a row that spells one otherwise is invisible to it."""
    install = alga.install(external.database, external.tenant.upper())
    external.refused("not-ours")
    external.up("--adopt").ok()
    assert external.sql("SELECT id::text, tenant_id FROM tenant_extension_install") == [
        (install, external.tenant)
    ]
    (key,) = external.objects()
    assert key.startswith(f"tenants/{external.tenant}/")
    assert external.hello()["ready"] is True
