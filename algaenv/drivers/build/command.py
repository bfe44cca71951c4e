"""Runs one command of a build: nothing of it is left running, and its output is logged.

What the command prints is written to its log, and reported line by line as progress.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
import select
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from algaenv.bundle.value import dataclass
from algaenv.drivers.build.detection.node import NODE_PACKAGES
from algaenv.drivers.build.output import BuildOutput
from algaenv.drivers.build.workspace import BuildJob
from algaenv.drivers.state import private_files
from algaenv.model.intent import BuildStep
from algaenv.model.problem import ResolveError
from algaenv.reconcile.protocols import OnProgress
from algaenv.system import processes

if TYPE_CHECKING:
    import subprocess


MARK: Final = "ALGAENV_BUILD"
"""The variable by which the processes of a build are found; its value is the build directory."""

_CHUNK = 64 * 1024
_NOT_FOUND = 127
"""With which a shell, or another program that runs one, ends when it is not there."""
_CHANGED = re.compile(r"cd (\S+) && ")
_PAUSE = 0.05
_GRACE = 2.0


@dataclass(frozen=True, slots=True)
class Command:
    """The command of a step of a job, which writes to `log`."""

    job: BuildJob
    step: BuildStep
    log: IO[bytes]

    @property
    def shown(self) -> str:
        """The command, for people: of our own program what it runs."""
        words = self.step.command
        if words[: len(NODE_PACKAGES)] == NODE_PACKAGES:
            words = words[len(NODE_PACKAGES) :]
            words = words[1:] if words[0] == "run" else ("npm", "ci")
        return words[0] if self.step.shell else " ".join(words)


def open_log(job: BuildJob) -> IO[bytes]:
    """The log of a build, empty. Raises Failed."""
    with private_files.translate_os_errors(job.log):
        job.log.parent.mkdir(mode=private_files.PRIVATE_DIRECTORY, exist_ok=True)
        log = job.log.open("wb", buffering=0)
        job.log.chmod(private_files.PRIVATE_FILE)
    return log


_MEND: Final = "mend what it complains of"
_ADVICE: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (
        re.compile(r"unknown imported function: 'wasi:(?:random|clocks)/"),
        "move `Math.random()`, `crypto` and `Date` into functions: code outside of them runs while"
        " the component is built, where neither clock nor randomness is",
    ),
)
"""What a tool complains of in words that do not say what to do → what to do."""


class End(enum.Enum):
    """How the wait for a command went."""

    ENDED = enum.auto()
    CANCELLED = enum.auto()
    LATE = enum.auto()


def run(command: Command, on_progress: OnProgress, cancelled: Callable[[], bool]) -> None:
    """Run the command and see it end well; however it ends, nothing of it stays running.

    Raises ResolveError.
    """
    job = command.job
    on_progress(f"$ {command.shown}")
    output = BuildOutput(job.tree, job.workspace, command.log, on_progress)
    timeout = command.step.timeout
    with _start(command) as process:
        try:
            match follow_to_end(process, output, timeout, cancelled):
                case End.CANCELLED:
                    raise job.cancelled()
                case End.LATE:
                    raise job.problem(
                        "build-timeout",
                        f"`{command.shown}` ran longer than {timeout:g} s",
                        f"raise its timeout in the spec, or see in {job.log} what it waits for",
                        output.tail,
                    )
        except BaseException:
            end_group(process)
            processes.kill_with_variable(MARK, str(job.build_directory))
            raise
        finally:
            output.end()
    _raise_on_failure(command, process.returncode, output)


def _start(command: Command) -> subprocess.Popen[bytes]:
    import subprocess

    job, step = command.job, command.step
    argv = ["/bin/sh", "-c", command.shown] if step.shell else list(step.command)
    try:
        return subprocess.Popen(
            argv,
            cwd=job.place,
            env={
                **job.environ,
                **step.environment,
                **_path(job, step),
                "ALGAENV": "1",
                MARK: str(job.build_directory),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise _program_missing(job, f"{argv[0]}: {error.strerror}", ()) from error


def _path(job: BuildJob, step: BuildStep) -> dict[str, str]:
    """The variable PATH, where programs of the workspace go before those of the machine."""
    path = {**job.environ, **step.environment}.get("PATH", os.defpath)
    directories = [str(job.tree / it) for it in job.programs]
    return {"PATH": os.pathsep.join([*directories, path])} if directories else {}


def follow_to_end(
    process: subprocess.Popen[bytes],
    output: BuildOutput,
    timeout: float,
    cancelled: Callable[[], bool],
) -> End:
    """Take what a process group leader prints until it has ended, for `timeout` seconds at most.

    Once it has, what it left in the background is killed; before that the caller ends it.
    """
    with processes.end_of_child(process) as handle:
        return _follow(process, handle, output, time.monotonic() + timeout, cancelled)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process group, by force after a while."""
    with processes.end_of_child(process) as handle:
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal(process, number)
            select.select([handle], [], [], _GRACE)


def _follow(
    process: subprocess.Popen[bytes],
    handle: int,
    output: BuildOutput,
    deadline: float,
    cancelled: Callable[[], bool],
) -> End:
    pipe = process.stdout.fileno() if process.stdout else -1
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    poll.register(handle, select.POLLIN)
    flows, runs = True, True
    while True:
        ready = dict(poll.poll(_PAUSE * 1000))
        if pipe in ready:
            chunk = os.read(pipe, _CHUNK)
            output.write(chunk)
            if not chunk:
                poll.unregister(pipe)
                flows = False
        if handle in ready:
            # What it left in the background would keep the pipe, and write to the tree. It is
            # not waited for yet, so that its number still means its group and no other.
            _signal(process, signal.SIGKILL)
            poll.unregister(handle)
            runs = False
        if not runs and not (flows and ready):
            output.end()
            return End.ENDED
        if cancelled():
            return End.CANCELLED
        if time.monotonic() > deadline:
            return End.LATE


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _raise_on_failure(command: Command, code: int, output: BuildOutput) -> None:
    job = command.job
    if code == _NOT_FOUND:
        raise _program_missing(job, f"`{command.shown}` ended with exit code {code}", output.tail)
    if code:
        how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        excerpt = output.excerpt
        said = "\n".join(excerpt)
        advice = next((it for pattern, it in _ADVICE if pattern.search(said)), _MEND)
        why = f"`{command.shown}` ended with {how}"
        where = output.where(_directories(command))
        hint = f"{advice}; all it said is in {job.log}"
        raise job.problem("build-failed", why, hint, excerpt, where)


def _directories(command: Command) -> list[Path]:
    """Where files that a command names may be: it may begin by changing its directory."""
    job = command.job
    source = job.workspace / job.below
    changed = _CHANGED.match(command.shown)
    below = [source / changed[1]] if changed else []
    return [*below, source, job.workspace]


def _program_missing(job: BuildJob, why: str, tail: Sequence[str]) -> ResolveError:
    hint = "install the program that its command names, or correct the command"
    return job.problem("build-program-missing", why, hint, tail)
