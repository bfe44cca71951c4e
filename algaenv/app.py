"""The use cases: what `up`, `plan`, `status` and `down` mean, over protocols and values."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from algaenv.dependencies import Dependencies, Request, SavedState
from algaenv.model.event import Done, Emit, Ended, Event, Report, Reported, RuntimeChosen, Warned
from algaenv.model.intent import (
    ExternalDatabase,
    Intent,
    ManagedDatabase,
)
from algaenv.model.lock import Environment, Lock
from algaenv.model.plan import Kept, Plan
from algaenv.model.problem import AlgaenvError, Failed, NotReady, Problem, Refused, SpecError
from algaenv.model.status import ExtensionEndpoint, Status
from algaenv.reconcile.converge import (
    Backends,
    Options,
    PlanResult,
    converge,
    make_destroy_plan,
    make_plan,
)
from algaenv.reconcile.executor import Executor
from algaenv.reconcile.prefetch import PrefetchedContent
from algaenv.reconcile.protocols import ContentHost, ResourceDriver, Runtime, Snapshot
from algaenv.reconcile.relocation import moved_warning, orphan_warning, remove_copy
from algaenv.reconcile.resolve import BackgroundResolver, Resolution, resolve
from algaenv.reconcile.status import empty_status, endpoint_of, read_status, status_after_up

PROMPT = 0.1
"""Seconds in which bundles are settled when there is nothing to build."""
CUT_SHORT = "build-cancelled"


class Application:
    """The one UseCases there is: every use case as a few lines over a Dependencies."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies

    def up(self, request: Request, emit: Emit) -> Report:
        """See UseCases."""
        emit = _one_at_a_time(emit)
        report = Report("up")
        try:
            intent, environment = self._load(request, emit)
            with self._dependencies.lock_environment(environment, "up"):
                report = self._up(request, intent, environment, emit)
        except AlgaenvError as error:
            report = _failed("up", error)
        return _told(report, request, emit)

    def plan(self, request: Request, emit: Emit) -> Plan:
        """See UseCases."""
        emit = _one_at_a_time(emit)
        intent, environment = self._load(request, emit)
        recorded = self._dependencies.load_state(environment)
        self._tell_moves(environment, recorded, emit)
        settling = self._settling(request, environment, intent, emit, in_background=False)
        runtime, why = self._dependencies.choose_runtime(request, environment, intent, recorded)
        emit(RuntimeChosen(runtime.name, why))
        if leaving := self._leaving(environment, recorded, runtime):
            emit(Warned(leaving))
        lock = self._lock(request, environment, intent, settling.result(), recorded)
        options = Options(adopt=request.adopt, cancelled=request.cancelled)
        return make_plan(lock, self._world(runtime, lock), emit, options).plan

    def status(self, request: Request, emit: Emit) -> Status:
        """See UseCases."""
        emit = _one_at_a_time(emit)
        environment = self._dependencies.identify(request.spec, request.spec.parent.name)
        recorded = self._dependencies.load_state(environment)
        if recorded is None:
            intent, environment = self._load(request, emit)
        else:
            intent, environment = recorded.intent, replace(environment, name=recorded.intent.name)
        self._tell_moves(environment, recorded, emit)
        runtime, why = self._dependencies.choose_runtime(request, environment, intent, recorded)
        emit(RuntimeChosen(runtime.name, why))
        credentials = self._dependencies.existing_credentials(environment, intent)
        if credentials is None:
            return empty_status(environment, intent, runtime.name)
        ports = self._dependencies.ports(environment, intent)
        lock = Lock(environment, intent, ports, credentials, (), _tenant_of(recorded, intent))
        return read_status(lock, self._world(runtime, lock), emit)

    def down(self, request: Request, emit: Emit, *, volumes: bool) -> Report:
        """See UseCases."""
        emit = _one_at_a_time(emit)
        report = Report("down")
        try:
            environment = self._dependencies.identify(request.spec, request.spec.parent.name)
            with self._dependencies.lock_environment(environment, "down"):
                report = self._down(request, environment, emit, volumes=volumes)
            if volumes and not report.failed:
                report = self._down_left(request, environment, emit, report)
        except AlgaenvError as error:
            report = _failed("down", error)
        return _told(report, request, emit)

    def endpoint_of(self, request: Request, extension: str) -> ExtensionEndpoint:
        """See UseCases."""
        environment = self._dependencies.identify(request.spec, request.spec.parent.name)
        recorded = self._dependencies.load_state(environment)
        lock = self._lock_of_last_run(environment, recorded)
        if lock is None:
            intent, _ = self._load(request, lambda _: None)
            raise NotReady(
                Problem(
                    "not-up",
                    f"cannot reach {extension}: {intent.name} has not been brought up",
                    "bring it up with `algaenv up`",
                )
            )
        return endpoint_of(lock, extension, self._dependencies.content(lock))

    def _load(self, request: Request, emit: Emit) -> tuple[Intent, Environment]:
        try:
            intent, warnings = self._dependencies.load_spec(request)
        except SpecError as error:
            for warning in error.warnings:
                emit(Warned(warning))
            raise
        for warning in warnings:
            emit(Warned(warning))
        if request.runtime is not None:
            intent = replace(intent, runtime=request.runtime)
        if request.images is not None:
            intent = replace(intent, images=request.images)
        return intent, self._dependencies.identify(request.spec, intent.name)

    def _up(self, request: Request, intent: Intent, environment: Environment, emit: Emit) -> Report:
        for problem in self._swept(environment, data=False):
            emit(Warned(problem))
        settling = self._settling(
            request, environment, intent, emit, in_background=_takes_time(intent)
        )
        try:
            return self._converge(request, intent, environment, emit, settling)
        finally:
            settling.stop()

    def _converge(
        self,
        request: Request,
        intent: Intent,
        environment: Environment,
        emit: Emit,
        settling: BackgroundResolver,
    ) -> Report:
        recorded = self._dependencies.load_state(environment)
        self._tell_moves(environment, recorded, emit)

        def settled(seconds: float | None = None) -> Lock | None:
            if seconds is not None and not settling.ready_within(seconds):
                return None
            return self._lock(request, environment, intent, settling.result(), recorded)

        lock = settled(PROMPT) if recorded is not None else None
        if lock is not None:
            # It has been up before, so its content may be looked at while the runtime is found.
            content: ContentHost = PrefetchedContent(self._dependencies.content(lock), lock)
        runtime, why = self._dependencies.choose_runtime(request, environment, intent, recorded)
        emit(RuntimeChosen(runtime.name, why))
        leaving = self._leaving(environment, recorded, runtime)
        if leaving is not None and not request.leave_data:
            raise Refused(leaving)
        built = lock is not None
        if lock is None:
            lock = settled(PROMPT)
            built = lock is not None
            lock = lock or self._lock(request, environment, intent, Resolution(), recorded)
            content = self._dependencies.content(lock)
        options = Options(adopt=request.adopt, cancelled=request.cancelled)
        if recorded is not None and _moved(recorded.intent, intent):
            emit(Warned(_LEFT_BEHIND))
        backends = Backends(runtime, content, self._dependencies.prober())
        late = None if built else settled
        planned = make_plan(lock, backends, emit, options, late)
        planned.refuse_obstacles()
        left = set(recorded.left) if recorded is not None else set()
        if recorded is not None and leaving is not None:
            left.add(recorded.runtime)
        others = tuple(sorted(left - {runtime.name}))
        now = SavedState(intent, runtime.name, lock.tenant_id, others, str(environment.spec))
        if now != recorded:
            self._dependencies.save_state(environment, now)
        planned, ended = converge(planned, lock, backends, emit, options, lock_source=late)
        lock = lock if built else settled() or lock
        report = _report("up", planned, ended, cancelled=request.cancelled())
        learned = (
            planned.ids.tenant_id if planned.ids and not planned.ids.problems else now.tenant_id
        )
        if learned != now.tenant_id:
            self._dependencies.save_state(environment, replace(now, tenant_id=learned))
        if report.failed or any(not isinstance(it.outcome, Done) for it in ended):
            return report
        return replace(report, status=status_after_up(lock, planned, runtime.name))

    def _down(
        self, request: Request, environment: Environment, emit: Emit, *, volumes: bool
    ) -> Report:
        recorded = self._dependencies.load_state(environment)
        lock = self._lock_of_last_run(environment, recorded)
        external = lock is not None and isinstance(lock.intent.database, ExternalDatabase)
        asked = lock is not None and (external or not volumes)
        content: ContentHost = _NoContent()
        if lock is not None:
            content = self._dependencies.content(lock)
            content = PrefetchedContent(content, lock) if asked else content
        ended: list[Ended] = []
        kept: list[Kept] = []
        for runtime in self._dependencies.runtimes_present(environment, recorded, data=volumes):
            emit(RuntimeChosen(runtime.name, "it holds this environment"))
            backends = Backends(runtime, content, self._dependencies.prober())
            reached = lock if recorded is not None and runtime.name == recorded.runtime else None
            plan = make_destroy_plan(
                environment, backends, reached, emit, volumes=volumes, external=external
            )
            drivers = backends.drivers(environment)
            executor = Executor(drivers, backends.prober, emit, 0.0, request.cancelled)
            ended += executor.execute(plan)
            kept += plan.kept
        report = Report("down", tuple(ended), kept=tuple(kept))
        if request.cancelled():
            return report
        problems = self._swept(environment, data=volumes)
        nothing_left = volumes or (recorded is None and not kept)
        if nothing_left and not report.failed and not problems:
            try:
                kept += self._dependencies.delete_state(environment)
            except Failed as error:
                problems = error.problems
        failed = Failed.__name__ if problems else ""
        return replace(report, problems=problems, error=failed, kept=tuple(kept))

    def _down_left(
        self, request: Request, environment: Environment, emit: Emit, report: Report
    ) -> Report:
        """Remove what checkouts that were moved or copied here brought along as well."""
        for left in self._dependencies.orphaned_states(environment):
            if left.here or request.cancelled():
                continue  # `down` for that spec removes it, which may come back.
            other = left.environment
            try:
                with self._dependencies.lock_environment(other, "down"):
                    if left.copied:
                        more = Report(
                            "down", remove_copy(left, self._dependencies.delete_copy, emit)
                        )
                    else:
                        more = self._down(request, other, emit, volumes=True)
            except AlgaenvError as error:
                more = _failed("down", error)
            report = replace(
                report,
                ended=report.ended + more.ended,
                problems=report.problems + more.problems,
                error=report.error or more.error,
                kept=report.kept + more.kept,
            )
        return report

    def _tell_moves(
        self, environment: Environment, recorded: SavedState | None, emit: Emit
    ) -> None:
        """Say that a moved checkout was found again, or where state lies that was not."""
        before = recorded.spec if recorded is not None else ""
        if before and before != str(environment.spec):
            emit(Warned(moved_warning(environment, before)))
        for left in self._dependencies.orphaned_states(environment):
            if recorded is None or not left.here:
                emit(Warned(orphan_warning(left)))

    def _leaving(
        self, environment: Environment, recorded: SavedState | None, runtime: Runtime
    ) -> Problem | None:
        """What is told when the environment would leave its data with another runtime."""
        if recorded is None or recorded.runtime == runtime.name:
            return None
        return self._dependencies.runtime_move_warning(environment, recorded.runtime, runtime.name)

    def _swept(self, environment: Environment, *, data: bool) -> tuple[Problem, ...]:
        """Remove what killed runs have left; what could not be removed."""
        try:
            self._dependencies.remove_leftovers(environment, data=data)
        except AlgaenvError as error:
            return tuple(error.problems)
        return ()

    def _lock_of_last_run(
        self, environment: Environment, recorded: SavedState | None
    ) -> Lock | None:
        """Where the content is; None when what it takes to reach it is lost."""
        if recorded is None:
            return None
        credentials = self._dependencies.existing_credentials(environment, recorded.intent)
        if credentials is None:
            return None
        ports = self._dependencies.ports(environment, recorded.intent)
        return Lock(environment, recorded.intent, ports, credentials, (), recorded.tenant_id)

    def _settling(
        self,
        request: Request,
        environment: Environment,
        intent: Intent,
        emit: Emit,
        *,
        in_background: bool,
    ) -> BackgroundResolver:
        """The bundles of the extensions that the run is about; SpecError for one there is not."""
        about = [it for it in intent.extensions if it.name in _about(request, intent)]

        def settle(cancelled: Callable[[], bool]) -> Resolution:
            return resolve(about, self._dependencies.bundle_builder(environment, cancelled), emit)

        return BackgroundResolver(settle, request.cancelled, in_background=in_background)

    def _lock(
        self,
        request: Request,
        environment: Environment,
        intent: Intent,
        resolution: Resolution,
        recorded: SavedState | None,
    ) -> Lock:
        return Lock(
            environment=environment,
            intent=intent,
            ports=self._dependencies.ports(environment, intent),
            credentials=self._dependencies.credentials(environment, intent),
            extensions=resolution.extensions,
            tenant_id=_tenant_of(recorded, intent),
            broken=resolution.broken,
            dev_servers=self._dev_servers(request, environment, intent, resolution),
            only=request.extensions or None,
        )

    def _dev_servers(
        self, request: Request, environment: Environment, intent: Intent, resolution: Resolution
    ) -> Mapping[str, str]:
        """Of extensions without a bundle in this run: the gateway is to know them as before."""
        resolved = {it.name for it in resolution.extensions}
        left = [it for it in intent.extensions if it.ui_dev_server and it.name not in resolved]
        if not left:
            return {}
        bundle_builder = self._dependencies.bundle_builder(environment, request.cancelled)
        return {
            id_: it.ui_dev_server
            for it in left
            if it.ui_dev_server and (id_ := bundle_builder.registry_id(it)) is not None
        }

    def _world(self, runtime: Runtime, lock: Lock) -> Backends:
        return Backends(runtime, self._dependencies.content(lock), self._dependencies.prober())


