"""Archives, entry by entry, with whatever may stand in one."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import zstandard

from tests.runner.archives import Bundle


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tar; `link` is where links point."""

    name: str
    body: bytes = b""
    type: bytes = tarfile.REGTYPE
    link: str = ""
    mode: int = 0o644


def tar(
    entries: Iterable[Entry], *, format: int = tarfile.GNU_FORMAT, unique: bool = True
) -> bytes:
    """`unique` adds an entry that no other archive has."""
    packed = io.BytesIO()
    note = (Entry("note.txt", uuid.uuid4().hex.encode()),) if unique else ()
    with tarfile.open(fileobj=packed, mode="w", format=format) as archive:
        for entry in (*entries, *note):
            header = tarfile.TarInfo(entry.name)
            header.type, header.linkname, header.mode = entry.type, entry.link, entry.mode
            header.size = len(entry.body)
            archive.addfile(header, io.BytesIO(entry.body))
    return packed.getvalue()


def compressed(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


def packed(files: Mapping[str, bytes]) -> Bundle:
    """A bundle that no other case has."""
    return Bundle(compressed(tar(Entry(name, body) for name, body in files.items())))
