"""Where the time of a turn went."""

from __future__ import annotations

import pytest

from algaenv.dev.turn import TurnRecorder, may_mend_itself
from algaenv.model.event import (
    Ended,
    FailedStep,
    Planned,
    Report,
    Resolved,
    Resolving,
    RuntimeChosen,
)
from algaenv.model.kind import EXTENSION, HANDLER, PROCESS, SEED_SQL, TASK, Address, Kind
from algaenv.model.plan import Cause, Step, Verb
from algaenv.model.problem import Problem


def test_a_build_that_fails_is_the_stage_that_took_the_time() -> None:
    now = [0.0]
    recorder = TurnRecorder(lambda: now[0])
    for seconds, event in (
        (0.1, RuntimeChosen("process", "")),
        (0.0, Resolving("extension/good", "build")),
        (0.0, Resolving("extension/bad", "build")),
        (0.5, Planned(())),  # Of the services, while both are built.
        (0.5, Resolved("extension/good", "", 1.0)),
        (2.0, Planned(())),
    ):
        now[0] += seconds
        recorder.record(event)
    assert recorder.stages("bad") == {"build": 3000}
    assert recorder.stages("good") == {"build": 1000, "plan": 2000}


@pytest.mark.parametrize(
    ("kind", "error", "from_source", "again"),
    [
        (PROCESS, "NotReady", False, True),
        (EXTENSION, "NotReady", False, False),
        (EXTENSION, "NotReady", True, False),
        (HANDLER, "Failed", False, False),
        (HANDLER, "Failed", True, False),
        (HANDLER, "NotReady", False, False),
        (HANDLER, "NotReady", True, True),  # What is compiled is not the author's.
        (HANDLER, "Unavailable", False, True),
        (TASK, "Failed", False, False),
        (SEED_SQL, "Failed", False, False),
        (SEED_SQL, "Unavailable", False, True),
    ],
)
def test_only_what_no_edit_mends_is_tried_again(
    kind: Kind, error: str, from_source: bool, again: bool
) -> None:
    step = Step(Verb.PREWARM, Address(kind.name, "hello@1"), Cause("missing"), frozenset())
    ended = (Ended(step, FailedStep(Problem("x", "cannot do it"), error), 1.0),)
    asked = may_mend_itself(Report("up", ended), lambda name: from_source and name == "hello")
    assert asked is again
