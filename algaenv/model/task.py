"""A task as it is run, and what is known of its last run."""

from __future__ import annotations

from collections.abc import Mapping

from algaenv.bundle.value import dataclass
from algaenv.model.intent import TaskIntent
from algaenv.model.resource import Absent, Present
from algaenv.model.secret import Secret


@dataclass(frozen=True, slots=True)
class SeenTask:
    """What a task reads, and its record.

    `files` are path → SHA-256 of its inputs. `last` has the fingerprint and the inputs of the last
    run that ended well.
    """

    files: Mapping[str, str]
    last: Absent | Present


@dataclass(frozen=True, slots=True)
class TaskRun:
    """What its driver needs to run it."""

    task: TaskIntent
    variables: Mapping[str, str | Secret]
    """Those that lead to the services; the task's own come over them."""
