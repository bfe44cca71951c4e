"""Pins: the versions that a lock file names, and how they differ from what would run.

A pin is of one service on one runtime and platform. What a service was asked for is part of it: a
spec that asks for something else has made the pin stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from algaenv.bundle.value import dataclass, field, replace
from algaenv.model.intent import (
    BundledGateway,
    BundledImage,
    ContextImage,
    ImagePin,
    Intent,
    ManagedDatabase,
    NamedImage,
    Profile,
    ProgramPin,
    PullRef,
)

SERVICES: Final = ("store", "redis", "database", "runner", "gateway")
"""The order of services in a lock file."""
ALGAENV: Final = "algaenv"
"""The name by which `--update` means this package and its templates."""
PACKAGES: Final = "packages"
TOOLS: Final = "tools"
PULLED: Final = "pulled"
_BUNDLED: Final = "bundled"
_COMPARED: Final = ("engine", "version", "origin", "digest")


@dataclass(frozen=True, slots=True)
class ServicePin:
    """What runs a service.

    `platform` is `linux/amd64` and the like. `asked` is what the spec asked for, in words. `origin`
    is `pulled`, `built`, `built on <base>`, `program`, or `package <distribution>`. `digest` is
    `sha256:…`: that of the registry, of the inputs of an image built here, or of the program; empty
    when unknown. `repositories` and `tag` are of a pulled image.
    """

    runtime: str
    platform: str
    service: str
    asked: str
    engine: str
    version: str
    origin: str
    digest: str
    repositories: tuple[str, ...] = ()
    tag: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Runtime, platform and service."""
        return self.runtime, self.platform, self.service

    @property
    def title(self) -> str:
        """`docker/store` and the like."""
        return f"{self.runtime}/{self.service}"

    def __str__(self) -> str:
        digest = f" {self.digest[:19]}" if self.digest else ""
        return f"{self.engine} {self.version}".rstrip() + f", {self.origin}{digest}"


@dataclass(frozen=True, slots=True)
class Pins:
    """The content of a lock file, or what would run.

    `packages` are distributions of Python → version, and `python` → its minor version; `tools` are
    extension → program → what it says of its version.
    """

    algaenv: str
    templates: str
    """Digest of the engines' profiles and of the templates of `new`."""
    services: tuple[ServicePin, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, runtime: str, platform: str) -> Mapping[str, ServicePin]:
        """Service → pin on one runtime and platform."""
        found = (it for it in self.services if (it.runtime, it.platform) == (runtime, platform))
        return {it.service: it for it in found}


@dataclass(frozen=True, slots=True)
class PinDifference:
    """Something that a lock file and this machine, or the spec, disagree about.

    `locked` or `found` is empty where there is none.
    """

    what: str
    field: str
    locked: str
    found: str

    def __str__(self) -> str:
        name = f"{self.what}: {self.field}".removesuffix(": ")
        return f"{name}: locked {self.locked or 'nothing'}, here {self.found or 'nothing'}"


def asked_of(intent: Intent, runtime: str) -> Mapping[str, str]:
    """Service → what the spec asks for, in words, for each service that a runtime would run."""
    docker = runtime == "docker"
    images = f"; images: {intent.images}" if docker else ""
    asked = {
        "store": _profiles((intent.store.profile, *intent.store.local), docker=docker),
        "redis": _profiles((intent.redis.profile,), docker=docker),
    }
    if isinstance(intent.database, ManagedDatabase):
        asked["database"] = _profiles((intent.database.profile,), docker=docker)
    match intent.runner.image:
        case NamedImage(ref):
            asked["runner"] = _reference(ref)
        case ContextImage(dockerfile=dockerfile):
            asked["runner"] = f"built from {dockerfile}"
        case BundledImage():
            asked["runner"] = _BUNDLED
    if isinstance(intent.gateway, BundledGateway):
        asked["gateway"] = _BUNDLED
    return {service: f"{text}{images}" for service, text in asked.items()}


def _profiles(profiles: Sequence[Profile], *, docker: bool) -> str:
    names = " or ".join(dict.fromkeys(it.name for it in profiles))
    image = profiles[0].image
    return f"{names} as {_reference(image)}" if docker and image is not None else names


def _reference(ref: PullRef) -> str:
    digest = f"@{ref.digest}" if ref.digest else ""
    return f"{' or '.join(ref.repositories)}:{ref.tag}{digest}"


def with_pins(
    intent: Intent, pins: Pins, platform: str, update: frozenset[str] = frozenset()
) -> Intent:
    """The intent with the pins of what the spec still asks for, but for services of `update`."""

    def valid(runtime: str) -> Mapping[str, ServicePin]:
        asked = asked_of(intent, runtime)
        found = pins.of(runtime, platform)
        return {
            it: pin for it, pin in found.items() if asked.get(it) == pin.asked and it not in update
        }

    images = {
        it: ImagePin(pin.origin == PULLED, pin.origin, pin.digest)
        for it, pin in valid("docker").items()
    }
    programs = {it: ProgramPin(pin.engine, pin.version) for it, pin in valid("process").items()}
    return replace(intent, image_pins=images, program_pins=programs)


