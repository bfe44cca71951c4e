"""Supervises one service: starts it, keeps its log, stops it on SIGTERM, and records its exit.

The supervisor outlives the command that started it and has no parent that would have to reap it.
Its child dies with it, so no service runs without a supervisor. A service that dies after it has
run for a while is restarted with growing delays; one that dies at once stays down, so that the
caller who waits for it learns so at once.

Between fork and exec the child drops every descriptor, signal handler and mark of the supervisor;
an error there is sent to the parent through a pipe that exec closes.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from typing import Final, NoReturn

from algaenv.runtimes.process.supervisor import privileges, records
from algaenv.runtimes.process.supervisor.records import ServiceLogFile, ServiceRecord
from algaenv.system import processes

STARTED: Final = b"started"
_BACKOFF: Final = (0.2, 1.0, 5.0, 15.0, 30.0)
"""Seconds before the first, second, … start in a row; the last holds for all that follow."""
_STABLE_SECONDS: Final = 60.0
"""Seconds of uptime after which earlier failures no longer count."""
_ORPHAN_SECONDS: Final = 2.0
"""Seconds that processes of the service may outlive it."""


def main(path: str, lock: int) -> int:
    """Fork the supervisor; the exit code is 0 once the service was started.

    `lock` is the descriptor of the service's lock, which the caller holds already: two supervisors
    over one data directory would destroy it. The supervisor inherits it and holds it for life.
    """
    record = records.read(path)
    if record is None:
        print(f"no record at {path}", file=sys.stderr)  # noqa: T201 - its only output
        return 1
    status_end, report_end = os.pipe()
    if os.fork():
        os.close(report_end)
        status = read_all(status_end)
        if status == STARTED:
            return 0
        print(status.decode() or "the shim died", file=sys.stderr)  # noqa: T201
        return 1
    try:
        _detach()
        os.set_inheritable(lock, False)  # The service must not get it.
        _supervise(path, record, report_end)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(report_end, str(error).encode())
        return 1
    return 0


def _detach() -> None:
    os.setsid()
    os.umask(0o077)
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)


def _supervise(path: str, record: records.ServiceRecord, report_end: int) -> None:
    privileges.become_subreaper()
    supervisor = Supervisor(path, record)
    supervisor.start()
    os.write(report_end, STARTED)
    os.close(report_end)
    supervisor.watch()


class Supervisor:
    """One service, its log and its record."""

    def __init__(self, path: str, record: records.ServiceRecord) -> None:
        self._path = path
        self._record = record
        self._log = ServiceLogFile(record["log"], record["log_limit"])
        self._output, self._input = os.pipe()
        os.set_blocking(self._output, False)
        self._wakeup = _wake_on(signal.SIGTERM, signal.SIGCHLD)
        self._child = 0
        self._since = 0.0
        self._failures = 0
        self._stop_signalled = False
        self._ended: int | None = None

    def start(self) -> None:
        """Start the service; raises OSError when its program cannot be run."""
        self._ended = None
        self._child = spawn(self._record, self._input)
        self._since = time.monotonic()
        self._record["boot"] = processes.boot_id()
        self._record["shim"] = records.process_entry(processes.identify(os.getpid()))
        self._record["child"] = records.process_entry(processes.identify(self._child))
        self._record["started_at"] = time.time()
        self._log_event(f"started {os.path.basename(self._record['argv'][0])}, pid {self._child}")  # noqa: PTH119
        self._set_state("running")

    def watch(self) -> None:
        """Return when the service has ended for good."""
        while True:
            while self._is_running() and not self._stop_requested():
                self._wait_event(None)
            if self._is_running():
                self._stop()
            ran = self._on_exit()
            if ran >= self._record["steady"] and not self._stop_requested():
                self._wait_before_restart(ran)
                if not self._stop_requested() and self._restart():
                    continue
            return self._set_state("stopped" if self._stop_requested() else "exited")

    def _restart(self) -> bool:
        self._record["restarts"] += 1
        try:
            self.start()
        except OSError as error:
            self._log_event(f"cannot be started again: {error}")
            return False
        return True

    def _stop(self) -> None:
        self._set_state("stopping")
        os.kill(self._child, signal.Signals[self._record["stop_signal"]])
        deadline = time.monotonic() + self._record["grace"]
        while self._is_running() and time.monotonic() < deadline:
            self._wait_event(deadline)
        if self._is_running():
            self._log_event(f"did not stop within {self._record['grace']:g} s: killed")
            os.kill(self._child, signal.SIGKILL)
        while self._is_running():
            self._wait_event(None)

    def _is_running(self) -> bool:
        return self._ended is None

    def _stop_requested(self) -> bool:
        return self._stop_signalled

    def _on_exit(self) -> float:
        """Reap all descendants and record the exit; returns the seconds that the service ran."""
        ran = time.monotonic() - self._since
        deadline = time.monotonic() + _ORPHAN_SECONDS
        while self._reap():
            if time.monotonic() >= deadline:
                _kill_children()
                deadline += _ORPHAN_SECONDS
            self._wait_event(deadline)
        self._drain()
        code = os.waitstatus_to_exitcode(self._ended or 0)
        self._record["child"] = None
        self._record["ended_at"] = time.time()
        self._record["ran"] = ran
        self._record["exit_code"] = code
        self._log_event(f"{records.describe_exit(code)} after {ran:.1f} s")
        return ran

    def _wait_before_restart(self, ran: float) -> None:
        self._failures = 0 if ran >= _STABLE_SECONDS else self._failures
        pause = _BACKOFF[min(self._failures, len(_BACKOFF) - 1)]
        self._failures += 1
        self._set_state("waiting")
        deadline = time.monotonic() + pause
        while not self._stop_requested() and time.monotonic() < deadline:
            self._wait_event(deadline)

    def _wait_event(self, deadline: float | None) -> None:
        """Wait for a signal, for output or for `deadline`, and handle it."""
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([self._output, self._wakeup], [], [], timeout)
        if self._output in ready:
            self._drain()
        if self._wakeup in ready:
            self._stop_signalled |= signal.SIGTERM in os.read(self._wakeup, 512)
            self._reap()

    def _reap(self) -> bool:
        """Reap every child that has ended; False when no child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            if pid == self._child:
                self._ended = status

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while text := os.read(self._output, 65536):
                self._log.write(text)

    def _log_event(self, text: str) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._log.write(f"[algaenv] {moment} {text}\n".encode())

    def _set_state(self, state: records.State) -> None:
        self._record["state"] = state
        # The disk may be full, or the directory removed by hand: the service is more important.
        with contextlib.suppress(OSError):
            records.write(self._path, self._record)


