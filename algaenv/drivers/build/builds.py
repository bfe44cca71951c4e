"""Builds an extension by its author's command, in a private mirror of its workspace.

A `plan` builds too, and must change nothing: the command runs in a copy below the environment's
state directory, so nothing in the author's tree is written. What the command makes stays in the
copy, so that a tool that builds incrementally still does, until the author deletes something: what
was made of that must not be packed. When nothing changed, nothing runs.

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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from algaenv.drivers.build import file_tree
from algaenv.drivers.build.workspace import (
    BuildJob,
    WorkspaceState,
    build_key,
    make_job,
    mirror,
    scan_workspace,
    state_after_mirroring,
    state_while_mirroring,
)
from algaenv.drivers.state import environment_lock, private_files
from algaenv.model.intent import ExtensionIntent
from algaenv.model.lock import Environment
from algaenv.model.problem import ResolveError
from algaenv.reconcile.protocols import OnProgress
from algaenv.system import processes

if TYPE_CHECKING:
    import subprocess


MARK: Final = "ALGAENV_BUILD"
"""The variable by which the processes of a build are found; its value is the build directory."""

_CHUNK = 64 * 1024
_NOT_FOUND = 127
"""With which a shell ends that does not find the program."""
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


def build(
    intent: ExtensionIntent,
    environment: Environment,
    on_progress: OnProgress,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    environ: Mapping[str, str] = os.environ,
) -> Path:
    """The directory that holds the built extension; the command runs only if something changed.

    `environ` is what the command inherits. What it prints goes to `say`, line by line, and to
    `logs/build-<extension>.log` in the state directory; of a lot both get a part, and the author's
    files go by their own paths in either. Raises ResolveError (`build-failed`,
    `build-program-missing`, `build-timeout`, `build-cancelled`, `build-workspace`,
    `build-unreadable`) and what the state directory raises. Nothing of the command is left running,
    however it ends.
    """
    if intent.build is None:
        return Path(intent.source)
    job = make_job(intent, intent.build, environment, environ)
    with private_files.translate_os_errors(job.build_directory):
        job.build_directory.mkdir(mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    with environment_lock.exclusive_file_lock(
        job.build_directory / "lock", on_progress, cancelled
    ) as held:
        if not held:
            raise job.cancelled()
        _build_if_changed(job, on_progress, cancelled)
    return job.place


def _build_if_changed(
    job: BuildJob, on_progress: OnProgress, cancelled: Callable[[], bool]
) -> None:
    running = job.build_directory / "running"
    if running.exists():
        processes.kill_with_variable(MARK, str(job.build_directory))
    known = WorkspaceState.read(job.build_directory)
    seen = scan_workspace(job, known)
    step = job.step
    command = [step.command, step.shell, job.below, sorted(step.environment.items())]
    key = build_key(seen, command)
    if known.key != key or known.made != file_tree.tree_digest(job.tree):
        # Until all has ended well nothing counts as built. Whatever may be in the tree is on record
        # before it gets there: what the author deletes is taken out again however a run ends.
        state_while_mirroring(known, seen).write(job.build_directory)
        mirror(job, known, seen)
        state_after_mirroring(known, seen).write(job.build_directory)
        private_files.write_private(running, b"")
        try:
            _run(job, on_progress, cancelled)
        finally:
            private_files.remove_path(running)
        seen.key, seen.made = key, file_tree.tree_digest(job.tree)
    if seen != known:
        seen.write(job.build_directory)


def _run(job: BuildJob, on_progress: OnProgress, cancelled: Callable[[], bool]) -> None:
    """Run the command and see it end well; however it ends, nothing of it stays running."""
    on_progress(f"$ {job.shown}")
    with private_files.translate_os_errors(job.log):
        job.log.parent.mkdir(mode=private_files.PRIVATE_DIRECTORY, exist_ok=True)
        log = job.log.open("wb", buffering=0)
        job.log.chmod(private_files.PRIVATE_FILE)
    output = BuildOutput(job.tree, job.workspace, log, on_progress)
    with log, _start(job) as process:
        handle = os.pidfd_open(process.pid)
        try:
            _wait_for_end(job, process, handle, output, cancelled)
        except BaseException:
            for number in (signal.SIGTERM, signal.SIGKILL):
                _signal(process, number)
                select.select([handle], [], [], _GRACE)
            processes.kill_with_variable(MARK, str(job.build_directory))
            raise
        finally:
            output.end()
            os.close(handle)
    _raise_on_failure(job, process.returncode, output.tail)


def _start(job: BuildJob) -> subprocess.Popen[bytes]:
    import subprocess

    argv = ["/bin/sh", "-c", job.shown] if job.step.shell else list(job.step.command)
    try:
        return subprocess.Popen(
            argv,
            cwd=job.place,
            env={
                **job.environ,
                **job.step.environment,
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


def _wait_for_end(
    job: BuildJob,
    process: subprocess.Popen[bytes],
    handle: int,
    output: BuildOutput,
    cancelled: Callable[[], bool],
) -> None:
    deadline = time.monotonic() + job.step.timeout
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
                f"`{job.shown}` ran longer than {job.step.timeout:g} s",
                f"raise its timeout in the spec, or see in {job.log} what it waits for",
                output.tail,
            )


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _raise_on_failure(job: BuildJob, code: int, tail: Sequence[str]) -> None:
    if code == _NOT_FOUND and job.step.shell:
        raise _program_missing(job, f"`{job.shown}` ended with exit code {code}", tail)
    if code:
        how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        hint = f"mend what it complains of; all it said is in {job.log}"
        raise job.problem("build-failed", f"`{job.shown}` ended with {how}", hint, tail)


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
