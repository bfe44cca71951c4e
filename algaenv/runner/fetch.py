"""From the store into a private file, hashed on the way."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import aclosing
from pathlib import Path

import anyio

from algaenv.bundle.digest import Digest
from algaenv.runner.store import DOWNLOAD_SECONDS, Store, StoreError


class HashMismatch(Exception):
    """The store holds other bytes under this digest."""

    def __init__(self, *, expected: Digest, computed: Digest) -> None:
        self.expected, self.computed = expected, computed
        super().__init__(f"archive hash mismatch: expected {expected.hex}, got {computed.hex}")


async def fetch(store: Store, key: str, digest: Digest, *, folder: Path, limit: int) -> Path:
    """Download an object of at most `limit` bytes that must have this digest.

    The file is readable by its owner only and stays in `folder` only when all went well.
    Raises StoreError, HashMismatch, OSError.
    """
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=f"{digest.hex}.", suffix=".tar.zst")
    try:
        computed = await _receive(store, key, descriptor, limit)
        if computed != digest:
            raise HashMismatch(expected=digest, computed=computed)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


async def _receive(store: Store, key: str, descriptor: int, limit: int) -> Digest:
    seen = hashlib.sha256()
    size = 0
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        try:
            with anyio.fail_after(DOWNLOAD_SECONDS):
                async with aclosing(store.read(key)) as chunks:
                    async for chunk in chunks:
                        size += len(chunk)
                        if size > limit:
                            raise StoreError(f"more than {limit} bytes")
                        seen.update(chunk)
                        file.write(chunk)
        except TimeoutError:
            raise StoreError(f"not complete within {DOWNLOAD_SECONDS:g} s") from None
    return Digest(seen.hexdigest())
