"""What a lock file has, and what differs from it, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from algaenv.cli.output.escape import escape_controls
from algaenv.cli.output.json import VERSION, JsonObject, problem_to_json
from algaenv.cli.output.terminal import PLAIN, Paint
from algaenv.dependencies import LockResult
from algaenv.model.pins import PinDifference

_SHOWN = 12
"""Changes that are listed unless all are asked for: a first file has a line for each package."""


def result_text(result: LockResult, paint: Paint = PLAIN, *, verbose: bool = False) -> str:
    """What changed, what could not be looked up, and what the file has."""
    shown = result.changes if verbose else result.changes[:_SHOWN]
    lines = [_change(it, paint) for it in shown]
    if more := len(result.changes) - len(shown):
        lines.append(paint(f"  and {more} more; --verbose lists them", "dim"))
    for runtime, problem in result.left_out.items():
        why = escape_controls(problem.summary)
        lines.append(f"{paint('not looked up', 'yellow')}: what {runtime} runs: {why}")
    verb = "wrote" if result.changes else "nothing to change in"
    lines += [""] if lines else []
    lines.append(paint(f"{verb} {escape_controls(str(result.path))}: {_total(result)}", "bold"))
    return "\n".join(lines)


def result_to_json(result: LockResult) -> JsonObject:
    """The document of `lock --json`."""
    return {
        "version": VERSION,
        "path": str(result.path),
        "written": bool(result.changes),
        "changes": [_difference(it) for it in result.changes],
        "left_out": [
            {"runtime": name, "problem": problem_to_json(it)}
            for name, it in result.left_out.items()
        ],
        "differences": [],
    }


def check_text(path: Path, found: Sequence[PinDifference], paint: Paint = PLAIN) -> str:
    """Every difference, and how many there are."""
    shown = escape_controls(str(path))
    if not found:
        return paint(f"What would run is what {shown} names.", "bold")
    lines = [f"{paint('~', 'yellow', 'bold')} {escape_controls(str(it))}" for it in found]
    total = f"{_many(len(found), 'difference')} from {shown}."
    return "\n".join([*lines, "", paint(total, "bold")])


def check_to_json(path: Path, found: Sequence[PinDifference]) -> JsonObject:
    """The document of `lock --check --json`."""
    return {
        "version": VERSION,
        "path": str(path),
        "written": False,
        "changes": [],
        "left_out": [],
        "differences": [_difference(it) for it in found],
    }


def _difference(it: PinDifference) -> JsonObject:
    return {
        "what": it.what,
        "field": it.field,
        "locked": it.locked,
        "found": it.found,
        "text": str(it),
    }


def _change(it: PinDifference, paint: Paint) -> str:
    sign, colour = ("~", "yellow") if it.locked and it.found else ("+", "green")
    if not it.found:
        sign, colour = "-", "red"
    name = f"{it.what} {it.field}".rstrip()
    values = " → ".join(text for text in (it.locked, it.found) if text)
    return f"{paint(sign, colour, 'bold')} {escape_controls(f'{name}: {values}')}"


def _total(result: LockResult) -> str:
    pins = result.pins
    places = sorted({(it.runtime, it.platform) for it in pins.services})
    parts = [
        f"{_many(len(pins.of(*place)), 'service')} with {place[0]} on {place[1]}"
        for place in places
    ]
    parts += [_many(len(pins.packages), "package")] if pins.packages else []
    parts += [_many(sum(map(len, pins.tools.values())), "tool")] if pins.tools else []
    return ", ".join(parts)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
