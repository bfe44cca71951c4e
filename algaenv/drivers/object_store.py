"""Objects of the store: list, ask, put, read back, delete, over S3 with signed requests.

Nothing here depends on an object's metadata, since some stores forget it. The environment's own
AWS and proxy settings play no part: the store is ours and stands on this machine.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from algaenv.bundle.layout import BUNDLE_FILE, BundleKey, extension_prefix, parse_bundle_key
from algaenv.bundle.value import dataclass
from algaenv.drivers.store_errors import parse_error, store_error
from algaenv.model.problem import Refused
from algaenv.model.secret import Secret

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Store

READ_SECONDS = 5.0
TRANSFER_SECONDS = 120.0
"""For one request, its body included."""
CHUNK = 1024 * 1024

_PLAIN_MD5 = re.compile(r"[0-9a-f]{32}")


def handle_of(bucket: str, key: str) -> str:
    """How an observation names an object."""
    return f"{bucket}/{key}"


def marks_prefix(environment: str) -> str:
    """Begin of the keys of an environment's marks."""
    return f"algaenv/{environment}/"


def mark_key(environment: str, key: BundleKey) -> str:
    """Key of the empty object that says: this environment uploaded the bundle `key`.

    Written beside an external database only. Other tools may upload to the same tenant there before
    they write a row, so an object without a row is not ours for that reason alone.
    """
    return f"{marks_prefix(environment)}{key.tenant}/{key.registry}/{key.digest.hex}"


def parse_mark_key(environment: str, key: str) -> BundleKey | None:
    """The bundle that a mark speaks of; None for what is no mark of this environment."""
    parts = key.removeprefix(marks_prefix(environment)).split("/")
    if len(parts) != 3:
        return None
    tenant, registry, digest = parts
    return parse_bundle_key(f"{extension_prefix(tenant, registry)}sha256/{digest}/{BUNDLE_FILE}")


