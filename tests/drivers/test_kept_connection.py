"""A connection to the database that stays open from one transaction to the next."""

from __future__ import annotations

import pytest

from algaenv.drivers.content_host import Clients, StoreAndDatabase
from algaenv.drivers.database.kept_connection import KeptConnection
from algaenv.drivers.database.session import DatabaseSession
from algaenv.drivers.object_store import Buckets
from algaenv.model.problem import DriverError
from tests.drivers.content_environment import ContentEnvironment
from tests.runner.tinies import until


def backend(session: DatabaseSession) -> int:
    """The process of the server that a transaction speaks to."""
    with session.transaction() as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def test_transactions_and_reads_share_one_connection(env: ContentEnvironment) -> None:
    kept = KeptConnection()
    session = DatabaseSession.of(env.lock(), kept=kept)
    first = backend(session)
    host = StoreAndDatabase(env.lock(), (), Clients(Buckets(), kept))
    fresh = StoreAndDatabase(env.lock()).snapshot(env.lock())
    assert host.snapshot(env.lock()).rows == fresh.rows
    assert backend(session) == first
    kept.close()
    assert backend(session) != first
    kept.close()


def test_one_that_was_lost_is_replaced(env: ContentEnvironment) -> None:
    kept = KeptConnection()
    session = DatabaseSession.of(env.lock(), kept=kept)
    for read in (False, True):
        lost = backend(session)
        env.database.sql("SELECT pg_terminate_backend(%s)", lost)
        if read:
            StoreAndDatabase(env.lock(), (), Clients(Buckets(), kept)).snapshot(env.lock())
        assert backend(session) != lost
    kept.close()


def test_one_whose_transaction_failed_is_not_kept(env: ContentEnvironment) -> None:
    kept = KeptConnection()
    session = DatabaseSession.of(env.lock(), kept=kept)
    first = backend(session)

    def fail() -> None:
        with session.transaction() as connection:
            connection.execute("SELECT 1 / 0")

    with pytest.raises(DriverError):
        fail()
    assert kept.take(session.dsn) is None
    assert backend(session) != first
    kept.close()


def test_an_uncommitted_row_is_rolled_back(env: ContentEnvironment) -> None:
    kept = KeptConnection()
    session = DatabaseSession.of(env.lock(), kept=kept)

    def fail() -> None:
        with session.transaction() as connection:
            connection.execute("CREATE TABLE made_by_a_test (id int)")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    with session.transaction() as connection:
        found = connection.execute("SELECT to_regclass('made_by_a_test')").fetchone()
    assert found == (None,)
    kept.close()


def test_an_idle_one_is_closed(env: ContentEnvironment) -> None:
    kept = KeptConnection(idle_seconds=0.05)
    session = DatabaseSession.of(env.lock(), kept=kept)
    pid = backend(session)

    def gone() -> bool:
        return not env.database.sql("SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid)

    until(gone)
    assert kept.take(session.dsn) is None


def test_another_address_gets_another_connection(env: ContentEnvironment) -> None:
    kept = KeptConnection()
    session = DatabaseSession.of(env.lock(), kept=kept)
    backend(session)
    assert kept.take({**session.dsn, "application_name": "other"}) is None
    assert kept.take(session.dsn) is None
