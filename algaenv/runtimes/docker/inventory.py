"""What one Docker engine holds of all environments, by the labels of containers and volumes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from algaenv.model.resource import Json
from algaenv.runtimes.docker import labels
from algaenv.runtimes.docker.endpoint import locate
from algaenv.runtimes.docker.engine import Engine, EngineFacts, as_list, as_map, as_texts
from algaenv.runtimes.docker.errors import EngineApiError, translate_errors
from algaenv.runtimes.docker.labels import Mark, read_mark


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
