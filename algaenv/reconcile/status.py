"""Reads the current status: services, extensions and their addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from algaenv.bundle import layout
from algaenv.bundle import layout as bundle_ids
from algaenv.bundle.digest import Digest
from algaenv.bundle.value import replace
from algaenv.model.content import ContentIds
from algaenv.model.event import Emit, Warned
from algaenv.model.intent import AppServer, Intent
from algaenv.model.kind import CONTENT_SERVICES, RELEASE, Address, kind_of
from algaenv.model.lock import Environment, Lock, LockedExtension
from algaenv.model.probe import ExtensionProbe, Never, NotYet, PageProbe, Yes
from algaenv.model.problem import AlgaenvError
from algaenv.model.resource import Absent, Observation, Present, Resource
from algaenv.model.status import ExtensionStatus, ServiceStatus, Status
from algaenv.plan.app_variables import app_variables
from algaenv.plan.desired import page_url, predicted_ids
from algaenv.plan.readiness import endpoint_probe
from algaenv.reconcile.converge import Backends, PlanResult
from algaenv.reconcile.endpoints import (
    call_url,
    portal_urls,
    service_endpoints,
    services_of,
)
from algaenv.reconcile.protocols import Lowered, Prober

_SECONDS = 5.0
"""Timeout of an endpoint here; `up` waits as long as the gateway does."""


def read_status(lock: Lock, backends: Backends, emit: Emit) -> Status:
    """The status of services and extensions, each probed as its users would call it."""
    observer = backends.runtime.observer(lock.environment)
    resources, engines, reason = _services(lock, backends)
    seen = observer.observe(resources)
    services = tuple(
        replace(_service(lock, it, seen, backends.prober), engine=engines.get(it.address.name, ""))
        for it in resources
    )
    if not resources:
        services = tuple(
            _unprobed_service(address, seen[address], reason) for address in _ours(seen)
        )
    extensions: tuple[ExtensionStatus, ...] = ()
    tenant = ""
    try:
        snapshot = backends.content.snapshot(lock)
    except AlgaenvError as error:
        if _hosts_seem_fine(services):
            emit(Warned(error.problem))
    else:
        tenant = snapshot.ids.tenant_id
        rows = snapshot.observe(())
        extensions = tuple(_extensions(lock, snapshot.ids, rows, backends.prober))
    return Status(
        environment=lock.environment,
        runtime=backends.runtime.name,
        services=services,
        extensions=extensions,
        tenant_id=tenant,
        variables=app_variables(lock, tenant),
        app_server=_app_server(lock),
    )


def _hosts_seem_fine(services: Iterable[ServiceStatus]) -> bool:
    """True when the services do not explain why the content cannot be read."""
    return all(it.state == "ready" for it in services if it.name in CONTENT_SERVICES)


def status_after_up(lock: Lock, planned: PlanResult, runtime: str) -> Status:
    """The status after an `up` in which every step ended well, without further probes."""
    ids = planned.ids or predicted_ids(lock)
    engines = _engines(planned.lowered)
    services = tuple(
        ServiceStatus(
            r.address.name,
            "ready",
            service_endpoints(lock, r),
            engine=engines.get(r.address.name, ""),
        )
        for r in planned.lowered.resources
        if kind_of(r.address).runs
    )
    return Status(
        environment=lock.environment,
        runtime=runtime,
        services=services,
        extensions=tuple(
            _extension_after_up(lock, ids, extension) for extension in lock.extensions
        ),
        tenant_id=ids.tenant_id,
        variables=app_variables(lock, ids.tenant_id),
        app_server=_app_server(lock),
    )


def _extension_after_up(lock: Lock, ids: ContentIds, extension: LockedExtension) -> ExtensionStatus:
    registry = ids.registry[extension.name]
    derived = bundle_ids.install_id(ids.tenant_id, extension.publisher, extension.manifest.name)
    has_page = extension.page_sha256 is not None
    return ExtensionStatus(
        name=extension.name,
        registry_id=registry,
        install_id=ids.installs.get(extension.name, derived),
        version=extension.manifest.version,
        content_hash=extension.digest.prefixed,
        page_url=page_url(lock, ids, extension) if has_page else None,
        call_url=call_url(lock, registry),
        endpoints=tuple((it.method, it.path) for it in extension.manifest.endpoints),
        ready=True,
        portal_urls=portal_urls(lock, registry, extension.manifest.ui_row()),
    )


def _app_server(lock: Lock) -> str:
    return lock.intent.app_url if isinstance(lock.intent.gateway, AppServer) else ""


def _short_endpoint_probe(lock: Lock, name: str, registry: str) -> ExtensionProbe | None:
    """The probe of `up` for its endpoints, with a shorter timeout; None without one."""
    extension = next((it for it in lock.intent.extensions if it.name == name), None)
    probe = None if extension is None else endpoint_probe(lock, extension, registry)
    if probe is None or not probe.paths:
        return None
    return replace(probe, seconds=min(probe.seconds, _SECONDS))


def empty_status(environment: Environment, intent: Intent, runtime: str) -> Status:
    """The status of an environment that was never brought up; does no I/O."""
    services = tuple(ServiceStatus(name, "absent", {}) for name in services_of(intent))
    return Status(environment, runtime, services, ())


def _services(
    lock: Lock, backends: Backends
) -> tuple[tuple[Resource, ...], Mapping[str, str], str]:
    """The service resources with their engines, or none and why: a missing binary must not hide
    the rest."""
    try:
        lowered = backends.runtime.lower(lock, lambda _note: None)
    except AlgaenvError as error:
        return (), {}, error.problem.summary
    resources = tuple(r for r in lowered.resources if kind_of(r.address).runs)
    return resources, _engines(lowered), ""


def _engines(lowered: Lowered) -> Mapping[str, str]:
    return {engine.service: str(engine) for engine in lowered.engines}


def _ours(seen: Mapping[Address, Observation]) -> list[Address]:
    return sorted(address for address in seen if kind_of(address).runs)


def _service(
    lock: Lock, resource: Resource, seen: Mapping[Address, Observation], prober: Prober
) -> ServiceStatus:
    name = resource.address.name
    endpoints = service_endpoints(lock, resource)
    match seen.get(resource.address, Absent()):
        case Present(recorded=str(), running=False, note=note):
            return ServiceStatus(name, "stopped", endpoints, note)
        case Present(recorded=str()):
            if resource.probe is None:
                return ServiceStatus(name, "running", endpoints)
            match prober.probe(resource.probe):
                case Yes():
                    return ServiceStatus(name, "ready", endpoints)
                case NotYet(last) | Never(last):
                    return ServiceStatus(name, "running", endpoints, last)
        case _:
            return ServiceStatus(name, "absent", endpoints)


def _unprobed_service(address: Address, seen: Observation, reason: str) -> ServiceStatus:
    running = isinstance(seen, Present) and seen.running
    return ServiceStatus(address.name, "running" if running else "stopped", {}, reason)


def _extensions(
    lock: Lock, ids: ContentIds, rows: Mapping[Address, Observation], prober: Prober
) -> Iterable[ExtensionStatus]:
    runner = lock.urls.runner
    for address in sorted(a for a in rows if a in RELEASE):
        row = rows[address]
        if not isinstance(row, Present) or row.recorded is None:
            continue
        facts = row.inputs
        registry = str(facts.get("registry id", ""))
        try:
            digest = Digest.parse(str(facts.get("bundle", "")))
        except ValueError:
            continue  # a damaged mark, which the next `up` repairs
        url = runner + layout.page_path(registry, digest, ids.tenant_id)
        has_page = facts.get("ui") is not None
        answer = prober.probe(PageProbe(url, 200 if has_page else 404, None))
        probe = _short_endpoint_probe(lock, address.name, registry)
        if isinstance(answer, Yes) and probe is not None:
            answer = prober.probe(probe)
        listed = facts.get("endpoints")
        endpoints = listed if isinstance(listed, list) else []
        yield ExtensionStatus(
            name=address.name,
            registry_id=registry,
            install_id=ids.installs.get(address.name, ""),
            version=str(facts.get("manifest version", "")),
            content_hash=digest.prefixed,
            page_url=url if has_page else None,
            call_url=call_url(lock, registry),
            endpoints=tuple(
                (str(row["method"]), str(row["path"])) for row in endpoints if isinstance(row, dict)
            ),
            ready=isinstance(answer, Yes) and not row.drift,
            detail="; ".join(row.drift) or ("" if isinstance(answer, Yes) else answer.last),
            portal_urls=portal_urls(lock, registry, facts.get("ui")),
        )
