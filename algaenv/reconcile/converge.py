"""Looks at both tiers, draws one plan over them, and walks it; the way down is here too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from functools import cache

from algaenv.bundle.value import dataclass
from algaenv.model.address import Address, Tier
from algaenv.model.content import ContentIds
from algaenv.model.event import Done, Emit, Ended, Planned
from algaenv.model.lock import Environment, Lock
from algaenv.model.plan import Blocked, Change, Decision, Deferred, Kept, Plan, Same, Step, Verb
from algaenv.model.problem import AlgaenvError, Conflict, DriverError, Problem, Unavailable
from algaenv.model.resource import Observation, Present, Resource
from algaenv.plan.desired import desired_content, predicted_ids
from algaenv.plan.diff import decide_all, decide_destroy
from algaenv.plan.order import build_plan as ordered
from algaenv.plan.prewarm import PrewarmSelector
from algaenv.plan.readiness import readiness_checks
from algaenv.plan.retention import extension_of, retain_recent
from algaenv.reconcile.executor import Executor
from algaenv.reconcile.protocols import (
    ContentHost,
    Lowered,
    Prober,
    ResourceDriver,
    Runtime,
    Snapshot,
)
from algaenv.reconcile.wait import WaitOptions, wait_until_available

CONTENT_SERVICES = ("store", "database")
SERVICE_KINDS = ("container", "process")
DATA_KINDS = ("volume", "folder")
SNAPSHOT_SECONDS = 10.0
"""Seconds that hosts which have just answered are given to do so again."""


@dataclass(frozen=True, slots=True)
class Backends:
    """Everything outside that a run touches."""

    runtime: Runtime
    content: ContentHost
    prober: Prober

    def drivers(self, environment: Environment) -> Callable[[], Mapping[str, ResourceDriver]]:
        """Gives kind → hands, of both tiers; made when first asked for."""
        return cache(lambda: {**self.runtime.drivers(environment), **self.content.drivers()})


@dataclass(frozen=True, slots=True)
class PlanResult:
    """A plan, with what it was drawn from.

    `settled` is False when the content could only be guessed at, or not even that: it is looked
    at again once its hosts answer.
    """

    lowered: Lowered
    plan: Plan
    ids: ContentIds | None
    settled: bool
    failure: AlgaenvError | None = None
    """What stopped the run between its steps: hosts that answered and then did not any more."""
    obstacles: tuple[Blocked, ...] = ()
    """What is in the way of the whole run: nothing is begun while there is any."""
    substrate: tuple[Decision, ...] = ()
    services_only: bool = False
    """Bundles are still being built, so the plan says nothing about content yet."""

    def refuse_obstacles(self) -> None:
        """Raises Conflict with every one of them."""
        if self.obstacles:
            raise Conflict(*(obstacle.problem for obstacle in self.obstacles))


@dataclass(frozen=True, slots=True)
class Options:
    """How to converge: `adopt` takes rows of other tools over."""

    adopt: bool = False
    cancelled: Callable[[], bool] = field(default=lambda: False)


LockSource = Callable[[float | None], Lock | None]
"""The lock with its bundles, waited for so many seconds, None: however long it takes. None when
they are still being built."""


def make_plan(
    lock: Lock,
    backends: Backends,
    emit: Emit,
    options: Options,
    lock_source: LockSource | None = None,
) -> PlanResult:
    """Snapshot at everything and draw the plan; writes nothing.

    With a `lock_source`, `lock` has no extensions yet. Where services are to be started first, only
    they are planned: there is time for them while bundles are built.
    """
    lowered = backends.runtime.lower(lock, _silent)
    seen = backends.runtime.observer(lock.environment).observe(lowered.resources)
    substrate = decide_all(lowered.resources, seen)
    obstacles = backends.runtime.obstacles(lock.environment, _changes(substrate))
    unready = _unready(lowered.hosts, substrate)
    if lock_source is not None and unready:
        planned = PlanResult(lowered, ordered(()), None, settled=False, services_only=True)
    else:
        lock = lock if lock_source is None else lock_source(None) or lock
        snapshot = _try_look(lock, backends) if not unready else _waiting_for(unready)
        if isinstance(snapshot, str):
            content, ids = _foreseen(lock, lowered, substrate, snapshot)
            planned = PlanResult(lowered, ordered(content), ids, settled=False)
        else:
            content = _content(lock, snapshot, lowered, options, _written(substrate))
            planned = PlanResult(lowered, ordered(()), snapshot.ids, settled=True)
    content = () if planned.services_only else content
    barred = {obstacle.address for obstacle in obstacles}
    kept = tuple(d for d in substrate if _address_of(d) not in barred)
    answered = _hosts(lowered) if planned.settled else frozenset()
    plan = replace(ordered((*kept, *obstacles, *content), answered), engines=lowered.engines)
    if not obstacles:
        emit(Planned(plan.steps))
    return replace(planned, plan=plan, substrate=substrate, obstacles=obstacles)


def _foreseen(
    lock: Lock, lowered: Lowered, substrate: tuple[Decision, ...], why: str
) -> tuple[tuple[Decision, ...], ContentIds | None]:
    """Content that cannot be looked at: surely absent where its hosts begin empty."""
    if not _all_new(lowered.hosts, substrate):
        return (*_deferred(lock, lowered, why), *_broken(lock)), None
    ids = predicted_ids(lock)
    content = decide_all(desired_content(lock, ids, lowered.hosts), {})
    written = _written((*substrate, *content))
    return (*content, *readiness_checks(lock, ids, lowered.hosts, written), *_broken(lock)), ids


def converge(
    planned: PlanResult,
    lock: Lock,
    backends: Backends,
    emit: Emit,
    options: Options,
    *,
    lock_source: LockSource | None = None,
) -> tuple[PlanResult, tuple[Ended, ...]]:
    """Walk a plan; content that could not be seen is planned once its hosts answer.

    `lock_source` as in `draw`. The second value is how every step ended. The first is the last plan
    drawn.
    """
    if planned.services_only and lock_source is not None:
        executor = _executor(lock, backends, emit, options)
        first, late = _apart(planned.plan, planned.lowered)
        ended = executor.execute(first)
        if lock_source(0.0) is None:
            # There is time for the gateway, too.
            ended = (*ended, *executor.execute(replace(planned.plan, steps=late), before=ended))
            late = ()
        lock = lock_source(None) or lock
        content, ids = _foreseen(lock, planned.lowered, planned.substrate, "cannot be seen yet")
        plan = ordered((*planned.substrate, *content))
        planned = replace(planned, plan=replace(plan, engines=planned.lowered.engines), ids=ids)
        emit(Planned((*late, *_tier(plan, Tier.CONTENT).steps)))
        executor = _executor(lock, backends, emit, options)
    else:
        lock = lock if lock_source is None else lock_source(None) or lock
        executor = _executor(lock, backends, emit, options)
        if planned.settled:
            return planned, executor.execute(planned.plan)
        first, late = _apart(_tier(planned.plan, Tier.SUBSTRATE), planned.lowered)
        ended = executor.execute(first)
    if options.cancelled() or not _hosts_answer(planned.lowered, ended):
        rest = _with(late, _tier(planned.plan, Tier.CONTENT))
        return planned, (*ended, *executor.execute(rest, before=ended))
    wait = WaitOptions(SNAPSHOT_SECONDS, options.cancelled)
    try:
        snapshot = wait_until_available(lambda: backends.content.snapshot(lock), wait)
    except AlgaenvError as error:
        if options.cancelled():  # Perhaps they would have answered.
            rest = _with(late, _tier(planned.plan, Tier.CONTENT))
            return planned, (*ended, *executor.execute(rest, before=ended))
        return replace(planned, failure=error), ended
    before = (*(e.step for e in ended), *late)
    written = frozenset(step.address for step in before if step.writes)
    decisions = _content(lock, snapshot, planned.lowered, options, written)
    content_plan = ordered(decisions, also=frozenset(step.address for step in before))
    rest = _with(late, content_plan)
    if content_plan.steps != _tier(planned.plan, Tier.CONTENT).steps:
        emit(Planned(rest.steps))
    final = PlanResult(planned.lowered, content_plan, snapshot.ids, settled=True)
    return final, (*ended, *executor.execute(rest, before=ended))


def _executor(lock: Lock, backends: Backends, emit: Emit, options: Options) -> Executor:
    return Executor(
        backends.drivers(lock.environment),
        backends.prober,
        emit,
        lock.intent.ready_timeout,
        options.cancelled,
        PrewarmSelector.of(lock),
    )


def make_destroy_plan(
    environment: Environment,
    backends: Backends,
    lock: Lock | None,
    emit: Emit,
    *,
    volumes: bool,
    external: bool,
) -> Plan:
    """The plan that removes what is ours.

    `lock` says where the content is; None when nobody knows any more. Content of hosts whose
    data goes with `volumes` is not taken out piece by piece. Raises Conflict when something is in
    the way of the whole of it.
    """
    seen = backends.runtime.observer(environment).observe(())
    substrate = decide_destroy(seen, data_goes=volumes)
    if obstacles := backends.runtime.obstacles(environment, _changes(substrate)):
        raise Conflict(*(obstacle.problem for obstacle in obstacles))
    content: tuple[Decision, ...] = ()
    if lock is not None and (external or not volumes):
        content = _content_down(lock, backends, seen, external=external)
    planned = ordered((*content, *substrate))
    emit(Planned(planned.steps))
    return planned


def _content_down(
    lock: Lock, backends: Backends, seen: Mapping[Address, Observation], *, external: bool
) -> tuple[Decision, ...]:
    """What to take out of the hosts. A host of ours that does not run is not asked: somebody else
    may listen on its port by now."""
    hosts = ("store",) if external else CONTENT_SERVICES
    asleep = [name for name in hosts if not _runs(name, seen)]
    if asleep:
        why = f"{' and '.join(asleep)} did not run, so rows and bundles could not be reached"
    else:
        try:
            return decide_destroy(backends.content.snapshot(lock).observe(()))
        except DriverError as error:
            why = f"rows and bundles could not be reached: {error.problem.summary}"
    there = any(a.kind in DATA_KINDS and a.name in CONTENT_SERVICES for a in seen)
    return (Kept(Address("content", "rows and bundles"), why),) if there or external else ()


def _runs(service: str, seen: Mapping[Address, Observation]) -> bool:
    return any(
        address.kind in SERVICE_KINDS
        and address.name == service
        and isinstance(there, Present)
        and there.running is True
        for address, there in seen.items()
    )


def _content(
    lock: Lock, snapshot: Snapshot, lowered: Lowered, options: Options, written: frozenset[Address]
) -> tuple[Decision, ...]:
    """Decisions over rows and objects, and what proves them; `written` is what else is changed."""
    broken = _broken(lock)
    if snapshot.ids.problems:
        in_the_way = (Blocked(Address("tenant", "main"), it) for it in snapshot.ids.problems)
        return (*in_the_way, *broken)
    wanted = desired_content(lock, snapshot.ids, lowered.hosts)
    seen = snapshot.observe(wanted)
    blockers: Mapping[Address, Problem] = getattr(snapshot, "blockers", lambda _: {})(wanted)
    decisions = decide_all(wanted, seen, adopt=options.adopt, blockers=blockers)
    names = [extension.name for extension in lock.extensions]
    decisions = tuple(it for it in decisions if not _is_let_alone(it, lock))
    decisions = retain_recent(decisions, seen, names, lock.intent.keep_versions)
    written |= _written(decisions)
    return (*decisions, *readiness_checks(lock, snapshot.ids, lowered.hosts, written), *broken)


def _is_let_alone(decision: Decision, lock: Lock) -> bool:
    """Whether it would remove what an extension has that this run says nothing about."""
    return (
        isinstance(decision, Change)
        and decision.verb is Verb.DELETE
        and decision.address.kind in ("release", "bundle")
        and not lock.is_about(extension_of(decision.address))
    )


def _broken(lock: Lock) -> tuple[Blocked, ...]:
    """What keeps extensions from being installed, where there is no bundle of them."""
    return tuple(
        Blocked(Address("bundle", it.name), problem, it.error)
        for it in lock.broken
        for problem in it.problems
    )


def _changes(decisions: Iterable[Decision]) -> tuple[Change, ...]:
    return tuple(d for d in decisions if isinstance(d, Change))


def _address_of(decision: Decision) -> Address:
    match decision:
        case Same(resource) | Deferred(resource):
            return resource.address
        case Change(address=address) | Blocked(address=address) | Kept(address=address):
            return address


def _written(decisions: Iterable[Decision]) -> frozenset[Address]:
    return frozenset(d.address for d in decisions if isinstance(d, Change))


def _try_look(lock: Lock, backends: Backends) -> Snapshot | str:
    """The look, or why there is none."""
    try:
        return backends.content.snapshot(lock)
    except Unavailable as error:
        return f"cannot be seen yet: {error.problem.summary}"


def _waiting_for(hosts: tuple[Address, ...]) -> str:
    return f"cannot be seen until {', '.join(map(str, hosts))} answers"


def _hosts(lowered: Lowered) -> frozenset[Address]:
    """The hosts a look has just been served by."""
    return frozenset(a for name, a in lowered.hosts.items() if name in CONTENT_SERVICES)


def _unready(hosts: Mapping[str, Address], substrate: tuple[Decision, ...]) -> tuple[Address, ...]:
    """Content hosts that are not simply there and running."""
    fine = {d.resource.address for d in substrate if isinstance(d, Same)}
    return tuple(
        address
        for name, address in sorted(hosts.items())
        if name in CONTENT_SERVICES and address not in fine
    )


def _all_new(hosts: Mapping[str, Address], substrate: tuple[Decision, ...]) -> bool:
    """True when every content host starts with empty data, so its content is surely absent."""
    created = {d.address for d in substrate if isinstance(d, Change) and d.verb is Verb.CREATE}
    needed = set(CONTENT_SERVICES)
    new = {a.name for a in created if a.kind in DATA_KINDS}
    return set(hosts) >= needed and new >= needed


def _deferred(lock: Lock, lowered: Lowered, why: str) -> tuple[Decision, ...]:
    wanted = desired_content(lock, predicted_ids(lock), lowered.hosts)
    return tuple(Deferred(want, why) for want in wanted)


def _tier(plan: Plan, tier: Tier) -> Plan:
    """The part of a plan in one tier, with the edges inside it."""
    steps = tuple(step for step in plan.steps if _tier_of(step.address, step.resource) is tier)
    return Plan(steps=steps, blocked=plan.blocked if tier is Tier.SUBSTRATE else ())


def _apart(substrate: Plan, lowered: Lowered) -> tuple[Plan, tuple[Step, ...]]:
    """The steps that content waits for, and those of the gateway, which it need not wait for."""
    gateway = lowered.hosts.get("gateway")
    late = tuple(step for step in substrate.steps if step.address == gateway)
    return replace(substrate, steps=tuple(s for s in substrate.steps if s not in late)), late


def _with(late: tuple[Step, ...], content: Plan) -> Plan:
    return replace(content, steps=(*late, *content.steps))


def _tier_of(address: Address, resource: Resource | None) -> Tier:
    if resource is not None:
        return resource.tier
    content = ("release", "bundle", "bucket", "tenant", "schema")
    return Tier.CONTENT if address.kind in content else Tier.SUBSTRATE


def _hosts_answer(lowered: Lowered, ended: tuple[Ended, ...]) -> bool:
    """True when no content host ended badly."""
    bad = {e.step.address for e in ended if not isinstance(e.outcome, Done)}
    return not bad & _hosts(lowered)


def _silent(_note: str) -> None:
    """Nobody listens while a plan is drawn."""
