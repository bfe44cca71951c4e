"""Addresses of an environment: its services, the calls and pages of extensions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from algaenv.bundle import layout
from algaenv.model.intent import BundledGateway, Intent, ManagedDatabase
from algaenv.model.kind import RELEASE
from algaenv.model.lock import Lock
from algaenv.model.problem import Problem, Refused
from algaenv.model.resource import Absent, Present, Resource
from algaenv.model.service import port_key
from algaenv.model.status import ExtensionEndpoint
from algaenv.reconcile.protocols import ContentHost

PREFIXES: Final[Mapping[str, str]] = {
    "msp": "/msp/extensions/",
    "client": "/client-portal/extensions/",
}
CLIENT_MENU: Final = "clientPortalMenu"
"""The client portal shows only extensions whose manifest has this hook."""


_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SPARE_SECONDS = 30.0
"""Seconds that a call may take beyond the timeout of the gateway."""


def portal_path(portal: str, registry: str) -> str:
    """Path of an extension's page in a portal (`msp` or `client`); raises KeyError for others."""
    return PREFIXES[portal] + quote(registry, safe="")


def portals_of(ui: object) -> tuple[str, ...]:
    """The portals that show an extension, by the `ui` of its rows."""
    if not isinstance(ui, Mapping):
        return ()
    hooks = ui.get("hooks")
    in_both = isinstance(hooks, Mapping) and CLIENT_MENU in hooks
    return ("msp", "client") if in_both else ("msp",)


def services_of(intent: Intent) -> tuple[str, ...]:
    """The services of an environment, in the order in which they are started."""
    found = ["store", "redis"]
    found += ["database"] if isinstance(intent.database, ManagedDatabase) else []
    found += ["runner"]
    found += ["gateway"] if isinstance(intent.gateway, BundledGateway) else []
    return (*found, *(it.name for it in intent.services))


def service_endpoints(lock: Lock, resource: Resource) -> Mapping[str, str]:
    """The URLs of a service on this machine, without secrets."""
    ports, urls = lock.ports, lock.urls
    match resource.address.name:
        case "store":
            found = {"api": urls.store}
            # The engine that runs may differ from the requested one, and have no console.
            if ports.console and "ports.console" in resource.inputs:
                found["console"] = urls.console
            return found
        case "redis":
            return {"url": urls.redis}
        case "database" if isinstance(lock.intent.database, ManagedDatabase):
            database = lock.intent.database
            place = f"{lock.host}:{ports.database}/{database.database}"
            return {"url": f"postgresql://{database.user}@{place}"}
        case "runner":
            return {"url": urls.runner}
        case "gateway":
            return {"url": urls.gateway}
        case name:
            return {
                port.name: it.endpoint(port.name, lock.host, ports.services[key])
                for it in lock.intent.services
                if it.name == name
                for port in it.ports
                if (key := port_key(name, port.name)) in ports.services
            }


def _app_url(lock: Lock) -> str:
    """The URL of the gateway of this environment, or of the app server."""
    if isinstance(lock.intent.gateway, BundledGateway):
        return lock.urls.gateway
    return lock.intent.app_url.rstrip("/")


def call_url(lock: Lock, registry: str) -> str:
    """The prefix of the URLs that run the handlers of an extension."""
    return _app_url(lock) + layout.call_path(registry, "")


def portal_urls(lock: Lock, registry: str, ui: object) -> Mapping[str, str]:
    """The URL of the page in each portal that shows it."""
    if not isinstance(lock.intent.gateway, BundledGateway):
        return {}
    return {portal: _app_url(lock) + portal_path(portal, registry) for portal in portals_of(ui)}


def gateway_url(lock: Lock, wanted: str = "the gateway") -> str:
    """The URL of the gateway of this environment; raises Refused (`gateway-none`) without one."""
    if not isinstance(lock.intent.gateway, BundledGateway):
        raise Refused(
            Problem(
                "gateway-none",
                f"cannot reach {wanted}: {lock.intent.name} runs no gateway",
                "set `gateway: bundled` in the spec, or ask the app server itself",
            )
        )
    return lock.urls.gateway


def endpoint_of(lock: Lock, extension: str, content: ContentHost) -> ExtensionEndpoint:
    """Where an extension is called. A name of the spec becomes the registry id of its rows.

    Raises Refused (`gateway-none`, `extension-absent`, `extension-unknown`), and what reading the
    content raises.
    """
    intent = lock.intent
    url = gateway_url(lock, extension)
    assert isinstance(intent.gateway, BundledGateway)  # noqa: S101 - it has a URL
    names = tuple(it.name for it in intent.every_extension)
    seconds = intent.gateway.timeout_ms / 1000 + _SPARE_SECONDS
    if extension not in names:
        # Only the gateway knows ids, and names of the form publisher.name.
        if not _UUID.fullmatch(extension) and "." not in extension:
            raise Refused(unknown_extension(extension, names))
        return ExtensionEndpoint(url, extension, installed=False, names=names, seconds=seconds)
    rows = content.snapshot(lock).observe(())
    row = rows.get(RELEASE.address(extension), Absent())
    if not isinstance(row, Present) or row.recorded is None:
        raise Refused(
            Problem(
                "extension-absent",
                f"cannot reach {extension}: it is in the spec, but not installed",
                "run `algaenv up`",
            )
        )
    return ExtensionEndpoint(
        url,
        str(row.inputs.get("registry id", "")),
        seconds=seconds,
        declared=_declared(row.inputs.get("endpoints")),
        version=str(row.inputs.get("manifest version", "")),
        content_hash=str(row.inputs.get("bundle", "")),
    )


def _declared(rows: object) -> tuple[tuple[str, str], ...]:
    """(method, path) of the endpoints in the rows of a release."""
    return tuple(
        (str(row.get("method", "")), str(row.get("path", "")))
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, Mapping)
    )


def unknown_extension(extension: str, names: Sequence[str]) -> Problem:
    """The problem of an unknown extension; `names` are those of the spec."""
    import difflib

    near = difflib.get_close_matches(extension, names, n=1)
    if near:
        hint = f"did you mean `{near[0]}`?"
    elif names:
        hint = f"the spec has {', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
    else:
        hint = "add it under `extensions` in the spec, and run `algaenv up`"
    summary = f"cannot find the extension {extension}: neither the spec nor the gateway knows it"
    return Problem("extension-unknown", summary, hint)
