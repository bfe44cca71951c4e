"""Whether a registry gives an image out, asked through the engine: it knows mirrors and proxies."""

from __future__ import annotations

from typing import Final

from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.docker.body import PulledImage
from algaenv.runtimes.docker.engine import Engine
from algaenv.runtimes.docker.translate import Reply, message_of

_PATIENCE: Final = 3.0
"""Seconds a registry is given: this is asked before anything is planned."""
_SILENT: Final = (
    "no such host",
    "dial tcp",
    "i/o timeout",
    "deadline exceeded",
    "Client.Timeout",
    "server misbehaving",
    "connection refused",
)


class Registries:
    """Asks each registry at most until it has failed to answer once; lives for one lowering."""

    def __init__(self, engine: Engine, on_progress: OnProgress) -> None:
        self._engine = engine
        self._on_progress = on_progress
        self._silent: dict[str, str] = {}

    def refusal(self, image: PulledImage) -> str:
        """Why `image` cannot be pulled from any of its repositories; empty when it can."""
        reasons = []
        for reference in image.references:
            reason = self._asked(reference)
            if not reason:
                return ""
            reasons.append(reason)
        return "; ".join(dict.fromkeys(reasons))

    def _asked(self, reference: str) -> str:
        host = registry_of(reference)
        if host not in self._silent:
            self._on_progress(f"asking {host} for {reference}")
            try:
                self._engine.get(f"/distribution/{reference}/json", patience=_PATIENCE)
            except TimeoutError:
                self._silent[host] = f"{host} does not answer"
            except Reply as error:
                if not is_silent(message_of(error)):
                    return f"{host} does not give it out"
                self._silent[host] = f"{host} does not answer"
        return self._silent.get(host, "")


def registry_of(reference: str) -> str:
    """The host of the registry: the first part, when it looks like one, else Docker Hub's."""
    first, slash, _ = reference.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return first if named else "docker.io"


def is_silent(message: str) -> bool:
    """True when the engine says that the registry could not be talked to."""
    return any(phrase in message for phrase in _SILENT)