@dataclass(frozen=True, slots=True)
class StoreEndpoint:
    """Where the object store is. `endpoint` is an http URL without a path."""

    endpoint: str
    access_key: Secret
    secret_key: Secret
    region: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object. `modified` is UTC in a form that sorts as text; `etag` has no quotes."""

    key: str
    size: int
    etag: str
    modified: str

    def md5_matches(self, archive: Path) -> bool:
        """Whether the ETag proves that these are the bytes of `archive`."""
        return self._compare_md5(archive, equal=True)

    def md5_differs(self, archive: Path) -> bool:
        """Whether the ETag proves that these are not the bytes of `archive`."""
        return self._compare_md5(archive, equal=False)

    def _compare_md5(self, archive: Path, *, equal: bool) -> bool:
        """Only an ETag that is a plain MD5 proves anything, and only beside a file."""
        if not _PLAIN_MD5.fullmatch(self.etag) or not archive.is_file():
            return False
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        return (digest.hexdigest() == self.etag) is equal


class Bucket:
    """The objects of one bucket. Every method raises Unavailable, Refused or Failed."""

    def __init__(self, store: StoreEndpoint, name: str, seconds: float = READ_SECONDS) -> None:
        self.store = store
        self.name = name
        self._seconds = seconds
        self._client: S3Store | None = None

    def list(self, prefix: str) -> tuple[StoredObject, ...] | None:
        """What there is below `prefix`, which ends with a slash; None without the bucket.

        One request for each thousand objects.
        """
        import obstore

        try:
            with self._translate_errors("list objects"):
                pages = obstore.list(self._s3(), prefix)
                return tuple(_stored_object(each) for page in pages for each in page)
        except Refused as error:
            if error.problem.code == "bucket-missing":
                return None
            raise

    def head(self, key: str) -> StoredObject | None:
        """One object; None when it, or the whole bucket, is not there."""
        import obstore

        with self._translate_errors("ask for an object"):
            try:
                return _stored_object(obstore.head(self._s3(), key))
            except FileNotFoundError:
                return None

    def put(self, key: str, archive: Path) -> None:
        """Upload a file in one request: whole or not at all. Raises OSError if it is unreadable."""
        self.write(key, archive.read_bytes())

    def write(self, key: str, content: bytes) -> None:
        """Make an object of these bytes, in one request."""
        import obstore

        with self._translate_errors("upload an object"):
            obstore.put(
                self._s3(),
                key,
                content,
                attributes={"Content-Type": "application/octet-stream"},
                use_multipart=False,
            )

    def write_parts(self, key: str, content: Iterator[bytes]) -> None:
        """Make an object of these pieces, uploaded in parts: little of it is in memory at once."""
        import obstore

        with self._translate_errors("upload an object"):
            obstore.put(
                self._s3(),
                key,
                content,
                attributes={"Content-Type": "application/octet-stream"},
                use_multipart=True,
                max_concurrency=2,
            )

    def read(self, key: str, take: Callable[[bytes], object]) -> int | None:
        """Hand what the store gives back to `take`, in pieces; its size, None for nothing."""
        import obstore

        size = 0
        with self._translate_errors("read an object back"):
            try:
                answer = obstore.get(self._s3(), key)
            except FileNotFoundError:
                return None
            for chunk in map(bytes, answer.stream(min_chunk_size=CHUNK)):
                take(chunk)
                size += len(chunk)
            return size

    def digest(self, key: str) -> tuple[str, int] | None:
        """SHA-256 (lower hex) and size of what the store gives back; None when it has nothing."""
        found = hashlib.sha256()
        size = self.read(key, found.update)
        return None if size is None else (found.hexdigest(), size)

    def create(self) -> bool:
        """Make the bucket; False for any answer but success.

        The request is signed by obstore, which has no call for it. Raises Unavailable when there is
        no answer in time: to ask again in another way would only wait once more.
        """
        import obstore

        from algaenv.system.plain_http import PlainConnection, PlainRequest, TcpAddress, whole_body

        try:
            url = urlsplit(obstore.sign(self._s3(), "PUT", "", timedelta(minutes=1)))
            if url.scheme != "http":
                return False
            connection = PlainConnection(TcpAddress(url.hostname or "", url.port or 80))
            request = PlainRequest("PUT", f"{url.path}?{url.query}", b"")
            head, _ = connection.exchange_within(request, whole_body, seconds=self._seconds)
        except TimeoutError as error:
            reason = type(error).__name__
            raise store_error(
                "", reason, "make a bucket", self.name, self.store.endpoint
            ) from error
        except Exception:  # Whatever it was, the caller asks again and reports what it meets.
            return False
        connection.close()
        return head.status == 200

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there counts as removed."""
        import obstore

        try:
            with self._translate_errors("delete an object"):
                obstore.delete(self._s3(), [key])
        except Refused as error:
            if error.problem.code != "bucket-missing":
                raise

    def _s3(self) -> S3Store:
        if self._client is None:
            from obstore.store import S3Store

            store, limit = self.store, timedelta(seconds=self._seconds)
            self._client = S3Store(
                self.name,
                endpoint=store.endpoint,
                region=store.region,
                **self._keys(),
                skip_signature=False,
                virtual_hosted_style_request=False,
                client_options={
                    "allow_http": True,
                    "timeout": limit,
                    "connect_timeout": timedelta(seconds=2),
                    # Naming a proxy that is never used is the one way not to use HTTP_PROXY.
                    "proxy_url": "http://127.0.0.1:9",
                    "proxy_excludes": "127.0.0.1,localhost",
                },
                retry_config={"max_retries": 0, "retry_timeout": limit},
            )
        return self._client

    def _keys(self) -> dict[str, Any]:
        keys = {
            "access_key_id": self.store.access_key.reveal(),
            "secret_access_key": self.store.secret_key.reveal(),
        }
        # Keys given as values are mixed with AWS_SESSION_TOKEN; from a provider they stand. To call
        # one, obstore imports `inspect`, which takes as long as the listing itself.
        if "AWS_SESSION_TOKEN" not in os.environ and "AWS_TOKEN" not in os.environ:
            return keys
        return {"credential_provider": lambda: {**keys, "token": None, "expires_at": None}}

    @contextmanager
    def _translate_errors(self, action: str) -> Iterator[None]:
        import obstore.exceptions

        try:
            yield
        except (obstore.exceptions.BaseError, OSError) as error:
            code, reason = parse_error(str(error))
            raise store_error(code, reason, action, self.name, self.store.endpoint) from error


class Buckets:
    """The buckets that were asked for, each with its client: making one takes ten milliseconds."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Bucket] = {}

    def get(self, store: StoreEndpoint, name: str, seconds: float = READ_SECONDS) -> Bucket:
        """The bucket, made when it is asked for first. For several threads."""
        keys = (store.access_key.reveal(), store.secret_key.reveal())
        key = (store.endpoint, store.region, *keys, name, str(seconds))
        return self._known.setdefault(key, Bucket(store, name, seconds))


def _stored_object(meta: ObjectMeta) -> StoredObject:
    return StoredObject(
        key=meta["path"],
        size=meta["size"],
        etag=(meta["e_tag"] or "").strip('"'),
        modified=meta["last_modified"].strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    )
