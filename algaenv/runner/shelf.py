"""Files of pages kept in memory, the ones used last, so that most requests touch no disk."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from pathlib import Path

from algaenv.bundle.digest import Digest
from algaenv.runner.asset import Asset
from algaenv.runner.flight import Flights

INDEX = "index.html"
SHELF_BYTES = 64 * 1024 * 1024
_WHERE = tuple[Digest, str]


class Shelf:
    """Assets by bundle and clean path, at most about `max_bytes` of them."""

    def __init__(
        self, *, policy: str, max_file_bytes: int | None, max_bytes: int = SHELF_BYTES
    ) -> None:
        self._policy = policy
        self._max_file_bytes = max_file_bytes
        self._left = max_bytes
        self._assets: OrderedDict[_WHERE, Asset] = OrderedDict()
        self._flights: Flights[_WHERE, Asset] = Flights()

    def get(self, digest: Digest, path: str) -> Asset | None:
        """What is in memory, without looking anywhere else."""
        asset = self._assets.get((digest, path))
        if asset is not None:
            self._assets.move_to_end((digest, path))
        return asset

    async def load(self, digest: Digest, path: str, ui: Path) -> Asset:
        """Read `ui/path`, or take it from memory. Raises OSError, TooLarge."""
        where = (digest, path)
        return self.get(*where) or await self._flights.join(where, lambda: self._read(where, ui))

    def forget(self, digest: Digest, path: str) -> None:
        """Drop an asset whose file is gone."""
        if asset := self._assets.pop((digest, path), None):
            self._left += asset.weight

    async def _read(self, where: _WHERE, ui: Path) -> Asset:
        file = ui / where[1]
        asset = await asyncio.to_thread(
            lambda: Asset.read(file, policy=self._policy, max_bytes=self._max_file_bytes)
        )
        self._assets[where] = asset
        self._left -= asset.weight
        while self._left < 0:
            _, oldest = self._assets.popitem(last=False)
            self._left += oldest.weight
        return asset


def choose(ui: Path, path: str) -> str:
    """The file that answers for a clean path: itself, or the index where there is no such file."""
    return path if path and os.path.isfile(f"{ui}/{path}") else INDEX  # noqa: PTH113
