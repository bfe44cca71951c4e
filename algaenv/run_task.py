"""The use case that runs one task of the spec by hand, in an environment that is up."""

from __future__ import annotations

from algaenv.bundle.value import replace
from algaenv.dependencies import Request
from algaenv.last_run import LastRun
from algaenv.model.event import Emit, Planned, Report, Reported
from algaenv.model.intent import Intent, TaskIntent
from algaenv.model.kind import TASK
from algaenv.model.lock import Lock
from algaenv.model.problem import AlgaenvError, Problem, SpecError
from algaenv.reconcile.protocols import TaskHost


class TaskRuns(LastRun):
    """The part of UseCases that runs tasks."""

    def run_task(self, request: Request, name: str, emit: Emit) -> Report:
        """See UseCases."""
        from algaenv.reconcile.report import serialized

        emit = serialized(emit)
        try:
            intent, _ = self._load(request, emit)
            task = _named(intent, name)
            lock = self._lock_that_is_up(request, f"what the task {name} needs")
            lock = replace(lock, intent=replace(lock.intent, tasks=intent.tasks))
            lock_environment = self._dependencies.lock_environment
            wait, cancelled = request.lock_seconds, request.cancelled
            with lock_environment(lock.environment, "run", wait=wait, cancelled=cancelled):
                report = self._run(request, lock, task, emit)
        except AlgaenvError as error:
            report = Report("run", problems=error.problems, error=type(error).__name__)
        emit(Reported(report))
        return report

    def _run(self, request: Request, lock: Lock, task: TaskIntent, emit: Emit) -> Report:
        from algaenv.plan.desired import predicted_ids
        from algaenv.plan.order import build_plan
        from algaenv.plan.tasks import BY_HAND, run_of, task_resource
        from algaenv.reconcile.executor import Executor

        tasks = self._dependencies.task_host(request, lock)
        seen = tasks.observe([task])[task.name]
        ids = predicted_ids(lock)
        ids = replace(ids, tenant_id=lock.tenant_id or ids.tenant_id)
        hosts = {it: TASK.address(it) for it in ("gateway",) if lock.ports.gateway}
        wanted = task_resource(lock, ids, hosts, task, seen.files)
        plan = build_plan((run_of(wanted, seen, BY_HAND),))
        emit(Planned(plan.steps))
        prober = self._dependencies.prober()
        executor = Executor(lambda: {TASK.name: tasks}, prober, emit, 0.0, request.cancelled)
        ended = executor.execute(plan)
        return Report("run", ended, interrupted=request.cancelled())

    def _task_host(self, request: Request, lock: Lock) -> TaskHost | None:
        """What runs tasks; None where the spec has none."""
        return self._dependencies.task_host(request, lock) if lock.intent.tasks else None


def _named(intent: Intent, name: str) -> TaskIntent:
    known = [it.name for it in intent.tasks]
    if name in known:
        return intent.tasks[known.index(name)]
    from algaenv.spec.diagnostics import suggestion

    raise SpecError(
        Problem(
            "task-unknown",
            f"cannot run {name}: the spec has no task of that name",
            suggestion(name, known, "add it under `tasks`"),
        )
    )
