"""Size limits of a bundle; the packer enforces the limits of the unpacker."""

from __future__ import annotations

from algaenv.bundle.value import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds, in bytes unless noted. Alga's own runner has none."""

    file: int = 64 * MIB
    total: int = 200 * MIB
    """Of all files together, unpacked."""
    entries: int = 20_000
    """Number of files."""
    compressed: int = 200 * MIB
    ratio: int = 1_000
    """Unpacked bytes for each compressed one; not asked of archives below `ratio_from`."""
    ratio_from: int = 16 * MIB

    def is_bomb(self, *, unpacked: int, compressed: int) -> bool:
        """Whether so many bytes out of so few look like a decompression bomb."""
        return unpacked > self.ratio_from and unpacked > self.ratio * compressed


DEFAULT_LIMITS = Limits()
