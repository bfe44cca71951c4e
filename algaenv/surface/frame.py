"""One frame of the live view: the rows that fit, with the ones that matter most kept longest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algaenv.model.plan import Verb
from algaenv.surface.fold import Phase, Row, Settling, State
from algaenv.surface.lines import STOPPING, duration, skipped_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

NARROWEST = 16
"""Columns an address keeps on the narrowest screen."""
TURNS_A_SECOND = 12.5
MARGIN = 3
"""Rows of the screen left to the footer and the prompt."""

_IMPORTANCE = (
    Phase.RUNNING,
    Phase.FAILED,
    Phase.WAITING,
    Phase.CUT_SHORT,
    Phase.SKIPPED,
    Phase.CANCELLED,
)


def visible(rows: tuple[Row, ...], room: int) -> tuple[Row, ...]:
    """At most `room` rows, in their order: running first to stay, then failed, then the rest.

    Of the finished the latest stay.
    """
    if len(rows) <= room:
        return rows
    ranked = [n for phase in _IMPORTANCE for n, row in enumerate(rows) if row.phase is phase]
    ranked += [n for n in reversed(range(len(rows))) if rows[n].phase is Phase.DONE]
    kept = sorted(ranked[: max(room, 0)])
    return tuple(rows[n] for n in kept)


def frame(
    state: State, *, now: float, since: float, width: int, height: int, stopping: bool
) -> RenderableType:
    """What the screen shows at `now`; both times are on the clock of the fold."""
    from rich.console import Group
    from rich.text import Text

    room = max(height - MARGIN - stopping, 1)
    settling = [one for one in state.settling if one.seconds is None][:room]
    rows = visible(state.rows, room - len(settling))
    parts: list[RenderableType] = [_table(state, settling, rows, now=now, width=width)]
    if stopping:
        parts.append(Text(STOPPING, style="yellow", no_wrap=True, overflow="ellipsis"))
    footer = _footer(state, hidden=len(state.rows) - len(rows), seconds=now - since)
    parts.append(Text(footer, style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*parts)


def _table(
    state: State, settling: list[Settling], rows: tuple[Row, ...], *, now: float, width: int
) -> Table:
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

    frames = Spinner("dots").frames
    turning = frames[int(now * TURNS_A_SECOND) % len(frames)]
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, width=1)
    table.add_column(no_wrap=True, width=7)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(width // 3, NARROWEST))
    table.add_column(no_wrap=True, justify="right", width=5)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for one in settling:
        took = duration(now - one.started)
        cells = (turning, "settle", one.subject, took, one.note or one.what)
        table.add_row(*(Text(cell, style="cyan" if cell is turning else "") for cell in cells))
    for row in rows:
        mark, style = _mark(row, turning)
        remark = Text(_remark(state, row), style="red" if row.phase is Phase.FAILED else "dim")
        faint = "dim" if row.phase is Phase.WAITING else ""
        table.add_row(
            Text(mark, style=style),
            Text(str(row.step.verb), style=faint),
            Text(str(row.address), style=faint or "bold"),
            Text(_time(row, now), style="dim"),
            remark,
        )
    return table


def _mark(row: Row, turning: str) -> tuple[str, str]:
    """The character before a row, and its style."""
    match row.phase:
        case Phase.WAITING:
            return "·", "dim"
        case Phase.RUNNING:
            return turning, "cyan"
        case Phase.DONE:
            return "✓", "green"
        case Phase.FAILED:
            return "✗", "red"
        case Phase.SKIPPED | Phase.CANCELLED | Phase.CUT_SHORT:
            return "-", "yellow"


def _time(row: Row, now: float) -> str:
    if row.phase is Phase.RUNNING:
        return duration(now - row.started)
    return duration(row.seconds) if row.phase in {Phase.DONE, Phase.FAILED, Phase.CUT_SHORT} else ""


def _remark(state: State, row: Row) -> str:
    """What is most worth knowing of a row right now."""
    match row.phase:
        case Phase.WAITING:
            held = state.held_by(row)
            return f"waits for {held.address}" if held else ""
        case Phase.RUNNING:
            return row.note or str(row.step.cause)
        case Phase.FAILED:
            return row.problem.summary if row.problem else ""
        case Phase.SKIPPED:
            return skipped_text(row, state)
        case Phase.CANCELLED:
            return "not begun"
        case Phase.CUT_SHORT:
            return "cut short"
        case Phase.DONE:
            return "" if row.step.verb in {Verb.CREATE, Verb.AWAIT} else str(row.step.cause)


def _footer(state: State, *, hidden: int, seconds: float) -> str:
    over = sum(row.phase.over for row in state.rows)
    parts = [f"{over} of {len(state.rows)} steps"] if state.rows else []
    failed = state.count(Phase.FAILED)
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{hidden} not shown"] if hidden else []
    return " · ".join([*parts, duration(seconds)])
