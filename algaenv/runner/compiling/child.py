"""Starting the process that compiles, and telling what became of it.

Each process is waited for by a thread: so starting it, which takes milliseconds, does not hold up
the event loop either, and it matters not which kind of loop that is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from algaenv.runner.compiling.limits import CompileLimits
from algaenv.runner.compiling.verdict import Failed, Verdict, read
from algaenv.runner.wasm.failure import Kind

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_log = logging.getLogger(__name__)

_PASSED_ON = ("LD_LIBRARY_PATH", "PYTHONHOME")
"""What an interpreter may need to start at all. Nothing else is: the rest may be secret."""
_LONGEST_WORDS = 2000


class Compiler:
    """Compiles components one process each, `limits.at_once` at a time in this process."""

    def __init__(self, limits: CompileLimits) -> None:
        self._limits = limits
        self._threads: ThreadPoolExecutor | None = None

    async def compile(self, source: Path, target: Path) -> Verdict:
        """Compile `source` into `target`, which must not exist. A cancelled one is killed."""
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor

            self._threads = ThreadPoolExecutor(self._limits.at_once, "compiling")
        child = _Child(source, target, self._limits)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, child.run)
        except asyncio.CancelledError:
            child.kill()
            raise


class _Child:
    def __init__(self, source: Path, target: Path, limits: CompileLimits) -> None:
        self._source, self._target, self._limits = source, target, limits
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._unwanted = False

    def run(self) -> Verdict:
        try:
            process = self._start()
        except OSError as error:
            message = "cannot start the compiler"
            return Failed(Kind.HOST, message, (message, str(error.strerror)))
        if process is None:
            message = "the runner is stopping"
            return Failed(Kind.HOST, message, (message,))
        late = False
        with process:
            try:
                said, complaint = process.communicate(timeout=self._limits.seconds)
            except subprocess.TimeoutExpired:
                late = True
                process.kill()
                said, complaint = process.communicate()
        if process.returncode == 0 and not late:
            try:
                return read(said.decode())
            except (ValueError, KeyError, TypeError, AttributeError):
                pass
        return self._died(process.returncode, complaint, late=late)

    def kill(self) -> None:
        with self._lock:
            self._unwanted = True
            if self._process is not None:
                self._process.kill()

    def _start(self) -> subprocess.Popen[bytes] | None:
        limits = self._limits
        means = (limits.memory_bytes, limits.cpu_seconds, os.getpid())
        with self._lock:
            if self._unwanted:
                return None
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-s", "-B", "-m", "algaenv.runner.compiling"),
                    *(str(self._source.absolute()), str(self._target.absolute())),
                    *map(str, means),
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

    def _died(self, code: int, complaint: bytes, *, late: bool) -> Failed:
        words = complaint[-_LONGEST_WORDS:].decode(errors="replace").strip()
        message = self._cause_of_death(code, words, late=late)
        fields = {"why": message, "status": code, "stderr": words}
        _log.warning("compiler died", extra={"fields": fields})
        # The same bytes meet the same limit again, until it is raised.
        limited = message.endswith(")") and "RUNNER_COMPILE_" in message
        kind = Kind.LIMIT if limited else Kind.COMPILE
        causes = (message, *(() if limited else words.splitlines()[-1:]))
        return Failed(kind, message, causes, settled=limited)

    def _cause_of_death(self, code: int, words: str, *, late: bool) -> str:
        limits = self._limits
        if late:
            return f"compiling was ended after {limits.seconds:g} s (RUNNER_COMPILE_SECONDS)"
        if "memory allocation of" in words:
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
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"PYTHONPATH": os.pathsep.join(path), "PYTHONUTF8": "1", **passed_on}


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
