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
from algaenv.runner.bundle_cache import BundleCache, CachedBundle, HashMismatch, is_ready
from algaenv.runner.bundle_store import StoreError
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
    not_modified_headers: Mapping[str, str]
    ok: Response | None = field(init=False)
    """The response for a file in memory, the same for every request."""

    def __post_init__(self) -> None:
        respond = None if self.body is None else self._response(self.body, IMMUTABLE)
        object.__setattr__(self, "ok", respond)

    @classmethod
    def read(cls, file: Path, *, policy: str, max_bytes: int | None) -> Asset:
        """Read and hash a file once. Blocks. Raises OSError, AssetTooLarge."""
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            if max_bytes is not None and size > max_bytes:
                raise AssetTooLarge
            body = opened.read() if size <= IN_MEMORY_BYTES else None
            sha256 = hashlib.file_digest(opened, "sha256") if body is None else hashlib.sha256(body)
        content_type = media_type(file.name)
        etag = f'"sha256-{sha256.hexdigest()}"'
        page = {"content-security-policy": policy} if content_type.startswith(HTML) else {}
        return cls(
            file,
            size,
            etag,
            body,
            headers={
                "content-type": content_type,
                "etag": etag,
                "x-content-type-options": "nosniff",
            }
            | page,
            not_modified_headers={"etag": etag} | page,
        )

    @property
    def memory_bytes(self) -> int:
        """Bytes this takes in memory, about."""
        return 2048 + (0 if self.body is None else len(self.body))

    def matches(self, if_none_match: str | None) -> bool:
        """Whether the client has this very file: `*`, or the exact tag in its list."""
        if not if_none_match:
            return False
        tags = [tag.strip() for tag in if_none_match.split(",")]
        return self.etag in tags or "*" in tags

    def not_modified(self, *, cache_control: str) -> Response:
        """The response to a client that has it."""
        headers = {"cache-control": cache_control, **self.not_modified_headers}
        return Response(status_code=304, headers=headers)

    async def respond(self, *, cache_control: str, head_only: bool) -> Response:
        """The response to any other client. Raises OSError when the file is gone."""
        if self.ok is not None and cache_control == IMMUTABLE:
            return self.ok
        if self.body is not None:
            return self._response(self.body, cache_control)
        opened = await asyncio.to_thread(self.file.open, "rb")
        if head_only:
            opened.close()
            return self._response(b"", cache_control)
        headers = self._headers(cache_control)
        return StreamingResponse(_chunks(opened), headers=headers)

    def _response(self, body: bytes, cache_control: str) -> Response:
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
        self._bytes_left = max_bytes
        self._assets: OrderedDict[_Key, Asset] = OrderedDict()
        self._single_flight: SingleFlight[_Key, Asset] = SingleFlight()

    def get(self, digest: Digest, path: str) -> Asset | None:
        """What is in memory, without looking anywhere else."""
        asset = self._assets.get((digest, path))
        if asset is not None:
            self._assets.move_to_end((digest, path))
        return asset

    async def load(self, digest: Digest, path: str, ui: Path) -> Asset:
        """Read `ui/path`, or take it from memory. Raises OSError, AssetTooLarge."""
        key = (digest, path)
        return self.get(*key) or await self._single_flight.join(key, lambda: self._read(key, ui))

    def remove(self, digest: Digest, path: str) -> None:
        """Drop an asset whose file is gone."""
        if asset := self._assets.pop((digest, path), None):
            self._bytes_left += asset.memory_bytes

    async def _read(self, key: _Key, ui: Path) -> Asset:
        file = ui / key[1]
        asset = await asyncio.to_thread(
            lambda: Asset.read(file, policy=self._policy, max_bytes=self._max_file_bytes)
        )
        self._assets[key] = asset
        self._bytes_left -= asset.memory_bytes
        while self._bytes_left < 0:
            _, oldest = self._assets.popitem(last=False)
            self._bytes_left += oldest.memory_bytes
        return asset


def resolve_path(ui: Path, path: str) -> str:
    """The file that answers for a clean path: itself, or the index where there is no such file."""
    return path if path and os.path.isfile(f"{ui}/{path}") else INDEX  # noqa: PTH113


