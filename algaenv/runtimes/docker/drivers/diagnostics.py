"""Diagnoses a container that ended or keeps restarting: state, exit code and last log lines."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Failed, Problem, is_full
from algaenv.model.resource import Json
from algaenv.runtimes.docker.engine import Engine, as_list, as_map
from algaenv.runtimes.docker.errors import ApiError, translate_errors
from algaenv.runtimes.docker.specs import ETC

_LINES: Final = 20
_MAX_RESTARTS: Final = 3
"""Restarts by the engine after which a container that happens to run does not count as running."""
_SECRET_NAMES: Final = re.compile(r"SECRET|PASSWORD|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)
_QUOTED: Final = re.compile(r'(?:requirepass|:) "([^"\n]+)"')
_LOGIN: Final = re.compile(r"://[^/@\s:]*:([^/@\s]+)@")
_FILES: Final = 1 << 18
"""Bytes of an archive of its files that are looked at."""
_MIN_SECRET_LENGTH: Final = 6
"""Characters; hiding shorter values would hide ordinary words of the log."""


@dataclass(frozen=True, slots=True)
class ContainerDiagnostics:
    """`state` is the engine's: created, running, restarting, exited, dead, …

    `exit_code` is the latest one, and meaningless while the container runs. The log is read only of
    an unhealthy container, since this is polled while a service starts.
    """

    state: str
    exit_code: int
    restarts: int
    out_of_memory: bool
    last_log_lines: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """It runs, and has not been started again and again by the engine."""
        return self.state in ("running", "paused") and self.restarts < _MAX_RESTARTS

    @property
    def description(self) -> str:
        """How it ended, in words."""
        if self.state in ("restarting", "running"):
            return f"keeps restarting, last with exit code {self.exit_code}"
        why = "for want of memory " if self.out_of_memory else ""
        return f"ended {why}with exit code {self.exit_code}"


def diagnose_container(engine: Engine, container: str) -> ContainerDiagnostics | None:
    """The diagnostics of a container by id or name; None when it is gone."""
    with translate_errors(f"look at the container {container}"):
        found = engine.find(f"/containers/{container}/json")
        if found is None:
            return None
        state = as_map(found.get("State"))
        seen = ContainerDiagnostics(
            state=str(state.get("Status", "")),
            exit_code=_number(state.get("ExitCode")),
            restarts=_number(found.get("RestartCount")),
            out_of_memory=bool(state.get("OOMKilled")),
        )
        return seen if seen.healthy else replace(seen, last_log_lines=_log(engine, found))


def exited_error(service: str, name: str, seen: ContainerDiagnostics) -> Failed:
    """The error for an unhealthy container (`container-exited`, `engine-disk-full`)."""
    if is_full(seen.last_log_lines):
        return Failed(
            Problem(
                "engine-disk-full",
                f"cannot keep {service} running: it {seen.description}, for the disk is full",
                "make room where the engine keeps volumes (`docker system df` shows what is there)",
                detail=seen.last_log_lines,
            )
        )
    return Failed(
        Problem(
            "container-exited",
            f"cannot keep {service} running: it {seen.description}",
            f"read all of it with `docker logs {name}`",
            detail=seen.last_log_lines,
        )
    )


def _log(engine: Engine, found: Mapping[str, Json]) -> tuple[str, ...]:
    text: bytes = engine.api.logs(str(found.get("Id")), stdout=True, stderr=True, tail=_LINES)
    hidden = sorted({*_secrets(found), *_secrets_in_files(engine, found)}, key=len, reverse=True)
    lines = []
    for line in text.decode(errors="replace").splitlines()[-_LINES:]:
        for secret in hidden:
            line = line.replace(secret, "***")  # noqa: PLW2901
        lines.append(line.rstrip())
    return tuple(lines)


def _secrets(found: Mapping[str, Json]) -> list[str]:
    """Secret values of its environment, which a server might log."""
    pairs = (str(one).partition("=") for one in as_list(as_map(found.get("Config")).get("Env")))
    return [
        value
        for name, _, value in pairs
        if _SECRET_NAMES.search(name) and len(value) >= _MIN_SECRET_LENGTH
    ]


def _secrets_in_files(engine: Engine, found: Mapping[str, Json]) -> Iterator[str]:
    """Secrets of its files: whole files, JSON strings and quoted strings."""
    try:
        content = engine.read_prefix(
            f"/containers/{found.get('Id')}/archive", {"path": ETC}, _FILES
        )
        with tarfile.open(fileobj=io.BytesIO(content), mode="r|") as archive:
            files = [
                it.read().decode(errors="replace") for it in map(archive.extractfile, archive) if it
            ]
    except (ApiError, tarfile.TarError):
        return  # There are none.
    for text in files:
        words = [text.strip(), *_QUOTED.findall(text)]
        words += [unquote(word) for word in _LOGIN.findall(text)]
        yield from (word for word in words if len(word) >= _MIN_SECRET_LENGTH)


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0
