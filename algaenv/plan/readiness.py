"""Readiness checks of extensions: requests of their users, through the gateway.

They come last, since the gateway reads the rows. A run that changes nothing about an extension, its
runner or its gateway sends only the probes that the author named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from urllib.parse import quote, unquote

from algaenv.bundle import layout
from algaenv.bundle.manifest.model import Manifest
from algaenv.model.content import ContentIds
from algaenv.model.intent import BundledGateway, ExtensionIntent
from algaenv.model.kind import EXTENSION, RELEASE, Address, Tier
from algaenv.model.lock import Lock, LockedExtension
from algaenv.model.plan import Same
from algaenv.model.probe import ExtensionProbe, PageProbe
from algaenv.model.resource import Resource
from algaenv.plan.desired import bundle_address, handler_address

GRACE = 5.0
"""Seconds beyond the gateway's timeout of a call."""


def readiness_checks(
    lock: Lock, ids: ContentIds, hosts: Mapping[str, Address], written: Collection[Address]
) -> Iterator[Same]:
    """The checks of a run that writes `written`; none without a bundled gateway.

    `hosts` are the addresses of the services, as in a runtime's Lowered.
    """
    services = {address for name, address in hosts.items() if name in ("runner", "gateway")}
    for extension in lock.extensions:
        rows = RELEASE.address(extension.name)
        bundle = bundle_address(extension.name, extension.digest.short)
        handler = handler_address(extension.name, extension.digest.short)
        probe = _probe(lock, ids, extension)
        if probe is None:
            return
        if probe.paths or (probe.page and not {rows, bundle, *services}.isdisjoint(written)):
            yield Same(
                Resource(
                    address=EXTENSION.address(extension.name),
                    tier=Tier.CONTENT,
                    inputs={},
                    body=None,
                    needs=(rows, bundle, handler, *sorted(services)),
                    probe=probe,
                )
            )


def declares_endpoint(manifest: Manifest, path: str) -> bool:
    """Whether a GET of `path`, which may have a query, is one of the manifest's endpoints.

    As both entry points look it up: segment by segment, `:name` takes any that is not empty.
    """
    endpoint_probe = unquote(path.partition("?")[0]).strip("/").split("/")
    return any(
        it.method in ("GET", "HEAD") and _fits(it.path.strip("/").split("/"), endpoint_probe)
        for it in manifest.endpoints
    )


def _fits(declared: list[str], endpoint_probe: list[str]) -> bool:
    return len(declared) == len(endpoint_probe) and all(
        bool(theirs) if ours.startswith(":") and len(ours) > 1 else ours == theirs
        for ours, theirs in zip(declared, endpoint_probe, strict=True)
    )


def endpoint_probe(
    lock: Lock, extension: ExtensionIntent, registry: str, page: PageProbe | None = None
) -> ExtensionProbe | None:
    """A probe of the endpoints that the author named, by registry id, and of the
    page before them; None without a bundled gateway."""
    gateway = lock.intent.gateway
    if not isinstance(gateway, BundledGateway):
        return None
    return ExtensionProbe(
        page=page,
        base=f"{lock.urls.gateway}/api/ext-proxy/{quote(registry, safe='')}",
        # A disabled extension answers no call.
        paths=tuple(it.path for it in extension.probes) if extension.enabled else (),
        user=next((user.key for user in gateway.users if user.type == "internal"), ""),
        seconds=gateway.timeout_ms / 1000 + GRACE,
    )


def _probe(lock: Lock, ids: ContentIds, extension: LockedExtension) -> ExtensionProbe | None:
    registry = ids.registry[extension.name]
    path = layout.page_path(registry, extension.digest, ids.tenant_id)
    page = PageProbe(f"{lock.urls.gateway}/runner{path}", 200, extension.page_sha256)
    shown = page if extension.page_sha256 is not None else None
    return endpoint_probe(lock, extension.intent, registry, shown)
