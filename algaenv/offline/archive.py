"""The offline archive: a `tar.zst` of files, with a manifest of their hashes as the last one.

It is written and read as a stream, so memory is bounded whatever it holds. Nothing of an archive is
used before all of it was read and agrees with its manifest.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Final

from algaenv.bundle.archive_reader import DecompressedStream, read_members
from algaenv.bundle.diagnostics import ArchiveError
from algaenv.bundle.layout import Limits
from algaenv.bundle.value import dataclass, field
from algaenv.model.problem import Failed, Problem
from algaenv.reconcile.protocols import OnProgress
from algaenv.system.files import replacing

FORM: Final = 1
"""The version of the form."""
MANIFEST: Final = "manifest.json"
KINDS: Final = ("image", "node", "program", "wheel", "lock")
_NAME: Final = re.compile(rf"(?:{'|'.join(KINDS)})/[A-Za-z0-9][A-Za-z0-9._+-]*")
_CHUNK: Final = 1 << 20
_MANIFEST_BYTES: Final = 1 << 24
_LEVEL: Final = 3
_LIMITS: Final = Limits(file=1 << 40, total=1 << 42, entries=10_000, compressed=1 << 42)
"""Only against decompression bombs: a disk that is full is reported as that."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file to put into an archive. `write` writes its content; `details` go into the manifest."""

    kind: str
    name: str
    write: Callable[[IO[bytes]], object]
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an archive, by its manifest. `size` is in bytes, `sha256` in hex."""

    kind: str
    name: str
    size: int
    sha256: str
    details: Mapping[str, str]

    @property
    def path(self) -> str:
        """Its place in the archive, and below a directory that it was unpacked into."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive says of itself. `packages` are distributions of Python → version."""

    algaenv: str
    platform: str
    spec: str
    """The name of the environment it was made for."""
    packages: Mapping[str, str]
    entries: tuple[Entry, ...]


def write(
    path: Path, contents: Iterable[Content], about: Manifest, on_progress: OnProgress
) -> Manifest:
    """Write an archive of `contents` to `path`, wholly or not at all; `about` has no entries.

    Each file is spooled beside `path` first, since a tar begins with its size. Raises OSError, and
    what `contents` raise.
    """
    import zstandard

    entries: list[Entry] = []
    with replacing(path, mode=0o644, fsync=True) as target:
        compressor = zstandard.ZstdCompressor(level=_LEVEL, threads=-1, write_checksum=True)
        with (
            compressor.stream_writer(target, closefd=False) as stream,
            tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for content in contents:
                with tempfile.TemporaryFile(dir=path.parent) as spool:
                    content.write(spool)
                    entry = _entry(content, spool)
                    on_progress(f"{entry.path}, {_megabytes(entry.size)}")
                    _add(tar, entry.path, entry.size, spool)
                entries.append(entry)
            text = json.dumps(_to_json(about, entries), indent=1, sort_keys=True).encode()
            _add(tar, MANIFEST, len(text), io.BytesIO(text))
    return Manifest(about.algaenv, about.platform, about.spec, about.packages, tuple(entries))


def unpack(path: Path, directory: Path) -> Manifest:
    """Unpack an archive into an empty directory, and check all of it.

    Raises Failed (`offline-invalid`) with everything that does not agree, and OSError.
    """
    found: dict[str, tuple[int, str]] = {}
    manifest = b""
    try:
        with DecompressedStream(path, _LIMITS) as stream:
            for member in read_members(stream, _LIMITS):
                if manifest:
                    raise _invalid(path, f"{member.name!a} comes after its manifest")
                if member.name == MANIFEST and member.size <= _MANIFEST_BYTES:
                    manifest = b"".join(member.chunks())
                    continue
                if member.skipped or not _NAME.fullmatch(member.name) or member.name in found:
                    raise _invalid(path, f"it holds {member.name!a}, which has no place in it")
                target, digest = directory / member.name, hashlib.sha256()
                target.parent.mkdir(mode=0o700, exist_ok=True)
                with target.open("xb") as file:
                    for chunk in member.chunks():
                        digest.update(chunk)
                        file.write(chunk)
                found[member.name] = (member.size, digest.hexdigest())
            stream.drain()
    except ArchiveError as error:
        raise _invalid(path, error.summary.removeprefix("cannot unpack: ")) from error
    told = _read_manifest(path, manifest)
    wrong = [
        f"{it.path} is not what its manifest says"
        for it in told.entries
        if it.path in found and found[it.path] != (it.size, it.sha256)
    ]
    wrong += [f"{it.path} is missing" for it in told.entries if it.path not in found]
    named = {it.path for it in told.entries}
    wrong += [f"{name} is not in its manifest" for name in found if name not in named]
    if wrong:
        raise _invalid(path, *wrong)
    return told


def _entry(content: Content, spool: IO[bytes]) -> Entry:
    size = spool.tell()
    spool.seek(0)
    digest = hashlib.file_digest(spool, "sha256").hexdigest()  # type: ignore[arg-type]
    spool.seek(0)
    return Entry(content.kind, content.name, size, digest, content.details)


def _add(tar: tarfile.TarFile, name: str, size: int, stream: IO[bytes]) -> None:
    header = tarfile.TarInfo(name)
    header.size = size
    tar.addfile(header, stream)


def _to_json(about: Manifest, entries: Iterable[Entry]) -> Mapping[str, Any]:
    return {
        "version": FORM,
        "algaenv": about.algaenv,
        "platform": about.platform,
        "spec": about.spec,
        "packages": dict(about.packages),
        "entries": [
            {
                "kind": it.kind,
                "name": it.name,
                "size": it.size,
                "sha256": it.sha256,
                "details": dict(it.details),
            }
            for it in entries
        ],
    }


def _read_manifest(path: Path, content: bytes) -> Manifest:
    if not content:
        raise _invalid(path, f"it has no {MANIFEST}")
    try:
        told = json.loads(content)
        if told["version"] != FORM:
            raise _invalid(path, f"its version is {told['version']!r}, not {FORM}")
        entries = tuple(
            Entry(
                str(it["kind"]),
                str(it["name"]),
                int(it["size"]),
                str(it["sha256"]),
                {str(key): str(value) for key, value in it["details"].items()},
            )
            for it in told["entries"]
        )
        packages = {str(name): str(version) for name, version in told["packages"].items()}
        texts = [str(told[name]) for name in ("algaenv", "platform", "spec")]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _invalid(path, f"its manifest cannot be read: {error}") from error
    return Manifest(texts[0], texts[1], texts[2], packages, entries)


def _invalid(path: Path, *reasons: str) -> Failed:
    return Failed(
        *(
            Problem(
                "offline-invalid",
                f"cannot import {path}: {why}",
                "copy it again, and compare its checksum with that of the machine that wrote it",
            )
            for why in reasons
        )
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
