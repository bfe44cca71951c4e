"""Compiling in child processes: its limits, the queue before it, and the processes.

A slot is a locked file, and so is a ticket in the queue: both vanish with their process. A process
has one ticket, for the first of its own waiters. Waiting is polling on the event loop, with a few
system calls each time.

A thread waits for each child. Starting a child takes milliseconds, which would hold up the event
loop, and a thread works with every kind of loop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from algaenv.runner.components.compile import CompileFailed, CompileResult, decode_result
from algaenv.runner.wasm.engine_config import CompileTier
from algaenv.runner.wasm.failure import FailureKind
from algaenv.system.locks import open_locked
from algaenv.system.processes import usable_cores

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor


DEFAULT_MAX_BYTES = 4 << 30
DEFAULT_LOADED_MAX = 32
DEFAULT_SECONDS = 3600
DEFAULT_CPU_SECONDS = 300
DEFAULT_MEMORY_BYTES = 8 << 30
DEFAULT_TIERS = 2

NICE = 10
"""Added to the nice value of a compile that a caller waits for: requests go first."""
BACKGROUND_NICE = 19
"""Of one that no caller waits for."""

_MAX_DIGITS = 18


def cores() -> int:
    """How many processors this process may use."""
    return usable_cores()


def half_the_cores() -> int:
    """How many compiles run at a time unless the environment says: half of the cores, or one."""
    return max(1, cores() // 2)


@dataclass(frozen=True, slots=True)
class CompileLimits:
    """Bounds of compiling; see `read` for the variables behind them.

    A component of 12 MB takes about 5 s, 9 s of processor time and 0.5 GB, and its compiled form
    36 MB: the defaults stop only what would never end.
    """

    max_bytes: int = DEFAULT_MAX_BYTES
    """Of compiled files on disk; what was used in the last seconds is never evicted."""
    loaded_max: int = DEFAULT_LOADED_MAX
    """Components that one process has in memory, ready to be called."""
    seconds: float = DEFAULT_SECONDS
    """For one component, from the start of its compiling, however busy the machine is: this ends
    what hangs. What computes is bounded by `cpu_seconds`."""
    cpu_seconds: int = DEFAULT_CPU_SECONDS
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    """Of address space, most of which is never touched."""
    at_once: int = field(default_factory=half_the_cores)
    """Compiles at a time, by all processes that share the cache directory. One that no caller
    waits for runs beside them."""
    tiers: int = DEFAULT_TIERS
    """2: a component is compiled quickly, which makes it answer, and then with optimisation."""
    quick_from_bytes: int = 2 << 20
    """Smaller components are optimised at once, within a second or so."""

    @classmethod
    def read(cls, env: Mapping[str, str]) -> CompileLimits:
        """Read `RUNNER_COMPILED_MAX_BYTES` (4 GiB), `RUNNER_LOADED_MAX` (32),
        `RUNNER_COMPILE_SECONDS` (3600), `RUNNER_COMPILE_CPU_SECONDS` (300),
        `RUNNER_COMPILE_MEMORY_BYTES` (8 GiB), `RUNNER_COMPILES_AT_ONCE` (half of the cores) and
        `RUNNER_COMPILE_TIERS` (2).

        What is not a number counts as unset, as with the other variables of the service.
        """
        return cls(
            max_bytes=_number(env, "RUNNER_COMPILED_MAX_BYTES", 0, DEFAULT_MAX_BYTES),
            loaded_max=_number(env, "RUNNER_LOADED_MAX", 1, DEFAULT_LOADED_MAX),
            seconds=_number(env, "RUNNER_COMPILE_SECONDS", 1, DEFAULT_SECONDS),
            cpu_seconds=_number(env, "RUNNER_COMPILE_CPU_SECONDS", 1, DEFAULT_CPU_SECONDS),
            memory_bytes=_number(env, "RUNNER_COMPILE_MEMORY_BYTES", 1, DEFAULT_MEMORY_BYTES),
            at_once=_number(env, "RUNNER_COMPILES_AT_ONCE", 1, half_the_cores()),
            tiers=_number(env, "RUNNER_COMPILE_TIERS", 0, DEFAULT_TIERS),
        )


def _number(env: Mapping[str, str], name: str, least: int, default: int) -> int:
    text = env.get(name, "").strip()
    if len(text) > _MAX_DIGITS or not (text.isascii() and text.isdigit()):
        return default
    return max(least, int(text))


_POLL_SECONDS = 0.02
_TICKET = "ticket."


class CompileQueue:
    """`count` slots; first come, first served. The directories must exist by then."""

    def __init__(self, folder: Path, count: int, *, temporary: Path) -> None:
        self._slots = [folder / f"slot.{number}" for number in range(count)]
        self._folder, self._temporary = folder, temporary
        self._local_lock = asyncio.Lock()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait in line for a slot and hold it. Raises OSError."""
        async with self._local_lock:
            slot = await self._acquire()
        try:
            yield
        finally:
            os.close(slot)

    async def _acquire(self) -> int:
        with self._ticket() as ticket:
            while True:
                if self._is_first(ticket):
                    for file in self._slots:
                        if (slot := open_locked(file, os.O_RDWR | os.O_CREAT)) is not None:
                            return slot
                await asyncio.sleep(_POLL_SECONDS)

    @contextmanager
    def _ticket(self) -> Iterator[str]:
        """A place in the queue, by time of arrival."""
        ticket = self._folder / f"{_TICKET}{time.time_ns():020}.{os.getpid()}"
        # An unlocked ticket counts as one of a dead process: it is locked before it is visible.
        draft = self._temporary / ticket.name
        descriptor = open_locked(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            draft.rename(ticket)
            yield ticket.name
        finally:
            ticket.unlink(missing_ok=True)
            if descriptor is not None:
                os.close(descriptor)

    def _is_first(self, ticket: str) -> bool:
        """Whether no living process was here before; the tickets of others are cleared away."""
        names = sorted(os.listdir(self._folder))  # noqa: PTH208 - names are all it takes
        if ticket not in names:
            raise FileNotFoundError(errno.ENOENT, "the queue was removed", str(self._folder))
        for name in names:
            if name == ticket:
                break
            if name.startswith(_TICKET) and not _is_abandoned(self._folder / name):
                return False
        return True


def _is_abandoned(ticket: Path) -> bool:
    """Whether its process left or is gone; the ticket is too, then."""
    try:
        descriptor = open_locked(ticket, os.O_RDWR)
    except FileNotFoundError:
        return True
    if descriptor is None:
        return False
    ticket.unlink(missing_ok=True)
    os.close(descriptor)
    return True


_log = logging.getLogger(__name__)

_INHERITED_VARIABLES = ("LD_LIBRARY_PATH", "PYTHONHOME")
"""What an interpreter may need to start at all. Nothing else is: the rest may be secret."""
_MAX_STDERR_CHARS = 2000


class Compiler:
    """Compiles components one process each, `at_once` at a time in this process."""

    def __init__(self, limits: CompileLimits, *, at_once: int = 1, nice: int = NICE) -> None:
        self._limits, self._at_once, self._nice = limits, at_once, nice
        self._threads: ThreadPoolExecutor | None = None

    async def compile(
        self, source: Path, target: Path, tier: CompileTier = CompileTier.OPTIMISED
    ) -> CompileResult:
        """Compile `source` into `target`, which must not exist. A cancelled one is killed."""
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor

            self._threads = ThreadPoolExecutor(self._at_once, "compiling")
        child = _CompileProcess(source, target, tier, self._limits, self._nice)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, child.run)
        except asyncio.CancelledError:
            child.kill()
            raise


