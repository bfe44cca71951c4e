"""The objects of a snapshot: a tar archive that is written and read piece by piece."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from algaenv.drivers.object_store import TRANSFER_SECONDS, Bucket, Buckets, StoreEndpoint
from algaenv.drivers.snapshots.directory import HashingFile, StoredObjectEntry
from algaenv.model.problem import Failed, Problem
from algaenv.reconcile.protocols import OnProgress

WHOLE_BYTES: Final = 16 * 1024 * 1024
"""Larger objects are uploaded in parts, so that none is in memory as a whole."""
_CHUNK: Final = 1024 * 1024
_REPORTED: Final = 100
"""Objects between two lines of progress."""


class SnapshotObjects:
    """The objects of the buckets of one store."""

    def __init__(self, store: StoreEndpoint, buckets: Buckets) -> None:
        self._store = store
        self._buckets = buckets

    def save(
        self, names: Sequence[str], out: HashingFile, on_progress: OnProgress
    ) -> tuple[StoredObjectEntry, ...]:
        """Write all objects of these buckets. Raises Failed (`snapshot-moving`) for one that
        changes meanwhile."""
        found = []
        listed = [(name, it) for name in names for it in self._bucket(name).list("") or ()]
        for number, (name, it) in enumerate(listed):
            if number and number % _REPORTED == 0:
                on_progress(f"objects: {number} of {len(listed)}")
            header = tarfile.TarInfo(f"{name}/{it.key}")
            header.size = it.size
            header.mode = 0o600
            out.write(header.tobuf(tarfile.PAX_FORMAT))
            digest = hashlib.md5(usedforsecurity=False)

            def take(piece: bytes, digest: hashlib._Hash = digest) -> None:
                digest.update(piece)
                out.write(piece)

            if self._bucket(name).read(it.key, take) != it.size:
                raise Failed(
                    Problem(
                        "snapshot-moving",
                        f"cannot copy the object {it.key} of the bucket {name}: it is being"
                        " changed or removed",
                        "run it again once nothing writes there",
                    )
                )
            out.write(bytes(-it.size % tarfile.BLOCKSIZE))
            found.append(StoredObjectEntry(name, it.key, it.size, digest.hexdigest()))
        out.write(bytes(2 * tarfile.BLOCKSIZE))
        return tuple(found)

    def put_back(
        self, archive: Path, objects: Sequence[StoredObjectEntry], on_progress: OnProgress
    ) -> None:
        """Upload what the store lacks, or has with other bytes."""
        there = {
            (name, it.key): it
            for name in sorted({it.bucket for it in objects})
            for it in self._bucket(name).list("") or ()
        }
        with tarfile.open(archive, "r|") as members:
            for number, (member, wanted) in enumerate(zip(members, objects, strict=True)):
                if number and number % _REPORTED == 0:
                    on_progress(f"objects: {number} of {len(objects)}")
                found = there.get((wanted.bucket, wanted.key))
                if found is not None and (found.size, found.etag) == (wanted.size, wanted.md5):
                    continue
                content = members.extractfile(member)
                assert content is not None  # noqa: S101 - only files were written
                bucket = self._bucket(wanted.bucket)
                if wanted.size <= WHOLE_BYTES:
                    bucket.write(wanted.key, content.read())
                else:
                    bucket.write_parts(wanted.key, _pieces(content))

    def remove_others(self, names: Sequence[str], objects: Sequence[StoredObjectEntry]) -> None:
        """Remove what the snapshot does not hold from these buckets."""
        kept = {(it.bucket, it.key) for it in objects}
        for name in names:
            for it in self._bucket(name).list("") or ():
                if (name, it.key) not in kept:
                    self._bucket(name).delete(it.key)

    def _bucket(self, name: str) -> Bucket:
        return self._buckets.get(self._store, name, TRANSFER_SECONDS)


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(_CHUNK):
        yield piece
