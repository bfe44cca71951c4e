"""Checks of the state directory, most of which can be repaired: everything in it is ours."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from algaenv.doctor.finding import Finding, good, of_problems, skipped
from algaenv.doctor.subject import Subject
from algaenv.drivers.state import environment_lock, state_dir
from algaenv.model.isolated import authored_spec
from algaenv.model.lock import Environment
from algaenv.model.problem import AlgaenvError
from algaenv.system import locks
from algaenv.system.files import write_atomic

_OPEN_TO_OTHERS: Final = 0o077
_PRIVATE: Final = 0o600
_PRIVATE_DIRECTORY: Final = 0o700
_SECRET_FILES: Final = ("secrets.json", "last.json", "ports.json", "logs/algaenv.log")
NONE_YET: Final = "there is no state directory yet; the first `algaenv up` makes it"


def directory(subject: Subject) -> Sequence[Finding]:
    """Whether the state directory is this user's alone, and can be written to."""
    environment = subject.environment
    if environment is None:
        return skipped("there is no spec")
    found = [
        finding
        for path in (environment.home.parent, environment.home)
        if os.path.lexists(path)
        for finding in _directory(path)
    ]
    if found:
        return found
    return good(str(environment.home)) if environment.home.exists() else skipped(NONE_YET)


def _directory(path: Path) -> Iterator[Finding]:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode) or not stat.S_ISDIR(status.st_mode):
        what = "a link" if stat.S_ISLNK(status.st_mode) else "no directory"
        yield Finding("failed", f"{path} is {what}", "move it away; secrets are not kept there")
        return
    if status.st_uid != os.geteuid():
        hint = f"run algaenv as user {status.st_uid}, or remove the directory"
        yield Finding("failed", f"{path} belongs to user {status.st_uid}", hint)
        return
    mode = stat.S_IMODE(status.st_mode)
    if mode & _OPEN_TO_OTHERS:
        yield Finding(
            "failed",
            f"{path} is open to other users (mode {mode:04o})",
            "run `algaenv doctor --fix`, which closes it, as any other run does",
            repair=lambda: _close(path, _PRIVATE_DIRECTORY),
        )
    elif mode & _PRIVATE_DIRECTORY != _PRIVATE_DIRECTORY:
        yield Finding(
            "failed",
            f"{path} cannot be used by its own user (mode {mode:04o})",
            "run `algaenv doctor --fix`, which opens it to its user",
            repair=lambda: _close(path, _PRIVATE_DIRECTORY),
        )


def secrets(subject: Subject) -> Sequence[Finding]:
    """Whether files with secrets can be read by their user only, and are whole."""
    environment = subject.environment
    if environment is None:
        return skipped("there is no spec")
    found = list(_open_files(environment))
    dotenv = authored_spec(environment.spec).parent / ".env"
    if dotenv.is_file() and dotenv.stat().st_mode & 0o007:
        hint = f"run `chmod 600 {shlex.quote(str(dotenv))}`, unless it holds no secret"
        found.append(Finding("warning", f"{dotenv} can be read by every user", hint))
    if (environment.home / "secrets.json").exists():
        from algaenv.drivers.state.settings import check_secrets

        try:
            check_secrets(environment)
        except AlgaenvError as error:
            found += of_problems(error.problems)
    if found:
        return found
    if not environment.home.exists():
        return skipped(NONE_YET)
    return good("files with secrets can be read by this user only")


def _open_files(environment: Environment) -> Iterator[Finding]:
    for name in _SECRET_FILES:
        path = environment.home / name
        try:
            status = path.lstat()
        except OSError:
            continue
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISREG(status.st_mode) and mode & _OPEN_TO_OTHERS:
            yield _open_file(path, mode)


def _open_file(path: Path, mode: int) -> Finding:
    return Finding(
        "failed",
        f"{path} can be read by other users (mode {mode:04o})",
        "run `algaenv doctor --fix`, which closes it, as any other run does; choose new secrets if "
        "others use this machine",
        repair=lambda: _close(path, _PRIVATE),
    )


def _close(path: Path, mode: int) -> str:
    # Another file may have taken its place: a link is not followed.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError(1, "it belongs to another user", str(path))
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
    return f"set the mode of {path} to {mode:04o}"


def gitignore(subject: Subject) -> Sequence[Finding]:
    """Whether Git leaves the state directory out."""
    environment = subject.environment
    if environment is None or not environment.home.parent.is_dir():
        return skipped(NONE_YET if environment else "there is no spec")
    path = environment.home.parent / ".gitignore"
    try:
        whole = "*" in path.read_text("utf-8").split()
    except (OSError, ValueError):
        whole = False
    if whole:
        return good("Git leaves the state directory out")
    return [
        Finding(
            "failed",
            f"{path} does not have Git leave out the secrets and data beside it",
            "run `algaenv doctor --fix`, which writes it",
            repair=lambda: _write_gitignore(path),
        )
    ]


def _write_gitignore(path: Path) -> str:
    write_atomic(path, b"*\n")
    return f"wrote {path}"


def lock(subject: Subject) -> Sequence[Finding]:
    """Whether another run is under way, or one was killed."""
    environment = subject.environment
    path = environment.home / environment_lock.LOCK_FILE if environment else None
    if environment is None or path is None or not path.is_file():
        return skipped("there is no spec" if environment is None else NONE_YET)
    try:
        locked = locks.is_locked(path)
        holder = environment_lock.last_holder(environment)
    except OSError as error:
        return [Finding("failed", f"cannot look at {path}: {error.strerror}", "see who owns it")]
    if locked:
        return good(f"{holder or 'another run'} is at work on it")
    if holder is None:
        return good("no run is under way")
    return [
        Finding(
            "warning",
            f"{holder} was killed: what it was doing may be half done",
            "run `algaenv up`, which goes on from what is there",
            repair=lambda: _clear(subject, environment),
        )
    ]


def leftovers(subject: Subject) -> Sequence[Finding]:
    """Files that killed runs have left: they may hold secrets."""
    environment = subject.environment
    if environment is None or not environment.home.is_dir():
        return skipped("there is no spec" if environment is None else NONE_YET)
    found = state_dir.leftover_files(environment)
    orphans = subject.container.orphaned_states(environment)
    others = [
        Finding(
            "warning",
            f"{it.environment.home} is the state of {it.environment.spec}, "
            f"{'from which it was copied' if it.copied else 'which is gone'}",
            "see whether it is needed; `algaenv down --volumes` removes what is not of this spec",
        )
        for it in orphans
    ]
    if not found:
        return others or good("no run has left anything half written")
    return [
        Finding(
            "warning",
            f"killed runs have left {len(found)} half-written files",
            "run `algaenv doctor --fix`, which removes them; so does the next `algaenv up`",
            tuple(map(str, found)),
            repair=lambda: _clear(subject, environment),
        ),
        *others,
    ]


def _clear(subject: Subject, environment: Environment) -> str:
    """What the next `up` would do first. Raises Locked while another run is at work."""
    with subject.container.lock_environment(environment, "doctor"):
        subject.container.remove_leftovers(environment, data=False)
    return "removed what killed runs have left, and cleared the lock"
