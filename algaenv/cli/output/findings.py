"""Findings of `doctor` as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from algaenv.cli.output.escape import escape_controls
from algaenv.cli.output.terminal import PLAIN, Paint

if TYPE_CHECKING:
    from algaenv.cli.output.json import JsonObject
    from algaenv.doctor.finding import CheckFinding, State

_STYLE: Final[Mapping[str, str]] = {
    "ok": "green",
    "repaired": "green",
    "warning": "yellow",
    "failed": "red",
    "skipped": "dim",
}
_WIDTH: Final = len("repaired")
_NAME: Final = len("state-directory")


def findings_text(
    found: Sequence[CheckFinding], paint: Paint = PLAIN, *, quiet: bool, verbose: bool
) -> str:
    """A line for each finding, with why and how to mend what is wrong; then the totals.

    `quiet` leaves out what is fine, `verbose` adds details of it.
    """
    lines: list[str] = []
    for one in found:
        lines += _lines(one, paint, quiet=quiet, verbose=verbose)
    if not quiet:
        lines += _skipped(found, paint)
    if not quiet or lines:
        lines += ["", _totals(found, paint)] if lines else [_totals(found, paint)]
    return "".join(f"{it}\n" for it in lines)


def _lines(one: CheckFinding, paint: Paint, *, quiet: bool, verbose: bool) -> list[str]:
    finding = escape_controls(one.finding)
    word = "repaired" if one.repaired else finding.state
    wrong = word not in {"ok", "skipped"}
    if word == "skipped" or (quiet and not wrong):
        return []
    head = f"{word:<{_WIDTH}}  {one.check.id:<{_NAME}}  "
    style = (_STYLE[word], "bold") if wrong else (_STYLE[word],)
    lines = [f"{paint(head, *style)}{finding.summary}"]
    indent = " " * (_WIDTH + 2)
    if wrong or verbose:
        lines += [paint(f"{indent}  | {it}", "dim") for it in finding.detail]
    if one.repaired:
        lines.append(f"{indent}done: {escape_controls(one.repaired)}")
    elif wrong:
        lines.append(f"{indent}why: {one.check.why}")
        if finding.hint:
            lines.append(f"{indent}{paint('hint:', 'cyan')} {finding.hint}")
    return lines


def _skipped(found: Sequence[CheckFinding], paint: Paint) -> list[str]:
    """A line for each reason."""
    reasons: dict[str, list[str]] = {}
    for one in found:
        if one.finding.state == "skipped":
            reasons.setdefault(escape_controls(one.finding.summary), []).append(one.check.id)
    return [
        paint(f"{'skipped':<{_WIDTH}}  {', '.join(dict.fromkeys(ids))}: {why}", "dim")
        for why, ids in reasons.items()
    ]


def _totals(found: Sequence[CheckFinding], paint: Paint) -> str:
    totals = _counts(found)
    shown = [f"{count} {word}" for word, count in totals.items() if count]
    style = "red" if totals["failed"] else "yellow" if totals["warning"] else "green"
    text = (
        ", ".join(shown).replace("warning", "warnings")
        if totals["warning"] != 1
        else ", ".join(shown)
    )
    return paint(f"{len({it.check.id for it in found})} checks: {text}", style, "bold")


def _counts(found: Sequence[CheckFinding]) -> dict[str, int]:
    words = ["repaired" if it.repaired else it.finding.state for it in found]
    return {word: words.count(word) for word in ("failed", "warning", "repaired", "ok", "skipped")}


def findings_to_json(found: Sequence[CheckFinding], spec: Path | None) -> JsonObject:
    """The document of `doctor --json`."""
    return {
        "version": 1,
        "spec": str(spec) if spec else None,
        "totals": {**_counts(found)},
        "checks": [_finding_to_json(it) for it in found],
    }


def _finding_to_json(one: CheckFinding) -> JsonObject:
    finding = one.finding
    state: State = finding.state
    return {
        "id": one.check.id,
        "state": state,
        "summary": finding.summary,
        "why": one.check.why,
        "hint": finding.hint,
        "detail": list(finding.detail),
        "can_repair": finding.repair is not None,
        "repaired": one.repaired,
    }
