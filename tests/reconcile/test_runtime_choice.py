"""Which runtime an environment is brought up with: where it runs, else where its data is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from algaenv.dependencies import Request, SavedState
from algaenv.model.intent import RuntimeChoice
from algaenv.model.kind import Address
from algaenv.model.lock import Environment
from algaenv.model.problem import Conflict, EngineGone
from algaenv.model.resource import Present
from algaenv.runtimes.docker.engine import EngineFacts, NoEngine
from algaenv.wiring import Container
from tests.runtimes.locks import make_lock

SERVICE = Present("x", running=True, note="minio")
DATA = Present("x", retained=True, note="data of store")
SILENT = NoEngine("no socket", "")
ANSWERING = EngineFacts("unix:///x", "99", "1.43", "amd64", "linux", rootless=False)


class Runtime:
    """A runtime, and what of the environment is there."""

    def __init__(self, name: str, *there: Present) -> None:
        self.name = name
        self.there = there

    def observer(self, _: Environment) -> Runtime:
        return self

    def observe(self, _: object) -> dict[Address, Present]:
        return {Address("thing", str(at)): it for at, it in enumerate(self.there)}


class FakeContainer(Container):
    """The real container over fake runtimes."""

    def __init__(self, process: tuple[Present, ...], docker: tuple[Present, ...] | None) -> None:
        super().__init__({})
        self._facts = SILENT if docker is None else ANSWERING
        self.runtimes = {
            "process": Runtime("process", *process),
            "docker": Runtime("docker", *(docker or ())),
        }

    def _runtime(self, name: str) -> Any:
        return self.runtimes[name]


def chosen(
    container: FakeContainer,
    root: Path,
    wish: RuntimeChoice,
    before: str | None,
    *,
    known: bool = True,
) -> tuple[str, str]:
    lock = make_lock(root)
    intent = replace(lock.intent, runtime=wish)
    saved = SavedState(intent, before) if before and known else None
    request = Request(lock.environment.spec, {})
    runtime, why = container.choose_runtime(request, lock.environment, intent, saved)
    return runtime.name, why


ROWS: dict[str, tuple[tuple[Present, ...], tuple[Present, ...] | None, str | None, str]] = {
    "a new one": ((), (), None, "docker"),
    "a new one without an engine": ((), None, None, "process"),
    "running processes": ((SERVICE, DATA), (), "process", "process"),
    "data of processes": ((DATA,), (), "process", "process"),
    "processes that left nothing": ((), (), "process", "docker"),
    "data of containers": ((), (DATA,), "docker", "docker"),
    "containers, and older data of processes": ((DATA,), (SERVICE,), "docker", "docker"),
}


@pytest.mark.parametrize("row", ROWS)
def test_auto_stays_where_the_environment_or_its_data_is(tmp_path: Path, row: str) -> None:
    process, docker, before, expected = ROWS[row]
    name, why = chosen(FakeContainer(process, docker), tmp_path, "auto", before)
    assert name == expected
    assert why.startswith("auto: ")
    if row == "data of processes":
        assert "the data of the environment lies with process" in why
    if before == "docker":
        assert "the environment was last brought up with docker" in why


def test_data_on_disk_is_found_where_the_last_run_is_forgotten(tmp_path: Path) -> None:
    home = make_lock(tmp_path).environment.home
    (home / "data").mkdir(parents=True)
    assert chosen(FakeContainer((DATA,), ()), tmp_path, "auto", None)[0] == "process"
    assert chosen(FakeContainer((), ()), tmp_path, "auto", None)[0] == "docker"


def test_auto_does_not_leave_an_engine_that_is_silent_for_a_while(tmp_path: Path) -> None:
    with pytest.raises(EngineGone) as caught:
        chosen(FakeContainer((), None), tmp_path, "auto", "docker")
    assert "data" in caught.value.problem.summary


def test_what_is_up_elsewhere_has_to_go_down_first(tmp_path: Path) -> None:
    with pytest.raises(Conflict) as caught:
        chosen(FakeContainer((SERVICE, DATA), ()), tmp_path, "docker", "process")
    assert caught.value.problem.code == "runtime-switch"


OTHER = {"process": "docker", "docker": "process"}


@pytest.mark.parametrize(
    ("container", "before", "left"),
    [
        (lambda: FakeContainer((DATA,), ()), "process", "data of store"),
        (lambda: FakeContainer((), (DATA,)), "docker", "data of store"),
        (lambda: FakeContainer((), None), "docker", "does not answer"),
        (lambda: FakeContainer((), ()), "process", ""),
        (lambda: FakeContainer((), ()), "docker", ""),
    ],
)
def test_a_move_names_what_would_stay(
    tmp_path: Path, container: Callable[[], FakeContainer], before: str, left: str
) -> None:
    environment, now = make_lock(tmp_path).environment, OTHER[before]
    problem = container().runtime_move_warning(environment, before, now)
    assert (problem is not None) is bool(left)
    if problem is not None:
        assert problem.code == "runtime-move"
        assert left in problem.summary
        assert f"--runtime {before}" in problem.hint
        assert f"up --runtime {now} --yes" in problem.hint


def test_down_with_volumes_looks_where_data_was_left(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    container = FakeContainer((DATA,), (SERVICE,))
    saved = SavedState(lock.intent, "docker", data_runtimes=("process",))

    def names(*, data: bool) -> list[str]:
        return [it.name for it in container.runtimes_present(lock.environment, saved, data=data)]

    assert names(data=False) == ["docker"]
    assert names(data=True) == ["docker", "process"]


def test_what_was_left_is_remembered(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    container = Container({})
    container.save_state(
        lock.environment, SavedState(lock.intent, "docker", data_runtimes=("process",))
    )
    recalled = container.load_state(lock.environment)
    assert recalled is not None
    assert recalled.data_runtimes == ("process",)
