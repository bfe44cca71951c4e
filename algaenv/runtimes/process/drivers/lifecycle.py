"""Starts a service under a supervisor, and terminates processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from algaenv.model.lock import Environment
from algaenv.model.problem import Failed, Problem, Refused
from algaenv.model.resource import Resource
from algaenv.runtimes.process import supervisor
from algaenv.runtimes.process.layout import Layout, private_directory
from algaenv.runtimes.process.specs import ProcessSpec
from algaenv.runtimes.process.supervisor import records
from algaenv.runtimes.process.supervisor.privileges import IsolationMode
from algaenv.runtimes.process.supervisor.records import ServiceRecord
from algaenv.runtimes.services import reveal_all
from algaenv.system import processes
from algaenv.system.processes import Identity, has_exited, open_pidfd, signal_pidfd

SUPERVISOR_SCRIPT = Path(supervisor.__file__).with_name("__main__.py")
_START_SECONDS = 30.0
_KILL_SECONDS = 10.0


def start_service(
    environment: Environment, resource: Resource, isolation: IsolationMode, lock: int
) -> None:
    """Return once the program runs; it may not answer yet.

    `lock` is the descriptor by which the caller holds the service's lock; the supervisor keeps it.
    Leaves no record when the program cannot be run. Raises Failed (`process-failed`).
    """
    body = resource.body
    if not isinstance(body, ProcessSpec):
        raise TypeError(body)
    layout = Layout(environment.home)
    path = layout.record(resource.address.name)
    private_directory(path.parent)
    private_directory(layout.log(resource.address.name).parent)
    records.write(str(path), _new_record(environment, resource, body, isolation))
    error = _run_supervisor(path, lock, _environ(environment, resource, body))
    if error is not None:
        path.unlink(missing_ok=True)
        raise _not_started(resource, error)


def _run_supervisor(record: Path, lock: int, environ: Mapping[str, str]) -> str | None:
    """None when the service was started, else the supervisor's error."""
    try:
        ended = subprocess.run(
            [sys.executable, "-I", "-S", str(SUPERVISOR_SCRIPT), str(record), str(lock)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_START_SECONDS,
            check=False,
            start_new_session=True,
            pass_fds=(lock,),
            cwd="/",
            env=dict(environ),
        )
    except subprocess.TimeoutExpired:
        return f"its shim said nothing for {_START_SECONDS:g} s"
    return ended.stderr.strip() if ended.returncode else None


def _environ(environment: Environment, resource: Resource, body: ProcessSpec) -> Mapping[str, str]:
    """The service's variables and our marks; secrets only if its program reads no file."""
    return reveal_all(body.environment) | {
        records.ENVIRONMENT_MARK: environment.id,
        records.ADDRESS_MARK: str(resource.address),
        records.SPEC_MARK: str(environment.spec),
        records.FINGERPRINT_MARK: resource.fingerprint,
        records.SUPERVISOR_MARK: "1",
    }


def _new_record(
    environment: Environment, resource: Resource, body: ProcessSpec, isolation: IsolationMode
) -> ServiceRecord:
    service, layout = resource.address.name, Layout(environment.home)
    return ServiceRecord(
        version=records.VERSION,
        environment=environment.id,
        address=str(resource.address),
        fingerprint=resource.fingerprint,
        inputs=dict(resource.inputs),
        engine=body.engine,
        boot=processes.boot_id(),
        argv=list(body.argv),
        directory=str(body.directory or layout.etc(service)),
        folder=str(body.folder) if body.folder else "",
        way=isolation,
        stop_signal=body.stop_signal,
        grace=body.grace,
        steady=body.steady,
        log=str(layout.log(service)),
        log_limit=records.LOG_LIMIT,
        state="new",
        shim=None,
        child=None,
        started_at=None,
        ended_at=None,
        ran=None,
        exit_code=None,
        restarts=0,
    )


def _not_started(resource: Resource, error: str) -> Failed:
    return Failed(
        Problem(
            "process-failed",
            f"cannot start {resource.address}: {error}",
            "see that its program can be run by this user",
        )
    )


def terminate(process: Identity, *, grace: float) -> None:
    """Send SIGTERM, and SIGKILL after `grace` seconds; return as soon as the process has ended.

    With a `grace` of 0 SIGKILL is sent at once. Raises Failed (`process-stuck`) when the process
    hangs in the kernel, and Refused (`process-denied`) for a process of another user.
    """
    with open_pidfd(process) as descriptor:
        if descriptor is None:
            return
        if grace > 0:
            _signal(descriptor, process, signal.SIGTERM)
            if has_exited(descriptor, grace):
                return
        _signal(descriptor, process, signal.SIGKILL)
        if not has_exited(descriptor, _KILL_SECONDS):
            raise Failed(
                Problem(
                    "process-stuck",
                    f"cannot end process {process.pid} ({processes.command(process.pid)})",
                    "it does not react to SIGKILL: look for a disk or a mount that hangs",
                )
            )


def wait_for_exit(waited: Iterable[Identity], seconds: float) -> tuple[Identity, ...]:
    """Wait at most `seconds` until all have ended; returns those that have not."""
    deadline = time.monotonic() + seconds
    left = []
    for process in waited:
        with open_pidfd(process) as descriptor:
            if descriptor is not None and not has_exited(descriptor, deadline - time.monotonic()):
                left.append(process)
    return tuple(left)


def _signal(descriptor: int, process: Identity, number: signal.Signals) -> None:
    try:
        signal_pidfd(descriptor, number)
    except ProcessLookupError:
        return  # It ended meanwhile, which the descriptor shows.
    except PermissionError as error:
        raise Refused(
            Problem(
                "process-denied",
                f"cannot end process {process.pid} ({processes.command(process.pid)}): not allowed",
                "run this as the user who started the environment",
            )
        ) from error
