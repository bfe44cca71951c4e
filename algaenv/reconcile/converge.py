"""Looks at both tiers, draws one plan over them, and walks it; the way down is here too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from functools import cache

from algaenv.bundle.value import dataclass
from algaenv.model.address import Address, Tier
from algaenv.model.content import ContentIds
from algaenv.model.event import Emit, Planned
from algaenv.model.lock import Environment, Lock
from algaenv.model.outcome import Done, Ended
from algaenv.model.plan import Blocked, Change, Decision, Deferred, Kept, Plan, Same, Step, Verb
from algaenv.model.problem import AlgaenvError, Conflict, DriverError, Problem, Unavailable
from algaenv.model.resource import Observation, Present, Resource
from algaenv.plan.content import desired_content, predicted_ids
from algaenv.plan.diff import decide_all, decide_down
from algaenv.plan.order import plan as ordered
from algaenv.plan.proof import proofs
from algaenv.plan.scope import extension_of, spare_older
from algaenv.reconcile.apply import Walker
from algaenv.reconcile.protocols import Asker, ContentHost, Hands, Look, Lowered, Runtime
from algaenv.reconcile.ready import Patience, until_available
from algaenv.reconcile.warming import Stove

CONTENT_SERVICES = ("store", "database")
SERVICE_KINDS = ("container", "process")
DATA_KINDS = ("volume", "folder")
SECOND_LOOK = 10.0
"""Seconds that hosts which have just answered are given to do so again."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside that a run touches."""

    runtime: Runtime
    content: ContentHost
    asker: Asker

    def hands(self, environment: Environment) -> Callable[[], Mapping[str, Hands]]:
        """Gives kind → hands, of both tiers; made when first asked for."""
        return cache(lambda: {**self.runtime.hands(environment), **self.content.hands()})


@dataclass(frozen=True, slots=True)
class Drawn:
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
class Ways:
    """How to converge: `adopt` takes rows of other tools over."""

    adopt: bool = False
    cancelled: Callable[[], bool] = field(default=lambda: False)


LateLock = Callable[[float | None], Lock | None]
"""The lock with its bundles, waited for so many seconds, None: however long it takes. None when
they are still being built."""


def draw(
    lock: Lock, world: World, emit: Emit, ways: Ways, late_lock: LateLock | None = None
) -> Drawn:
    """Look at everything and draw the plan; writes nothing.

    With a `late_lock`, `lock` has no extensions yet. Where services are to be started first, only
    they are planned: there is time for them while bundles are built.
    """
    lowered = world.runtime.lower(lock, _silent)
    seen = world.runtime.eyes(lock.environment).observe(lowered.resources)
    substrate = decide_all(lowered.resources, seen)
    obstacles = world.runtime.obstacles(lock.environment, _changes(substrate))
    unready = _unready(lowered.hosts, substrate)
    if late_lock is not None and unready:
        drawn = Drawn(lowered, ordered(()), None, settled=False, services_only=True)
    else:
        lock = lock if late_lock is None else late_lock(None) or lock
        look = _try_look(lock, world) if not unready else _waiting_for(unready)
        if isinstance(look, str):
            content, ids = _foreseen(lock, lowered, substrate, look)
            drawn = Drawn(lowered, ordered(content), ids, settled=False)
        else:
            content = _content(lock, look, lowered, ways, _written(substrate))
            drawn = Drawn(lowered, ordered(()), look.ids, settled=True)
    content = () if drawn.services_only else content
    barred = {obstacle.address for obstacle in obstacles}
    kept = tuple(d for d in substrate if _address_of(d) not in barred)
    answered = _hosts(lowered) if drawn.settled else frozenset()
    plan = replace(ordered((*kept, *obstacles, *content), answered), engines=lowered.engines)
    if not obstacles:
        emit(Planned(plan.steps))
    return replace(drawn, plan=plan, substrate=substrate, obstacles=obstacles)


def _foreseen(
    lock: Lock, lowered: Lowered, substrate: tuple[Decision, ...], why: str
) -> tuple[tuple[Decision, ...], ContentIds | None]:
    """Content that cannot be looked at: surely absent where its hosts begin empty."""
    if not _all_new(lowered.hosts, substrate):
        return (*_deferred(lock, lowered, why), *_broken(lock)), None
    ids = predicted_ids(lock)
    content = decide_all(desired_content(lock, ids, lowered.hosts), {})
    written = _written((*substrate, *content))
    return (*content, *proofs(lock, ids, lowered.hosts, written), *_broken(lock)), ids


