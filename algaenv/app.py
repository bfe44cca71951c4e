"""The use cases `up`, `plan`, `status`, `down` and `restart`, over protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from algaenv.bundle.value import replace
from algaenv.dependencies import (
    DATABASE_MOVED,
    Request,
    SavedState,
    leaves_external_database,
    tenant_of,
)
from algaenv.model.drift import DriftReport
from algaenv.model.event import (
    Done,
    Emit,
    Report,
    RuntimeChosen,
    Warned,
)
from algaenv.model.intent import (
    Intent,
)
from algaenv.model.lock import Environment, Lock
from algaenv.model.plan import Plan
from algaenv.model.problem import (
    AlgaenvError,
    NotReady,
    Problem,
    Refused,
)
from algaenv.model.status import Status
from algaenv.pinning import Pinning
from algaenv.reconcile.converge import (
    Backends,
    Options,
    PlanResult,
    converge,
    make_plan,
)
from algaenv.reconcile.drift import (
    find_drift,
    record_after,
    secrets_gone,
)
from algaenv.reconcile.prefetch import PrefetchedContent
from algaenv.reconcile.protocols import ContentHost, Runtime
from algaenv.reconcile.relocation import moved_warning, orphan_warning
from algaenv.reconcile.report import (
    any_failed,
    failed_report,
    finish_report,
    partial_plan,
    report_of,
    serialized,
    with_engine_failure,
)
from algaenv.reconcile.resolve import (
    BackgroundResolver,
    Resolution,
    resolve,
    selected,
    worth_background,
)
from algaenv.reconcile.status import empty_status, read_status, status_after_up
from algaenv.reconcile.time_limit import TimeLimit
from algaenv.run_task import TaskRuns
from algaenv.snapshots import Snapshots
from algaenv.take_down import TakeDown

if TYPE_CHECKING:
    from algaenv.plan.saved import SavedPlan

NO_RECORD = Problem(
    code="drift-no-record",
    summary="cannot tell what has drifted: no `up` has left anything to compare with",
    hint="bring it up with `algaenv up`",
)
QUICK_RESOLVE_SECONDS = 0.1
"""Seconds in which bundles are resolved when there is nothing to build."""


class Application(Pinning, Snapshots, TakeDown, TaskRuns):
    """Implements UseCases over Dependencies."""

    def up(self, request: Request, emit: Emit) -> Report:
        """See UseCases."""
        emit = serialized(emit)
        limit = None
        if request.limit_seconds is not None:
            limit = TimeLimit(request.limit_seconds, request.cancelled, emit)
            request, emit = replace(request, cancelled=limit.cancelled), limit.emit
        report = Report("up")
        try:
            intent, environment = self._load(request, emit)
            self._require_pins(request, environment, intent, emit)
            wait, cancelled = request.lock_seconds, request.cancelled
            lock_environment = self._dependencies.lock_environment
            renew_lifetime = self._dependencies.renew_lifetime
            with lock_environment(environment, "up", wait=wait, cancelled=cancelled):
                if request.saved_plan is None:  # Else once the plan is found to fit.
                    # Before, so that a run that is killed is taken down too.
                    renew_lifetime(environment, request.lifetime)
                report = self._up(request, intent, environment, emit)
                renew_lifetime(environment, None)
        except AlgaenvError as error:
            report = failed_report("up", error)
        return finish_report(report, emit, cancelled=request.cancelled(), limit=limit)

    def plan(self, request: Request, emit: Emit) -> Plan:
        """See UseCases."""
        return self._make_plan(request, serialized(emit))[0].plan

    def plan_to_save(self, request: Request, emit: Emit) -> tuple[Plan, SavedPlan]:
        """See UseCases."""
        planned, lock, runtime = self._make_plan(request, serialized(emit))
        return planned.plan, planned.to_save(lock, runtime.name, request.plan_options())

    def _make_plan(self, request: Request, emit: Emit) -> tuple[PlanResult, Lock, Runtime]:
        intent, environment = self._load(request, emit)
        self._require_pins(request, environment, intent, emit)
        saved = self._dependencies.load_state(environment)
        self._warn_of_moves(environment, saved, emit)
        resolver = self._resolver(request, environment, intent, emit, in_background=False)
        runtime, why = self._dependencies.choose_runtime(request, environment, intent, saved)
        emit(RuntimeChosen(runtime.name, why))
        if move_warning := self._runtime_move_warning(environment, saved, runtime):
            emit(Warned(move_warning))
        lock = self._lock(request, environment, intent, resolver.result(), saved)
        options = Options(
            adopt=request.adopt, cancelled=request.cancelled, thorough=request.thorough
        )
        backends = self._backends(runtime, lock, request)
        return make_plan(lock, backends, emit, options), lock, runtime

    def drift(self, request: Request, emit: Emit) -> DriftReport:
        """See UseCases."""
        emit = serialized(emit)
        environment = self._dependencies.identify(request.spec, request.spec.parent.name)
        saved = self._dependencies.load_state(environment)
        if saved is None or not saved.record:
            raise NotReady(NO_RECORD)
        # The rules are those of the spec as it is now: a new one counts at once.
        rules = self._load(request, emit)[0].drift_ignore
        intent = replace(saved.intent, drift_ignore=rules)
        environment = replace(environment, name=intent.name)
        self._warn_of_moves(environment, saved, emit)
        runtime, why = self._dependencies.choose_runtime(
            replace(request, runtime=None), environment, intent, saved
        )
        emit(RuntimeChosen(runtime.name, why))
        credentials = self._dependencies.existing_credentials(environment, intent)
        if credentials is None:
            return secrets_gone()
        ports = self._dependencies.ports(environment, intent)
        lock = Lock(environment, intent, ports, credentials, (), tenant_of(saved, intent))
        return find_drift(lock, saved.record, self._backends(runtime, lock))

    def status(self, request: Request, emit: Emit) -> Status:
        """See UseCases."""
        emit = serialized(emit)
        environment = self._dependencies.identify(request.spec, request.spec.parent.name)
        saved = self._dependencies.load_state(environment)
        if saved is None:
            intent, environment = self._load(request, emit)
        else:
            intent, environment = saved.intent, replace(environment, name=saved.intent.name)
        self._warn_of_moves(environment, saved, emit)
        runtime, why = self._dependencies.choose_runtime(request, environment, intent, saved)
        emit(RuntimeChosen(runtime.name, why))
        credentials = self._dependencies.existing_credentials(environment, intent)
        if credentials is None:
            return empty_status(environment, intent, runtime.name)
        ports = self._dependencies.ports(environment, intent)
        lock = Lock(environment, intent, ports, credentials, (), tenant_of(saved, intent))
        return read_status(lock, self._backends(runtime, lock), emit)

    def restart(self, request: Request, services: Sequence[str], emit: Emit) -> Report:
        """See UseCases."""
        emit = serialized(emit)
        try:
            lock = self._lock_that_is_up(request, ", ".join(services) or "the services")
            lock_environment = self._dependencies.lock_environment
            wait, cancelled = request.lock_seconds, request.cancelled
            with lock_environment(lock.environment, "restart", wait=wait, cancelled=cancelled):
                report = self._restart(request, lock, frozenset(services), emit)
        except AlgaenvError as error:
            report = failed_report("restart", error)
        return finish_report(report, emit, cancelled=request.cancelled())

    def _restart(
        self, request: Request, lock: Lock, services: frozenset[str], emit: Emit
    ) -> Report:
        environment, intent = lock.environment, lock.intent
        saved = self._dependencies.load_state(environment)
        runtime, why = self._dependencies.choose_runtime(request, environment, intent, saved)
        emit(RuntimeChosen(runtime.name, why))
        servers = self._dev_servers(request, environment, intent, Resolution())
        lock = replace(lock, dev_servers=servers, only=())  # It is about no extension.
        options = Options(False, request.cancelled, request.ready_seconds, services)
        backends = self._backends(runtime, lock)
        planned = make_plan(lock, backends, emit, options)
        planned.refuse_obstacles()
        planned, ended = converge(planned, lock, backends, emit, options)
        report = report_of("restart", planned, ended, cancelled=request.cancelled())
        failed = planned.failure is not None or any_failed(ended)
        return with_engine_failure(report, runtime, environment) if failed else report

    def _up(self, request: Request, intent: Intent, environment: Environment, emit: Emit) -> Report:
        if problem := self._dependencies.unfinished_restore(environment):
            raise Refused(problem)
        for problem in self._remove_leftovers(environment, data=False):
            emit(Warned(problem))
        in_background = request.saved_plan is None and worth_background(intent)
        resolver = self._resolver(request, environment, intent, emit, in_background=in_background)
        try:
            return self._converge(request, intent, environment, emit, resolver)
        finally:
            resolver.stop()

    def _converge(
        self,
        request: Request,
        intent: Intent,
        environment: Environment,
        emit: Emit,
        resolver: BackgroundResolver,
    ) -> Report:
        saved = self._dependencies.load_state(environment)
        self._warn_of_moves(environment, saved, emit)

        def resolved_lock(seconds: float | None = None) -> Lock | None:
            if seconds is not None and not resolver.ready_within(seconds):
                return None
            return self._lock(request, environment, intent, resolver.result(), saved)

        lock = resolved_lock(QUICK_RESOLVE_SECONDS) if saved is not None else None
        if lock is not None:
            # It has been up before, so its content can be read while the runtime is chosen.
            content: ContentHost = PrefetchedContent(self._dependencies.content_host(lock), lock)
        runtime, why = self._dependencies.choose_runtime(request, environment, intent, saved)
        emit(RuntimeChosen(runtime.name, why))
        move_warning = self._runtime_move_warning(environment, saved, runtime)
        if move_warning is not None and not request.leave_data:
            raise Refused(move_warning)
        built = lock is not None
        if lock is None:
            lock = resolved_lock(QUICK_RESOLVE_SECONDS)
            built = lock is not None
            lock = lock or self._lock(request, environment, intent, Resolution(), saved)
            content = self._dependencies.content_host(lock)
        options = Options(
            *(request.adopt, request.cancelled, request.ready_seconds),
            thorough=request.thorough,
            exactly=request.saved_plan is not None,
        )
        if saved is not None and leaves_external_database(saved.intent, intent):
            emit(Warned(DATABASE_MOVED))
        tasks = self._task_host(request, lock)
        backends = Backends(runtime, content, self._dependencies.prober(), tasks)
        lock_source = None if built else resolved_lock
        planned = make_plan(lock, backends, emit, options, lock_source)
        planned.refuse_obstacles()
        self._refuse_other_plan(request, planned, lock, runtime)
        left = set(saved.data_runtimes) if saved is not None else set()
        if saved is not None and move_warning is not None:
            left.add(saved.runtime)
        data_runtimes = tuple(sorted(left - {runtime.name}))
        before = saved.record if saved is not None else None
        record = before if saved is not None and saved.runtime == runtime.name else None
        state = SavedState(
            intent, runtime.name, lock.tenant_id, data_runtimes, str(environment.spec), record
        )
        if state != saved:
            self._dependencies.save_state(environment, state)
        planned, ended = converge(planned, lock, backends, emit, options, lock_source=lock_source)
        lock = lock if built else resolved_lock() or lock
        report = report_of("up", planned, ended, cancelled=request.cancelled())
        if planned.failure is not None or any_failed(ended):
            report = with_engine_failure(report, runtime, environment)
        tenant_id = (
            planned.ids.tenant_id if planned.ids and not planned.ids.problems else state.tenant_id
        )
        record = record_after(record, planned, ended, {it.name for it in intent.every_extension})
        if (tenant_id, record) != (state.tenant_id, state.record):
            state = replace(state, tenant_id=tenant_id, record=record)
            self._dependencies.save_state(environment, state)
        if report.failed or any(not isinstance(it.outcome, Done) for it in ended):
            return report
        if options.exactly and planned.plan.deferred:
            emit(Warned(partial_plan(planned.plan.deferred)))
            return report
        return replace(report, status=status_after_up(lock, planned, runtime.name))

    def _refuse_other_plan(
        self, request: Request, planned: PlanResult, lock: Lock, runtime: Runtime
    ) -> None:
        """Raise StalePlan where a saved plan is to be carried out, and this is another."""
        if request.saved_plan is not None:
            now = planned.to_save(lock, runtime.name, request.plan_options())
            request.saved_plan.refuse_other(now)
            self._dependencies.renew_lifetime(lock.environment, request.lifetime)

    def _warn_of_moves(
        self, environment: Environment, saved: SavedState | None, emit: Emit
    ) -> None:
        """Warn of a recognised moved checkout, and of states that belong to no spec here."""
        before = saved.spec if saved is not None else ""
        if before and before != str(environment.spec):
            emit(Warned(moved_warning(environment, before)))
        for orphan in self._dependencies.orphaned_states(environment):
            if saved is None or not orphan.here:
                emit(Warned(orphan_warning(orphan)))

    def _runtime_move_warning(
        self, environment: Environment, saved: SavedState | None, runtime: Runtime
    ) -> Problem | None:
        """The warning when the environment would leave its data with another runtime."""
        if saved is None or saved.runtime == runtime.name:
            return None
        return self._dependencies.runtime_move_warning(environment, saved.runtime, runtime.name)

    def _resolver(
        self,
        request: Request,
        environment: Environment,
        intent: Intent,
        emit: Emit,
        *,
        in_background: bool,
    ) -> BackgroundResolver:
        """Resolves the bundles of the selected extensions; SpecError for an unknown one."""
        names = selected(intent, request.extensions)
        extensions = [it for it in intent.extensions if it.name in names]

        def run_resolve(cancelled: Callable[[], bool]) -> Resolution:
            builder = self._dependencies.bundle_builder(environment, cancelled)
            if request.wrap_builder is not None:
                builder = request.wrap_builder(builder)
            return resolve(extensions, builder, emit)

        return BackgroundResolver(run_resolve, request.cancelled, in_background=in_background)

    def _lock(
        self,
        request: Request,
        environment: Environment,
        intent: Intent,
        resolution: Resolution,
        saved: SavedState | None,
    ) -> Lock:
        return Lock(
            environment=environment,
            intent=intent,
            ports=self._dependencies.ports(environment, intent),
            credentials=self._dependencies.credentials(environment, intent),
            extensions=resolution.extensions,
            tenant_id=tenant_of(saved, intent),
            broken=resolution.broken,
            dev_servers=self._dev_servers(request, environment, intent, resolution),
            only=request.extensions or None,
            seed_files=None if request.extensions else self._dependencies.seed_files(intent),
        )

    def _dev_servers(
        self, request: Request, environment: Environment, intent: Intent, resolution: Resolution
    ) -> Mapping[str, str]:
        """Development servers of extensions that have no bundle in this run."""
        resolved = {it.name for it in resolution.extensions}
        left = [it for it in intent.every_extension if it.ui_dev_server and it.name not in resolved]
        if not left:
            return {}
        bundle_builder = self._dependencies.bundle_builder(environment, request.cancelled)
        return {
            id_: it.ui_dev_server
            for it in left
            if it.ui_dev_server and (id_ := bundle_builder.registry_id(it)) is not None
        }

    def _backends(self, runtime: Runtime, lock: Lock, request: Request | None = None) -> Backends:
        """Without a request those of a run that runs no tasks."""
        content, prober = self._dependencies.content_host(lock), self._dependencies.prober()
        tasks = None if request is None else self._task_host(request, lock)
        return Backends(runtime, content, prober, tasks)
