"""Exit codes of the command line. Scripts rely on them: codes are only added."""

from __future__ import annotations

import enum
from collections.abc import Iterable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.model.event import Report
    from algaenv.model.plan import Plan


class ExitCode(enum.IntEnum):
    """Every exit code; `MEANINGS` describes each."""

    DONE = 0
    UNEXPECTED = 1
    DIFFERENCES = 2
    SPEC = 3
    ENGINE = 4
    LOCKED = 5
    NOT_READY = 6
    RESOURCE = 7
    BUILD = 8
    CALL = 9
    CHECK = 10
    STALE = 11
    USAGE = 64
    OUTPUT = 74
    INTERRUPTED = 130


MEANINGS: tuple[tuple[ExitCode, str], ...] = (
    (ExitCode.DONE, "done, or nothing to do"),
    (ExitCode.UNEXPECTED, "a bug in algaenv; the message names the file that holds the traceback"),
    (
        ExitCode.DIFFERENCES,
        "`plan --detailed-exitcode` found something to change, `drift` a change of something else, "
        "`compare`, `replay` or `parity` a difference, or `lock --check` or `up --locked` "
        "something that the lock file does not name",
    ),
    (ExitCode.SPEC, "the spec, a file it names, or a saved plan is wrong or missing"),
    (ExitCode.ENGINE, "the container engine does not answer"),
    (ExitCode.LOCKED, "another run holds this environment"),
    (ExitCode.NOT_READY, "something did not answer in time"),
    (
        ExitCode.RESOURCE,
        "a resource could not be made, changed or removed, or something is in the way",
    ),
    (ExitCode.BUILD, "a build failed, or a bundle, an image or a port could not be settled"),
    (ExitCode.CALL, "`call` was answered with a status of 400 or more"),
    (ExitCode.CHECK, "a check of `test` or `doctor` failed"),
    (ExitCode.STALE, "`up PLAN` was refused: what the plan was made from has changed since"),
    (ExitCode.USAGE, "the command line is wrong, or a question needs an answer by flag"),
    (ExitCode.OUTPUT, "all went well, but the answer could not be written to standard output"),
    (ExitCode.INTERRUPTED, "stopped by Ctrl-C, SIGTERM or a declined question"),
)

PRECEDENCE = (
    ExitCode.ENGINE,
    ExitCode.LOCKED,
    ExitCode.SPEC,
    ExitCode.DIFFERENCES,
    ExitCode.STALE,
    ExitCode.BUILD,
    ExitCode.RESOURCE,
    ExitCode.NOT_READY,
    ExitCode.UNEXPECTED,
)
"""The most severe first: when a run fails in several ways, the first of these is its code."""

_BY_ERROR = (
    ("EngineGone", ExitCode.ENGINE),
    ("Locked", ExitCode.LOCKED),
    ("SpecError", ExitCode.SPEC),
    ("LockDiffers", ExitCode.DIFFERENCES),
    ("ResolveError", ExitCode.BUILD),
    ("NotReady", ExitCode.NOT_READY),
    ("StalePlan", ExitCode.STALE),
    ("Unavailable", ExitCode.RESOURCE),
    ("Conflict", ExitCode.RESOURCE),
    ("Refused", ExitCode.RESOURCE),
    ("Failed", ExitCode.RESOURCE),
    ("DriverError", ExitCode.RESOURCE),
    ("AlgaenvError", ExitCode.RESOURCE),
)


def error_exit_code(name: str) -> ExitCode:
    """The code for an exception's class name; an unknown name means a bug."""
    return dict(_BY_ERROR).get(name, ExitCode.UNEXPECTED)


def exception_exit_code(error: BaseException) -> ExitCode:
    """The code for an exception, or for the nearest of its bases that has one."""
    codes = (error_exit_code(kind.__name__) for kind in type(error).__mro__)
    return next((code for code in codes if code is not ExitCode.UNEXPECTED), ExitCode.UNEXPECTED)


def report_exit_code(report: Report) -> ExitCode:
    """The code of a run with steps; a bug inside one step counts as a failed resource."""
    from algaenv.model.event import FailedStep

    if report.interrupted:
        return ExitCode.INTERRUPTED
    found: set[ExitCode] = {
        ExitCode.RESOURCE if code is ExitCode.UNEXPECTED else code
        for code in (
            error_exit_code(ended.outcome.error)
            for ended in report.ended
            if isinstance(ended.outcome, FailedStep)
        )
    }
    if report.problems or report.error:
        found.add(error_exit_code(report.error))
    return most_severe(found)


def plan_exit_code(plan: Plan, *, detailed: bool) -> ExitCode:
    """The code of a plan; blocked resources fail it, as they would fail `up`."""
    if plan.blocked:
        return most_severe(error_exit_code(blocked.error) for blocked in plan.blocked)
    if detailed and (plan.changes or plan.deferred):
        return ExitCode.DIFFERENCES
    return ExitCode.DONE


def most_severe(codes: Iterable[ExitCode]) -> ExitCode:
    """The first of PRECEDENCE among `codes`; DONE when there is none."""
    found = set(codes)
    return next((code for code in PRECEDENCE if code in found), ExitCode.DONE)
