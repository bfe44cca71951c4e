"""Reads a `tar.zst` archive that may be hostile, one regular file after the other.

The standard library decodes tar headers. Its reader is not used: it takes a damaged header for the
end of the archive, and reads extended headers and sparse maps of any size into memory.

zstd is decompressed in small slices. The library's own streams either hide a frame that ends too
early or return as much as the input unfolds to; here memory is bounded, truncation is an error, and
so are more bytes than the limits allow. The library itself refuses windows above 128 MiB.

Imported only when something is unpacked.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Protocol

from algaenv.bundle.diagnostics import ArchiveError
from algaenv.bundle.layout import Limits
from algaenv.bundle.value import dataclass

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1024 * 1024
_MAX_EXTENDED = 64 * 1024
"""Bytes of an extended header: enough for the longest path and a file's attributes."""

_FILES = {tarfile.REGTYPE, tarfile.AREGTYPE}
_IGNORED_EXTENDED = {tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK}
_SPARSE = "a sparse file"
_SKIPPED = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a FIFO",
    tarfile.GNUTYPE_SPARSE: _SPARSE,
}
_OLD_SPARSE_MORE = (482, 504)
"""Where a header of a sparse file, and a block of its map, say that another block follows."""


class ByteStream(Protocol):
    """Where the tar comes from."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, or fewer at the end."""


@dataclass(slots=True)
class TarMember:
    """An entry of the archive, read from the stream as it passes."""

    name: str
    """As written; bytes that are not UTF-8 are escaped as in file names."""
    size: int
    skipped: str
    """What it is, where it is no regular file and so is not unpacked: "a symbolic link"."""
    _stream: ByteStream
    _left: int

    def chunks(self) -> Iterator[bytes]:
        """Yield what is left of the content. Raises ArchiveError."""
        while self._left:
            chunk = _exactly(self._stream, min(self._left, _CHUNK))
            self._left -= len(chunk)
            yield chunk


@dataclass(slots=True)
class _Extended:
    """What extended headers say about the entry that follows them."""

    name: str | None = None
    size: int | None = None
    sparse: bool = False


def read_members(stream: ByteStream, limits: Limits) -> Iterator[TarMember]:
    """Yield the regular files of a tar in their order, and what is `skipped`. Raises ArchiveError.

    Directories and unknown kinds are passed over. Links, devices and sparse files are not unpacked
    either, as in Alga's runner, but yielded, so that an author can be told.
    """
    extended = _Extended()
    headers = files = total = 0
    while header := _header(stream):
        headers += 1
        if header.type in {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME}:
            _extend(extended, header, stream)
            continue
        if header.type in _IGNORED_EXTENDED:
            _extended_content(header, stream)
            continue
        size = header.size if extended.size is None else extended.size
        skipped = _SPARSE if extended.sparse else _SKIPPED.get(header.type, "")
        member = TarMember(extended.name or header.name, size, skipped, stream, size)
        extended = _Extended()
        files += header.type in _FILES
        total += size
        _refuse_excess(member, files, headers, total, limits)
        if header.type in _FILES or skipped:
            yield member
        for _ in member.chunks():
            pass
        _exactly(stream, -size % _BLOCK)


def _header(stream: ByteStream) -> tarfile.TarInfo | None:
    """Decode the next block; None at the end, whether it is marked or not."""
    block = stream.read(_BLOCK)
    if not any(block):
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        _damaged(str(error), error)
    if header.size < 0:
        _damaged("a negative size")
    if header.type == tarfile.GNUTYPE_SPARSE:
        _skip_sparse_map(block, stream)
    return header


def _skip_sparse_map(header: bytes, stream: ByteStream) -> None:
    """Read past the blocks between such a header and its content."""
    first, other = _OLD_SPARSE_MORE
    more = header[first]
    while more:
        more = _exactly(stream, _BLOCK)[other]


def _extend(extended: _Extended, header: tarfile.TarInfo, stream: ByteStream) -> None:
    content = _extended_content(header, stream)
    if header.type == tarfile.GNUTYPE_LONGNAME:
        extended.name = _decoded(content.partition(b"\0")[0])
        return
    sparse_name = ""
    for key, value in _records(content):
        if key == b"path":
            extended.name = _decoded(value)
        elif key == b"size":
            extended.size = _number(value)
        elif key == b"GNU.sparse.name":
            sparse_name = _decoded(value)
        extended.sparse |= key.startswith(b"GNU.sparse.")
    extended.name = sparse_name or extended.name


