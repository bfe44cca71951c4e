"""The supervisor: forks the workers of the service, replaces dead ones, drains and ends them.

    empty --spawn--> running --exit----> empty, after a delay that grows with fast failures
                        |                  (too many in a row: the supervisor gives up)
                        |--recycle-----> a new worker runs; the old one retires
                        |                  retiring --drained or killed--> gone
                        '--SIGTERM-----> draining --drained or killed--> gone

The supervisor serves nothing itself. It has no threads, no event loop and no engine, so that a
worker can be forked off it at any time and shares its memory. It holds the listening sockets as
long as the service lasts: connections in the queue of a dead worker are there for the next one.

No process of the service outlives it: workers die with their parent, and the supervisor is the
subreaper of everything below it.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int) -> None:
    """Be killed when the thread of `parent` that started this process ends, whatever it ends by.

    Exits at once when it has ended already. A process started from a thread that may end before
    the work is done must not ask for this.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def become_subreaper() -> None:
    """Processes below this one become its children when their own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def child_pids() -> list[int]:
    """The children of this process, zombies included; empty where the kernel does not say."""
    with suppress(OSError):
        signals_at_start = Path("/proc/self/task", str(os.getpid()), "children").read_text()
        return [int(pid) for pid in signals_at_start.split()]
    return []


def _prctl(option: int, value: int) -> None:
    rest = [ctypes.c_ulong(argument) for argument in (value, 0, 0, 0)]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(ctypes.c_int(option), *rest) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl: {os.strerror(number)}")


_log = logging.getLogger("algaenv.runner")

BACKLOG = 2048
"""Connections that may wait at each listening socket."""
STABLE_SECONDS = 10.0
"""A worker that ran for this long did not fail at startup."""
RESTART_DELAYS = (0.0, 0.1, 0.3, 1.0, 2.0, 4.0, 4.0, 4.0)
"""Seconds before a worker is replaced, by the number of fast failures in its slot in a row."""
KILL_MARGIN_SECONDS = 1.0
"""After the drain time, until a worker is killed."""
END_SECONDS = 10.0
"""For killed processes to be reaped; one that hangs in the kernel is left behind."""
_REAP_SECONDS = 0.01

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_PID = struct.Struct("=i")

_SO_ATTACH_FILTER = 26
_DROP_SYN = (
    (0x30, 0, 0, 13),  # load the flags of the TCP header
    (0x45, 0, 1, 0x02),  # is SYN among them?
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)


class WorkersFailed(Exception):
    """No worker stays alive; the text is one line."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker, as its own process sees it."""

    number: int
    """From 0, and the lowest that no living worker has."""
    listening: socket.socket
    control: int
    slot: int = 0
    inbox: socket.socket | None = None
    """Datagrams for the worker of this slot."""
    outboxes: tuple[socket.socket, ...] = ()
    """One for each slot, in order: what is sent there arrives in its inbox."""

    def recycle(self) -> None:
        """Ask to be replaced: a new worker starts now, this one drains and ends.

        Safe to call from any thread, and more than once.
        """
        with suppress(OSError):
            os.write(self.control, _PID.pack(os.getpid()))


Work = Callable[[Worker], None]
"""Runs in the worker's process; back when SIGTERM came and all is done."""


def _no_hook(*ignored: object) -> None:
    """The hook where none is set."""


@dataclass(slots=True, eq=False)
class _WorkerSlot:
    """A listening socket and the worker that serves it; `pid` 0 means none."""

    listening: socket.socket
    inbox: socket.socket
    outbox: socket.socket
    pid: int = 0
    started_at: float = 0.0
    restart_at: float = 0.0
    fast_failures: int = 0
    recycle_requested: bool = False
    retiring: dict[int, float] = field(default_factory=dict)
    """Workers that asked to be recycled, and when each is killed."""


