"""Who may ask: shared secrets, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

RUNNER_HEADER = "x-runner-auth"
KEY_HEADER = "x-api-key"


def first(candidates: Sequence[str]) -> str:
    """The first of these that is not blank; it alone counts. Empty when all are."""
    return next((it for it in candidates if it.strip()), "")


def shown(given: str | None, expected: str) -> bool:
    """Whether the caller has the secret; nobody has one that is not set."""
    if not given or not expected:
        return False
    return hmac.compare_digest(given.encode("latin-1", "replace"), expected.encode())
