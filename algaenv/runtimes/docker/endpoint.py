"""Locates the engine as Docker's command line does.

`DOCKER_CONTEXT`, then `DOCKER_HOST`, then the current context of the client's configuration, then
the default socket. A unix socket is used without the SDK.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Problem, Refused

DEFAULT_SOCKET: Final = "/var/run/docker.sock"
_EXAMPLES: Final[Mapping[str, str]] = {
    "tcp": "127.0.0.1:2375",
    "http": "127.0.0.1:2375",
    "https": "127.0.0.1:2376",
    "ssh": "user@host",
    "npipe": "//./pipe/docker_engine",
    "fd": "",
}
_SCHEMES: Final = frozenset(("unix", *_EXAMPLES))


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
    def is_local(self) -> bool:
        """Whether it is on this machine all the same; an unknown context counts as local."""
        return not self.host or any(
            f"//{name}" in self.host for name in ("127.", "localhost", "[::1]")
        )


Endpoint = UnixSocket | Remote


def locate(environ: Mapping[str, str]) -> Endpoint:
    """The endpoint according to `environ` and the client's configuration; connects to nothing.

    Raises Refused (`docker-host`) for an invalid address.
    """
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
    if corrected := _corrected(host):
        raise Refused(
            Problem(
                "docker-host",
                f"cannot read DOCKER_HOST {host}: it is no address of an engine",
                f"write {corrected}, or unset DOCKER_HOST for the usual socket",
            )
        )
    if host.startswith("unix://"):
        return UnixSocket(host[len("unix://") :])
    return Remote(host)


def _corrected(host: str) -> str:
    """The probable correction of a malformed address; empty for a well-formed one."""
    scheme, divider, rest = host.partition("://")
    if not divider:
        scheme, rest = "", host.strip()
        if match := re.match(r"(unix|tcp|https?|ssh|npipe|fd):/*(?!\d+$)", rest, re.IGNORECASE):
            scheme, rest = match[1].lower(), rest[match.end() :]
    if scheme not in _SCHEMES or host != host.strip():
        divider = ""
    path = "/" + rest.strip().lstrip("/")
    match scheme:
        case "unix":
            return "" if divider and rest.startswith("/") and path != "/" else _as_socket(path)
        case "tcp" | "http" | "https" | "ssh" | "npipe" | "fd":
            is_whole = divider and _is_place(scheme, rest)
            return "" if is_whole else f"{scheme}://{rest.strip().strip('/') or _EXAMPLES[scheme]}"
    if re.fullmatch(r"[\w.-]*:\d+|\[[0-9a-fA-F:]+\](?::\d+)?", rest):
        return f"tcp://{'127.0.0.1' if rest.startswith(':') else ''}{rest}"
    return _as_socket(path if rest.startswith(("/", "~")) or rest.endswith(".sock") else "/")


def _as_socket(path: str) -> str:
    return f"unix://{path if path != '/' and '~' not in path else DEFAULT_SOCKET}"


def _is_place(scheme: str, rest: str) -> bool:
    if scheme in ("npipe", "fd"):
        return True
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


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
