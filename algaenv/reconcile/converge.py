"""Brings an environment up: plans both tiers at once, and executes the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from algaenv.bundle.value import dataclass, field, replace
from algaenv.model.content import ContentIds
from algaenv.model.event import Emit, Ended, Planned
from algaenv.model.kind import (
    BUNDLE,
    CONTENT_SERVICES,
    RELEASE,
    SEED_OBJECTS,
    SEED_RECORDS,
    SEED_SQL,
    TASK,
    Address,
    Tier,
    kind_of,
)
from algaenv.model.lock import Environment, Lock
from algaenv.model.plan import (
    Blocked,
    Change,
    Decision,
    Deferred,
    Kept,
    Plan,
    Prewarm,
    Same,
    Verb,
)
from algaenv.model.problem import AlgaenvError, Conflict, Unavailable
from algaenv.plan.desired import TENANT, desired_content, predicted_ids
from algaenv.plan.diff import decide_all, restarted, without_ignored
from algaenv.plan.order import build_plan, extension_of, retain_recent
from algaenv.plan.prewarm import prewarms
from algaenv.plan.readiness import readiness_checks
from algaenv.plan.tasks import task_decisions
from algaenv.reconcile.executor import Continuation, Executor
from algaenv.reconcile.protocols import (
    ContentHost,
    Lowered,
    Prober,
    ResourceDriver,
    Runtime,
    Snapshot,
    TaskHost,
)
from algaenv.reconcile.wait import WaitOptions, wait_until_available

if TYPE_CHECKING:
    from algaenv.plan.saved import PlanOptions, SavedPlan

SNAPSHOT_SECONDS = 10.0
"""Seconds that hosts which have just answered get to answer the snapshot."""


@dataclass(frozen=True, slots=True)
class Backends:
    """The external systems of a run."""

    runtime: Runtime
    content: ContentHost
    prober: Prober
    tasks: TaskHost | None = None
    """None where the spec has no tasks."""

    def drivers(self, environment: Environment) -> Callable[[], Mapping[str, ResourceDriver]]:
        """Returns kind → driver of both tiers; created on first use."""
        tasks = {} if self.tasks is None else {TASK.name: self.tasks}
        return cache(
            lambda: {**self.runtime.drivers(environment), **self.content.drivers(), **tasks}
        )


@dataclass(frozen=True, slots=True)
class PlanResult:
    """A plan, with what it was made from.

    `content_known` is False while the content could not be observed: it is planned again once its
    hosts answer.
    """

    lowered: Lowered
    plan: Plan
    ids: ContentIds | None
    content_known: bool
    failure: AlgaenvError | None = None
    """What stopped the run between its steps: hosts that stopped answering."""
    obstacles: tuple[Blocked, ...] = ()
    """What blocks the whole run: no step starts while there is any."""
    substrate: tuple[Decision, ...] = ()
    same: Mapping[Address, str] = field(default_factory=dict)
    """What is there as wanted, with its fingerprint."""
    services_only: bool = False
    """True while bundles are being built: the plan has no content yet."""

    def to_save(self, lock: Lock, runtime: str, options: PlanOptions) -> SavedPlan:
        """What is written down of the plan."""
        from algaenv.plan.saved import saved_plan

        return saved_plan(self.plan, self.same, lock, runtime, options)

    def refuse_obstacles(self) -> None:
        """Raise Conflict with every obstacle."""
        if self.obstacles:
            raise Conflict(*(obstacle.problem for obstacle in self.obstacles))


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a run: `adopt` takes over rows of other tools, `ready_seconds` replaces the
    spec's `ready_timeout`. `restart` names services that are started anew, None for no service and
    an empty set for all. `thorough` as in `Observer.observe`. `exactly`: no step but those of the
    first plan."""

    adopt: bool = False
    cancelled: Callable[[], bool] = field(default=lambda: False)
    ready_seconds: float | None = None
    restart: frozenset[str] | None = None
    thorough: bool = False
    exactly: bool = False


LockSource = Callable[[float | None], Lock | None]
"""Waits up to the given seconds (None: without limit) for the lock with its bundles; returns None
while they are still being built."""


