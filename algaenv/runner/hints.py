"""Who opened which bundle of which extension: remembered by all workers alike.

A page may be answered by one worker and its scripts by another. Where the cache cannot be written
to, each worker has only its own memory.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from time import monotonic

from algaenv.bundle.digest import Digest
from algaenv.runner.chronicle import Bounds, Chronicle

_log = logging.getLogger(__name__)

MOST_HINTS = 10_000
SURE_SECONDS = 0.05
"""How long a tenant that is served again and again needs no look at what others did."""
REPEAT_SECONDS = 3600.0
"""After so long a tenant that is still served is told again, lest it be forgotten."""
_BOUNDS = Bounds(MOST_HINTS, 16 * 1024 * 1024, 7 * 86_400.0)

_Where = tuple[str, Digest]


@dataclass(slots=True)
class _Known:
    name: bytes
    tenant: str
    told: float
    sure_until: float


class Hints:
    """The tenant last served, by extension and bundle; with `root` None in memory only."""

    def __init__(self, root: Path | None, *, workers: int = 1) -> None:
        self._chronicle: Chronicle | None = None
        if root is not None:
            self._chronicle = Chronicle(root / ".algaenv" / "hints", _BOUNDS, processes=workers)
        self._prepared = False
        self._known: OrderedDict[_Where, _Known] = OrderedDict()

    def get(self, extension: str, digest: Digest) -> str:
        """The tenant whose page was opened last, whoever served it; empty when nobody knows."""
        where = (extension, digest)
        known = self._known.get(where)
        told = self._look(known.name if known else _name(where))
        if told:
            return told
        return known.tenant if known else ""

    def served(self, extension: str, digest: Digest, tenant: str) -> None:
        """Remember a tenant that was just served well."""
        where = (extension, digest)
        now = monotonic()
        known = self._known.get(where)
        if known is not None and known.tenant == tenant:
            if now < known.sure_until:
                return
            if now - known.told < REPEAT_SECONDS and self._look(known.name) in {tenant, None}:
                known.sure_until = now + SURE_SECONDS
                return
        name = known.name if known else _name(where)
        self._tell(name, tenant)
        self._known[where] = _Known(name, tenant, now, now + SURE_SECONDS)
        self._known.move_to_end(where)
        if len(self._known) > MOST_HINTS:
            self._known.popitem(last=False)

    def _look(self, name: bytes) -> str | None:
        """What is told about it; empty for nothing, and None when nobody can be asked."""
        chronicle = self._ready()
        if chronicle is None:
            return None
        try:
            return (chronicle.get(name) or b"").decode(errors="replace")
        except OSError as error:
            self._give_up(error)
            return None

    def _tell(self, name: bytes, tenant: str) -> None:
        chronicle = self._ready()
        if chronicle is not None:
            try:
                chronicle.put(name, tenant.encode(errors="replace"))
            except OSError as error:
                self._give_up(error)

    def _ready(self) -> Chronicle | None:
        if self._chronicle is not None and not self._prepared:
            try:
                self._chronicle.prepare()
                # Once for each process is often enough: it takes few words to say all hints.
                self._chronicle.sweep()
                self._prepared = True
            except OSError as error:
                self._give_up(error)
        return self._chronicle

    def _give_up(self, error: OSError) -> None:
        self._chronicle = None
        fields = {"why": error.strerror or str(error)}
        _log.warning("hints only in memory", extra={"fields": fields})


def _name(where: _Where) -> bytes:
    extension, digest = where
    return blake2b(f"{digest.hex}{extension}".encode(errors="replace"), digest_size=20).digest()
