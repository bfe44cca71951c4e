"""The use case `down`: remove what the runs of an environment have made, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from algaenv.bundle.value import replace
from algaenv.dependencies import Request, SavedState
from algaenv.last_run import LastRun
from algaenv.model.event import Emit, Ended, Report, RuntimeChosen
from algaenv.model.intent import ExternalDatabase
from algaenv.model.lock import Environment
from algaenv.model.plan import Kept
from algaenv.model.problem import AlgaenvError, Failed, Problem
from algaenv.reconcile.converge import Backends
from algaenv.reconcile.destroy import NoContentHost, make_destroy_plan
from algaenv.reconcile.drift import record_after_down
from algaenv.reconcile.executor import Executor
from algaenv.reconcile.prefetch import PrefetchedContent
from algaenv.reconcile.protocols import ContentHost
from algaenv.reconcile.relocation import remove_copy
from algaenv.reconcile.report import (
    any_failed,
    failed_report,
    finish_report,
    serialized,
    with_engine_failure,
)


class TakeDown(LastRun):
    """The part of UseCases that takes an environment down."""

    def down(self, request: Request, emit: Emit, *, volumes: bool) -> Report:
        """See UseCases."""
        emit = serialized(emit)
        report = Report("down")
        try:
            environment = self._dependencies.identify(request.spec, request.spec.parent.name)
            with self._dependencies.lock_environment(environment, "down"):
                if request.only_expired and not self._dependencies.is_expired(environment):
                    return finish_report(report, emit, cancelled=request.cancelled())
                report = self._down(request, environment, emit, volumes=volumes)
                if not report.failed and not request.cancelled():
                    self._dependencies.forget_lifetime(environment)
            if volumes and not report.failed:
                report = self._down_orphans(request, environment, emit, report)
        except AlgaenvError as error:
            report = failed_report("down", error)
        return finish_report(report, emit, cancelled=request.cancelled())

    def _down(
        self, request: Request, environment: Environment, emit: Emit, *, volumes: bool
    ) -> Report:
        saved = self._dependencies.load_state(environment)
        lock = self._lock_of_last_run(environment, saved)
        external = lock is not None and isinstance(lock.intent.database, ExternalDatabase)
        asked = lock is not None and (external or not volumes)
        content: ContentHost = NoContentHost()
        if lock is not None:
            content = self._dependencies.content_host(lock, writes=asked)
            content = PrefetchedContent(content, lock) if asked else content
        ended: list[Ended] = []
        kept: list[Kept] = []
        for runtime in self._dependencies.runtimes_present(environment, saved, data=volumes):
            emit(RuntimeChosen(runtime.name, "it holds this environment"))
            backends = Backends(runtime, content, self._dependencies.prober())
            reached = lock if saved is not None and runtime.name == saved.runtime else None
            plan = make_destroy_plan(
                environment, backends, reached, emit, volumes=volumes, external=external
            )
            drivers = backends.drivers(environment)
            executor = Executor(drivers, backends.prober, emit, 0.0, request.cancelled)
            ended += executor.execute(plan)
            kept += plan.kept
            if any_failed(ended):
                report = Report("down", tuple(ended), kept=tuple(kept))
                report = with_engine_failure(report, runtime, environment)
                if report.problems:
                    return report
        report = Report("down", tuple(ended), kept=tuple(kept))
        self._record_down(environment, saved, ended)
        if request.cancelled():
            return report
        problems = self._remove_leftovers(environment, data=volumes)
        nothing_left = volumes or (saved is None and not kept)
        if nothing_left and not report.failed and not problems:
            try:
                kept += self._dependencies.delete_state(environment)
            except Failed as error:
                problems = error.problems
        failed = Failed.__name__ if problems else ""
        return replace(report, problems=problems, error=failed, kept=tuple(kept))

    def _record_down(
        self, environment: Environment, saved: SavedState | None, ended: Sequence[Ended]
    ) -> None:
        if saved is None or saved.record is None:
            return
        record = record_after_down(saved.record, ended)
        if record != saved.record:
            self._dependencies.save_state(environment, replace(saved, record=record))

    def _down_orphans(
        self, request: Request, environment: Environment, emit: Emit, report: Report
    ) -> Report:
        """Remove the states of moved or copied checkouts beside this one as well."""
        for orphan in self._dependencies.orphaned_states(environment):
            if orphan.here or request.cancelled():
                continue  # Its spec may come back; `down` for that spec removes it.
            other = orphan.environment
            try:
                with self._dependencies.lock_environment(other, "down"):
                    if orphan.copied:
                        more = Report(
                            "down", remove_copy(orphan, self._dependencies.delete_copy, emit)
                        )
                    else:
                        more = self._down(request, other, emit, volumes=True)
            except AlgaenvError as error:
                more = failed_report("down", error)
            report = replace(
                report,
                ended=report.ended + more.ended,
                problems=report.problems + more.problems,
                error=report.error or more.error,
                kept=report.kept + more.kept,
            )
        return report

    def _remove_leftovers(self, environment: Environment, *, data: bool) -> tuple[Problem, ...]:
        """Remove what killed runs have left; returns what could not be removed."""
        try:
            self._dependencies.remove_leftovers(environment, data=data)
        except AlgaenvError as error:
            return tuple(error.problems)
        return ()
