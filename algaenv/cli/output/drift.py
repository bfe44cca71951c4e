"""A report of drift as text and as JSON."""

from __future__ import annotations

from algaenv.cli.output.escape import escape_controls
from algaenv.cli.output.json import VERSION, JsonObject, problem_to_json
from algaenv.cli.output.terminal import PLAIN, Paint
from algaenv.model.drift import Drift, DriftReport
from algaenv.model.problem import Problem

NONE = "No drift. Everything is as the last `up` left it."
NONE_SEEN = "No drift in what can be seen."


def drift_text(report: DriftReport, paint: Paint = PLAIN) -> str:
    """Every resource with its fields, what could not be seen, and the totals."""
    lines: list[str] = []
    for it in report.drifted:
        lines.append(f"{paint('~', 'yellow', 'bold')} {paint(str(it.address), 'bold')}")
        lines += [f"    {_line(drift, paint)}" for drift in it.fields]
    if report.unseen:
        lines += [] if not lines else [""]
        lines += [paint("Not seen:", "bold")]
        lines += [f"  {what}: {escape_controls(why)}" for what, why in report.unseen.items()]
    lines += [] if not lines else [""]
    lines.append(paint(_total(report), "bold"))
    return "\n".join(lines)


def drift_to_json(report: DriftReport, warnings: tuple[Problem, ...] = ()) -> JsonObject:
    """The document of `drift --json`."""
    return {
        "version": VERSION,
        "drifted": [
            {"address": str(it.address), "fields": [_field(drift) for drift in it.fields]}
            for it in report.drifted
        ],
        "unseen": [{"what": what, "why": why} for what, why in report.unseen.items()],
        "ignored": report.ignored,
        "warnings": [problem_to_json(warning) for warning in warnings],
    }


def _field(drift: Drift) -> JsonObject:
    return {
        "field": drift.field,
        "recorded": drift.recorded,
        "live": drift.live,
        "since": drift.since or None,
        "text": str(drift),
    }


def _line(drift: Drift, paint: Paint) -> str:
    since = paint(f"  since {_moment(drift.since)}", "dim") if drift.since else ""
    field, text = escape_controls(drift.field), escape_controls(str(drift))
    named = text.startswith(f"{field} ")
    return f"{text}{since}" if named else f"{field}: {text}{since}"


def _moment(since: str) -> str:
    """`2026-11-30 22:04:05 UTC`."""
    return f"{escape_controls(since)[:19].replace('T', ' ')} UTC"


def _total(report: DriftReport) -> str:
    more = f" Ignored by rules of the spec: {report.ignored}." if report.ignored else ""
    if not report.drifted and report.ignored:
        return f"No drift but for what the spec ignores.{more}"
    if not report.drifted:
        return NONE_SEEN if report.unseen else NONE
    fields = sum(len(it.fields) for it in report.drifted)
    resources = len(report.drifted)
    return (
        f"Drift: {fields} field{'s' * (fields > 1)} of {resources}"
        f" resource{'s' * (resources > 1)}.{more}"
    )
