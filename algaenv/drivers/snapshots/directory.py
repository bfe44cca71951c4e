"""Where snapshots are kept: `.algaenv/<id>/snapshots/<name>`, 0700, each with a manifest.

    manifest.json    what it holds, and the SHA-256 of each file
    database.dump    of pg_dump, in its custom format
    store.tar        the objects, as `bucket/key`

A snapshot is written beside its place, and renamed: there is a whole one, or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from algaenv.bundle.value import dataclass
from algaenv.drivers.state.private_files import (
    make_private_directory,
    read_private,
    remove_path,
    translate_os_errors,
    write_private,
)
from algaenv.model.lock import Environment
from algaenv.model.problem import Failed, Problem, Refused
from algaenv.model.stored_snapshot import StoredSnapshot
from algaenv.reconcile.protocols import OnProgress
from algaenv.spec.diagnostics import suggestion

FORMAT: Final = 1
SNAPSHOTS: Final = "snapshots"
RESTORING: Final = "restoring"
"""Names the snapshot that is being put back, for as long as objects and rows may be mixed."""
DUMP: Final = "database.dump"
OBJECTS: Final = "store.tar"
_MANIFEST: Final = "manifest.json"
_TEMPORARY: Final = ".saving"
_CHUNK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredObjectEntry:
    """An object of a snapshot, in the order of its archive."""

    bucket: str
    key: str
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class SnapshotManifest:
    """`digests` maps each file to its SHA-256, lower hex."""

    stored: StoredSnapshot
    buckets: tuple[str, ...]
    objects: tuple[StoredObjectEntry, ...]
    digests: Mapping[str, str]


class HashingFile:
    """Writes to a file, and digests what is written."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes) -> int:
        """All of it."""
        self._digest.update(content)
        self.size += len(content)
        return self._stream.write(content)

    @property
    def sha256(self) -> str:
        """Of all that was written, lower hex."""
        return self._digest.hexdigest()


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[HashingFile]:
    """A new file, 0600, on the disk when the block ends. Raises Failed."""
    with translate_os_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            yield HashingFile(stream)
            stream.flush()
            os.fsync(descriptor)


