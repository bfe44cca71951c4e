"""The loop: waits for changes, and makes a turn for each.

A turn is a run of `up`, limited to the extensions that changed. What it cannot bring up stays as it
was, so the last good version goes on being served. A turn that is overtaken by another change is
given up; steps under way end first, as after an interrupt.

    waiting ──change──▶ turn ──done──▶ waiting
       ▲                 │ failed by the author's files: until the next change
       └──retry, longer──┴ failed otherwise: again after a while
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from algaenv.bundle.value import dataclass, replace
from algaenv.dependencies import Request, UseCases
from algaenv.dev.events import (
    DevEvent,
    ExtensionTurn,
    Ignored,
    SelfTriggered,
    TurnEnded,
    TurnStarted,
    Watching,
)
from algaenv.dev.pending import ASKED, Pending
from algaenv.dev.turn import TurnRecorder, may_mend_itself, other_problems
from algaenv.dev.watcher import Changes, Targets
from algaenv.model.event import Emit, Event, Report, Reported, Warned
from algaenv.model.problem import AlgaenvError, Failed, Problem
from algaenv.model.status import Status

READY_SECONDS: Final = 20.0
"""How long a turn waits for answers, unless the spec's `ready_timeout` is less: by then the author
wants to read why, and the next save is a new chance."""
COMPONENT_SECONDS: Final = 1.0
"""How long nothing may have changed before the component of a handler is built that runs from
source: the build would slow down an author who is still typing."""
LOCK_SECONDS: Final = 600.0
"""How long a turn waits for another run on the same environment."""
RETRY_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Pauses between turns that failed by no fault of the files."""
_SELF_TRIGGERED: Final = 5
"""Turns in a row by the same files, each begun during the turn before, that count as a cycle."""
_UNHURRIED: Final = 2
"""Turns of a suspected cycle after which the next one is not given up: it could never end."""
_SLOW_SECONDS: Final = 10.0
_SLOWEST_SECONDS: Final = 30.0
"""Pauses before another turn of a cycle, which grow: an author who saves often loses no edit."""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """The person asks for a turn about everything."""


@dataclass(frozen=True, slots=True)
class Restart:
    """The person asks for all services to be started anew; data is kept."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Services that do not answer any more."""

    services: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """The loop shall end."""


Message = Changes | Failed | Rebuild | Restart | Unanswered | Stop


class SourceWatcher(Protocol):
    """Delivers `Changes` into the queue of the loop."""

    directories: int

    def watch(self, targets: Targets) -> None:
        """Watch these from now on."""
        ...

    def stop(self) -> None:
        """Deliver nothing any more."""
        ...


class Surroundings(Protocol):
    """What the loop needs besides the use cases."""

    def targets(self) -> Targets:
        """What the spec says is to be watched; raises SpecError."""
        ...

    def emit(self, event: DevEvent) -> None:
        """Show an event."""
        ...

    def building(self, names: Sequence[str]) -> None:
        """Tell open pages that a turn began."""
        ...

    def ended(self, turn: TurnEnded, changed: Iterable[str], status: Status | None) -> None:
        """Tell open pages what a turn did, and watch the services of the status."""
        ...

    def describe(self, turn: ExtensionTurn, status: Status) -> ExtensionTurn:
        """The turn of an extension with what it answers now, and what it runs from."""
        ...

    def prepare(
        self, changed: Mapping[str, Sequence[str]], names: Sequence[str], *, components: bool
    ) -> None:
        """Before a run: decide which handlers run from source; none with `components`."""
        ...

    def owed(self) -> tuple[str, ...]:
        """Extensions that run from source, and whose component is to be built."""
        ...

    def runs_from_source(self, name: str) -> bool:
        """Whether the run that has just ended was to have the handler of an extension run so."""
        ...