class _CompileProcess:
    def __init__(
        self, source: Path, target: Path, tier: CompileTier, limits: CompileLimits, nice: int
    ) -> None:
        self._source, self._target, self._tier = source, target, tier
        self._limits, self._nice = limits, nice
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelled = False

    def run(self) -> CompileResult:
        try:
            process = self._start()
        except OSError as error:
            message = "cannot start the compiler"
            return CompileFailed(FailureKind.HOST, message, (message, str(error.strerror)))
        if process is None:
            message = "the runner is stopping"
            return CompileFailed(FailureKind.HOST, message, (message,))
        timed_out = False
        with process:
            try:
                stdout, stderr = process.communicate(timeout=self._limits.seconds)
            except subprocess.TimeoutExpired:
                timed_out = True
                process.kill()
                stdout, stderr = process.communicate()
        if process.returncode == 0 and not timed_out:
            try:
                return decode_result(stdout.decode())
            except (ValueError, KeyError, TypeError, AttributeError):
                pass
        return self._failed_result(process.returncode, stderr, timed_out=timed_out)

    def kill(self) -> None:
        with self._lock:
            self._cancelled = True
            if self._process is not None:
                self._process.kill()

    def _start(self) -> subprocess.Popen[bytes] | None:
        limits = self._limits
        arguments = (limits.memory_bytes, limits.cpu_seconds, self._nice, os.getpid())
        with self._lock:
            if self._cancelled:
                return None
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-s", "-B", "-m", "algaenv.runner.components.compile"),
                    *(str(self._source.absolute()), str(self._target.absolute()), self._tier),
                    *map(str, arguments),
                ],
                env=_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # A Ctrl-C is for the service, which lets requests under way end.
                start_new_session=True,
            )
            return self._process

    def _failed_result(self, code: int, stderr: bytes, *, timed_out: bool) -> CompileFailed:
        stderr_text = stderr[-_MAX_STDERR_CHARS:].decode(errors="replace").strip()
        message = self._exit_reason(code, stderr_text, timed_out=timed_out)
        fields = {"why": message, "status": code, "stderr": stderr_text}
        _log.warning("compiler died", extra={"fields": fields})
        # The same bytes meet the same limit again, until it is raised.
        limited = message.endswith(")") and "RUNNER_COMPILE_" in message
        kind = FailureKind.LIMIT if limited else FailureKind.COMPILE
        causes = (message, *(() if limited else stderr_text.splitlines()[-1:]))
        return CompileFailed(kind, message, causes, settled=limited)

    def _exit_reason(self, code: int, stderr_text: str, *, timed_out: bool) -> str:
        limits = self._limits
        if timed_out:
            return f"compiling was ended after {limits.seconds:g} s (RUNNER_COMPILE_SECONDS)"
        if "memory allocation of" in stderr_text:
            return (
                f"the compiler ran out of memory at {limits.memory_bytes >> 20} MiB"
                " (RUNNER_COMPILE_MEMORY_BYTES)"
            )
        if code >= 0:
            return f"the compiler gave no answer (exit status {code})"
        match -code:
            case signal.SIGXCPU:
                return (
                    f"compiling was ended after {limits.cpu_seconds} s of processor time"
                    " (RUNNER_COMPILE_CPU_SECONDS)"
                )
            case signal.SIGKILL:
                return "the compiler was killed, as happens when memory runs out"
            case number:
                return f"the compiler crashed ({_name(number)})"


def _environment() -> dict[str, str]:
    """The import path of this process, since that may have come from its variables too."""
    # What came by a relative entry came from the directory this process was started in.
    path = dict.fromkeys(str(Path(entry).absolute()) for entry in sys.path)
    inherited = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    return {"PYTHONPATH": os.pathsep.join(path), "PYTHONUTF8": "1", **inherited}


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
