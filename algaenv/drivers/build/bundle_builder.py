"""Packs an extension's source into the bundle that is installed, and caches the result.

The stamps of the files (size, times, inode) are kept beside the bundles, so that an `up` with
nothing to do neither reads nor packs them. As in Git, a stamp is reliable only when it is older
than the scan that noted it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from algaenv import __version__
from algaenv.bundle.archive import pack
from algaenv.bundle.collect import collect
from algaenv.bundle.diagnostics import Diagnostic, FileReport, has_errors, printable_path
from algaenv.bundle.digest import Digest
from algaenv.bundle.manifest.json_text import MAX_BYTES
from algaenv.bundle.manifest.model import Manifest, ManifestError, parse
from algaenv.bundle.source_tree import (
    INDEX,
    MANIFEST,
    WASM,
    SourceError,
    SourceTree,
    fingerprint,
    gather,
)
from algaenv.bundle.value import dataclass, replace
from algaenv.drivers.build.file_tree import (
    UNRELIABLE_STAMP,
    Stamp,
    is_stamp_reliable,
    sha256_of,
    stamp_of,
)
from algaenv.drivers.state import environment_lock, private_files
from algaenv.model.intent import ExtensionIntent
from algaenv.model.lock import Environment, LockedExtension
from algaenv.model.problem import Problem, ResolveError, Where
from algaenv.reconcile.protocols import OnProgress

KEPT_BUNDLES: Final = 4
"""Bundles of an extension that stay in the cache, the newest first."""
_MAX_ATTEMPTS = 3
_MISSING_RESULTS: Final = frozenset({"source-wasm-missing", "source-ui-index", "source-empty"})
"""Problems of a source that has not been built."""


class CachingBundleBuilder:
    """Packs the extensions of one environment into `cache`, by default that of its state directory.

    `cancelled` ends a build early; `environ` is what its command inherits. `clock` tells
    nanoseconds since 1970. `on_component` is called with the component of each bundle that is going
    to be packed; it must not wait.
    """

    def __init__(
        self,
        environment: Environment,
        cache: Path | None = None,
        *,
        cancelled: Callable[[], bool] = lambda: False,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.on_component: Callable[[Path], None] = lambda _: None
        self._environment = environment
        self._cache_root = (cache or environment.home / "cache") / "bundles"
        self._cancelled = cancelled
        self._environ = environ
        self._clock = clock

    def pack(
        self, intent: ExtensionIntent, on_progress: OnProgress
    ) -> tuple[LockedExtension, tuple[Problem, ...]]:
        """The extension with its bundle as a file, and warnings; built first if the spec says how.

        Raises ResolveError with all errors in manifest and files at once
        (`source-restless` when they do not stop changing, and those of algaenv.bundle), what a
        build raises, and Failed when the cache cannot be written.
        """
        source = Path(intent.source)
        build_warnings: tuple[Problem, ...] = ()
        if intent.build is not None:
            from algaenv.drivers.build.builds import build

            built = build(
                intent,
                self._environment,
                on_progress,
                cancelled=self._cancelled,
                environ=self._environ,
            )
            source, build_warnings = built.place, built.warnings
        bundle_cache = _BundleCache(self._cache_root / intent.name)
        now = self._clock()
        glance = _file_stamps(source)
        known = bundle_cache.read()
        place = _SourceLocation(str(source), intent.source)
        if glance and glance == known.glance:
            bundle = bundle_cache.find(known.bundles, known.fingerprint)
            manifest = _read_manifest(source)
            if bundle and manifest:
                return (
                    bundle_cache.locked(intent, manifest, bundle),
                    (*build_warnings, *map(place.problem, known.warnings)),
                )
        with bundle_cache.exclusive(on_progress):
            known = bundle_cache.read()
            try:
                tree, bundle = _find_or_pack(
                    intent,
                    source,
                    bundle_cache,
                    known,
                    on_progress=on_progress,
                    on_component=self.on_component,
                )
            except SourceError as error:
                errors = (it for it in error.diagnostics if it.severity == "error")
                warnings = (it for it in error.diagnostics if it.severity == "warning")
                raise ResolveError(
                    *_with_build_hint(intent, map(place.problem, errors)),
                    warnings=(*build_warnings, *map(place.problem, warnings)),
                ) from None
            bundles = [bundle, *(it for it in known.bundles if it.digest != bundle.digest)]
            believed = [(path, _reliable_stamp(stamp, now)) for path, stamp in glance]
            warned = list(tree.warnings)
            bundle_cache.write(
                _CacheIndex(believed, bundle.fingerprint, bundles[:KEPT_BUNDLES], warned)
            )
        locked = bundle_cache.locked(intent, tree.manifest, bundle)
        return locked, (*build_warnings, *map(place.problem, tree.warnings))

    def registry_id(self, intent: ExtensionIntent) -> str | None:
        """See the protocol: read from the source, which need not be in order otherwise."""
        from algaenv.bundle import layout

        manifest = _read_manifest(Path(intent.source))
        if manifest is None:
            return None
        return layout.registry_id(manifest.publisher or layout.LOCAL_PUBLISHER, manifest.name)


@dataclass(frozen=True, slots=True)
class _CachedBundle:
    """A cached bundle: the fingerprint of its source, and the archive's digest and size."""

    fingerprint: str
    digest: str
    size: int
    page: str | None


