"""The events of a run, for tests of event sinks."""

from __future__ import annotations

from algaenv.model.event import (
    Done,
    Ended,
    Event,
    FailedStep,
    Planned,
    Report,
    Reported,
    Resolved,
    Resolving,
    RuntimeChosen,
    Skipped,
    StepEnded,
    StepProgress,
    StepStarted,
    StepWaiting,
    Warned,
)
from algaenv.model.plan import Cause, Kept, Step, Verb
from algaenv.model.problem import Problem, Where
from tests.cli.fake_application import BROKEN, WARNING
from tests.plan.builders import parse_address

MISSING = Cause("missing")
NETWORK = Step(Verb.CREATE, parse_address("network/main"), MISSING, frozenset())
STORE = Step(
    Verb.CREATE,
    parse_address("container/store"),
    MISSING,
    frozenset({parse_address("network/main")}),
)
RELEASE = Step(
    Verb.UPDATE,
    parse_address("release/hello"),
    Cause("spec changed", ("manifest version 0.1.1 → 0.1.2", "enabled false → true")),
    frozenset({parse_address("container/store")}),
)
PAGE = Step(
    Verb.AWAIT, parse_address("install/hello"), Cause("not answering"), frozenset({RELEASE.address})
)
STEPS = (NETWORK, STORE, RELEASE, PAGE)
PLACED = Problem("spec-key", "cannot use `runtme`", "write `runtime`", Where("algaenv.yaml", 3, 1))

OPENING: tuple[Event, ...] = (
    RuntimeChosen("docker", "auto: Docker engine 28.5 answers"),
    Warned(WARNING),
    Resolving("bundle/hello", "build"),
    StepProgress(parse_address("bundle/hello"), "compiling"),
    Resolved("bundle/hello", "1a2b3c4d5e6f, 5120 bytes", 1.8),
    Planned(STEPS),
    StepStarted(NETWORK),
    StepEnded(NETWORK, "done", 0.1),
    StepStarted(STORE),
    StepProgress(STORE.address, "layer 3 of 7"),
    StepWaiting(STORE.address, "connection refused", 5.2),
)
SUCCESS: tuple[Event, ...] = (
    StepEnded(STORE, "done", 12.4),
    StepStarted(RELEASE),
    StepEnded(RELEASE, "done", 0.1),
    StepStarted(PAGE),
    StepEnded(PAGE, "done", 0.01),
    Reported(
        Report(
            "up",
            tuple(Ended(step, Done(), 0.1) for step in STEPS),
            kept=(
                Kept(
                    parse_address("bundle/hello@000000000000"), "the version before, for a rollback"
                ),
            ),
        )
    ),
)
FAILURE: tuple[Event, ...] = (
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
