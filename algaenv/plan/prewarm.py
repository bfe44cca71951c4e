"""Selects the handlers that a run compiles in advance.

Compiling a component takes seconds, which its first caller should not wait for, and a component
that does not compile must not replace one that does: the rows of a release need the step. Only
handlers whose bundle, release or runner changes are selected.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from algaenv.model.content import BundleSpec
from algaenv.model.intent import BundledImage
from algaenv.model.kind import RELEASE, Address, Tier
from algaenv.model.lock import Lock, LockedExtension
from algaenv.model.plan import Cause, Change, Decision, Prewarm, Same
from algaenv.model.probe import PrewarmRequest
from algaenv.model.resource import Resource
from algaenv.model.secret import Secret
from algaenv.plan.app_variables import inbound_token
from algaenv.plan.desired import bundle_address, handler_address

UI_ONLY = "ui-only"


def prewarms(
    lock: Lock,
    decisions: Iterable[Decision],
    hosts: Mapping[str, Address],
    written: Collection[Address],
) -> Iterator[Prewarm]:
    """The prewarms of a run that writes `written`; none for a runner of another maker.

    `decisions` are those on content; a blocked bundle is not prewarmed. `hosts` are the addresses
    of the services, as in a runtime's Lowered.
    """
    if not isinstance(lock.intent.runner.image, BundledImage):
        return
    runner = hosts.get("runner")
    bundles = _bundles(decisions)
    for extension in filter(_may_have_handler, lock.extensions):
        address = bundle_address(extension.name, extension.digest.short)
        reasons = (address, runner, RELEASE.address(extension.name))
        reason = next((it for it in reasons if it in written), None)
        if address in bundles and reason is not None:
            yield Prewarm(
                Cause(f"{_kind(reason, runner)} changes"),
                Resource(
                    address=handler_address(extension.name, extension.digest.short),
                    tier=Tier.CONTENT,
                    inputs={},
                    body=_request(lock, address, bundles[address]),
                    needs=(address,) if runner is None else (address, runner),
                ),
            )


def _kind(reason: Address, runner: Address | None) -> str:
    return "runner" if reason == runner else reason.kind


def _bundles(decisions: Iterable[Decision]) -> Mapping[Address, BundleSpec]:
    """The bundles that are there, or will be."""
    resources = (it.resource for it in decisions if isinstance(it, Same | Change))
    return {it.address: it.body for it in resources if it and isinstance(it.body, BundleSpec)}


def _request(lock: Lock, address: Address, bundle: BundleSpec) -> PrewarmRequest:
    token = inbound_token(lock)
    return PrewarmRequest(
        base_url=lock.urls.runner,
        tenant_id=bundle.tenant_id,
        registry_id=bundle.registry_id,
        content_hash=bundle.digest.prefixed,
        bundle=str(address),
        token=token.reveal() if isinstance(token, Secret) else token,
    )


def _may_have_handler(extension: LockedExtension) -> bool:
    """False only where the manifest rules a handler out; the archive is not read."""
    manifest = extension.manifest
    return (
        bool(manifest.endpoints)
        or extension.page_sha256 is None
        or not manifest.runtime.startswith(UI_ONLY)
    )
