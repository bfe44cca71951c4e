"""Plans the way down: removes what is ours from the content and the substrate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from algaenv.model.event import Emit, Planned
from algaenv.model.kind import CONTENT_SERVICES, SEEDS, Address, kind_of
from algaenv.model.lock import Environment, Lock
from algaenv.model.plan import Change, Decision, Kept, Plan
from algaenv.model.problem import Conflict, DriverError
from algaenv.model.resource import Observation, Present
from algaenv.plan.diff import decide_destroy
from algaenv.plan.order import build_plan
from algaenv.reconcile.converge import Backends
from algaenv.reconcile.protocols import FetchedBundle, ResourceDriver, Snapshot


class NoContentHost:
    """Stands for content hosts whose addresses are lost."""

    def snapshot(self, lock: Lock) -> Snapshot:
        """There is nothing to read."""
        raise NotImplementedError

    def drivers(self) -> Mapping[str, ResourceDriver]:
        """None."""
        return {}

    def fetch(self, handle: str, directory: Path) -> FetchedBundle:
        """There is nothing to fetch."""
        raise NotImplementedError


def make_destroy_plan(
    environment: Environment,
    backends: Backends,
    lock: Lock | None,
    emit: Emit,
    *,
    volumes: bool,
    external: bool,
) -> Plan:
    """The plan that removes the environment.

    `lock` locates the content; None when that is unknown. Content of hosts whose data is deleted
    by `volumes` is not removed piece by piece. Raises Conflict when something blocks the whole run.
    """
    seen = backends.runtime.observer(environment).observe(())
    substrate = decide_destroy(seen, data_goes=volumes)
    if obstacles := backends.runtime.obstacles(
        environment, tuple(d for d in substrate if isinstance(d, Change))
    ):
        raise Conflict(*(obstacle.problem for obstacle in obstacles))
    content: tuple[Decision, ...] = ()
    if lock is not None and (external or not volumes):
        content = _content_down(lock, backends, seen, external=external)
    plan = build_plan((*content, *substrate))
    emit(Planned(plan.steps))
    return plan


def _content_down(
    lock: Lock, backends: Backends, seen: Mapping[Address, Observation], *, external: bool
) -> tuple[Decision, ...]:
    """Decisions on content. A host of ours that does not run is not asked: another program may
    listen on its port by now."""
    hosts = ("store",) if external else CONTENT_SERVICES
    stopped = [name for name in hosts if not _runs(name, seen)]
    if stopped:
        why = f"{' and '.join(stopped)} did not run, so rows and bundles could not be reached"
    else:
        try:
            found = backends.content.snapshot(lock).observe(())
            # Seeds are data: they stay for as long as the database and the store do.
            return decide_destroy({a: it for a, it in found.items() if kind_of(a) not in SEEDS})
        except DriverError as error:
            why = f"rows and bundles could not be reached: {error.problem.summary}"
    there = any(kind_of(a).holds_data and a.name in CONTENT_SERVICES for a in seen)
    return (Kept(Address("content", "rows and bundles"), why),) if there or external else ()


def _runs(service: str, seen: Mapping[Address, Observation]) -> bool:
    return any(
        kind_of(address).runs
        and address.name == service
        and isinstance(there, Present)
        and there.running is True
        for address, there in seen.items()
    )
