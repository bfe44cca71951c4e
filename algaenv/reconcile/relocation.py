"""Moved and copied checkouts: the warnings about them, and the removal of a copied state."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable

from algaenv.model.event import Done, Emit, Ended, Planned, StepEnded, StepStarted, outcome_name
from algaenv.model.kind import Address
from algaenv.model.lock import Environment, OrphanedState
from algaenv.model.plan import Cause, Step, Verb
from algaenv.model.problem import Problem


def moved_warning(environment: Environment, before: str) -> Problem:
    """Warns that the environment of the spec that was at `before` goes on here."""
    return Problem(
        "checkout-moved",
        f"{before} is gone, and its environment lies here: {environment.name} goes on with its "
        f"data, in {environment.home}",
        "nothing needs to be done; `algaenv up` notes the new path",
    )


def orphan_warning(orphan: OrphanedState) -> Problem:
    """Warns of a state here that the spec does not use, and how to remove it."""
    other = orphan.environment
    if orphan.here:
        hint = (
            f"rename the spec back to have it, or remove it with "
            f"`algaenv down --volumes -f {shlex.quote(str(other.spec))}`"
        )
    else:
        hint = "`algaenv down --volumes` removes it too"
    return Problem(
        "state-left",
        f"the environment of {other.spec} left its state here, which this spec does not use: "
        f"{size_text(orphan.size)} in {other.home}",
        hint,
    )


def remove_copy(
    orphan: OrphanedState, delete_copy: Callable[[OrphanedState], None], emit: Emit
) -> tuple[Ended, ...]:
    """Remove the state of a copied checkout as a step; raises what `delete_copy` raises.

    Only the directory is removed: services and volumes of its id belong to the original.
    """
    other = orphan.environment
    cause = Cause("down", (f"copied from {other.spec.parent}",))
    step = Step(Verb.DELETE, Address("state", other.id), cause, frozenset())
    started = time.monotonic()
    emit(Planned((step,)))
    emit(StepStarted(step))
    delete_copy(orphan)
    seconds = time.monotonic() - started
    emit(StepEnded(step, outcome_name(Done()), seconds))
    return (Ended(step, Done(), seconds),)


def size_text(size: int) -> str:
    """A number of bytes as text: `47 MB`."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size} {unit}"
        size = (size + 500) // 1000
    return f"{size} GB"