def make_plan(
    lock: Lock,
    backends: Backends,
    emit: Emit,
    options: Options,
    lock_source: LockSource | None = None,
) -> PlanResult:
    """Observe both tiers and make the plan; writes nothing.

    With a `lock_source`, `lock` has no extensions yet. Where services have to start first, only
    they are planned, and start while bundles are built.
    """
    lowered = backends.runtime.lower(lock, _ignore_progress)
    observer = backends.runtime.observer(lock.environment)
    seen = observer.observe(lowered.resources, thorough=options.thorough)
    seen = without_ignored(seen, lock.intent.drift_ignore)
    substrate = decide_all(lowered.resources, seen)
    if options.restart is not None:
        substrate = restarted(substrate, seen, lowered.hosts, options.restart)
    obstacles = backends.runtime.obstacles(lock.environment, _changes(substrate))
    unready = _unready(lowered.hosts, substrate)
    if lock_source is not None and unready:
        planned = PlanResult(lowered, build_plan(()), None, content_known=False, services_only=True)
    else:
        lock = lock if lock_source is None else lock_source(None) or lock
        snapshot = _try_snapshot(lock, backends) if not unready else _unready_reason(unready)
        if isinstance(snapshot, str):
            content, ids = _unobserved_content(lock, backends, lowered, substrate, snapshot)
            planned = PlanResult(lowered, build_plan(content), ids, content_known=False)
        else:
            written = _changed_addresses(substrate)
            content = _content(
                lock, backends, snapshot, lowered, adopt=options.adopt, written=written
            )
            planned = PlanResult(lowered, build_plan(()), snapshot.ids, content_known=True)
    content = () if planned.services_only else content
    barred = {obstacle.address for obstacle in obstacles}
    kept = tuple(d for d in substrate if _address_of(d) not in barred)
    answered = _content_hosts(lowered) if planned.content_known else frozenset()
    plan = replace(build_plan((*kept, *obstacles, *content), answered), engines=lowered.engines)
    if not obstacles:
        emit(Planned(plan.steps))
    same = _same((*substrate, *content))
    return replace(planned, plan=plan, substrate=substrate, obstacles=obstacles, same=same)


def _unobserved_content(
    lock: Lock, backends: Backends, lowered: Lowered, substrate: tuple[Decision, ...], why: str
) -> tuple[tuple[Decision, ...], ContentIds | None]:
    """Plan content that cannot be observed: surely absent where its hosts begin empty."""
    ids = predicted_ids(lock)
    if not _starts_empty(lowered.hosts, substrate):
        wanted = desired_content(lock, ids, lowered.hosts)
        tasks = _tasks(lock, backends, ids, lowered, frozenset())
        wanted += tuple(it.resource for it in tasks if isinstance(it, Change) and it.resource)
        return (*(Deferred(it, why) for it in wanted), *_without_bundle(lock)), None
    content = decide_all(desired_content(lock, ids, lowered.hosts), {})
    written = _changed_addresses((*substrate, *content))
    return (
        *content,
        *prewarms(lock, content, lowered.hosts, written),
        *readiness_checks(lock, ids, lowered.hosts, written),
        *_tasks(lock, backends, ids, lowered, written),
        *_without_bundle(lock),
    ), ids


def _tasks(
    lock: Lock, backends: Backends, ids: ContentIds, lowered: Lowered, written: frozenset[Address]
) -> tuple[Decision, ...]:
    if backends.tasks is None:
        return ()
    seen = backends.tasks.observe(lock.intent.tasks)
    return tuple(task_decisions(lock, ids, lowered.hosts, seen, written))


