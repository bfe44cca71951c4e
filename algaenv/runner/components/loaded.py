"""Components in memory, ready to be called: the least recently used one is dropped first.

One whose code was compiled quickly is called at once. Its optimised code takes its place when that
is there: calls under way end with the code they began with.

`Handlers` goes from the name of a bundle to its loaded handler.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from algaenv.bundle.diagnostics import ArchiveError
from algaenv.bundle.digest import Digest
from algaenv.runner.bundle_cache import HashMismatch
from algaenv.runner.bundle_store import StoreError, is_key_segment
from algaenv.runner.components import compiled
from algaenv.runner.components.compiled import CompiledComponents
from algaenv.runner.components.shell import (
    Script,
    ScriptBundles,
    ScriptRefused,
    read_script,
    shell_digest,
)
from algaenv.runner.locks import SingleFlight
from algaenv.runner.wasm.failure import FailureKind, GuestFailure

if TYPE_CHECKING:
    from pathlib import Path

    from algaenv.runner.bundle_cache import BundleCache, CachedBundle
    from algaenv.runner.wasm.guest import Guest
    from algaenv.runner.wasm.runtime import LazyWasmRuntime, WasmRuntime


_log = logging.getLogger(__name__)

G = TypeVar("G")
G_co = TypeVar("G_co", covariant=True)

RECOMPILE_INTERVAL_SECONDS = 60.0
"""A file that was compiled anew this recently is not to blame when it cannot be loaded."""


class ComponentLoader(Protocol[G_co]):
    """Loads a compiled component into an engine."""

    def load(self, file: Path, /) -> G_co:
        """Load it; blocks for milliseconds.

        Raises GuestFailure for what is wrong with the component, UnusableFile for a file that is
        damaged or was not compiled for this engine, OSError when it is gone.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Loaded(Generic[G]):
    """A guest, and the file that it is mapped from."""

    file: Path
    guest: G


