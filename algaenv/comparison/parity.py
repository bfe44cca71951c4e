"""What differs between one spec on Docker and as processes, and which differences are meant.

Addresses, paths and ids differ by what a runtime is, so they are compared as what they are. The
rest of what may differ is listed in `MEANT`, each with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

from algaenv.bundle.value import dataclass, replace
from algaenv.comparison.volatile import stable_text
from algaenv.model.comparison import ComparedCall
from algaenv.model.resource import ServiceEngine

Verdict = Literal["same", "meant", "differs"]
SETTINGS_OF: Final = ("runner", "gateway")
"""Services whose settings are compared: those of the others belong to their engines."""
MEANT: Final[Mapping[str, str]] = {
    "HOST": "a container listens on all addresses of its network, a process on loopback",
    "PORT": "a container has a port of its own, a process one of this machine",
    "RUNNER_SHARED_CODE": "a volume that containers share; processes share a directory of the user",
    "EXT_UI_FRAME_ANCESTORS": "it names the ports of this machine",
    "RUNNER_OWN_ADDRESSES": "it names the services as the runner reaches them",
    "TENANT_ID": "it is derived from the name of the environment",
    "OTEL_RESOURCE_ATTRIBUTES": "it names the environment",
}
"""Setting of runner or gateway → why it may differ."""
_ADDRESS: Final = re.compile(
    r"(?:127\.0\.0\.1|0\.0\.0\.0|localhost|host\.docker\.internal|store|redis|database|runner|gateway)"
    r":\d+"
)
_PATH: Final = re.compile(r"(?<![\w/:.>])/[\w./-]+")
_KEYED: Final = "hmac:"
"""How the digest begins that stands for a secret among the inputs of a resource."""


@dataclass(frozen=True, slots=True)
class Side:
    """One runtime: engines by service, settings as service → name → text, and what is installed.

    `installed` is extension → version and content hash.
    """

    runtime: str
    engines: tuple[ServiceEngine, ...]
    settings: Mapping[str, Mapping[str, str]]
    installed: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ParityRow:
    """One thing that was compared; `docker` and `process` are empty where it is not there."""

    group: Literal["engine", "setting", "extension", "call"]
    what: str
    docker: str
    process: str
    verdict: Verdict
    why: str = ""
    """Why it may differ, or what exactly differs in a call."""


def compare_sides(docker: Side, process: Side) -> tuple[ParityRow, ...]:
    """Engines, settings and extensions, in this order."""
    rows = [*_engines(docker, process)]
    for service in SETTINGS_OF:
        there = docker.settings.get(service), process.settings.get(service)
        if there[0] is not None and there[1] is not None:
            rows += _settings(service, there[0], there[1])
    for name in _names(docker.installed, process.installed):
        for field, at in (("version", 0), ("content hash", 1)):
            texts = [side.installed.get(name, ("", ""))[at] for side in (docker, process)]
            rows.append(_row("extension", f"{name}: {field}", *texts))
    return tuple(rows)


def call_rows(extension: str, calls: Iterable[ComparedCall]) -> Iterator[ParityRow]:
    """A row for each call; `here` was docker."""
    for it in calls:
        what = f"{extension}: {it.call.method} {it.call.path}"
        found = [f"{one.what} {one.at}".strip() for one in it.differences]
        verdict: Verdict = "differs" if found else "same"
        yield ParityRow(
            "call", what, str(it.here.status), str(it.there.status), verdict, ", ".join(found)
        )


def _engines(docker: Side, process: Side) -> Iterator[ParityRow]:
    by = [{it.service: it for it in side.engines} for side in (docker, process)]
    for service in _names(*by):
        one, two = by[0].get(service), by[1].get(service)
        yield _row("engine", service, one.name if one else "", two.name if two else "")
        versions = [it.version if it else "" for it in (one, two)]
        if all(versions):  # A program need not tell.
            yield _row("engine", f"{service}: version", *versions)


def _settings(
    service: str, docker: Mapping[str, str], process: Mapping[str, str]
) -> Iterator[ParityRow]:
    for name in _names(docker, process):
        texts = [shown(side[name]) if name in side else "" for side in (docker, process)]
        row = _row("setting", f"{service}: {name}", *texts)
        if row.verdict == "differs" and name in MEANT:
            row = replace(row, verdict="meant", why=MEANT[name])
        yield row


def shown(text: str) -> str:
    """A setting without what belongs to one machine: addresses, paths, ids, secrets."""
    if text.startswith(_KEYED):
        return "<secret>"
    return stable_text(_PATH.sub("<path>", _ADDRESS.sub("<address>", text)))


def _row(
    group: Literal["engine", "setting", "extension"], what: str, docker: str, process: str
) -> ParityRow:
    return ParityRow(group, what, docker, process, "same" if docker == process else "differs")


def _names(*sides: Mapping[str, object]) -> list[str]:
    return list(dict.fromkeys(name for side in sides for name in side))
