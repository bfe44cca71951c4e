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

from algaenv.model.address import Address
from algaenv.model.plan import Cause, Change, Verb
from algaenv.model.problem import Conflict, Failed
from algaenv.model.resource import Present
from algaenv.runtimes.process import procfs
from algaenv.runtimes.process.processes import taken_ports
from tests.runtimes.process.clients import (
    answers,
    kill_shim,
    lists,
    log_in,
    pongs,
    redis_client,
    s3,
    start_again,
)
from tests.runtimes.process.house import House, has_minio, quiet, until

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
    make_house: Callable[..., House], engine: str
) -> None:
    house = make_house(store=engine)
    house.up("store")
    until("the store answers", lambda: lists(house))
    client = s3(house)
    client.create_bucket(Bucket="extensions")
    client.put_object(Bucket="extensions", Key="a/b", Body=b"hello")
    with pytest.raises(Exception, match=r"403|SignatureDoesNotMatch"):
        s3(house, "wrong").list_buckets()
    kill_shim(house, "store")
    start_again(house, "store")
    until("the store answers", lambda: lists(house))
    assert client.get_object(Bucket="extensions", Key="a/b")["Body"].read() == b"hello"
    argv = Path(f"/proc/{house.child('store').pid}/cmdline").read_bytes().decode()
    assert engine in argv
    assert client.meta.endpoint_url.removeprefix("http://") in argv


def test_redis_keeps_what_it_is_told_and_its_password(house: House) -> None:
    house.up("redis")
    until("redis answers", lambda: pongs(house))
    client = redis_client(house)
    client.set("key", "value")
    # While the disk is busy it holds writes back for up to two seconds.
    until("it is written", lambda: client.info("persistence")["aof_buffer_length"] == 0)
    with pytest.raises(redis.AuthenticationError):
        redis_client(house, "wrong").ping()
    assert client.config_get("bind") == {"bind": "127.0.0.1"}
    kill_shim(house, "redis")
    start_again(house, "redis")
    until("redis answers", lambda: pongs(house))
    assert redis_client(house).get("key") == "value"
    files = list(house.layout.etc("redis").iterdir())
    assert [path.stat().st_mode & 0o777 for path in files] == [0o400]


def test_redis_without_persistence_has_no_folder(make_house: Callable[..., House]) -> None:
    house = make_house(persistent=False)
    assert [r.address.kind for r in house.wanted("redis")] == ["process"]
    house.up("redis")
    until("redis answers", lambda: pongs(house))
    redis_client(house).set("key", "value")
    house.delete("redis")
    house.up("redis")
    until("redis answers", lambda: pongs(house))
    assert redis_client(house).get("key") is None


def test_the_database_is_made_once_and_lives_through_everything(house: House) -> None:
    house.up("database")
    until("the database answers", lambda: answers(house))
    with log_in(house) as connection:
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
            log_in(house, **wrong)
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(host="127.0.0.2", port=house.lock.ports.database if house.lock else 0)

    kill_shim(house, "database")
    start_again(house, "database")
    until("the database answers", lambda: answers(house))
    with log_in(house) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (1000,)

    os.kill(house.child("database").pid, signal.SIGKILL)
    until("it ended", lambda: house.diagnostics("database") is not None)
    until("nothing is left", lambda: not house.alive())
    start_again(house, "database")
    until("the database answers", lambda: answers(house))

    house.delete("database")
    assert "database system is shut down" in house.log("database"), "an orderly end"
    house.up("database")
    until("the database answers", lambda: answers(house))
    with log_in(house) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (1000,)


def test_a_database_that_is_killed_is_up_again_by_itself(house: House) -> None:
    house.steady = 0.0
    house.up("database")
    until("the database answers", lambda: answers(house))
    with log_in(house) as connection:
        connection.execute("create table kept as select 1 as n")
    os.kill(house.child("database").pid, signal.SIGKILL)
    until("it was started again", lambda: house.record("database")["restarts"] == 1)
    until("the database answers", lambda: answers(house))
    with log_in(house) as connection:
        assert connection.execute("select n from kept").fetchone() == (1,)


def test_a_stale_lock_that_names_a_living_stranger_is_cleared(house: House) -> None:
    house.up("database")
    until("the database answers", lambda: answers(house))
    kill_shim(house, "database")
    lock = house.layout.data / "database-postgres" / "content" / "postmaster.pid"
    lines = lock.read_text().splitlines()
    # As after a reboot: the pid was given away again, to one that postgres may signal.
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    start_again(house, "database")
    until("the database answers", lambda: answers(house))


