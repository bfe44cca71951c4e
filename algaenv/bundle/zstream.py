"""Decompresses an archive whose bytes nobody vouches for.

The library's own streams either hide a frame that ends too early or hand out as much as the
input unfolds to; here memory is bounded, truncation is an error, and so are more bytes than the
limits allow. Windows above 128 MiB the library refuses by itself.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from algaenv.bundle.limits import Limits
from algaenv.bundle.refusal import ArchiveError

_SLICE = 512
"""Compressed bytes taken at a time: one byte can unfold to 32 KiB, so this bounds memory."""

_HEADERS = 4096
"""Bytes that tar may add to a file: headers, long names, padding."""


class Decompressed:
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

    def __enter__(self) -> Decompressed:
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
        piece = self._rest or self._file.read(_SLICE)
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
