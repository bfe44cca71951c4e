"""Where the events of `dev` go: the first run as `up` shows it, then a screen, lines or JSON.

Everything goes into the log of the environment and the record of the session as well.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from algaenv.cli.output.dev_lines import dev_event_to_json, dev_lines
from algaenv.cli.output.escape import render_problem
from algaenv.cli.output.json import json_line
from algaenv.cli.output.sinks import LogFile, MultiSink
from algaenv.dev.events import (
    DevEvent,
    Ignored,
    SelfTriggered,
    TurnEnded,
    TurnStarted,
    Watching,
)
from algaenv.model.event import Reported, Warned

if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.cli.output.dev_view import DevView
    from algaenv.dev.session import Session
    from algaenv.model.event import Event

OWN_EVENTS = (Watching, TurnStarted, TurnEnded, Ignored, SelfTriggered)


class DevSink:
    """Shows events, and records them for those who follow. For several threads.

    `view` takes the terminal once the sources are watched; None: lines.
    """

    def __init__(
        self, invocation: CommandInvocation, spec: Path, session: Session, view: DevView | None
    ) -> None:
        self._invocation = invocation
        self._session = session
        self._view = view
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._log = LogFile(invocation.verb, spec)
        self.sinks = MultiSink([]) if invocation.json else invocation.run_sinks(spec)
        """The sinks of the first run."""
        self._first = True
        self._last: TurnEnded | None = None

    def emit(self, event: DevEvent) -> None:
        """Show one event."""
        with self._lock:
            line = json_line(dev_event_to_json(event))
            self._record(event, line)
            if self._view is not None:
                self._view.emit(event)
            if self._invocation.json:
                self._invocation.print_result(line)
            elif self._first:
                self._show_first(event)
            elif self._view is None:
                self._show_later(event)

    def _record(self, event: DevEvent, line: str) -> None:
        own = isinstance(event, OWN_EVENTS)
        text = "".join(f"{line}\n" for line in dev_lines(event)) if own else ""
        if isinstance(event, Warned):
            text = render_problem(event.problem, label="warning") + "\n"
        self._session.write(document=line, text=text)
        if isinstance(event, TurnEnded):
            self._last = event
        elif not isinstance(event, OWN_EVENTS) and not self._first:
            self._log.emit(event)

    def _show_first(self, event: DevEvent) -> None:
        """The first run as `up` shows it; it ends when the sources are watched."""
        if isinstance(event, Watching):
            self._first = False
            self.sinks.close()
            self._print_lines(event)
            if self._view is not None:
                self._stack.enter_context(self._view.shown())
        elif isinstance(event, TurnEnded):
            self._print_lines(event)  # What cannot be watched is said at once.
        elif not isinstance(event, (TurnStarted, Ignored, SelfTriggered)):
            self.sinks.emit(event)
            self._print_status(event)

    def _show_later(self, event: DevEvent) -> None:
        """Of later runs only the turn, and warnings."""
        if isinstance(event, Warned):
            paint = self._invocation.terminal.err_paint
            text = render_problem(event.problem, paint, label="warning")
            self._invocation.print_message(f"{text}\n")
        elif not self._invocation.quiet or isinstance(event, TurnEnded):
            self._print_lines(event)

    def _print_lines(self, event: DevEvent) -> None:
        paint = self._invocation.terminal.out_paint
        lines = dev_lines(event, paint, verbose=self._invocation.verbose)
        if lines:
            self._invocation.print_result("\n".join(lines) + "\n")

    def _print_status(self, event: Event) -> None:
        if not isinstance(event, Reported) or event.report.status is None:
            return
        from algaenv.cli.output.text import status_text

        terminal = self._invocation.terminal
        if not self._invocation.quiet:
            text = status_text(
                event.report.status,
                terminal.out_paint,
                width=terminal.width,
                variables=False,
                verbose=self._invocation.verbose,
            )
            self._invocation.print_result(f"\n{text}\n\n")

    def stopping(self) -> None:
        """Acknowledge the interrupt. Called in a signal handler: takes no lock."""
        if self._first:
            self.sinks.stopping()

    def restore(self) -> None:
        """Give the terminal back before the process ends at once."""
        if self._view is not None:
            self._view.restore()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back; what is wrong at the end stays readable."""
        shown = self._view is not None and not self._first
        self._stack.close()
        self.sinks.close()
        self._log.close()
        if shown and self._last is not None and self._last.failed:
            self._print_lines(self._last)
