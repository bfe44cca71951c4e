"""What is told of checkouts that were moved, and of the state that they left."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable

from algaenv.model.address import Address
from algaenv.model.event import Done, Emit, Ended, Planned, StepEnded, StepStarted, outcome_name
from algaenv.model.lock import Environment, OrphanedState
from algaenv.model.plan import Cause, Step, Verb
from algaenv.model.problem import Problem


def moved_warning(environment: Environment, before: str) -> Problem:
    """A warning: the environment of the spec that was at `before` goes on here."""
    return Problem(
        "checkout-moved",
        f"{before} is gone, and its environment lies here: {environment.name} goes on with its "
        f"data, in {environment.home}",
        "nothing needs to be done; `algaenv up` notes the new path",
    )


def orphan_warning(left: OrphanedState) -> Problem:
    """A warning: state lies here that the spec does not use, and how to be rid of it."""
    other = left.environment
    if left.here:
        hint = (
            f"rename the spec back to have it, or remove it with "
            f"`algaenv down --volumes -f {shlex.quote(str(other.spec))}`"
        )
    else:
        hint = "`algaenv down --volumes` removes it too"
    return Problem(
        "state-left",
        f"the environment of {other.spec} left its state here, which this spec does not use: "
        f"{size_text(left.size)} in {other.home}",
        hint,
    )


def remove_copy(
    left: OrphanedState, delete_copy: Callable[[OrphanedState], None], emit: Emit
) -> tuple[Ended, ...]:
    """Remove the state of a copied checkout as a step of its own; raises what `discard` does.

    Only the directory goes: services and volumes of its id belong to what it is a copy of.
    """
    other = left.environment
    cause = Cause("down", (f"copied from {other.spec.parent}",))
    step = Step(Verb.DELETE, Address("state", other.id), cause, frozenset())
    started = time.monotonic()
    emit(Planned((step,)))
    emit(StepStarted(step))
    delete_copy(left)
    seconds = time.monotonic() - started
    emit(StepEnded(step, outcome_name(Done()), seconds))
    return (Ended(step, Done(), seconds),)


def size_text(size: int) -> str:
    """Bytes for people: `47 MB`."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size} {unit}"
        size = (size + 500) // 1000
    return f"{size} GB"
