"""Source directories and archives for the tests of algaenv.bundle."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import zstandard
from hypothesis import HealthCheck, settings

MANIFEST: dict[str, Any] = {
    "name": "com.example.demo",
    "publisher": "example",
    "version": "1.0.0",
    "runtime": "ui-only@1",
    "ui": {"type": "iframe", "entry": "ui/index.html"},
}
QUICK = settings(derandomize=True, suppress_health_check=[HealthCheck.too_slow])
PAGE = b"<!doctype html><title>demo</title>\n"


def manifest(**changes: Any) -> bytes:
    return json.dumps({**MANIFEST, **changes}).encode()


def source(root: Path, files: Mapping[str, bytes] | None = None, **changes: Any) -> Path:
    """A good extension with these files on top; `changes` go into its manifest."""
    everything = {"manifest.json": manifest(**changes), "ui/index.html": PAGE, **(files or {})}
    return write(root, everything)


def write(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def read(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    for field, value in fields.items():
        setattr(header, field, value)
    return header, content


def tar(
    members: Iterable[tuple[tarfile.TarInfo, bytes]], tar_format: Literal[0, 1, 2] = 2
) -> bytes:
    """A tar of exactly these headers, however strange; PAX (2) unless GNU (1) or USTAR (0)."""
    output = io.BytesIO()
    for header, content in members:
        output.write(header.tobuf(tar_format, "utf-8", "surrogateescape"))
        output.write(content + b"\0" * (-len(content) % 512))
    return output.getvalue() + b"\0" * 1024


def raw_header(name: bytes, size: bytes = b"00000000000\0", kind: bytes = b"0") -> bytes:
    """A header block with its checksum, of fields no library would write."""
    block = bytearray(name.ljust(100, b"\0") + b"0000644\0" * 3 + size + b"00000000000\0")
    block += b"        " + kind + b"\0" * 100 + b"ustar\x0000"
    block = block.ljust(512, b"\0")
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(content)
