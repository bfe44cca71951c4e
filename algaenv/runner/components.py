"""From the name of a bundle to the handler in it, ready to be called."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from algaenv.bundle.diagnostics import ArchiveError
from algaenv.bundle.digest import Digest
from algaenv.runner.fetch import HashMismatch
from algaenv.runner.names import is_name
from algaenv.runner.store import StoreError
from algaenv.runner.wasm.failure import GuestFailure, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from algaenv.runner.cache import BundleCache
    from algaenv.runner.engine import Engine, Works
    from algaenv.runner.wasm.guest import Guest

COMPONENT = "bundle/dist/main.wasm"
NO_COMPONENT = "No such file or directory (os error 2)"


class NoBundle(Exception):
    """The bundle cannot be had, or holds no handler; the text may be shown to anybody."""

    def __init__(self, why: str, *, code: str = "bundle_fetch_failed") -> None:
        self.code = code
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk; `component` is None where it has no handler."""

    digest: Digest
    component: Path | None
    fetched: bool


class Components:
    """Fetches bundles, and compiles and loads what they hold."""

    def __init__(self, cache: BundleCache, engine: Engine) -> None:
        self._cache = cache
        self._engine = engine

    async def bundle(self, tenant: str, extension: str, content_hash: str) -> Bundle:
        """Have the bundle on disk. Raises NoBundle."""
        try:
            digest = Digest.parse(content_hash)
        except ValueError:
            raise NoBundle("content hash is not sha256 of 64 hexadecimal digits") from None
        for name, value in (("tenant", tenant), ("extension id", extension)):
            if not is_name(value):
                raise NoBundle(f"invalid {name}")
        try:
            held = await self._cache.ensure(tenant, extension, digest)
        except HashMismatch as mismatch:
            raise NoBundle(str(mismatch), code="archive_hash_mismatch") from None
        except StoreError as error:
            raise NoBundle(f"verify_archive_sha256 fetch failed: {error}") from None
        except ArchiveError as error:
            raise NoBundle(f"archive refused: {error.code}") from None
        except OSError as error:
            raise NoBundle(f"cache: {error.strerror}") from None
        file = held.folder / COMPONENT
        there = self._is_loaded(digest) or await asyncio.to_thread(file.is_file)
        return Bundle(digest, file if there else None, held.fetched)

    async def guest(self, bundle: Bundle, works: Works) -> Guest:
        """Compile and load the bundle's handler, each only where it must. Raises GuestFailure."""
        assert bundle.component is not None  # noqa: S101
        if (guest := works.loaded.get(bundle.digest)) is not None:
            return guest
        with self._cache.pinned(bundle.digest):
            try:
                return await works.loaded.guest(bundle.digest, bundle.component)
            except OSError as error:
                message = f"cannot read the component: {error.strerror}"
                raise GuestFailure(Kind.HOST, message) from None

    def _is_loaded(self, digest: Digest) -> bool:
        works = self._engine.now
        return works is not None and works.loaded.get(digest) is not None
