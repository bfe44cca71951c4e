"""Static files of a bundle's pages: their media types, responses, cache and delivery.

A file is taken from memory, else from disk, else its bundle is fetched from the store. The files
used last stay in memory, so most requests touch no disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from starlette.responses import Response, StreamingResponse

from algaenv.bundle.diagnostics import ArchiveError
from algaenv.bundle.digest import Digest
from algaenv.bundle.names import SERVED
from algaenv.runner.bundles.cache import BundleCache, CachedBundle, HashMismatch, is_ready
from algaenv.runner.bundles.store import StoreError
from algaenv.runner.http import empty_response, json_response, text_response
from algaenv.runner.locks import SingleFlight
from algaenv.runner.observability.access_log import RequestLogEntry

HTML = "text/html"
UNKNOWN = "application/octet-stream"

_BY_SUFFIX = {
    "html": HTML,
    "js": "text/javascript",
    "css": "text/css",
    "json": "application/json",
    "map": "text/plain",
    "svg": "image/svg+xml",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "woff": "application/font-woff",
    "woff2": "font/woff2",
}


def media_type(name: str) -> str:
    """The type for a file name, without a charset."""
    _, dot, suffix = name.rpartition(".")
    return _BY_SUFFIX.get(suffix.lower(), UNKNOWN) if dot else UNKNOWN


IMMUTABLE = "public, max-age=31536000, immutable"
NO_STORE = "no-store"
IN_MEMORY_BYTES = 1024 * 1024
"""Files up to here are kept whole; larger ones are read for each request."""
_STREAM_BYTES = 256 * 1024


class AssetTooLarge(Exception):
    """The file is larger than this service serves."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that never changes, since the digest of its bundle is in its URL."""

    file: Path
    size: int
    etag: str
    body: bytes | None
    headers: Mapping[str, str]
    unchanged_headers: Mapping[str, str]
    ok: Response | None = field(init=False)
    """The answer for a file in memory, the same for every request."""

    def __post_init__(self) -> None:
        whole = None if self.body is None else self._with(self.body, IMMUTABLE)
        object.__setattr__(self, "ok", whole)

    @classmethod
    def read(cls, file: Path, *, policy: str, max_bytes: int | None) -> Asset:
        """Read and hash a file once. Blocks. Raises OSError, TooLarge."""
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            if max_bytes is not None and size > max_bytes:
                raise AssetTooLarge
            body = opened.read() if size <= IN_MEMORY_BYTES else None
            seen = hashlib.file_digest(opened, "sha256") if body is None else hashlib.sha256(body)
        kind = media_type(file.name)
        etag = f'"sha256-{seen.hexdigest()}"'
        page = {"content-security-policy": policy} if kind.startswith(HTML) else {}
        return cls(
            file,
            size,
            etag,
            body,
            headers={"content-type": kind, "etag": etag, "x-content-type-options": "nosniff"}
            | page,
            unchanged_headers={"etag": etag} | page,
        )

    @property
    def weight(self) -> int:
        """Bytes this takes in memory, about."""
        return 2048 + (0 if self.body is None else len(self.body))

    def is_known(self, if_none_match: str | None) -> bool:
        """Whether the client has this very file: `*`, or the exact tag in its list."""
        if not if_none_match:
            return False
        tags = [tag.strip() for tag in if_none_match.split(",")]
        return self.etag in tags or "*" in tags

    def unchanged(self, *, cache_control: str) -> Response:
        """The answer to a client that has it."""
        headers = {"cache-control": cache_control, **self.unchanged_headers}
        return Response(status_code=304, headers=headers)

    async def whole(self, *, cache_control: str, bodiless: bool) -> Response:
        """The answer to any other client. Raises OSError when the file is gone."""
        if self.ok is not None and cache_control == IMMUTABLE:
            return self.ok
        if self.body is not None:
            return self._with(self.body, cache_control)
        opened = await asyncio.to_thread(self.file.open, "rb")
        if bodiless:
            opened.close()
            return self._with(b"", cache_control)
        headers = self._headers(cache_control)
        return StreamingResponse(_chunks(opened), headers=headers)

    def _with(self, body: bytes, cache_control: str) -> Response:
        return Response(body, headers=self._headers(cache_control))

    def _headers(self, cache_control: str) -> dict[str, str]:
        length = {"content-length": str(self.size), "cache-control": cache_control}
        return {**self.headers, **length}


async def _chunks(opened: IO[bytes]) -> AsyncIterator[bytes]:
    with opened:
        while chunk := await asyncio.to_thread(opened.read, _STREAM_BYTES):
            yield chunk


INDEX = "index.html"
CACHE_BYTES = 64 * 1024 * 1024
_Key = tuple[Digest, str]


