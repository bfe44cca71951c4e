"""How a container differs from what was made. All but the files in it comes with its inspection.

Live values are compared with the inputs in the container's label, not with the spec. A value that
the engine does not report, or reports in another form, is no drift: recreating a healthy container
for nothing is worse than missing a change.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import Final

from algaenv.model.drift import HIDDEN, Drift
from algaenv.model.resource import Json, fingerprint
from algaenv.model.secret import Secret
from algaenv.runtimes.docker.engine import Engine, as_list, as_map
from algaenv.runtimes.docker.errors import EngineApiError
from algaenv.runtimes.docker.labels import INPUTS, Mark
from algaenv.runtimes.docker.specs import ETC, RESTART, ContainerSpec
from algaenv.runtimes.services import file_drift, reveal_all

_LIMITS: Final = {
    "NanoCpus": "processor limit",
    "CpusetCpus": "set of processors",
    "CpuQuota": "processor quota",
}
_FILES: Final = 1 << 20
"""Bytes of the archive of a container's files that are read at most."""
_OF_ENGINES: Final = frozenset({"container", "HOME", "HOSTNAME", "PATH", "TERM"})
"""Variables that engines add by themselves; Podman lists them."""
_NEVER: Final = "0001-01-01"
_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?Z")


def drift(seen: Mapping[str, Json], mark: Mark, networks: Mapping[str, str]) -> tuple[Drift, ...]:
    """The drift of an inspected container; `networks` are the engine's, name → id."""
    return (
        *_labels(mark),
        *_name(seen, mark),
        *_image(seen, mark),
        *_ports(seen, mark),
        *_mounts(seen, mark),
        *_network(seen, mark, networks),
        *_limits(seen),
        *_recorded_limits(seen, mark),
        *_paused(seen),
        *_privileged(seen),
    )


def _name(seen: Mapping[str, Json], mark: Mark) -> Iterator[Drift]:
    live, name = str(seen.get("Name", "")).lstrip("/"), mark.inputs.get("name")
    if live and name and live != name:
        yield Drift(f"renamed from {name} to {live}", "name", str(name), live)


def _image(seen: Mapping[str, Json], mark: Mark) -> Iterator[Drift]:
    live = str(seen.get("Image", ""))
    if live and mark.image_id and live != mark.image_id:
        now, before = _short(live), _short(mark.image_id)
        yield Drift(f"runs another image ({now} instead of {before})", "image", before, now)


def _ports(seen: Mapping[str, Json], mark: Mark) -> Iterator[Drift]:
    bound = as_map(as_map(seen.get("HostConfig")).get("PortBindings"))
    live = set()
    for inside, bindings in bound.items():
        for binding in as_list(bindings):
            where = as_map(binding)
            number = inside.partition("/")[0]
            live.add(f"{where.get('HostIp')}:{where.get('HostPort')}->{number}")
    recorded = {str(text) for key, text in mark.inputs.items() if key.startswith("ports.")}
    for text in sorted(recorded - live):
        yield Drift(f"no longer publishes {text}", _port_field(text), text, "")
    for text in sorted(live - recorded):
        yield Drift(f"publishes {text}", _port_field(text), "", text)


def _mounts(seen: Mapping[str, Json], mark: Mark) -> Iterator[Drift]:
    found = (as_map(one) for one in as_list(seen.get("Mounts")))
    live = {str(one.get("Destination")): one for one in found}
    for key, text in mark.inputs.items():
        target = key.removeprefix("mounts.")
        # More mounts than ours are no drift: images declare volumes of their own.
        if target != key and (actual := _mount(live.get(target), str(text))) != text:
            phrase = f"{target} is {actual} instead of {text}"
            yield Drift(phrase, f"mounts.{target}", str(text), actual)


def _mount(live: Mapping[str, Json] | None, text: str) -> str:
    if live is None:
        return "not mounted"
    if live.get("Type") == "bind":
        # Engines in a virtual machine see the directories of this one under other names.
        return text if text.startswith("bind ") else f"bind {live.get('Source')}"
    return f"{live.get('Type')} {live.get('Name')}{'' if live.get('RW', True) else ' (read-only)'}"


def _network(seen: Mapping[str, Json], mark: Mark, networks: Mapping[str, str]) -> Iterator[Drift]:
    name = str(mark.inputs.get("network", ""))
    attached = as_map(as_map(seen.get("NetworkSettings")).get("Networks"))
    if name and name not in attached:
        yield Drift(f"not attached to the network {name}", "network", name, "")
        return
    live = as_map(attached.get(name)).get("NetworkID")
    # Podman names the network where Docker gives its id.
    if live and live not in (name, networks.get(name, live)):
        yield Drift(f"attached to an earlier network {name}", "network", name, name)


