"""Problems as data, and the exceptions that carry them.

AlgaenvError
├─ SpecError            the file is wrong: fix the file
├─ ResolveError         a value could not be resolved: a build, a manifest, an image, a port
├─ DriverError          raised only by drivers/ and runtimes/
│  ├─ Unavailable       no answer; the same call may work later
│  │  └─ EngineGone     the container engine itself does not answer
│  ├─ Conflict          a foreign resource is in the way
│  ├─ Refused           the other side refuses, and would refuse a retry
│  └─ Failed            it failed (a container that exits, for example)
├─ NotReady             a probe did not pass in time
├─ StalePlan            a saved plan does not fit any more
└─ Locked               another run of this environment is under way
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from algaenv import DOCUMENTATION
from algaenv.bundle.value import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Where:
    """A place in a file; `line` and `column` count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem: a stable `code`, a summary that starts with "cannot", and a hint.

    `detail` holds lines to print below it, such as the last lines of a log.
    """

    code: str
    summary: str
    hint: str = ""
    where: Where | None = None
    detail: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The address of the row that explains the code."""
        return f"{DOCUMENTATION}/reference/problems.md#{self.code}"

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        lines = [f"{place}error[{self.code}]: {self.summary}"]
        lines += [f"    | {line}" for line in self.detail]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


def is_full(lines: Iterable[str]) -> bool:
    """True when the output of a program has the C library's text for a full disk."""
    full = ("No space left on device", "Disk quota exceeded")
    return any(words in line for line in lines for words in full)


def left_behind(path: Path, error: OSError) -> Problem:
    """The problem of a file or directory that could not be removed."""
    # Errors inside a tree name only the last component.
    name = str(error.filename or path)
    place = name if name.startswith("/") else f"{name} in {path}"
    return Problem(
        "left-behind",
        f"cannot remove {place}: {error.strerror or error}",
        "let the current user remove it, then run `algaenv down` again",
    )


class AlgaenvError(Exception):
    """Base of all exceptions that this program raises on purpose; carries at least one problem.

    `warnings` are reported beside the problems.
    """

    def __init__(self, *problems: Problem, warnings: Iterable[Problem] = ()) -> None:
        self.problems: tuple[Problem, ...] = problems
        self.warnings: tuple[Problem, ...] = tuple(warnings)
        super().__init__("\n".join(str(problem) for problem in problems))

    @classmethod
    def of(cls, problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> AlgaenvError:
        """The same error over many problems, in the order of their places."""
        return cls(*sorted(problems, key=_by_place), warnings=warnings)

    @property
    def problem(self) -> Problem:
        """The first problem, for callers that show one."""
        return self.problems[0]


def _by_place(problem: Problem) -> tuple[str, int, int]:
    where = problem.where
    return (where.file, where.line, where.column) if where else ("", 0, 0)


class SpecError(AlgaenvError):
    """The spec, or a file it names, is wrong."""


class ResolveError(AlgaenvError):
    """A value that the plan needs could not be resolved."""


class DriverError(AlgaenvError):
    """An external system failed, refused or did not answer."""


class Unavailable(DriverError):
    """No answer (yet): worth a retry."""


class EngineGone(Unavailable):
    """The container engine does not answer."""


class Conflict(DriverError):
    """A foreign resource is in the way; a retry does not help."""


class Refused(DriverError):
    """The other side refuses, and would refuse a retry."""


class Failed(DriverError):
    """It failed; the problem carries the diagnostics."""


class NotReady(AlgaenvError):
    """A probe did not pass in time; the problem carries the last answer."""


class LockDiffers(AlgaenvError):
    """The lock file is missing or stale, or something else would run than it names."""


class StalePlan(AlgaenvError):
    """What a saved plan was made from has changed since."""


class Locked(AlgaenvError):
    """Another run holds this environment."""
