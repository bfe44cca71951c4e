"""Which handlers are warmed in a run: those whose bundle, release or runner is being changed.

A component takes seconds to compile, and the first person to call it should not pay for that; and
one that does not compile must not replace one that does. A run that changes nothing about an
extension does not ask about its handler.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from algaenv.bundle.value import dataclass
from algaenv.model.address import Address
from algaenv.model.content import BundleSpec
from algaenv.model.event import Ended
from algaenv.model.intent import BundledImage
from algaenv.model.lock import Lock, LockedExtension
from algaenv.model.plan import Plan, Step, Verb
from algaenv.model.resource import Resource
from algaenv.model.secret import Secret
from algaenv.plan.app_variables import inbound_token
from algaenv.reconcile.protocols import PrewarmRequest

UI_ONLY = "ui-only"


@dataclass(frozen=True, slots=True)
class PrewarmSelector:
    """Knows what can be warmed: `runner` is the URL of a runner of ours, empty for others."""

    runner: str
    handlers: frozenset[str]
    """Names of the extensions that may have one."""
    token: str = field(default="", repr=False)
    """What that runner wants to be shown."""

    @classmethod
    def of(cls, lock: Lock) -> PrewarmSelector:
        """The stove of an environment; a cold one when its runner is not ours."""
        token = inbound_token(lock)
        ours = isinstance(lock.intent.runner.image, BundledImage)
        return cls(
            runner=f"http://127.0.0.1:{lock.ports.runner}" if ours else "",
            handlers=frozenset(it.name for it in lock.extensions if _may_have_handler(it)),
            token=token.reveal() if isinstance(token, Secret) else token,
        )

    def wanted(self, plan: Plan, before: Iterable[Ended] = ()) -> Mapping[Address, PrewarmRequest]:
        """What is to be warmed in a walk of `plan`, by the address of its bundle."""
        if not self.runner:
            return {}
        written = {step.address for step in plan.changes if step.verb is not Verb.DELETE}
        written |= {ended.step.address for ended in before if ended.step.writes}
        leant_on = {
            need for step in plan.changes if step.verb is not Verb.DELETE for need in step.needs
        }
        return {
            step.address: warming
            for step in plan.steps
            if (step.writes or step.address in leant_on or step.needs & written)
            and (warming := self._warming(step)) is not None
        }

    def _warming(self, step: Step) -> PrewarmRequest | None:
        body = step.resource.body if isinstance(step.resource, Resource) else None
        if not isinstance(body, BundleSpec) or body.extension not in self.handlers:
            return None
        return PrewarmRequest(
            self.runner, body.tenant_id, body.registry_id, body.digest.prefixed, self.token
        )


def _may_have_handler(extension: LockedExtension) -> bool:
    """Only the runner looks into the archive; a bundle without a UI can be nothing else."""
    manifest = extension.manifest
    return (
        bool(manifest.endpoints)
        or extension.page_sha256 is None
        or not manifest.runtime.startswith(UI_ONLY)
    )
