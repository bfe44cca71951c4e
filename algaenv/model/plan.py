"""Decisions, changes, steps and plans: what is done, why, and in which order."""

from __future__ import annotations

import enum

from algaenv.bundle.value import dataclass
from algaenv.model.kind import Address
from algaenv.model.problem import Problem
from algaenv.model.resource import Present, Resource, ServiceEngine


class Verb(enum.StrEnum):
    """What is done to a resource; `symbol` is how a plan prints it."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    START = "start"
    DELETE = "delete"
    PREWARM = "prewarm"
    AWAIT = "await"
    RUN = "run"

    @property
    def symbol(self) -> str:
        """One or two characters, as in plans of infrastructure tools."""
        symbols = {
            "create": "+",
            "update": "~",
            "replace": "-/+",
            "start": ">",
            "delete": "-",
            "run": "$",
        }
        return symbols.get(self.value, "*" if self is Verb.PREWARM else "?")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a change is in the plan.

    `kind` is one of missing, adopted, spec changed, drifted, stopped, no longer in the spec, down,
    restarted, superseded, does it answer?; of a prewarm bundle changes, runner changes, release
    changes; of a task has not run, spec changed, inputs changed, runs in
    every up, what it needs changes, by hand.
    `detail` says what exactly, field by field.
    """

    kind: str
    detail: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}: {'; '.join(self.detail)}" if self.detail else self.kind


@dataclass(frozen=True, slots=True)
class Same:
    """Nothing to do; its probe is still sent."""

    resource: Resource


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one resource."""

    verb: Verb
    address: Address
    cause: Cause
    resource: Resource | None
    """What is wanted; None for a deletion."""
    seen: Present | None
    """What was there; None for a creation."""


@dataclass(frozen=True, slots=True)
class Prewarm:
    """A handler to compile before its first call; the body of `resource` is a PrewarmRequest."""

    cause: Cause
    resource: Resource


@dataclass(frozen=True, slots=True)
class Deferred:
    """It cannot be decided until its host answers."""

    resource: Resource
    why: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """Nothing may be done: something that is not ours is in the way, or there is no bundle."""

    address: Address
    problem: Problem
    error: str = "Conflict"
    """The class name of the exception that it stands for, for the exit code."""


@dataclass(frozen=True, slots=True)
class Kept:
    """It stays although the spec does not want it; the report lists it."""

    address: Address
    why: str


Decision = Same | Change | Prewarm | Deferred | Blocked | Kept


@dataclass(frozen=True, slots=True)
class Step:
    """A change with its place in the order; `needs` are addresses of steps that come first."""

    verb: Verb
    address: Address
    cause: Cause
    needs: frozenset[Address]
    change: Change | None = None
    resource: Resource | None = None

    @property
    def writes(self) -> bool:
        """False for a step that changes no resource."""
        return self.verb not in (Verb.AWAIT, Verb.PREWARM)

    @property
    def only_waits(self) -> bool:
        """True for a step that only waits for an answer."""
        return self.verb is Verb.AWAIT

    def __str__(self) -> str:
        return f"{self.verb} {self.address}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps in an executable order, and what is not done, with the reason."""

    steps: tuple[Step, ...]
    deferred: tuple[Deferred, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    kept: tuple[Kept, ...] = ()
    engines: tuple[ServiceEngine, ...] = ()
    """The program behind each service; empty in a plan of `down`."""

    @property
    def changes(self) -> tuple[Step, ...]:
        """The steps that write."""
        return tuple(step for step in self.steps if step.writes)

    @property
    def actions(self) -> tuple[Step, ...]:
        """The steps that do more than wait for an answer: changes and prewarms."""
        return tuple(step for step in self.steps if not step.only_waits)

    def __str__(self) -> str:
        lines = [str(step) for step in self.actions]
        lines += [f"defer {d.resource.address}: {d.why}" for d in self.deferred]
        lines += [f"blocked {b.address}: {b.problem.summary}" for b in self.blocked]
        lines += [f"keep {k.address}: {k.why}" for k in self.kept]
        return "\n".join(lines)
