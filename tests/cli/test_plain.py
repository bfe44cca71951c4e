"""Plain lines, compared as text."""

from __future__ import annotations

import io
from collections.abc import Iterable
from textwrap import dedent

import pytest

from algaenv.cli.output.escape import render_problem
from algaenv.cli.output.lines import duration
from algaenv.cli.output.plain import PlainView
from algaenv.cli.output.terminal import Paint
from algaenv.model.event import (
    Cancelled,
    CutShort,
    Done,
    Ended,
    Event,
    Planned,
    Report,
    Reported,
    StepEnded,
    StepStarted,
    StepWaiting,
)
from tests.cli.event_samples import FAILURE, NETWORK, OPENING, PAGE, PLACED, STEPS, STORE, SUCCESS
from tests.cli.fake_application import BROKEN


def output_of(events: Iterable[Event], *, colour: bool = False, **options: bool) -> str:
    stream = io.StringIO()
    clock = iter((0.0, *(3.2 for _ in range(1000))))
    console = PlainView(
        stream,
        Paint(enabled=colour),
        log=lambda: "/home/me/.algaenv/ab/logs/algaenv.log",
        clock=lambda: next(clock),
        **options,
    )
    for event in events:
        console.emit(event)
    console.close()
    return stream.getvalue()


OPENED = """\
runtime docker: auto: Docker engine 28.5 answers
warning[capability-unknown]: cannot tell what the capability `cap:teleport` grants
  hint: take it out of the manifest
  bundle/hello: build …
= bundle/hello 1a2b3c4d5e6f, 5120 bytes  1.8s
+ create network/main (missing)  0.1s
  waiting for container/store: connection refused (5.2s)
"""


def test_a_run_that_goes_well() -> None:
    assert output_of((*OPENING, *SUCCESS)) == OPENED + dedent("""\
        + create container/store (missing)  12s
        ~ update release/hello (spec changed: manifest version 0.1.1 → 0.1.2 and 1 more)  0.1s
        kept bundle/hello@000000000000: the version before, for a rollback
        done: 3 changed in 3.2s
        """)


def test_a_run_that_does_not() -> None:
    assert output_of((*OPENING, *FAILURE)) == OPENED + dedent("""\
        x create container/store (missing)  failed after 1m15s
        . update release/hello  skipped, since container/store failed
        . await install/hello  skipped, since container/store failed
        error[service-ended]: cannot bring up container/store: it ended while starting
            | listening on 127.0.0.1:9000
            | panic: disk full
          hint: its last lines are above; `algaenv up` tries again
        log: /home/me/.algaenv/ab/logs/algaenv.log
        failed: 1 failed, 2 skipped, 1 changed in 3.2s
        """)


def test_quiet_tells_warnings_and_problems_only() -> None:
    assert output_of((*OPENING, *SUCCESS), quiet=True) == dedent("""\
        warning[capability-unknown]: cannot tell what the capability `cap:teleport` grants
          hint: take it out of the manifest
        """)
    assert output_of(FAILURE, quiet=True).splitlines()[0].startswith("error[service-ended]: ")


def test_verbose_tells_every_step_and_every_reason() -> None:
    text = output_of((*OPENING, *SUCCESS), verbose=True)
    assert "  create container/store …\n" in text
    assert "  container/store: layer 3 of 7\n" in text
    assert "(spec changed: manifest version 0.1.1 → 0.1.2; enabled false → true)" in text
    assert "? await install/hello (not answering)  0.0s\n" in text


def test_an_answer_that_took_long_is_worth_a_line() -> None:
    text = output_of((StepEnded(PAGE, "done", 2.5), StepEnded(PAGE, "done", 0.5)))
    assert text == "? await install/hello (not answering)  2.5s\n"


def test_waiting_is_told_every_few_seconds_only() -> None:
    waits = [StepWaiting(STORE.address, "refused", n / 4) for n in range(1, 60)]
    lines = output_of((StepStarted(STORE), *waits)).splitlines()
    assert lines == [
        "  waiting for container/store: refused (5.0s)",
        "  waiting for container/store: refused (10s)",
        ". create container/store  abandoned",
    ]


def test_nothing_to_do() -> None:
    assert output_of((Reported(Report("up")),)) == "done: nothing to change in 3.2s\n"


def test_what_stopped_the_run_outside_of_any_step() -> None:
    report = Report("up", problems=(PLACED,), error="SpecError")
    assert output_of((Reported(report),)) == dedent("""\
        algaenv.yaml:3:1: error[spec-key]: cannot use `runtme`
          hint: write `runtime`
        log: /home/me/.algaenv/ab/logs/algaenv.log
        failed: nothing changed in 3.2s
        """)


def test_interrupted() -> None:
    ended = (Ended(NETWORK, Done(), 0.1), Ended(STORE, Cancelled(), 0.0))
    events = (
        Planned(STEPS),
        StepEnded(STORE, "cancelled", 0.0),
        Reported(Report("up", ended, interrupted=True)),
    )
    assert output_of(events) == dedent("""\
        . create container/store  not begun
        interrupted: 1 not begun, 1 changed in 3.2s
        """)


def test_cut_short_is_no_failure() -> None:
    ended = (Ended(NETWORK, Done(), 0.1), Ended(STORE, CutShort(), 1.2))
    events = (
        Planned(STEPS),
        StepStarted(STORE),
        StepEnded(STORE, "cut-short", 1.2),
        Reported(Report("up", ended, interrupted=True)),
    )
    assert output_of(events) == dedent("""\
        . create container/store (missing)  cut short after 1.2s
        interrupted: 1 cut short, 1 changed in 3.2s
        """)


def test_one_problem_behind_several_failures_is_told_once() -> None:
    from algaenv.model.event import FailedStep

    failed = FailedStep(BROKEN, "Failed")
    ended = (Ended(STORE, failed, 0.1), Ended(NETWORK, failed, 0.1))
    text = output_of((Reported(Report("up", ended)),))
    assert text.count("error[service-ended]") == 1
    assert "failed: 2 failed, nothing changed" in text


def test_threads_that_outlive_the_run_are_not_heard() -> None:
    stream = io.StringIO()
    console = PlainView(stream)
    console.emit(StepStarted(STORE))
    console.close()
    console.emit(StepEnded(STORE, "done", 1.0))
    console.close()
    assert stream.getvalue() == ". create container/store  abandoned\n"


def test_colour_changes_no_text() -> None:
    import re

    events = (*OPENING, *FAILURE)
    painted = output_of(events, colour=True)
    assert "\x1b[31;1mx\x1b[0m" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == output_of(events)


@pytest.mark.parametrize("problem", [BROKEN, PLACED])
def test_a_problem_looks_as_it_calls_itself(problem: object) -> None:
    assert render_problem(problem) == str(problem)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0s"), (0.44, "0.4s"), (9.94, "9.9s"), (9.96, "10s"), (59.6, "1m00s"), (125, "2m05s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
