"""Drivers of what lies in the object store: buckets and bundles.

Buckets are the one place for boto3, which is slow to import: it removes them, and makes one where a
plain request did not. Bundles are uploaded, verified, and deleted with their rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import BundleKey, parse_bundle_key
from algaenv.drivers.database import deletes
from algaenv.drivers.database.session import DatabaseSession
from algaenv.drivers.object_store import (
    TRANSFER_SECONDS,
    Bucket,
    Buckets,
    StoredObject,
    StoreEndpoint,
    mark_key,
)
from algaenv.drivers.retry import retry_unavailable
from algaenv.drivers.store_errors import store_error
from algaenv.model.content import BucketSpec, BundleSpec
from algaenv.model.kind import Address
from algaenv.model.problem import Conflict, Failed, Problem
from algaenv.model.resource import Present, Resource, spec_as
from algaenv.reconcile.protocols import OnProgress

# ruff: noqa: ARG002 - the signatures are the protocol's


BUCKET_SECONDS = 10
_ALREADY = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}


class BucketDriver:
    """Buckets of our own store: one that is there already is ours."""

    def __init__(self, store: StoreEndpoint) -> None:
        self._store = store

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Make it, unless it is there."""
        name = spec_as(resource, BucketSpec).bucket

        def make() -> None:
            if Bucket(self._store, name, BUCKET_SECONDS).create():
                return
            with self._translate_errors("make a bucket", name, fine=_ALREADY):
                self._client().create_bucket(Bucket=name)

        retry_unavailable(make, on_progress)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """Nothing about a bucket can change; make sure that it is there."""
        self.create(resource, on_progress)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Remove it when it is empty; raises Conflict when it is not."""
        name = seen.handle or address.name

        def remove() -> None:
            with self._translate_errors("remove a bucket", name, fine={"NoSuchBucket"}):
                self._client().delete_bucket(Bucket=name)

        retry_unavailable(remove, on_progress)

    def _client(self) -> Any:
        import boto3
        import botocore.session
        from botocore.config import Config

        # The author's own profile may name another endpoint, or not exist at all.
        unread = {
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
        session = boto3.session.Session(
            botocore_session=botocore.session.Session(session_vars=unread)
        )
        return session.client(
            "s3",
            endpoint_url=self._store.endpoint,
            region_name=self._store.region,
            aws_access_key_id=self._store.access_key.reveal(),
            aws_secret_access_key=self._store.secret_key.reveal(),
            config=Config(
                proxies={},
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
                connect_timeout=BUCKET_SECONDS,
                read_timeout=BUCKET_SECONDS,
            ),
        )

    @contextmanager
    def _translate_errors(self, action: str, bucket: str, fine: set[str]) -> Iterator[None]:
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            ConnectionError,
            HTTPClientError,
        )

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "")) or "an unnamed error"
            if code in fine:
                return
            if code == "BucketNotEmpty":
                raise Conflict(
                    Problem(
                        "bucket-not-empty",
                        f"cannot {action}: {bucket} still holds objects",
                        "remove them first, or take the whole store's data away with"
                        " `algaenv down --volumes`",
                    )
                ) from error
            raise store_error(code, "", action, bucket, self._store.endpoint) from error
        except (HTTPClientError, ConnectionError) as error:
            reason = type(error).__name__
            raise store_error("", reason, action, bucket, self._store.endpoint) from error
        except BotoCoreError as error:
            code = type(error).__name__
            raise store_error(code, "", action, bucket, self._store.endpoint) from error


class BundleDriver:
    """Bundle objects, for one environment. An object's key holds its digest."""

    def __init__(
        self,
        store: StoreEndpoint,
        database: DatabaseSession,
        environment: str,
        buckets: Buckets,
    ) -> None:
        self._store = store
        self._database = database
        self._environment = environment
        self._buckets = buckets

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Upload the archive unless it is there, then read it back.

        Raises Failed when the archive is gone or the store gives back other bytes.
        """
        body = spec_as(resource, BundleSpec)
        retry_unavailable(lambda: self._upload(body, on_progress), on_progress)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """The same: other bytes under this key are wrong bytes."""
        self.create(resource, on_progress)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Remove the rows of the build, then the object: the next snapshot shows what is left."""
        name, _, key = seen.handle.partition("/")
        parts = parse_bundle_key(key)
        mark = self._mark(parts)

        def remove() -> None:
            if parts is not None:
                with self._database.transaction() as connection:
                    deletes.delete_bundle(
                        connection,
                        parts.tenant,
                        parts.registry,
                        parts.digest.prefixed,
                        self._environment,
                        managed=self._database.managed,
                    )
            self._bucket(name).delete(key)
            if mark is not None:
                self._bucket(name).delete(mark)

        retry_unavailable(remove, on_progress)

    def _mark(self, key: BundleKey | None) -> str | None:
        if key is None or self._database.managed:
            return None
        return mark_key(self._environment, key)

    def _bucket(self, name: str) -> Bucket:
        """Shared by all steps, since a client keeps its connections."""
        return self._buckets.get(self._store, name, TRANSFER_SECONDS)

    def _upload(self, body: BundleSpec, on_progress: OnProgress) -> None:
        bucket, archive = self._bucket(body.bucket), Path(body.archive)
        mark = self._mark(parse_bundle_key(body.key))
        if mark is not None:
            # The mark comes first: by it a later run finds what a run that is killed here leaves.
            bucket.write(mark, b"")
        if not _is_uploaded(bucket.head(body.key), body, archive):
            on_progress(f"uploading {body.size} bytes")
            _check_archive(archive, body)
            bucket.put(body.key, archive)
        _verify_object(bucket, body)


def _is_uploaded(found: StoredObject | None, body: BundleSpec, archive: Path) -> bool:
    return found is not None and found.size == body.size and found.md5_matches(archive)


def _check_archive(archive: Path, body: BundleSpec) -> None:
    """Nothing but the bytes that the key names may ever get into the store."""
    try:
        digest = Digest.of_file(archive)
    except OSError as error:
        raise Failed(
            Problem(
                "archive-missing",
                f"cannot upload the bundle of {body.extension}: its archive cannot be read"
                f" ({error.strerror})",
                "run `algaenv up` again, which packs it anew",
            )
        ) from error
    if digest != body.digest:
        raise Failed(
            Problem(
                "archive-changed",
                f"cannot upload the bundle of {body.extension}: its archive should be"
                f" sha256:{body.digest.short} and is sha256:{digest.short}",
                f"remove {archive} and run `algaenv up` again, which packs it anew",
            )
        )


def _verify_object(bucket: Bucket, body: BundleSpec) -> None:
    """Read the object as the runner will; a store that mangles it must not go unnoticed."""
    received = bucket.digest(body.key)
    if received == (body.digest.hex, body.size):
        return
    shown = "nothing" if received is None else f"{received[1]} bytes sha256:{received[0][:12]}"
    raise Failed(
        Problem(
            "object-mismatch",
            f"cannot trust the object store: {body.bucket}/{body.key} should be {body.size} bytes"
            f" sha256:{body.digest.short}, and {shown} came back",
            "run `algaenv up` again; if it says the same, the store's disk or engine is at fault",
        )
    )
