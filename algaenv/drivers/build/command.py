"""Runs one command of a build: nothing of it is left running, and its output is logged.

What the command prints is written to its log, and reported line by line as progress.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from algaenv.bundle.value import dataclass
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
_PAUSE = 0.05
_GRACE = 2.0
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_TAIL = 20
_LONGEST_LINE = 400
_LOOKED_AT = 4 * _LONGEST_LINE
"""Bytes at the end of a line that are examined."""
_BURST = 1_000
"""Lines that are reported in one burst."""
_LINES_A_SECOND = 200
_LOG_HEAD = 1024 * 1024
_LOG_TAIL = 1024 * 1024
"""Bytes of the beginning and of the end that the log keeps."""


@dataclass(frozen=True, slots=True)
class Command:
    """The command of a step of a job, which writes to `log`."""

    job: BuildJob
    step: BuildStep
    log: IO[bytes]

    @property
    def shown(self) -> str:
        """The command, for people."""
        words = self.step.command
        return words[0] if self.step.shell else " ".join(words)


def open_log(job: BuildJob) -> IO[bytes]:
    """The log of a build, empty. Raises Failed."""
    with private_files.translate_os_errors(job.log):
        job.log.parent.mkdir(mode=private_files.PRIVATE_DIRECTORY, exist_ok=True)
        log = job.log.open("wb", buffering=0)
        job.log.chmod(private_files.PRIVATE_FILE)
    return log


def run(command: Command, on_progress: OnProgress, cancelled: Callable[[], bool]) -> None:
    """Run the command and see it end well; however it ends, nothing of it stays running.

    Raises ResolveError.
    """
    job = command.job
    on_progress(f"$ {command.shown}")
    output = BuildOutput(job.tree, job.workspace, command.log, on_progress)
    with _start(command) as process:
        handle = os.pidfd_open(process.pid)
        try:
            _wait_for_end(command, process, handle, output, cancelled)
        except BaseException:
            for number in (signal.SIGTERM, signal.SIGKILL):
                _signal(process, number)
                select.select([handle], [], [], _GRACE)
            processes.kill_with_variable(MARK, str(job.build_directory))
            raise
        finally:
            output.end()
            os.close(handle)
    _raise_on_failure(command, process.returncode, output.tail)


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


def _wait_for_end(
    command: Command,
    process: subprocess.Popen[bytes],
    handle: int,
    output: BuildOutput,
    cancelled: Callable[[], bool],
) -> None:
    job, timeout = command.job, command.step.timeout
    deadline = time.monotonic() + timeout
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
            return output.end()
        if cancelled():
            raise job.cancelled()
        if time.monotonic() > deadline:
            raise job.problem(
                "build-timeout",
                f"`{command.shown}` ran longer than {timeout:g} s",
                f"raise its timeout in the spec, or see in {job.log} what it waits for",
                output.tail,
            )


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _raise_on_failure(command: Command, code: int, tail: Sequence[str]) -> None:
    job = command.job
    if code == _NOT_FOUND:
        raise _program_missing(job, f"`{command.shown}` ended with exit code {code}", tail)
    if code:
        how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        hint = f"mend what it complains of; all it said is in {job.log}"
        raise job.problem("build-failed", f"`{command.shown}` ended with {how}", hint, tail)


def _program_missing(job: BuildJob, why: str, tail: Sequence[str]) -> ResolveError:
    hint = "install the program that its command names, or correct the command"
    return job.problem("build-program-missing", why, hint, tail)


class BuildOutput:
    """Takes the output of a command block by block; writes a log and reports lines.

    The log keeps the beginning and the end of a long output. Progress is limited to a rate that
    a person can follow: a build may print faster than lines can be handled.
    """

    def __init__(
        self, tree: Path, workspace: Path, log: IO[bytes], on_progress: OnProgress
    ) -> None:
        self._paths = _PathRewriter(tree, workspace)
        self._log = log
        self._on_progress = on_progress
        self._rest = b""
        self._last: deque[bytes] = deque(maxlen=_TAIL)
        self._logged = 0
        self._held = bytearray()
        self._left_out = 0
        self._budget = float(_BURST)
        self._last_emit = time.monotonic()
        self._suppressed = False

    @property
    def tail(self) -> list[str]:
        """The last lines, fit to be shown."""
        return [_printable(line) for line in self._last]

    def write(self, chunk: bytes) -> None:
        """The next block."""
        block = self._rest + chunk
        end = block.rfind(b"\n") + 1
        if not end and len(block) > _CHUNK:
            end = len(block)
        block, self._rest = block[:end], block[end:]
        if block:
            self._emit(self._paths.shown(block))

    def end(self) -> None:
        """What is left of it. Repeating it does nothing."""
        rest, self._rest = self._rest, b""
        if rest:
            self._emit(self._paths.shown(rest))
        held, self._held = bytes(self._held), bytearray()
        if self._left_out:
            held = b"\n[%d bytes left out here]\n" % self._left_out + held
            self._left_out = 0
        with contextlib.suppress(OSError):
            self._log.write(held)
        if self._suppressed and self._last:
            self._on_progress(self.tail[-1])
            self._suppressed = False

    def _emit(self, block: bytes) -> None:
        self._write_log(block)
        # Only as many lines of a block are split as may be reported.
        now = time.monotonic()
        self._budget = min(self._budget + (now - self._last_emit) * _LINES_A_SECOND, _BURST)
        self._last_emit = now
        most = max(int(self._budget), _TAIL)
        lines = block.removesuffix(b"\n").rsplit(b"\n", most)[-most:]
        self._last.extend(lines[-_TAIL:])
        for line in lines[-int(self._budget) :] if self._budget >= 1 else ():
            self._budget -= 1
            self._on_progress(_printable(line))
        self._suppressed = self._budget < 1

    def _write_log(self, block: bytes) -> None:
        """Into the log: the beginning at once, of what follows only the last."""
        head = block[: max(_LOG_HEAD - self._logged, 0)]
        self._logged += len(head)
        with contextlib.suppress(OSError):  # A full disk shows in the build itself.
            self._log.write(head)
        self._held += block[len(head) :]
        if len(self._held) > 2 * _LOG_TAIL:
            too_many = len(self._held) - _LOG_TAIL
            self._left_out += too_many
            del self._held[:too_many]


def _printable(line: bytes) -> str:
    """A line as it looked last where a tool redraws it, and without its colours."""
    shown = line[-_LOOKED_AT:].rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
    text = "".join(it for it in _ESCAPES.sub("", shown) if it.isprintable() or it == "\t")
    return text[:_LONGEST_LINE]


class _PathRewriter:
    """Spells files of the mirror as their author knows them; what the build made keeps its path."""

    def __init__(self, tree: Path, workspace: Path) -> None:
        self._tree = os.fsencode(tree)
        self._workspace = os.fsencode(workspace)
        self._path = re.compile(re.escape(self._tree) + rb"((?:/[^\s:'\"`()\[\]{}<>,;|\x1b]+)?)")
        self._known: dict[bytes, bool] = {}

    def shown(self, block: bytes) -> bytes:
        """The same with those paths put right."""
        if self._tree not in block:
            return block
        return self._path.sub(self._spelled, block)

    def _spelled(self, found: re.Match[bytes]) -> bytes:
        below = found[1]
        if below not in self._known and len(self._known) < _TAIL * 100:
            self._known[below] = os.path.lexists(self._workspace + below.rstrip(b"/."))
        return self._workspace + below if self._known.get(below) else found[0]
