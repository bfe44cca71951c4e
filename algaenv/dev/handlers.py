"""Which handlers run from source, and when their components take the place.

A handler of JavaScript whose modules alone have changed is bundled by esbuild and packed beside the
result of the last build, which takes milliseconds. The build of its component is *owed* then: the
loop makes it once nothing changes any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from algaenv.bundle.diagnostics import FileReport
from algaenv.bundle.source_tree import MANIFEST, WASM, gather
from algaenv.bundle.value import dataclass, replace
from algaenv.drivers.build.bundle_builder import CachingBundleBuilder
from algaenv.drivers.build.file_tree import DEPENDENCIES
from algaenv.drivers.build.workspace import BuildJob, WorkspaceState, make_job
from algaenv.drivers.dev_shell import Bundled, HandlerBundler, dev_tree, find_entry
from algaenv.drivers.state import private_files
from algaenv.drivers.state.environment_lock import exclusive_file_lock
from algaenv.model.intent import ExtensionIntent
from algaenv.model.lock import Environment, LockedExtension
from algaenv.model.problem import AlgaenvError, Problem, ResolveError
from algaenv.reconcile.protocols import OnProgress
from algaenv.reconcile.resolve import BundleBuilder

CACHE: Final = "source"
"""The directory of such bundles in the cache of an environment."""
BUNDLER_CODES: Final = frozenset({"bundler-missing", "bundler-install", "bundler-broken"})
"""Problems of the bundler itself."""
_SUFFIXES: Final = (".ts", ".mts", ".tsx", ".js", ".mjs", ".jsx", ".json")


@dataclass(frozen=True, slots=True)
class _Handler:
    """The modules of a handler, as they were bundled last; None: not yet."""

    entry: Path
    inputs: frozenset[str] | None = None
    packages: tuple[Path, ...] = ()
    """Where its build has installed packages that the author has not."""


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

    def wrap(self, builder: BundleBuilder) -> BundleBuilder:
        """A builder that packs from source what was decided."""
        return _SourceBuilder(self, builder)

    def use_component(self, name: str) -> None:
        """The run under way packs the component of this one after all."""
        self._from_source.discard(name)

    def pack(self, intent: ExtensionIntent, on_progress: OnProgress) -> LockedExtension | None:
        """The bundle of a handler from source; None when there is nothing to put it beside: no
        build has ended well.

        Raises ResolveError with what esbuild finds wrong in the author's files, and Failed.
        """
        cache = source_cache(self._environment)
        built = cache / "built" / intent.name
        if not (built / MANIFEST).is_file():
            return None
        bundled = self._bundle(intent)
        into = cache / "trees" / intent.name
        with private_files.translate_os_errors(into):
            tree = dev_tree(built, bundled, into)
            builder = CachingBundleBuilder(self._environment, cache)
            locked, _ = builder.pack(replace(intent, source=str(tree), build=None), on_progress)
        return replace(locked, intent=intent)

    def _bundle(self, intent: ExtensionIntent) -> Bundled:
        handler = self._handlers[intent.name]
        try:
            bundled = self._bundler.bundle(handler.entry, handler.packages)
        except ResolveError as error:
            packages = self._installed(intent)
            if packages == handler.packages or not any(map(_lacks_module, error.problems)):
                raise
            handler = replace(handler, packages=packages)
            bundled = self._bundler.bundle(handler.entry, packages)
        inputs = frozenset(os.path.realpath(it) for it in bundled.inputs)
        self._handlers[intent.name] = replace(handler, inputs=inputs)
        return bundled

    def _installed(self, intent: ExtensionIntent) -> tuple[Path, ...]:
        """The packages that the build of an extension has installed for itself."""
        job = self._job(intent)
        found = [it / DEPENDENCIES for it in (job.place, job.tree)] if job is not None else []
        return tuple(it for it in dict.fromkeys(found) if it.is_dir())

    def keep_built(self, intent: ExtensionIntent, on_progress: OnProgress) -> None:
        """Keep what a build that ended well has made beside the component: a later one may be given
        up half-way. Raises Failed."""
        job = self._job(intent)
        if intent.name not in self._handlers or job is None or not job.build_directory.is_dir():
            return
        into = source_cache(self._environment) / "built" / intent.name
        fresh = into.with_name(f".{intent.name}")
        lock = job.build_directory / "lock"
        # Nobody builds there while it is copied.
        with (
            private_files.translate_os_errors(into),
            exclusive_file_lock(lock, on_progress, lambda: False),
        ):
            if not WorkspaceState.read(job.build_directory).key:
                return
            shutil.rmtree(fresh, ignore_errors=True)
            for entry in gather(job.place, FileReport()):
                if entry.path != WASM:
                    file = fresh / entry.path
                    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    shutil.copyfile(entry.source, file)
            shutil.rmtree(into, ignore_errors=True)
            fresh.rename(into)

    def _job(self, intent: ExtensionIntent) -> BuildJob | None:
        """Where the extension is built."""
        if intent.build is None:
            return None
        try:
            return make_job(intent, intent.build, self._environment, self._environ)
        except AlgaenvError:
            return None

    def close(self) -> None:
        """End the process that bundles."""
        self._bundler.close()


class _SourceBuilder:
    """Packs from source what was decided, and the rest as ever."""

    def __init__(self, handlers: SourceHandlers, builder: BundleBuilder) -> None:
        self._handlers = handlers
        self._builder = builder

    def pack(
        self, intent: ExtensionIntent, on_progress: OnProgress
    ) -> tuple[LockedExtension, tuple[Problem, ...]]:
        """See the protocol."""
        if not self._handlers.runs_from_source(intent.name):
            return self._component(intent, on_progress)
        warnings: tuple[Problem, ...] = ()
        try:
            locked = self._handlers.pack(intent, on_progress)
            if locked is not None:
                return locked, ()
        except ResolveError as error:
            if not all(map(_is_for_the_build, error.problems)):
                raise
            warnings = (_built_instead(intent, error.problems[0]),)
        self._handlers.use_component(intent.name)
        component, more = self._component(intent, on_progress)
        return component, (*warnings, *more)

    def _component(
        self, intent: ExtensionIntent, on_progress: OnProgress
    ) -> tuple[LockedExtension, tuple[Problem, ...]]:
        found = self._builder.pack(intent, on_progress)
        self._handlers.keep_built(intent, on_progress)
        return found

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


def _is_for_the_build(problem: Problem) -> bool:
    """Whether the author's own build may do what esbuild alone cannot, such as find a module that
    it installs or makes."""
    return problem.code in BUNDLER_CODES or _lacks_module(problem)


def _lacks_module(problem: Problem) -> bool:
    return "Could not resolve" in problem.summary


def _built_instead(intent: ExtensionIntent, problem: Problem) -> Problem:
    return Problem(
        "source-not-run",
        f"cannot run {intent.name} from source, so its component is built: {problem.summary}",
        problem.hint
        if problem.code in BUNDLER_CODES
        else "run `algaenv dev` with --no-shell if the build installs or makes that module",
        problem.where,
    )


def _concern(handler: _Handler, files: tuple[str, ...]) -> bool:
    """Whether nothing but modules of the handler has changed."""
    if handler.inputs is not None:
        return set(files) <= handler.inputs
    directory = os.path.realpath(handler.entry.parent)
    return all(it.startswith(f"{directory}/") and it.endswith(_SUFFIXES) for it in files)