class WorkerSupervisor:
    """One worker for each socket.

    `worker_exited` is called with the number and the pid of each worker that has ended.
    `work` runs in the workers.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        work: Work,
        *,
        drain_seconds: float,
        worker_exited: Callable[[int, int], None] = _no_hook,
    ) -> None:
        self._slots = [
            _WorkerSlot(each, *socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
            for each in sockets
        ]
        self._numbers: dict[int, int] = {}
        self._work = work
        self._kill_after_seconds = drain_seconds + KILL_MARGIN_SECONDS
        self._on_worker_exited = worker_exited
        self._pid = os.getpid()
        self._stop_signals = 0
        self._failure = ""
        self._draining = False
        self._control: tuple[int, int] = (-1, -1)
        self._wakeup: tuple[int, int] = (-1, -1)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then let the workers drain; a second signal kills them.

        Raises WorkersFailed when they die as soon as they start, again and again.
        """
        become_subreaper()
        # Exclude what exists now from collection, so that no worker scans and copies it.
        gc.collect()
        gc.freeze()
        self._control, self._wakeup = _pipe(), _pipe()
        with _wakeup_on_signals(self._wakeup[1]):
            try:
                while not (self._stop_signals or self._failure):
                    self._spawn_missing()
                    self._wait(self._next_deadline())
                self._drain()
            finally:
                self._kill_all()
        for descriptor in (*self._control, *self._wakeup):
            os.close(descriptor)
        if self._failure:
            raise WorkersFailed(self._failure)

    def _spawn_missing(self) -> None:
        """Spawn workers for empty slots whose delay is over, and kill overdue ones."""
        now = time.monotonic()
        for slot in self._slots:
            for pid, deadline in slot.retiring.items():
                if now >= deadline:
                    _signal(pid, signal.SIGKILL)
                    # A read of a hanging disk delays the kill; try again then.
                    slot.retiring[pid] = now + KILL_MARGIN_SECONDS
            if not slot.pid:
                if now >= slot.restart_at:
                    self._spawn(slot)
            elif slot.recycle_requested and not slot.retiring:
                self._replace(slot)

    def _next_deadline(self) -> float | None:
        deadlines = [deadline for slot in self._slots for deadline in slot.retiring.values()]
        deadlines += [slot.restart_at for slot in self._slots if not slot.pid]
        return min(deadlines, default=None)

    def _replace(self, slot: _WorkerSlot) -> None:
        """Spawn the next worker before the old one stops to accept."""
        old, slot.pid, slot.recycle_requested = slot.pid, 0, False
        self._spawn(slot)
        slot.retiring[old] = time.monotonic() + self._kill_after_seconds
        _signal(old, signal.SIGTERM)
        fields = {"worker": self._numbers[old], "pid": old}
        _log.info("worker recycled", extra={"fields": fields})

    def _spawn(self, slot: _WorkerSlot) -> None:
        slot.started_at = time.monotonic()
        used = set(self._numbers.values())
        number = next(unused for unused in range(len(used) + 1) if unused not in used)
        # A signal for a worker stays pending until it has installed its own handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            slot.pid = os.fork()
            if not slot.pid:
                self._run_worker(slot, number)
        except OSError as error:
            self._schedule_restart(slot, f"cannot be started: {error.strerror}")
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if slot.pid:
            self._numbers[slot.pid] = number
            fields = {"worker": number, "pid": slot.pid}
            _log.debug("worker started", extra={"fields": fields})

    def _run_worker(self, slot: _WorkerSlot, number: int) -> NoReturn:
        """Run a worker in the forked child; its exit must not run the supervisor's cleanup."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, _exit)
            # A terminal sends it to all processes; the supervisor decides what it means.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            die_with_parent(self._pid)
            for descriptor in (*self._wakeup, self._control[0]):
                os.close(descriptor)
            for other in self._slots:
                if other is not slot:
                    other.listening.close()
                    other.inbox.close()
            self._work(
                Worker(
                    number,
                    slot.listening,
                    self._control[1],
                    self._slots.index(slot),
                    slot.inbox,
                    tuple(each.outbox for each in self._slots),
                )
            )
            code = 0
        except SystemExit as retiring:
            code = retiring.code if isinstance(retiring.code, int) else int(bool(retiring.code))
        except BaseException:
            _log.exception("worker failed")
        finally:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                logging.shutdown()
            finally:
                # Threads that are stuck would keep a process that ends in the usual way.
                os._exit(code)

    def _wait(self, deadline: float | None) -> None:
        """Wait for a signal, a request to recycle, or the deadline."""
        seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([self._wakeup[0], self._control[0]], [], [], seconds)
        if self._wakeup[0] in ready:
            received = os.read(self._wakeup[0], 4096)
            self._stop_signals += received.count(signal.SIGTERM) + received.count(signal.SIGINT)
        if self._control[0] in ready:
            recycle_requested = {
                pid for (pid,) in _PID.iter_unpack(os.read(self._control[0], 4096))
            }
            for slot in self._slots:
                slot.recycle_requested |= slot.pid in recycle_requested
        self._reap()

    def _reap(self) -> None:
        """Reap every child that has ended: workers, and orphans, of which it is the subreaper."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                self._on_exit(pid, os.waitstatus_to_exitcode(status))

    def _on_exit(self, pid: int, code: int) -> None:
        number = self._numbers.pop(pid, None)
        if number is None:
            return
        for slot in self._slots:
            slot.retiring.pop(pid, None)
            if pid == slot.pid:
                slot.pid, slot.recycle_requested = 0, False
                if not self._draining:
                    self._schedule_restart(slot, _describe_exit(code), worker=number, pid=pid)
        try:
            self._on_worker_exited(number, pid)
        except Exception:
            _log.exception("hook failed")

    def _schedule_restart(self, slot: _WorkerSlot, reason: str, **fields: object) -> None:
        """Decide when a slot gets a new worker, or give up."""
        now = time.monotonic()
        uptime = now - slot.started_at
        slot.fast_failures = slot.fast_failures + 1 if uptime < STABLE_SECONDS else 0
        known = {**fields, "why": reason, "lived_seconds": round(uptime, 1)}
        _log.warning("worker died", extra={"fields": known})
        if slot.fast_failures >= len(RESTART_DELAYS):
            self._failure = (
                f"cannot keep a worker running: {slot.fast_failures} of them died young, "
                f"the last one {reason}"
            )
        slot.restart_at = now + RESTART_DELAYS[min(slot.fast_failures, len(RESTART_DELAYS) - 1)]

    def _drain(self) -> None:
        """Let requests under way end, within the drain time."""
        self._draining = True
        for slot in self._slots:
            refuse_new(slot.listening)
            # A worker empties its queue through its own descriptor, and is the last to close.
            slot.listening.close()
        for pid in self._live_pids():
            _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + self._kill_after_seconds
        signals_at_start = max(1, self._stop_signals)
        while (
            self._live_pids()
            and self._stop_signals <= signals_at_start
            and time.monotonic() < deadline
        ):
            self._wait(deadline)

    def _kill_all(self) -> None:
        """Kill and reap every process that is left, whether all went well or not."""
        self._draining = True
        for pid in (*self._live_pids(), *child_pids()):
            _signal(pid, signal.SIGKILL)
        deadline = time.monotonic() + END_SECONDS
        with suppress(ChildProcessError):
            while time.monotonic() < deadline:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid:
                    self._on_exit(pid, os.waitstatus_to_exitcode(status))
                else:
                    time.sleep(_REAP_SECONDS)

    def _live_pids(self) -> list[int]:
        alive = [slot.pid for slot in self._slots if slot.pid]
        return alive + [pid for slot in self._slots for pid in slot.retiring]


def refuse_new(listening: socket.socket) -> None:
    """Begin no new connection; those begun are still established and can be accepted.

    Closing a listening socket resets the connections that wait in its queue. After this the
    queue can be emptied first. The filter belongs to the socket, whichever process asks for it.
    """
    program = b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN)
    kept = ctypes.create_string_buffer(program)
    described = struct.pack("HxxxxxxP", len(_DROP_SYN), ctypes.addressof(kept))
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


@contextmanager
def _wakeup_on_signals(descriptor: int) -> Iterator[None]:
    """Write one byte to the descriptor for every signal that concerns the workers."""
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _ignore) for number in _SIGNALS}
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(number: int, frame: FrameType | None) -> None:
    """The byte in the pipe is enough; without a handler the default action would run."""


def _exit(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise SystemExit(0)


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def _signal(pid: int, number: signal.Signals) -> None:
    # A child keeps its pid until it is reaped, so this reaches no other process.
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    with suppress(ValueError):
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"
