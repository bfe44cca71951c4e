"""Which handlers run from source, and when their components take the place.

A handler of JavaScript whose modules alone have changed is bundled by esbuild and packed beside the
result of the last build, which takes milliseconds. The build of its component is *owed* then: the
loop makes it once nothing changes any more.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from algaenv.bundle.value import dataclass, replace
from algaenv.drivers.build.bundle_builder import CachingBundleBuilder
from algaenv.drivers.build.workspace import make_job
from algaenv.drivers.dev_shell import HandlerBundler, dev_tree, find_entry
from algaenv.model.intent import ExtensionIntent
from algaenv.model.lock import Environment, LockedExtension
from algaenv.model.problem import AlgaenvError, Problem
from algaenv.reconcile.protocols import OnProgress
from algaenv.reconcile.resolve import BundleBuilder

CACHE: Final = "source"
"""The directory of such bundles in the cache of an environment."""
_SUFFIXES: Final = (".ts", ".mts", ".tsx", ".js", ".mjs", ".jsx", ".json")


@dataclass(frozen=True, slots=True)
class _Handler:
    """The modules of a handler, as they were bundled last; None: not yet."""

    entry: Path
    inputs: frozenset[str] | None = None


class SourceHandlers:
    """The handlers of one environment. `cache` is where esbuild is installed."""

    def __init__(self, environment: Environment, cache: Path, environ: Mapping[str, str]) -> None:
        self._environment = environment
        self._environ = environ
        self._bundler = HandlerBundler(cache, environ=environ)
        self._handlers: dict[str, _Handler] = {}
        self._from_source: set[str] = set()
        """Those that the run under way, or the last one, packs from source."""
        self._owed: set[str] = set()

    def follow(self, extensions: Iterable[ExtensionIntent]) -> None:
        """These are the extensions now."""
        found: dict[str, _Handler] = {}
        for intent in extensions:
            entry = find_entry(Path(intent.source)) if intent.build is not None else None
            if entry is not None:
                known = self._handlers.get(intent.name)
                same = known is not None and known.entry == entry
                found[intent.name] = known if known and same else _Handler(entry)
        self._handlers = found
        self._from_source &= found.keys()
        self._owed &= found.keys()

    @property
    def any(self) -> bool:
        """Whether a handler may run from source at all."""
        return bool(self._handlers)

    def prepare(self, changed: Mapping[str, Iterable[str]], *, components: bool) -> None:
        """Decide what the next run packs: from source what has changed in modules alone, the
        component of everything else, and of all with `components`."""
        for name, handler in self._handlers.items():
            files = tuple(map(os.path.realpath, changed.get(name, ())))
            if components:
                self._from_source.discard(name)
            elif files and _concern(handler, files):
                self._from_source.add(name)
            elif files:
                self._from_source.discard(name)

    def settle(self, applied: Iterable[str]) -> None:
        """These extensions were brought up as `prepare` decided."""
        for name in applied:
            if name in self._from_source:
                self._owed.add(name)
            else:
                self._owed.discard(name)

    def give_up(self, names: Iterable[str]) -> None:
        """The component of these cannot be built: only an edit is a new chance."""
        self._owed -= set(names)

    def owed(self) -> tuple[str, ...]:
        """Those that run from source, and whose component is to be built."""
        return tuple(sorted(self._owed))

    def runs_from_source(self, name: str) -> bool:
        """Whether the last run packed it from source."""
        return name in self._from_source

    def wrap(self, builder: BundleBuilder, environment: Environment) -> BundleBuilder:
        """A builder that packs from source what was decided."""
        return _SourceBuilder(self, builder, environment)

    def pack(self, intent: ExtensionIntent) -> LockedExtension | None:
        """The bundle of a handler from source; None when there is nothing to put it beside.

        Raises ResolveError with what esbuild finds wrong in the author's files.
        """
        built = self._built(intent)
        if built is None:
            return None
        handler = self._handlers[intent.name]
        bundled = self._bundler.bundle(handler.entry)
        inputs = frozenset(os.path.realpath(it) for it in bundled.inputs)
        self._handlers[intent.name] = replace(handler, inputs=inputs)
        cache = source_cache(self._environment)
        tree = dev_tree(built, bundled, cache / "trees" / intent.name)
        builder = CachingBundleBuilder(self._environment, cache)
        locked, _ = builder.pack(replace(intent, source=str(tree), build=None), lambda _: None)
        return replace(locked, intent=intent)

    def _built(self, intent: ExtensionIntent) -> Path | None:
        """The result of the last build: manifest and page beside the component."""
        if intent.build is None:
            return None
        try:
            place = make_job(intent, intent.build, self._environment, self._environ).place
        except AlgaenvError:
            return None
        return place if (place / "manifest.json").is_file() else None

    def close(self) -> None:
        """End the process that bundles."""
        self._bundler.close()


class _SourceBuilder:
    """Packs from source what was decided, and the rest as ever."""

    def __init__(
        self, handlers: SourceHandlers, builder: BundleBuilder, environment: Environment
    ) -> None:
        self._handlers = handlers
        self._builder = builder
        self._environment = environment

    def pack(
        self, intent: ExtensionIntent, on_progress: OnProgress
    ) -> tuple[LockedExtension, tuple[Problem, ...]]:
        """See the protocol."""
        if self._handlers.runs_from_source(intent.name):
            locked = self._handlers.pack(intent)
            if locked is not None:
                return locked, ()
            self._handlers.prepare({}, components=True)
        return self._builder.pack(intent, on_progress)

    def registry_id(self, intent: ExtensionIntent) -> str | None:
        """See the protocol."""
        return self._builder.registry_id(intent)


def digests_from_source(environment: Environment) -> frozenset[str]:
    """The digests of the bundles whose handlers run from source, as far as they are cached."""
    found = set()
    for index in source_cache(environment).glob("bundles/*/index.json"):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            found |= {str(it["digest"]) for it in json.loads(index.read_bytes())["bundles"]}
    return frozenset(found)


def source_cache(environment: Environment) -> Path:
    """Where bundles of handlers from source are made."""
    return environment.home / "cache" / CACHE


def _concern(handler: _Handler, files: tuple[str, ...]) -> bool:
    """Whether nothing but modules of the handler has changed."""
    if handler.inputs is not None:
        return set(files) <= handler.inputs
    directory = os.path.realpath(handler.entry.parent)
    return all(it.startswith(f"{directory}/") and it.endswith(_SUFFIXES) for it in files)
