"""What one Docker engine holds of all environments, by the labels of containers and volumes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from algaenv.bundle.value import dataclass
from algaenv.model.problem import DriverError
from algaenv.model.resource import Json
from algaenv.runtimes.docker import labels
from algaenv.runtimes.docker.endpoint import locate
from algaenv.runtimes.docker.engine import Engine, EngineFacts, as_list, as_map, as_texts
from algaenv.runtimes.docker.errors import EngineApiError, translate_errors
from algaenv.runtimes.docker.labels import Mark, read_mark

_DETAILS_SECONDS = 5.0


def marked_environments(
    environ: Mapping[str, str], facts: EngineFacts
) -> Sequence[tuple[Mark, str]]:
    """A mark of every environment with a container, and since when (UTC, ISO 8601).

    Raises EngineGone.
    """
    engine = Engine(locate(environ), environ, facts)
    found: dict[str, tuple[Mark, str]] = {}
    with translate_errors("look at the containers of all environments"):
        query = {"all": 1, "filters": {"label": [labels.ENVIRONMENT]}}
        for one, mark in _marked(as_list(engine.get("/containers/json", query))):
            made = _moment(one.get("Created"))
            earlier = found.get(mark.environment, (mark, made))[1]
            found[mark.environment] = mark, min(made, earlier)
    engine.close()
    return tuple(found.values())


def volume_sizes(environ: Mapping[str, str], facts: EngineFacts) -> Mapping[str, int]:
    """Environment id → bytes of its volumes; empty for an engine that does not tell."""
    engine = Engine(locate(environ), environ, facts)
    sizes: dict[str, int] = {}
    try:
        with translate_errors("look at the volumes of all environments"):
            try:
                answer = as_map(engine.get("/system/df", {"type": "volume"}))
            except EngineApiError:
                return {}
    finally:
        engine.close()
    for one, mark in _marked(as_list(answer.get("Volumes"))):
        size = as_map(one.get("UsageData")).get("Size")
        if isinstance(size, int) and size > 0:
            sizes[mark.environment] = sizes.get(mark.environment, 0) + size
    return sizes


def _marked(objects: Sequence[Json]) -> Iterator[tuple[Mapping[str, Json], Mark]]:
    for one in map(as_map, objects):
        mark = read_mark(as_texts(one.get("Labels")))
        if mark is not None:
            yield one, mark


def _moment(seconds: Json) -> str:
    moment = seconds if isinstance(seconds, int) else 0
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class EngineDetails:
    """What an engine tells of itself beyond its version. `time` is Unix time in seconds."""

    api: str
    """The oldest and the newest API version that it speaks."""
    storage: str
    root: str
    """Where it keeps its data; as it sees the disk."""
    time: float | None


def engine_details(environ: Mapping[str, str], facts: EngineFacts) -> EngineDetails | None:
    """The details; None for an engine that does not tell."""
    engine = Engine(locate(environ), environ, facts)
    try:
        with translate_errors("ask the engine about itself"):
            version = as_map(engine.get("/version"))
            info = as_map(engine.get("/info", timeout=_DETAILS_SECONDS))
    except DriverError:
        return None
    finally:
        engine.close()
    try:
        clock = datetime.fromisoformat(str(info.get("SystemTime", ""))).timestamp()
    except ValueError:
        clock = None
    return EngineDetails(
        f"{version.get('MinAPIVersion', '?')} to {version.get('ApiVersion', '?')}",
        str(info.get("Driver", "")),
        str(info.get("DockerRootDir", "")),
        clock,
    )


def published_ports(environ: Mapping[str, str], facts: EngineFacts) -> Mapping[int, PortUser]:
    """Port of this machine → the running container that publishes it. Raises EngineGone."""
    engine = Engine(locate(environ), environ, facts)
    found: dict[int, PortUser] = {}
    try:
        with translate_errors("look at the ports of containers"):
            listed = as_list(engine.get("/containers/json"))
    finally:
        engine.close()
    for one in map(as_map, listed):
        texts = as_texts(one.get("Labels"))
        mark = read_mark(texts)
        name = next((str(it).lstrip("/") for it in as_list(one.get("Names"))), "")
        user = PortUser(name, mark.environment if mark else "", mark.spec if mark else "")
        for port in map(as_map, as_list(one.get("Ports"))):
            if isinstance(number := port.get("PublicPort"), int):
                found[number] = user
    return found


@dataclass(frozen=True, slots=True)
class PortUser:
    """A container that publishes a port; `environment` and `spec` are empty unless it is ours."""

    container: str
    environment: str
    spec: str
