"""Where the engine is: the same answer that the docker command line would give.

`DOCKER_CONTEXT`, then `DOCKER_HOST`, then the current context of the client's configuration, then
the usual socket. What ends in a unix socket is reached without any SDK.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from algaenv.bundle.value import dataclass

DEFAULT_SOCKET: Final = "/var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """An engine on this machine."""

    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"


@dataclass(frozen=True, slots=True)
class Remote:
    """An engine reached through the SDK: by `host` (tcp, ssh, TLS), or by a named context."""

    host: str
    context: str = ""

    def __str__(self) -> str:
        return self.host or f"the docker context {self.context}"

    @property
    def is_here(self) -> bool:
        """True when it is on this machine all the same; a context nobody knows is nowhere."""
        return not self.host or any(
            f"//{name}" in self.host for name in ("127.", "localhost", "[::1]")
        )


Endpoint = UnixSocket | Remote


def locate(environ: Mapping[str, str]) -> Endpoint:
    """The endpoint `environ` and the client's configuration ask for; asks nobody."""
    context = environ.get("DOCKER_CONTEXT", "")
    host = environ.get("DOCKER_HOST", "")
    if not context and host:
        return _by_host(host)
    folder = _configuration(environ)
    context = context or _text(folder / "config.json", "currentContext")
    if not context or context == "default":
        return UnixSocket(DEFAULT_SOCKET)
    name = hashlib.sha256(context.encode()).hexdigest()
    known = _text(folder / "contexts" / "meta" / name / "meta.json", "Endpoints", "docker", "Host")
    return (
        UnixSocket(known[len("unix://") :])
        if known.startswith("unix://")
        else Remote(known, context)
    )


def _by_host(host: str) -> Endpoint:
    if host.startswith("unix://"):
        return UnixSocket(host[len("unix://") :])
    return Remote(host)


def _configuration(environ: Mapping[str, str]) -> Path:
    folder = environ.get("DOCKER_CONFIG", "")
    return Path(folder) if folder else Path(environ.get("HOME", "/")) / ".docker"


def _text(file: Path, *keys: str) -> str:
    """The string under `keys` of a JSON file; empty when there is none."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return ""
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""
