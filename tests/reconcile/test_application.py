"""The whole application over a runtime in memory: up, a no-op, drift, an edit, failures, down."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.bundle.digest import Digest
from algaenv.cli.exit_codes import ExitCode, report_exit_code
from algaenv.model.drift import Drift
from algaenv.model.event import Cancelled, Done, FailedStep, Planned, Report, Skipped
from algaenv.model.intent import BuildIntent, BuildStep, ExternalDatabase, TaskIntent
from algaenv.model.kind import FOLDER, PROCESS, RELEASE, TASK
from algaenv.model.plan import Plan
from algaenv.model.probe import BrokenHandler
from algaenv.model.problem import (
    Conflict,
    EngineGone,
    NotReady,
    Problem,
    Refused,
    ResolveError,
    SpecError,
    Unavailable,
    Where,
)
from algaenv.model.resource import Present
from algaenv.model.secret import Secret
from algaenv.model.status import Status
from algaenv.reconcile import converge
from tests.reconcile.memory_dependencies import MemoryDependencies

UNFINISHED = Problem("restore-unfinished", "cannot go on: a restore was interrupted")
FIRST, SECOND = (f"hello@{Digest.of(it).short}" for it in (b"first", b"second"))
EVERYTHING = f"""\
create folder/store: missing
create folder/database: missing
create process/store: missing
create process/database: missing
create bucket/extensions: missing
create schema/extensions: missing
create tenant/main: missing
create process/redis: missing
create process/runner: missing
create process/gateway: missing
create bundle/{FIRST}: missing
prewarm handler/{FIRST}: bundle changes
create release/hello: missing"""


@pytest.fixture
def memory(tmp_path: Path) -> MemoryDependencies:
    return MemoryDependencies(tmp_path)


def up(memory: MemoryDependencies) -> Report:
    return memory.application.up(memory.request, memory.events.append)


def plan(memory: MemoryDependencies) -> Plan:
    return memory.application.plan(memory.request, memory.events.append)


def status(memory: MemoryDependencies) -> Status:
    return memory.application.status(memory.request, memory.events.append)


def down(memory: MemoryDependencies, *, volumes: bool = False) -> Report:
    return memory.application.down(memory.request, memory.events.append, volumes=volumes)


def outcomes(report: Report) -> dict[str, object]:
    return {f"{it.step.verb} {it.step.address}": it.outcome for it in report.ended}


def test_a_plan_is_what_up_does(memory: MemoryDependencies) -> None:
    planned = plan(memory)
    assert sorted(str(planned).splitlines()) == sorted(EVERYTHING.splitlines())
    assert memory.world.calls == []
    report = up(memory)
    assert (report.failed, report.changed) == (0, len(planned.changes))
    assert {it.step.address for it in report.ended if not it.step.only_waits} == {
        it.address for it in planned.actions
    }
    assert sorted(memory.world.calls) == sorted(f"{it.verb} {it.address}" for it in planned.changes)
    assert report.status is not None
    seen = status(memory)
    assert report.status.services == seen.services
    assert replace(report.status.extensions[0], install_id="") == seen.extensions[0]


def test_each_step_comes_after_what_it_needs(memory: MemoryDependencies) -> None:
    report = up(memory)
    ended = [it.step.address for it in report.ended]
    for each in report.ended:
        assert all(ended.index(it) < ended.index(each.step.address) for it in each.step.needs)


def test_a_second_up_does_nothing(memory: MemoryDependencies) -> None:
    up(memory)
    calls = list(memory.world.calls)
    assert str(plan(memory)) == ""
    report = up(memory)
    assert (report.failed, report.changed, memory.world.calls) == (0, 0, calls)
    assert all(it.step.only_waits for it in report.ended)
    assert set(outcomes(report).values()) == {Done()}


def test_drift_is_healed(memory: MemoryDependencies) -> None:
    up(memory)
    rows = RELEASE.address("hello")
    memory.world.there[rows] = replace(
        memory.world.there[rows], drift=(Drift("enabled true → false", "enabled"),)
    )
    del memory.world.there[PROCESS.address("redis")]
    expected = {
        "create process/redis: missing",
        f"prewarm handler/{FIRST}: release changes",
        "update release/hello: drifted: enabled true → false",
    }
    assert set(str(plan(memory)).splitlines()) == expected
    assert up(memory).changed == 2
    assert str(plan(memory)) == ""


def test_a_stopped_runner_is_started_and_its_handlers_are_prewarmed(
    memory: MemoryDependencies,
) -> None:
    up(memory)
    memory.world.stop("runner")
    assert {it.name: it.state for it in status(memory).services}["runner"] == "stopped"
    assert str(plan(memory)) == (
        f"start process/runner: stopped\nprewarm handler/{FIRST}: runner changes"
    )
    assert up(memory).changed == 1
    assert {it.state for it in status(memory).services} == {"ready"}


def test_content_of_a_stopped_host_is_deferred_and_planned_once_it_answers(
    memory: MemoryDependencies,
) -> None:
    up(memory)
    memory.world.stop("database")
    memory.archives["hello"] = b"second"
    planned = plan(memory)
    assert str(planned).splitlines()[0] == "start process/database: stopped"
    assert {it.why for it in planned.deferred} == {"cannot be seen until process/database answers"}
    done = outcomes(up(memory))
    assert set(done.values()) == {Done()}
    assert {f"create bundle/{SECOND}", f"prewarm handler/{SECOND}", "update release/hello"} <= set(
        done
    )


def test_an_edit_is_a_new_bundle_and_the_one_before_is_kept(memory: MemoryDependencies) -> None:
    up(memory)
    memory.archives["hello"] = b"second"
    short = [Digest.of(it).prefixed[:19] for it in (b"first", b"second")]
    text = str(plan(memory))
    assert text.startswith(
        f"create bundle/{SECOND}: missing\n"
        f"prewarm handler/{SECOND}: bundle changes\n"
        f"update release/hello: spec changed: bundle {short[0]} → {short[1]}"
    )
    assert up(memory).failed == 0
    assert {str(it) for it in memory.world.there} >= {f"bundle/{FIRST}", f"bundle/{SECOND}"}
    memory.archives["hello"] = b"third"
    assert f"delete bundle/{FIRST}: superseded" in str(plan(memory))


def test_a_handler_that_cannot_run_replaces_none(memory: MemoryDependencies) -> None:
    up(memory)
    rows = memory.world.there[RELEASE.address("hello")]
    memory.archives["hello"] = b"second"
    memory.services.handler = BrokenHandler("no component", "build it anew")
    report = up(memory)
    done = outcomes(report)
    failed = done[f"prewarm handler/{SECOND}"]
    assert isinstance(failed, FailedStep)
    assert failed.problem.code == "handler-broken"
    assert done["update release/hello"] == Skipped(f"handler/{SECOND}")
    assert done["await extension/hello"] == Skipped(f"handler/{SECOND}")
    assert (report.failed, memory.world.there[RELEASE.address("hello")]) == (1, rows)


def test_an_extension_that_leaves_the_spec_is_removed(memory: MemoryDependencies) -> None:
    up(memory)
    memory.archives.clear()
    assert str(plan(memory)) == (
        f"delete release/hello: no longer in the spec\ndelete bundle/{FIRST}: no longer in the spec"
    )


def test_a_host_that_fails_keeps_back_what_needs_it(memory: MemoryDependencies) -> None:
    problem = Problem("port-taken", "cannot publish database")
    memory.world.failures["create process/database"] = Conflict(problem)
    report = up(memory)
    done = outcomes(report)
    assert isinstance(done["create process/database"], FailedStep)
    skipped = Skipped("process/database")
    assert done["create schema/extensions"] == done["create release/hello"] == skipped
    assert done["create process/gateway"] == skipped
    assert done["create process/runner"] == Done()
    assert report.failed == 1
    memory.world.failures.clear()
    assert up(memory).failed == 0
    assert str(plan(memory)) == ""


@pytest.mark.parametrize("engine", [EngineGone, Unavailable])
@pytest.mark.parametrize("call", ["create tenant/main", "read content"])
def test_a_dead_engine_explains_the_services_that_do_not_answer(
    memory: MemoryDependencies,
    call: str,
    engine: type[Unavailable],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(converge, "SNAPSHOT_SECONDS", 0.05)
    silent = Problem("database-unreachable", "the database does not answer")
    gone = Problem("engine-gone", "the engine does not answer")

    def engine_dies(begun: str) -> None:
        if begun == call:
            memory.world.failures |= {
                call: Unavailable(silent),
                "observe services": engine(gone),
            }

    if call == "read content":
        memory.world.before = engine_dies
        up(memory)
        memory.world.failures.clear()
        memory.world.stop("store")
    memory.world.before = engine_dies
    report = up(memory)
    assert report.problems[0] == gone
    assert report_exit_code(report) == ExitCode.ENGINE
    memory.world.before = lambda _begun: None
    memory.world.failures = {call: Unavailable(silent)}
    report = up(memory)
    assert gone not in report.problems
    assert report_exit_code(report) == ExitCode.RESOURCE


def test_a_dead_engine_explains_a_down_that_failed(memory: MemoryDependencies) -> None:
    up(memory)
    gone = Problem("engine-gone", "the engine does not answer")

    def engine_dies(begun: str) -> None:
        if begun == "delete process/runner":
            memory.world.failures |= {
                begun: Unavailable(Problem("runner-silent", "the runner does not answer")),
                "observe services": EngineGone(gone),
            }

    memory.world.before = engine_dies
    report = down(memory)
    assert report.problems == (gone,)
    assert report_exit_code(report) == ExitCode.ENGINE


def test_a_snapshot_that_fails_after_the_services_started_is_reported(
    memory: MemoryDependencies,
) -> None:
    problem = Problem("store-refused", "cannot read the store")
    memory.world.failures["read content"] = Refused(problem)
    report = up(memory)
    assert (report.problems, report.error) == ((problem,), "Refused")
    assert {it.step.address.kind for it in report.ended} == {"folder", "process"}
    assert {it.outcome for it in report.ended} == {Done()}


def test_an_interruption_cancels_what_has_not_begun(memory: MemoryDependencies) -> None:
    stop = threading.Event()
    memory.world.before = lambda call: stop.set() if call == "create process/store" else None
    memory.request = replace(memory.request, cancelled=stop.is_set)
    report = up(memory)
    assert report.interrupted
    assert outcomes(report)["create release/hello"] == Cancelled()
    assert RELEASE.address("hello") not in memory.world.there


def test_services_start_while_a_bundle_is_built(memory: MemoryDependencies) -> None:
    """The build ends only once the gateway is there, so nothing may wait for the build."""
    started = threading.Event()
    memory.build = BuildIntent(
        (BuildStep("build", ("make",), False, {}, 60.0),), "/source", {}, 60.0
    )
    memory.world.before = lambda call: started.set() if "gateway" in call else None
    memory.before_packing = lambda: started.wait(30)
    report = up(memory)
    assert started.is_set()
    assert (report.failed, set(outcomes(report).values())) == (0, {Done()})
    assert outcomes(report)[f"prewarm handler/{FIRST}"] == Done()
    *_, last = (it for it in memory.events if isinstance(it, Planned))
    assert f"bundle/{FIRST}" in {str(it.address) for it in last.steps}
    assert str(plan(memory)) == ""


def test_no_gateway_is_waited_for_by_content_that_does_not_need_it(
    memory: MemoryDependencies,
) -> None:
    installed = threading.Event()

    def before(call: str) -> None:
        if call == "create process/gateway":
            assert installed.wait(30)
        if call == "create release/hello":
            installed.set()

    memory.world.before = before
    report = up(memory)
    assert installed.is_set()
    assert report.failed == 0
    addresses = [str(it.step.address) for it in report.ended]
    assert addresses[-1] == "extension/hello"


def test_down_keeps_data_and_with_volumes_leaves_nothing(memory: MemoryDependencies) -> None:
    up(memory)
    report = down(memory)
    assert report.failed == 0
    assert {it.address.kind for it in report.kept} == {"folder", "bucket", "tenant", "schema"}
    assert {it.kind for it in memory.world.there} == {"folder", "bucket", "tenant", "schema"}
    deleted = [it.removeprefix("delete ") for it in memory.world.calls if it.startswith("delete")]
    assert deleted.index("release/hello") < deleted.index(f"bundle/{FIRST}")
    assert deleted.index(f"bundle/{FIRST}") < deleted.index("process/store")
    up(memory)
    assert down(memory, volumes=True).failed == 0
    assert not any(it.kind in (FOLDER.name, PROCESS.name) for it in memory.world.there)
    assert memory.saved is None


def test_down_needs_no_spec(memory: MemoryDependencies, monkeypatch: pytest.MonkeyPatch) -> None:
    up(memory)

    def unreadable(_: object) -> None:
        raise SpecError(Problem("yaml-syntax", "cannot read the spec", "correct it"))

    monkeypatch.setattr(memory, "load_spec", unreadable)
    report = down(memory)
    assert report.failed == 0
    assert "delete release/hello" in outcomes(report)
    assert RELEASE.address("hello") not in memory.world.there


def test_down_names_the_content_that_it_could_not_reach(memory: MemoryDependencies) -> None:
    up(memory)
    memory.world.stop("store")
    kept = {str(it.address): it.why for it in down(memory).kept}
    assert kept["content/rows and bundles"].startswith("store did not run")
    assert RELEASE.address("hello") in memory.world.there
    assert PROCESS.address("database") not in memory.world.there


def test_up_of_one_extension_leaves_the_others_as_they_are(memory: MemoryDependencies) -> None:
    memory.archives["other"] = b"other"
    up(memory)
    memory.archives |= {"hello": b"second", "other": b"edited"}
    memory.request = replace(memory.request, extensions=("hello",))
    addresses = {str(it.address) for it in plan(memory).actions}
    assert addresses == {f"bundle/{SECOND}", f"handler/{SECOND}", "release/hello"}


def test_what_is_out_of_the_profile_is_left_alone_until_it_is_named(
    memory: MemoryDependencies,
) -> None:
    memory.archives["other"] = b"other"
    memory.inactive = frozenset({"other"})
    up(memory)
    assert RELEASE.address("other") not in memory.world.there
    memory.request = replace(memory.request, extensions=("other",))
    assert "create release/other: missing" in str(plan(memory))
    assert up(memory).failed == 0
    memory.request = replace(memory.request, extensions=())
    memory.archives["other"] = b"edited"
    assert str(plan(memory)) == ""
    assert up(memory).failed == 0
    assert {it.name for it in status(memory).extensions} == {"hello", "other"}
    del memory.archives["other"]
    assert "delete release/other: no longer in the spec" in str(plan(memory))
    memory.archives["other"] = b"edited"
    assert "delete release/other" in outcomes(down(memory))


def make_task(name: str, *needs: str, command: str = "seed") -> TaskIntent:
    where = Where("algaenv.yaml", 1, 1)
    return TaskIntent(name, (command,), True, "/here", {}, needs, (), 5.0, where)


def test_tasks_run_once_what_they_need_is_there(memory: MemoryDependencies) -> None:
    memory.tasks = (make_task("migrate", "database"), make_task("seed", "migrate", "hello"))
    assert "run task/seed: has not run" in str(plan(memory))
    report = up(memory)
    assert report.failed == 0
    ended = [str(it.step.address) for it in report.ended]
    for before, after in (
        ("process/database", "task/migrate"),
        ("tenant/main", "task/migrate"),
        ("task/migrate", "task/seed"),
        ("release/hello", "task/seed"),
    ):
        assert ended.index(before) < ended.index(after)
    assert str(plan(memory)) == ""
    assert up(memory).changed == 0
    memory.task_files["migrate"] = {"a.sql": "1"}
    assert str(plan(memory)).splitlines() == [
        "run task/migrate: inputs changed: a.sql",
        "run task/seed: what it needs changes: task/migrate",
    ]
    memory.request = replace(memory.request, extensions=("hello",))
    assert str(plan(memory)) == ""


def test_a_task_that_fails_keeps_back_what_needs_it_and_nothing_else(
    memory: MemoryDependencies,
) -> None:
    memory.tasks = (make_task("migrate", command="false"), make_task("seed", "migrate"))
    report = up(memory)
    found = outcomes(report)
    assert isinstance(found["run task/migrate"], FailedStep)
    assert found["run task/seed"] == Skipped("task/migrate")
    assert found["create release/hello"] == Done()
    assert report_exit_code(report) is ExitCode.RESOURCE
    memory.tasks = (make_task("migrate"), make_task("seed", "migrate"))
    assert up(memory).changed == 2
    drift = memory.application.drift(memory.request, memory.events.append)
    assert [it for it in drift.drifted if it.address in TASK] == []


def test_what_a_task_needs_is_not_there(memory: MemoryDependencies) -> None:
    def broken() -> None:
        raise ResolveError(Problem("build-failed", "cannot build hello"))

    memory.before_packing = broken
    memory.tasks = (make_task("seed", "hello"),)
    assert outcomes(up(memory))["run task/seed"] == Skipped("bundle/hello")


def test_a_task_is_run_by_hand(memory: MemoryDependencies) -> None:
    run_task = memory.application.run_task
    memory.tasks = (make_task("migrate"), make_task("seed", "migrate"))
    early = run_task(memory.request, "seed", memory.events.append)
    assert [it.code for it in early.problems] == ["not-up"]
    up(memory)
    memory.world.calls.clear()
    report = run_task(memory.request, "seed", memory.events.append)
    assert (report.failed, report.changed) == (0, 1)
    assert [str(it.step) for it in report.ended] == ["run task/seed: by hand"]
    assert memory.world.calls == ["run task/seed"]
    assert str(plan(memory)) == ""
    unknown = run_task(memory.request, "sed", memory.events.append)
    assert [(it.code, it.hint) for it in unknown.problems] == [
        ("task-unknown", "did you mean `seed`?")
    ]
    assert report_exit_code(unknown) is ExitCode.SPEC


def test_prewarms_of_many_extensions_are_all_in_the_plan(memory: MemoryDependencies) -> None:
    memory.archives = {f"e{number:02}": bytes([number]) for number in range(12)}
    assert str(plan(memory)).count("prewarm handler/") == 12
    assert up(memory).failed == 0
    assert str(plan(memory)) == ""


def test_what_is_not_ours_is_in_the_way(memory: MemoryDependencies) -> None:
    up(memory)
    memory.world.there[RELEASE.address("hello")] = Present(recorded=None, note="another tool")
    planned = plan(memory)
    assert [it.problem.code for it in planned.blocked] == ["not-ours"]
    assert str(up(memory).error) == "Conflict"
    memory.request = replace(memory.request, adopt=True)
    assert "update release/hello: adopted: another tool" in str(plan(memory))


def test_the_status_before_the_first_up(memory: MemoryDependencies) -> None:
    assert {it.state for it in status(memory).services} == {"absent"}


def test_the_status_of_a_running_environment(memory: MemoryDependencies) -> None:
    up(memory)
    found = status(memory)
    assert {it.name: it.engine for it in found.services}["store"] == "memory 1"
    (hello,) = found.extensions
    assert (hello.name, hello.ready, hello.version) == ("hello", True, "1.0.0")
    assert hello.call_url.startswith(memory.lock.urls.gateway)
    assert application_url(memory) == memory.lock.urls.gateway


def application_url(memory: MemoryDependencies) -> str:
    return memory.application.endpoint_of(memory.request, "hello").gateway


def test_an_interrupted_restore_stops_up_before_it_changes_anything(tmp_path: Path) -> None:
    dependencies = MemoryDependencies(tmp_path)
    dependencies.unfinished = UNFINISHED
    report = dependencies.application.up(dependencies.request, dependencies.events.append)
    assert [it.code for it in report.problems] == ["restore-unfinished"]
    assert report.ended == ()
    dependencies.unfinished = None
    assert not dependencies.application.up(dependencies.request, print).failed


def test_an_external_database_is_neither_saved_nor_restored(tmp_path: Path) -> None:
    dependencies = MemoryDependencies(tmp_path)
    application, request = dependencies.application, dependencies.request
    with pytest.raises(NotReady) as before:
        application.save_snapshot(request, "one", print, replace=False)
    assert before.value.problem.code == "not-up"
    application.up(request, print)
    assert dependencies.saved is not None
    external = ExternalDatabase(Secret("postgresql://localhost/server"))
    intent = replace(dependencies.saved.intent, database=external)
    dependencies.saved = replace(dependencies.saved, intent=intent)
    with pytest.raises(Refused) as caught:
        application.restore_snapshot(request, "one", print)
    assert caught.value.problem.code == "snapshot-external"
