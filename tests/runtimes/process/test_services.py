"""The real servers, spoken to by their own clients."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from algaenv.model.kind import Address
from algaenv.model.plan import Cause, Change, Verb
from algaenv.model.problem import Conflict, Failed
from algaenv.model.resource import Present
from algaenv.runtimes.process.drivers.processes import port_obstacles
from algaenv.system import processes
from tests.runtimes.process.clients import (
    answers,
    kill_supervisor,
    lists,
    log_in,
    pongs,
    redis_client,
    s3,
    start_again,
)
from tests.runtimes.process.harness import Harness, has_minio, quiet, until

SERVICES = ["store", "redis", "database", "runner"]


@pytest.mark.parametrize(
    "engine",
    [
        "rclone",
        pytest.param(
            "minio",
            marks=[
                pytest.mark.minio,
                pytest.mark.skipif(not has_minio(), reason="needs the program minio"),
            ],
        ),
    ],
)
def test_the_store_keeps_objects_and_its_keys(
    make_harness: Callable[..., Harness], engine: str
) -> None:
    harness = make_harness(store=engine)
    harness.up("store")
    until("the store answers", lambda: lists(harness))
    client = s3(harness)
    client.create_bucket(Bucket="extensions")
    client.put_object(Bucket="extensions", Key="a/b", Body=b"hello")
    with pytest.raises(Exception, match=r"403|SignatureDoesNotMatch"):
        s3(harness, "wrong").list_buckets()
    kill_supervisor(harness, "store")
    start_again(harness, "store")
    until("the store answers", lambda: lists(harness))
    assert client.get_object(Bucket="extensions", Key="a/b")["Body"].read() == b"hello"
    argv = Path(f"/proc/{harness.child('store').pid}/cmdline").read_bytes().decode()
    assert engine in argv
    assert client.meta.endpoint_url.removeprefix("http://") in argv


def test_redis_keeps_its_data_and_its_password(harness: Harness) -> None:
    harness.up("redis")
    until("redis answers", lambda: pongs(harness))
    client = redis_client(harness)
    client.set("key", "value")
    # While the disk is busy it holds writes back for up to two seconds.
    until("it is written", lambda: client.info("persistence")["aof_buffer_length"] == 0)
    with pytest.raises(redis.AuthenticationError):
        redis_client(harness, "wrong").ping()
    assert client.config_get("bind") == {"bind": "127.0.0.1"}
    kill_supervisor(harness, "redis")
    start_again(harness, "redis")
    until("redis answers", lambda: pongs(harness))
    assert redis_client(harness).get("key") == "value"
    files = list(harness.layout.etc("redis").iterdir())
    assert [path.stat().st_mode & 0o777 for path in files] == [0o400]


def test_redis_without_persistence_has_no_folder(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness(persistent=False)
    assert [r.address.kind for r in harness.wanted("redis")] == ["process"]
    harness.up("redis")
    until("redis answers", lambda: pongs(harness))
    redis_client(harness).set("key", "value")
    harness.delete("redis")
    harness.up("redis")
    until("redis answers", lambda: pongs(harness))
    assert redis_client(harness).get("key") is None


def test_the_database_is_made_once_and_lives_through_everything(harness: Harness) -> None:
    harness.up("database")
    until("the database answers", lambda: answers(harness))
    with log_in(harness) as connection:
        connection.execute("create extension vector")
        connection.execute("create table kept (n int)")
        connection.execute("insert into kept select generate_series(1, 1000)")
        (encoding, collation), *_ = connection.execute(
            "select pg_encoding_to_char(encoding), datcollate from pg_database"
            " where datname = 'algadb'"
        ).fetchall()
        assert (encoding, collation) == ("UTF8", "C.UTF-8")
    for wrong in ({"password": "wrong"}, {"user": "postgres"}):
        with pytest.raises(psycopg.OperationalError, match="password"):
            log_in(harness, **wrong)
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(host="127.0.0.2", port=harness.lock.ports.database if harness.lock else 0)

    kill_supervisor(harness, "database")
    start_again(harness, "database")
    until("the database answers", lambda: answers(harness))
    with log_in(harness) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (1000,)

    os.kill(harness.child("database").pid, signal.SIGKILL)
    until("it ended", lambda: harness.diagnostics("database") is not None)
    until("nothing is left", lambda: not harness.alive())
    start_again(harness, "database")
    until("the database answers", lambda: answers(harness))

    harness.delete("database")
    assert "database system is shut down" in harness.log("database"), "an orderly end"
    harness.up("database")
    until("the database answers", lambda: answers(harness))
    with log_in(harness) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (1000,)


def test_a_database_that_is_killed_is_up_again_by_itself(harness: Harness) -> None:
    harness.steady = 0.0
    harness.up("database")
    until("the database answers", lambda: answers(harness))
    with log_in(harness) as connection:
        connection.execute("create table kept as select 1 as n")
    os.kill(harness.child("database").pid, signal.SIGKILL)
    until("it was started again", lambda: harness.record("database")["restarts"] == 1)
    until("the database answers", lambda: answers(harness))
    with log_in(harness) as connection:
        assert connection.execute("select n from kept").fetchone() == (1,)


def test_a_stale_lock_that_names_a_living_unrelated_process_is_cleared(harness: Harness) -> None:
    harness.up("database")
    until("the database answers", lambda: answers(harness))
    kill_supervisor(harness, "database")
    lock = harness.layout.data / "database-postgres" / "content" / "postmaster.pid"
    lines = lock.read_text().splitlines()
    # As after a reboot: the pid was given away again, to one that postgres may signal.
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    start_again(harness, "database")
    until("the database answers", lambda: answers(harness))


def test_the_runner_answers_and_sees_nothing_of_the_caller(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXT_CACHE_ROOT", "/nowhere")
    monkeypatch.setenv("SOME_TOKEN", "of the caller")
    assert harness.lock
    harness.up()
    url = f"http://127.0.0.1:{harness.lock.ports.runner}/healthz"

    def healthy() -> bool:
        diagnostics = harness.diagnostics("runner")
        assert diagnostics is None, diagnostics
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                assert json.loads(answer.read())
                return bool(answer.status == 200)
        except OSError:
            return False

    until("the runner answers", healthy)
    environ = Path(f"/proc/{harness.child('runner').pid}/environ").read_bytes().decode().split("\0")
    assert f"EXT_CACHE_ROOT={harness.layout.data}/runner-bundled/content" in environ
    assert "HOST=127.0.0.1" in environ
    assert not [line for line in environ if line.startswith("SOME_TOKEN")]
    wanted = harness.wanted()
    seen = harness.observer.observe(wanted)
    for resource in wanted:
        found = seen[resource.address]
        assert isinstance(found, Present)
        assert found.recorded == resource.fingerprint, resource.address
        assert found.drift == ()
        assert found.running is (True if resource.address.kind == "process" else None)
        assert found.inputs == resource.inputs


def test_everything_listens_on_loopback_only(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness()
    harness.up("store", "redis", "database")
    until("the database answers", lambda: answers(harness))
    until("the store answers", lambda: lists(harness))
    until("redis answers", lambda: pongs(harness))
    children = {harness.child(service).pid for service in ("store", "redis", "database")}
    found = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("needs ss")
    lines = found.stdout.splitlines()
    ours = [line for line in lines if any(f"pid={pid}," in line for pid in children)]
    assert len(ours) >= 3
    assert all(line.split()[3].startswith("127.0.0.1:") for line in ours), ours


@pytest.mark.parametrize("service", ["store", "redis", "database"])
def test_a_taken_port_names_its_holder_and_nothing_is_touched(
    harness: Harness, service: str
) -> None:
    assert harness.lock
    port = getattr(harness.lock.ports, service)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(Conflict) as caught:
        harness.up(service)
    problem = caught.value.problem
    assert problem.code == "port-taken"
    assert problem.summary.startswith(f"cannot start process/{service}: port {port}")
    assert f"process {os.getpid()} (" in problem.summary
    assert problem.hint
    assert not harness.alive()
    assert not harness.layout.record(service).exists()
    assert not harness.layout.etc(service).exists()


def test_a_port_held_by_another_environment_names_its_spec(
    make_harness: Callable[..., Harness],
) -> None:
    first = make_harness()
    first.up("redis")
    until("redis answers", lambda: pongs(first))
    second = make_harness(ports=first.lock.ports if first.lock else None)
    with pytest.raises(Conflict) as caught:
        second.up("redis")
    problem = caught.value.problem
    assert f"process/redis of the environment of {first.environment.spec}" in problem.summary
    assert str(first.environment.spec) in problem.hint
    assert f"run `kill {first.supervisor().pid}`" in problem.hint, "its spec is gone"
    first.environment.spec.touch()
    (blocked,) = port_obstacles(second.environment, changes(second))
    assert blocked.address == Address("process", "redis")
    assert blocked.problem.code == "port-taken"
    assert f"run `algaenv down -f {first.environment.spec}`" in blocked.problem.hint
    assert "`ports: auto`" in blocked.problem.hint
    assert second.runtime.obstacles(second.environment, changes(second)) == (blocked,)
    assert pongs(first)
    # What holds its ports now is what will be made anew.
    assert port_obstacles(first.environment, changes(first)) == ()


def changes(harness: Harness) -> tuple[Change, ...]:
    """Redis is to be made."""
    return tuple(
        Change(Verb.CREATE, wanted.address, Cause("missing"), wanted, None)
        for wanted in harness.wanted("redis")
    )


def test_a_changed_setting_is_an_update_that_restarts(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness()
    harness.up("redis")
    old = harness.child()
    assert harness.lock
    from dataclasses import replace

    from algaenv.model.secret import Secret

    credentials = replace(harness.lock.credentials, redis_password=Secret("another"))
    harness.lock = replace(harness.lock, credentials=credentials)
    (wanted,) = [r for r in harness.wanted("redis") if r.address.kind == "process"]
    seen = harness.seen()
    changed = {key for key in wanted.inputs if wanted.inputs[key] != seen.inputs.get(key)}
    assert changed == {"files.valkey.conf"}
    harness.processes.update(wanted, seen, quiet)
    until("redis answers", lambda: pongs(harness))
    assert harness.child() != old
    assert not processes.is_alive(old)
    assert harness.seen().recorded == wanted.fingerprint


def test_a_program_replaced_while_it_runs_is_drift(harness: Harness, tmp_path: Path) -> None:
    import shutil

    program = tmp_path / "sleep"
    shutil.copy2(shutil.which("sleep") or "", program)
    harness.start(str(program), "60", service="store")
    assert harness.seen("store").drift == ()
    program.unlink()
    (drift,) = harness.seen("store").drift
    assert str(program) in drift


def test_a_folder_removed_under_a_running_service_is_drift(harness: Harness) -> None:
    import shutil

    harness.up("redis")
    shutil.rmtree(harness.layout.data / "redis-valkey")
    (drift,) = harness.seen().drift
    assert "redis-valkey" in drift


def test_a_configuration_that_cannot_be_is_evident_at_once(
    make_harness: Callable[..., Harness],
) -> None:
    from dataclasses import replace

    harness = make_harness()
    assert harness.lock
    spoilt = replace(harness.lock.intent.redis.profile, files={"valkey.conf": "port nonsense\n"})
    intent = replace(harness.lock.intent, redis=replace(harness.lock.intent.redis, profile=spoilt))
    harness.lock = replace(harness.lock, intent=intent)
    harness.up("redis")
    until("it has ended", lambda: harness.diagnostics() is not None, seconds=3)
    lines = harness.diagnostics() or ()
    assert lines[0].startswith("exited with code 1")
    assert any("nonsense" in line for line in lines)


def test_another_users_postgres_options_are_not_ours(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGPORT", "1")
    harness.up("database")
    until("the database answers", lambda: answers(harness))


def test_services_can_be_started_and_stopped_at_the_same_time(harness: Harness) -> None:
    from concurrent.futures import ThreadPoolExecutor

    wanted = [r for r in harness.wanted() if r.address.name != "runner"]
    folders = [r for r in wanted if r.address.kind == "folder"]
    processes = [r for r in wanted if r.address.kind == "process"]
    with ThreadPoolExecutor() as pool:
        list(pool.map(harness.create, folders))
        list(pool.map(harness.create, processes))
        until("all answer", lambda: answers(harness) and pongs(harness) and lists(harness))
        list(pool.map(harness.delete, [r.address.name for r in processes]))
    assert not harness.alive()


def test_a_failed_start_names_its_program(harness: Harness) -> None:
    with pytest.raises(Failed, match="Permission denied"):
        harness.start(str(harness.environment.home), service="store")
    assert sys.executable
