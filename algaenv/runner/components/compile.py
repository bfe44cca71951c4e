"""Compile one component, in a process that does nothing else, and report the result as JSON.

    python -m algaenv.runner.components.compile IN OUT [TIER [MEMORY CPU NICE PARENT]]

MEMORY is in bytes of address space, CPU in seconds of processor time, NICE is added to the nice
value, and PARENT is the process whose end ends this one; without the four it runs unconfined.

The process has few rights and bounded resources: the component was written by strangers, and
whatever it does to the compiler must not reach the service. Runs on Linux.

The result is one line of JSON. Both sides also know which bytes are no component at all: the
engine alone would not do, because it accepts WAT text as well.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from algaenv.runner.wasm.engine_config import CompileTier
from algaenv.runner.wasm.failure import FailureKind, causes

MALFORMED: Final = "failed to parse WebAssembly module"
"""The outermost message for what is not a component; Alga's runner has the same."""

_MAGIC = b"\0asm"
_COMPONENT = _MAGIC + b"\x0d\0\x01\0"
HEADER_BYTES = len(_COMPONENT)


@dataclass(frozen=True, slots=True)
class CompileDone:
    """The output is there, whole and on the disk."""

    digest: str
    """Of the bytes that were compiled: 64 hexadecimal digits of SHA-256."""
    size: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """The most memory the process had resident."""


@dataclass(frozen=True, slots=True)
class CompileFailed:
    """There is no output. `settled`: the same bytes will always end like this."""

    kind: FailureKind
    message: str
    causes: tuple[str, ...]
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The component could not be read; `number` is an errno."""

    number: int


CompileResult = CompileDone | CompileFailed | Unreadable

_KINDS: dict[str, type[CompileDone] | type[CompileFailed] | type[Unreadable]] = {
    "done": CompileDone,
    "failed": CompileFailed,
    "unreadable": Unreadable,
}


def encode_result(result: CompileResult) -> str:
    """Spell a verdict as one line."""
    name = next(name for name, kind in _KINDS.items() if kind is type(result))
    return json.dumps({"verdict": name, **asdict(result)}) + "\n"


def decode_result(line: str) -> CompileResult:
    """Read what `encode_result` spelled. Raises ValueError, KeyError, TypeError, AttributeError."""
    fields = json.loads(line)
    kind = _KINDS[fields.pop("verdict")]
    if kind is CompileFailed:
        fields |= {"kind": FailureKind(fields["kind"]), "causes": tuple(fields["causes"])}
    return kind(**fields)


def malformed_result(head: bytes) -> CompileFailed | None:
    """What the first 8 bytes of a file already say; None when it may be a component."""
    if head.startswith(_COMPONENT):
        return None
    if head.startswith(_MAGIC) and len(head) >= HEADER_BYTES:
        reason = "attempted to parse a wasm module with a component parser"
    elif not head:
        reason = "the file is empty"
    else:
        reason = "the file is not a binary component"
    return CompileFailed(FailureKind.MALFORMED, MALFORMED, (MALFORMED, reason), settled=True)


def refused_result(message_text: str) -> CompileFailed:
    """The result for an error text of the engine."""
    chain = causes(message_text)
    kind = FailureKind.MALFORMED if chain[0] == MALFORMED else FailureKind.COMPILE
    return CompileFailed(kind, chain[0], chain, settled=True)


CPU_GRACE_SECONDS = 5

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def confine(*, memory_bytes: int, cpu_seconds: int, nice: int, parent: int) -> None:
    """Bound this process and tie it to its parent's life. To be called before any thread exists."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        # It ended before the kernel knew which process to watch.
        raise SystemExit(1)
    os.nice(nice)
    _lower(resource.RLIMIT_CORE, 0, 0)
    _lower(resource.RLIMIT_AS, memory_bytes, memory_bytes)
    _lower(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + CPU_GRACE_SECONDS)
    with suppress(OSError):
        # When memory runs out the kernel is to take this process, not the service.
        Path("/proc/self/oom_score_adj").write_text("1000")


def compile_file(
    source: Path, target: Path, tier: CompileTier = CompileTier.OPTIMISED
) -> CompileResult:
    """Compile `source` into `target`, which must not exist; it is on disk at `CompileDone`."""
    started = time.monotonic()
    try:
        content = source.read_bytes()
    except OSError as error:
        return Unreadable(error.errno or 0)
    if failed := malformed_result(content):
        return failed
    try:
        compiled = _compile(content, tier)
    except MemoryError:
        message = "the compiler ran out of memory (RUNNER_COMPILE_MEMORY_BYTES)"
        return CompileFailed(FailureKind.LIMIT, message, (message,), settled=True)
    if isinstance(compiled, CompileFailed):
        return compiled
    try:
        _write(target, compiled)
    except OSError as error:
        message = "cannot keep the compiled component"
        return CompileFailed(FailureKind.HOST, message, (message, str(error.strerror)))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return CompileDone(
        digest=hashlib.sha256(content).hexdigest(),
        size=len(compiled),
        seconds=round(time.monotonic() - started, 4),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 4),
        peak_bytes=usage.ru_maxrss * 1024,
    )


def _compile(content: bytes, tier: CompileTier) -> bytearray | CompileFailed:
    import wasmtime
    from wasmtime.component import Component

    from algaenv.runner.wasm.engine_config import config

    engine = wasmtime.Engine(config(tier=tier))
    try:
        return Component(engine, content).serialize()
    except wasmtime.WasmtimeError as error:
        return refused_result(str(error))


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


def main(source: str, target: str, tier: str = CompileTier.OPTIMISED, *limits: str) -> None:
    """Compile, and write the result to stdout."""
    if limits:
        memory_bytes, cpu_seconds, nice, parent = map(int, limits)
        confine(memory_bytes=memory_bytes, cpu_seconds=cpu_seconds, nice=nice, parent=parent)
    sys.stdout.write(encode_result(compile_file(Path(source), Path(target), CompileTier(tier))))


if __name__ == "__main__":
    main(*sys.argv[1:])