def converge(
    drawn: Drawn,
    lock: Lock,
    world: World,
    emit: Emit,
    ways: Ways,
    *,
    late_lock: LateLock | None = None,
) -> tuple[Drawn, tuple[Ended, ...]]:
    """Walk a plan; content that could not be seen is planned once its hosts answer.

    `late_lock` as in `draw`. The second value is how every step ended. The first is the last plan
    drawn.
    """
    if drawn.services_only and late_lock is not None:
        walker = _walker(lock, world, emit, ways)
        first, late = _apart(drawn.plan, drawn.lowered)
        ended = walker.walk(first)
        if late_lock(0.0) is None:
            # There is time for the gateway, too.
            ended = (*ended, *walker.walk(replace(drawn.plan, steps=late), before=ended))
            late = ()
        lock = late_lock(None) or lock
        content, ids = _foreseen(lock, drawn.lowered, drawn.substrate, "cannot be seen yet")
        plan = ordered((*drawn.substrate, *content))
        drawn = replace(drawn, plan=replace(plan, engines=drawn.lowered.engines), ids=ids)
        emit(Planned((*late, *_tier(plan, Tier.CONTENT).steps)))
        walker = _walker(lock, world, emit, ways)
    else:
        lock = lock if late_lock is None else late_lock(None) or lock
        walker = _walker(lock, world, emit, ways)
        if drawn.settled:
            return drawn, walker.walk(drawn.plan)
        first, late = _apart(_tier(drawn.plan, Tier.SUBSTRATE), drawn.lowered)
        ended = walker.walk(first)
    if ways.cancelled() or not _hosts_answer(drawn.lowered, ended):
        rest = _with(late, _tier(drawn.plan, Tier.CONTENT))
        return drawn, (*ended, *walker.walk(rest, before=ended))
    patience = Patience(SECOND_LOOK, ways.cancelled)
    try:
        look = until_available(lambda: world.content.look(lock), patience)
    except AlgaenvError as error:
        if ways.cancelled():  # Perhaps they would have answered.
            rest = _with(late, _tier(drawn.plan, Tier.CONTENT))
            return drawn, (*ended, *walker.walk(rest, before=ended))
        return replace(drawn, failure=error), ended
    before = (*(e.step for e in ended), *late)
    written = frozenset(step.address for step in before if step.writes)
    decisions = _content(lock, look, drawn.lowered, ways, written)
    content_plan = ordered(decisions, also=frozenset(step.address for step in before))
    rest = _with(late, content_plan)
    if content_plan.steps != _tier(drawn.plan, Tier.CONTENT).steps:
        emit(Planned(rest.steps))
    final = Drawn(drawn.lowered, content_plan, look.ids, settled=True)
    return final, (*ended, *walker.walk(rest, before=ended))


def _walker(lock: Lock, world: World, emit: Emit, ways: Ways) -> Walker:
    return Walker(
        world.hands(lock.environment),
        world.asker,
        emit,
        lock.intent.ready_timeout,
        ways.cancelled,
        Stove.of(lock),
    )


def draw_down(
    environment: Environment,
    world: World,
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
    seen = world.runtime.eyes(environment).observe(())
    substrate = decide_down(seen, data_goes=volumes)
    if obstacles := world.runtime.obstacles(environment, _changes(substrate)):
        raise Conflict(*(obstacle.problem for obstacle in obstacles))
    content: tuple[Decision, ...] = ()
    if lock is not None and (external or not volumes):
        content = _content_down(lock, world, seen, external=external)
    drawn = ordered((*content, *substrate))
    emit(Planned(drawn.steps))
    return drawn


def _content_down(
    lock: Lock, world: World, seen: Mapping[Address, Observation], *, external: bool
) -> tuple[Decision, ...]:
    """What to take out of the hosts. A host of ours that does not run is not asked: somebody else
    may listen on its port by now."""
    hosts = ("store",) if external else CONTENT_SERVICES
    asleep = [name for name in hosts if not _runs(name, seen)]
    if asleep:
        why = f"{' and '.join(asleep)} did not run, so rows and bundles could not be reached"
    else:
        try:
            return decide_down(world.content.look(lock).observe(()))
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
    lock: Lock, look: Look, lowered: Lowered, ways: Ways, written: frozenset[Address]
) -> tuple[Decision, ...]:
    """Decisions over rows and objects, and what proves them; `written` is what else is changed."""
    broken = _broken(lock)
    if look.ids.problems:
        in_the_way = (Blocked(Address("tenant", "main"), it) for it in look.ids.problems)
        return (*in_the_way, *broken)
    wanted = desired_content(lock, look.ids, lowered.hosts)
    seen = look.observe(wanted)
    blockers: Mapping[Address, Problem] = getattr(look, "blockers", lambda _: {})(wanted)
    decisions = decide_all(wanted, seen, adopt=ways.adopt, blockers=blockers)
    names = [extension.name for extension in lock.extensions]
    decisions = tuple(it for it in decisions if not _is_let_alone(it, lock))
    decisions = spare_older(decisions, seen, names, lock.intent.keep_versions)
    written |= _written(decisions)
    return (*decisions, *proofs(lock, look.ids, lowered.hosts, written), *broken)


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


def _try_look(lock: Lock, world: World) -> Look | str:
    """The look, or why there is none."""
    try:
        return world.content.look(lock)
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
