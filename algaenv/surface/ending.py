"""How the end of a run is told to people: what was kept, every problem once, and the summary."""

from __future__ import annotations

from algaenv.model.outcome import FailedStep, Report
from algaenv.model.problem import Problem
from algaenv.surface.lines import summary
from algaenv.surface.problem_text import render
from algaenv.surface.terminal import PLAIN, Paint
from algaenv.surface.visible import visible


def problems(report: Report) -> tuple[Problem, ...]:
    """Every problem of the run once: those of its steps, then what stopped it."""
    failed = [e.outcome.problem for e in report.ended if isinstance(e.outcome, FailedStep)]
    return tuple(dict.fromkeys((*failed, *report.problems)))


def ending(
    report: Report, seconds: float, paint: Paint = PLAIN, *, log: str = "", quiet: bool = False
) -> list[str]:
    """The closing lines. `log` is the file that tells the whole story, named when a run fails."""
    lines = [render(problem, paint) for problem in problems(report)]
    if lines and log:
        lines.append(f"{paint('log:', 'cyan')} {visible(log)}")
    if quiet:
        return lines
    kept = [f"{paint('kept', 'cyan')} {one.address}: {one.why}" for one in report.kept]
    return [*kept, *lines, summary(report, seconds, paint)]