def _extended_content(header: tarfile.TarInfo, stream: ByteStream) -> bytes:
    if header.size > _MAX_EXTENDED:
        raise ArchiveError(
            "archive-header", f"cannot unpack: an extended header has {header.size} bytes"
        )
    content = _exactly(stream, header.size)
    _exactly(stream, -header.size % _BLOCK)
    return content


def _records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Split a pax header: `length key=value\\n`, the length counting itself."""
    while content:
        length = _number(content.partition(b" ")[0])
        record, content = content[:length], content[length:]
        key, separator, value = record.partition(b" ")[2].partition(b"=")
        if not separator or len(record) != length or not value.endswith(b"\n"):
            _damaged("an extended header is malformed")
        yield key, value[:-1]


def _number(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > len(str(1 << 63)):
        _damaged("a number is malformed")
    return int(digits)


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _exactly(stream: ByteStream, size: int) -> bytes:
    content = stream.read(size) if size else b""
    if len(content) != size:
        _damaged("the tar is cut off")
    return content


def _refuse_excess(member: TarMember, files: int, headers: int, total: int, limits: Limits) -> None:
    if files > limits.entries or headers > 4 * limits.entries:
        raise ArchiveError("archive-too-large", f"cannot unpack more than {limits.entries} files")
    if member.size > limits.file:
        raise ArchiveError(
            "archive-too-large",
            f"cannot unpack {member.name!a}: {member.size} bytes, {limits.file} are allowed",
        )
    if total > limits.total:
        raise ArchiveError(
            "archive-too-large", f"cannot unpack more than {limits.total} bytes of files"
        )


def _damaged(why: str, cause: Exception | None = None) -> NoReturn:
    raise ArchiveError("archive-damaged", f"cannot unpack: {why}") from cause


_INPUT_CHUNK = 512
"""Compressed bytes taken at a time: one byte can unfold to 32 KiB, so this bounds memory."""

_HEADERS = 4096
"""Bytes that tar may add to a file: headers, long names, padding."""


class DecompressedStream:
    """A readable stream of an archive's tar. `read` raises ArchiveError."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        import zstandard

        self._broken = zstandard.ZstdError
        self._zstd = zstandard.ZstdDecompressor()
        self._limits = limits
        self._frame: Any = None
        self._rest = b""
        self._ready = bytearray()
        self._unpacked = 0
        self._file = archive.open("rb")
        self._compressed = archive.stat().st_size
        if not 0 < self._compressed <= limits.compressed:
            self._file.close()
            raise ArchiveError(
                "archive-too-large" if self._compressed else "archive-damaged",
                f"cannot unpack {self._compressed} bytes: 1 to {limits.compressed} are allowed",
            )

    def __enter__(self) -> DecompressedStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; nothing is left when none come."""
        while len(self._ready) < size and self._advance():
            pass
        content = bytes(self._ready[:size])
        del self._ready[:size]
        return content

    def drain(self) -> None:
        """Read to the end, so that checksums are verified and nothing hides behind the tar."""
        while self.read(1 << 20):
            pass

    def _advance(self) -> bool:
        """Decompress one slice; False at the end of the file."""
        piece = self._rest or self._file.read(_INPUT_CHUNK)
        self._rest = b""
        if not piece:
            if self._frame is not None:
                raise ArchiveError("archive-damaged", "cannot unpack: the archive is cut off")
            return False
        if self._frame is None:
            self._frame = self._zstd.decompressobj()
        try:
            content = self._frame.decompress(piece)
        except self._broken as error:
            raise ArchiveError("archive-damaged", f"cannot unpack: {error}") from error
        if self._frame.eof:
            self._rest = self._frame.unused_data
            self._frame = None
        self._unpacked += len(content)
        self._refuse_bomb()
        self._ready += content
        return True

    def _refuse_bomb(self) -> None:
        limits = self._limits
        if self._unpacked > limits.total + limits.entries * _HEADERS or limits.is_bomb(
            unpacked=self._unpacked, compressed=self._compressed
        ):
            raise ArchiveError(
                "archive-bomb",
                f"cannot unpack: {self._compressed} bytes unfold to {self._unpacked} and more",
            )
