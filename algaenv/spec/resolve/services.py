"""Resolves services of the author's own: their ports, variables, mounts and needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from algaenv.bundle.value import dataclass
from algaenv.model.secret import Secret
from algaenv.model.service import ServiceIntent, ServicePort, placeholders
from algaenv.spec.author_services import PortSpec, ServicePortForm, ServiceSpec
from algaenv.spec.diagnostics import Diagnostics, suggestion
from algaenv.spec.document import Document
from algaenv.spec.nodes import NodePath, SourceMap
from algaenv.spec.paths import PathResolver, warn_broad_mount
from algaenv.spec.resolve.checks import parse_volume, warn_unbraced_variable
from algaenv.spec.resolve.gateway import bundled_gateway
from algaenv.spec.resolve.order import sorted_by_needs
from algaenv.spec.secrets import SecretReader
from algaenv.spec.services import ExternalSpec
from algaenv.spec.types import image_reference

OURS: Final = ("store", "redis", "database", "runner", "gateway")
"""The services that every environment may have."""
_TAKEN: Final = ("algaenv", "console", "dev", "host", "localhost")
_TAKEN_PREFIXES: Final = ("build-", "task-")
"""Names of our own logs, ports and hosts."""
_MEMORY: Final = 1 << 30
_PIDS: Final = 512


@dataclass(frozen=True, slots=True)
class ServiceResolver:
    """Resolves the services of one spec."""

    document: Document
    source_map: SourceMap
    diagnostics: Diagnostics
    secrets: SecretReader

    def services(self) -> tuple[ServiceIntent, ...]:
        """All of them, each after those that it needs."""
        specs = self.document.services
        addresses = frozenset(self._addresses())
        found = {name: self._service(name, spec, addresses) for name, spec in specs.items()}

        def report(circle: tuple[str, ...]) -> None:
            self.diagnostics.add_error(
                "spec-service-cycle",
                f"order the services {' → '.join((*circle, circle[0]))}: each needs the next",
                "take one of these `needs` out",
                self.source_map.value(("services", circle[-1], "needs")),
            )

        names = sorted_by_needs({name: it.needs for name, it in found.items()}, report)
        return tuple(found[name] for name in names)

    def _service(self, name: str, spec: ServiceSpec, addresses: Collection[str]) -> ServiceIntent:
        path: NodePath = ("services", name)
        where = self.source_map.key(path)
        self._check_name(name)
        self._check_program(name, spec)
        for index, need in enumerate(spec.needs):
            self._check_need(need, (*path, "needs", index))
        known = (*addresses, "host", *(f"port.{it}" for it in spec.ports))
        for key in ("command", "process"):
            for index, word in enumerate(getattr(spec, key) or ()):
                self._check_template(word, known, (*path, key, index))
        memory, pids = spec.limits.memory, spec.limits.pids
        return ServiceIntent(
            name=name,
            image=None if spec.image is None else image_reference(spec.image),
            command=tuple(spec.command),
            process=tuple(spec.process or ()),
            directory=PathResolver(self.diagnostics).absolute(".", where),
            ports=tuple(_port(port, form) for port, form in spec.ports.items()),
            environment=self._environment(spec, known, path),
            volumes=self._volumes(spec, path),
            ready_port=self._ready_port(spec, path),
            ready_path=spec.ready.path or "",
            needs=tuple(dict.fromkeys(spec.needs)),
            memory=_MEMORY if memory is None else memory,
            pids=_PIDS if pids is None else pids,
            where=where,
        )

    def _addresses(self) -> list[str]:
        """What may stand in braces in the texts of every service."""
        without = set()
        if isinstance(self.document.database, ExternalSpec):
            without.add("database")
        if bundled_gateway(self.document) is None:
            without.add("gateway")
        own = self.document.services.items()
        return [
            *(f"address.{name}" for name in OURS if name not in without),
            *(f"address.{name}.{port}" for name, spec in own for port in spec.ports),
        ]

    def _check_name(self, name: str) -> None:
        if name in OURS:
            taken = "a service of algaenv's has that name"
        elif name in self.document.extensions:
            taken = "an extension has that name, and `logs` would mean both"
        elif name in _TAKEN or name.startswith(_TAKEN_PREFIXES):
            taken = "algaenv itself uses that name"
        else:
            return
        self.diagnostics.add_error(
            "spec-service-name",
            f"call a service {name}: {taken}",
            "give the service another name",
            self.source_map.key(("services", name)),
        )

    def _check_program(self, name: str, spec: ServiceSpec) -> None:
        path: NodePath = ("services", name)
        # One that was taken out as broken has its own error.
        has_image = self.source_map.node((*path, "image")) is not None
        if not has_image and self.source_map.node((*path, "process")) is None:
            self.diagnostics.add_error(
                "spec-service-program",
                f"run the service {name}: it has neither `image` nor `process`",
                "write `image` for Docker, `process` for processes, or both",
                self.source_map.key(path),
            )
            return
        for key in ("command", "volumes") if not has_image else ():
            if getattr(spec, key):
                self.diagnostics.add_error(
                    "spec-service-program",
                    f"use {key} of the service {name}: it is for an image, and there is none",
                    "add `image`, or delete it",
                    self.source_map.key((*path, key)),
                )

    def _check_need(self, need: str, path: NodePath) -> None:
        known = (*OURS, *self.document.services)
        if need not in known:
            self.diagnostics.add_error(
                "spec-service-need",
                f"need {need}: no service has that name",
                suggestion(need, known),
                self.source_map.value(path),
            )

    def _check_template(self, text: str, known: Collection[str], path: NodePath) -> None:
        for name in placeholders(text):
            if name not in known:
                self.diagnostics.add_error(
                    "spec-service-placeholder",
                    f"fill {{{name}}}: there is no such port or address",
                    suggestion(name, tuple(known)),
                    self.source_map.value(path),
                )

    def _ready_port(self, spec: ServiceSpec, path: NodePath) -> str:
        first, asked = next(iter(spec.ports)), spec.ready.port
        if asked is None or asked in spec.ports:
            return asked or first
        self.diagnostics.add_error(
            "spec-service-port",
            f"ask the port {asked}: the service has none of that name",
            suggestion(asked, tuple(spec.ports)),
            self.source_map.value((*path, "ready", "port")),
        )
        return first

    def _environment(
        self, spec: ServiceSpec, known: Collection[str], path: NodePath
    ) -> Mapping[str, str | Secret]:
        environment: dict[str, str | Secret] = {}
        for name, form in spec.environment.items():
            at = (*path, "environment", name)
            if isinstance(form, str):
                warn_unbraced_variable(self.source_map.value(at), self.diagnostics)
                self._check_template(form, known, at)
                environment[name] = form
            elif (value := self.secrets.read(form, at)) is not None:
                environment[name] = value
        return environment

    def _volumes(self, spec: ServiceSpec, path: NodePath) -> tuple[str, ...]:
        mounts = []
        for index, text in enumerate(spec.volumes):
            where = self.source_map.value((*path, "volumes", index))
            if mount := parse_volume(text, where, self.diagnostics):
                warn_broad_mount(mount.partition(":")[0], "mount", where, self.diagnostics)
                mounts.append(mount)
        return tuple(mounts)


def _port(name: str, form: ServicePortForm) -> ServicePort:
    if isinstance(form, PortSpec):
        return ServicePort(name, None if form.port == "auto" else form.port, form.container)
    return ServicePort(name, None, 0) if form == "auto" else ServicePort(name, form, form)