class LoadedComponents(Generic[G]):
    """Guests by bundle, at most `max_loaded` of them. Bundles with the same component share one.

    A guest that goes lives on for the calls it still has.
    """

    def __init__(
        self,
        guests: ComponentLoader[G],
        compiled: CompiledComponents,
        max_loaded: int | None = None,
        *,
        on_event: compiled.OnCompileEvent = compiled.ignore_event,
    ) -> None:
        self._load = guests.load
        self._compiled = compiled
        self._max_loaded = compiled.limits.loaded_max if max_loaded is None else max(1, max_loaded)
        self._on_event = on_event
        self._guests: OrderedDict[Digest, _Loaded[G]] = OrderedDict()
        self._single_flight: SingleFlight[Digest, G] = SingleFlight()
        self._optimising: dict[Digest, asyncio.Task[None]] = {}
        self._recompiled: dict[Path, float] = {}

    def __len__(self) -> int:
        return len(self._guests)

    def get(self, bundle: Digest) -> G | None:
        """What is in memory, without looking anywhere else."""
        component = self._compiled.component_of(bundle)
        if component is None or (loaded := self._guests.get(component)) is None:
            return None
        self._guests.move_to_end(component)
        self._compiled.cache.touch(loaded.file)
        return loaded.guest

    async def guest(self, bundle: Digest, wasm: Path) -> G:
        """Have the component of a bundle in memory; `wasm` is its `dist/main.wasm`.

        Raises what `CompiledComponents.ensure` raises, the GuestFailure of `ComponentLoader.load`,
        and GuestFailure(HOST) when even a file made anew cannot be loaded. No failure is cached.
        """
        guest = self.get(bundle)
        if guest is not None:
            return guest
        file = await self._compiled.ensure(bundle, wasm)
        component = self._compiled.component_of(bundle)
        assert component is not None  # noqa: S101
        return await self._single_flight.join(
            component, lambda: self._load_once(component, file, bundle, wasm)
        )

    async def compile_early(self, content: bytes) -> None:
        """See `CompiledComponents`; it is loaded when its bundle comes."""
        await self._compiled.compile_early(content)

    async def set_current(self, extension: str, bundle: Digest, wasm: Path) -> None:
        """Note that an extension has this bundle now: the one before need not be optimised."""
        await asyncio.to_thread(self._compiled.set_current, extension, bundle)
        component = self._compiled.component_of(bundle)
        if component is not None and (loaded := self._guests.get(component)) is not None:
            self._optimise_later(component, loaded, bundle, wasm)

    async def _load_once(self, component: Digest, file: Path, bundle: Digest, wasm: Path) -> G:
        if (known := self._guests.get(component)) is not None:
            return known.guest
        loaded = await self._load_valid(file, bundle, wasm)
        self._guests[component] = loaded
        while len(self._guests) > self._max_loaded:
            _, oldest = self._guests.popitem(last=False)
            self._compiled.cache.unpin(oldest.file)
        self._optimise_later(component, loaded, bundle, wasm)
        return loaded.guest

    def _optimise_later(
        self, component: Digest, loaded: _Loaded[G], bundle: Digest, wasm: Path
    ) -> None:
        if self._compiled.is_quick(component, loaded.file) and component not in self._optimising:
            task = asyncio.create_task(self._optimise(component, bundle, wasm))
            self._optimising[component] = task
            task.add_done_callback(lambda _: self._optimising.pop(component))

    async def _optimise(self, component: Digest, bundle: Digest, wasm: Path) -> None:
        """Load the optimised code when it is there, and give it to all calls from then on."""
        try:
            file = await self._compiled.optimise(component, wasm)
            if component in self._guests:
                loaded = await self._load_valid(file, bundle, wasm)
                replaced = self._guests.get(component)
                if replaced is None:
                    self._compiled.cache.unpin(loaded.file)
                    return
                self._guests[component] = loaded
                self._compiled.cache.unpin(replaced.file)
        except compiled.Replaced:
            _log.debug("replaced", extra={"fields": {"component": component.hex}})
        except (GuestFailure, OSError) as error:
            # What answers goes on answering.
            fields = {"component": component.hex, "why": str(error)}
            _log.warning("not optimised", extra={"fields": fields})

    async def _load_valid(self, file: Path, bundle: Digest, wasm: Path) -> _Loaded[G]:
        """Load the file, or another one where it is damaged; the result is pinned."""
        from algaenv.runner.wasm.guest import UnusableFile

        while True:
            # Before it is loaded: it must not be evicted in between.
            self._compiled.cache.pin(file)
            try:
                return _Loaded(file, await self._load_timed(file))
            except (UnusableFile, FileNotFoundError) as error:
                self._compiled.cache.unpin(file)
                self._require_recompile(file, error)
            except BaseException:
                self._compiled.cache.unpin(file)
                raise
            file = await self._compiled.ensure(bundle, wasm)

    def _require_recompile(self, file: Path, error: Exception) -> None:
        """Have the file made anew; raises GuestFailure(HOST) when that was done just now."""
        fields = {"file": file.name, "why": str(error)}
        _log.warning("compiled component cannot be loaded", extra={"fields": fields})
        current = time.monotonic()
        self._recompiled = {
            key: at
            for key, at in self._recompiled.items()
            if current - at < RECOMPILE_INTERVAL_SECONDS
        }
        if file in self._recompiled and file.exists():
            message = "cannot load a compiled component"
            raise GuestFailure(FailureKind.HOST, message, causes=(message, str(error))) from error
        self._recompiled[file] = current
        self._on_event(compiled.FileDamaged(file.name, str(error)))
        self._compiled.remove(file)

    async def _load_timed(self, file: Path) -> G:
        began = time.monotonic()
        guest = await asyncio.to_thread(self._load, file)
        self._on_event(compiled.GuestLoaded(time.monotonic() - began))
        return guest


COMPONENT = "bundle/dist/main.wasm"
NO_COMPONENT = "No such file or directory (os error 2)"


