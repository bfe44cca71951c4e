"""Decides which tasks run, and what each waits for.

| inputs in the spec | record     | what it needs | decision                  |
|--------------------|------------|---------------|---------------------------|
| any                | none       | any           | run (has not run)         |
| any                | ≠ wanted   | any           | run (spec or inputs changed) |
| given              | = wanted   | begins anew   | run (what it needs changes)|
| given              | = wanted   | as it was     | same                      |
| none               | = wanted   | any           | run (runs in every up)    |
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from algaenv.model.content import ContentIds
from algaenv.model.intent import TaskIntent
from algaenv.model.kind import (
    BUCKET,
    BUNDLE,
    EXTENSION,
    FOLDER,
    RELEASE,
    TASK,
    VOLUME,
    Address,
    Tier,
)
from algaenv.model.lock import Lock
from algaenv.model.plan import Cause, Change, Decision, Same, Verb
from algaenv.model.resource import Absent, Inputs, Json, Present, Resource
from algaenv.model.secret import Secret, keyed_digest
from algaenv.model.task import SeenTask, TaskRun
from algaenv.plan.app_variables import app_variables
from algaenv.plan.desired import SCHEMA, TENANT
from algaenv.plan.diff import explain

BY_HAND: Final = Cause("by hand")
_FILE: Final = "file "
"""Before the path, in the name of an input that is a file."""


def task_decisions(
    lock: Lock,
    ids: ContentIds,
    hosts: Mapping[str, Address],
    seen: Mapping[str, SeenTask],
    written: Collection[Address],
) -> Iterator[Decision]:
    """The decisions of a run that writes `written`; none in a run about some extensions only.

    `hosts` are the addresses of the services, as in a runtime's Lowered.
    """
    if lock.only is not None:
        return
    runs: set[str] = set()
    for task in lock.intent.tasks:
        if not task.active:
            continue
        wanted = task_resource(lock, ids, hosts, task, seen[task.name].files)
        cause = _cause(task, wanted, seen[task.name].last, runs, written)
        if cause is None:
            yield Same(wanted)
            continue
        runs.add(task.name)
        yield run_of(wanted, seen[task.name], cause)


def run_of(wanted: Resource, seen: SeenTask, cause: Cause) -> Change:
    """The step that runs a task."""
    before = seen.last if isinstance(seen.last, Present) else None
    return Change(Verb.RUN, wanted.address, cause, wanted, before)


def task_resource(
    lock: Lock,
    ids: ContentIds,
    hosts: Mapping[str, Address],
    task: TaskIntent,
    files: Mapping[str, str],
) -> Resource:
    """A task as it is wanted; `files` are path → digest of its inputs."""
    key = lock.credentials.fingerprint_key
    run: Json = task.command[0] if task.shell else list(task.command)
    inputs: dict[str, Json] = {"run": run, "dir": task.directory}
    for name, value in task.environment.items():
        shown = keyed_digest(value, key) if isinstance(value, Secret) else value
        inputs[f"environment.{name}"] = shown
    inputs |= {f"{_FILE}{path}": digest[:12] for path, digest in files.items()}
    variables = dict(app_variables(lock, ids.tenant_id))
    variables["ALGAENV_FILE"] = str(lock.environment.spec)
    if "gateway" in hosts:
        variables["ALGAENV_GATEWAY_URL"] = lock.urls.gateway
    return Resource(
        address=TASK.address(task.name),
        tier=Tier.CONTENT,
        inputs=inputs,
        body=TaskRun(task, variables),
        needs=tuple(_needs(task, hosts, lock)),
    )


def _needs(task: TaskIntent, hosts: Mapping[str, Address], lock: Lock) -> Iterator[Address]:
    """The steps that come first: those that are in no plan are no longer waited for."""
    tasks = {it.name for it in lock.intent.tasks}
    for need in task.needs:
        if need in hosts:
            yield hosts[need]
            # What `up` makes in a service is there as well.
            match need:
                case "database":
                    yield from (SCHEMA, TENANT)
                case "store":
                    yield from map(BUCKET.address, lock.intent.store.buckets)
        elif need in tasks:
            yield TASK.address(need)
        else:  # Where there is no bundle, the problem of the bundle is the reason.
            yield from (RELEASE.address(need), EXTENSION.address(need), BUNDLE.address(need))


def _cause(
    task: TaskIntent,
    wanted: Resource,
    last: Absent | Present,
    runs: Collection[str],
    written: Collection[Address],
) -> Cause | None:
    """Why it runs; None: it does not."""
    if isinstance(last, Absent) or last.recorded is None:
        return Cause("has not run")
    if last.recorded != wanted.fingerprint:
        return _changed(last.inputs, wanted.inputs)
    if task.inputs is None:
        return Cause("runs in every up")
    anew = [f"the data of {it}" for it in task.needs if _has_new_data(it, written)]
    anew += [str(TASK.address(it)) for it in task.needs if it in runs]
    return Cause("what it needs changes", tuple(anew)) if anew else None


def _changed(before: Inputs, now: Inputs) -> Cause:
    """What the spec says comes before what its files hold."""
    files = {it for it in {*before, *now} if it.startswith(_FILE)}
    spec = [{k: v for k, v in it.items() if k not in files} for it in (before, now)]
    if spec[0] != spec[1]:
        return Cause("spec changed", explain(*spec))
    changed = sorted(it.removeprefix(_FILE) for it in files if before.get(it) != now.get(it))
    return Cause("inputs changed", tuple(changed))


def _has_new_data(service: str, written: Collection[Address]) -> bool:
    return not {FOLDER.address(service), VOLUME.address(service)}.isdisjoint(written)
