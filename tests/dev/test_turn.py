"""Where the time of a turn went."""

from __future__ import annotations

from algaenv.dev.turn import TurnRecorder
from algaenv.model.event import Planned, Resolved, Resolving, RuntimeChosen


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