class Loop:
    """Runs turns until it is stopped. `messages` is filled by watchers, signals and keys."""

    def __init__(
        self,
        application: Callable[[], UseCases],
        request: Request,
        watcher: SourceWatcher,
        surroundings: Surroundings,
        *,
        messages: queue.SimpleQueue[Message],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_application = application
        self._application: UseCases | None = None
        self._request = request
        self._watcher = watcher
        self._surroundings = surroundings
        self._messages = messages
        self._clock = clock
        self._number = 0
        self._failures = 0
        self._retry_at: float | None = None
        self._component_at: float | None = None
        self._stopping = False
        self._targets: Targets | None = None
        self._pending = Pending()
        self._warned: set[tuple[str, str]] = set()
        self._cycles: dict[str, int] = {}
        self._slow: dict[str, float] = {}
        """Until when changes of an extension wait, since its build seems to change its sources."""
        self._broken: set[str] = set()
        self._broken_services = False
        """Whether the last turn failed by what belongs to no extension."""
        self._draining = threading.Lock()

    def run(self) -> Report:
        """The first turn, then one for each change; returns the report of the first turn when
        nothing could be brought up, else an empty one. Raises SpecError for the spec it begins
        with."""
        self._follow(self._surroundings.targets())
        try:
            report = self._first_turn()
            if report is not None:
                return report
            while not self._stopping:
                self._wait()
                if not self._stopping:
                    self._next_turn()
        finally:
            self._watcher.stop()
        return Report("dev")

    def _first_turn(self) -> Report | None:
        """Everything; returns the report where watching would be of no use."""
        recorder = TurnRecorder(self._clock)
        report = self._run_up(replace(self._request, cancelled=self._is_stopping), recorder.record)
        if self._stopping:
            return replace(report, interrupted=True)
        useless = report.problems and report.error not in {"ResolveError", ""}
        if useless and not report.ended:
            return report
        self._conclude(report, recorder, (), ())
        assert self._targets is not None  # noqa: S101 - `run` has set it
        self._surroundings.emit(
            Watching(self._watcher.directories, tuple(self._targets.extensions))
        )
        return None

    def _follow(self, targets: Targets) -> None:
        self._targets = targets
        self._watcher.watch(targets)

    def _wait(self) -> None:
        """Until something is to be done."""
        while not (self._stopping or (self._pending.due and self._held_until() is None)):
            times = (self._retry_at, self._component_at, self._held_until())
            moments = [it for it in times if it is not None]
            timeout = max(min(moments) - self._clock(), 0.0) if moments else None
            try:
                self._take(self._messages.get(timeout=timeout))
            except queue.Empty:
                self._take_time()
        self._drain()

    def _held_until(self) -> float | None:
        """When what is pending may begin, if all of it waits because of a cycle."""
        pending = self._pending
        if not pending.extensions or pending.spec or pending.everything or pending.components:
            return None
        moments = [self._slow.get(it, 0.0) for it in pending.extensions]
        return min(moments) if min(moments) > self._clock() else None

    def _take_time(self) -> None:
        """A moment has come for which something was put off."""
        now = self._clock()
        if self._retry_at is not None and now >= self._retry_at:
            self._pending.everything = "again"
        elif self._component_at is not None and now >= self._component_at:
            self._component_at = None
            self._pending.components = self._surroundings.owed()

    def _drain(self) -> None:
        """Take what has come. A run asks from several threads whether it shall go on."""
        with self._draining, contextlib.suppress(queue.Empty):
            while True:
                self._take(self._messages.get_nowait())

    def _take(self, message: Message) -> None:
        match message:
            case Stop():
                self._stopping = True
            case Rebuild():
                self._pending.everything = ASKED
            case Restart():
                self._pending.everything = "restart"
                self._pending.restart = True
            case Unanswered(services):
                verb = "does" if len(services) == 1 else "do"
                self._pending.everything = f"{', '.join(services)} {verb} not answer"
            case Failed() as error:
                self._surroundings.emit(
                    TurnEnded(self._number, 0.0, problems=tuple(error.problems))
                )
            case Changes() as changes:
                self._take_changes(changes)

    def _take_changes(self, changes: Changes) -> None:
        if changes.spec or changes.extensions:
            self._pending.add(changes.spec, changes.extensions)
        elif changes.saved:
            self._surroundings.emit(Ignored(changes.saved))

    def _is_stopping(self) -> bool:
        """Asked by a run between its steps; takes what came meanwhile."""
        self._drain()
        return self._stopping

    def _next_turn(self) -> None:
        pending, self._pending = self._pending, Pending()
        reread = pending.changes_what_counts
        if reread or pending.everything or self._broken_elsewhere(pending):
            names: tuple[str, ...] = ()
        else:
            names = tuple(pending.extensions) or pending.components
        cause = pending.cause
        self._number += 1
        changed = pending.files
        self._surroundings.emit(TurnStarted(self._number, cause, names, changed))
        # What is edited while the watch begins anew is part of this turn: it is about everything.
        if reread and not self._reread():
            return
        if pending.restart:
            if not self._take_down():
                return
            pending.restart = False
        self._turn(names, pending)

    def _take_down(self) -> bool:
        """Before a restart; False when that fails."""
        started = self._clock()
        report = self._run(
            lambda application, emit: application.down(self._request, emit, volumes=False),
            lambda _: None,
        )
        if not report.failed:
            return True
        turn = TurnEnded(self._number, self._clock() - started, problems=other_problems(report))
        self._surroundings.emit(turn)
        self._surroundings.ended(turn, (), None)
        return False

    def _broken_elsewhere(self, pending: Pending) -> bool:
        """A failure that was not about these files alone: the next turn is about everything."""
        elsewhere = self._broken_services or not self._broken <= pending.extensions.keys()
        return self._retry_at is not None and elsewhere

    def _reread(self) -> bool:
        """Follow a changed spec; False when it cannot be read, and the last one stays in force."""
        try:
            targets = self._surroundings.targets()
        except AlgaenvError as error:
            turn = TurnEnded(self._number, 0.0, problems=tuple(error.problems))
            self._surroundings.emit(turn)
            self._surroundings.ended(turn, (), None)
            return False
        if targets != self._targets:
            self._follow(targets)
        return True

    def _turn(self, names: tuple[str, ...], pending: Pending) -> None:
        recorder = TurnRecorder(self._clock)
        known = self._targets.extensions if self._targets else {}
        names = tuple(it for it in names if it in known)
        self._surroundings.building(names or tuple(known))
        self._surroundings.prepare(pending.extensions, names, components=pending.wants_components)
        request = replace(
            self._request,
            extensions=names or self._request.extensions,
            cancelled=lambda: self._is_overtaken(() if pending.unhurried else names),
            ready_seconds=READY_SECONDS,
        )
        report = self._run_up(request, recorder.record)
        if not self._stopping and report.interrupted and self._pending.due:
            # What this turn was about is part of the next one.
            self._pending.add_older(pending)
            self._note_cycles(pending)
            seconds = self._clock() - recorder.started
            turn = TurnEnded(self._number, seconds, superseded=True)
            self._surroundings.emit(turn)
            return
        self._note_cycles(pending)
        self._conclude(report, recorder, names, pending.files)

    def _is_overtaken(self, names: tuple[str, ...]) -> bool:
        self._drain()
        pending = self._pending
        hurried = {it for it in pending.extensions if self._cycles.get(it, 0) < _UNHURRIED}
        concerns = bool(hurried) and (not names or not hurried.isdisjoint(names))
        return self._stopping or bool(pending.spec) or concerns

    def _conclude(
        self,
        report: Report,
        recorder: TurnRecorder,
        names: tuple[str, ...],
        changed: tuple[str, ...],
    ) -> None:
        if report.interrupted:
            return
        extensions = recorder.extensions(report, names)
        problems = other_problems(report)
        seconds = self._clock() - recorder.started
        if report.failed or report.problems:
            self._application = None  # Its view of engine and services may be out of date.
            self._failures += 1
        else:
            self._failures = 0
        self._retry_at = None
        pause = None
        if report.failed and may_mend_itself(report, self._surroundings.runs_from_source):
            pause = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS)) - 1]
            self._retry_at = self._clock() + pause
        self._broken = {it.name for it in extensions if it.problems}
        self._broken_services = bool(problems)
        if report.status is not None:
            status = report.status
            extensions = tuple(self._surroundings.describe(it, status) for it in extensions)
        turn = TurnEnded(
            self._number,
            seconds,
            extensions,
            problems,
            retry_seconds=pause,
            status=report.status,
        )
        if self._number:
            self._surroundings.emit(turn)
        self._surroundings.ended(turn, changed, report.status)
        owed = self._surroundings.owed() if not turn.failed else ()
        self._component_at = self._clock() + COMPONENT_SECONDS if owed else None

    def _run_up(self, request: Request, record: Callable[[Event], None]) -> Report:
        request = replace(request, lock_seconds=LOCK_SECONDS)
        return self._run(lambda application, emit: application.up(request, emit), record)

    def _run(
        self, use_case: Callable[[UseCases, Emit], Report], record: Callable[[Event], None]
    ) -> Report:
        def emit(event: Event) -> None:
            record(event)
            if isinstance(event, Warned):
                key = (event.problem.code, event.problem.summary)
                if key in self._warned:
                    return
                self._warned.add(key)
            if self._number and isinstance(event, Reported):
                return  # The end of a turn is told by `TurnEnded`.
            self._surroundings.emit(event)

        if self._application is None:
            self._application = self._make_application()
        try:
            return use_case(self._application, emit)
        except Exception as error:
            if not self._number:
                raise
            # A bug of ours must not end what others rely on.
            self._application = None
            return Report("dev", problems=(_bug(error),), error=type(error).__name__)

    def _note_cycles(self, pending: Pending) -> None:
        """Files that changed during the turn which their last change began: a build of the author's
        that writes into its own sources would go on for ever."""
        self._drain()
        for name, files in pending.extensions.items():
            again = self._pending.extensions.get(name, ())
            if again and set(again) == set(files):
                self._cycles[name] = self._cycles.get(name, 0) + 1
            else:
                self._cycles[name] = 0
            excess = self._cycles[name] - _SELF_TRIGGERED
            if excess == 0:
                self._surroundings.emit(SelfTriggered(name, tuple(again)))
            if excess >= 0:
                pause = min(_SLOW_SECONDS * (excess + 1), _SLOWEST_SECONDS)
                self._slow[name] = self._clock() + pause
            else:
                self._slow.pop(name, None)


def _bug(error: Exception) -> Problem:
    import traceback

    lines = "".join(traceback.format_exception(error)).splitlines()
    return Problem(
        "unexpected",
        f"cannot finish this turn, this is a bug in algaenv: {error or type(error).__name__}",
        "report it with the lines above",
        detail=tuple(lines[-20:]),
    )
