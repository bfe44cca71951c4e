"""Saves the store and the database of a lock as a snapshot, and puts one back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from algaenv.drivers.database.session import DatabaseSession
from algaenv.drivers.object_store import Bucket, Buckets, StoreEndpoint
from algaenv.drivers.snapshots.database import RunBeside, SnapshotDatabase
from algaenv.drivers.snapshots.directory import (
    DUMP,
    OBJECTS,
    SnapshotDirectory,
    SnapshotManifest,
    new_file,
    unfinished,
)
from algaenv.drivers.snapshots.objects import SnapshotObjects
from algaenv.model.lock import Lock
from algaenv.model.problem import AlgaenvError, Problem, Refused
from algaenv.model.stored_snapshot import StoredSnapshot
from algaenv.reconcile.protocols import OnProgress


class StoreAndDatabaseSnapshots:
    """The store and the managed database of one lock; the caller holds its environment."""

    def __init__(
        self, lock: Lock, runtime: str, run_beside: RunBeside, environ: Mapping[str, str]
    ) -> None:
        store = StoreEndpoint(
            endpoint=lock.urls.store,
            access_key=lock.credentials.access_key,
            secret_key=lock.credentials.secret_key,
            region=lock.intent.store.region,
        )
        self._runtime = runtime
        self._store = store
        self._buckets = lock.intent.store.buckets
        self._directory = SnapshotDirectory(lock.environment)
        self._database = SnapshotDatabase(DatabaseSession.of(lock), run_beside, environ)
        self._objects = SnapshotObjects(store, Buckets())

    def save(self, name: str, on_progress: OnProgress, *, replace: bool) -> StoredSnapshot:
        """Save one. The database is that of one moment, before the objects are listed.

        Raises Refused (`snapshot-exists`, `restore-unfinished`) and Failed; nothing is left then.
        """
        if restoring := self._directory.restoring():
            raise Refused(unfinished(restoring))
        if not replace:
            self._directory.refuse_existing(name)
        created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        major = self._database.major()
        with self._directory.saving(name) as directory:
            on_progress("copying the database")
            with new_file(directory / DUMP) as dump:
                self._database.dump(dump, on_progress)
            on_progress("copying the objects")
            with new_file(directory / OBJECTS) as archive:
                objects = self._objects.save(self._buckets, archive, on_progress)
            digests = {DUMP: dump.sha256, OBJECTS: archive.sha256}
            size = sum(it.size for it in objects)
            stored = StoredSnapshot(
                name, created, self._runtime, major, dump.size, len(objects), size
            )
            manifest = SnapshotManifest(stored, self._buckets, objects, digests)
            self._directory.write(directory, manifest)
        return stored

    def restore(self, name: str, on_progress: OnProgress) -> StoredSnapshot:
        """Put one back: everything is checked and the database prepared before anything changes.

        A run that is killed after that is gone on with by the next one. Raises Refused
        (`snapshot-unknown`, `snapshot-incompatible`, `restore-unfinished`) and Failed.
        """
        manifest = self._directory.read(name)
        on_progress("verifying the snapshot")
        self._directory.verify(manifest)
        self._refuse_newer(manifest.stored)
        source = self._directory.path(name)
        on_progress("restoring the database beside the one in use")
        try:
            self._database.prepare(source / DUMP)
        except BaseException:
            with suppress(AlgaenvError):
                self._database.discard()
            raise
        self._directory.begin_restore(name, on_progress)
        buckets = tuple(dict.fromkeys((*self._buckets, *manifest.buckets)))
        self._make_buckets(manifest.buckets)
        self._objects.put_back(source / OBJECTS, manifest.objects, on_progress)
        self._database.replace()
        self._objects.remove_others(buckets, manifest.objects)
        self._directory.end_restore()
        self._database.discard()
        return manifest.stored

    def _refuse_newer(self, stored: StoredSnapshot) -> None:
        major = self._database.major()
        if stored.postgres > major:
            raise Refused(
                Problem(
                    "snapshot-incompatible",
                    f"cannot restore the snapshot {stored.name}: it is of PostgreSQL"
                    f" {stored.postgres}, and this environment has {major}",
                    f"write `database: {{version: {stored.postgres}}}` into the spec",
                )
            )

    def _make_buckets(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self._buckets:
                Bucket(self._store, name).create()