def _wake_on(*signals: signal.Signals) -> int:
    """A descriptor that becomes readable, one byte a signal, whenever one of them arrives."""
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, _wake_only)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    return woken


def _wake_only(number: int, frame: object) -> None:
    """Keep the default action away; the byte in the wake-up pipe reports the signal."""


def _kill_children() -> None:
    own = os.getpid()
    for pid in processes.pids():
        seen = processes.stat(pid)
        # A child of ours keeps its pid until we reap it, so this cannot hit another process.
        if seen and seen.parent == own:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def spawn(record: ServiceRecord, output: int) -> int:
    """Start the service with stdout and stderr on `output`; returns its pid once its program runs.

    Raises OSError, with the program's name, when it cannot be run.
    """
    error_read, error_write = os.pipe()
    supervisor = os.getpid()
    pid = os.fork()
    if not pid:
        _exec_service(record, output, supervisor, error_write)
    os.close(error_write)
    # exec closes the pipe, so this returns at once: empty, or with the error.
    error = read_all(error_read)
    os.close(error_read)
    if error:
        os.waitpid(pid, 0)
        raise OSError(error.decode(errors="replace"))
    return pid


def read_all(descriptor: int) -> bytes:
    """Read until every process has closed the other end."""
    chunks = []
    while chunk := os.read(descriptor, 4096):
        chunks.append(chunk)
    return b"".join(chunks)


def _exec_service(
    record: ServiceRecord, output: int, supervisor: int, error_write: int
) -> NoReturn:
    try:
        for standard in (1, 2):
            os.dup2(output, standard)
        _reset_signals()
        os.chdir(record["directory"])
        environ = dict(os.environ)
        environ.pop(records.SUPERVISOR_MARK, None)
        privileges.limit_capabilities(record["way"])
        privileges.enter_isolation(record["way"])
        privileges.drop_privileges(record["way"])
        privileges.die_with_parent(supervisor)
        argv = record["argv"]
        os.execve(argv[0], argv, environ)  # noqa: S606 - no shell is what is wanted
    except BaseException as error:
        os.write(error_write, f"{record['argv'][0]}: {error}".encode())
    finally:
        os._exit(127)


def _reset_signals() -> None:
    """Undo the settings of Python and of the supervisor, which exec would keep."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
