"""The way into an archive and out of it, for those who need no more than that.

Nothing here costs an import: tar and zstd are loaded by the functions that use them.
"""

from algaenv.bundle.collect import collect
from algaenv.bundle.limits import Limits
from algaenv.bundle.pack import Packed, pack
from algaenv.bundle.refusal import ArchiveError
from algaenv.bundle.tree import Entry, SourceError, Tree, fingerprint
from algaenv.bundle.unpack import unpack

__all__ = [
    "ArchiveError",
    "Entry",
    "Limits",
    "Packed",
    "SourceError",
    "Tree",
    "collect",
    "fingerprint",
    "pack",
    "unpack",
]
