"""Reads /proc: which processes are alive, since when, and which carry our marks.

A pid is reused as soon as its process is reaped. A process is identified by its pid, its start time
and the boot it belongs to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

ENVIRONMENT: Final = "ALGAENV_ENVIRONMENT"
ADDRESS: Final = "ALGAENV_ADDRESS"
SPEC: Final = "ALGAENV_SPEC"
FINGERPRINT: Final = "ALGAENV_FINGERPRINT"
SUPERVISOR: Final = "ALGAENV_SHIM"
"""Set for the supervisor only; its service carries all other marks."""

_MARK: Final = b"ALGAENV_"
_ZOMBIE: Final = "Z"
_GONE: Final = frozenset("Xx")
_STATE, _PARENT, _THREADS, _START = 0, 1, 17, 19
"""Places in /proc/<pid>/stat, counted after the command's closing parenthesis; see proc(5)."""


class Identity(NamedTuple):
    """Identifies a process: `start` is in clock ticks since boot."""

    pid: int
    start: int


class Stat(NamedTuple):
    """Fields of /proc/<pid>/stat."""

    state: str
    parent: int
    threads: int
    start: int

    @property
    def dead(self) -> bool:
        """True for a zombie, unless other threads, and with them its sockets, are alive."""
        return self.state in _GONE or (self.state == _ZOMBIE and self.threads <= 1)


def stat(pid: int) -> Stat | None:
    """None when there is no such process."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The command may itself hold spaces and parentheses.
    fields = text[text.rindex(b")") + 2 :].split(maxsplit=_START + 1)
    state = chr(fields[_STATE][0])
    return Stat(state, int(fields[_PARENT]), int(fields[_THREADS]), int(fields[_START]))


def identify(pid: int) -> Identity | None:
    """The process that has this pid now; None when there is none or only a zombie."""
    seen = stat(pid)
    return None if seen is None or seen.dead else Identity(pid, seen.start)


def is_alive(process: Identity) -> bool:
    """Whether it still runs; False for a zombie and for another process with its pid."""
    return identify(process.pid) == process


def boot_id() -> str:
    """Changes with every boot: start times are not comparable across boots."""
    return _read("/proc/sys/kernel/random/boot_id").decode().strip()


def command(pid: int) -> str:
    """The short name of the program; empty when the process is gone."""
    try:
        return _read(f"/proc/{pid}/comm").decode(errors="replace").strip()
    except OSError:
        return ""


def program_replaced(pid: int) -> bool:
    """Whether the program file of this process has been deleted or replaced."""
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith(" (deleted)")  # noqa: PTH115
    except OSError:
        return False


def working_directory(pid: int) -> str:
    """Empty when it cannot be seen."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115
    except OSError:
        return ""


def marks(pid: int) -> Mapping[str, str]:
    """The `ALGAENV_…` variables a process was started with; empty when they cannot be read."""
    try:
        block = _read(f"/proc/{pid}/environ")
    except OSError:
        return {}
    if _MARK not in block:
        return {}
    pairs = (entry.partition(b"=") for entry in block.split(b"\0") if entry.startswith(_MARK))
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def pids() -> list[int]:
    """Every process this user can see."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208


def marked_processes(environment: str) -> Iterator[tuple[Identity, Mapping[str, str]]]:
    """The live processes of this user that carry the environment's id, with their marks."""
    user = os.geteuid()
    for pid in pids():
        try:
            if os.stat(f"/proc/{pid}").st_uid != user:  # noqa: PTH116 - hundreds of them
                continue
        except OSError:
            continue
        found = marks(pid)
        if found.get(ENVIRONMENT) == environment and ADDRESS in found:
            process = identify(pid)
            if process:
                yield process, found


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(descriptor, 65536):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(descriptor)
