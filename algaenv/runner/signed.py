"""Bundles out of an S3 bucket, asked for with signed requests.

Signing headers instead of URLs leaves nothing to leak: no address holds a signature.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import TYPE_CHECKING

from algaenv.runner.source import Source
from algaenv.runner.store import (
    CHUNK_BYTES,
    CONNECT_SECONDS,
    DOWNLOAD_SECONDS,
    PROBE_SECONDS,
    Reach,
    StoreError,
)

if TYPE_CHECKING:
    from obstore.store import S3Store

_STATUS = re.compile(r"status code: (\d{3}(?: [A-Z][A-Za-z]*)*)")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_NOBODY = ".algaenv-probe"
"""A prefix under which nothing is expected, so that listing it is cheap."""


class SignedStore:
    """Reads with the credentials of `source`, which must have some."""

    def __init__(self, source: Source) -> None:
        self._bucket = _open(source, retries=3, seconds=DOWNLOAD_SECONDS)
        self._impatient = _open(source, retries=0, seconds=PROBE_SECONDS)

    async def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """Yield an object's bytes, resuming a download that was cut. Raises StoreError."""
        import obstore
        from obstore.exceptions import BaseError

        try:
            answer = await obstore.get_async(self._bucket, key)
            async for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)
        except (BaseError, OSError, ValueError) as error:
            # The library's own text holds the address, the key and the store's whole answer.
            raise StoreError(_answer(error)) from None

    async def reach(self) -> Reach:
        """List an empty prefix: it tells wrong keys from a missing bucket and from silence.

        Keys that may read but not list are fine: their signature was accepted.
        """
        import obstore
        from obstore.exceptions import BaseError

        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await obstore.list_with_delimiter_async(self._impatient, _NOBODY)
        except (BaseError, OSError, ValueError) as error:
            return _reach(str(error))
        return Reach.OK


def _open(source: Source, *, retries: int, seconds: float) -> S3Store:
    from obstore.store import S3Store

    return S3Store(
        source.bucket,
        prefix=source.prefix or None,
        endpoint=source.endpoint,
        region=source.region,
        access_key_id=source.access_key,
        secret_access_key=source.secret_key,
        virtual_hosted_style_request=False,
        client_options={
            "allow_http": True,
            "timeout": f"{seconds:g}s",
            "connect_timeout": f"{min(seconds, CONNECT_SECONDS):g}s",
        },
        retry_config={
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=10),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=2),
                "base": 2,
            },
        },
    )


def _answer(error: Exception) -> str:
    if status := _STATUS.search(str(error)):
        return status[1]
    if isinstance(error, FileNotFoundError):
        return "404 Not Found"
    return "the key cannot be asked for" if isinstance(error, ValueError) else "no answer"


def _reach(text: str) -> Reach:
    code = _CODE.search(text)
    status = _STATUS.search(text)
    match code[1] if code else None, status[1][:3] if status else None:
        case "AccessDenied", _:
            return Reach.OK
        case ("NoSuchBucket", _) | (_, "404"):
            return Reach.NO_BUCKET
        case _, ("401" | "403" | "400"):
            return Reach.REFUSED
        case _:
            return Reach.UNREACHABLE
