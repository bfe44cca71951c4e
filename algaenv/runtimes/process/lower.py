"""Lowers a lock and the selected programs to folder and process resources.

Every service listens on 127.0.0.1 at its port of the lock, and connects to the others there.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import algaenv
from algaenv.model.intent import BundledGateway, ManagedDatabase
from algaenv.model.kind import Address, Tier
from algaenv.model.lock import LOOPBACK, Lock
from algaenv.model.resource import Json, Resource, ServiceEngine
from algaenv.reconcile.protocols import Lowered
from algaenv.runtimes.binaries import cache_home
from algaenv.runtimes.environments import (
    GATEWAY_SECRETS,
    SETTINGS,
    SHARED_CODE,
    database_url,
    gateway_environment,
    profile_values,
    render_process,
    runner_environment,
    settings_files,
)
from algaenv.runtimes.process.layout import Layout, content
from algaenv.runtimes.process.programs import ProgramCommand, ServicePrograms
from algaenv.runtimes.process.specs import FOLDER, PROCESS, DatabaseAccess, FolderSpec, ProcessSpec
from algaenv.runtimes.services import (
    RUNNER_SECRETS,
    ServiceName,
    flat_inputs,
    own_ports,
    probes,
    secret_input,
    with_secrets_in_file,
)

_GRACE: Final[Mapping[ServiceName, float]] = {
    "store": 15.0,
    "redis": 15.0,
    "database": 30.0,
    "runner": 10.0,
    "gateway": 10.0,
}
_POSTGRES: Final = "postgres"
"""One folder for every version of the profile: its content records its version."""
_INHERITED: Final = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""Variables that every service inherits from the caller."""
_INHERITED_BY_PYTHON: Final = (*_INHERITED, "HOME", "PYTHONUSERBASE")
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_PROXY: Final = re.compile(r"https?://\S+|[^:/\s]+(?::\d+)?/?", re.IGNORECASE)
"""A proxy that the services' HTTP client supports; any other would fail every request."""
_DIRECT: Final = (LOOPBACK, "localhost", "::1")


def lower(lock: Lock, programs: ServicePrograms, environ: Mapping[str, str]) -> Lowered:
    """The substrate of `lock`. Raises ResolveError when a profile's templates do not hold."""
    bodies: dict[ServiceName, ProcessSpec] = {
        service: _server(lock, service, program, environ) for service, program in programs.items()
    }
    bodies["runner"] = _runner(lock, environ)
    if isinstance(lock.intent.gateway, BundledGateway):
        bodies["gateway"] = _gateway(lock, environ, bodies["runner"])
    resources: list[Resource] = []
    for service, body in bodies.items():
        if body.folder:
            resources.append(_folder(lock, service, body.folder))
        resources.append(_process(lock, service, body))
    return Lowered(
        tuple(resources),
        {service: Address(PROCESS, service) for service in bodies},
        tuple(_engine(service, programs.get(service)) for service in bodies),
    )


def _engine(service: ServiceName, program: ProgramCommand | None) -> ServiceEngine:
    """The engine of a service; runner and gateway come with this package."""
    if program is not None:
        return program.engine(service)
    return ServiceEngine(service, "bundled", algaenv.__version__, sys.executable)


def folder_name(service: ServiceName, engine: str) -> str:
    """Data of one engine is useless to another, so each has a folder of its own."""
    return f"{service}-{_POSTGRES if service == 'database' else engine}"


def _folder(lock: Lock, service: ServiceName, path: Path) -> Resource:
    relative = str(path.relative_to(lock.environment.home))
    inputs: dict[str, Json] = {"path": relative}
    address = Address(FOLDER, service)
    return Resource(address, Tier.SUBSTRATE, inputs, FolderSpec(path), retained=True)