_SUFFIXES = frozenset(SERVED)
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
"""Every control character there is, and the backslash."""


def clean_path(path: str) -> str | None:
    """Bring a decoded tail to `a/b/c` without empty segments; None when it is not allowed.

    The empty result stands for the root. Absolute paths, hidden names, `.` and `..`, control
    characters, backslashes and suffixes Alga's runner does not serve are refused; a name without
    a dot is always allowed.
    """
    if path.startswith("/") or _FORBIDDEN.search(path):
        return None
    segments = [segment for segment in path.split("/") if segment]
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
    """A request for a file of a bundle by an authorised client; `path` is as in the URL."""

    tenant: str
    extension: str
    digest: Digest
    path: str
    if_none_match: str | None
    head_only: bool


class _Evicted(Exception):
    """Another process let go of the bundle between finding it and reading from it."""


class AssetDelivery:
    """Takes files from memory, else from disk, else from the store."""

    def __init__(self, cache: BundleCache, asset_cache: AssetCache) -> None:
        self._cache = cache
        self._asset_cache = asset_cache

    async def handle(self, request: AssetRequest, entry: RequestLogEntry) -> Response:
        """Answer with the file, the index, or what went wrong, and note it on the line."""
        path = clean_path(request.path)
        asset = self._asset_cache.get(request.digest, path) if path else None
        if path and asset:
            self._cache.touch(request.digest)
            entry.cache = "hit"
            try:
                return await _asset_response(asset, request, cache_control=IMMUTABLE)
            except OSError:
                self._asset_cache.remove(request.digest, path)
        for _ in range(_ATTEMPTS):
            with suppress(_Evicted), self._cache.pin(request.digest):
                return await self._from_disk(request, path, entry)
        entry.reason = "the cache is emptied faster than it is read"
        return json_response(500, {"code": "extract_failed"})

    async def _from_disk(
        self, request: AssetRequest, path: str | None, entry: RequestLogEntry
    ) -> Response:
        bundle = await self._ensure_bundle(request, entry)
        if isinstance(bundle, Response):
            return bundle
        if path is None:
            return text_response(400, "invalid path")
        resolved = resolve_path(bundle.ui, path)
        if resolved != path:
            entry.cache = "spa-fallback"
        try:
            asset = await self._asset_cache.load(request.digest, resolved, bundle.ui)
            return await _asset_response(
                asset, request, cache_control=IMMUTABLE if resolved == path else NO_STORE
            )
        except AssetTooLarge:
            return text_response(413, "asset too large")
        except OSError as error:
            self._asset_cache.remove(request.digest, resolved)
            if not is_ready(bundle.folder):
                raise _Evicted from error
            entry.reason = f"file not readable: {error.strerror}"
            return empty_response(404 if isinstance(error, FileNotFoundError) else 500)

    async def _ensure_bundle(
        self, request: AssetRequest, entry: RequestLogEntry
    ) -> CachedBundle | Response:
        try:
            bundle = await self._cache.ensure(request.tenant, request.extension, request.digest)
        except HashMismatch as mismatch:
            fields = {"expected": request.digest.hex, "computed": mismatch.computed.hex}
            _log.error("HASH_MISMATCH", extra={"fields": fields})
            entry.reason = "archive hash mismatch"
            return json_response(502, {"code": "archive_hash_mismatch"})
        except StoreError as error:
            entry.reason = f"store: {error}"
        except ArchiveError as error:
            entry.reason = f"archive: {error.code}"
        except OSError as error:
            entry.reason = f"cache: {error.strerror}"
        else:
            entry.cache = "miss" if bundle.fetched else "hit"
            return bundle
        return json_response(500, {"code": "extract_failed"})


async def _asset_response(asset: Asset, request: AssetRequest, *, cache_control: str) -> Response:
    """Raises OSError when the file is gone from the disk and was not kept in memory."""
    if asset.matches(request.if_none_match):
        return asset.not_modified(cache_control=cache_control)
    return await asset.respond(cache_control=cache_control, head_only=request.head_only)
