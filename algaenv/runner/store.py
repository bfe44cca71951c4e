"""What the runner asks of the store that holds bundles, and how the store may say no."""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator
from typing import Protocol

PROBE_SECONDS = 1.0
DOWNLOAD_SECONDS = 60.0
CONNECT_SECONDS = 5.0
CHUNK_BYTES = 256 * 1024


class StoreError(Exception):
    """No bundle came. The text says what was answered and never holds a URL or a key."""


class Reach(enum.StrEnum):
    """How far a question gets."""

    OK = "ok"
    REFUSED = "credentials_refused"
    NO_BUCKET = "bucket_missing"
    UNREACHABLE = "unreachable"


class Store(Protocol):
    """A place of objects; both kinds pass the same tests."""

    def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """Yield an object's bytes. Raises StoreError, also in the middle."""
        ...

    async def reach(self) -> Reach:
        """Ask the store, as the service itself would, within `PROBE_SECONDS`."""
        ...
