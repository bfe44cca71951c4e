"""The environment of a run of tests: brought up once, also where several processes run tests.

`algaenv test` does the work, as a program of its own. With `ephemeral` it lives as long as the run,
and takes the environment down again: when the run ends, and when it is killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from algaenv.bundle.value import dataclass, field
from algaenv.model.problem import NotReady
from algaenv.system.locks import file_lock
from algaenv.system.processes import Identity, identify, is_abandoned, is_alive, owner_name
from algaenv.testing.gateway import GatewayRefused, TenantGateway
from algaenv.testing.tenant import ScratchTenant

_POLL_SECONDS = 0.05
_REMOVE_SECONDS = 120.0
"""How long the end of a run waits for an ephemeral environment to be removed."""
_LAST_LINES = 40
_NOT_HERE = 404


class EnvironmentFailed(Exception):
    """There is no environment to test in; the text says why."""


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension of the spec, as it is installed."""

    name: str
    registry_id: str
    version: str
    page_url: str
    portal_urls: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment that is up. `gateway` is its URL."""

    name: str
    spec: Path
    runtime: str
    gateway: str
    extensions: Mapping[str, Extension] = field(default_factory=dict)
    """By the names of the spec."""

    def create_tenant(self) -> ScratchTenant:
        """A tenant for one test. Raises EnvironmentFailed."""
        try:
            made = TenantGateway(self.gateway).request(
                "POST", "/algaenv/tenants", {"owner": owner_name()}
            )
        except GatewayRefused as error:
            raise _no_tenants(error) from error
        except NotReady as error:
            raise EnvironmentFailed(f"{error.problem.summary}; {error.problem.hint}") from error
        installs = {it["id"]: it["install"] for it in made["extensions"]}
        return ScratchTenant(self, made["tenant"], installs)

    def delete_tenant(self, tenant: str) -> None:
        """Delete it with all that belongs to it; nothing happens when it is gone. Raises
        EnvironmentFailed."""
        try:
            TenantGateway(self.gateway).request("DELETE", f"/algaenv/tenants/{tenant}")
        except GatewayRefused as error:
            if error.status != _NOT_HERE:
                raise EnvironmentFailed(f"cannot delete the tenant {tenant}: {error}") from error
        except NotReady as error:
            raise EnvironmentFailed(f"{error.problem.summary}; {error.problem.hint}") from error

    def delete_abandoned_tenants(self) -> int:
        """Delete the tenants of runs that are gone; how many. Raises EnvironmentFailed."""
        try:
            found = TenantGateway(self.gateway).request("GET", "/algaenv/tenants")["tenants"]
        except GatewayRefused as error:
            raise _no_tenants(error) from error
        abandoned = [it["tenant"] for it in found if is_abandoned(it["owner"])]
        for tenant in abandoned:
            self.delete_tenant(tenant)
        return len(abandoned)


def _no_tenants(error: GatewayRefused) -> EnvironmentFailed:
    if error.status != _NOT_HERE:
        return EnvironmentFailed(f"cannot make a tenant for a test: {error}")
    return EnvironmentFailed(
        "cannot make a tenant for a test: this takes the bundled runner and gateway, and a database"
        " of the environment's own; leave `runner.image`, `gateway.url` and `database.url` out of"
        " the spec, or name another with --algaenv-file"
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to bring up."""

    spec: Path
    runtime: str | None = None
    ephemeral: bool = False

    def command(self, *program: str) -> list[str]:
        """`algaenv test` with a program."""
        words = [sys.executable, "-m", "algaenv", "test", "-f", str(self.spec)]
        words += ["--runtime", self.runtime] if self.runtime else []
        words += ["--ephemeral"] if self.ephemeral else []
        return [*words, "--", sys.executable, "-m", "algaenv.testing.hold", *program]


