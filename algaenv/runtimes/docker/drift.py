"""Detects changes made to a container behind our back. Pure.

Live values are compared with the inputs in the container's label, not with the spec. A value that
the engine does not report, or reports in another form, is no drift: recreating a healthy container
for nothing is worse than missing a change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from algaenv.model.resource import Json
from algaenv.runtimes.docker.engine import as_list, as_map
from algaenv.runtimes.docker.labels import Mark
from algaenv.runtimes.docker.specs import RESTART

_LIMITS: Final = {
    "NanoCpus": "processor limit",
    "CpusetCpus": "set of processors",
    "CpuQuota": "processor quota",
}


def drift(seen: Mapping[str, Json], mark: Mark, networks: Mapping[str, str]) -> tuple[str, ...]:
    """The drift of an inspected container; `networks` are the engine's, name → id."""
    return (
        *_name(seen, mark),
        *_image(seen, mark),
        *_ports(seen, mark),
        *_mounts(seen, mark),
        *_network(seen, mark, networks),
        *_limits(seen),
        *_recorded_limits(seen, mark),
        *_paused(seen),
    )


def _name(seen: Mapping[str, Json], mark: Mark) -> Iterator[str]:
    live, name = str(seen.get("Name", "")).lstrip("/"), mark.inputs.get("name")
    if live and name and live != name:
        yield f"renamed from {name} to {live}"


def _image(seen: Mapping[str, Json], mark: Mark) -> Iterator[str]:
    live = str(seen.get("Image", ""))
    if live and mark.image_id and live != mark.image_id:
        yield f"runs another image ({_short(live)} instead of {_short(mark.image_id)})"


def _ports(seen: Mapping[str, Json], mark: Mark) -> Iterator[str]:
    bound = as_map(as_map(seen.get("HostConfig")).get("PortBindings"))
    live = set()
    for inside, bindings in bound.items():
        for binding in as_list(bindings):
            where = as_map(binding)
            number = inside.partition("/")[0]
            live.add(f"{where.get('HostIp')}:{where.get('HostPort')}->{number}")
    recorded = {str(text) for key, text in mark.inputs.items() if key.startswith("ports.")}
    for text in sorted(recorded - live):
        yield f"no longer publishes {text}"
    for text in sorted(live - recorded):
        yield f"publishes {text}"


def _mounts(seen: Mapping[str, Json], mark: Mark) -> Iterator[str]:
    found = (as_map(one) for one in as_list(seen.get("Mounts")))
    live = {str(one.get("Destination")): one for one in found}
    for key, text in mark.inputs.items():
        target = key.removeprefix("mounts.")
        # More mounts than ours are no drift: images declare volumes of their own.
        if target != key and (actual := _mount(live.get(target), str(text))) != text:
            yield f"{target} is {actual} instead of {text}"


def _mount(live: Mapping[str, Json] | None, text: str) -> str:
    if live is None:
        return "not mounted"
    if live.get("Type") == "bind":
        # Engines in a virtual machine see the directories of this one under other names.
        return text if text.startswith("bind ") else f"bind {live.get('Source')}"
    return f"{live.get('Type')} {live.get('Name')}{'' if live.get('RW', True) else ' (read-only)'}"


def _network(seen: Mapping[str, Json], mark: Mark, networks: Mapping[str, str]) -> Iterator[str]:
    name = str(mark.inputs.get("network", ""))
    attached = as_map(as_map(seen.get("NetworkSettings")).get("Networks"))
    if name and name not in attached:
        yield f"not attached to the network {name}"
        return
    live = as_map(attached.get(name)).get("NetworkID")
    if live and networks.get(name, live) != live:
        yield f"attached to an earlier network {name}"


def _limits(seen: Mapping[str, Json]) -> Iterator[str]:
    host = as_map(seen.get("HostConfig"))
    for key, title in _LIMITS.items():
        if host.get(key):
            yield f"{title} set to {host[key]}"
    policy = as_map(host.get("RestartPolicy")).get("Name")
    if policy and policy != RESTART:
        yield f"restart policy is {policy} instead of {RESTART}"


def _recorded_limits(seen: Mapping[str, Json], mark: Mark) -> Iterator[str]:
    host = as_map(seen.get("HostConfig"))
    for key, name, title in (
        ("Memory", "limits.memory", "memory limit"),
        ("PidsLimit", "limits.pids", "limit of processes"),
    ):
        live, recorded = host.get(key) or 0, mark.inputs.get(name, 0)
        # An engine whose kernel knows no such limit leaves it out.
        if live not in {0, -1, recorded}:
            yield f"{title} set to {live}"


def _paused(seen: Mapping[str, Json]) -> Iterator[str]:
    if as_map(seen.get("State")).get("Paused"):
        yield "paused"


def _short(image: str) -> str:
    return image.removeprefix("sha256:")[:12]
