"""A run drawn in place on a terminal: what is under way, what waits and for what, how far it is.

The region appears only once something takes long enough to be worth it, so that a run with
nothing to do never pays for the drawing library; when it ends, plain lines take its place and
stay in the scrollback.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from algaenv.model.event import (
    Event,
    Reported,
    Resolving,
    RuntimeChosen,
    StepStarted,
    StepWaiting,
    Warned,
)
from algaenv.surface.ending import ending
from algaenv.surface.fold import State, fold
from algaenv.surface.lines import STOPPING, abandoned_lines, settled_line, step_line, worth_a_line
from algaenv.surface.output import cut_in
from algaenv.surface.problem_text import render
from algaenv.surface.terminal import Paint
from algaenv.surface.visible import visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

FRAMES_A_SECOND = 10


class LiveView:
    """Draws the fold of the events a few times a second."""

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
        self._begun = clock()
        self._state = State()
        self._live: Live | None = None
        self._stopping = False
        self._over = False

    def emit(self, event: Event) -> None:
        """Take it in; the next frame shows it. Once closed, threads left behind are not heard."""
        if self._over:
            return
        event = visible(event)
        self._state = fold(self._state, event, self._clock())
        match event:
            case RuntimeChosen(runtime, why):
                self._write([f"runtime {self._paint(runtime, 'bold')}: {why}"])
            case Warned(problem):
                self._write([render(problem, self._paint, label="warning")])
            case StepStarted(step) if step.writes:
                self._appear()
            case Resolving() | StepWaiting():
                self._appear()
            case Reported(report):
                self._over = True
                self._vanish()
                took = self._clock() - self._begun
                self._write(self._results() + ending(report, took, self._paint, log=self._log()))
            case _:
                pass

    def stopping(self) -> None:
        """The next frame says it, or a line where there is none."""
        self._stopping = True
        if self._live is None:
            cut_in(self._stream, f"{STOPPING}\n")

    def close(self) -> None:
        """Leave the screen as plain lines, however the run came to its end."""
        over, self._over = self._over, True
        self._vanish()
        if not over:
            self._write(self._results() + abandoned_lines(self._state, self._paint))

    def _appear(self) -> None:
        if self._live is not None:
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(
            file=self._stream,
            force_terminal=True,
            color_system="auto" if self._paint.enabled else None,
            highlight=False,
            markup=False,
            emoji=False,
        )
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

    def _vanish(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _frame(self, console: Console) -> RenderableType:
        from algaenv.surface.frame import frame

        width, height = console.size
        return frame(
            self._state,
            now=self._clock(),
            since=self._begun,
            width=width,
            height=height,
            stopping=self._stopping,
        )

    def _results(self) -> list[str]:
        lines = [settled_line(one, self._paint) for one in self._state.settling if one.answer]
        rows = [row for row in self._state.rows if worth_a_line(row, verbose=self._verbose)]
        return lines + [step_line(r, self._state, self._paint, verbose=self._verbose) for r in rows]

    def _write(self, lines: list[str]) -> None:
        """Above the region when it is up, else straight to the stream."""
        if not lines:
            return
        text = "\n".join(lines) + "\n"
        if self._live is not None:
            from rich.text import Text

            self._live.console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True)
            return
        self._stream.write(text)
        self._stream.flush()
