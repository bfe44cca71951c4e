"""The live view of a run, redrawn in place: running and waiting steps, and the progress.

The table appears only once a step writes or waits, so that a no-op never imports rich. At the end
plain lines replace it and stay in the scrollback.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from algaenv.cli.output.escape import escape_controls, render_problem
from algaenv.cli.output.lines import (
    STOPPING,
    abandoned_lines,
    deserves_line,
    duration,
    resolved_line,
    skipped_text,
    step_line,
    summary_lines,
)
from algaenv.cli.output.reducer import Phase, ResolvingRow, RunState, StepRow, reduce
from algaenv.cli.output.streams import write_from_signal
from algaenv.cli.output.terminal import Paint, live_console
from algaenv.model.event import (
    Event,
    Reported,
    Resolving,
    RuntimeChosen,
    StepStarted,
    StepWaiting,
    Warned,
)
from algaenv.model.plan import Verb

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table


FRAMES_A_SECOND = 10


class LiveView:
    """Draws the state of the run a few times a second."""

    def __init__(
        self,
        stream: TextIO,
        paint: Paint,
        *,
        verbose: bool = False,
        log: Callable[[], str] = str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._paint = paint
        self._verbose = verbose
        self._log = log
        self._clock = clock
        self._started = clock()
        self._state = RunState()
        self._live: Live | None = None
        self._stopping = False
        self._closed = False

    def emit(self, event: Event) -> None:
        """Update the state. Events of abandoned threads after `close` are dropped."""
        if self._closed:
            return
        event = escape_controls(event)
        self._state = reduce(self._state, event, self._clock())
        match event:
            case RuntimeChosen(runtime, why):
                self._write([f"runtime {self._paint(runtime, 'bold')}: {why}"])
            case Warned(problem):
                self._write([render_problem(problem, self._paint, label="warning")])
            case StepStarted(step) if not step.only_waits:
                self._show_table()
            case Resolving() | StepWaiting():
                self._show_table()
            case Reported(report):
                self._closed = True
                self._hide_table()
                took = self._clock() - self._started
                self._write(
                    self._results()
                    + summary_lines(report, took, self._paint, log=self._log(), explain=True)
                )
            case _:
                pass

    def stopping(self) -> None:
        """Acknowledge the interrupt in the next frame, or in a line without one."""
        self._stopping = True
        if self._live is None:
            write_from_signal(self._stream, f"{STOPPING}\n")

    def close(self) -> None:
        """Replace the table by plain lines."""
        over, self._closed = self._closed, True
        self._hide_table()
        if not over:
            self._write(self._results() + abandoned_lines(self._state, self._paint))

    def _show_table(self) -> None:
        if self._live is not None:
            return
        from rich.live import Live

        console = live_console(self._stream, self._paint)
        self._live = Live(
            console=console,
            get_renderable=lambda: self._frame(console),
            refresh_per_second=FRAMES_A_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()

    def _hide_table(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _frame(self, console: Console) -> RenderableType:

        width, height = console.size
        return live_table(
            self._state,
            now=self._clock(),
            since=self._started,
            width=width,
            height=height,
            stopping=self._stopping,
        )

    def _results(self) -> list[str]:
        lines = [resolved_line(one, self._paint) for one in self._state.resolving if one.answer]
        rows = [row for row in self._state.rows if deserves_line(row, verbose=self._verbose)]
        return lines + [step_line(r, self._state, self._paint, verbose=self._verbose) for r in rows]

    def _write(self, lines: list[str]) -> None:
        """Write above the table when it is shown, else straight to the stream."""
        if not lines:
            return
        text = "\n".join(lines) + "\n"
        if self._live is not None:
            from rich.text import Text

            self._live.console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True)
            return
        self._stream.write(text)
        self._stream.flush()


NARROWEST = 16
"""Minimum width of an address, in columns."""
SPINNER_FRAMES_A_SECOND = 12.5
MARGIN = 3
"""Screen rows reserved for the footer and the prompt."""

_IMPORTANCE = (
    Phase.RUNNING,
    Phase.FAILED,
    Phase.WAITING,
    Phase.CUT_SHORT,
    Phase.SKIPPED,
    Phase.CANCELLED,
)


def rows_that_fit(rows: tuple[StepRow, ...], limit: int) -> tuple[StepRow, ...]:
    """At most `limit` rows, in their order.

    Running rows stay first, then failed ones, then the rest; of the finished the latest stay.
    """
    if len(rows) <= limit:
        return rows
    ranked = [n for phase in _IMPORTANCE for n, row in enumerate(rows) if row.phase is phase]
    ranked += [n for n in reversed(range(len(rows))) if rows[n].phase is Phase.DONE]
    kept = sorted(ranked[: max(limit, 0)])
    return tuple(rows[n] for n in kept)


def live_table(
    state: RunState, *, now: float, since: float, width: int, height: int, stopping: bool
) -> RenderableType:
    """The screen at `now`; both times are on the clock of `reduce`."""
    from rich.console import Group
    from rich.text import Text

    limit = max(height - MARGIN - stopping, 1)
    resolving = [one for one in state.resolving if one.seconds is None][:limit]
    rows = rows_that_fit(state.rows, limit - len(resolving))
    parts: list[RenderableType] = [_table(state, resolving, rows, now=now, width=width)]
    if stopping:
        parts.append(Text(STOPPING, style="yellow", no_wrap=True, overflow="ellipsis"))
    footer = _footer(state, hidden=len(state.rows) - len(rows), seconds=now - since)
    parts.append(Text(footer, style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*parts)


def _table(
    state: RunState,
    resolving: list[ResolvingRow],
    rows: tuple[StepRow, ...],
    *,
    now: float,
    width: int,
) -> Table:
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

    frames = Spinner("dots").frames
    turning = frames[int(now * SPINNER_FRAMES_A_SECOND) % len(frames)]
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, width=1)
    table.add_column(no_wrap=True, width=7)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(width // 3, NARROWEST))
    table.add_column(no_wrap=True, justify="right", width=5)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for one in resolving:
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


def _mark(row: StepRow, turning: str) -> tuple[str, str]:
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


def _time(row: StepRow, now: float) -> str:
    if row.phase is Phase.RUNNING:
        return duration(now - row.started)
    return duration(row.seconds) if row.phase in {Phase.DONE, Phase.FAILED, Phase.CUT_SHORT} else ""


def _remark(state: RunState, row: StepRow) -> str:
    """The most useful remark about a row right now."""
    match row.phase:
        case Phase.WAITING:
            held = state.blocked_on(row)
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


def _footer(state: RunState, *, hidden: int, seconds: float) -> str:
    over = sum(row.phase.over for row in state.rows)
    parts = [f"{over} of {len(state.rows)} steps"] if state.rows else []
    failed = state.count(Phase.FAILED)
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{hidden} not shown"] if hidden else []
    return " · ".join([*parts, duration(seconds)])