class _NoContent:
    """Stands for hosts nobody knows the address of any more."""

    def snapshot(self, lock: Lock) -> Snapshot:
        raise NotImplementedError

    def drivers(self) -> Mapping[str, ResourceDriver]:
        return {}


def _takes_time(intent: Intent) -> bool:
    """Whether services are worth starting beside the builds.

    The gateway's settings hold the ids of extensions with a server of their own, which only their
    manifests tell.
    """
    extensions = intent.extensions
    return any(it.build for it in extensions) and not any(it.ui_dev_server for it in extensions)


def _about(request: Request, intent: Intent) -> frozenset[str]:
    """The names of the extensions that a run is about."""
    known = [it.name for it in intent.extensions]
    unknown = [it for it in request.extensions if it not in known]
    if unknown:
        from algaenv.spec.suggest import suggestion

        raise SpecError(
            *(
                Problem(
                    "extension-unknown",
                    f"cannot bring up {name}: the spec has no extension of that name",
                    suggestion(name, known, "add it under `extensions`"),
                )
                for name in unknown
            )
        )
    return frozenset(request.extensions or known)


def _report(verb: str, planned: PlanResult, ended: tuple[Ended, ...], *, cancelled: bool) -> Report:
    # A build that was cut short has not failed.
    blocked = [b for b in planned.plan.blocked if not (cancelled and b.problem.code == CUT_SHORT)]
    problems = tuple(it.problem for it in blocked)
    errors = {it.error for it in blocked}
    # Without a bundle is nearer to the root than what is in the way.
    error = min(errors, key=lambda it: (it != "ResolveError", it == "Conflict", it), default="")
    if planned.failure is not None:
        problems += planned.failure.problems
        error = error or type(planned.failure).__name__
    cut = len(blocked) < len(planned.plan.blocked)
    return Report(verb, ended, problems, error, kept=planned.plan.kept, interrupted=cut)