class AssetCache:
    """Assets by bundle and clean path, at most about `max_bytes` of them."""

    def __init__(
        self, *, policy: str, max_file_bytes: int | None, max_bytes: int = CACHE_BYTES
    ) -> None:
        self._policy = policy
        self._max_file_bytes = max_file_bytes
        self._left = max_bytes
        self._assets: OrderedDict[_Key, Asset] = OrderedDict()
        self._flights: SingleFlight[_Key, Asset] = SingleFlight()

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

    async def _read(self, where: _Key, ui: Path) -> Asset:
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


def resolve_path(ui: Path, path: str) -> str:
    """The file that answers for a clean path: itself, or the index where there is no such file."""
    return path if path and os.path.isfile(f"{ui}/{path}") else INDEX  # noqa: PTH113


_SUFFIXES = frozenset(SERVED)
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
"""Every control character there is, and the backslash."""


def clean_path(tail: str) -> str | None:
    """Bring a decoded tail to `a/b/c` without empty segments; None when it is not allowed.

    The empty result stands for the root. Absolute paths, hidden names, `.` and `..`, control
    characters, backslashes and suffixes Alga's runner does not serve are refused; a name without
    a dot is always allowed.
    """
    if tail.startswith("/") or _FORBIDDEN.search(tail):
        return None
    segments = [segment for segment in tail.split("/") if segment]
    if any(segment.startswith(".") for segment in segments):
        return None
    if segments:
        _, dot, suffix = segments[-1].rpartition(".")
        if dot and suffix.lower() not in _SUFFIXES:
            return None
    return "/".join(segments)


_log = logging.getLogger(__name__)
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class AssetRequest:
    """A file of a bundle, for somebody who may have it; `tail` is still as it was asked for."""

    tenant: str
    extension: str
    digest: Digest
    tail: str
    if_none_match: str | None
    bodiless: bool


class _Evicted(Exception):
    """Another process let go of the bundle between finding it and reading from it."""


class AssetDelivery:
    """Takes files from memory, else from disk, else from the store."""

    def __init__(self, cache: BundleCache, shelf: AssetCache) -> None:
        self._cache = cache
        self._shelf = shelf

    async def answer(self, order: AssetRequest, line: RequestLogEntry) -> Response:
        """Answer with the file, the index, or what went wrong, and note it on the line."""
        path = clean_path(order.tail)
        asset = self._shelf.get(order.digest, path) if path else None
        if path and asset:
            self._cache.used(order.digest)
            line.cache = "hit"
            line.asset = asset
            try:
                return await _asset_response(asset, order, cache_control=IMMUTABLE)
            except OSError:
                self._shelf.forget(order.digest, path)
        for _ in range(_ATTEMPTS):
            with suppress(_Evicted), self._cache.pinned(order.digest):
                return await self._from_disk(order, path, line)
        line.why = "the cache is emptied faster than it is read"
        return json_response(500, {"code": "extract_failed"})

    async def _from_disk(
        self, order: AssetRequest, path: str | None, line: RequestLogEntry
    ) -> Response:
        held = await self._bundle(order, line)
        if isinstance(held, Response):
            return held
        if path is None:
            return text_response(400, "invalid path")
        chosen = resolve_path(held.ui, path)
        if chosen != path:
            line.cache = "spa-fallback"
        try:
            asset = await self._shelf.load(order.digest, chosen, held.ui)
            return await _asset_response(
                asset, order, cache_control=IMMUTABLE if chosen == path else NO_STORE
            )
        except AssetTooLarge:
            return text_response(413, "asset too large")
        except OSError as error:
            self._shelf.forget(order.digest, chosen)
            if not is_ready(held.folder):
                raise _Evicted from error
            line.why = f"file not readable: {error.strerror}"
            return empty_response(404 if isinstance(error, FileNotFoundError) else 500)

    async def _bundle(self, order: AssetRequest, line: RequestLogEntry) -> CachedBundle | Response:
        try:
            held = await self._cache.ensure(order.tenant, order.extension, order.digest)
        except HashMismatch as mismatch:
            fields = {"expected": order.digest.hex, "computed": mismatch.computed.hex}
            _log.error("HASH_MISMATCH", extra={"fields": fields})
            line.why = "archive hash mismatch"
            return json_response(502, {"code": "archive_hash_mismatch"})
        except StoreError as error:
            line.why = f"store: {error}"
        except ArchiveError as error:
            line.why = f"archive: {error.code}"
        except OSError as error:
            line.why = f"cache: {error.strerror}"
        else:
            line.cache = "miss" if held.fetched else "hit"
            return held
        return json_response(500, {"code": "extract_failed"})


async def _asset_response(asset: Asset, order: AssetRequest, *, cache_control: str) -> Response:
    """Raises OSError when the file is gone from the disk and was not kept in memory."""
    if asset.is_known(order.if_none_match):
        return asset.unchanged(cache_control=cache_control)
    return await asset.whole(cache_control=cache_control, bodiless=order.bodiless)