def converge(
    planned: PlanResult,
    lock: Lock,
    backends: Backends,
    emit: Emit,
    options: Options,
    *,
    lock_source: LockSource | None = None,
) -> tuple[PlanResult, tuple[Ended, ...]]:
    """Execute a plan; content that could not be observed is planned once its hosts answer.

    `lock_source` as in `make_plan`. Returns the last plan, and how every step ended.
    """
    executor = Executor(
        backends.drivers(lock.environment),
        backends.prober,
        emit,
        lock.intent.ready_timeout,
        options.cancelled,
        options.ready_seconds,
    )
    if planned.content_known or (options.exactly and planned.plan.deferred):
        return planned, executor.execute(planned.plan)
    later = _LaterContent(planned, lock, backends, options, lock_source)
    hosts = _content_hosts(planned.lowered)
    substrate, content = (_tier(planned.plan, tier) for tier in (Tier.SUBSTRATE, Tier.CONTENT))
    ended = executor.execute(substrate, then=Continuation(hosts, later.plan, content.steps))
    if later.error is not None:
        raise later.error
    if not later.begun:  # A host does not answer, or the run was interrupted.
        rest = later.unobserved()
        if rest.steps != content.steps:
            emit(Planned(rest.steps))
        ended += executor.execute(rest, before=ended)
    return later.result, ended


class _LaterContent:
    """Plans content that could not be observed at first, once its hosts answer."""

    def __init__(
        self,
        planned: PlanResult,
        lock: Lock,
        backends: Backends,
        options: Options,
        lock_source: LockSource | None,
    ) -> None:
        self._lock = lock
        self._backends = backends
        self._options = options
        self._lock_source = lock_source
        self._substrate = _tier(planned.plan, Tier.SUBSTRATE)
        self.result = planned
        """The latest plan."""
        self.begun = False
        self.error: Exception | None = None
        """Why `plan` failed: a failure of the builds, or a bug."""

    def plan(self) -> Plan | None:
        """The plan of the content; None when it cannot be observed. Never raises."""
        self.begun = True
        try:
            return self._observed()
        except Exception as error:  # raised again once the running steps have ended
            self.error = error
            return None

    def unobserved(self) -> Plan:
        """The plan of the content as far as it is known without an observation."""
        if self.result.services_only:
            self._await_bundles()
            lowered = self.result.lowered
            content, ids = _unobserved_content(
                self._lock, self._backends, lowered, self.result.substrate, "cannot be seen yet"
            )
            plan = build_plan((*self.result.substrate, *content))
            self.result = replace(
                self.result,
                plan=replace(plan, engines=lowered.engines),
                ids=ids,
                services_only=False,
            )
        plan = self.result.plan
        return replace(_tier(plan, Tier.CONTENT), blocked=plan.blocked)

    def _await_bundles(self) -> None:
        if self._lock_source is not None:
            self._lock = self._lock_source(None) or self._lock

    def _observed(self) -> Plan | None:
        self._await_bundles()
        unobserved = self.unobserved()
        cancelled = self._options.cancelled
        try:
            snapshot = wait_until_available(
                lambda: self._backends.content.snapshot(self._lock),
                WaitOptions(SNAPSHOT_SECONDS, cancelled),
            )
        except AlgaenvError as error:
            if cancelled():  # They might still have answered.
                return unobserved
            self.result = replace(self.result, failure=error)
            return None
        lowered, steps = self.result.lowered, self._substrate.steps
        written = frozenset(step.address for step in steps if step.writes)
        decisions = _content(
            self._lock,
            self._backends,
            snapshot,
            lowered,
            adopt=self._options.adopt,
            written=written,
        )
        plan = build_plan(decisions, also=frozenset(step.address for step in steps))
        if self._options.exactly:
            from algaenv.plan.saved import other_content

            if (other := other_content(unobserved, plan)) is not None:
                self.result = replace(self.result, failure=other)
                return None
        same = {**self.result.same, **_same(decisions)}
        self.result = PlanResult(lowered, plan, snapshot.ids, content_known=True, same=same)
        return plan


