"""Columns that line up, in plain text: colour is laid on after the widths are known."""

from __future__ import annotations

from collections.abc import Sequence

GAP = 2


def aligned(rows: Sequence[Sequence[str]], *, indent: int = 0) -> list[list[str]]:
    """The same cells padded to the widest of their column; the last one of a row stays bare.

    The first cell carries the indent. Joined with nothing, each row is a line.
    """
    if not rows:
        return []
    columns = max(len(row) for row in rows)
    widths = [max((len(row[n]) for row in rows if n < len(row)), default=0) for n in range(columns)]
    padded = []
    for row in rows:
        cells = [cell.ljust(widths[n] + GAP) for n, cell in enumerate(row[:-1])]
        cells.append(row[-1])
        cells[0] = " " * indent + cells[0]
        padded.append(cells)
    return padded
