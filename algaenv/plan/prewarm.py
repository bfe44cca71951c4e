"""Selects the handlers that a run compiles in advance.

Compiling a component takes seconds, which its first caller should not wait for, and a component
that does not compile must not replace one that does. Only handlers whose bundle, release or runner
changes are selected.
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
from algaenv.model.probe import PrewarmRequest
from algaenv.model.resource import Resource
from algaenv.model.secret import Secret
from algaenv.plan.app_variables import inbound_token

UI_ONLY = "ui-only"


@dataclass(frozen=True, slots=True)
class PrewarmSelector:
    """Selects handlers; `runner` is the URL of the bundled runner, empty for another one."""

    runner: str
    handlers: frozenset[str]
    """Names of the extensions that may have a handler."""
    token: str = field(default="", repr=False)
    """The service token of the runner."""

    @classmethod
    def of(cls, lock: Lock) -> PrewarmSelector:
        """The selector of an environment; selects nothing for a runner of another maker."""
        token = inbound_token(lock)
        ours = isinstance(lock.intent.runner.image, BundledImage)
        return cls(
            runner=f"http://127.0.0.1:{lock.ports.runner}" if ours else "",
            handlers=frozenset(it.name for it in lock.extensions if _may_have_handler(it)),
            token=token.reveal() if isinstance(token, Secret) else token,
        )

    def requests(
        self, plan: Plan, before: Iterable[Ended] = ()
    ) -> Mapping[Address, PrewarmRequest]:
        """The requests for an execution of `plan`, by the address of the bundle."""
        if not self.runner:
            return {}
        written = {step.address for step in plan.changes if step.verb is not Verb.DELETE}
        written |= {ended.step.address for ended in before if ended.step.writes}
        needed = {
            need for step in plan.changes if step.verb is not Verb.DELETE for need in step.needs
        }
        return {
            step.address: request
            for step in plan.steps
            if (step.writes or step.address in needed or step.needs & written)
            and (request := self._request(step)) is not None
        }

    def _request(self, step: Step) -> PrewarmRequest | None:
        body = step.resource.body if isinstance(step.resource, Resource) else None
        if not isinstance(body, BundleSpec) or body.extension not in self.handlers:
            return None
        return PrewarmRequest(
            self.runner, body.tenant_id, body.registry_id, body.digest.prefixed, self.token
        )


def _may_have_handler(extension: LockedExtension) -> bool:
    """False only where the manifest rules a handler out; the archive is not read."""
    manifest = extension.manifest
    return (
        bool(manifest.endpoints)
        or extension.page_sha256 is None
        or not manifest.runtime.startswith(UI_ONLY)
    )
