"""A service whose lock is held elsewhere is not touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.model.kind import Address
from algaenv.model.problem import Conflict
from algaenv.model.resource import Present
from algaenv.reconcile.converge import PlanResult
from algaenv.runtimes.process import discovery
from algaenv.runtimes.process.drivers.processes import ProcessDriver
from algaenv.runtimes.process.layout import service_lock
from algaenv.runtimes.process.observer import ProcessObserver
from algaenv.system import processes
from algaenv.system.locks import is_locked
from tests.runtimes.process.harness import Harness, quiet
from tests.runtimes.process.test_folders import folder

FOREVER = "import signal; print('up', flush=True); signal.pause()"
REDIS = Address("process", "redis")
HOLDER = """
import fcntl, sys
with open(sys.argv[1], "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_a_stranger(harness: Harness, service: str = "redis") -> Iterator[None]:
    """As a supervisor in another PID namespace: only its lock can be seen."""
    lock = harness.layout.lock(service)
    lock.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.communicate()


def files(harness: Harness) -> Mapping[Path, tuple[int, bytes]]:
    """Every file of the environment: which one it is, and what it holds."""
    found = (path for path in harness.environment.home.rglob("*") if path.is_file())
    return {path: (path.stat().st_ino, path.read_bytes()) for path in found}


def refused(harness: Harness, verb: str) -> str:
    seen = Present(None, handle=str(harness.layout.folder("redis-valkey")))
    actions: dict[str, Callable[[], object]] = {
        "create": lambda: harness.python(FOREVER, files={"settings": "new"}),
        "delete": harness.delete,
        "create folder": lambda: harness.create(folder(harness)),
        "delete folder": lambda: harness.folders.delete(Address("folder", "redis"), seen, quiet),
    }
    before = files(harness)
    with pytest.raises(Conflict) as caught:
        actions[verb]()
    assert files(harness) == before
    return caught.value.problem.code


@pytest.mark.parametrize("verb", ["create", "delete", "create folder", "delete folder"])
@pytest.mark.parametrize("recorded", [True, False])
def test_what_is_held_out_of_sight_is_not_touched(bare: Harness, verb: str, recorded: bool) -> None:
    bare.create(folder(bare))
    bare.python(FOREVER, files={"settings": "old"})
    record = bare.layout.record("redis").read_bytes()
    bare.delete()
    if recorded:
        bare.layout.run.mkdir(exist_ok=True)
        bare.layout.record("redis").write_bytes(record)
    with held_by_a_stranger(bare):
        assert refused(bare, verb) == "shim-busy"
        assert discovery.hidden_services(bare.environment) == (REDIS,)
        assert [it.address for it in bare.runtime.obstacles(bare.environment, ())] == [REDIS]
        if recorded:
            assert bare.seen().running is True, "its lock says that it runs"
    assert discovery.hidden_services(bare.environment) == ()


def test_what_can_be_seen_is_no_obstacle_and_may_be_made_anew(bare: Harness) -> None:
    bare.python(FOREVER)
    assert is_locked(bare.layout.lock("redis"))
    assert discovery.hidden_services(bare.environment) == ()
    first = bare.supervisor()
    bare.python(FOREVER)
    assert not processes.is_alive(first)
    assert is_locked(bare.layout.lock("redis"))


def test_a_supervisor_whose_record_is_lost_is_not_out_of_sight(bare: Harness) -> None:
    bare.python(FOREVER)
    bare.layout.record("redis").unlink()
    assert discovery.hidden_services(bare.environment) == ()


def test_the_lock_ends_with_the_supervisor_however_that_dies(bare: Harness) -> None:
    bare.python(FOREVER)
    os.kill(bare.supervisor().pid, 9)
    with service_lock(bare.layout.lock("redis"), REDIS):
        assert is_locked(bare.layout.lock("redis"))
    assert not is_locked(bare.layout.lock("redis"))


def test_a_lock_that_was_removed_by_its_holder_is_not_mistaken_for_the_lock(bare: Harness) -> None:
    path = bare.layout.lock("redis")
    with service_lock(path, REDIS):
        path.unlink()
        with service_lock(path, REDIS) as second:
            assert os.fstat(second).st_ino == path.stat().st_ino


def test_a_run_with_obstacles_is_refused_with_all_of_them(bare: Harness) -> None:
    for service in ("redis", "store"):
        bare.python(FOREVER, service=service)
        bare.delete(service)
    with held_by_a_stranger(bare, "redis"), held_by_a_stranger(bare, "store"):
        obstacles = bare.runtime.obstacles(bare.environment, ())
    drawn = PlanResult(None, None, None, content_known=False, obstacles=obstacles)  # type: ignore[arg-type]
    with pytest.raises(Conflict) as caught:
        drawn.refuse_obstacles()
    assert [it.code for it in caught.value.problems] == ["shim-busy", "shim-busy"]


def test_a_checkout_that_came_to_the_place_of_a_moved_one_is_left_alone(
    bare: Harness, tmp_path: Path
) -> None:
    """Both have the id of the one path; each only touches what was started from its own."""
    other = Harness(tmp_path / "clone")
    other.environment = replace(bare.environment, home=other.environment.home, spec=tmp_path)
    other.processes = ProcessDriver(other.environment, None)
    other.python(FOREVER)
    assert discovery.find_marked(other.environment).keys() == {REDIS}
    assert discovery.find_marked(bare.environment) == {}
    bare.delete()
    assert processes.is_alive(other.supervisor())
    other.sweep()


def test_what_was_started_before_the_directory_was_moved_is_made_anew(
    bare: Harness, tmp_path: Path
) -> None:
    bare.python(FOREVER)
    home = bare.environment.home.rename(tmp_path / "moved")
    moved = Harness(home)
    moved.environment = replace(bare.environment, home=home, spec=home)
    moved.observer = ProcessObserver(moved.environment)
    moved.processes = ProcessDriver(moved.environment, None)
    seen = moved.seen()
    assert seen.running is True
    assert seen.drift == ("it was started before the directory was moved",)
    first = moved.supervisor()
    moved.python(FOREVER)
    assert not processes.is_alive(first)
    assert moved.seen().drift == ()
    moved.sweep()