def _process(lock: Lock, service: ServiceName, body: ProcessSpec) -> Resource:
    needs = [Address(FOLDER, service)] if body.folder else []
    if service == "runner":
        needs += [Address(PROCESS, "store"), Address(PROCESS, "redis")]
    if service == "gateway":
        needs += [Address(PROCESS, "redis"), Address(PROCESS, "runner")]
        if isinstance(lock.intent.database, ManagedDatabase):
            needs.append(Address(PROCESS, "database"))
    return Resource(
        Address(PROCESS, service),
        Tier.SUBSTRATE,
        inputs_of(lock, body),
        body,
        tuple(needs),
        probes(lock)[service],
    )


def _server(
    lock: Lock, service: ServiceName, program: ProgramCommand, environ: Mapping[str, str]
) -> ProcessSpec:
    layout, profile = Layout(lock.environment.home), program.profile
    ports = _ports(lock, service, program)
    keeps = service != "redis" or lock.intent.redis.persistent
    folder = layout.folder(folder_name(service, profile.name)) if keeps else None
    etc = str(layout.etc(service))
    values = profile_values(
        lock,
        service,
        host=LOOPBACK,
        port=next(iter(ports.values())),
        data=str(content(folder)) if folder else etc,
        etc=etc,
        console_port=ports.get("console", 0),
        home=str(program.binary.home),
    )
    rendered = render_process(profile, values)
    # Its own files belong into the state directory, not into the user's home.
    environment = {**_inherited(environ, _INHERITED), "HOME": etc, **rendered.environment}
    return ProcessSpec(
        engine=profile.name,
        argv=(str(program.binary.path), *rendered.command),
        environment=environment,
        wanted_environment=rendered.environment,
        files=rendered.files,
        ports=ports,
        folder=folder,
        stop_signal=profile.stop_signal,
        grace=_GRACE[service],
        access=_access(lock) if service == "database" else None,
    )


def _ports(lock: Lock, service: ServiceName, program: ProgramCommand) -> Mapping[str, int]:
    """Name → number, the main one first."""
    match service:
        case "store":
            ports = {"api": lock.ports.store}
            if "console" in program.profile.ports and lock.ports.console:
                ports["console"] = lock.ports.console
            return ports
        case "redis":
            return {"main": lock.ports.redis}
        case "database":
            return {"main": lock.ports.database}
        case "runner":
            return {"main": lock.ports.runner}
        case "gateway":
            return {"main": lock.ports.gateway}


def _access(lock: Lock) -> DatabaseAccess | None:
    database, password = lock.intent.database, lock.credentials.database_password
    if not isinstance(database, ManagedDatabase):
        return None
    digest = secret_input(password, lock.credentials.fingerprint_key)
    return DatabaseAccess(database.user, password, database.database, digest)


def _runner(lock: Lock, environ: Mapping[str, str]) -> ProcessSpec:
    layout = Layout(lock.environment.home)
    folder = layout.folder(folder_name("runner", "bundled"))
    wanted = runner_environment(
        lock,
        store_url=lock.urls.store,
        redis_host=LOOPBACK,
        redis_port=lock.ports.redis,
        app_url=lock.urls.gateway
        if isinstance(lock.intent.gateway, BundledGateway)
        else lock.intent.app_url,
        cache=str(content(folder)),
        shared_code="",
        host=LOOPBACK,
        port=lock.ports.runner,
        own=(f"{LOOPBACK}:{port}" for port in sorted(own_ports(lock))),
        otel_endpoint=lock.intent.otel.endpoint if lock.intent.otel else "",
    )
    own, files = with_secrets_in_file(wanted, RUNNER_SECRETS, str(layout.etc("runner")))
    return ProcessSpec(
        engine="bundled",
        # -P: what lies in the working directory is not to be imported.
        argv=(sys.executable, "-P", "-m", "algaenv.runner"),
        environment={
            **inherited_by_python(environ),
            **_python_path(),
            "PYTHONUNBUFFERED": "1",
            # Not compared: where the caller's cache is does not change what the runner does.
            "RUNNER_SHARED_CODE": str(cache_home(environ) / SHARED_CODE),
            **own,
        },
        wanted_environment=wanted,
        files=files,
        ports={"main": lock.ports.runner},
        folder=folder,
        stop_signal="SIGTERM",
        grace=_GRACE["runner"],
    )


