"""Stands over one service: starts it, keeps its log, stops it when told, and writes its end down.

It outlives the command that started it and has no parent that would have to reap it. Its child
dies with it, whatever it dies by, so a service without a shim does not exist. A service that
dies after having run a while is started again, ever more slowly; one that dies as soon as it is
started stays down, since the one who waits for it wants to know at once.

Standard library only: it starts in the time that Python takes.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from typing import Final, NoReturn

from algaenv.runtimes.process.supervisor import privileges, procfs, records
from algaenv.runtimes.process.supervisor.logfile import LogFile
from algaenv.runtimes.process.supervisor.records import Record

STARTED: Final = b"started"
_BACKOFF: Final = (0.2, 1.0, 5.0, 15.0, 30.0)
"""Seconds before the first, second, … start in a row; the last holds for all that follow."""
_STABLE_SECONDS: Final = 60.0
"""Seconds after which a service that dies is no longer the one that died before."""
_ORPHAN_SECONDS: Final = 2.0
"""Seconds that processes of the service may outlive it."""


def main(path: str, lock: int) -> int:
    """Leave a shim behind and say whether the service was started; 0 when it was.

    `lock` is the descriptor of the service's lock, which whoever starts this holds already: two of
    us over one data directory would destroy it. Inherited, it is held for as long as we live.
    """
    record = records.read(path)
    if record is None:
        print(f"no record at {path}", file=sys.stderr)  # noqa: T201 - its only way to tell
        return 1
    told, tell = os.pipe()
    if os.fork():
        os.close(tell)
        word = read_all(told)
        if word == STARTED:
            return 0
        print(word.decode() or "the shim died", file=sys.stderr)  # noqa: T201
        return 1
    try:
        _detach()
        os.set_inheritable(lock, False)  # The service must not get it.
        _supervise(path, record, tell)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(tell, str(error).encode())
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


def _supervise(path: str, record: records.Record, tell: int) -> None:
    privileges.become_subreaper()
    shim = Supervisor(path, record)
    shim.start()
    os.write(tell, STARTED)
    os.close(tell)
    shim.watch()


class Supervisor:
    """One service and what has become of it."""

    def __init__(self, path: str, record: records.Record) -> None:
        self._path = path
        self._record = record
        self._log = LogFile(record["log"], record["log_limit"])
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
        self._record["boot"] = procfs.boot_id()
        self._record["shim"] = records.process_entry(procfs.identify(os.getpid()))
        self._record["child"] = records.process_entry(procfs.identify(self._child))
        self._record["started_at"] = time.time()
        self._log_event(f"started {os.path.basename(self._record['argv'][0])}, pid {self._child}")  # noqa: PTH119
        self._set_state("running")

    def watch(self) -> None:
        """Until the service has ended for good."""
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
        """Write its end down, once nothing of it is left; the seconds that it ran."""
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
        """Wait for a signal or a line of output, and take note of it."""
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([self._output, self._wakeup], [], [], timeout)
        if self._output in ready:
            self._drain()
        if self._wakeup in ready:
            self._stop_signalled |= signal.SIGTERM in os.read(self._wakeup, 512)
            self._reap()

    def _reap(self) -> bool:
        """Take in every child that has ended; False when there is none left at all."""
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
        # A full disk, or a directory removed by hand: the service matters more than its record.
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
    """The byte in the pipe says it all; but without a handler the signal would act."""


def _kill_children() -> None:
    own = os.getpid()
    for pid in procfs.pids():
        seen = procfs.stat(pid)
        # A child of ours keeps its pid until we reap it, so this cannot hit another process.
        if seen and seen.parent == own:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


# MERGED becoming: From a record to a running service: fork, and in the child become it.
#
# Between fork and exec nothing is left to chance: no descriptor, signal or mark of the shim's own
# goes with the service, and what fails there is told by the one who tried. Standard library only.


def spawn(record: Record, output: int) -> int:
    """Start the service with `output` as where it writes; its pid, once its program runs.

    Raises OSError, with the program's name, when it cannot be run.
    """
    failed, fail = os.pipe()
    shim = os.getpid()
    pid = os.fork()
    if not pid:
        _exec_service(record, output, shim, fail)
    os.close(fail)
    # Closed by exec, so this ends at once: empty, or with what went wrong.
    word = read_all(failed)
    os.close(failed)
    if word:
        os.waitpid(pid, 0)
        raise OSError(word.decode(errors="replace"))
    return pid


def read_all(descriptor: int) -> bytes:
    """Until the other end is closed by everybody who has it."""
    chunks = []
    while chunk := os.read(descriptor, 4096):
        chunks.append(chunk)
    return b"".join(chunks)


def _exec_service(record: Record, output: int, shim: int, fail: int) -> NoReturn:
    try:
        for standard in (1, 2):
            os.dup2(output, standard)
        _reset_signals()
        os.chdir(record["directory"])
        environ = dict(os.environ)
        environ.pop(procfs.SUPERVISOR, None)
        privileges.limit_capabilities(record["way"])
        privileges.enter_isolation(record["way"])
        privileges.drop_privileges(record["way"])
        privileges.die_with_parent(shim)
        argv = record["argv"]
        os.execve(argv[0], argv, environ)  # noqa: S606 - no shell is what is wanted
    except BaseException as error:
        os.write(fail, f"{record['argv'][0]}: {error}".encode())
    finally:
        os._exit(127)


def _reset_signals() -> None:
    """What Python and the shim have set would else be the service's own."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