class RunDirectory:
    """What the processes of one run of tests share: a directory of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "algaenv.log"
        self._fifo = path / "run"
        self._process = path / "process.json"
        self._result = path / "environment.json"

    def create(self) -> int:
        """Make it usable; a descriptor that the run has to keep until its end."""
        os.mkfifo(self._fifo, 0o600)
        return os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def join(self, wanted: Wanted, *, visible: bool = False) -> Environment:
        """The environment; the first process that asks brings it up, while others wait.

        `visible`: what `algaenv` prints goes to the terminal, and not into the log.
        Raises EnvironmentFailed, in every process when it failed in the first.
        """
        with file_lock(self.path / "lock"):
            if not self._result.exists():
                self._result.write_text(json.dumps(self._bring_up(wanted, visible=visible)))
            found = json.loads(self._result.read_text())
        if "error" in found:
            raise EnvironmentFailed(found["error"])
        return _read_environment(found)

    def wait_until_removed(self) -> str:
        """Wait for an ephemeral environment to be gone, once the run has let go of it.

        Returns what is to be told about it; empty when all went well.
        """
        if not self._process.exists():
            return ""
        process = Identity(*json.loads(self._process.read_text()))
        deadline = time.monotonic() + _REMOVE_SECONDS
        while is_alive(process):
            if time.monotonic() > deadline:
                return f"algaenv: the ephemeral environment is still being removed: {self.log}"
            time.sleep(_POLL_SECONDS)
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text if "test-left" in text else ""

    def _bring_up(self, wanted: Wanted, *, visible: bool) -> dict[str, Any]:
        place = self.path / "place.json"
        arguments = (str(place), str(self._fifo)) if wanted.ephemeral else (str(place),)
        if visible and sys.__stderr__ is not None:
            # Behind the name of the file whose tests run.
            sys.__stderr__.write("\n")
        error = self._run(wanted, wanted.command(*arguments), place, visible=visible)
        if error is not None:
            return {"error": error}
        spec = json.loads(place.read_text())["spec"]
        status = _output([sys.executable, "-m", "algaenv", "status", "--json", "-f", spec])
        try:
            found: dict[str, Any] = json.loads(status)
            environment = _read_environment(found)
            environment.delete_abandoned_tenants()
        except (ValueError, KeyError):
            return {"error": f"cannot read the status of {spec}:\n{status}"}
        except EnvironmentFailed as failed:
            return {"error": str(failed)}
        return found

    def _run(
        self, wanted: Wanted, command: Sequence[str], place: Path, *, visible: bool
    ) -> str | None:
        """Run it until `place` is there; why it is not, if it ends before that."""
        process = _spawn(command, None if visible else self.log)
        if wanted.ephemeral and (seen := identify(process)) is not None:
            self._process.write_text(json.dumps(seen))
        while True:
            ended, status = os.waitpid(process, os.WNOHANG)
            if place.exists() and (wanted.ephemeral or ended):
                return None
            if ended:
                code = os.waitstatus_to_exitcode(status)
                said = "" if visible else f":\n{_tail(self.log)}"
                return f"cannot bring up {wanted.spec}: `algaenv test` ended with {code}{said}"
            time.sleep(_POLL_SECONDS)


def _spawn(command: Sequence[str], log: Path | None) -> int:
    """Start a program that may outlive this process, in a session of its own: an interrupt is for
    the run of tests, which ends it in order. Its output goes to `log`, if one is given."""
    actions: list[Any] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    if log is not None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions += [(os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600)]
        actions += [(os.POSIX_SPAWN_DUP2, 1, 2)]
    return os.posix_spawn(command[0], list(command), os.environ, file_actions=actions, setsid=True)


def _read_environment(found: Mapping[str, Any]) -> Environment:
    """Of `status --json`. Raises KeyError, EnvironmentFailed."""
    urls = {it["name"]: it["endpoints"].get("url") for it in found["services"]}
    name = found["environment"]["name"]
    if not urls.get("gateway"):
        raise EnvironmentFailed(
            f"cannot test in {name}: it has no gateway; set `gateway: bundled` in the spec"
        )
    extensions = {
        it["name"]: Extension(
            it["name"],
            it["registry_id"],
            it["version"],
            it.get("page_url") or "",
            it.get("portal_urls") or {},
        )
        for it in found["extensions"]
    }
    spec = Path(found["environment"]["spec"])
    return Environment(name, spec, found["runtime"], urls["gateway"], extensions)


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stdout or done.stderr


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
