"""The digest of a bundle: SHA-256 of its compressed archive.

The digest is part of the object's key, of a database row and of the page's URL, in two spellings.
One type, validated when it is created, covers both.
"""

from __future__ import annotations

import hashlib
import re
from io import BufferedRandom, BufferedReader
from pathlib import Path

from algaenv.bundle.value import dataclass

_HEX = re.compile(r"[0-9a-f]{64}")
_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 digest: 64 lower-case hexadecimal digits. Raises ValueError for anything else."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.hex):
            raise ValueError(f"not a SHA-256 digest: {self.hex!r}")

    @classmethod
    def of(cls, content: bytes) -> Digest:
        """Digest these bytes."""
        return cls(hashlib.sha256(content).hexdigest())

    @classmethod
    def of_file(cls, path: Path) -> Digest:
        """Digest a file without holding it in memory. Raises OSError."""
        with path.open("rb") as file:
            return cls.of_stream(file)

    @classmethod
    def of_stream(cls, file: BufferedReader | BufferedRandom) -> Digest:
        """Digest what is left to read of a file, without holding it in memory. Raises OSError."""
        return cls(hashlib.file_digest(file, "sha256").hexdigest())

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `sha256:<hex>` or bare hex, of any case. Raises ValueError."""
        return cls(text.removeprefix(_PREFIX).lower())

    @property
    def prefixed(self) -> str:
        """Spelled as in database rows and page URLs: `sha256:<hex>`."""
        return _PREFIX + self.hex

    @property
    def short(self) -> str:
        """The first 12 digits, for people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return self.prefixed
