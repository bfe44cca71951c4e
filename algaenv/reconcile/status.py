"""Looks at what is there right now and says so: the way to `status`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from algaenv.bundle import ids as bundle_ids
from algaenv.bundle import layout
from algaenv.bundle.digest import Digest
from algaenv.model.address import Address
from algaenv.model.content import ContentIds
from algaenv.model.event import Emit, Warned
from algaenv.model.intent import AppServer, BundledGateway, Intent, ManagedDatabase
from algaenv.model.lock import Environment, Lock, LockedExtension
from algaenv.model.probe import ExtensionProbe, Never, NotYet, PageProbe, Yes
from algaenv.model.problem import AlgaenvError, Problem, Refused
from algaenv.model.resource import Absent, Observation, Present, Resource
from algaenv.model.status import ExtensionEndpoint, ExtensionStatus, ServiceStatus, Status
from algaenv.plan.app_variables import app_variables
from algaenv.plan.desired import page_url, predicted_ids
from algaenv.plan.readiness import endpoint_probe
from algaenv.reconcile.converge import CONTENT_SERVICES, Backends, PlanResult
from algaenv.reconcile.endpoints import portal_path, portals_of
from algaenv.reconcile.protocols import ContentHost, Lowered, Prober

SERVICE_KINDS = ("container", "process")
_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SECONDS = 5.0
"""How long an endpoint may take here; `up` waits as long as the gateway does."""
_SPARE_SECONDS = 30.0
"""What a call is given beyond the time that the gateway gives it."""


def read_status(lock: Lock, backends: Backends, emit: Emit) -> Status:
    """Services, extensions and addresses, each asked the way its consumer would ask it."""
    observer = backends.runtime.observer(lock.environment)
    resources, engines, complaint = _services(lock, backends)
    seen = observer.observe(resources)
    services = tuple(
        replace(_service(lock, it, seen, backends.prober), engine=engines.get(it.address.name, ""))
        for it in resources
    )
    if not resources:
        services = tuple(_unasked(address, seen[address], complaint) for address in _ours(seen))
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
    """True when the services of ours do not explain why the content cannot be looked at."""
    return all(it.state == "ready" for it in services if it.name in CONTENT_SERVICES)


def status_after_up(lock: Lock, planned: PlanResult, runtime: str) -> Status:
    """The status after an `up` in which every step ended well: nobody needs to be asked again."""
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
        if r.address.kind in SERVICE_KINDS
    )
    return Status(
        environment=lock.environment,
        runtime=runtime,
        services=services,
        extensions=tuple(_concluded(lock, ids, extension) for extension in lock.extensions),
        tenant_id=ids.tenant_id,
        variables=app_variables(lock, ids.tenant_id),
        app_server=_app_server(lock),
    )


def _concluded(lock: Lock, ids: ContentIds, extension: LockedExtension) -> ExtensionStatus:
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
        call_url=_call_url(lock, registry),
        endpoints=tuple((it.method, it.path) for it in extension.manifest.endpoints),
        ready=True,
        portal_urls=_portal_urls(lock, registry, extension.manifest.ui_row()),
    )


def _app_url(lock: Lock) -> str:
    """What answers as the app server does: the gateway of this environment, or the real one."""
    if isinstance(lock.intent.gateway, BundledGateway):
        return f"http://127.0.0.1:{lock.ports.gateway}"
    return lock.intent.app_url.rstrip("/")


def _app_server(lock: Lock) -> str:
    return lock.intent.app_url if isinstance(lock.intent.gateway, AppServer) else ""


def _endpoints(lock: Lock, name: str, registry: str) -> ExtensionProbe | None:
    """What `up` would ask of its handler, with less patience; None where it asks nothing."""
    extension = next((it for it in lock.intent.extensions if it.name == name), None)
    probe = None if extension is None else endpoint_probe(lock, extension, registry)
    if probe is None or not probe.paths:
        return None
    return replace(probe, seconds=min(probe.seconds, _SECONDS))


def _call_url(lock: Lock, registry: str) -> str:
    return _app_url(lock) + layout.call_path(registry, "")


def _portal_urls(lock: Lock, registry: str, ui: object) -> Mapping[str, str]:
    """The page in each portal; in that of clients only what their menu shows."""
    if not isinstance(lock.intent.gateway, BundledGateway):
        return {}
    return {portal: _app_url(lock) + portal_path(portal, registry) for portal in portals_of(ui)}


def endpoint_of(lock: Lock, extension: str, content: ContentHost) -> ExtensionEndpoint:
    """Where an extension is called: by the id in the rows, when it is named as in the spec.

    Raises Refused (`gateway-none`, `extension-absent`, `extension-unknown`), and what a look at
    the content raises.
    """
    intent = lock.intent
    if not isinstance(intent.gateway, BundledGateway):
        raise Refused(
            Problem(
                "gateway-none",
                f"cannot reach {extension}: {intent.name} runs no gateway",
                "set `gateway: bundled` in the spec, or ask the app server itself",
            )
        )
    names = tuple(it.name for it in intent.extensions)
    seconds = intent.gateway.timeout_ms / 1000 + _SPARE_SECONDS
    if extension not in names:
        # An id, or a publisher and a name with a dot between them, is the gateway's to know.
        if not _ID.fullmatch(extension) and "." not in extension:
            raise Refused(unknown_extension(extension, names))
        return ExtensionEndpoint(
            _app_url(lock), extension, installed=False, names=names, seconds=seconds
        )
    rows = content.snapshot(lock).observe(())
    row = rows.get(Address("release", extension), Absent())
    if not isinstance(row, Present) or row.recorded is None:
        raise Refused(
            Problem(
                "extension-absent",
                f"cannot reach {extension}: it is in the spec, but not installed",
                "run `algaenv up`",
            )
        )
    return ExtensionEndpoint(
        _app_url(lock), str(row.inputs.get("registry id", "")), seconds=seconds
    )


def unknown_extension(extension: str, names: Sequence[str]) -> Problem:
    """What is said of an extension that is none; `names` are those of the spec."""
    near = difflib.get_close_matches(extension, names, n=1)
    if near:
        hint = f"did you mean `{near[0]}`?"
    elif names:
        hint = f"the spec has {', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
    else:
        hint = "add it under `extensions` in the spec, and run `algaenv up`"
    summary = f"cannot find the extension {extension}: neither the spec nor the gateway knows it"
    return Problem("extension-unknown", summary, hint)


def empty_status(environment: Environment, intent: Intent, runtime: str) -> Status:
    """The status of an environment that was never brought up; asks nobody and writes nothing."""
    names = ["store", "redis"]
    names += ["database"] if isinstance(intent.database, ManagedDatabase) else []
    names += ["runner"]
    names += ["gateway"] if isinstance(intent.gateway, BundledGateway) else []
    services = tuple(ServiceStatus(name, "absent", {}) for name in names)
    return Status(environment, runtime, services, ())


def _services(
    lock: Lock, backends: Backends
) -> tuple[tuple[Resource, ...], Mapping[str, str], str]:
    """The service resources with their engines, or none and why: a binary that is gone must not
    hide the rest."""
    try:
        lowered = backends.runtime.lower(lock, lambda _note: None)
    except AlgaenvError as error:
        return (), {}, error.problem.summary
    resources = tuple(r for r in lowered.resources if r.address.kind in SERVICE_KINDS)
    return resources, _engines(lowered), ""


def _engines(lowered: Lowered) -> Mapping[str, str]:
    return {engine.service: str(engine) for engine in lowered.engines}


def _ours(seen: Mapping[Address, Observation]) -> list[Address]:
    return sorted(address for address in seen if address.kind in SERVICE_KINDS)


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


def _unasked(address: Address, seen: Observation, complaint: str) -> ServiceStatus:
    running = isinstance(seen, Present) and seen.running
    return ServiceStatus(address.name, "running" if running else "stopped", {}, complaint)


def service_endpoints(lock: Lock, resource: Resource) -> Mapping[str, str]:
    """Where a service is reached on this machine; no secret stands in any of them."""
    ports = lock.ports
    match resource.address.name:
        case "store":
            found = {"api": f"http://127.0.0.1:{ports.store}"}
            # What runs may be another engine than the one asked for, and have no console.
            if ports.console and "ports.console" in resource.inputs:
                found["console"] = f"http://127.0.0.1:{ports.console}"
            return found
        case "redis":
            return {"url": f"redis://127.0.0.1:{ports.redis}"}
        case "database" if isinstance(lock.intent.database, ManagedDatabase):
            database = lock.intent.database
            place = f"127.0.0.1:{ports.database}/{database.database}"
            return {"url": f"postgresql://{database.user}@{place}"}
        case "runner":
            return {"url": f"http://127.0.0.1:{ports.runner}"}
        case "gateway":
            return {"url": f"http://127.0.0.1:{ports.gateway}"}
        case _:
            return {}


def _extensions(
    lock: Lock, ids: ContentIds, rows: Mapping[Address, Observation], prober: Prober
) -> Iterable[ExtensionStatus]:
    runner = f"http://127.0.0.1:{lock.ports.runner}"
    for address in sorted(a for a in rows if a.kind == "release"):
        row = rows[address]
        if not isinstance(row, Present) or row.recorded is None:
            continue
        facts = row.inputs
        registry = str(facts.get("registry id", ""))
        try:
            digest = Digest.parse(str(facts.get("bundle", "")))
        except ValueError:
            continue  # a damaged mark, which the next `up` mends
        url = runner + layout.page_path(registry, digest, ids.tenant_id)
        has_page = facts.get("ui") is not None
        answer = prober.probe(PageProbe(url, 200 if has_page else 404, None))
        probe = _endpoints(lock, address.name, registry)
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
            call_url=_call_url(lock, registry),
            endpoints=tuple(
                (str(row["method"]), str(row["path"])) for row in endpoints if isinstance(row, dict)
            ),
            ready=isinstance(answer, Yes) and not row.drift,
            detail="; ".join(row.drift) or ("" if isinstance(answer, Yes) else answer.last),
            portal_urls=_portal_urls(lock, registry, facts.get("ui")),
        )