_LEFT_BEHIND = Problem(
    code="database-moved",
    summary="cannot look into the database of the last run any more: install rows of ours may stay",
    hint="bring its `url` back, run `algaenv down`, and change the database then",
)


def _tenant_of(recorded: SavedState | None, intent: Intent) -> str:
    """The tenant of the last run, as long as the spec asks for the same one of the same database.

    A managed database keeps its tenant under a new name of the environment.
    """
    if recorded is None or recorded.intent.tenant != intent.tenant:
        return ""
    managed = [isinstance(it.database, ManagedDatabase) for it in (recorded.intent, intent)]
    same = all(managed) or recorded.intent.database == intent.database
    return recorded.tenant_id if same else ""


def _moved(before: Intent, now: Intent) -> bool:
    """Whether an external database has been left for another one."""
    return isinstance(before.database, ExternalDatabase) and before.database != now.database


def _failed(verb: str, error: AlgaenvError) -> Report:
    return Report(verb, problems=error.problems, error=type(error).__name__)


def _told(report: Report, request: Request, emit: Emit) -> Report:
    if request.cancelled():
        problems = tuple(p for p in report.problems if p.code != "build-cancelled")
        report = replace(report, problems=problems, error=report.error if problems else "")
    unfinished = any(not isinstance(ended.outcome, Done) for ended in report.ended)
    cut = report.interrupted or unfinished or not report.ended
    report = replace(report, interrupted=request.cancelled() and cut)
    emit(Reported(report))
    return report


def _one_at_a_time(emit: Emit) -> Emit:
    """Steps run in threads; a sink hears one event at a time."""
    gate = threading.Lock()

    def tell(event: Event) -> None:
        with gate:
            emit(event)

    return tell