def _gateway(lock: Lock, environ: Mapping[str, str], runner: ProcessSpec) -> ProcessSpec:
    files = settings_files(lock)
    etc = Layout(lock.environment.home).etc("gateway")
    wanted = gateway_environment(
        lock,
        runner=runner.wanted_environment,
        runner_url=lock.urls.runner,
        database_url=database_url(lock, host=LOOPBACK, port=lock.ports.database),
        host=LOOPBACK,
        port=lock.ports.gateway,
        settings=str(etc / SETTINGS) if files else "",
        otel_endpoint=lock.intent.otel.endpoint if lock.intent.otel else "",
    )
    own, more = with_secrets_in_file(wanted, GATEWAY_SECRETS, str(etc))
    return ProcessSpec(
        engine="bundled",
        argv=(sys.executable, "-P", "-m", "algaenv.gateway"),
        environment={
            **inherited_by_python(environ),
            **_python_path(),
            "PYTHONUNBUFFERED": "1",
            **own,
        },
        wanted_environment=wanted,
        files={**files, **more},
        ports={"main": lock.ports.gateway},
        folder=None,
        stop_signal="SIGTERM",
        grace=_GRACE["gateway"],
    )


def inherited_by_python(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that a Python service inherits: also proxies and certificates.

    The other services are reached directly, whatever proxy is set. A file of certificates that
    cannot be read, or a proxy that speaks no HTTP, would fail every request, so it is left out.
    """
    proxies = {name: environ[name] for name in _PROXIES if _PROXY.fullmatch(environ.get(name, ""))}
    if proxies:
        listed = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
        named = [name for name in map(str.strip, listed.split(",")) if name]
        direct = ",".join((*named, *(name for name in _DIRECT if name not in named)))
        proxies |= {"NO_PROXY": direct, "no_proxy": direct}
    certificates = {
        name: environ[name]
        for name, is_usable in (("SSL_CERT_FILE", _holds_certificates), ("SSL_CERT_DIR", _is_there))
        if environ.get(name) and is_usable(environ[name])
    }
    return _inherited(environ, _INHERITED_BY_PYTHON) | proxies | certificates


def _holds_certificates(path: str) -> bool:
    try:
        status = Path(path).stat()
    except OSError:
        return False
    return _load_certificates(path, (status.st_ino, status.st_size, status.st_mtime_ns))


@cache
def _load_certificates(path: str, stamp: tuple[int, ...]) -> bool:  # noqa: ARG001
    """Whether it can be loaded; reading a whole bundle takes tens of milliseconds, for each of two
    services in each run."""
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except OSError:
        return False
    return True


def _is_there(path: str) -> bool:
    return Path(path).is_dir() and os.access(path, os.R_OK | os.X_OK)


def _python_path() -> Mapping[str, str]:
    """PYTHONPATH for a checkout; an installed package needs none."""
    root = Path(algaenv.__file__).resolve().parent.parent
    installed = root.name in {"site-packages", "dist-packages"}
    return {} if installed else {"PYTHONPATH": str(root)}


def _inherited(environ: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    kept = {name: environ[name] for name in names if name in environ}
    return {"PATH": os.defpath} | kept


def inputs_of(lock: Lock, body: ProcessSpec) -> dict[str, Json]:
    """The inputs that decide whether a service must be restarted, one readable field each."""
    key = lock.credentials.fingerprint_key
    fields: dict[str, Json] = {
        "engine": body.engine,
        "program": body.argv[0],
        "command": shlex.join(body.argv[1:]),
        "stop_signal": body.stop_signal,
        "privileges": "none",
    }
    if body.engine == "bundled":
        fields["version"] = algaenv.__version__
    if body.directory:
        fields["directory"] = str(body.directory)
    if body.folder:
        fields["folder"] = body.folder.name
    if body.access:
        fields["access.user"] = body.access.user
        fields["access.database"] = body.access.database
        fields["access.password"] = body.access.digest
    fields |= flat_inputs("env", body.wanted_environment, key)
    fields |= flat_inputs("files", body.files, key)
    fields |= {f"ports.{name}": str(port) for name, port in body.ports.items()}
    return fields
