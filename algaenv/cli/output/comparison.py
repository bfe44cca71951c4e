"""The text of `compare`: a line a call, its differences below it, and the totals."""

from __future__ import annotations

import json
from collections.abc import Sequence

from algaenv.cli.output.escape import escape_controls
from algaenv.cli.output.terminal import PLAIN, Paint, aligned
from algaenv.model.comparison import ComparedCall, Difference, LeftOut
from algaenv.model.resource import Json

MOST_SHOWN = 20
"""Differences shown of one call; JSON has more."""
_LONGEST = 72
_ABSENT = "absent"
_PLACES = {"header": "header {}", "body": "body {}", "status": "status", "host-call": "host call"}


def comparison_text(
    targets: tuple[str, str],
    compared: Sequence[ComparedCall],
    left_out: Sequence[LeftOut],
    paint: Paint = PLAIN,
) -> str:
    """The whole of it, with a line break at the end."""
    rows = aligned([escape_controls(_row(one)) for one in compared])
    lines = []
    for one, cells in zip(compared, rows, strict=True):
        style = "red" if one.differences else "green"
        lines.append(paint(cells[0], style) + "".join(cells[1:]))
        lines += [
            f"    {escape_controls(difference_line(each))}" for each in one.differences[:MOST_SHOWN]
        ]
        if (more := len(one.differences) - MOST_SHOWN) > 0:
            lines.append(f"    and {more} more")
    if left_out:
        lines += ["", paint("Left out:", "bold")]
        lines += [escape_controls(f"  {it.method} {it.path}: {it.why}") for it in left_out]
    here, there = targets
    lines += ["", f"here   {here}", f"there  {there}", paint(total(compared), "bold")]
    return "\n".join(lines) + "\n"


def total(compared: Sequence[ComparedCall]) -> str:
    """`3 calls: 2 the same, 1 differs. 36 ms here, 41 ms there.`"""
    differ = sum(bool(one.differences) for one in compared)
    calls = "1 call" if len(compared) == 1 else f"{len(compared)} calls"
    verb = "differs" if differ == 1 else "differ"
    mine = sum(one.here.ms for one in compared)
    theirs = sum(one.there.ms for one in compared)
    same = len(compared) - differ
    return f"{calls}: {same} the same, {differ} {verb}. {mine:g} ms here, {theirs:g} ms there."


def _row(one: ComparedCall) -> tuple[str, ...]:
    return (
        "differs" if one.differences else "same",
        f"{one.call.method} {one.call.path}",
        str(one.here.status),
        f"{one.here.ms:g} ms here, {one.there.ms:g} ms there",
    )


def difference_line(difference: Difference) -> str:
    """`body /results/0: 1 → 2`."""
    place = _PLACES[difference.what].format(difference.at).strip()
    return f"{place}: {_side(difference.here)} → {_side(difference.there)}"


def _side(values: tuple[Json, ...]) -> str:
    if not values:
        return _ABSENT
    text = json.dumps(values[0], ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
