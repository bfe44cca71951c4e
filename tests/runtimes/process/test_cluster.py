"""The data directory of PostgreSQL: complete or absent, and never a foreign one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from algaenv.model.problem import Conflict, Failed, Problem
from algaenv.model.secret import Secret
from algaenv.runtimes.binaries import cache_home, find
from algaenv.runtimes.process.drivers.cluster import Cluster
from algaenv.runtimes.process.drivers.lifecycle import start_service
from algaenv.runtimes.process.drivers.postgres import (
    TEMPORARY_PREFIX,
    Postgres,
    detect_postgres,
    run_once,
)
from algaenv.runtimes.process.layout import content, private_directory, service_lock
from algaenv.runtimes.process.specs import DatabaseAccess
from tests.params import slow_params
from tests.runtimes.locks import free_ports
from tests.runtimes.process.harness import Harness, quiet, until

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")
ACCESS = DatabaseAccess("alga", Secret("first"), "algadb", "digest-1")


@pytest.fixture(scope="module")
def postgres() -> Postgres:
    binary = find(("postgres",), os.environ)
    if binary is None:
        pytest.skip("needs PostgreSQL")
    return detect_postgres(binary.path)


def make(tmp_path: Path, postgres: Postgres, *, templates: bool = True) -> Cluster:
    folder = private_directory(tmp_path / "database-postgres")
    private_directory(content(folder))
    return Cluster(postgres, folder, cache_home(os.environ) / "postgres" if templates else None)


def serve(
    harness: Harness, cluster: Cluster, access: DatabaseAccess
) -> psycopg.Connection[tuple[object, ...]]:
    """Start it, log in over TCP."""
    (port,) = free_ports(1)
    options = ("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
    argv = (
        str(cluster.postgres.path),
        "-D",
        str(cluster.data_directory),
        "-p",
        str(port),
        *options,
    )
    resource = harness.resource(*argv, service="database", stop_signal="SIGINT", grace=20.0)
    private_directory(harness.layout.etc("database"))
    with service_lock(harness.layout.lock("database"), resource.address) as lock:
        start_service(harness.environment, resource, cluster.postgres.isolation, lock)
    words: dict[str, Any] = {"host": "127.0.0.1", "user": access.user, "dbname": access.database}
    found: list[psycopg.Connection[tuple[object, ...]]] = []
    refusals: list[str] = []

    def logged_in() -> bool:
        assert harness.diagnostics("database") is None
        try:
            secret = access.password.reveal()
            found.append(psycopg.connect(**words, port=port, password=secret, connect_timeout=5))
        except psycopg.OperationalError as error:
            refusals.extend(line for line in [str(error)] if "password" in line)
        return bool(found or refusals)

    until("it answers", logged_in)
    assert refusals == []
    return found[0]


@pytest.mark.parametrize("templates", [True, *slow_params(False)])
def test_a_new_cluster_lets_exactly_one_user_in(
    bare: Harness, tmp_path: Path, postgres: Postgres, templates: bool
) -> None:
    cluster = make(tmp_path, postgres, templates=templates)
    cluster.prepare(ACCESS, quiet)
    with serve(bare, cluster, ACCESS) as connection:
        assert connection.execute("select current_user, current_database()").fetchone() == (
            "alga",
            "algadb",
        )
        secrets = connection.execute("select rolname, rolpassword from pg_authid").fetchall()
    able = {str(name): str(secret) for name, secret in secrets if secret}
    assert able.keys() == {"alga"}
    assert able["alga"].startswith("SCRAM-SHA-256$")
    assert not list(cluster.folder.glob(f"{TEMPORARY_PREFIX}*"))


@pytest.mark.parametrize(
    "password",
    ["qu'o\"te", *slow_params("plain", "back\\slash", "line\nbreak", "$do$ ; drop", "ümläut-日本")],
)
def test_any_password_works_and_none_is_shown(
    bare: Harness, tmp_path: Path, postgres: Postgres, password: str
) -> None:
    messages: list[str] = []
    cluster = make(tmp_path, postgres)
    access = replace(ACCESS, password=Secret(password))
    cluster.prepare(access, messages.append)
    serve(bare, cluster, access).close()
    assert password not in "".join(messages)
    written = [p for p in cluster.folder.glob("*") if p.is_file()]
    assert not [p for p in written if password in p.read_text()]


def test_a_changed_spec_is_written_into_what_is_there(
    bare: Harness, tmp_path: Path, postgres: Postgres
) -> None:
    cluster = make(tmp_path, postgres)
    cluster.prepare(ACCESS, quiet)
    with serve(bare, cluster, ACCESS) as connection:
        connection.execute("create table kept ()")
    bare.delete("database")
    other = DatabaseAccess("other", Secret("second"), "algadb", "digest-2")
    cluster.prepare(other, quiet)
    with serve(bare, cluster, other) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)
    bare.delete("database")
    elsewhere = replace(other, database='el"sewhere', digest="digest-3")
    cluster.prepare(elsewhere, quiet)
    serve(bare, cluster, elsewhere).close()


def test_what_postgres_refuses_is_reported_without_the_password(
    tmp_path: Path, postgres: Postgres
) -> None:
    cluster = make(tmp_path, postgres)
    reserved = replace(ACCESS, user="pg_reserved", password=Secret("s3cr3t-word"))
    with pytest.raises(Failed) as caught:
        cluster.prepare(reserved, quiet)
    assert caught.value.problem.code == "cluster-failed"
    assert any("pg_reserved" in line for line in caught.value.problem.detail)
    assert "s3cr3t-word" not in str(caught.value)
    assert not (cluster.data_directory / "PG_VERSION").exists()
    cluster.prepare(ACCESS, quiet)


def test_what_did_not_change_is_not_written_again(tmp_path: Path, postgres: Postgres) -> None:
    cluster = make(tmp_path, postgres)
    cluster.prepare(ACCESS, quiet)
    messages: list[str] = []
    cluster.prepare(ACCESS, messages.append)
    assert messages == []


def test_a_run_killed_while_making_it_leaves_nothing_that_counts(
    bare: Harness, tmp_path: Path, postgres: Postgres
) -> None:
    cluster = make(tmp_path, postgres, templates=False)
    code = (
        "from pathlib import Path; import sys\n"
        "from algaenv.runtimes.process.drivers.cluster import Cluster\n"
        "from algaenv.runtimes.process.drivers.postgres import Postgres\n"
        "from algaenv.runtimes.process.specs import DatabaseAccess\n"
        "from algaenv.model.secret import Secret\n"
        "path, version, isolation, folder = sys.argv[1:]\n"
        "Cluster(Postgres(Path(path), version, isolation), Path(folder), None)"
        ".prepare(DatabaseAccess('alga', Secret('first'), 'algadb', 'd'), print)\n"
    )
    words = [str(postgres.path), postgres.version, postgres.isolation, str(cluster.folder)]
    run = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    until("initdb is at it", lambda: list(cluster.folder.glob(f"{TEMPORARY_PREFIX}*/base")))
    (fresh,) = cluster.folder.glob(f"{TEMPORARY_PREFIX}*")
    run.kill()
    run.wait()
    assert not (cluster.data_directory / "PG_VERSION").exists()
    until("initdb died with it", lambda: not working_on(fresh))
    cluster.prepare(ACCESS, quiet)
    serve(bare, cluster, ACCESS).close()
    assert not fresh.exists()


def working_on(directory: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(directory).encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_data_of_another_version_is_a_conflict(tmp_path: Path, postgres: Postgres) -> None:
    cluster = make(tmp_path, postgres)
    cluster.prepare(ACCESS, quiet)
    (cluster.data_directory / "PG_VERSION").write_text("9\n")
    with pytest.raises(Conflict) as caught:
        cluster.prepare(ACCESS, quiet)
    problem = caught.value.problem
    assert problem.code == "data-version"
    assert postgres.version in problem.summary
    assert "PostgreSQL 9 made" in problem.summary
    assert "install PostgreSQL 9" in problem.hint


def test_data_of_others_is_a_conflict(tmp_path: Path, postgres: Postgres) -> None:
    cluster = make(tmp_path, postgres)
    (cluster.data_directory / "thesis.txt").write_text("the only copy")
    with pytest.raises(Conflict) as caught:
        cluster.prepare(ACCESS, quiet)
    assert caught.value.problem.code == "data-unknown"
    assert (cluster.data_directory / "thesis.txt").exists()


def test_data_that_a_server_works_on_is_a_conflict(
    bare: Harness, tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make(tmp_path, postgres)
    cluster.prepare(ACCESS, quiet)
    serve(bare, cluster, ACCESS).close()
    monkeypatch.setattr("algaenv.runtimes.process.drivers.cluster._EXIT_SECONDS", 0.1)
    with pytest.raises(Conflict) as caught:
        cluster.prepare(ACCESS, quiet)
    assert caught.value.problem.code == "data-in-use"
    assert "(postgres)" in caught.value.problem.summary
    assert (cluster.data_directory / "postmaster.pid").exists()


def test_a_tool_that_fails_shows_its_last_lines(tmp_path: Path, postgres: Postgres) -> None:
    initdb = tmp_path / "initdb"
    initdb.write_text("#!/bin/sh\necho no space left >&2\nexit 3\n")
    initdb.chmod(0o755)
    broken = replace(postgres, path=tmp_path / "postgres")
    with pytest.raises(Failed) as caught:
        make(tmp_path, broken, templates=False).prepare(ACCESS, quiet)
    problem = caught.value.problem
    assert problem.code == "cluster-failed"
    assert problem.detail == ("no space left",)
    assert "exit code 3" in problem.summary
    assert not list((tmp_path / "database-postgres").glob(f"{TEMPORARY_PREFIX}*"))


@pytest.mark.parametrize(
    "place", ["{full}", *slow_params("/proc/nowhere/postgres", "{file}/postgres")]
)
def test_without_a_cache_that_can_be_written_it_is_made_all_the_same(
    bare: Harness, tmp_path: Path, postgres: Postgres, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    templates = Path(place.format(file=tmp_path / "file", full=tmp_path / "full"))
    honest = Postgres._initialise

    def initialise(self: Postgres, fresh: Path, *options: str) -> None:
        if fresh.is_relative_to(tmp_path / "full"):
            raise Failed(Problem("disk-full", "cannot set up PostgreSQL: the disk is full"))
        honest(self, fresh, *options)

    monkeypatch.setattr(Postgres, "_initialise", initialise)
    messages: list[str] = []
    cluster = replace(make(tmp_path, postgres), templates=templates)
    cluster.prepare(ACCESS, messages.append)
    assert any(it.startswith(f"going on without a template in {templates}: ") for it in messages)
    with serve(bare, cluster, ACCESS) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("words", ["No space left on device", "Disk quota exceeded"])
def test_a_full_disk_is_called_one(tmp_path: Path, postgres: Postgres, words: str) -> None:
    initdb = tmp_path / "initdb"
    initdb.write_text(f"#!/bin/sh\necho 'initdb: error: could not write: {words}' >&2\nexit 1\n")
    initdb.chmod(0o755)
    broken = replace(postgres, path=tmp_path / "postgres")
    with pytest.raises(Failed) as caught:
        make(tmp_path, broken, templates=False).prepare(ACCESS, quiet)
    problem = caught.value.problem
    assert problem.code == "disk-full"
    assert words in problem.detail[-1]
    assert "make room" in problem.hint


@ROOT
def test_root_runs_it_as_somebody_else_without_an_account(
    bare: Harness, tmp_path: Path, postgres: Postgres
) -> None:
    if postgres.isolation != "namespace":
        pytest.skip("needs user namespaces")
    cluster = make(tmp_path, postgres)
    cluster.prepare(ACCESS, quiet)
    with serve(bare, cluster, ACCESS) as connection:
        (row,) = connection.execute("select pg_read_file('/proc/self/uid_map')").fetchall()
    assert str(row[0]).split() == ["1000", "0", "1"]
    assert {p.stat().st_uid for p in cluster.data_directory.rglob("*")} == {0}


@ROOT
def test_without_namespaces_root_runs_it_as_nobody(bare: Harness, postgres: Postgres) -> None:
    # Only root may pass its home, as /root is: the server reaches its data all the same.
    postgres = replace(postgres, isolation="nobody")
    assert bare.environment.home.stat().st_mode & 0o77 == 0
    cluster = make(bare.environment.home, postgres)
    cluster.prepare(ACCESS, quiet)
    with serve(bare, cluster, ACCESS) as connection:
        (row,) = connection.execute("select pg_read_file('/proc/self/status')").fetchall()
    users = next(line for line in str(row[0]).splitlines() if line.startswith("Uid:"))
    assert set(users.split()[1:]) == {"65534"}
    assert {p.stat().st_uid for p in cluster.data_directory.rglob("*")} == {65534}
    supervisor = bare.supervisor("database")
    os.kill(supervisor.pid, signal.SIGKILL)
    until("it died with its supervisor", lambda: not bare.alive())
    until("and so did the server", lambda: not working_on(cluster.data_directory))


@ROOT
def test_data_changes_hands_when_the_way_changes(
    bare: Harness, tmp_path: Path, postgres: Postgres
) -> None:
    if postgres.isolation != "namespace":
        pytest.skip("needs user namespaces")
    make(tmp_path, replace(postgres, isolation="nobody")).prepare(ACCESS, quiet)
    cluster = make(tmp_path, postgres)
    cluster.prepare(ACCESS, quiet)
    serve(bare, cluster, ACCESS).close()
    assert {p.stat().st_uid for p in cluster.data_directory.rglob("*")} == {0}


@ROOT
def test_where_nothing_is_allowed_there_is_one_clear_problem(tmp_path: Path) -> None:
    program = tmp_path / "postgres"
    program.write_text("#!/bin/sh\necho cannot execute as root >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(Failed) as caught:
        detect_postgres(program)
    problem = caught.value.problem
    assert problem.code == "root-postgres"
    assert [line.partition(":")[0] for line in problem.detail] == ["namespace", "nobody"]


def test_a_tool_dies_with_the_one_who_asked_for_it(tmp_path: Path) -> None:
    code = (
        "import sys; from algaenv.runtimes.process.drivers.postgres import run_once;"
        "run_once([sys.executable, '-c', sys.argv[1], sys.argv[2]], 'plain')"
    )
    mark = tmp_path / "begun"
    tool = "import pathlib, signal, sys; pathlib.Path(sys.argv[1]).touch(); signal.pause()"
    run = subprocess.Popen(
        [sys.executable, "-c", code, tool, str(mark)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    until("the tool runs", mark.exists)
    assert len(working_on(mark)) == 2
    run.kill()
    run.wait()
    until("the tool is gone", lambda: not working_on(mark))


def test_a_mode_that_is_not_allowed_is_reported(tmp_path: Path) -> None:
    ended = run_once([str(tmp_path / "nothing")], "plain")
    assert ended.returncode == 96
    assert "nothing" in ended.stderr
