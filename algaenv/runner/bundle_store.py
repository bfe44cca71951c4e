"""The object store that holds bundles: an S3 bucket, or any HTTP server.

With credentials, requests are signed by headers and not by URLs, so no address holds a signature.
Without them, objects are read by plain GET requests.
"""

from __future__ import annotations

import asyncio
import enum
import re
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import anyio

from algaenv.runner.outbound import Outbound
from algaenv.runner.settings import StoreLocation

if TYPE_CHECKING:
    from obstore.store import S3Store

    from algaenv.runner.outbound import Outbound


_FORBIDDEN = re.compile(r"[/\\\x00-\x1f\x7f-\x9f]")
_MAX_CHARS = 200


def is_key_segment(text: str) -> bool:
    """Whether a name is one whole segment of a key and nothing else."""
    return 0 < len(text) <= _MAX_CHARS and text not in {".", ".."} and not _FORBIDDEN.search(text)


PROBE_SECONDS = 1.0
DOWNLOAD_SECONDS = 60.0
CONNECT_SECONDS = 5.0
CHUNK_BYTES = 256 * 1024


class StoreError(Exception):
    """No bundle came. The text is the store's status and never holds a URL or a key."""


class StoreStatus(enum.StrEnum):
    """The result of a check of the store."""

    OK = "ok"
    REFUSED = "credentials_refused"
    NO_BUCKET = "bucket_missing"
    UNREACHABLE = "unreachable"


class Store(Protocol):
    """A place of objects; both kinds pass the same tests."""

    def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """Yield an object's bytes. Raises StoreError, also in the middle."""
        ...

    async def status(self) -> StoreStatus:
        """Ask the store, as the service itself would, within `PROBE_SECONDS`."""
        ...


_STATUS = re.compile(r"status code: (\d{3}(?: [A-Z][A-Za-z]*)*)")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_PROBE_PREFIX = ".algaenv-probe"
"""A prefix under which nothing is expected, so that listing it is cheap."""


class SignedStore:
    """Reads with the credentials of `location`, which must have some."""

    def __init__(self, location: StoreLocation) -> None:
        self._bucket = _open(location, retries=3, seconds=DOWNLOAD_SECONDS)
        self._probe_bucket = _open(location, retries=0, seconds=PROBE_SECONDS)

    async def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """Yield an object's bytes, resuming a download that was cut. Raises StoreError."""
        import obstore
        from obstore.exceptions import BaseError

        try:
            response = await obstore.get_async(self._bucket, key)
            async for chunk in response.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)
        except (BaseError, OSError, ValueError) as error:
            # The library's own text holds the address, the key and the store's whole response.
            raise StoreError(_error_text(error)) from None

    async def status(self) -> StoreStatus:
        """List an empty prefix: it tells wrong keys from a missing bucket and from silence.

        Keys that may read but not list are fine: their signature was accepted.
        """
        import obstore
        from obstore.exceptions import BaseError

        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await obstore.list_with_delimiter_async(self._probe_bucket, _PROBE_PREFIX)
        except (BaseError, OSError, ValueError) as error:
            return _status_of(str(error))
        return StoreStatus.OK


def _open(location: StoreLocation, *, retries: int, seconds: float) -> S3Store:
    from obstore.store import S3Store

    return S3Store(
        location.bucket,
        prefix=location.prefix or None,
        endpoint=location.endpoint,
        region=location.region,
        access_key_id=location.access_key,
        secret_access_key=location.secret_key,
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


def _error_text(error: Exception) -> str:
    if status := _STATUS.search(str(error)):
        return status[1]
    if isinstance(error, FileNotFoundError):
        return "404 Not Found"
    return "the key cannot be asked for" if isinstance(error, ValueError) else "no answer"


def _status_of(text: str) -> StoreStatus:
    code = _CODE.search(text)
    status = _STATUS.search(text)
    match code[1] if code else None, status[1][:3] if status else None:
        case "AccessDenied", _:
            return StoreStatus.OK
        case ("NoSuchBucket", _) | (_, "404"):
            return StoreStatus.NO_BUCKET
        case _, ("401" | "403" | "400"):
            return StoreStatus.REFUSED
        case _:
            return StoreStatus.UNREACHABLE


_SERVER_ERROR = 500


class UnsignedStore:
    """Reads `{base}/{key}` without credentials: a public bucket, or a file server."""

    def __init__(self, location: StoreLocation, outbound: Outbound) -> None:
        self._base = location.url
        self._outbound = outbound

    async def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """Yield an object's bytes, as they are on the wire. Raises StoreError."""
        import httpx

        client = await self._outbound.client()
        try:
            url = f"{self._base}/{quote(key, safe='/')}"
            async with client.stream("GET", url, follow_redirects=True) as response:
                if not response.is_success:
                    raise StoreError(f"{response.status_code} {response.reason_phrase}".strip())
                async for chunk in response.aiter_raw(CHUNK_BYTES):
                    yield chunk
        except (httpx.HTTPError, httpx.InvalidURL):
            # The library's own text may hold the address, and an address may hold a password.
            raise StoreError("no answer, or one that was cut short") from None

    async def status(self) -> StoreStatus:
        """Any response but a server error counts: a bucket may hide its root."""
        import httpx

        client = await self._outbound.client()
        try:
            with anyio.fail_after(PROBE_SECONDS):
                response = await client.head(self._base, follow_redirects=True)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return StoreStatus.UNREACHABLE
        return StoreStatus.UNREACHABLE if response.status_code >= _SERVER_ERROR else StoreStatus.OK


def open_store(location: StoreLocation, outbound: Outbound) -> Store:
    """Sign where credentials and a bucket are configured; ask plainly otherwise."""
    if location.signed:
        return SignedStore(location)

    return UnsignedStore(location, outbound)
