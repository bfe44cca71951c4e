"""Servers that stop without closing their connections: every request has an end on this side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from algaenv.drivers import prober, retry, store_content
from algaenv.drivers.database import fast_reader, queries, session
from algaenv.drivers.database.connection import BoundedConnection
from algaenv.drivers.database.session import DatabaseSession
from algaenv.drivers.object_store import Bucket, StoreEndpoint
from algaenv.drivers.prober import ServiceProber
from algaenv.drivers.store_content import BucketDriver
from algaenv.model.probe import NotYet, PostgresProbe
from algaenv.model.problem import DriverError, Unavailable
from algaenv.model.resource import Present
from algaenv.model.secret import Secret
from tests.drivers.content_environment import ContentEnvironment
from tests.freezing import Freezing, freezing
from tests.params import slow_params
from tests.servers import Database, ObjectStore

# Without a bound of its own, a case hangs until this ends it.
pytestmark = pytest.mark.timeout(90)

SECONDS = 0.5


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(retry, "ATTEMPTS", 1)
    monkeypatch.setattr(session, "STATEMENT_SECONDS", SECONDS)
    monkeypatch.setattr(store_content, "BUCKET_SECONDS", SECONDS)


@pytest.fixture
def line(database: Database) -> Iterator[Freezing]:
    with freezing("127.0.0.1", database.server.port) as relay:
        yield relay


@pytest.fixture
def frozen_world(env: ContentEnvironment, line: Freezing) -> ContentEnvironment:
    """Its database is reached over `line`."""
    env.up()
    env.external = True
    env.url = env.database.url.replace(f":{env.database.server.port}/", f":{line.port}/")
    assert env.snapshot().ids.problems == ()
    return env


def unanswered(error: DriverError, env: ContentEnvironment) -> None:
    assert isinstance(error, Unavailable)
    assert error.problem.code == "database-unreachable"
    assert f"no answer within {SECONDS:g} s" in error.problem.summary
    assert env.database.server.password not in str(error)


@pytest.mark.parametrize("library", ["psycopg2", *slow_params("psycopg")])
def test_a_look(
    frozen_world: ContentEnvironment, line: Freezing, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    read_over = queries.read_snapshot_over

    def freeze(*arguments: Any) -> dict[str, Any]:
        line.flowing.clear()
        return read_over(*arguments)

    monkeypatch.setattr(queries, "read_snapshot_over", freeze)
    if library == "psycopg":
        monkeypatch.setattr(fast_reader, "read_snapshot", lambda *_: None)
    with pytest.raises(DriverError) as caught:
        frozen_world.snapshot()
    unanswered(caught.value, frozen_world)


@pytest.mark.parametrize("moment", ["commit", *slow_params("statement", "rollback")])
def test_a_transaction(frozen_world: ContentEnvironment, line: Freezing, moment: str) -> None:
    content = DatabaseSession.of(frozen_world.lock())

    def write() -> None:
        with content.transaction() as connection:
            if moment != "statement":
                connection.execute("UPDATE tenants SET client_name = 'x'")
            line.flowing.clear()
            if moment == "statement":
                connection.execute("UPDATE tenants SET client_name = 'x'")
            if moment == "rollback":
                raise psycopg.OperationalError(f"no answer within {SECONDS:g} s")

    with pytest.raises(DriverError) as caught:
        write()
    unanswered(caught.value, frozen_world)


def test_a_slow_statement_in_time_is_none(frozen_world: ContentEnvironment) -> None:
    with DatabaseSession.of(frozen_world.lock()).transaction() as connection:
        for _ in range(3):
            connection.execute("SELECT pg_sleep(0.3)")


def test_a_probe_of_the_database(
    database: Database, line: Freezing, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = BoundedConnection.execute

    def freeze(self: BoundedConnection, *arguments: Any) -> Any:
        line.flowing.clear()
        return execute(self, *arguments)

    monkeypatch.setattr(BoundedConnection, "execute", freeze)
    server = database.server
    asked = PostgresProbe(
        "127.0.0.1", line.port, server.user, Secret(server.password), database.name
    )
    answer = ServiceProber().probe(asked)
    assert isinstance(answer, NotYet)
    assert f"no answer within {prober.PROBE_SECONDS:g} s" in answer.last


OBJECTS: dict[str, Callable[[Bucket, Path], object]] = {
    "list": lambda bucket, _: bucket.list("tenants/"),
    "head": lambda bucket, _: bucket.head("tenants/x"),
    "put": lambda bucket, archive: bucket.put("tenants/x", archive),
    "digest": lambda bucket, _: bucket.digest("tenants/x"),
    "delete": lambda bucket, _: bucket.delete("tenants/x"),
}


@pytest.fixture
def store_line(minio: ObjectStore) -> Iterator[tuple[StoreEndpoint, Freezing]]:
    with freezing("127.0.0.1", minio.port) as relay:
        keys = Secret(minio.access_key), Secret(minio.secret_key)
        yield StoreEndpoint(f"http://127.0.0.1:{relay.port}", *keys, "us-east-1"), relay


@pytest.mark.parametrize("name", ["list", *slow_params(*(it for it in OBJECTS if it != "list"))])
def test_an_object(
    env: ContentEnvironment, store_line: tuple[StoreEndpoint, Freezing], tmp_path: Path, name: str
) -> None:
    env.up()
    store, relay = store_line
    archive = tmp_path / "archive"
    archive.write_bytes(b"x" * 4_000_000)
    bucket = Bucket(store, env.bucket, SECONDS)
    bucket.head("tenants/x")
    relay.flowing.clear()
    with pytest.raises(Unavailable) as caught:
        OBJECTS[name](bucket, archive)
    assert caught.value.problem.code == "store-unreachable"


@pytest.mark.slow
def test_an_object_that_stalls_midway(
    env: ContentEnvironment, store_line: tuple[StoreEndpoint, Freezing], tmp_path: Path
) -> None:
    env.up()
    store, relay = store_line
    archive = tmp_path / "archive"
    archive.write_bytes(b"x" * 64_000_000)
    Bucket(store, env.bucket, 60).put("tenants/x", archive)
    relay.left = 1_000_000
    bucket = Bucket(store, env.bucket, 2 * SECONDS)
    with pytest.raises(Unavailable) as caught:
        bucket.digest("tenants/x")
    assert caught.value.problem.code == "store-unreachable"


@pytest.mark.parametrize("verb", ["make", *slow_params("remove")])
def test_a_bucket(
    env: ContentEnvironment, store_line: tuple[StoreEndpoint, Freezing], verb: str
) -> None:
    store, relay = store_line
    relay.flowing.clear()
    drivers = BucketDriver(store)
    (bucket,) = [it for it in env.wanted() if it.address.kind == "bucket"]

    def act() -> None:
        if verb == "make":
            drivers.create(bucket, env.messages.append)
        else:
            drivers.delete(bucket.address, Present("x"), env.messages.append)

    with pytest.raises(Unavailable) as caught:
        act()
    assert caught.value.problem.code == "store-unreachable"
