"""Makes and removes buckets. The one place for boto3, which is slow to import."""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from algaenv.drivers.resource_spec import spec_as
from algaenv.drivers.retry import retry_unavailable
from algaenv.drivers.store.objects import StoreEndpoint, store_error
from algaenv.model.address import Address
from algaenv.model.content import BucketSpec
from algaenv.model.problem import Conflict, Problem
from algaenv.model.resource import Present, Resource
from algaenv.reconcile.protocols import OnProgress

SECONDS = 10
_ALREADY = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}


class BucketDriver:
    """Buckets of our own store: one that is there already is ours."""

    def __init__(self, store: StoreEndpoint) -> None:
        self._store = store

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Make it, unless it is there."""
        name = spec_as(resource, BucketSpec).bucket

        def make() -> None:
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
                connect_timeout=SECONDS,
                read_timeout=SECONDS,
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
