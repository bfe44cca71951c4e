"""Snapshots of a real database and a real store: whole, checked, or not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from algaenv.drivers.object_store import Bucket
from algaenv.drivers.snapshots import objects
from algaenv.drivers.snapshots.database import SnapshotDatabase
from algaenv.drivers.snapshots.directory import SnapshotDirectory
from algaenv.drivers.snapshots.host import StoreAndDatabaseSnapshots
from algaenv.drivers.snapshots.objects import SnapshotObjects
from algaenv.model.problem import AlgaenvError, Failed, Refused
from algaenv.model.secret import Secret
from algaenv.reconcile.protocols import ServiceProgram
from tests.drivers.content_environment import ContentEnvironment
from tests.params import slow_params
from tests.servers import postgres_binaries

MADE_UP = b"objects of the author\n" * 5


class Snapshots:
    """The snapshots of an environment, and what they are about, to look at."""

    def __init__(self, env: ContentEnvironment) -> None:
        self.env = env
        self.lock = env.lock()
        self.directory = SnapshotDirectory(self.lock.environment)
        self.notes: list[str] = []

    def host(self, *first: str) -> StoreAndDatabaseSnapshots:
        server = self.env.database.server
        variables: dict[str, str | Secret] = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
            "PGUSER": server.user,
            "PGDATABASE": self.env.database.name,
            "PGPASSWORD": Secret(server.password),
        }

        def run_beside(words: Sequence[str]) -> ServiceProgram:
            return ServiceProgram((*first, *words), variables, (str(postgres_binaries()),))

        environ = {"PATH": "/usr/bin:/bin"}
        return StoreAndDatabaseSnapshots(self.lock, "process", run_beside, environ)

    def save(self, name: str = "one", *, replace: bool = False) -> None:
        self.host().save(name, self.notes.append, replace=replace)

    def restore(self, name: str = "one") -> None:
        self.host().restore(name, self.notes.append)

    def put(self, key: str, content: bytes = MADE_UP) -> None:
        self.env.store.s3().put_object(Bucket=self.env.bucket, Key=key, Body=content)

    def state(self) -> tuple[list[tuple[Any, ...]], dict[str, bytes], list[tuple[Any, ...]]]:
        """Rows of the author, objects, and the tables there are."""
        s3, bucket = self.env.store.s3(), self.env.bucket
        held = {
            key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in self.env.objects()
        }
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        return self.env.sql("SELECT * FROM notes ORDER BY 1"), held, self.env.sql(tables)

    def databases(self) -> set[str]:
        found = self.env.sql("SELECT datname FROM pg_database WHERE datname LIKE 'algaenv_re%'")
        return {name for (name,) in found}


@pytest.fixture
def snapshots(env: ContentEnvironment) -> Snapshots:
    env.up()
    env.sql("CREATE TABLE notes (id serial PRIMARY KEY, text text)")
    env.sql("INSERT INTO notes (text) VALUES ('first')")
    made = Snapshots(env)
    made.put("demo/kept.txt")
    made.put("demo/changed.txt")
    made.put("demo/lost \u00e9.txt", b"")
    return made


def change_everything(snapshots: Snapshots) -> None:
    env = snapshots.env
    env.sql("UPDATE notes SET text = 'second'; CREATE TABLE more (a int); DROP TABLE IF EXISTS x")
    snapshots.put("demo/changed.txt", b"other")
    snapshots.put("demo/new.txt")
    env.store.s3().delete_object(Bucket=env.bucket, Key="demo/lost \u00e9.txt")


def refused(error: type[AlgaenvError], act: Callable[[], object]) -> str:
    with pytest.raises(error) as caught:
        act()
    return caught.value.problem.code


def test_a_restore_brings_back_exactly_what_was_saved(snapshots: Snapshots) -> None:
    before = snapshots.state()
    snapshots.save()
    (stored,) = snapshots.directory.list()
    assert (stored.name, stored.runtime, stored.postgres) == ("one", "process", 18)
    assert stored.objects == len(before[1])
    assert stored.store_bytes == sum(map(len, before[1].values()))
    change_everything(snapshots)
    assert snapshots.state() != before
    used = psycopg.connect(**snapshots.env.database.dsn)  # Such as that of the gateway.
    snapshots.restore()
    used.close()
    assert snapshots.state() == before
    assert snapshots.env.sql("INSERT INTO notes (text) VALUES ('x') RETURNING id") == [(2,)]
    assert snapshots.env.settled()
    assert snapshots.databases() == set()
    assert snapshots.directory.restoring() == ""


def test_files_are_private(snapshots: Snapshots) -> None:
    snapshots.save()
    root = snapshots.directory.path("one")
    assert {it.name: it.stat().st_mode & 0o777 for it in root.iterdir()} == {
        "database.dump": 0o600,
        "store.tar": 0o600,
        "manifest.json": 0o600,
    }
    assert [it.stat().st_mode & 0o777 for it in (root, root.parent)] == [0o700, 0o700]


@pytest.mark.slow
def test_large_objects_go_in_parts(snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "WHOLE_BYTES", 10)
    before = snapshots.state()
    snapshots.save()
    change_everything(snapshots)
    snapshots.restore()
    assert snapshots.state() == before


def test_a_name_is_replaced_only_when_told_so(snapshots: Snapshots) -> None:
    snapshots.save()
    assert refused(Refused, snapshots.save) == "snapshot-exists"
    snapshots.env.sql("UPDATE notes SET text = 'second'")
    snapshots.save(replace=True)
    snapshots.save("two")
    assert {it.name for it in snapshots.directory.list()} == {"one", "two"}
    snapshots.env.sql("UPDATE notes SET text = 'third'")
    snapshots.restore()
    assert snapshots.state()[0] == [(1, "second")]
    snapshots.directory.delete("one")
    assert refused(Refused, snapshots.restore) == "snapshot-unknown"
    assert refused(Refused, lambda: snapshots.directory.delete("one")) == "snapshot-unknown"


@pytest.mark.parametrize("file", ["database.dump", *slow_params("store.tar", "manifest.json")])
def test_a_damaged_snapshot_changes_nothing(snapshots: Snapshots, file: str) -> None:
    snapshots.save()
    change_everything(snapshots)
    before = snapshots.state()
    path = snapshots.directory.path("one") / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert refused(Failed, snapshots.restore) == "snapshot-damaged"
    assert snapshots.state() == before
    assert snapshots.directory.restoring() == ""
    snapshots.directory.delete("one")
    assert not snapshots.directory.path("one").exists()


@pytest.mark.parametrize("field", ["postgres", *slow_params("format")])
def test_a_snapshot_of_something_newer_is_refused(snapshots: Snapshots, field: str) -> None:
    snapshots.save()
    path = snapshots.directory.path("one") / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: 99}))
    assert refused(Refused, snapshots.restore) == "snapshot-incompatible"
    assert snapshots.databases() == set()


def test_what_fails_before_the_change_leaves_the_old_state(snapshots: Snapshots) -> None:
    snapshots.save()
    change_everything(snapshots)
    before = snapshots.state()
    broken = snapshots.host("sh", "-c", "echo broken pipe dream >&2; exit 3")
    with pytest.raises(Failed) as caught:
        broken.restore("one", snapshots.notes.append)
    problem = caught.value.problem
    assert (problem.code, problem.detail) == ("snapshot-failed", ("broken pipe dream",))
    assert snapshots.state() == before
    assert (snapshots.databases(), snapshots.directory.restoring()) == (set(), "")
    absent = snapshots.host("/nowhere/program")
    assert refused(Failed, lambda: absent.save("two", print, replace=False)) == "snapshot-failed"
    assert [it.name for it in snapshots.directory.list()] == ["one"]


@pytest.mark.parametrize(
    ("place", "method"),
    [
        (SnapshotDatabase, "replace"),
        *slow_params(
            (SnapshotObjects, "put_back"),
            (SnapshotObjects, "remove_others"),
            (SnapshotDirectory, "end_restore"),
        ),
    ],
)
def test_a_restore_that_is_killed_is_gone_on_with(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch, place: type, method: str
) -> None:
    before = snapshots.state()
    snapshots.save()
    change_everything(snapshots)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(place, method, killed)
        with pytest.raises(KeyboardInterrupt):
            snapshots.restore()
    assert snapshots.directory.restoring() == "one"
    assert refused(Refused, lambda: snapshots.save("two")) == "restore-unfinished"
    assert refused(Refused, lambda: snapshots.directory.delete("one")) == "restore-unfinished"
    snapshots.restore()
    assert snapshots.state() == before
    assert (snapshots.databases(), snapshots.directory.restoring()) == (set(), "")


def test_a_save_that_is_killed_leaves_no_snapshot(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = snapshots.directory.path(".saving")
    left.mkdir(parents=True, mode=0o700)  # Of a run that had no time to clean up.
    (left / "database.dump").write_bytes(b"half")
    read = Bucket.read

    def short(bucket: Bucket, key: str, take: Callable[[bytes], object]) -> int | None:
        return (read(bucket, key, take) or 0) - 1

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "read", short)
        assert refused(Failed, snapshots.save) == "snapshot-moving"
    assert snapshots.directory.list() == ()
    assert not left.exists()
    snapshots.save()
    assert len(snapshots.directory.list()) == 1


def test_a_snapshot_outlives_a_replacement_that_is_killed(snapshots: Snapshots) -> None:
    snapshots.save()
    place = snapshots.directory.path("one")
    place.rename(place.with_name(".one.old"))  # As between the two renames of a save.
    snapshots.directory.require("one")
    assert snapshots.directory.read("one").stored.name == "one"
    assert [it.name for it in snapshots.directory.list()] == ["one"]
    place.rename(place.with_name(".one.old"))
    assert snapshots.directory.delete("one").name == "one"
    assert refused(Refused, lambda: snapshots.directory.require("one")) == "snapshot-unknown"


def test_nothing_is_listed_where_nothing_was_saved(tmp_path: Path, env: ContentEnvironment) -> None:
    directory = SnapshotDirectory(env.lock().environment)
    assert directory.list() == ()
    assert refused(Refused, lambda: directory.read("one")) == "snapshot-unknown"
