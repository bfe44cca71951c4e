"""Packs a source tree into a `bundle.tar.zst`, and unpacks an archive that may be hostile.

Packing is deterministic. The digest of the archive names the extension everywhere, so equal files
must give equal bytes on every machine: only paths and contents are taken from the file system, tar
and zstd run with fixed parameters, and both are fed in pieces of a fixed size. The bytes depend on
the zstd library, whose version the project pins.

Unpacking follows Alga's runner: `ui/…` becomes the root of the page, everything else the bundle.
Entries that the runner skips are skipped, links among them. Archives that only an attacker writes
are refused.

tar, zstd and the source tree are imported by the functions that use them, so that the runner, which
only unpacks, starts fast.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from algaenv.bundle import names
from algaenv.bundle.diagnostics import ArchiveError, Diagnostic, printable_path
from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import DEFAULT_LIMITS, Limits
from algaenv.bundle.value import dataclass, field

if TYPE_CHECKING:
    from algaenv.bundle.source_tree import SourceTree

LEVEL = 6
_PACK_CHUNK = 128 * 1024
_MODE = 0o444
_UNUSABLE = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
_OCCUPIED = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}


@dataclass(frozen=True, slots=True)
class PackedArchive:
    """An archive: its digest, its size in bytes, and the fingerprint of what was really packed."""

    digest: Digest
    size: int
    fingerprint: str


def pack(tree: SourceTree, destination: Path, limits: Limits = DEFAULT_LIMITS) -> PackedArchive:
    """Write the archive to `destination`, which exists afterwards complete or not at all.

    Raises SourceError if a file changed since it was collected, or if what comes out is so small
    that it would be refused as a decompression bomb, and OSError.
    """
    from algaenv.system.files import replacing

    destination.parent.mkdir(parents=True, exist_ok=True)
    with replacing(destination, mode=0o644, fsync=True) as file:
        fingerprint, unpacked = _write_archive(tree, file)
        size = file.tell()
        file.seek(0)
        packed = PackedArchive(Digest.of_stream(file), size, fingerprint)
        _refuse_bomb(tree, unpacked, packed.size, limits)
    return packed


def _write_archive(tree: SourceTree, file: IO[bytes]) -> tuple[str, int]:
    """Write the archive; return the tree's fingerprint and the bytes before compression."""
    import tarfile

    import zstandard

    from algaenv.bundle.source_tree import EntryReader, TreeFingerprint

    fingerprint = TreeFingerprint()
    compressor = zstandard.ZstdCompressor(
        level=LEVEL, threads=0, write_checksum=True, write_content_size=False
    )
    with compressor.stream_writer(file, closefd=False) as zstd:
        with tarfile.open(
            fileobj=zstd,
            mode="w|",
            bufsize=_PACK_CHUNK,
            format=tarfile.PAX_FORMAT,
            encoding="utf-8",
            errors="strict",
        ) as tar:
            for entry in tree.entries:
                header = tarfile.TarInfo(entry.path)
                header.size = entry.size
                header.mode = 0o644
                with EntryReader(entry, fingerprint) as content:
                    tar.addfile(header, content)
        records = -(-tar.offset // tarfile.RECORDSIZE)
    return fingerprint.hex(), records * tarfile.RECORDSIZE


def _refuse_bomb(tree: SourceTree, unpacked: int, packed: int, limits: Limits) -> None:
    if limits.is_bomb(unpacked=unpacked, compressed=packed):
        from algaenv.bundle.source_tree import SourceError

        largest = max(tree.entries, key=lambda entry: entry.size)
        raise SourceError(
            Diagnostic(
                "source-too-large",
                f"cannot pack {unpacked} bytes into {packed}: a runner takes such an archive "
                "for a decompression bomb",
                f"look at {largest.path}, which repeats itself",
                printable_path(largest.source),
            )
        )


MAX_NAMED = 20
"""Entries that were not unpacked are named up to this many: an archive can have any number."""


@dataclass(slots=True)
class SkippedEntries:
    """Entries that would be part of the bundle if they were regular files."""

    count: int = 0
    named: list[str] = field(default_factory=list)
    """The first of them, with what they are: `ui/logo.svg: a symbolic link`."""

    def add(self, name: str, kind: str) -> None:
        """Count one more."""
        self.count += 1
        if self.count <= MAX_NAMED:
            self.named.append(f"{name[: names.MAX_PATH]}: {kind}")


def unpack(archive: Path, destination: Path, limits: Limits = DEFAULT_LIMITS) -> SkippedEntries:
    """Write `destination/ui` and `destination/bundle`, neither of which may exist yet.

    Returns the links, devices and sparse files that were not unpacked. Nothing of them is written:
    a link can lead anywhere.

    Files are read-only. Of two entries with one name the later wins. After an error the files
    written so far remain; a caller who wants all or nothing unpacks into a temporary directory and
    renames it. Raises ArchiveError, and OSError for failures that the archive did not cause.
    """
    from algaenv.bundle.archive_reader import DecompressedStream, read_members

    destination.mkdir(parents=True, exist_ok=True)
    for part in ("ui", "bundle"):
        # Created here, so no link below them can lead outside.
        (destination / part).mkdir()
    skipped = SkippedEntries()
    with DecompressedStream(archive, limits) as stream:
        for member in read_members(stream, limits):
            name = names.extracted_path(member.name)
            if name is None:
                continue
            if member.skipped:
                skipped.add(name, member.skipped)
            else:
                _write_file(destination, _relative_path(name), member.chunks())
        stream.drain()
    return skipped


def inspect(archive: Path, limits: Limits = DEFAULT_LIMITS) -> tuple[str, str | None]:
    """The text of the manifest, and the SHA-256 of the page; None without a page.

    Writes nothing. Raises ArchiveError (`archive-manifest`), and OSError.
    """
    from algaenv.bundle.archive_reader import DecompressedStream, read_members
    from algaenv.bundle.manifest.json_text import MAX_BYTES
    from algaenv.bundle.source_tree import INDEX, MANIFEST

    manifest: bytes | None = None
    page: str | None = None
    with DecompressedStream(archive, limits) as stream:
        for member in read_members(stream, limits):
            name = names.extracted_path(member.name)
            if name == MANIFEST and member.size <= MAX_BYTES:
                manifest = b"".join(member.chunks())
            elif name == INDEX and not member.skipped:
                digest = hashlib.sha256()
                for chunk in member.chunks():
                    digest.update(chunk)
                page = digest.hexdigest()
        stream.drain()
    if manifest is None:
        raise ArchiveError("archive-manifest", "cannot find a manifest in the archive")
    return manifest.decode(errors="replace"), page


def _relative_path(name: str) -> str:
    return name if name.startswith("ui/") else f"bundle/{name}"


def _write_file(destination: Path, relative: str, content: Iterable[bytes]) -> None:
    path = destination / relative
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    except ValueError as error:
        raise ArchiveError("archive-name", f"cannot unpack {relative!a}: {error}") from error
    except OSError as error:
        raise _archive_error(relative, error) from error
    with os.fdopen(descriptor, "wb") as file:
        for chunk in content:
            file.write(chunk)
        os.fchmod(file.fileno(), _MODE)


def _archive_error(relative: str, error: OSError) -> Exception:
    if error.errno in _UNUSABLE:
        return ArchiveError("archive-name", f"cannot unpack {relative!a}: {error.strerror}")
    if error.errno in _OCCUPIED:
        return ArchiveError(
            "archive-collision",
            f"cannot unpack {relative!a}: it is a file and a directory at once",
        )
    return error
