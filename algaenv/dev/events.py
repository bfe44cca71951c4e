"""Events of `dev`, besides those of the runs it makes. Names and fields appear in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from algaenv.bundle.value import dataclass, field
from algaenv.model.comparison import ComparedCall
from algaenv.model.event import Event
from algaenv.model.problem import Problem
from algaenv.model.status import Status

APPLIED, FAILED, UNCHANGED = "applied", "failed", "unchanged"


@dataclass(frozen=True, slots=True)
class Watching:
    """The sources are watched: so many directories, of these extensions."""

    directories: int
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A turn began: `cause` is one phrase, `changed` are the files that changed, if any did.

    `extensions` is empty for a turn about the whole environment.
    """

    number: int
    cause: str
    extensions: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExtensionTurn:
    """What a turn did to one extension: `state` is applied, failed or unchanged.

    `stages` are milliseconds by stage. `digest` is that of the bundle, empty without one. `answer`
    is what the extension answers now, empty when it was not asked.
    """

    name: str
    state: str
    seconds: float = 0.0
    """Until it answered, or had failed; what is cleared away afterwards does not count."""
    stages: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""
    answer: str = ""
    problems: tuple[Problem, ...] = ()
    runs_from: Literal["component", "source"] = "component"
    differing: tuple[ComparedCall, ...] = ()
    """Calls that the component answers otherwise than the source did whose place it takes."""


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """A turn ended. `problems` are those that belong to no extension.

    `superseded`: it was given up, because files changed again. `retry_seconds`: it will be tried
    again after that time, or at the next change; None: at the next change.
    """

    number: int
    seconds: float
    extensions: tuple[ExtensionTurn, ...] = ()
    problems: tuple[Problem, ...] = ()
    superseded: bool = False
    retry_seconds: float | None = None
    status: Status | None = None
    """All that is there now; None after a failure."""

    @property
    def failed(self) -> bool:
        """Whether anything is not as the sources say."""
        return bool(self.problems) or any(it.state == FAILED for it in self.extensions)


@dataclass(frozen=True, slots=True)
class Ignored:
    """Files were saved whose content is what it was before; no turn."""

    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SelfTriggered:
    """The build of the extension seems to change files that it is made from; it waits between its
    turns."""

    extension: str
    files: tuple[str, ...]


DevEvent = Event | Watching | TurnStarted | TurnEnded | Ignored | SelfTriggered
