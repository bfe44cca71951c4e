"""An environment of its own for one command: another name, free ports, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from algaenv.bundle.value import dataclass
from algaenv.cli.invocation import EPHEMERAL
from algaenv.model.problem import Failed, Problem, Refused
from algaenv.system.processes import is_abandoned, owner_name

if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.model.event import Report
    from algaenv.model.intent import Intent

_OWNER = "# Removed with its environment by the process "
"""The first line of such a spec, before the name of the owner."""
_LINES = 4
_MAX_BYTES = 1_000
_LONGEST = 30
"""Of the name of the spec in that of the environment."""


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """The spec of the environment, which lies beside the author's, and its name."""

    spec: Path
    name: str


@contextlib.contextmanager
def ephemeral(invocation: CommandInvocation, spec: Path, intent: Intent) -> Iterator[Ephemeral]:
    """An environment that extends `spec`; it and its data are removed at the end of the `with`.

    Those of processes that were killed are removed first.
    Its spec is a hidden file beside the author's, so that all paths in it lead where they did.
    Raises Refused (`test-external`) for a database that is not the environment's own.
    """
    from algaenv.model.intent import ExternalDatabase

    if isinstance(intent.database, ExternalDatabase):
        raise Refused(
            Problem(
                code="test-external",
                summary=f"cannot make an environment of its own for {intent.name}: its database "
                "is somebody else's",
                hint="leave `--ephemeral` out, or name a spec without `database.url`",
            )
        )
    _remove_abandoned(invocation, spec)
    suffix = secrets.token_hex(2)
    own = Ephemeral(
        spec.with_name(f"{EPHEMERAL}{suffix}.yaml"),
        f"{intent.name[:_LONGEST].rstrip('-')}-test-{suffix}",
    )
    overlay = spec.with_name(f"{spec.stem}.local{spec.suffix}")
    files = [own.spec]
    try:
        content = f"{_OWNER}{owner_name()}\nextends: ./{spec.name}\nname: {own.name}\nports: auto\n"
        _write(own.spec, content.encode())
        if overlay.is_file():
            files.append(own.spec.with_name(f"{own.spec.stem}.local.yaml"))
            _write(files[-1], overlay.read_bytes())
        if spec.with_suffix(".lock").is_file():
            files.append(own.spec.with_suffix(".lock"))
            _write(files[-1], spec.with_suffix(".lock").read_bytes())
        try:
            yield own
        finally:
            _remove(invocation, own)
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _remove_abandoned(invocation: CommandInvocation, spec: Path) -> None:
    """Remove what killed processes left beside `spec`; what cannot be removed is only told."""
    from algaenv.model.problem import AlgaenvError

    for file in sorted(spec.parent.glob(f"{EPHEMERAL}????.yaml")):
        name = _name_if_abandoned(file, spec)
        if name is None:
            continue
        try:
            _remove(invocation, Ephemeral(file, name), " of a process that was killed")
        except AlgaenvError as error:
            invocation.print_message(f"{error.problem.summary}; {error.problem.hint}\n")
            continue
        overlay, lock = file.with_name(f"{file.stem}.local.yaml"), file.with_suffix(".lock")
        for left in (file, overlay, lock):
            left.unlink(missing_ok=True)


def _name_if_abandoned(file: Path, spec: Path) -> str | None:
    """The name of the environment in such a file, if it extends `spec` and its owner is gone."""
    try:
        with file.open("rb") as stream:
            lines = stream.read(_MAX_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return None
    if len(lines) != _LINES or lines[1] != f"extends: ./{spec.name}":
        return None
    owner = lines[0].removeprefix(_OWNER)
    name = lines[2].removeprefix("name: ")
    return name if owner != lines[0] and is_abandoned(owner) else None


def _write(path: Path, content: bytes) -> None:
    """A new file, 0600: an overlay may hold secrets."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, 0o600), "wb") as stream:
            stream.write(content)
    except OSError as error:
        raise Failed(
            Problem(
                code="test-unwritable",
                summary=f"cannot write {path}: {error.strerror or error}",
                hint="let the current user write beside the spec, or leave `--ephemeral` out",
            )
        ) from error


def _remove(invocation: CommandInvocation, own: Ephemeral, about: str = "") -> None:
    """Take it down with its data. An interrupt does not stop this; a second abandons it."""
    from algaenv.cli.errors import report_abandoned
    from algaenv.cli.signals import handle_interrupts

    invocation.print_message(f"removing {own.name}{about}\n")
    with (
        invocation.progress_sinks(own.spec) as sinks,
        handle_interrupts(lambda: None, lambda: report_abandoned(invocation, sinks)),
    ):
        request = invocation.request(own.spec)
        report = invocation.application(request).down(request, sinks.emit, volumes=True)
    if report.failed:
        raise Failed(*_problems(report, own))


def _problems(report: Report, own: Ephemeral) -> tuple[Problem, ...]:
    left = Problem(
        code="test-left",
        summary=f"cannot remove all of {own.name}",
        hint=f"take it down with `algaenv down --volumes -f {own.spec}`",
    )
    return (left, *report.problems)
