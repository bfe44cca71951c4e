"""Containers as they are made, meddled with, and removed, on the real engine."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from algaenv.model.kind import Address
from algaenv.model.plan import Cause, Change, Verb
from algaenv.model.problem import Conflict, DriverError, Failed
from algaenv.model.resource import Absent, Present, Resource
from algaenv.model.secret import Secret
from algaenv.runtimes.docker import labels
from algaenv.runtimes.docker.create_request import container_request
from algaenv.runtimes.docker.drivers.networks import port_obstacles
from algaenv.runtimes.docker.specs import (
    ContainerSpec,
    ImageUser,
    OwnedDirectory,
    Port,
    RecipeImage,
)
from tests.contract.conftest import until
from tests.runtimes.docker.conftest import QUIET, SLEEP, Bench
from tests.runtimes.locks import free_ports

pytestmark = pytest.mark.docker


def _inspect(bench: Bench, resource: Resource) -> dict[str, Any]:
    found: dict[str, Any] = bench.engine.api.inspect_container(bench.name(resource))
    return found


def test_it_is_hardened_and_marked(bench: Bench) -> None:
    resource = bench.shell(SLEEP, environment={"PASSWORD": Secret("hidden-word")})
    bench.containers.create(resource, QUIET)
    found = _inspect(bench, resource)
    host, config = found["HostConfig"], found["Config"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"] == {
        "Type": "json-file",
        "Config": {"max-size": "10m", "max-file": "3"},
    }
    assert {b["HostIp"] for bound in host["PortBindings"].values() for b in bound} == {"127.0.0.1"}
    assert config["User"] == resource.inputs["user"]
    assert host["ReadonlyRootfs"] is True
    # An engine without the control group leaves a limit out.
    assert host["Memory"] in {0, resource.inputs["limits.memory"]}
    assert host["PidsLimit"] in {None, 0, resource.inputs["limits.pids"]}
    assert config["Hostname"] == "redis"
    assert found["NetworkSettings"]["Networks"][f"algaenv-{bench.environment.id}"]["Aliases"]
    marks = config["Labels"]
    assert marks[labels.ENVIRONMENT] == bench.environment.id
    assert marks[labels.SPEC] == str(bench.environment.spec)
    assert marks[labels.ADDRESS] == "container/redis"
    assert json.loads(marks[labels.INPUTS])["image"] == resource.inputs["image"]
    # The one place a secret may stand is the environment itself.
    assert "hidden-word" not in json.dumps({**found, "Config": {**config, "Env": []}})


def test_files_belong_to_the_service_alone(bench: Bench) -> None:
    resource = bench.shell(
        f'cat() {{ read -r line < $1; echo "$line"; }}; cat /etc/algaenv/x.conf; {SLEEP}',
        files={"x.conf": Secret("secret line\n")},
    )
    bench.containers.create(resource, QUIET)
    api, name = bench.engine.api, bench.name(resource)
    until("the file is read", lambda: b"secret line" in api.logs(name), 10)
    _, seen = api.get_archive(name, "/etc/algaenv/x.conf")
    assert seen["mode"] & 0o777 == 0o400


def test_a_file_in_an_image_of_somebody_else_lies_in_a_directory_of_its_owner(
    bench: Bench,
) -> None:
    resource = bench.shell(
        f"read -r line < /etc/algaenv/x.conf; echo $line; {SLEEP}",
        files={"x.conf": Secret("secret line\n")},
        user=None,
        file_owner=ImageUser(1000, 1000),
        read_only=False,
    )
    bench.containers.create(resource, QUIET)
    api, name = bench.engine.api, bench.name(resource)
    until("the file is read", lambda: b"secret line" in api.logs(name), 10)
    for place, mode in {"/etc/algaenv/x.conf": 0o400, "/etc/algaenv": 0o700}.items():
        assert api.get_archive(name, place)[1]["mode"] & 0o777 == mode


def test_a_mount_the_image_knows_nothing_of_gets_its_owner(bench: Bench) -> None:
    volume = bench.wanted("volume/redis")
    bench.volumes.create(volume, QUIET)
    wanted = bench.wanted("container/redis")
    assert isinstance(wanted.body, ContainerSpec)
    mount = replace(wanted.body.mounts[0], target="/else/where")
    resource = bench.shell(
        f"mkdir /else/where/made && echo could; {SLEEP}",
        mounts=(mount,),
        user=None,
        read_only=False,
        owned=(OwnedDirectory("/else/where", ImageUser(1000, 1000), 0o750),),
    )
    bench.containers.create(resource, QUIET)
    until("it writes", lambda: b"could" in bench.engine.api.logs(bench.name(resource)), 10)


def test_one_that_ends_at_once_fails_with_its_last_words(bench: Bench) -> None:
    resource = bench.shell(
        "echo first >&2; echo the password is $DB_PASSWORD >&2; exit 3",
        environment={"DB_PASSWORD": Secret("correct-horse")},
    )
    errors: list[Failed] = []
    seen: list[tuple[str, ...]] = []
    try:
        bench.containers.create(resource, QUIET)
    except Failed as error:
        errors.append(error)
    for each in errors:
        assert each.problem.code == "container-exited"
        assert "exit code 3" in each.problem.summary
        assert bench.name(resource) in each.problem.hint
        seen.append(each.problem.detail)

    def has_ended() -> bool:
        # The engine starts it again and again: for moments it runs.
        if not seen and (found := bench.diagnostics(resource)) is not None:
            seen.append(found)
        return bool(seen)

    until("it is known to have ended", has_ended, 30)
    (lines,) = seen
    assert "the password is ***" in lines
    assert bench.seen(resource).recorded == resource.fingerprint  # It stays, as evidence …
    healthy = bench.shell(SLEEP)
    bench.containers.create(healthy, QUIET)  # … until the next one takes its place.
    assert bench.seen(healthy).running is True


def test_words_of_its_files_are_hidden_in_what_it_said(bench: Bench) -> None:
    lines = "read -r it < /etc/algaenv/whole; echo whole $it >&2; echo quoted in-quotes-1 >&2"
    resource = bench.shell(
        f"{lines}; echo token json-token-1 url pass-of-url >&2; {SLEEP}",
        files={
            "whole": Secret("whole-file-1\n"),
            "x.conf": Secret('dir "/data"\nrequirepass "in-quotes-1"\n'),
        },
        environment={
            "TOKEN": Secret("json-token-1"),
            "URL": Secret("postgresql://me:pass-of-url@x/y"),
        },
        secrets_by="RUNNER_SECRETS_FILE",
    )
    bench.containers.create(resource, QUIET)
    logs, name = bench.engine.api.logs, bench.name(resource)
    until("it has said all", lambda: b"pass-of-url" in logs(name), 15)
    bench.engine.api.stop(name)
    assert (bench.diagnostics(resource) or ())[1:] == (
        "whole ***",
        "quoted ***",
        "token *** url ***",
    )


def test_evidence(bench: Bench) -> None:
    resource = bench.shell(f"echo started; {SLEEP}")
    assert bench.diagnostics(resource) == ("its container is gone",)
    bench.containers.create(resource, QUIET)
    assert bench.diagnostics(resource) is None
    bench.engine.api.stop(bench.name(resource))
    lines = bench.diagnostics(resource)
    assert lines is not None
    assert lines[0].startswith("ended with exit code")
    assert "started" in lines


def test_one_that_keeps_restarting_is_not_running(bench: Bench) -> None:
    resource = bench.shell("exit 1")
    with pytest.raises(Failed):
        _create_until_it_fails(bench, resource)
    # Between two pauses it runs for a moment, so each look has to happen in one.
    until("the engine gives it pauses", lambda: bench.seen(resource).running is False, 60)
    until("it is said to keep restarting", lambda: bench.diagnostics(resource) is not None, 60)


def _create_until_it_fails(bench: Bench, resource: Resource) -> None:
    def fails() -> bool:
        bench.containers.create(resource, QUIET)
        return False

    until("it fails at once", fails, 60)


def test_start_what_was_stopped_or_paused(bench: Bench) -> None:
    resource = bench.shell(SLEEP)
    bench.containers.create(resource, QUIET)
    api, name = bench.engine.api, bench.name(resource)
    api.pause(name)
    paused = bench.seen(resource)
    assert paused.drift == ("paused",)
    bench.containers.update(resource, paused, QUIET)
    assert bench.seen(resource).drift == ()
    api.stop(name)
    stopped = bench.seen(resource)
    assert (stopped.running, stopped.drift) == (False, ())
    bench.containers.update(resource, stopped, QUIET)
    assert bench.seen(resource).running is True
    handle = bench.seen(resource).handle
    api.remove_container(name, force=True)
    bench.containers.update(resource, stopped, QUIET)
    assert bench.seen(resource).running is True
    assert bench.seen(resource).handle != handle


def test_one_that_was_never_started_is_made_again_with_its_files(bench: Bench) -> None:
    """As a run leaves it that is killed between making and starting it."""
    resource = bench.shell(
        f"read -r line < /etc/algaenv/f; echo $line; {SLEEP}", files={"f": "x1\n"}
    )
    assert isinstance(resource.body, ContainerSpec)
    request = container_request(
        bench.environment, resource, resource.body, resource.body.image.title, "sha256:0"
    )
    bench.engine.api.create_container_from_config(request, bench.name(resource))
    seen = bench.seen(resource)
    assert (seen.recorded, seen.running) == (resource.fingerprint, False)
    bench.containers.update(resource, seen, QUIET)
    until("it has its file", lambda: b"x1" in bench.engine.api.logs(bench.name(resource)), 10)


def test_what_is_paused_can_be_removed(bench: Bench) -> None:
    resource = bench.shell(SLEEP)
    bench.containers.create(resource, QUIET)
    bench.engine.api.pause(bench.name(resource))
    bench.containers.delete(resource.address, bench.seen(resource), QUIET)
    assert bench.observer.observe([resource])[resource.address] == Absent()


def test_it_is_stopped_by_its_signal_in_its_own_time(bench: Bench) -> None:
    resource = bench.shell(
        "trap 'echo heard it; exit 0' INT; echo ready; exec 3<>/dev/ptmx; read -r _ <&3",
        stop_signal="SIGINT",
        stop_timeout=20,
    )
    bench.containers.create(resource, QUIET)
    api, name = bench.engine.api, bench.name(resource)
    until("the trap is set", lambda: b"ready" in api.logs(name), 10)
    api.stop(name)
    assert b"heard it" in api.logs(name)


@pytest.mark.parametrize(
    ("meddle", "drift"),
    [
        (
            lambda api, name, _: api.update_container(name, mem_limit="64m", memswap_limit="64m"),
            "memory limit set to 67108864",
        ),
        (lambda api, name, _: api.update_container(name, cpuset_cpus="0"), "set of processors"),
        (
            lambda api, name, _: api.update_container(name, restart_policy={"Name": "no"}),
            "restart policy is no instead of unless-stopped",
        ),
        (lambda api, name, _: api.rename(name, f"{name}-moved"), "renamed from"),
        (
            lambda api, name, network: api.disconnect_container_from_network(name, network),
            "not attached to the network",
        ),
    ],
)
def test_drift(bench: Bench, meddle: Callable[[Any, str, str], None], drift: str) -> None:
    resource = bench.shell(SLEEP)
    bench.containers.create(resource, QUIET)
    assert bench.seen(resource).drift == ()
    meddle(bench.engine.api, bench.name(resource), f"algaenv-{bench.environment.id}")
    seen = bench.seen(resource)
    assert len(seen.drift) == 1, seen.drift
    assert seen.drift[0].startswith(drift)
    assert seen.recorded == resource.fingerprint
    bench.containers.delete(resource.address, seen, QUIET)
    assert bench.observer.observe([resource])[resource.address] == Absent()


def test_an_earlier_network_of_the_same_name_is_drift(bench: Bench) -> None:
    resource = bench.shell(SLEEP)
    bench.containers.create(resource, QUIET)
    api, network = bench.engine.api, bench.wanted("network/main")
    api.stop(bench.name(resource))
    api.remove_network(f"algaenv-{bench.environment.id}")
    bench.networks.create(network, QUIET)
    assert [text.partition(" algaenv")[0] for text in bench.seen(resource).drift] == [
        "attached to an earlier network"
    ]


def test_another_image_under_our_labels_is_drift(bench: Bench) -> None:
    resource = bench.shell(SLEEP)
    bench.containers.create(resource, QUIET)
    api = bench.engine.api
    found = _inspect(bench, resource)
    api.remove_container(found["Id"], force=True)
    bench.images.create(bench.wanted("image/redis"), QUIET)
    config = {**found["Config"], "HostConfig": found["HostConfig"]}
    config |= {"Image": bench.wanted("image/redis").inputs["image"], "Cmd": ["valkey-server"]}
    config |= {"Entrypoint": None}
    network = f"algaenv-{bench.environment.id}"
    config |= {"NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": ["redis"]}}}}
    api.create_container_from_config(config, bench.name(resource))
    assert [text.partition(" (")[0] for text in bench.seen(resource).drift] == [
        "runs another image"
    ]


def test_a_name_that_is_taken(bench: Bench, strays: list[str]) -> None:
    resource = bench.shell(SLEEP)
    strays.append(bench.name(resource))
    bench.run_stray(bench.name(resource))
    seen = bench.seen(resource)
    assert seen.recorded is None
    assert "not made by algaenv" in seen.note
    with pytest.raises(Conflict) as caught:
        bench.containers.create(resource, QUIET)
    assert caught.value.problem.code == "name-taken"
    with pytest.raises(Conflict) as caught:
        bench.containers.delete(resource.address, seen, QUIET)
    assert caught.value.problem.code == "not-ours"
    assert _inspect(bench, resource)["State"]["Running"]


@pytest.mark.parametrize("ip", ["127.0.0.1", "0.0.0.0"])
def test_a_port_another_container_has(bench: Bench, strays: list[str], ip: str) -> None:
    (number,) = free_ports(1)
    name = f"stray-{secrets.token_hex(4)}"
    strays.append(name)
    bench.run_stray(name, port_bindings={5432: (ip, number)})
    resource = bench.shell(SLEEP, ports=(Port("main", number, 6379),))
    with pytest.raises(Conflict) as caught:
        bench.containers.create(resource, QUIET)
    problem = caught.value.problem
    assert problem.code == "port-taken"
    assert f"the container {name}" in problem.summary
    assert f"docker stop {name}" in problem.hint
    assert "`redis.port`" in problem.hint
    assert bench.observer.observe([resource])[resource.address] == Absent()


def test_ports_are_looked_at_before_anything_is_made(bench: Bench, strays: list[str]) -> None:
    taken, held, free = free_ports(3)
    name = f"stray-{secrets.token_hex(4)}"
    strays.append(name)
    bench.run_stray(name, port_bindings={5432: ("127.0.0.1", taken)})
    own = bench.shell(SLEEP, ports=(Port("main", held, 8080),))
    bench.containers.create(own, QUIET)
    wanted = bench.shell(SLEEP, ports=(Port("main", taken, 6379), Port("other", free, 6380)))
    with socket.create_server(("127.0.0.1", free)):
        found = port_obstacles(bench.engine, bench.environment, [changed(own), changed(wanted)])
    assert [it.address for it in found] == [wanted.address, wanted.address]
    assert {it.problem.code for it in found} == {"port-taken"}
    assert f"the container {name}" in found[0].problem.summary
    assert f"process {os.getpid()}" in found[1].problem.summary
    assert "`ports: auto`" in found[0].problem.hint


def changed(resource: Resource) -> Change:
    return Change(Verb.REPLACE, resource.address, Cause("spec changed"), resource, None)


def test_a_port_that_is_taken_while_it_was_stopped(bench: Bench, strays: list[str]) -> None:
    (number,) = free_ports(1)
    resource = bench.shell(SLEEP, ports=(Port("main", number, 6379),))
    bench.containers.create(resource, QUIET)
    bench.engine.api.stop(bench.name(resource))
    name = f"stray-{secrets.token_hex(4)}"
    strays.append(name)
    bench.run_stray(name, port_bindings={5432: ("127.0.0.1", number)})
    with pytest.raises(Conflict) as caught:
        bench.containers.update(resource, bench.seen(resource), QUIET)
    assert caught.value.problem.code == "port-taken"
    assert bench.seen(resource).running is False


def test_the_engine_itself_finds_the_port_taken(bench: Bench) -> None:
    """As when the port is taken between check and start; here by the container itself."""
    (number,) = free_ports(1)
    twice = (Port("main", number, 6379), Port("again", number, 6380))
    resource = bench.shell(SLEEP, ports=twice)
    with pytest.raises(Conflict) as caught:
        bench.containers.create(resource, QUIET)
    assert caught.value.problem.code == "port-taken"
    assert str(number) in caught.value.problem.summary
    assert caught.value.__cause__ is not None
    assert bench.observer.observe([resource])[resource.address] == Absent()


def test_a_start_that_fails_leaves_nothing(bench: Bench) -> None:
    resource = bench.shell(SLEEP, command=("no-such-program",))
    resource = replace(resource, body=replace(resource.body, tmpfs={"/x": "mode=what"}))  # type: ignore[type-var]
    with pytest.raises(DriverError) as caught:
        bench.containers.create(resource, QUIET)
    assert caught.value.problem.summary == f"cannot make the container {bench.name(resource)}"
    assert bench.observer.observe([resource])[resource.address] == Absent()


def test_an_image_that_is_gone(bench: Bench) -> None:
    resource = bench.shell(SLEEP)
    assert isinstance(resource.body, ContainerSpec)
    body = replace(resource.body, image=RecipeImage("none", "0" * 64, None))
    with pytest.raises(DriverError) as caught:
        bench.containers.create(replace(resource, body=body), QUIET)
    assert caught.value.problem.code == "image-gone"


@pytest.mark.slow
def test_several_threads_at_once(bench: Bench) -> None:
    bench.shell(SLEEP)
    ports = free_ports(5)

    def life(number: int) -> Present:
        resource = bench.shell(
            SLEEP,
            name=f"check-{bench.environment.id[:6]}-{number}",
            ports=(Port("main", ports[number], 6379),),
        )
        resource = replace(resource, address=Address("container", f"c{number}"))
        bench.containers.create(resource, QUIET)
        seen = bench.seen(resource)
        bench.engine.api.stop(bench.name(resource))
        bench.containers.update(resource, bench.seen(resource), QUIET)
        bench.containers.delete(resource.address, seen, QUIET)
        return seen

    with ThreadPoolExecutor(5) as pool:
        seen = list(pool.map(life, range(5)))
    assert len({one.handle for one in seen}) == 5
    assert not [a for a in bench.observer.observe([]) if a.kind == "container"]
