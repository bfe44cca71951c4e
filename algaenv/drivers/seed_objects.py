"""Makes objects of the store from directories of the author's."""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algaenv.bundle.value import replace
from algaenv.drivers.database.seed_marks import (
    SeedMark,
    delete_mark,
    differs,
    read_mark,
    write_mark,
)
from algaenv.drivers.database.session import DatabaseSession
from algaenv.drivers.object_store import (
    TRANSFER_SECONDS,
    Bucket,
    Buckets,
    StoredObject,
    StoreEndpoint,
)
from algaenv.drivers.retry import retry_unavailable
from algaenv.model.content import ObjectSeedSpec
from algaenv.model.kind import Address
from algaenv.model.problem import Conflict, Failed, Problem
from algaenv.model.resource import Present, Resource, spec_as
from algaenv.reconcile.protocols import OnProgress

Listing = Mapping[str, StoredObject]
"""Key → object."""


class ObjectSeedDriver:
    """Uploads the files of a directory. Its mark names what it makes before it makes anything."""

    def __init__(self, store: StoreEndpoint, database: DatabaseSession, buckets: Buckets) -> None:
        self._store = store
        self._database = database
        self._buckets = buckets

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Upload what is new, changed or lost, and remove what the directory holds no more.

        Raises Conflict (`seed-foreign`) for objects that something else has made.
        """
        retry_unavailable(lambda: self._apply(resource, on_progress), on_progress)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """The same."""
        self.create(resource, on_progress)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Remove the objects that it has made."""

        def remove() -> None:
            with self._database.transaction() as connection:
                mark = read_mark(connection, address)
            if mark is None:
                return
            bucket, prefix = self._place(address)
            for path in mark.made:
                bucket.delete(prefix + path)
            with self._database.transaction() as connection:
                delete_mark(connection, address)

        retry_unavailable(remove, on_progress)

    def _place(self, address: Address) -> tuple[Bucket, str]:
        name, _, prefix = address.name.partition("/")
        return self._buckets.get(self._store, name, TRANSFER_SECONDS), prefix

    def _apply(self, resource: Resource, on_progress: OnProgress) -> None:
        body = spec_as(resource, ObjectSeedSpec)
        bucket, prefix = self._place(resource.address)
        there = {it.key: it for it in bucket.list(prefix) or ()}
        with self._database.transaction() as connection:
            mark = read_mark(connection, resource.address)
            made: dict[str, Any] = dict(mark.made) if mark is not None else {}
            _refuse_foreign(body, there, made)
            todo = [it for it in body.files if _is_stale(body, it, mark, there)]
            pending = SeedMark(
                resource.address,
                resource.fingerprint,
                resource.inputs,
                {**{path: {} for path in todo}, **made},
                finished=False,
            )
            write_mark(connection, pending)
        for number, path in enumerate(todo, 1):
            on_progress(f"uploading {number} of {len(todo)}: {path}")
            made[path] = _upload(bucket, body, path)
        for path in sorted(set(made) - set(body.files)):
            bucket.delete(prefix + path)
            del made[path]
        with self._database.transaction() as connection:
            write_mark(connection, replace(pending, made=made, finished=True))


def _is_stale(body: ObjectSeedSpec, path: str, mark: SeedMark | None, there: Listing) -> bool:
    if mark is None or not mark.finished or path not in mark.made:
        return True
    digest = body.files[path]
    recorded = str(mark.inputs.get(f"objects.{path}"))
    found = there.get(body.prefix + path)
    return not digest.startswith(recorded) or found is None or differs(found, mark.made[path])


def _refuse_foreign(body: ObjectSeedSpec, there: Listing, made: Mapping[str, Any]) -> None:
    """What is there with the same bytes is taken."""
    foreign = [
        path
        for path in body.files
        if path not in made
        and (found := there.get(body.prefix + path)) is not None
        and not found.md5_matches(Path(body.source, path))
    ]
    if foreign:
        raise Conflict(
            *(
                Problem(
                    "seed-foreign",
                    f"cannot seed the object {body.prefix}{path} of the bucket {body.bucket}:"
                    " another one is there, which this environment has not made",
                    "remove it, or choose another prefix",
                )
                for path in foreign
            )
        )


def _upload(bucket: Bucket, body: ObjectSeedSpec, path: str) -> dict[str, Any]:
    try:
        content = Path(body.source, path).read_bytes()
    except OSError as error:
        raise _changed(body, path, error.strerror or str(error)) from error
    if hashlib.sha256(content).hexdigest() != body.files[path]:
        raise _changed(body, path, "it has just changed")
    bucket.write(body.prefix + path, content)
    return {"size": len(content), "md5": hashlib.md5(content, usedforsecurity=False).hexdigest()}


def _changed(body: ObjectSeedSpec, path: str, reason: str) -> Failed:
    return Failed(
        Problem(
            "seed-changed",
            f"cannot upload {path} of {body.source}: {reason}",
            "run `algaenv up` again, which reads it anew",
        )
    )