class SnapshotDirectory:
    """The snapshots of one environment. Its lock is held by whoever writes."""

    def __init__(self, environment: Environment) -> None:
        self._home = environment.home
        self._root = environment.home / SNAPSHOTS

    def path(self, name: str) -> Path:
        """Where a snapshot is, or will be."""
        return self._root / name

    def list(self) -> tuple[StoredSnapshot, ...]:
        """All that can be read, the newest first."""
        try:
            names = sorted(it.name for it in self._root.iterdir() if not it.name.startswith("."))
        except OSError:
            return ()
        found = []
        for name in names:
            with contextlib.suppress(Refused, Failed):
                found.append(self.read(name).stored)
        return tuple(sorted(found, key=lambda it: it.created_at, reverse=True))

    def require(self, name: str) -> None:
        """Raise Refused (`snapshot-unknown`) for a name that no snapshot has."""
        if not (self.path(name).is_dir() or self._replaced(name).is_dir()):
            raise Refused(self._unknown(name))

    def _replaced(self, name: str) -> Path:
        """Where a snapshot is while another takes its place."""
        return self._root / f".{name}.old"

    def _recover(self, name: str) -> None:
        """Bring back what a killed run had put aside without putting another in its place."""
        if not self.path(name).exists():
            with contextlib.suppress(FileNotFoundError):
                self._replaced(name).rename(self.path(name))

    def read(self, name: str) -> SnapshotManifest:
        """What a snapshot holds. Raises Refused (`snapshot-unknown`, `snapshot-incompatible`) and
        Failed (`snapshot-damaged`)."""
        self.require(name)
        with translate_os_errors(self.path(name)):
            self._recover(name)
        try:
            plain = json.loads(read_private(self.path(name) / _MANIFEST))
            if plain["format"] > FORMAT:
                raise Refused(
                    Problem(
                        "snapshot-incompatible",
                        f"cannot read the snapshot {name}: a newer algaenv has saved it",
                        "upgrade algaenv",
                    )
                )
            return _manifest(name, plain)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Failed(damaged(name, "its manifest cannot be read")) from error

    def verify(self, manifest: SnapshotManifest) -> None:
        """Read every file, and compare it with the manifest. Raises Failed (`snapshot-damaged`)."""
        name = manifest.stored.name
        for file, digest in manifest.digests.items():
            try:
                with (self.path(name) / file).open("rb") as stream:
                    found = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                raise Failed(damaged(name, f"{file}: {error.strerror or error}")) from error
            if found != digest:
                raise Failed(damaged(name, f"{file} holds other bytes than were saved"))

    @contextlib.contextmanager
    def saving(self, name: str) -> Iterator[Path]:
        """A directory to write a snapshot into; what a killed run has left there is removed."""
        fresh = self._root / _TEMPORARY
        with translate_os_errors(self._root):
            make_private_directory(self._root)
            remove_path(fresh)
            make_private_directory(fresh)
            self._recover(name)
        try:
            yield fresh
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        with translate_os_errors(self.path(name)):
            remove_path(self._replaced(name))
            with contextlib.suppress(FileNotFoundError):
                self.path(name).rename(self._replaced(name))
            fresh.rename(self.path(name))
            remove_path(self._replaced(name))

    def write(self, directory: Path, manifest: SnapshotManifest) -> None:
        """The manifest of a snapshot: the last file of it."""
        stored = manifest.stored
        plain = {
            "format": FORMAT,
            "created_at": stored.created_at,
            "runtime": stored.runtime,
            "postgres": stored.postgres,
            "database_bytes": stored.database_bytes,
            "store_bytes": stored.store_bytes,
            "buckets": list(manifest.buckets),
            "digests": dict(manifest.digests),
            "objects": [[it.bucket, it.key, it.size, it.md5] for it in manifest.objects],
        }
        write_private(directory / _MANIFEST, json.dumps(plain).encode() + b"\n")

    def refuse_existing(self, name: str) -> None:
        """Raise Refused (`snapshot-exists`) for a name that is taken."""
        if self.path(name).exists():
            raise Refused(
                Problem(
                    "snapshot-exists",
                    f"cannot save the snapshot {name}: there is one of that name",
                    "choose another name, or add `--replace`",
                )
            )

    def delete(self, name: str) -> StoredSnapshot:
        """Remove a snapshot. Raises as `read`, and Refused while it is being put back."""
        try:
            stored = self.read(name).stored
        except Failed:
            stored = StoredSnapshot(name, "", "", 0, 0, 0, 0)
        if self.restoring() == name:
            raise Refused(unfinished(name))
        with translate_os_errors(self.path(name)):
            remove_path(self.path(name))
            remove_path(self._replaced(name))
            with contextlib.suppress(OSError):
                self._root.rmdir()
        return stored

    def restoring(self) -> str:
        """The snapshot whose restore has not ended; empty when none is under way."""
        try:
            return read_private(self._home / RESTORING).decode().strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def begin_restore(self, name: str, on_progress: OnProgress) -> None:
        """From here on only a finished restore leads back to a whole state."""
        write_private(self._home / RESTORING, f"{name}\n".encode())
        on_progress("putting objects and rows in place")

    def end_restore(self) -> None:
        """The state is whole."""
        with translate_os_errors(self._home / RESTORING):
            (self._home / RESTORING).unlink(missing_ok=True)

    def _unknown(self, name: str) -> Problem:
        known = [it.name for it in self.list()]
        hint = suggestion(name, known, "save one with `algaenv snapshot save NAME`")
        return Problem(
            "snapshot-unknown", f"cannot find the snapshot {name}: there is none of that name", hint
        )


def unfinished(name: str) -> Problem:
    """The problem while a restore has not ended."""
    return Problem(
        "restore-unfinished",
        f"cannot go on: the restore of the snapshot {name} was interrupted, and objects and rows"
        " may be of two states",
        f"run `algaenv snapshot restore {name} --yes`, which goes on with it, or begin again from"
        " nothing with `algaenv down --volumes`",
    )


def damaged(name: str, reason: str) -> Problem:
    """The problem of a snapshot that is not what was saved."""
    return Problem(
        "snapshot-damaged",
        f"cannot use the snapshot {name}: {reason}",
        f"remove it with `algaenv snapshot delete {name}`, and save another",
    )


def _manifest(name: str, plain: Mapping[str, Any]) -> SnapshotManifest:
    objects = tuple(
        StoredObjectEntry(str(bucket), str(key), int(size), str(md5))
        for bucket, key, size, md5 in plain["objects"]
    )
    stored = StoredSnapshot(
        name=name,
        created_at=str(plain["created_at"]),
        runtime=str(plain["runtime"]),
        postgres=int(plain["postgres"]),
        database_bytes=int(plain["database_bytes"]),
        objects=len(objects),
        store_bytes=int(plain["store_bytes"]),
    )
    digests = {file: str(plain["digests"][file]) for file in (DUMP, OBJECTS)}
    return SnapshotManifest(stored, tuple(map(str, plain["buckets"])), objects, digests)
