"""Bundles made by hand, entry by entry, so that odd ones can be made too."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

import zstandard

from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import bundle_key

TENANT = "tenant-a"
EXTENSION = "demo-ext"
INDEX = b"<!doctype html><title>Hello UI</title><script src=assets/app.js></script>"
APP = b"console.log('hello')\n"
FILES = {"ui/index.html": INDEX, "ui/assets/app.js": APP, "manifest.json": b"{}"}


@dataclass(frozen=True, slots=True)
class Bundle:
    """An archive and what it is called."""

    archive: bytes

    @property
    def digest(self) -> Digest:
        return Digest.of(self.archive)

    @property
    def key(self) -> str:
        return self.key_of(TENANT)

    def key_of(self, tenant: str, extension: str = EXTENSION) -> str:
        return bundle_key(tenant, extension, self.digest)

    def path(self, tail: str = "index.html", *, extension: str = EXTENSION) -> str:
        return f"/ext-ui/{extension}/{self.digest.prefixed}/{tail}"


def bundle(files: Mapping[str, bytes] | None = None, *, note: str = "") -> Bundle:
    """Pack files; `note` makes bundles of equal files differ."""
    packed = io.BytesIO()
    content = dict(FILES if files is None else files)
    if note:
        content["note.txt"] = note.encode()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, body in content.items():
            header = tarfile.TarInfo(name)
            header.size = len(body)
            tar.addfile(header, io.BytesIO(body))
    return Bundle(zstandard.ZstdCompressor().compress(packed.getvalue()))
