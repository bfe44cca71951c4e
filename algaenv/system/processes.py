"""Reads /proc: which processes are alive, and since when; and ends processes through pidfds.

Where the kernel has neither (macOS), no process is seen and none is ended: the Docker runtime needs
none of it, but for `end_of_child` and `usable_cores`, which work there too.

A pid is reused as soon as its process is reaped. A process is identified by its pid, its start time
and the boot it belongs to. Between reading a pid and sending a signal the process may end and its
pid be reused; a pidfd stays with its process and becomes readable when that ends. So no signal can
reach another process, and nothing waits longer than needed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import subprocess

_ZOMBIE: Final = "Z"
_GONE: Final = frozenset("Xx")
_STATE, _PARENT, _THREADS, _START = 0, 1, 17, 19
"""Places in /proc/<pid>/stat, counted after the command's closing parenthesis; see proc(5)."""
_NUMBERS: Final = 3
"""In the name of an owner, after the boot."""
_KILL_SECONDS: Final = 2.0
"""Seconds in which a killed process ends."""


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


def owner_name() -> str:
    """The name of this process, kept beside what has to be removed should it be killed."""
    this = identify(os.getpid())
    assert this is not None  # noqa: S101
    return process_name(this)


def process_name(process: Identity) -> str:
    """Names a process among all of this machine: boot, pid namespace, pid and start time."""
    return f"{boot_id()}.{_namespace()}.{process.pid}.{process.start}"


def is_abandoned(owner: str) -> bool:
    """Whether the process of this name surely is gone.

    One of another pid namespace cannot be seen, and counts as alive; so does what is no name.
    """
    boot, *numbers = owner.split(".")
    if len(numbers) != _NUMBERS or not all(it.isascii() and it.isdecimal() for it in numbers):
        return False
    if boot != boot_id():
        return True
    namespace, pid, start = numbers
    return namespace == _namespace() and not is_alive(Identity(int(pid), int(start)))


def _namespace() -> str:
    """The number in `pid:[4026531836]`."""
    return "".join(filter(str.isdecimal, os.readlink("/proc/self/ns/pid")))  # noqa: PTH115


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


def command_line(pid: int) -> list[str]:
    """The program and its arguments; empty when the process is gone."""
    try:
        return _read(f"/proc/{pid}/cmdline").decode(errors="replace").split("\0")
    except OSError:
        return []


def open_files(pid: int) -> Iterator[str]:
    """What each descriptor of a process leads to; nothing when it cannot be seen."""
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)  # noqa: PTH208
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(f"{directory}/{name}")  # noqa: PTH115
        except OSError:
            continue


def environ_block(pid: int) -> bytes:
    """The variables a process was started with, each ended by a zero; empty when unreadable."""
    try:
        return _read(f"/proc/{pid}/environ")
    except OSError:
        return b""


def pids() -> list[int]:
    """Every process this user can see; none without /proc."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208
    except FileNotFoundError:
        return []


def usable_cores() -> int:
    """How many processors this process may use, quotas of control groups apart."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    else:
        return os.cpu_count() or 1


@contextlib.contextmanager
def end_of_child(child: subprocess.Popen[bytes]) -> Iterator[int]:
    """A descriptor that becomes readable once a child has ended; a pidfd where there are any."""
    descriptor = _pidfd(child.pid) if sys.platform == "linux" else told_by_pipe(child)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def told_by_pipe(child: subprocess.Popen[bytes]) -> int:
    """The same without pidfds: a pipe whose other end is closed by a thread that waits.

    It reaps the child, whose number may then be reused: the price of a kernel without pidfds.
    """
    import threading

    reading, writing = os.pipe()

    def wait() -> None:
        child.wait()
        os.close(writing)

    threading.Thread(target=wait, daemon=True, name=f"end of {child.pid}").start()
    return reading


def signal_pidfd(descriptor: int, number: signal.Signals) -> None:
    """Send a signal to the process of a pidfd. Raises OSError."""
    if sys.platform == "linux":
        signal.pidfd_send_signal(descriptor, number)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def _pidfd(pid: int) -> int:
    if sys.platform == "linux":
        return os.pidfd_open(pid)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@contextlib.contextmanager
def open_pidfd(process: Identity) -> Iterator[int | None]:
    """A pidfd of exactly this process; None when it has ended."""
    try:
        descriptor = _pidfd(process.pid)
    except OSError:
        yield None
        return
    try:
        # The pid may have been reused before the pidfd was opened, not after.
        yield descriptor if is_alive(process) else None
    finally:
        os.close(descriptor)


def has_exited(descriptor: int, seconds: float) -> bool:
    """Whether the process of a pidfd has ended; waits at most `seconds` for it."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def kill_with_variable(variable: str, value: str) -> int:
    """Kill every process of ours that was started with `variable` set to `value`; how many.

    A run that was killed leaves such processes. Returns once they are gone, or after a while for
    one that the kernel itself keeps.
    """
    entry = os.fsencode(f"{variable}={value}")
    own = os.getpid()
    found = [pid for pid in pids() if pid != own and _has_variable(pid, entry)]
    handles = [handle for pid in found if (handle := _kill(pid, entry)) is not None]
    deadline = time.monotonic() + _KILL_SECONDS
    for handle in handles:
        has_exited(handle, deadline - time.monotonic())
        os.close(handle)
    return len(handles)


def _has_variable(pid: int, entry: bytes) -> bool:
    return entry in environ_block(pid).split(b"\0")


def _kill(pid: int, entry: bytes) -> int | None:
    """Kill a process; returns its pidfd."""
    try:
        handle = _pidfd(pid)
    except OSError:
        return None
    # The pid may have been reused before the pidfd was opened.
    if not _has_variable(pid, entry):
        os.close(handle)
        return None
    with contextlib.suppress(ProcessLookupError):
        signal_pidfd(handle, signal.SIGKILL)
    return handle


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(descriptor, 65536):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(descriptor)
