"""A run told as events, for tests of whatever listens to one."""

from __future__ import annotations

from algaenv.model.event import (
    Event,
    Planned,
    Reported,
    Resolved,
    Resolving,
    RuntimeChosen,
    StepEnded,
    StepProgress,
    StepStarted,
    StepWaiting,
    Warned,
)
from algaenv.model.outcome import Done, Ended, FailedStep, Report, Skipped
from algaenv.model.plan import Cause, Kept, Step, Verb
from algaenv.model.problem import Problem, Where
from tests.plan.desk import at
from tests.surface.play import BROKEN, WARNING

MISSING = Cause("missing")
NETWORK = Step(Verb.CREATE, at("network/main"), MISSING, frozenset())
STORE = Step(Verb.CREATE, at("container/store"), MISSING, frozenset({at("network/main")}))
RELEASE = Step(
    Verb.UPDATE,
    at("release/hello"),
    Cause("spec changed", ("manifest version 0.1.1 → 0.1.2", "enabled false → true")),
    frozenset({at("container/store")}),
)
PAGE = Step(Verb.AWAIT, at("install/hello"), Cause("not answering"), frozenset({RELEASE.address}))
STEPS = (NETWORK, STORE, RELEASE, PAGE)
PLACED = Problem("spec-key", "cannot use `runtme`", "write `runtime`", Where("algaenv.yaml", 3, 1))

OPENING: tuple[Event, ...] = (
    RuntimeChosen("docker", "auto: Docker engine 28.5 answers"),
    Warned(WARNING),
    Resolving("bundle/hello", "build"),
    StepProgress(at("bundle/hello"), "compiling"),
    Resolved("bundle/hello", "1a2b3c4d5e6f, 5120 bytes", 1.8),
    Planned(STEPS),
    StepStarted(NETWORK),
    StepEnded(NETWORK, "done", 0.1),
    StepStarted(STORE),
    StepProgress(STORE.address, "layer 3 of 7"),
    StepWaiting(STORE.address, "connection refused", 5.2),
)
WELL: tuple[Event, ...] = (
    StepEnded(STORE, "done", 12.4),
    StepStarted(RELEASE),
    StepEnded(RELEASE, "done", 0.1),
    StepStarted(PAGE),
    StepEnded(PAGE, "done", 0.01),
    Reported(
        Report(
            "up",
            tuple(Ended(step, Done(), 0.1) for step in STEPS),
            kept=(Kept(at("bundle/hello@000000000000"), "the version before, for a rollback"),),
        )
    ),
)
BADLY: tuple[Event, ...] = (
    StepEnded(STORE, "failed", 75.0, BROKEN),
    StepEnded(RELEASE, "skipped", 0.0),
    StepEnded(PAGE, "skipped", 0.0),
    Reported(
        Report(
            "up",
            (
                Ended(NETWORK, Done(), 0.1),
                Ended(STORE, FailedStep(BROKEN, "Failed"), 75.0),
                Ended(RELEASE, Skipped("container/store"), 0.0),
                Ended(PAGE, Skipped("container/store"), 0.0),
            ),
        )
    ),
)
