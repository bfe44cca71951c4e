"""The Docker engine, as far as the benchmarks themselves look at it: describing and sweeping."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from benchmarks.command import Unmeasured

_SPEC = "dev.algaenv.spec"
_ENVIRONMENT = "dev.algaenv.environment"
_ADDRESS = "dev.algaenv.address"
_PROJECT = "com.docker.compose.project"
FILES = "/etc/algaenv"
"""Where algaenv puts files into containers."""


@dataclass(frozen=True, slots=True)
class File:
    """A file in a container, as it lies there."""

    content: bytes
    uid: int
    gid: int
    mode: int


@dataclass(frozen=True, slots=True)
class Container:
    """A container of an environment: its service, how the engine describes it, and its files."""

    service: str
    described: dict[str, Any]
    files: dict[str, File]


class Engine:
    """A connection to the engine that DOCKER_HOST or the default names."""

    def __init__(self) -> None:
        import docker

        try:
            self._client = docker.from_env()
            self._client.ping()
        except Exception as error:
            raise Unmeasured(f"no Docker engine answers: {error}") from error

    def facts(self) -> dict[str, str]:
        """Version and storage driver."""
        info = self._client.info()
        return {
            "Docker engine": f"{info['ServerVersion']}, {info['Driver']}",
            "other containers": str(info["ContainersRunning"]),
        }

    def containers(self, environment: str) -> list[Container]:
        """The running containers of an environment, by service."""
        listed = self._client.containers.list(filters={"label": f"{_ENVIRONMENT}={environment}"})
        found = []
        for one in listed:
            service = one.labels[_ADDRESS].partition("/")[2]
            found.append(Container(service, one.attrs, _files(one)))
        return sorted(found, key=lambda container: container.service)

    def restarts(self, project: str) -> dict[str, int]:
        """Service → restarts, of the containers of a Compose project that run."""
        listed = self._client.containers.list(filters={"label": f"{_PROJECT}={project}"})
        service = "com.docker.compose.service"
        return {one.labels[service]: int(one.attrs["RestartCount"]) for one in listed}

    def sweep(self, specs_below: str, projects: str) -> int:
        """Remove all that algaenv made for specs below a folder, and Compose for projects.

        `projects` is what their names begin with. Answers with the number of things removed.
        """

        def ours(labels: dict[str, str] | None) -> bool:
            seen = labels or {}
            spec, project = seen.get(_SPEC, ""), seen.get(_PROJECT, "")
            return spec.startswith(f"{specs_below}/") or project.startswith(projects)

        low = self._client.api
        removals: list[Callable[[], object]] = []
        for one in low.containers(all=True):
            if ours(one["Labels"]):
                removals.append(_later(low.remove_container, one["Id"], v=True, force=True))
        for one in low.networks():
            if ours(one["Labels"]):
                removals.append(_later(low.remove_network, one["Id"]))
        for one in low.volumes()["Volumes"] or ():
            if ours(one["Labels"]):
                removals.append(_later(low.remove_volume, one["Name"]))
        for remove in removals:
            _gone_is_fine(remove)
        return len(removals)


def _later(remove: Callable[..., object], name: str, **how: bool) -> Callable[[], object]:
    return lambda: remove(name, **how)


def _gone_is_fine(remove: Callable[[], object]) -> None:
    import docker.errors

    with suppress(docker.errors.NotFound):
        remove()


def _files(container: Any) -> dict[str, File]:
    """Name → the files that algaenv put into a container; empty when there are none."""
    import docker.errors

    try:
        stream, _ = container.get_archive(FILES)
    except docker.errors.NotFound:
        return {}
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        return {
            member.name.rpartition("/")[2]: File(text.read(), member.uid, member.gid, member.mode)
            for member in archive
            if (text := archive.extractfile(member)) is not None
        }
