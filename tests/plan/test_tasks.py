"""Which tasks run, and why; what each waits for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.model.intent import TaskIntent
from algaenv.model.kind import BUCKET, BUNDLE, EXTENSION, PROCESS, RELEASE, TASK, VOLUME, Address
from algaenv.model.lock import Lock
from algaenv.model.plan import Change, Same
from algaenv.model.problem import Where
from algaenv.model.resource import Absent, Present, Resource
from algaenv.model.secret import Secret
from algaenv.model.task import SeenTask, TaskRun
from algaenv.plan.desired import SCHEMA, TENANT, predicted_ids
from algaenv.plan.tasks import task_decisions, task_resource
from tests.runtimes.locks import GATEWAY, make_lock

HOSTS = {it: PROCESS.address(it) for it in ("store", "redis", "database", "runner", "gateway")}


def task(name: str, *needs: str, inputs: tuple[str, ...] | None = ("*.sql",)) -> TaskIntent:
    where = Where("algaenv.yaml", 1, 1)
    return TaskIntent(name, ("seed",), True, "/here", {}, needs, inputs, 5.0, where)


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    return make_lock(tmp_path, gateway=GATEWAY)


def with_tasks(lock: Lock, *tasks: TaskIntent) -> Lock:
    return replace(lock, intent=replace(lock.intent, tasks=tasks))


def wanted(lock: Lock, one: TaskIntent, files: dict[str, str]) -> Resource:
    return task_resource(lock, predicted_ids(lock), HOSTS, one, files)


def ran(lock: Lock, one: TaskIntent, **files: str) -> Present:
    resource = wanted(lock, one, files)
    return Present(resource.fingerprint, resource.inputs)


def causes(
    lock: Lock, seen: dict[str, SeenTask], written: frozenset[Address] = frozenset()
) -> dict[str, str]:
    """Name → why it runs; empty for one that does not."""
    decisions = task_decisions(lock, predicted_ids(lock), HOSTS, seen, written)
    found = {}
    for decision in decisions:
        match decision:
            case Change(verb="run", address=address, cause=cause):
                found[address.name] = str(cause)
            case Same(resource):
                found[resource.address.name] = ""
    return found


def test_a_task_runs_once_and_again_when_its_inputs_change(lock: Lock) -> None:
    one = task("seed")
    lock = with_tasks(lock, one)
    assert causes(lock, {"seed": SeenTask({}, Absent())}) == {"seed": "has not run"}
    last = ran(lock, one, **{"a.sql": "1", "b.sql": "1"})
    assert causes(lock, {"seed": SeenTask({"a.sql": "1", "b.sql": "1"}, last)}) == {"seed": ""}
    seen = SeenTask({"a.sql": "2", "c.sql": "1"}, last)
    assert causes(lock, {"seed": seen}) == {"seed": "inputs changed: a.sql; b.sql; c.sql"}


def test_a_task_runs_when_the_spec_says_something_else_of_it(lock: Lock) -> None:
    before = ran(lock, replace(task("seed"), environment={"KEY": Secret("hidden-one")}))
    now = replace(task("seed"), environment={"KEY": Secret("hidden-two")}, directory="/there")
    (cause,) = causes(with_tasks(lock, now), {"seed": SeenTask({}, before)}).values()
    assert cause.startswith("spec changed: ")
    assert "/here → " in cause.replace('"', "")
    assert "hidden" not in cause


def test_a_task_without_inputs_runs_in_every_up(lock: Lock) -> None:
    one = task("seed", inputs=None)
    lock = with_tasks(lock, one)
    assert causes(lock, {"seed": SeenTask({}, ran(lock, one))}) == {"seed": "runs in every up"}


def test_a_task_runs_after_a_task_that_it_needs_or_on_new_data(lock: Lock) -> None:
    first, second = task("migrate", "database"), task("seed", "migrate")
    lock = with_tasks(lock, first, second)
    seen = {it.name: SeenTask({}, ran(lock, it)) for it in (first, second)}
    assert causes(lock, seen) == {"migrate": "", "seed": ""}
    again = {**seen, "migrate": SeenTask({}, Absent())}
    assert causes(lock, again)["seed"] == "what it needs changes: task/migrate"
    found = causes(lock, seen, frozenset({VOLUME.address("database")}))
    assert found == {
        "migrate": "what it needs changes: the data of database",
        "seed": "what it needs changes: task/migrate",
    }


def test_a_task_is_left_out_of_its_profile_and_of_runs_about_extensions(lock: Lock) -> None:
    lock = with_tasks(lock, replace(task("seed"), active=False))
    seen = {"seed": SeenTask({}, Absent())}
    assert causes(lock, seen) == {}
    lock = with_tasks(lock, task("seed"))
    assert causes(replace(lock, only=("hello",)), seen) == {}


def test_what_a_task_waits_for_and_is_given(lock: Lock) -> None:
    needs = ("database", "store", "redis", "hello", "migrate")
    one = task("seed", *needs)
    resource = wanted(with_tasks(lock, task("migrate"), one), one, {})
    assert set(resource.needs) == {
        *(HOSTS[it] for it in ("database", "store", "redis")),
        SCHEMA,
        TENANT,
        *map(BUCKET.address, lock.intent.store.buckets),
        RELEASE.address("hello"),
        EXTENSION.address("hello"),
        BUNDLE.address("hello"),
        TASK.address("migrate"),
    }
    body = resource.body
    assert isinstance(body, TaskRun)
    assert body.variables["DB_PORT"] == str(lock.ports.database)
    assert body.variables["ALGAENV_GATEWAY_URL"] == lock.urls.gateway
    assert isinstance(body.variables["DB_PASSWORD_ADMIN"], Secret)