@dataclass(frozen=True, slots=True)
class _CacheIndex:
    """The index of a cache directory, with the stamps of the source when it was fingerprinted."""

    glance: list[tuple[str, Stamp]]
    fingerprint: str
    bundles: list[_CachedBundle]
    warnings: list[Diagnostic]


class _BundleCache:
    """The bundles of one extension, `<digest>.tar.zst`, and their index."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._index = directory / "index.json"
        self._lock = directory / "lock"

    @contextlib.contextmanager
    def exclusive(self, on_progress: OnProgress) -> Iterator[None]:
        """Keep other runs out: `plan` may pack while `dev` does. Raises Failed."""
        with private_files.translate_os_errors(self._directory):
            self._directory.mkdir(mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        with environment_lock.exclusive_file_lock(self._lock, on_progress, lambda: False):
            yield

    def archive(self, digest: str) -> Path:
        return self._directory / f"{digest}.tar.zst"

    def read(self) -> _CacheIndex:
        """The index; an empty one when it is damaged or another version's."""
        try:
            loaded = json.loads(private_files.read_private(self._index))
            if loaded["algaenv"] == __version__:
                return _CacheIndex(
                    [(str(path), _parse_stamp(stamp)) for path, stamp in loaded["glance"]],
                    str(loaded["fingerprint"]),
                    [_CachedBundle(**it) for it in loaded["bundles"]],
                    [Diagnostic(**it) for it in loaded["warnings"]],
                )
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            pass
        return _CacheIndex([], "", [], [])

    def write(self, index: _CacheIndex) -> None:
        """Keep the index, and no archive that is not in it."""
        from dataclasses import asdict

        content = json.dumps({"algaenv": __version__, **asdict(index)}).encode()
        private_files.write_private(self._index, content)
        wanted = {self._index, self._lock, *(self.archive(it.digest) for it in index.bundles)}
        with private_files.translate_os_errors(self._directory):
            for path in set(self._directory.iterdir()) - wanted:
                private_files.remove_path(path)

    def find(self, bundles: Sequence[_CachedBundle], fingerprint: str) -> _CachedBundle | None:
        """The bundle of that fingerprint, if its archive is still there and whole."""
        for bundle in bundles:
            if bundle.fingerprint == fingerprint:
                try:
                    status = os.lstat(self.archive(bundle.digest))
                except OSError:
                    return None
                return bundle if status.st_size == bundle.size else None
        return None

    def locked(
        self, intent: ExtensionIntent, manifest: Manifest, bundle: _CachedBundle
    ) -> LockedExtension:
        archive = self.archive(bundle.digest)
        digest = Digest(bundle.digest)
        return LockedExtension(intent, manifest, digest, bundle.size, archive, bundle.page)


