"""The rows of `parity` as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from algaenv.cli.output.escape import escape_controls
from algaenv.cli.output.json import VERSION, JsonObject
from algaenv.cli.output.terminal import PLAIN, Paint, aligned
from algaenv.comparison.parity import ParityRow

_STYLES = {"same": "green", "meant": "dim", "differs": "red"}
_LONGEST = 34
_ABSENT = "absent"
_TITLES = {
    "engine": "Engines",
    "setting": "Settings",
    "extension": "Extensions",
    "call": "Calls",
}


def parity_text(
    rows: Sequence[ParityRow],
    left_out: Sequence[str],
    paint: Paint = PLAIN,
    *,
    verbose: bool = False,
) -> str:
    """A table a group, what was left out, and the total, with a line break at the end.

    Settings that are the same are only counted, unless `verbose`.
    """
    lines: list[str] = []
    for group, title in _TITLES.items():
        all_of_it = [it for it in rows if it.group == group]
        shown = [it for it in all_of_it if verbose or group != "setting" or it.verdict != "same"]
        if not all_of_it:
            continue
        lines += ["", paint(title, "bold")] if lines else [paint(title, "bold")]
        if hidden := len(all_of_it) - len(shown):
            lines.append(f"  {hidden} the same")
        cells = [_cells(it) for it in shown]
        for row, padded in zip(shown, aligned(cells, indent=2), strict=True):
            lines.append(paint(padded[0], _STYLES[row.verdict]) + "".join(padded[1:]).rstrip())
            if row.why:
                lines.append(" " * len(padded[0]) + paint(escape_controls(row.why), "dim"))
    if left_out:
        lines += ["", paint("Left out:", "bold"), *(f"  {escape_controls(it)}" for it in left_out)]
    return "\n".join([*lines, "", paint(_total(rows), "bold")]) + "\n"


def parity_to_json(
    rows: Sequence[ParityRow], left_out: Sequence[str], own: Sequence[str]
) -> JsonObject:
    """The document of `parity --json`."""
    return {
        "version": VERSION,
        "rows": [
            {
                "group": it.group,
                "what": it.what,
                "docker": it.docker,
                "process": it.process,
                "verdict": it.verdict,
                "why": it.why,
            }
            for it in rows
        ],
        "left_out": list(left_out),
        "brought_up": list(own),
    }


def _cells(row: ParityRow) -> tuple[str, ...]:
    sides = [_short(it) for it in (row.docker, row.process)]
    values = [sides[0]] if row.verdict == "same" else [f"docker {sides[0]}", f"process {sides[1]}"]
    return tuple(escape_controls(it) for it in (row.verdict, row.what, *values))


def _short(text: str) -> str:
    if not text:
        return _ABSENT
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _total(rows: Sequence[ParityRow]) -> str:
    counts = {name: sum(it.verdict == name for it in rows) for name in _STYLES}
    verb = "differs" if counts["differs"] == 1 else "differ"
    meant = f", {counts['meant']} as meant" if counts["meant"] else ""
    return f"{len(rows)} compared: {counts['same']} the same{meant}, {counts['differs']} {verb}."
