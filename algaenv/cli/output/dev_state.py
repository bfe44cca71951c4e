"""Reduces the events of `dev` and of the gateway to what its screen shows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from algaenv.bundle.value import dataclass, field, replace
from algaenv.cli.output.dev_lines import difference_texts
from algaenv.cli.output.escape import escape_controls
from algaenv.dev.events import (
    FAILED,
    DevEvent,
    ExtensionTurn,
    SelfTriggered,
    TurnEnded,
    TurnStarted,
    Watching,
)
from algaenv.model.event import Reported, RuntimeChosen, StepProgress, Warned
from algaenv.model.kind import BUNDLE
from algaenv.model.problem import Problem
from algaenv.model.status import Status

MAX_TURNS, MAX_CALLS, MAX_LOG = 50, 200, 500


@dataclass(frozen=True, slots=True)
class ScreenCall:
    """One call of a handler, as the gateway reported its end."""

    at: float
    extension: str
    text: str
    status: int
    ms: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LogRow:
    """A line about what happened: `tone` is empty, bad or warn."""

    at: float
    source: str
    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Screen:
    """Everything that is shown. Lists have the newest last."""

    runtime: str = ""
    watching: Watching | None = None
    status: Status | None = None
    turn: TurnStarted | None = None
    """The turn under way."""
    note: str = ""
    """The latest line of a build under way."""
    turns: tuple[tuple[float, TurnEnded], ...] = ()
    latest: Mapping[str, ExtensionTurn] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    """What is wrong now; goes with the next good turn."""
    calls: tuple[ScreenCall, ...] = ()
    log: tuple[LogRow, ...] = ()


def reduce_dev(screen: Screen, event: DevEvent, at: float) -> Screen:
    """The screen after `event`, which came at `at` (Unix time in seconds)."""
    match event:
        case RuntimeChosen(runtime):
            return replace(screen, runtime=runtime)
        case Watching():
            return replace(screen, watching=event)
        case Reported(report) if report.status is not None:
            return replace(screen, status=report.status)
        case TurnStarted():
            return replace(screen, turn=event, note="")
        case StepProgress(address, note) if address in BUNDLE:
            return replace(screen, note=note)
        case Warned(problem):
            return _logged(screen, LogRow(at, "warning", problem.summary, "warn"))
        case SelfTriggered(extension, files):
            text = f"its build changes what it is made from: {', '.join(files)}"
            return _logged(screen, LogRow(at, extension, text, "warn"))
        case TurnEnded():
            return _turn_ended(screen, event, at)
        case _:
            return screen


def _turn_ended(screen: Screen, turn: TurnEnded, at: float) -> Screen:
    if turn.superseded:
        return replace(screen, turn=None, note="")
    about_all = screen.turn is not None and not screen.turn.extensions
    known = screen.latest
    if about_all and not turn.failed:
        known = {name: it for name, it in known.items() if it.state != FAILED}
    latest = {**known, **{it.name: it for it in turn.extensions}}
    own = tuple(problem for it in latest.values() if it.state == FAILED for problem in it.problems)
    for it in turn.extensions:
        for text in difference_texts(it):
            screen = _logged(screen, LogRow(at, it.name, text, "warn"))
    return replace(
        screen,
        turn=None,
        note="",
        turns=(*screen.turns, (at, turn))[-MAX_TURNS:],
        latest=latest,
        problems=tuple(dict.fromkeys((*own, *turn.problems))),
        status=_status_after(screen, turn),
    )


def _status_after(screen: Screen, turn: TurnEnded) -> Status | None:
    """That of a turn about some extensions names no others, which are as they were."""
    old, new = screen.status, turn.status
    if old is None or new is None or screen.turn is None or not screen.turn.extensions:
        return new or old
    found = {it.name: it for it in (*old.extensions, *new.extensions)}
    return replace(new, extensions=tuple(found.values()))


def reduce_gateway(screen: Screen, event: Mapping[str, Any]) -> Screen:
    """The screen after an event of the gateway; those of an unknown type change nothing."""
    at = _number(event.get("at")) / 1000
    name = _name(screen, str(event.get("extension") or ""))
    match event.get("type"):
        case "call-ended":
            row = ScreenCall(
                at,
                name,
                f"{event.get('method')} {event.get('path')}",
                int(_number(event.get("status"))),
                _number(event.get("ms")),
                str(event.get("reason") or event.get("summary") or event.get("error") or ""),
            )
            return replace(screen, calls=(*screen.calls, escape_controls(row))[-MAX_CALLS:])
        case "guest-failure":
            text = str(event.get("reason") or event.get("kind") or "the handler failed")
            screen = _logged(screen, LogRow(at, name, text, "bad"))
            for line in str(event.get("stderr") or "").splitlines():
                screen = _logged(screen, LogRow(at, name, line, "bad"))
            return screen
        case "guest-log":
            return _logged(screen, LogRow(at, name, str(event.get("message") or "")))
        case "page-error" | "product-fault":
            return _logged(screen, LogRow(at, name, str(event.get("summary") or ""), "warn"))
        case _:
            return screen


def failing(screen: Screen) -> frozenset[str]:
    """The names of extensions whose last turn failed."""
    return frozenset(name for name, it in screen.latest.items() if it.state == FAILED)


def _logged(screen: Screen, row: LogRow) -> Screen:
    return replace(screen, log=(*screen.log, escape_controls(row))[-MAX_LOG:])


def _name(screen: Screen, registry_id: str) -> str:
    known = screen.status.extensions if screen.status else ()
    return next((it.name for it in known if it.registry_id == registry_id), registry_id[:8])


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def page_to_open(screen: Screen) -> str:
    """The page of the extension that changed last, or of the first that has one."""
    known = screen.status.extensions if screen.status else ()
    pages = {it.name: next(iter(it.portal_urls.values()), "") for it in known}
    recent = [it.name for _, turn in reversed(screen.turns) for it in turn.extensions]
    return next((pages[name] for name in (*recent, *pages) if pages.get(name)), "")
