"""Frames of the live view, rendered on a screen of a given size and compared as text."""

from __future__ import annotations

import io
from textwrap import dedent

import pytest
from rich.console import Console

from algaenv.cli.output.live import live_table, rows_that_fit
from algaenv.cli.output.reducer import Phase, RunState, StepRow
from algaenv.model.event import Event, Planned, StepEnded, StepStarted
from algaenv.model.plan import Step, Verb
from tests.cli.event_samples import FAILURE, MISSING, OPENING
from tests.cli.test_reducer import after
from tests.plan.builders import parse_address


def screen_lines(
    state: RunState, *, width: int, height: int = 24, stopping: bool = False
) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, color_system=None)
    console.print(
        live_table(state, now=12.0, since=0.0, width=width, height=height, stopping=stopping)
    )
    lines = stream.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    return [line.rstrip() for line in lines]


def lines(text: str) -> list[str]:
    return dedent(text).strip("\n").splitlines()


def test_on_a_screen_of_eighty_columns() -> None:
    assert screen_lines(after(OPENING), width=80) == lines("""
        ✓ create  network/main     0.1s
        ⠋ create  container/store  4.0s connection refused
        · update  release/hello         waits for container/store
        · await   install/hello         waits for release/hello
        1 of 4 steps · 12s
        """)


def test_a_failure_says_why_and_what_leans_on_it() -> None:
    assert screen_lines(after((*OPENING, *FAILURE)), width=90) == lines("""
        ✓ create  network/main     0.1s
        ✗ create  container/store 1m15s cannot bring up container/store: it ended while starting
        - update  release/hello         skipped, since container/store failed
        - await   install/hello         skipped, since container/store failed
        4 of 4 steps · 1 failed · 12s
        """)


def test_on_a_narrow_screen_nothing_wraps() -> None:
    assert screen_lines(after(OPENING), width=44) == lines("""
        ✓ create  network/main     0.1s
        ⠋ create  container/store  4.0s connection …
        · update  release/hello         waits for c…
        · await   install/hello         waits for r…
        1 of 4 steps · 12s
        """)


def test_what_is_being_settled_comes_first() -> None:
    assert screen_lines(after(OPENING[:4]), width=80) == lines("""
        ⠋ settle  bundle/hello   10s compiling
        12s
        """)


def test_that_it_is_stopping_stands_below() -> None:
    text = screen_lines(after(OPENING), width=80, stopping=True)
    assert text[-2:] == [
        "stopping after the steps under way; press Ctrl-C again to abandon them",
        "1 of 4 steps · 12s",
    ]


def many(count: int) -> RunState:
    steps = [
        Step(Verb.CREATE, parse_address(f"bundle/e{n:03}"), MISSING, frozenset())
        for n in range(count)
    ]
    events: list[Event] = [Planned(tuple(steps))]
    events += [StepEnded(step, "done", 0.1) for step in steps[: count // 2]]
    events += [StepStarted(steps[-1])]
    return after(events)


@pytest.mark.parametrize("height", [1, 4, 10, 24])
def test_more_steps_than_rows_never_overflow(height: int) -> None:
    text = screen_lines(many(300), width=80, height=height)
    assert len(text) <= max(height - 1, 2)
    shown = len(text) - 1
    assert text[-1] == f"150 of 300 steps · {300 - shown} not shown · 12s"
    assert any("bundle/e299" in line for line in text)


def test_running_rows_stay_then_failed_then_waiting_then_the_latest_done() -> None:
    order = [Phase.DONE] * 3 + [Phase.FAILED] + [Phase.WAITING] * 2 + [Phase.RUNNING, Phase.SKIPPED]
    rows = tuple(
        StepRow(Step(Verb.CREATE, parse_address(f"a/{n}"), MISSING, frozenset()), phase)
        for n, phase in enumerate(order)
    )
    chosen = [[row.address.name for row in rows_that_fit(rows, limit)] for limit in range(9)]
    assert chosen == [
        [],
        ["6"],
        ["3", "6"],
        ["3", "4", "6"],
        ["3", "4", "5", "6"],
        ["3", "4", "5", "6", "7"],
        ["2", "3", "4", "5", "6", "7"],
        ["1", "2", "3", "4", "5", "6", "7"],
        ["0", "1", "2", "3", "4", "5", "6", "7"],
    ]
