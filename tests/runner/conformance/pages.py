"""Asking for an extension's page."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from tests.runner.archives import Bundle, bundle
from tests.runner.service import Answer

from .asking import Runner
from .kinds import differs
from .peers import Peers
from .stub import Reply

IMMUTABLE = "public, max-age=31536000, immutable"
NO_STORE = differs("only-found-files-are-immutable", ours="no-store", original=IMMUTABLE)
FALLBACK = differs("the-fallback-is-not-kept", ours="no-store", original=IMMUTABLE)
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)


def etag(body: bytes) -> str:
    return f'"sha256-{hashlib.sha256(body).hexdigest()}"'


@dataclass(frozen=True, slots=True)
class Page:
    """A bundle of a case's own, and who has it."""

    runner: Runner
    peers: Peers
    bundle: Bundle
    tenant: str
    extension: str

    @classmethod
    def fresh(
        cls, runner: Runner, peers: Peers, files: Mapping[str, bytes] | Bundle | None = None
    ) -> Page:
        """Put a bundle nobody has asked for yet into the store."""
        name = uuid.uuid4().hex[:12]
        made = files if isinstance(files, Bundle) else bundle(files, note=name)
        peers.store.on(made.digest.hex, Reply(body=made.archive))
        return cls(runner, peers, made, f"tenant-{name}", f"ext-{name}")

    @property
    def root(self) -> str:
        return f"/ext-ui/{self.extension}/{self.bundle.digest.prefixed}"

    def get(
        self,
        tail: str = "index.html",
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        tenant: bool = True,
    ) -> Answer:
        """Ask for a path below the bundle as it is, with the tenant's header by default."""
        who = {"x-tenant-id": self.tenant} if tenant else {}
        return self.runner.ask(f"{self.root}/{tail}", who | dict(headers or {}), method=method)

    @property
    def downloads(self) -> list[str]:
        """The paths under which the store was asked for the bundle."""
        return [seen.path for seen in self.peers.store.seen(self.bundle.digest.hex)]
