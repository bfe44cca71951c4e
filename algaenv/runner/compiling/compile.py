"""Compiling one component, in a process that has nothing else to do.

It has few rights and bounded means: what it is given was written by strangers, and whatever that
does to the compiler must not reach the service. Runs on Linux.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path

from algaenv.runner.compiling.verdict import Done, Failed, Unreadable, Verdict, malformed, refused
from algaenv.runner.wasm.failure import Kind

POLITENESS = 10
"""Added to the nice value: requests go first."""
CPU_GRACE_SECONDS = 5

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def confine(*, memory_bytes: int, cpu_seconds: int, parent: int) -> None:
    """Bound this process and tie it to its parent's life. To be called before any thread exists."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        # It ended before the kernel was told whom to watch.
        raise SystemExit(1)
    os.nice(POLITENESS)
    _lower(resource.RLIMIT_CORE, 0, 0)
    _lower(resource.RLIMIT_AS, memory_bytes, memory_bytes)
    _lower(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + CPU_GRACE_SECONDS)
    with suppress(OSError):
        # When memory runs out the kernel is to take this process, not the service.
        Path("/proc/self/oom_score_adj").write_text("1000")


def compile_file(source: Path, target: Path) -> Verdict:
    """Compile `source` into `target`, which must not exist; it is on the disk when this is Done."""
    started = time.monotonic()
    try:
        content = source.read_bytes()
    except OSError as error:
        return Unreadable(error.errno or 0)
    if failed := malformed(content):
        return failed
    try:
        compiled = _compile(content)
    except MemoryError:
        message = "the compiler ran out of memory (RUNNER_COMPILE_MEMORY_BYTES)"
        return Failed(Kind.LIMIT, message, (message,), settled=True)
    if isinstance(compiled, Failed):
        return compiled
    try:
        _write(target, compiled)
    except OSError as error:
        message = "cannot keep the compiled component"
        return Failed(Kind.HOST, message, (message, str(error.strerror)))
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return Done(
        digest=hashlib.sha256(content).hexdigest(),
        size=len(compiled),
        seconds=round(time.monotonic() - started, 4),
        cpu_seconds=round(spent.ru_utime + spent.ru_stime, 4),
        peak_bytes=spent.ru_maxrss * 1024,
    )


def _compile(content: bytes) -> bytearray | Failed:
    import wasmtime
    from wasmtime.component import Component

    from algaenv.runner.wasm.settings import config

    engine = wasmtime.Engine(config())
    try:
        return Component(engine, content).serialize()
    except wasmtime.WasmtimeError as error:
        return refused(str(error))


def _write(target: Path, content: bytearray) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        # Half a file under its final name could be loaded after a power cut.
        os.fsync(descriptor)


def _lower(limit: int, soft: int, hard: int) -> None:
    _, highest = resource.getrlimit(limit)
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(limit, (soft, hard))