class BundleUnavailable(Exception):
    """The bundle cannot be fetched, or holds no handler; the text is safe to show to any caller."""

    def __init__(self, reason: str, *, code: str = "bundle_fetch_failed") -> None:
        self.code = code
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class HandlerBundle:
    """A bundle on disk; `component` is None where it has no handler.

    Where it has a script, that is what the handler runs from, and the component is the shell.
    """

    digest: Digest
    component: Path | None
    fetched: bool
    script: Script | None = None

    @property
    def key(self) -> Digest:
        """By which its component is known in memory: one shell serves all bundles with scripts."""
        return self.digest if self.script is None else shell_digest()


class Handlers:
    """Fetches bundles, and compiles and loads what they hold."""

    def __init__(
        self, cache: BundleCache, lazy_runtime: LazyWasmRuntime, scripts: ScriptBundles
    ) -> None:
        self._cache = cache
        self._lazy_runtime = lazy_runtime
        self._scripts = scripts

    async def bundle(self, tenant: str, extension: str, content_hash: str) -> HandlerBundle:
        """Have the bundle on disk. Raises BundleUnavailable."""
        try:
            digest = Digest.parse(content_hash)
        except ValueError:
            raise BundleUnavailable("content hash is not sha256 of 64 hexadecimal digits") from None
        for name, value in (("tenant", tenant), ("extension id", extension)):
            if not is_key_segment(value):
                raise BundleUnavailable(f"invalid {name}")
        try:
            cached = await self._cache.ensure(tenant, extension, digest)
        except HashMismatch as mismatch:
            raise BundleUnavailable(str(mismatch), code="archive_hash_mismatch") from None
        except StoreError as error:
            raise BundleUnavailable(f"verify_archive_sha256 fetch failed: {error}") from None
        except ArchiveError as error:
            raise BundleUnavailable(f"archive refused: {error.code}") from None
        except OSError as error:
            raise BundleUnavailable(f"cache: {error.strerror}") from None
        if self._is_loaded(digest):
            return HandlerBundle(digest, cached.folder / COMPONENT, cached.fetched)
        script = self._scripts.get(digest)
        if script is None or not self._is_loaded(shell_digest()):
            try:
                handler = await asyncio.to_thread(self._look, digest, cached)
            except ScriptRefused as reason:
                raise BundleUnavailable(str(reason), code="script_refused") from None
            except OSError as error:
                raise BundleUnavailable(f"cache: {error.strerror}") from None
            if handler.script is not None:
                self._scripts.add(digest, handler.script)
            return handler
        return HandlerBundle(digest, self._scripts.shell, cached.fetched, script)

    def _look(self, digest: Digest, cached: CachedBundle) -> HandlerBundle:
        """What handler a bundle has. Blocks; raises ScriptRefused, OSError."""
        file = cached.folder / COMPONENT
        if file.is_file():
            return HandlerBundle(digest, file, cached.fetched)
        script = read_script(cached.folder / "bundle")
        if script is None:
            return HandlerBundle(digest, None, cached.fetched)
        self._scripts.unpack_shell()
        return HandlerBundle(digest, self._scripts.shell, cached.fetched, script)

    async def shell(self) -> HandlerBundle:
        """What handlers from source have in common, without a handler. Raises OSError."""
        await asyncio.to_thread(self._scripts.unpack_shell)
        return HandlerBundle(shell_digest(), self._scripts.shell, False, Script(""))

    async def guest(self, bundle: HandlerBundle, runtime: WasmRuntime) -> Guest:
        """Compile and load the bundle's handler, each only where it must. Raises GuestFailure."""
        assert bundle.component is not None  # noqa: S101
        if (guest := runtime.loaded.get(bundle.key)) is not None:
            return guest
        with self._cache.pin(bundle.digest):
            try:
                return await runtime.loaded.guest(bundle.key, bundle.component)
            except OSError as error:
                message = f"cannot read the component: {error.strerror}"
                raise GuestFailure(FailureKind.HOST, message) from None

    def _is_loaded(self, digest: Digest) -> bool:
        runtime = self._lazy_runtime.current
        return runtime is not None and runtime.loaded.get(digest) is not None
