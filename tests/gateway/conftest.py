"""A database with the tables, a stub of the runner, and gateways in front of both.

The database, the runner and the gateway without settings are there once; every test finds them
empty. Starting a gateway takes longer than most tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.drivers.alga import OZ, add_tenant, migrate
from tests.gateway.gateway_process import AUTH_KEY, TOKEN, Gateway, gateway, settings_file
from tests.gateway.seed import Extension, install
from tests.gateway.stub_runner import StubRunner, envelope, start_stub_runner
from tests.servers import Database, Postgres, database, new_database, postgres

__all__ = ["database", "postgres"]

Start = Callable[..., Gateway]


@pytest.fixture(scope="session")
def _database(postgres: Postgres) -> Iterator[Database]:
    with new_database(postgres, shared=True) as made:
        migrate(made)
        yield made


@pytest.fixture
def tables(_database: Database) -> Database:
    """The tables, and one tenant in them."""
    with _database.session() as sql:
        # TRUNCATE would make new files for every table and index, which takes ten times as long.
        sql("SET LOCAL session_replication_role = replica")
        ((emptied,),) = sql(
            "SELECT string_agg(format('DELETE FROM %I', tablename), ';')"
            " FROM pg_tables WHERE schemaname = 'public'"
        )
        sql(emptied)
        sql("SET LOCAL session_replication_role = DEFAULT")
        add_tenant(sql, "Oz", OZ)
    return _database


@pytest.fixture
def hello(tables: Database) -> Extension:
    """An extension of the tenant."""
    return install(tables, OZ)


@pytest.fixture(scope="session")
def _runner() -> Iterator[StubRunner]:
    with start_stub_runner() as server:
        yield server


@pytest.fixture
def runner(_runner: StubRunner) -> StubRunner:
    """It answers `{}` to whatever is asked."""
    _runner.asked.clear()
    _runner.respond_with(envelope(200, b"{}"))
    return _runner


def _env(database: Database, runner: StubRunner) -> dict[str, str]:
    return {
        "DATABASE_URL": database.url,
        "TENANT_ID": OZ,
        "RUNNER_BASE_URL": runner.url,
        "RUNNER_STORAGE_API_TOKEN": TOKEN,
        "RUNNER_SERVICE_TOKEN": "service-token",
        "ALGA_AUTH_KEY": AUTH_KEY,
    }


@pytest.fixture
def start(tables: Database, runner: StubRunner, tmp_path: Path) -> Iterator[Start]:
    """Start a gateway; `settings` become its file, variables are added or replaced."""
    with ExitStack() as stack:

        def begin(settings: object = None, **env: str) -> Gateway:
            if settings is not None:
                env["GATEWAY_SETTINGS"] = settings_file(tmp_path, settings)
            return stack.enter_context(gateway(_env(tables, runner) | env))

        yield begin


@pytest.fixture(scope="session")
def _service(_database: Database, _runner: StubRunner) -> Iterator[Gateway]:
    with gateway(_env(_database, _runner)) as service:
        yield service


@pytest.fixture
def service(_service: Gateway, tables: Database, runner: StubRunner) -> Gateway:
    """A gateway without settings, which no test may stop."""
    _ = tables, runner
    return _service
