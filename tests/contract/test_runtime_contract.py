"""What every runtime must do alike, whatever it makes of a service."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from algaenv.model.intent import ExternalDatabase
from algaenv.model.kind import Address, Tier
from algaenv.model.probe import PostgresProbe
from algaenv.model.problem import Conflict
from algaenv.model.resource import Absent, Present
from algaenv.model.secret import Secret

from .conftest import Harness, quiet, until

SERVICES = ("store", "redis", "database", "runner")
DOCKER_SLOW = pytest.mark.parametrize(
    "case",
    [pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow]), "process"],
    indirect=True,
)


def test_lowering_is_the_same_every_time_and_holds_together(harness: Harness) -> None:
    again = harness.case.runtime.lower(harness.lock, quiet)
    assert [r.fingerprint for r in again.resources] == [
        r.fingerprint for r in harness.lowered.resources
    ]
    addresses = set(harness.by_address)
    assert len(addresses) == len(harness.lowered.resources)
    assert all(need in addresses for r in harness.lowered.resources for need in r.needs)
    assert all(r.tier is Tier.SUBSTRATE for r in harness.lowered.resources)
    assert {name: host.name for name, host in harness.lowered.hosts.items()} == {
        name: name for name in SERVICES
    }
    runner = harness.resource("runner")
    assert {harness.address("store"), harness.address("redis")} <= set(runner.needs)


def test_no_input_shows_a_secret(harness: Harness) -> None:
    credentials = harness.lock.credentials
    hidden = [
        credentials.access_key,
        credentials.secret_key,
        credentials.database_password,
        credentials.auth_key,
        credentials.service_token,
        credentials.fingerprint_key,
        credentials.redis_password or Secret("-" * 9),
    ]
    text = repr([(r.inputs, r.body, r.probe) for r in harness.lowered.resources])
    assert not [secret for secret in hidden if secret.reveal() in text]


def test_an_external_database_is_not_made(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness(database=ExternalDatabase(Secret("postgresql://somewhere/db")))
    assert not [a for a in harness.by_address if a.name == "database"]
    assert "database" not in harness.lowered.hosts


def test_a_life(harness: Harness) -> None:
    before = harness.snapshot(*harness.lowered.resources)
    assert set(before) >= set(harness.by_address)
    assert not [str(a) for a, o in before.items() if a.kind != "image" and o != Absent()]

    harness.create()
    for service in SERVICES:
        harness.await_answer(service)
        assert harness.diagnostics(service) is None
    for address, resource in harness.by_address.items():
        seen = harness.seen(address)
        assert seen.recorded == resource.fingerprint, address
        assert seen.drift == (), address
        assert seen.running is (True if address.kind == harness.case.running else None), address

    _heals_what_was_stopped(harness, "redis")
    _heals_what_was_stopped(harness, "store")

    for service in reversed(SERVICES):
        address = harness.address(service)
        harness.drivers[harness.case.running].delete(address, harness.seen(address), quiet)
    after = harness.snapshot(*harness.lowered.resources)
    assert not [a for a, o in after.items() if a.kind == harness.case.running and o != Absent()]
    kept = [a.name for a, o in after.items() if a.kind == harness.case.kept]
    assert set(kept) >= {"store", "database"}
    assert all(
        isinstance(o, Present) and o.retained
        for a, o in after.items()
        if a.kind == harness.case.kept
    )


def _heals_what_was_stopped(harness: Harness, service: str) -> None:
    address = harness.address(service)
    harness.case.stop(harness.seen(address))
    until(f"{service} is seen stopped", lambda: harness.seen(address).running is False)
    assert harness.seen(address).recorded == harness.resource(service).fingerprint
    assert harness.seen(address).drift == ()
    lines = harness.diagnostics(service)
    assert lines is not None
    assert lines[0]
    harness.drivers[harness.case.running].update(
        harness.resource(service), harness.seen(address), quiet
    )
    assert harness.seen(address).running is True
    harness.await_answer(service)


@DOCKER_SLOW
def test_data_outlives_what_serves_it(harness: Harness) -> None:
    import psycopg

    harness.create("database")
    harness.await_answer("database")
    probe = harness.resource("database").probe
    assert isinstance(probe, PostgresProbe)

    def run(statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(
            host=probe.host,
            port=probe.port,
            user=probe.user,
            password=probe.password.reveal(),
            dbname=probe.database,
        ) as connection:
            cursor = connection.execute(statement)
            return list(cursor) if cursor.description else []

    run("CREATE TABLE kept AS SELECT 7 AS number")
    address = harness.address("database")
    harness.drivers[harness.case.running].delete(address, harness.seen(address), quiet)
    harness.create("database")
    harness.await_answer("database")
    assert run("SELECT number FROM kept") == [(7,)]


def test_a_password_of_awkward_characters(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness(redis_password=Secret("a\"b\\c d'e$f#g{h}%é"))
    harness.create("redis")
    harness.await_answer("redis")


@DOCKER_SLOW
def test_every_step_may_be_repeated(harness: Harness) -> None:
    harness.create("redis")
    harness.create("redis")
    harness.await_answer("redis")
    address = harness.address("redis")
    seen = harness.seen(address)
    harness.drivers[harness.case.running].delete(address, seen, quiet)
    harness.drivers[harness.case.running].delete(address, seen, quiet)
    assert harness.snapshot(harness.resource("redis"))[address] == Absent()


def test_eyes_see_what_is_there_without_a_spec_and_nothing_of_others(
    make_harness: Callable[..., Harness],
) -> None:
    one, other = make_harness(), make_harness()
    one.create("redis")
    assert {one.address("redis"), Address(one.case.kept, "redis")} <= set(one.snapshot())
    assert not other.snapshot()
    assert other.snapshot(*other.lowered.resources)[other.address("redis")] == Absent()


def test_a_changed_spec_is_seen_against_the_record(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness()
    harness.create("redis")
    ports = replace(harness.lock.ports, redis=harness.lock.ports.redis + 1)
    changed = harness.case.runtime.lower(replace(harness.lock, ports=ports), quiet)
    wanted = next(r for r in changed.resources if r.address == harness.address("redis"))
    seen = harness.snapshot(*changed.resources)[harness.address("redis")]
    assert isinstance(seen, Present)
    assert seen.recorded == harness.resource("redis").fingerprint != wanted.fingerprint
    assert seen.drift == ()
    differing = {key for key in wanted.inputs if wanted.inputs[key] != seen.inputs.get(key)}
    assert any("port" in key for key in differing), differing


def test_a_taken_port_is_named_and_nothing_half_made_stays(harness: Harness) -> None:
    with socket.create_server(("127.0.0.1", harness.lock.ports.redis)):
        with pytest.raises(Conflict) as caught:
            harness.create("redis")
        problem = caught.value.problem
        assert problem.code == "port-taken"
        assert str(harness.lock.ports.redis) in problem.summary
        assert "python" in problem.summary
        assert harness.snapshot(harness.resource("redis"))[harness.address("redis")] == Absent()
    harness.create("redis")
    harness.await_answer("redis")


def test_a_port_of_another_environment_is_named_by_its_spec(
    make_harness: Callable[..., Harness],
) -> None:
    one = make_harness()
    one.create("redis")
    one.await_answer("redis")
    other = make_harness(ports=replace(one.lock.ports))
    with pytest.raises(Conflict) as caught:
        other.create("redis")
    assert str(one.environment.spec) in str(caught.value)
