"""Lines of text about a run: a step, a resolved value, the summary at the end."""

from __future__ import annotations

from algaenv.cli.output.escape import escape_controls, explain_line, render_problem
from algaenv.cli.output.reducer import Phase, ResolvingRow, RunState, StepRow
from algaenv.cli.output.terminal import PLAIN, Paint
from algaenv.model.event import FailedStep, Report, outcome_name
from algaenv.model.plan import Cause, Verb
from algaenv.model.problem import Problem

SLOW = 2.0
"""Seconds of waiting after which a step that only waits gets a line."""

STOPPING = "stopping after the steps under way; press Ctrl-C again to abandon them"


def duration(seconds: float) -> str:
    """`0.4s`, `12s`, `1m05s`."""
    if seconds < 9.95:  # 9.95 is where one decimal would show as 10.0
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def verb_style(verb: Verb) -> str:
    """The colour of a verb, the same in plans and runs."""
    match verb:
        case Verb.CREATE | Verb.START:
            return "green"
        case Verb.DELETE:
            return "red"
        case Verb.AWAIT | Verb.PREWARM:
            return "cyan"
        case _:
            return "yellow"


def cause_text(cause: Cause, *, verbose: bool = False) -> str:
    """The cause in a phrase: one detail is printed, several are counted unless `verbose`."""
    if len(cause.detail) <= 1 or verbose:
        return str(cause)
    return f"{cause.kind}: {cause.detail[0]} and {len(cause.detail) - 1} more"


def deserves_line(row: StepRow, *, verbose: bool) -> bool:
    """False for a probe that was answered at once, and for a step that has not ended."""
    if not row.phase.over:
        return False
    asked = row.step.verb is Verb.AWAIT and row.phase is Phase.DONE
    return verbose or not asked or row.seconds >= SLOW


def step_line(row: StepRow, state: RunState, paint: Paint = PLAIN, *, verbose: bool = False) -> str:
    """How a step ended: `+ create container/store (missing)  0.4s`."""
    step = row.step
    name = f"{step.verb} {paint(str(step.address), 'bold')}"
    cause = paint(f"({cause_text(step.cause, verbose=verbose)})", "dim")
    match row.phase:
        case Phase.FAILED:
            after = paint(f"failed after {duration(row.seconds)}", "red")
            return f"{paint('x', 'red', 'bold')} {name} {cause}  {after}"
        case Phase.SKIPPED:
            return f"{paint('.', 'yellow')} {name}  {paint(skipped_text(row, state), 'yellow')}"
        case Phase.CANCELLED:
            return f"{paint('.', 'yellow')} {name}  {paint('not begun', 'yellow')}"
        case Phase.CUT_SHORT:
            after = paint(f"cut short after {duration(row.seconds)}", "yellow")
            return f"{paint('.', 'yellow')} {name} {cause}  {after}"
        case _:
            mark = paint(step.verb.symbol, verb_style(step.verb), "bold")
            return f"{mark} {name} {cause}  {paint(duration(row.seconds), 'dim')}"


def skipped_text(row: StepRow, state: RunState) -> str:
    """`skipped, since container/store failed`."""
    held = state.blocked_on(row)
    if held is None:
        return "skipped"
    what = "failed" if held.phase is Phase.FAILED else "is not there"
    return f"skipped, since {held.address} {what}"


def abandoned_lines(state: RunState, paint: Paint = PLAIN) -> list[str]:
    """The steps that were running when a run ended without a report."""
    if state.report is not None:
        return []
    return [
        f"{paint('.', 'yellow')} {row.step.verb} {paint(str(row.address), 'bold')}"
        f"  {paint('abandoned', 'yellow')}"
        for row in state.rows
        if row.phase is Phase.RUNNING
    ]


def resolved_line(one: ResolvingRow, paint: Paint = PLAIN) -> str:
    """A resolved value: `= bundle/hello 1a2b3c4d5e6f, 5120 bytes  1.8s`."""
    seconds = paint(duration(one.seconds or 0.0), "dim")
    return f"{paint('=', 'cyan')} {paint(one.subject, 'bold')} {one.answer}  {seconds}"


def summary_line(report: Report, seconds: float, paint: Paint = PLAIN) -> str:
    """The last line: `done: 12 changed in 3.2s`."""
    outcomes = [outcome_name(ended.outcome) for ended in report.ended]
    tail = f"in {duration(seconds)}"
    counts = [f"{report.failed} failed"] if report.failed and outcomes else []
    counts += [f"{outcomes.count('skipped')} skipped"] if "skipped" in outcomes else []
    counts += [f"{outcomes.count('cancelled')} not begun"] if "cancelled" in outcomes else []
    counts += [f"{outcomes.count('cut-short')} cut short"] if "cut-short" in outcomes else []
    counts.append(f"{report.changed} changed" if report.changed else "nothing changed")
    totals = f"{', '.join(counts)} {tail}"
    if report.interrupted:
        return f"{paint('interrupted:', 'yellow', 'bold')} {totals}"
    if report.failed or "skipped" in outcomes:
        return f"{paint('failed:', 'red', 'bold')} {totals}"
    if report.changed == 0:
        return f"{paint('done:', 'green', 'bold')} nothing to change {tail}"
    return f"{paint('done:', 'green', 'bold')} {totals}"


def report_problems(report: Report) -> tuple[Problem, ...]:
    """Every problem of the run once: those of its steps, then those outside of steps."""
    failed = [e.outcome.problem for e in report.ended if isinstance(e.outcome, FailedStep)]
    return tuple(dict.fromkeys((*failed, *report.problems)))


def summary_lines(
    report: Report,
    seconds: float,
    paint: Paint = PLAIN,
    *,
    log: str = "",
    quiet: bool = False,
    explain: bool = False,
) -> list[str]:
    """The last lines of a run. `log` is the path of its log, named when the run fails.

    With `explain` a line says which command tells more about the problems.
    """
    problems = report_problems(report)
    lines = [render_problem(problem, paint) for problem in problems]
    if lines and explain:
        lines.append(explain_line(problems, paint))
    if lines and log:
        lines.append(f"{paint('log:', 'cyan')} {escape_controls(log)}")
    if quiet:
        return lines
    kept = [f"{paint('kept', 'cyan')} {one.address}: {one.why}" for one in report.kept]
    return [*kept, *lines, summary_line(report, seconds, paint)]
