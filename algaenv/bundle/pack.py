"""Packs a tree into the one archive that has its bytes.

The digest of the archive names the extension everywhere, so equal files must give equal bytes on
every machine: nothing of the file system but paths and contents goes in, tar and zstd run with
fixed parameters, and both are fed in pieces of a fixed size. The bytes follow the zstd library,
whose version the project pins.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from algaenv.bundle.complaint import Complaint
from algaenv.bundle.digest import Digest
from algaenv.bundle.filefindings import shown
from algaenv.bundle.limits import DEFAULT_LIMITS, Limits
from algaenv.bundle.tree import Fingerprint, Reading, SourceError, Tree
from algaenv.bundle.value import dataclass

LEVEL = 6
_PIECE = 128 * 1024


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive: its digest, its size in bytes, and the fingerprint of what was really packed."""

    digest: Digest
    size: int
    fingerprint: str


def pack(tree: Tree, destination: Path, limits: Limits = DEFAULT_LIMITS) -> Packed:
    """Write the archive to `destination`, which exists afterwards complete or not at all.

    Raises SourceError if a file changed since it was collected, or if what comes out is so small
    that it would be refused as a decompression bomb, and OSError.
    """
    from tempfile import NamedTemporaryFile

    destination.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(
        dir=destination.parent, prefix=f".{destination.name}.", delete=False
    ) as file:
        temporary = Path(file.name)
        try:
            fingerprint, unpacked = _write(tree, file)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
            packed = Packed(Digest.of_file(temporary), temporary.stat().st_size, fingerprint)
            _refuse_bomb(tree, unpacked, packed.size, limits)
            temporary.replace(destination)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return packed


def _write(tree: Tree, file: IO[bytes]) -> tuple[str, int]:
    """Write the archive; return the tree's fingerprint and the bytes before compression."""
    import tarfile

    import zstandard

    fingerprint = Fingerprint()
    compressor = zstandard.ZstdCompressor(
        level=LEVEL, threads=0, write_checksum=True, write_content_size=False
    )
    with compressor.stream_writer(file, closefd=False) as zstd:
        with tarfile.open(
            fileobj=zstd,
            mode="w|",
            bufsize=_PIECE,
            format=tarfile.PAX_FORMAT,
            encoding="utf-8",
            errors="strict",
        ) as tar:
            for entry in tree.entries:
                header = tarfile.TarInfo(entry.path)
                header.size = entry.size
                header.mode = 0o644
                with Reading(entry, fingerprint) as content:
                    tar.addfile(header, content)
        records = -(-tar.offset // tarfile.RECORDSIZE)
    return fingerprint.hex(), records * tarfile.RECORDSIZE


def _refuse_bomb(tree: Tree, unpacked: int, packed: int, limits: Limits) -> None:
    if limits.is_bomb(unpacked=unpacked, compressed=packed):
        largest = max(tree.entries, key=lambda entry: entry.size)
        raise SourceError(
            Complaint(
                "source-too-large",
                f"cannot pack {unpacked} bytes into {packed}: a runner takes such an archive "
                "for a decompression bomb",
                f"look at {largest.path}, which repeats itself",
                shown(largest.source),
            )
        )
