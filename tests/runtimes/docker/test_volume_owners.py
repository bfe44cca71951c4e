"""Who runs in containers of our images, and how the data of another user gets to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest

from algaenv.model.kind import Address
from algaenv.model.problem import Failed
from algaenv.model.resource import Absent, Json, Present, Resource
from algaenv.runtimes.docker.drivers import volumes
from algaenv.runtimes.docker.engine import Engine
from algaenv.runtimes.docker.image_selection import UID_SPAN, container_user, maps_users
from algaenv.runtimes.docker.specs import (
    FIRST_UID,
    ContainerSpec,
    ImageUser,
    MountPoint,
    OwnedDirectory,
)
from tests.contract.conftest import until
from tests.runtimes.docker.conftest import QUIET, SLEEP, Bench

OTHER = ImageUser(1000, 1000)


def test_it_is_who_runs_this() -> None:
    assert str(container_user("ab12", 1003, 100)) == "1003:100"


def test_for_root_it_is_a_number_of_the_environments_own() -> None:
    one, again, other = (
        container_user(name, 0, 0) for name in ("0a0b0c0d0e", "0a0b0c0d0e", "ffffffffff")
    )
    assert one == again != other
    for user in (one, other):
        assert FIRST_UID <= user.uid < FIRST_UID + UID_SPAN < 2**31
        assert user.gid == user.uid


@pytest.mark.parametrize(
    ("options", "maps"),
    [
        (["name=seccomp,profile=default"], False),
        (["name=seccomp,profile=default", "name=userns"], True),
        (["name=rootless", "name=cgroupns"], True),
        (None, False),
    ],
)
def test_an_engine_reports_whether_it_maps_users(options: list[Json] | None, maps: bool) -> None:
    class Says:
        def get(self, path: str) -> Mapping[str, Json]:
            assert path == "/info"
            return {"SecurityOptions": options}

    assert maps_users(cast(Engine, Says())) is maps


@pytest.mark.parametrize("rootless", [True, False])
def test_podman_has_no_option_for_it(*, rootless: bool) -> None:
    class Says:
        def get(self, path: str) -> Mapping[str, Json]:
            return {"SecurityOptions": ["name=seccomp,profile=default"], "Rootless": rootless}

    assert maps_users(cast(Engine, Says())) is rootless


def _with_data(bench: Bench, script: str, **changes: object) -> Resource:
    bench.volumes.create(bench.wanted("volume/redis"), QUIET)
    body = bench.wanted("container/redis").body
    assert isinstance(body, ContainerSpec)
    user = changes.get("user", body.user)
    assert isinstance(user, ImageUser)
    return bench.shell(
        f"umask 077; {script}; {SLEEP}",
        mounts=(MountPoint("volume", body.mounts[0].source, "/data"),),
        owned=(OwnedDirectory("/data", user, 0o700),),
        **changes,
    )


def _says(bench: Bench, resource: Resource, word: bytes) -> None:
    bench.containers.create(resource, QUIET)
    logs, name = bench.engine.api.logs, bench.name(resource)
    until(f"it says {word.decode()}", lambda: word in logs(name), 15)


@pytest.mark.docker
def test_data_of_another_user_comes_along(bench: Bench) -> None:
    """As an earlier version left it, whose containers all ran as 1000."""
    before = _with_data(
        bench, "mkdir -p /data/deep/er; echo kept > /data/deep/er/file; echo made", user=OTHER
    )
    _says(bench, before, b"made")
    messages: list[str] = []
    after = _with_data(
        bench, "read -r it < /data/deep/er/file; echo more > /data/deep/er/new; echo it is $it"
    )
    bench.containers.create(after, messages.append)
    logs, name = bench.engine.api.logs, bench.name(after)
    until("it reads and writes", lambda: b"it is kept" in logs(name), 15)
    assert b"denied" not in logs(name)
    assert any("/data" in line for line in messages)
    messages.clear()
    bench.containers.create(after, messages.append)
    assert messages == [], "it is theirs now"
    assert not bench.engine.api.containers(all=True, filters={"name": f"{name}-{volumes.PREPARE}"})


@pytest.mark.slow
@pytest.mark.docker
def test_data_that_cannot_be_given_is_left_as_it_is(bench: Bench) -> None:
    _says(bench, _with_data(bench, "echo kept > /data/file; echo made", user=OTHER), b"made")
    after = _with_data(bench, "echo no", chown=("sh", "-c", "echo no such luck; exit 3"))
    with pytest.raises(Failed) as caught:
        bench.containers.create(after, QUIET)
    assert caught.value.problem.code == "volume-owner"
    assert caught.value.problem.detail == ("no such luck",)
    assert bench.observer.observe([after])[after.address] == Absent()
    again = _with_data(bench, "read -r it < /data/file; echo it is $it", user=OTHER)
    _says(bench, again, b"it is kept")


@pytest.mark.slow
@pytest.mark.docker
def test_what_a_killed_run_leaves_is_seen_and_made_good(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container that gives data away outlives a run that is killed beside it."""
    with monkeypatch.context() as patched:
        patched.setattr(volumes, "_remove", lambda engine, container: None)
        _says(bench, _with_data(bench, "echo made"), b"made")
    address = Address("container", f"redis-{volumes.PREPARE}")
    left = bench.observer.observe([])[address]
    assert isinstance(left, Present)
    other = _with_data(bench, "echo again", user=OTHER)
    _says(bench, other, b"again")
    assert address not in bench.observer.observe([])
    bench.containers.delete(address, left, QUIET)


@pytest.mark.docker
def test_nobody_that_is_known_runs_them(bench: Bench) -> None:
    resource = bench.shell(
        f"while read -r a b c; do [ $a = Uid: ] && echo user $c; done < /proc/self/status; {SLEEP}"
    )
    assert isinstance(resource.body, ContainerSpec)
    assert resource.body.user is not None
    _says(bench, resource, f"user {resource.body.user.uid}".encode())
