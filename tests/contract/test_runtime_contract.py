"""What every runtime must do alike, whatever it makes of a service."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from algaenv.model.address import Address, Tier
from algaenv.model.intent import ExternalDatabase
from algaenv.model.probe import PostgresProbe
from algaenv.model.problem import Conflict
from algaenv.model.resource import Absent, Present
from algaenv.model.secret import Secret

from .conftest import Desk, quiet, until

SERVICES = ("store", "redis", "database", "runner")


def test_lowering_is_the_same_every_time_and_holds_together(desk: Desk) -> None:
    again = desk.case.runtime.lower(desk.lock, quiet)
    assert [r.fingerprint for r in again.resources] == [
        r.fingerprint for r in desk.lowered.resources
    ]
    addresses = set(desk.by_address)
    assert len(addresses) == len(desk.lowered.resources)
    assert all(need in addresses for r in desk.lowered.resources for need in r.needs)
    assert all(r.tier is Tier.SUBSTRATE for r in desk.lowered.resources)
    assert {name: host.name for name, host in desk.lowered.hosts.items()} == {
        name: name for name in SERVICES
    }
    runner = desk.resource("runner")
    assert {desk.address("store"), desk.address("redis")} <= set(runner.needs)


def test_no_input_shows_a_secret(desk: Desk) -> None:
    credentials = desk.lock.credentials
    hidden = [
        credentials.access_key,
        credentials.secret_key,
        credentials.database_password,
        credentials.auth_key,
        credentials.service_token,
        credentials.fingerprint_key,
        credentials.redis_password or Secret("-" * 9),
    ]
    text = repr([(r.inputs, r.body, r.probe) for r in desk.lowered.resources])
    assert not [secret for secret in hidden if secret.reveal() in text]


def test_an_external_database_is_not_made(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(database=ExternalDatabase(Secret("postgresql://somewhere/db")))
    assert not [a for a in desk.by_address if a.name == "database"]
    assert "database" not in desk.lowered.hosts


def test_a_life(desk: Desk) -> None:
    before = desk.snapshot(*desk.lowered.resources)
    assert set(before) >= set(desk.by_address)
    assert not [str(a) for a, o in before.items() if a.kind != "image" and o != Absent()]

    desk.create()
    for service in SERVICES:
        desk.await_answer(service)
        assert desk.diagnostics(service) is None
    for address, resource in desk.by_address.items():
        seen = desk.seen(address)
        assert seen.recorded == resource.fingerprint, address
        assert seen.drift == (), address
        assert seen.running is (True if address.kind == desk.case.running else None), address

    _heals_what_was_stopped(desk, "redis")
    _heals_what_was_stopped(desk, "store")

    for service in reversed(SERVICES):
        address = desk.address(service)
        desk.drivers[desk.case.running].delete(address, desk.seen(address), quiet)
    after = desk.snapshot(*desk.lowered.resources)
    assert not [a for a, o in after.items() if a.kind == desk.case.running and o != Absent()]
    kept = [a.name for a, o in after.items() if a.kind == desk.case.kept]
    assert set(kept) >= {"store", "database"}
    assert all(
        isinstance(o, Present) and o.retained for a, o in after.items() if a.kind == desk.case.kept
    )


def _heals_what_was_stopped(desk: Desk, service: str) -> None:
    address = desk.address(service)
    desk.case.stop(desk.seen(address))
    until(f"{service} is seen stopped", lambda: desk.seen(address).running is False)
    assert desk.seen(address).recorded == desk.resource(service).fingerprint
    assert desk.seen(address).drift == ()
    said = desk.diagnostics(service)
    assert said is not None
    assert said[0]
    desk.drivers[desk.case.running].update(desk.resource(service), desk.seen(address), quiet)
    assert desk.seen(address).running is True
    desk.await_answer(service)


def test_data_outlives_what_serves_it(desk: Desk) -> None:
    import psycopg

    desk.create("database")
    desk.await_answer("database")
    probe = desk.resource("database").probe
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
    address = desk.address("database")
    desk.drivers[desk.case.running].delete(address, desk.seen(address), quiet)
    desk.create("database")
    desk.await_answer("database")
    assert run("SELECT number FROM kept") == [(7,)]


def test_a_password_of_awkward_characters(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(redis_password=Secret("a\"b\\c d'e$f#g{h}%é"))
    desk.create("redis")
    desk.await_answer("redis")


def test_every_step_may_be_repeated(desk: Desk) -> None:
    desk.create("redis")
    desk.create("redis")
    desk.await_answer("redis")
    address = desk.address("redis")
    seen = desk.seen(address)
    desk.drivers[desk.case.running].delete(address, seen, quiet)
    desk.drivers[desk.case.running].delete(address, seen, quiet)
    assert desk.snapshot(desk.resource("redis"))[address] == Absent()


def test_eyes_see_what_is_there_without_a_spec_and_nothing_of_others(
    make_desk: Callable[..., Desk],
) -> None:
    one, other = make_desk(), make_desk()
    one.create("redis")
    assert {one.address("redis"), Address(one.case.kept, "redis")} <= set(one.snapshot())
    assert not other.snapshot()
    assert other.snapshot(*other.lowered.resources)[other.address("redis")] == Absent()


def test_a_changed_spec_is_seen_against_the_record(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk()
    desk.create("redis")
    ports = replace(desk.lock.ports, redis=desk.lock.ports.redis + 1)
    changed = desk.case.runtime.lower(replace(desk.lock, ports=ports), quiet)
    wanted = next(r for r in changed.resources if r.address == desk.address("redis"))
    seen = desk.snapshot(*changed.resources)[desk.address("redis")]
    assert isinstance(seen, Present)
    assert seen.recorded == desk.resource("redis").fingerprint != wanted.fingerprint
    assert seen.drift == ()
    differing = {key for key in wanted.inputs if wanted.inputs[key] != seen.inputs.get(key)}
    assert any("port" in key for key in differing), differing


def test_a_taken_port_is_named_and_nothing_half_made_stays(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", desk.lock.ports.redis)):
        with pytest.raises(Conflict) as caught:
            desk.create("redis")
        problem = caught.value.problem
        assert problem.code == "port-taken"
        assert str(desk.lock.ports.redis) in problem.summary
        assert "python" in problem.summary
        assert desk.snapshot(desk.resource("redis"))[desk.address("redis")] == Absent()
    desk.create("redis")
    desk.await_answer("redis")


def test_a_port_of_another_environment_is_named_by_its_spec(
    make_desk: Callable[..., Desk],
) -> None:
    one = make_desk()
    one.create("redis")
    one.await_answer("redis")
    other = make_desk(ports=replace(one.lock.ports))
    with pytest.raises(Conflict) as caught:
        other.create("redis")
    assert str(one.environment.spec) in str(caught.value)
