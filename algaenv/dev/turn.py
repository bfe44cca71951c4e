"""What one turn did to each extension, from the events and the report of its run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from algaenv.dev.events import APPLIED, FAILED, UNCHANGED, ExtensionTurn
from algaenv.model.event import (
    Done,
    Event,
    FailedStep,
    Planned,
    Report,
    Resolved,
    Resolving,
    RuntimeChosen,
    StepEnded,
)
from algaenv.model.kind import BUNDLE, EXTENSION, HANDLER, RELEASE, SEED_SQL, TASK, Address
from algaenv.model.plan import Verb
from algaenv.model.problem import Problem
from algaenv.plan.order import extension_of

_STAGES: Mapping[str, str] = {
    BUNDLE.name: "upload",
    RELEASE.name: "rows",
    HANDLER.name: "warm",
    EXTENSION.name: "ready",
}
_AUTHORS_STEPS = frozenset({HANDLER.name, EXTENSION.name, SEED_SQL.name, TASK.name})
_AUTHORS_ERRORS = frozenset({"Failed", "NotReady"})
"""Errors of those steps that only a change of the author's files mends."""
_SOURCE_ERRORS = frozenset({"SpecError", "ResolveError"})


class TurnRecorder:
    """Takes the events of a run as they come. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.started = clock()
        self._chosen = self._resolved = self._planned = 0.0
        self._builds: set[str] = set()
        self._building: dict[str, float] = {}
        """Name → when its build began that has not ended well."""
        self._stages: dict[str, dict[str, float]] = {}
        self._answered: dict[str, float] = {}

    def record(self, event: Event) -> None:
        """Take an event."""
        match event:
            case Resolving(subject):
                self._builds.add(subject)
                self._building[subject.partition("/")[2]] = self._clock()
            case Resolved(subject, _, seconds):
                stage = "build" if subject in self._builds else "pack"
                name = subject.partition("/")[2]
                self._add(name, stage, seconds)
                self._building.pop(name, None)
                self._resolved = self._clock()
            case RuntimeChosen():
                self._resolved = self._chosen = self._clock()
            case Planned():
                self._planned = self._clock()
            case StepEnded(step, _, seconds) if step.verb is not Verb.DELETE:
                stage = _STAGES.get(step.address.kind, "")
                if stage and step.only_waits:
                    stage = "ready"
                if stage:
                    name = extension_name(step.address)
                    self._add(name, stage, seconds)
                    self._answered[name] = self._clock()
            case _:
                pass

    def _add(self, name: str, stage: str, seconds: float) -> None:
        stages = self._stages.setdefault(name, {})
        stages[stage] = stages.get(stage, 0.0) + seconds

    def stages(self, name: str) -> dict[str, int]:
        """Milliseconds by stage, in their order; those that took less than half of one are left
        out."""
        found = dict(self._stages.get(name, {}))
        if (begun := self._building.get(name)) is not None and self._planned:
            # It failed; what comes next is the plan without it.
            return {"build": round((self._planned - begun) * 1000)}
        if self._chosen and not found.keys() & {"build", "pack"}:
            found["pack"] = self._chosen - self.started
        if self._planned and self._chosen:
            # Services are looked at beside a build; what counts is what comes after both.
            found["plan"] = self._planned - self._resolved
        order = ("build", "pack", "plan", "upload", "warm", "rows", "ready")
        return {it: round(found[it] * 1000) for it in order if found.get(it, 0.0) >= 0.0005}

    def extensions(self, report: Report, names: Iterable[str]) -> tuple[ExtensionTurn, ...]:
        """What became of these extensions, and of others that the run touched."""
        problems = _problems_by_extension(report)
        touched = {
            extension_name(it.step.address)
            for it in report.ended
            if it.step.address.kind in _STAGES
            and isinstance(it.outcome, Done)
            and it.step.verb in (Verb.CREATE, Verb.UPDATE, Verb.REPLACE)
        }
        turns = []
        for name in dict.fromkeys((*names, *sorted(touched), *problems)):
            own = problems.get(name, ())
            state = FAILED if own else APPLIED if name in touched else UNCHANGED
            if state is not UNCHANGED or name in names:
                turns.append(
                    ExtensionTurn(
                        name,
                        state,
                        self._answered.get(name, self._clock()) - self.started,
                        self.stages(name),
                        _digest(report, name),
                        problems=own,
                    )
                )
        return tuple(turns)


def extension_name(address: Address) -> str:
    """`hello` of `bundle/hello@1a2b`, `release/hello~1a2b` and `extension/hello`."""
    return extension_of(address).partition("~")[0]


def other_problems(report: Report) -> tuple[Problem, ...]:
    """Problems that belong to no extension."""
    own = {it for several in _problems_by_extension(report).values() for it in several}
    steps = (it.outcome.problem for it in report.ended if isinstance(it.outcome, FailedStep))
    return tuple(dict.fromkeys(it for it in (*steps, *report.problems) if it not in own))


def may_mend_itself(report: Report, runs_from_source: Callable[[str], bool]) -> bool:
    """Whether trying again may help, although no file changes: a service or the engine is gone, or
    the component that evaluates sources is still being compiled."""
    errors = {
        it.outcome.error
        for it in report.ended
        if isinstance(it.outcome, FailedStep)
        and not _is_for_the_author(it.step.address, it.outcome.error, runs_from_source)
    }
    errors |= {it.error for it in report.blocked}
    if len(report.problems) > len(report.blocked):
        errors.add(report.error)
    return bool(errors - _SOURCE_ERRORS)


def _is_for_the_author(
    address: Address, error: str, runs_from_source: Callable[[str], bool]
) -> bool:
    if address.kind not in _AUTHORS_STEPS or error not in _AUTHORS_ERRORS:
        return False
    # What is compiled for a handler from source is ours.
    ours = address.kind == HANDLER.name and runs_from_source(extension_name(address))
    return not (ours and error == "NotReady")


def _problems_by_extension(report: Report) -> dict[str, tuple[Problem, ...]]:
    failed = [
        (it.step.address, it.outcome.problem)
        for it in report.ended
        if isinstance(it.outcome, FailedStep)
    ]
    found: dict[str, tuple[Problem, ...]] = {}
    for address, problem in (*failed, *((it.address, it.problem) for it in report.blocked)):
        if address.kind in _STAGES:
            name = extension_name(address)
            found[name] = (*found.get(name, ()), problem)
    return found


def _digest(report: Report, name: str) -> str:
    if report.status is None:
        return ""
    hashes = (it.content_hash for it in report.status.extensions if it.name == name)
    return next(hashes, "").partition(":")[2]