def _limits(seen: Mapping[str, Json]) -> Iterator[Drift]:
    host = as_map(seen.get("HostConfig"))
    for key, title in _LIMITS.items():
        if host.get(key):
            value = str(host[key])
            yield Drift(f"{title} set to {value}", f"limits.{key}", "none", value)
    policy = as_map(host.get("RestartPolicy")).get("Name")
    if policy and policy != RESTART:
        phrase = f"restart policy is {policy} instead of {RESTART}"
        yield Drift(phrase, "restart", RESTART, str(policy))


def _recorded_limits(seen: Mapping[str, Json], mark: Mark) -> Iterator[Drift]:
    host = as_map(seen.get("HostConfig"))
    for key, name, title in (
        ("Memory", "limits.memory", "memory limit"),
        ("PidsLimit", "limits.pids", "limit of processes"),
    ):
        live, recorded = host.get(key) or 0, mark.inputs.get(name, 0)
        # An engine whose kernel knows no such limit leaves it out.
        if live not in {0, -1, recorded}:
            before = str(recorded) if recorded else "none"
            yield Drift(f"{title} set to {live}", name, before, str(live))


def _paused(seen: Mapping[str, Json]) -> Iterator[Drift]:
    if as_map(seen.get("State")).get("Paused"):
        yield Drift("paused", "paused", "no", "yes")


def _privileged(seen: Mapping[str, Json]) -> Iterator[Drift]:
    if as_map(seen.get("HostConfig")).get("Privileged"):
        yield Drift("runs with all rights of this machine", "privileged", "no", "yes")


def _short(image: str) -> str:
    return image.removeprefix("sha256:")[:12]


def content_drift(
    seen: Mapping[str, Json], body: ContainerSpec, engine: Engine | None
) -> tuple[Drift, ...]:
    """How variables and files differ from `body`, which the container was made from.

    Files, and variables that are not of `body`, are looked at only with an `engine`: they take a
    request each.
    """
    variables, _ = body.injected
    live = dict(
        str(one).split("=", 1)
        for one in as_list(as_map(seen.get("Config")).get("Env"))
        if "=" in str(one)
    )
    found = list(_variables(live, variables))
    if engine is not None:
        found += _added_variables(live, variables, seen, engine)
        found += _files(str(seen.get("Id")), body, engine)
    return tuple(found)


def stopped_at(state: Mapping[str, Json]) -> str:
    """When a container ended, to the second; empty for one that never ran."""
    text = str(state.get("FinishedAt", ""))
    match = _INSTANT.fullmatch(text)
    return f"{match[1]}Z" if match and not text.startswith(_NEVER) else ""


def _variables(live: Mapping[str, str], variables: Mapping[str, str | Secret]) -> Iterator[Drift]:
    for name, value in sorted(variables.items()):
        plain = value.reveal() if isinstance(value, Secret) else value
        if live.get(name) == plain:
            continue
        secret = isinstance(value, Secret)
        before = HIDDEN if secret else plain
        if name not in live:
            yield Drift(f"the variable {name} is gone", f"env.{name}", before, "")
            continue
        # What stands in place of a secret is likely one too.
        now = HIDDEN if secret else live[name]
        phrase = f"the variable {name} is another one" if secret else f"{name} is {now}"
        yield Drift(
            phrase if secret else f"{phrase} instead of {before}", f"env.{name}", before, now
        )


def _added_variables(
    live: Mapping[str, str],
    variables: Mapping[str, str | Secret],
    seen: Mapping[str, Json],
    engine: Engine,
) -> Iterator[Drift]:
    """Variables that neither the image nor we have set; their values are not shown."""
    image = engine.find(f"/images/{seen.get('Image')}/json")
    if image is None:
        return
    own = as_list(as_map(image.get("Config")).get("Env"))
    known = {str(one).partition("=")[0] for one in own} | set(variables) | _OF_ENGINES
    for name in sorted(set(live) - known):
        yield Drift(f"the variable {name} was added", f"env.{name}", "", "(set)")


def _files(container: str, body: ContainerSpec, engine: Engine) -> Iterator[Drift]:
    """Files whose bytes differ; they hold secrets, so no content is shown."""
    wanted = {name: text.encode() for name, text in reveal_all(body.injected[1]).items()}
    if not wanted:
        return
    import tarfile

    live: dict[str, tuple[bytes, float]] = {}
    try:
        content = engine.read_prefix(f"/containers/{container}/archive", {"path": ETC}, _FILES)
        with tarfile.open(fileobj=io.BytesIO(content), mode="r|") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file is not None:
                    name = member.name.partition("/")[2]
                    live[name] = (file.read(), member.mtime)
    except (EngineApiError, tarfile.TarError):
        live = {}  # The directory is gone, and so is every file of it.
    yield from file_drift(wanted, live)


def _labels(mark: Mark) -> Iterator[Drift]:
    """A label cannot be changed; a container made by hand may carry another."""
    if fingerprint(mark.inputs) != mark.fingerprint:
        phrase = f"the label {INPUTS} is not what was recorded"
        yield Drift(phrase, f"labels.{INPUTS}", mark.fingerprint, fingerprint(mark.inputs))


def _port_field(text: str) -> str:
    return f"ports.{text.rpartition('->')[2]}"