def _content(
    lock: Lock,
    backends: Backends,
    snapshot: Snapshot,
    lowered: Lowered,
    *,
    adopt: bool,
    written: frozenset[Address],
) -> tuple[Decision, ...]:
    """Decisions on rows and objects, with readiness checks; `written` is what else is changed."""
    broken = _without_bundle(lock)
    if snapshot.ids.problems:
        in_the_way = (Blocked(TENANT, it) for it in snapshot.ids.problems)
        return (*in_the_way, *broken)
    wanted = desired_content(lock, snapshot.ids, lowered.hosts)
    seen = without_ignored(snapshot.observe(wanted), lock.intent.drift_ignore)
    blockers = snapshot.blockers(wanted)
    decisions = decide_all(wanted, seen, adopt=adopt, blockers=blockers)
    names = [extension.name for extension in lock.extensions]
    decisions = tuple(it for it in decisions if not _is_out_of_scope(it, lock))
    decisions = retain_recent(decisions, seen, names, lock.intent.keep_versions)
    written |= _changed_addresses(decisions)
    return (
        *decisions,
        *prewarms(lock, decisions, lowered.hosts, written),
        *readiness_checks(lock, snapshot.ids, lowered.hosts, written),
        *_tasks(lock, backends, snapshot.ids, lowered, written),
        *broken,
    )


def _is_out_of_scope(decision: Decision, lock: Lock) -> bool:
    """True when it would remove content of an extension, or a seed, that this run is not about."""
    if not (isinstance(decision, Change) and decision.verb is Verb.DELETE):
        return False
    address = decision.address
    if address in SEED_SQL or address in SEED_OBJECTS:
        return lock.seed_files is None
    of_extension = address in RELEASE or address in BUNDLE or address in SEED_RECORDS
    return of_extension and not lock.is_about(extension_of(address))


def _without_bundle(lock: Lock) -> tuple[Blocked, ...]:
    """The extensions without a bundle, and why."""
    return tuple(
        Blocked(BUNDLE.address(it.name), problem, it.error)
        for it in lock.broken
        for problem in it.problems
    )


def _same(decisions: Iterable[Decision]) -> Mapping[Address, str]:
    return {
        it.resource.address: it.resource.fingerprint for it in decisions if isinstance(it, Same)
    }


def _changes(decisions: Iterable[Decision]) -> tuple[Change, ...]:
    return tuple(d for d in decisions if isinstance(d, Change))


def _address_of(decision: Decision) -> Address:
    match decision:
        case Same(resource) | Deferred(resource) | Prewarm(resource=resource):
            return resource.address
        case Change(address=address) | Blocked(address=address) | Kept(address=address):
            return address


def _changed_addresses(decisions: Iterable[Decision]) -> frozenset[Address]:
    return frozenset(d.address for d in decisions if isinstance(d, Change))


def _try_snapshot(lock: Lock, backends: Backends) -> Snapshot | str:
    """The snapshot, or why there is none."""
    try:
        return backends.content.snapshot(lock)
    except Unavailable as error:
        return f"cannot be seen yet: {error.problem.summary}"


def _unready_reason(hosts: tuple[Address, ...]) -> str:
    return f"cannot be seen until {', '.join(map(str, hosts))} answers"


def _content_hosts(lowered: Lowered) -> frozenset[Address]:
    """The hosts that a snapshot was just read from."""
    return frozenset(a for name, a in lowered.hosts.items() if name in CONTENT_SERVICES)


def _unready(hosts: Mapping[str, Address], substrate: tuple[Decision, ...]) -> tuple[Address, ...]:
    """Content hosts that do not run unchanged."""
    fine = {d.resource.address for d in substrate if isinstance(d, Same)}
    return tuple(
        address
        for name, address in sorted(hosts.items())
        if name in CONTENT_SERVICES and address not in fine
    )


def _starts_empty(hosts: Mapping[str, Address], substrate: tuple[Decision, ...]) -> bool:
    """True when every content host starts with empty data, so its content is surely absent."""
    created = {d.address for d in substrate if isinstance(d, Change) and d.verb is Verb.CREATE}
    needed = set(CONTENT_SERVICES)
    new = {a.name for a in created if kind_of(a).holds_data}
    return set(hosts) >= needed and new >= needed


def _tier(plan: Plan, tier: Tier) -> Plan:
    """The part of a plan in one tier, with its edges."""
    steps = tuple(step for step in plan.steps if kind_of(step.address).tier is tier)
    return Plan(steps=steps, blocked=plan.blocked if tier is Tier.SUBSTRATE else ())


def _ignore_progress(_note: str) -> None:
    """Progress is not reported while a plan is made."""