def test_the_runner_answers_and_sees_nothing_of_the_caller(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXT_CACHE_ROOT", "/nowhere")
    monkeypatch.setenv("SOME_TOKEN", "of the caller")
    assert house.lock
    house.up()
    url = f"http://127.0.0.1:{house.lock.ports.runner}/healthz"

    def healthy() -> bool:
        diagnostics = house.diagnostics("runner")
        assert diagnostics is None, diagnostics
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                assert json.loads(answer.read())
                return bool(answer.status == 200)
        except OSError:
            return False

    until("the runner answers", healthy)
    environ = Path(f"/proc/{house.child('runner').pid}/environ").read_bytes().decode().split("\0")
    assert f"EXT_CACHE_ROOT={house.layout.data}/runner-bundled/content" in environ
    assert "HOST=127.0.0.1" in environ
    assert not [line for line in environ if line.startswith("SOME_TOKEN")]
    wanted = house.wanted()
    seen = house.eyes.observe(wanted)
    for resource in wanted:
        found = seen[resource.address]
        assert isinstance(found, Present)
        assert found.recorded == resource.fingerprint, resource.address
        assert found.drift == ()
        assert found.running is (True if resource.address.kind == "process" else None)
        assert found.inputs == resource.inputs


def test_everything_listens_on_loopback_only(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.up("store", "redis", "database")
    until("the database answers", lambda: answers(house))
    until("the store answers", lambda: lists(house))
    until("redis answers", lambda: pongs(house))
    children = {house.child(service).pid for service in ("store", "redis", "database")}
    found = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("needs ss")
    lines = found.stdout.splitlines()
    ours = [line for line in lines if any(f"pid={pid}," in line for pid in children)]
    assert len(ours) >= 3
    assert all(line.split()[3].startswith("127.0.0.1:") for line in ours), ours


@pytest.mark.parametrize("service", ["store", "redis", "database"])
def test_a_taken_port_names_its_holder_and_nothing_is_touched(house: House, service: str) -> None:
    assert house.lock
    port = getattr(house.lock.ports, service)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(Conflict) as caught:
        house.up(service)
    problem = caught.value.problem
    assert problem.code == "port-taken"
    assert problem.summary.startswith(f"cannot start process/{service}: port {port}")
    assert f"process {os.getpid()} (" in problem.summary
    assert problem.hint
    assert not house.alive()
    assert not house.layout.record(service).exists()
    assert not house.layout.etc(service).exists()


def test_a_port_held_by_another_environment_names_its_spec(
    make_house: Callable[..., House],
) -> None:
    first = make_house()
    first.up("redis")
    until("redis answers", lambda: pongs(first))
    second = make_house(ports=first.lock.ports if first.lock else None)
    with pytest.raises(Conflict) as caught:
        second.up("redis")
    problem = caught.value.problem
    assert f"process/redis of the environment of {first.environment.spec}" in problem.summary
    assert str(first.environment.spec) in problem.hint
    assert f"run `kill {first.shim().pid}`" in problem.hint, "its spec is gone"
    first.environment.spec.touch()
    (blocked,) = taken_ports(second.environment, changes(second))
    assert blocked.address == Address("process", "redis")
    assert blocked.problem.code == "port-taken"
    assert f"run `algaenv down -f {first.environment.spec}`" in blocked.problem.hint
    assert "`ports: auto`" in blocked.problem.hint
    assert second.runtime.obstacles(second.environment, changes(second)) == (blocked,)
    assert pongs(first)
    # What holds its ports now is what will be made anew.
    assert taken_ports(first.environment, changes(first)) == ()


def changes(house: House) -> tuple[Change, ...]:
    """Redis is to be made."""
    return tuple(
        Change(Verb.CREATE, wanted.address, Cause("missing"), wanted, None)
        for wanted in house.wanted("redis")
    )


def test_a_changed_setting_is_an_update_that_restarts(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.up("redis")
    old = house.child()
    assert house.lock
    from dataclasses import replace

    from algaenv.model.secret import Secret

    credentials = replace(house.lock.credentials, redis_password=Secret("another"))
    house.lock = replace(house.lock, credentials=credentials)
    (wanted,) = [r for r in house.wanted("redis") if r.address.kind == "process"]
    seen = house.seen()
    changed = {key for key in wanted.inputs if wanted.inputs[key] != seen.inputs.get(key)}
    assert changed == {"files.valkey.conf"}
    house.processes.update(wanted, seen, quiet)
    until("redis answers", lambda: pongs(house))
    assert house.child() != old
    assert not procfs.alive(old)
    assert house.seen().recorded == wanted.fingerprint


def test_a_program_replaced_while_it_runs_is_drift(house: House, tmp_path: Path) -> None:
    import shutil

    program = tmp_path / "sleep"
    shutil.copy2(shutil.which("sleep") or "", program)
    house.start(str(program), "60", service="store")
    assert house.seen("store").drift == ()
    program.unlink()
    (drift,) = house.seen("store").drift
    assert str(program) in drift


def test_a_folder_removed_under_a_running_service_is_drift(house: House) -> None:
    import shutil

    house.up("redis")
    shutil.rmtree(house.layout.data / "redis-valkey")
    (drift,) = house.seen().drift
    assert "redis-valkey" in drift


def test_a_configuration_that_cannot_be_is_evident_at_once(
    make_house: Callable[..., House],
) -> None:
    from dataclasses import replace

    house = make_house()
    assert house.lock
    spoilt = replace(house.lock.intent.redis.profile, files={"valkey.conf": "port nonsense\n"})
    intent = replace(house.lock.intent, redis=replace(house.lock.intent.redis, profile=spoilt))
    house.lock = replace(house.lock, intent=intent)
    house.up("redis")
    until("it has ended", lambda: house.diagnostics() is not None, seconds=3)
    lines = house.diagnostics() or ()
    assert lines[0].startswith("exited with code 1")
    assert any("nonsense" in line for line in lines)


def test_another_users_postgres_options_are_not_ours(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGPORT", "1")
    house.up("database")
    until("the database answers", lambda: answers(house))


def test_services_can_be_started_and_stopped_at_the_same_time(house: House) -> None:
    from concurrent.futures import ThreadPoolExecutor

    wanted = [r for r in house.wanted() if r.address.name != "runner"]
    folders = [r for r in wanted if r.address.kind == "folder"]
    processes = [r for r in wanted if r.address.kind == "process"]
    with ThreadPoolExecutor() as pool:
        list(pool.map(house.create, folders))
        list(pool.map(house.create, processes))
        until("all answer", lambda: answers(house) and pongs(house) and lists(house))
        list(pool.map(house.delete, [r.address.name for r in processes]))
    assert not house.alive()


def test_a_failed_start_is_told_by_its_program(house: House) -> None:
    with pytest.raises(Failed, match="Permission denied"):
        house.start(str(house.environment.home), service="store")
    assert sys.executable