def stale(locked: Pins, intent: Intent, runtime: str, platform: str) -> tuple[PinDifference, ...]:
    """What the spec asks for otherwise than when it was locked."""
    asked, there = asked_of(intent, runtime), locked.of(runtime, platform)
    found = [
        PinDifference(f"{runtime}/{service}", "", pin.asked if pin else "", asked.get(service, ""))
        for service in SERVICES
        if (pin := there.get(service)) is not None or service in asked
        if pin is None or pin.asked != asked.get(service)
    ]
    built = {it.name for it in intent.extensions if it.build is not None}
    gone = sorted(locked.tools.keys() - built)
    return (*found, *(PinDifference(f"{TOOLS}/{name}", "", "tools", "") for name in gone))


def differences(locked: Pins, found: Pins) -> tuple[PinDifference, ...]:
    """What would run, and is not what is locked. `found` has the services of one runtime."""
    result = list(_compare(ALGAENV, "version", locked.algaenv, found.algaenv))
    result += _compare(ALGAENV, "templates", locked.templates, found.templates)
    there = {pin.key: pin for pin in locked.services}
    for pin in found.services:
        before = there.get(pin.key)
        for name in _COMPARED if before is not None and before.asked == pin.asked else ():
            result += _compare(pin.title, name, getattr(before, name), getattr(pin, name))
    result += _compare_tables(PACKAGES, locked.packages, found.packages)
    for name, tools in found.tools.items():
        result += _compare_tables(f"{TOOLS}/{name}", locked.tools.get(name, {}), tools)
    return tuple(result)


def _compare(what: str, name: str, locked: str, found: str) -> Iterator[PinDifference]:
    if locked != found:
        yield PinDifference(what, name, locked, found)


def _compare_tables(
    what: str, locked: Mapping[str, str], found: Mapping[str, str]
) -> Iterator[PinDifference]:
    # Nothing at all means that nothing was looked up.
    for name in sorted(locked.keys() | found.keys()) if found else ():
        yield from _compare(what, name, locked.get(name, ""), found.get(name, ""))


def merged(before: Pins | None, found: Pins, intent: Intent, update: frozenset[str] | None) -> Pins:
    """The pins of a new lock file.

    What is locked and what the spec still asks for stays, unless `update` names it; None stands for
    all names. `found` has everything that this machine can look up; pins of other runtimes and
    platforms stay.
    """
    if before is None:
        return found
    by_key = {pin.key: pin for pin in before.services if _is_asked(pin, intent)}
    for pin in found.services:
        old = by_key.get(pin.key)
        if old is None or _named(update, pin.service):
            by_key[pin.key] = pin
    own = found if _named(update, ALGAENV) else before
    built = {it.name for it in intent.extensions if it.build is not None}
    tools = {
        name: _merged_table(before.tools.get(name, {}), table, update, TOOLS, name)
        for name, table in found.tools.items()
    }
    kept = {name: table for name, table in before.tools.items() if name in built}
    packages = _merged_table(before.packages, found.packages, update, PACKAGES)
    return replace(
        found,
        algaenv=own.algaenv,
        templates=own.templates,
        services=tuple(by_key.values()),
        packages=packages or before.packages,
        tools={**kept, **tools},
    )


def _is_asked(pin: ServicePin, intent: Intent) -> bool:
    return asked_of(intent, pin.runtime).get(pin.service) == pin.asked


def _named(update: frozenset[str] | None, *names: str) -> bool:
    return update is None or not update.isdisjoint(names)


def _merged_table(
    before: Mapping[str, str],
    found: Mapping[str, str],
    update: frozenset[str] | None,
    *groups: str,
) -> Mapping[str, str]:
    return {
        name: version if _named(update, name, *groups) else before.get(name, version)
        for name, version in found.items()
    }


def changes(before: Pins | None, after: Pins) -> tuple[PinDifference, ...]:
    """What a new lock file says otherwise than the one before."""
    old = before or Pins("", "")
    pins = {it.key: it for it in old.services}, {it.key: it for it in after.services}
    found = list(_compare(ALGAENV, "version", old.algaenv, after.algaenv))
    found += _compare(ALGAENV, "templates", old.templates, after.templates)
    for key in dict.fromkeys((*pins[0], *pins[1])):
        one, two = pins[0].get(key), pins[1].get(key)
        if one != two:
            what = f"{key[0]}/{key[2]}"
            found.append(PinDifference(what, key[1], str(one or ""), str(two or "")))
    for name in sorted(old.packages.keys() | after.packages.keys()):
        there = old.packages.get(name, ""), after.packages.get(name, "")
        found += _compare(PACKAGES, name, *there)
    for name in sorted(old.tools.keys() | after.tools.keys()):
        tables = old.tools.get(name, {}), after.tools.get(name, {})
        for tool in sorted(tables[0].keys() | tables[1].keys()):
            found += _compare(f"{TOOLS}/{name}", tool, *(it.get(tool, "") for it in tables))
    return tuple(found)


def names_of(pins: Iterable[Pins]) -> tuple[str, ...]:
    """Every name that `--update` takes."""
    names = [ALGAENV, PACKAGES, TOOLS]
    for each in pins:
        names += [pin.service for pin in each.services]
        names += each.packages
        names += [name for extension, table in each.tools.items() for name in (extension, *table)]
    return tuple(dict.fromkeys(names))
