"""From a bundle's name to the answer that carries one of its files."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass

from starlette.responses import Response

from algaenv.bundle.diagnostics import ArchiveError
from algaenv.bundle.digest import Digest
from algaenv.runner.answers import document, empty, text
from algaenv.runner.asset import IMMUTABLE, NO_STORE, Asset, TooLarge
from algaenv.runner.cache import BundleCache, Held, is_ready
from algaenv.runner.fetch import HashMismatch
from algaenv.runner.journal import Line
from algaenv.runner.shelf import Shelf, choose
from algaenv.runner.store import StoreError
from algaenv.runner.tail import clean

_log = logging.getLogger(__name__)
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Order:
    """A file of a bundle, for somebody who may have it; `tail` is still as it was asked for."""

    tenant: str
    extension: str
    digest: Digest
    tail: str
    if_none_match: str | None
    bodiless: bool


class _Evicted(Exception):
    """Another process let go of the bundle between finding it and reading from it."""


class Delivery:
    """Takes files from memory, else from disk, else from the store."""

    def __init__(self, cache: BundleCache, shelf: Shelf) -> None:
        self._cache = cache
        self._shelf = shelf

    async def answer(self, order: Order, line: Line) -> Response:
        """Answer with the file, the index, or what went wrong, and note it on the line."""
        path = clean(order.tail)
        asset = self._shelf.get(order.digest, path) if path else None
        if path and asset:
            self._cache.used(order.digest)
            line.cache = "hit"
            line.asset = asset
            try:
                return await _file(asset, order, cache_control=IMMUTABLE)
            except OSError:
                self._shelf.forget(order.digest, path)
        for _ in range(_TRIES):
            with suppress(_Evicted), self._cache.pinned(order.digest):
                return await self._from_disk(order, path, line)
        line.why = "the cache is emptied faster than it is read"
        return document(500, {"code": "extract_failed"})

    async def _from_disk(self, order: Order, path: str | None, line: Line) -> Response:
        held = await self._bundle(order, line)
        if isinstance(held, Response):
            return held
        if path is None:
            return text(400, "invalid path")
        chosen = choose(held.ui, path)
        if chosen != path:
            line.cache = "spa-fallback"
        try:
            asset = await self._shelf.load(order.digest, chosen, held.ui)
            return await _file(
                asset, order, cache_control=IMMUTABLE if chosen == path else NO_STORE
            )
        except TooLarge:
            return text(413, "asset too large")
        except OSError as error:
            self._shelf.forget(order.digest, chosen)
            if not is_ready(held.folder):
                raise _Evicted from error
            line.why = f"file not readable: {error.strerror}"
            return empty(404 if isinstance(error, FileNotFoundError) else 500)

    async def _bundle(self, order: Order, line: Line) -> Held | Response:
        try:
            held = await self._cache.ensure(order.tenant, order.extension, order.digest)
        except HashMismatch as mismatch:
            fields = {"expected": order.digest.hex, "computed": mismatch.computed.hex}
            _log.error("HASH_MISMATCH", extra={"fields": fields})
            line.why = "archive hash mismatch"
            return document(502, {"code": "archive_hash_mismatch"})
        except StoreError as error:
            line.why = f"store: {error}"
        except ArchiveError as error:
            line.why = f"archive: {error.code}"
        except OSError as error:
            line.why = f"cache: {error.strerror}"
        else:
            line.cache = "miss" if held.fetched else "hit"
            return held
        return document(500, {"code": "extract_failed"})


async def _file(asset: Asset, order: Order, *, cache_control: str) -> Response:
    """Raises OSError when the file is gone from the disk and was not kept in memory."""
    if asset.is_known(order.if_none_match):
        return asset.unchanged(cache_control=cache_control)
    return await asset.whole(cache_control=cache_control, bodiless=order.bodiless)