def _find_or_pack(
    intent: ExtensionIntent,
    source: Path,
    bundle_cache: _BundleCache,
    known: _CacheIndex,
    *,
    on_progress: OnProgress,
    on_component: Callable[[Path], None],
) -> tuple[SourceTree, _CachedBundle]:
    """A bundle of what the source holds now; packed unless it is cached."""
    for _ in range(_MAX_ATTEMPTS):
        tree = collect(source)
        mark = fingerprint(tree)
        if bundle := bundle_cache.find(known.bundles, mark):
            return tree, bundle
        for entry in tree.entries:
            if entry.path == WASM:
                on_component(entry.source)
        on_progress(f"packing {len(tree.entries)} files")
        fresh = bundle_cache.archive(".fresh")
        with private_files.translate_os_errors(fresh):
            page = _page_sha256(tree)
            packed = pack(tree, fresh)
            if packed.fingerprint == mark:
                fresh.replace(bundle_cache.archive(packed.digest.hex))
                return tree, _CachedBundle(mark, packed.digest.hex, packed.size, page)
    raise ResolveError(
        Problem(
            "source-restless",
            f"cannot pack {intent.name}: its files change while they are read",
            "let what writes them end, then run it again",
            intent.where,
        )
    )


def _with_build_hint(intent: ExtensionIntent, problems: Iterable[Problem]) -> Iterable[Problem]:
    """The problems; what is missing from a source that only has to be built gets a hint."""
    hint: str | None = None
    for problem in problems:
        if intent.build is None and problem.code in _MISSING_RESULTS:
            if hint is None:
                from algaenv.drivers.build.detection.detect import build_hint

                hint = build_hint(intent)
            yield replace(problem, hint=hint or problem.hint)
        else:
            yield problem


def _page_sha256(tree: SourceTree) -> str | None:
    return next((sha256_of(it.source) for it in tree.entries if it.path == INDEX), None)


def _file_stamps(source: Path) -> list[tuple[str, Stamp]]:
    """Every file of the bundle with its stamp, without reading any; empty when all is not well.

    What is left out with a warning stands in it, too, so that the warning comes and goes with it.
    """
    report = FileReport()
    entries = gather(source, report)
    diagnostics = report.diagnostics()
    if has_errors(diagnostics):
        return []
    try:
        found = [(str(it.source), stamp_of(os.lstat(it.source))) for it in entries]
        return [*found, *((it.file, UNRELIABLE_STAMP) for it in diagnostics)]
    except OSError:
        return []


def _read_manifest(source: Path) -> Manifest | None:
    file = source / MANIFEST
    try:
        if file.stat().st_size > MAX_BYTES:
            return None
        return parse(file.read_text("utf-8")).manifest
    except (OSError, ValueError, ManifestError):
        return None


@dataclass(frozen=True, slots=True)
class _SourceLocation:
    """Where a source was read from, and where its author knows it to be."""

    read: str
    known: str

    def problem(self, diagnostic: Diagnostic) -> Problem:
        where = Where(self._spelled(diagnostic.file), diagnostic.line or 1, diagnostic.column or 1)
        return Problem(diagnostic.code, diagnostic.summary, diagnostic.hint, where)

    def _spelled(self, file: str) -> str:
        """As an author would: their own file, not its mirror, and as short as it can be."""
        mirror, own = printable_path(self.read), printable_path(self.known)
        if mirror != own and file.startswith(mirror):
            original = own + file.removeprefix(mirror)
            file = original if Path(original).exists() else file
        return file.removeprefix(f"{printable_path(Path.cwd())}/")


def _reliable_stamp(stamp: Stamp, now: int) -> Stamp:
    return stamp if is_stamp_reliable(stamp, now) else UNRELIABLE_STAMP


def _parse_stamp(loaded: Sequence[int]) -> Stamp:
    size, modified, changed, inode = loaded
    return (int(size), int(modified), int(changed), int(inode))
