"""Puts a service under a shim: the record it works by, its environment, and its first word."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from algaenv.model.lock import Environment
from algaenv.model.problem import Failed, Problem
from algaenv.model.resource import Resource
from algaenv.runtimes.process import logfile, procfs, records
from algaenv.runtimes.process.bodies import ProcessBody
from algaenv.runtimes.process.layout import Layout, private
from algaenv.runtimes.process.privileges import Way
from algaenv.runtimes.process.records import Record
from algaenv.runtimes.services import revealed

SHIM = Path(__file__).with_name("shim.py")
_SECONDS = 30.0


def start(environment: Environment, resource: Resource, way: Way, lock: int) -> None:
    """Back once the program runs, which is not yet to say that it answers.

    `lock` is the descriptor by which the caller holds the service's lock; the shim goes on holding
    it. Leaves no record when it cannot be run. Raises Failed (`process-failed`).
    """
    body = resource.body
    if not isinstance(body, ProcessBody):
        raise TypeError(body)
    layout = Layout(environment.home)
    path = layout.record(resource.address.name)
    private(path.parent)
    private(layout.log(resource.address.name).parent)
    records.write(str(path), _new_record(environment, resource, body, way))
    said = _run_shim(path, lock, _environ(environment, resource, body))
    if said is not None:
        path.unlink(missing_ok=True)
        raise _not_started(resource, said)


def _run_shim(record: Path, lock: int, environ: Mapping[str, str]) -> str | None:
    """None when the service was started, else what the shim said."""
    try:
        ended = subprocess.run(
            [sys.executable, "-I", "-S", str(SHIM), str(record), str(lock)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
            start_new_session=True,
            pass_fds=(lock,),
            cwd="/",
            env=dict(environ),
        )
    except subprocess.TimeoutExpired:
        return f"its shim said nothing for {_SECONDS:g} s"
    return ended.stderr.strip() if ended.returncode else None


def _environ(environment: Environment, resource: Resource, body: ProcessBody) -> Mapping[str, str]:
    """The service's own, and our marks. A secret is in it only if its program takes no file."""
    return revealed(body.environment) | {
        procfs.ENVIRONMENT: environment.id,
        procfs.ADDRESS: str(resource.address),
        procfs.SPEC: str(environment.spec),
        procfs.FINGERPRINT: resource.fingerprint,
        procfs.SHIM: "1",
    }


def _new_record(
    environment: Environment, resource: Resource, body: ProcessBody, way: Way
) -> Record:
    service, layout = resource.address.name, Layout(environment.home)
    return Record(
        version=records.VERSION,
        environment=environment.id,
        address=str(resource.address),
        fingerprint=resource.fingerprint,
        inputs=dict(resource.inputs),
        engine=body.engine,
        boot=procfs.boot_id(),
        argv=list(body.argv),
        directory=str(layout.etc(service)),
        folder=str(body.folder) if body.folder else "",
        way=way,
        stop_signal=body.stop_signal,
        grace=body.grace,
        steady=body.steady,
        log=str(layout.log(service)),
        log_limit=logfile.LIMIT,
        state="new",
        shim=None,
        child=None,
        started_at=None,
        ended_at=None,
        ran=None,
        exit_code=None,
        restarts=0,
    )


def _not_started(resource: Resource, said: str) -> Failed:
    return Failed(
        Problem(
            "process-failed",
            f"cannot start {resource.address}: {said}",
            "see that its program can be run by this user",
        )
    )
