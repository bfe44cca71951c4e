"""Unpacks a bundle the way Alga's runner does, from an archive that may be hostile.

`ui/…` becomes the root of the page, everything else the bundle. Entries the runner skips are
skipped; what it would ignore or choke on, and what only an attacker writes, is refused.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from algaenv.bundle import names
from algaenv.bundle.limits import DEFAULT_LIMITS, Limits
from algaenv.bundle.refusal import ArchiveError

_MODE = 0o444
_UNUSABLE = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
_OCCUPIED = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}


def unpack(archive: Path, destination: Path, limits: Limits = DEFAULT_LIMITS) -> None:
    """Write `destination/ui` and `destination/bundle`, neither of which may exist yet.

    Files are read-only. Of two entries with one name the later wins. A caller who wants all or
    nothing unpacks beside the final place and renames; after an error what was written remains.
    Raises ArchiveError, and OSError for what is not the archive's fault.
    """
    from algaenv.bundle.tarball import members
    from algaenv.bundle.zstream import Decompressed

    destination.mkdir(parents=True, exist_ok=True)
    for part in ("ui", "bundle"):
        # Made here and now, so no link below them can lead outside.
        (destination / part).mkdir()
    with Decompressed(archive, limits) as stream:
        for member in members(stream, limits):
            name = names.extracted(member.name)
            if name is not None:
                _write(destination, _place(name), member.chunks())
        stream.drain()


def _place(name: str) -> str:
    return name if name.startswith("ui/") else f"bundle/{name}"


def _write(destination: Path, place: str, content: Iterable[bytes]) -> None:
    path = destination / place
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    except ValueError as error:
        raise ArchiveError("archive-name", f"cannot unpack {place!a}: {error}") from error
    except OSError as error:
        raise _fault(place, error) from error
    with os.fdopen(descriptor, "wb") as file:
        for chunk in content:
            file.write(chunk)
        os.fchmod(file.fileno(), _MODE)


def _fault(place: str, error: OSError) -> Exception:
    if error.errno in _UNUSABLE:
        return ArchiveError("archive-name", f"cannot unpack {place!a}: {error.strerror}")
    if error.errno in _OCCUPIED:
        return ArchiveError(
            "archive-collision",
            f"cannot unpack {place!a}: it is a file and a directory at once",
        )
    return error
