"""One file of a page, with the answers to a request for it made in advance."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from starlette.responses import Response, StreamingResponse

from algaenv.runner.media import HTML, media_type

IMMUTABLE = "public, max-age=31536000, immutable"
NO_STORE = "no-store"
IN_MEMORY_BYTES = 1024 * 1024
"""Files up to here are kept whole; larger ones are read for each request."""
_STREAM_BYTES = 256 * 1024


class TooLarge(Exception):
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
                raise TooLarge
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
