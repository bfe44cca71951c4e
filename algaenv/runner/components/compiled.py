"""Components in native code on disk, compiled once by whichever process needs one first.

A large component is compiled twice (`CompileTier`): quickly, which is what callers wait for, and
then with optimisation, in the background. Where optimised code is there, no quick code is made.

Failures are not kept on disk. A refusal by the compiler is remembered for seconds, so that callers
who retry do not start a process each. A limit that was reached is noted on disk, for all processes
that share it, until a limit is raised. What may be different the next time, such as a full disk,
is not remembered at all.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from algaenv.bundle.digest import Digest
from algaenv.runner.components.compile import (
    HEADER_BYTES,
    CompileDone,
    CompileFailed,
    CompileResult,
    Unreadable,
    malformed_result,
)
from algaenv.runner.components.compile_cache import (
    GRACE_SECONDS,
    CompileDirectory,
    SharedCode,
    host_failures,
    is_noexec,
)
from algaenv.runner.components.compiler import (
    BACKGROUND_NICE,
    CompileLimits,
    CompileQueue,
    Compiler,
)
from algaenv.runner.eviction import CacheEvictor
from algaenv.runner.locks import SingleFlight, file_lock
from algaenv.runner.wasm.engine_config import CompileTier
from algaenv.runner.wasm.failure import FailureKind, GuestFailure


@dataclass(frozen=True, slots=True)
class CompileEnded:
    """A component was compiled, or was not. Times are in seconds."""

    component: Digest
    failure: FailureKind | None
    seconds: float
    """From the moment it had its turn."""
    queued: float
    """Before that."""
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    """The most memory the compiling process had resident."""
    size: int = 0
    """Of the compiled form, in bytes."""
    tier: CompileTier = CompileTier.OPTIMISED


@dataclass(frozen=True, slots=True)
class GuestLoaded:
    """A compiled component was loaded into this process."""

    seconds: float


@dataclass(frozen=True, slots=True)
class FileDamaged:
    """A compiled component could not be loaded, or was gone by then; it is compiled anew."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class FilesEvicted:
    """Compiled components were deleted, to keep within bounds or since no engine wants them."""

    count: int


CompileEvent = CompileEnded | GuestLoaded | FileDamaged | FilesEvicted
OnCompileEvent = Callable[[CompileEvent], None]
"""Called on the event loop; must not block."""


def ignore_event(event: CompileEvent) -> None:
    """Do nothing with the event."""


_log = logging.getLogger(__name__)

REFUSAL_SECONDS = 5.0
"""How long it is remembered that the compiler refuses a component."""
BACKGROUND_AT_ONCE = 1
"""Components optimised at a time, by all processes that share the directory."""
TIDY_SECONDS = 600.0
_MAX_KNOWN_BUNDLES = 4096


class Replaced(Exception):
    """A component was not optimised, since its extension has another one by now."""


class CompiledComponents:
    """The compiled components of one cache directory; several processes may share it."""

    def __init__(
        self,
        root: Path,
        limits: CompileLimits | None = None,
        *,
        on_event: OnCompileEvent = ignore_event,
        shared: SharedCode | None = None,
    ) -> None:
        self._shared = shared
        self.limits = limits or CompileLimits()
        self._folder = CompileDirectory(root)
        self.cache = CacheEvictor(self._folder, self.limits.max_bytes, grace_seconds=GRACE_SECONDS)
        self._foreground = _Line(
            Compiler(self.limits, at_once=self.limits.at_once),
            CompileQueue(self._folder.queue, self.limits.at_once, temporary=self._folder.temporary),
        )
        self._background = _Line(
            Compiler(self.limits, at_once=BACKGROUND_AT_ONCE, nice=BACKGROUND_NICE),
            CompileQueue(
                self._folder.background, BACKGROUND_AT_ONCE, temporary=self._folder.temporary
            ),
        )
        self._on_event = on_event
        self._components: dict[Digest, Digest] = {}
        self._refusals: dict[Path, tuple[float, CompileFailed]] = {}
        self._bundle_flights: SingleFlight[Digest, Path] = SingleFlight()
        self._compile_flights: SingleFlight[Digest, Path] = SingleFlight()
        self._background_flights: SingleFlight[Digest, Path] = SingleFlight()

    @property
    def running(self) -> int:
        """Components that this process compiles or waits to compile."""
        return len(self._compile_flights) + len(self._background_flights)

    def component_of(self, bundle: Digest) -> Digest | None:
        """The component of a bundle; None before its first `ensure`."""
        return self._components.get(bundle)

    def path_of(self, bundle: Digest) -> Path | None:
        """Where the compiled form of a bundle's component is; None before its first `ensure`."""
        if (component := self._components.get(bundle)) is None:
            return None
        return self._folder.best(component) or self._folder.path_of(component)

    def is_quick(self, component: Digest, file: Path) -> bool:
        """Whether a compiled form is one that optimised code should take the place of."""
        return self.limits.tiers > 1 and file == self._folder.path_of(component, CompileTier.QUICK)

    async def ensure(self, bundle: Digest, wasm: Path) -> Path:
        """Have the component of a bundle compiled; `wasm` is its `dist/main.wasm`.

        All who wait for the same component share one compile, which goes on when they leave.
        Raises GuestFailure: MALFORMED for what is no component; COMPILE for what the compiler
        refuses or dies of; LIMIT for what it cannot do within its limits; HOST for faults of the
        directory, such as a full or read-only disk or one that others can write to. Raises OSError
        when `wasm` cannot be read.
        """
        component = self._components.get(bundle)
        if component is not None and (file := self._folder.best(component)) is not None:
            self.cache.touch(file)
            return file
        return await self._bundle_flights.join(bundle, lambda: self._ensure_component(bundle, wasm))

    async def compile_early(self, content: bytes) -> None:
        """Have a component compiled whose bundle is still being packed and uploaded.

        Raises GuestFailure as `ensure` does.
        """
        if failed := malformed_result(content[:HEADER_BYTES]):
            raise _failure(failed)
        component = await asyncio.to_thread(Digest.of, content)
        self._folder.prepare()
        if self._folder.best(component) is not None:
            return
        with host_failures():
            folder = self._folder.draft(component)
            try:
                wasm = folder / "main.wasm"
                await asyncio.to_thread(wasm.write_bytes, content)
                await self._ensure_first(component, wasm)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    async def optimise(self, component: Digest, wasm: Path) -> Path:
        """Have the optimised form of a component, after others that are under way; low priority.

        Raises what `ensure` raises, and Replaced when it is no longer needed by then.
        """
        file = self._folder.path_of(component)
        if failed := self._refusal(file):
            raise _failure(failed)
        return await self._background_flights.join(
            component,
            lambda: self._ensure_compiled(component, wasm, CompileTier.OPTIMISED, self._background),
        )

    def set_current(self, extension: str, bundle: Digest) -> None:
        """Note that an extension has this bundle now: that before need not be optimised. Blocks."""
        if (component := self._components.get(bundle)) is not None:
            self._folder.set_current(extension, component)

    def remove(self, file: Path) -> None:
        """Delete a compiled form that cannot be loaded, so that `ensure` makes it anew.

        Raises GuestFailure(HOST) when it cannot be deleted.
        """
        if self._shared is not None:
            self._shared.remove(file.name)
        with host_failures():
            file.unlink(missing_ok=True)

    async def tidy(self) -> None:
        """Keep within bounds, now."""
        await self._tidy(keep=None)

    async def keep_tidy(self) -> None:
        """Keep within bounds from now on, until cancelled."""
        while True:
            await self.tidy()
            await asyncio.sleep(TIDY_SECONDS)

    async def _ensure_component(self, bundle: Digest, wasm: Path) -> Path:
        component = self._components.get(bundle)
        if component is None:
            component = await asyncio.to_thread(self._identify, bundle, wasm)
            while len(self._components) >= _MAX_KNOWN_BUNDLES:
                del self._components[next(iter(self._components))]
            self._components[bundle] = component
        if (file := self._folder.best(component)) is not None:
            self.cache.touch(file)
            return file
        try:
            return await self._ensure_first(component, wasm)
        except GuestFailure as failure:
            if failure.kind is FailureKind.HOST:
                # Among the reasons is a component that is not the one that was noted.
                self._components.pop(bundle, None)
                self._folder.remove_note(bundle)
            raise

    async def _ensure_first(self, component: Digest, wasm: Path) -> Path:
        """Have the code that a first caller waits for."""
        tier = await asyncio.to_thread(self._first_tier, wasm)
        if failed := self._refusal(self._folder.path_of(component, tier)):
            raise _failure(failed)
        return await self._compile_flights.join(
            component, lambda: self._ensure_compiled(component, wasm, tier, self._foreground)
        )

    def _first_tier(self, wasm: Path) -> CompileTier:
        """What the first caller waits for. Blocks; raises OSError."""
        two = self.limits.tiers > 1 and wasm.stat().st_size >= self.limits.quick_from_bytes
        return CompileTier.QUICK if two else CompileTier.OPTIMISED

    def _identify(self, bundle: Digest, wasm: Path) -> Digest:
        """The digest of a bundle's component, which is read only the first time. Blocks."""
        if recorded := self._folder.component_of(bundle):
            return recorded
        with wasm.open("rb") as file:
            if failed := malformed_result(file.read(HEADER_BYTES)):
                raise _failure(failed)
        component = Digest.of_file(wasm)
        self._folder.prepare()
        self._folder.note(bundle, component)
        return component

    async def _ensure_compiled(
        self, component: Digest, wasm: Path, tier: CompileTier, line: _Line
    ) -> Path:
        file = self._folder.path_of(component, tier)
        result: CompileResult | None = None
        self._folder.prepare()
        with host_failures():
            async with file_lock(self._folder.lock(component, tier)):
                if not self._folder.has(file) and not await self._fetched(component, file):
                    result = self._known_limit(component, tier) or await self._compile(
                        component, wasm, tier, line
                    )
        match result:
            case CompileFailed():
                if result.settled or line is self._background:
                    self._remember_refusal(file, result)
                if result.kind is FailureKind.LIMIT:
                    self._folder.note_limit(component, tier, self._limits, result.message)
                raise _failure(result)
            case Unreadable(number):
                raise OSError(number, os.strerror(number), str(wasm))
        self.cache.touch(file)
        if result is not None:
            await self._tidy(keep=file)
        return file

    async def _fetched(self, component: Digest, file: Path) -> bool:
        """Whether another service had compiled it, and it is here now."""
        shared = self._shared
        if shared is None or not shared.has_place_for(component):
            return False
        folder = self._folder.draft(component)
        try:
            draft = folder / file.name
            if not await asyncio.to_thread(shared.fetch, file.name, draft):
                return False
            draft.rename(file)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        fields = {"component": component.hex, "file": file.name}
        _log.info("compiled by another service", extra={"fields": fields})
        return True

    async def _compile(
        self, component: Digest, wasm: Path, tier: CompileTier, line: _Line
    ) -> CompileResult:
        file = self._folder.path_of(component, tier)
        asked = time.monotonic()
        async with line.queue.slot():
            if line is self._background and self._folder.is_replaced(component):
                raise Replaced
            began = time.monotonic()
            draft_directory = self._folder.draft(component)
            try:
                draft = draft_directory / file.name
                result = await line.compiler.compile(wasm, draft, tier)
                if isinstance(result, CompileDone) and result.digest != component.hex:
                    message = "the component changed while it was compiled"
                    result = CompileFailed(FailureKind.HOST, message, (message,))
                if isinstance(result, CompileDone):
                    draft.rename(file)
                    if self._shared is not None and self._shared.has_place_for(component):
                        await asyncio.to_thread(self._shared.keep, file)
            finally:
                shutil.rmtree(draft_directory, ignore_errors=True)
        seconds = time.monotonic() - began
        self._report(component, tier, result, queued=began - asked, seconds=seconds)
        return result

    def _report(
        self,
        component: Digest,
        tier: CompileTier,
        result: CompileResult,
        *,
        queued: float,
        seconds: float,
    ) -> None:
        fields: dict[str, object] = {
            "component": component.hex,
            "tier": tier,
            "queued_ms": round(queued * 1000, 1),
            "duration_ms": round(seconds * 1000, 1),
        }
        if isinstance(result, CompileDone):
            means = {"cpu_seconds": result.cpu_seconds, "peak_bytes": result.peak_bytes}
            _log.info("compiled", extra={"fields": fields | means | {"bytes": result.size}})
            if is_noexec(self._folder.path):
                _log.warning("compiled components are on a noexec file system: loading is slow")
            self._on_event(
                CompileEnded(
                    component,
                    None,
                    seconds=seconds,
                    queued=queued,
                    cpu_seconds=result.cpu_seconds,
                    peak_bytes=result.peak_bytes,
                    size=result.size,
                    tier=tier,
                )
            )
            return
        kind = result.kind if isinstance(result, CompileFailed) else FailureKind.HOST
        reason = result.causes if isinstance(result, CompileFailed) else os.strerror(result.number)
        _log.warning("not compiled", extra={"fields": fields | {"kind": kind, "why": reason}})
        self._on_event(CompileEnded(component, kind, seconds=seconds, queued=queued, tier=tier))

    async def _tidy(self, *, keep: Path | None) -> None:
        await asyncio.to_thread(self._folder.sweep)
        evicted = await asyncio.to_thread(self.cache.evict, keep=keep)
        if evicted:
            self._on_event(FilesEvicted(len(evicted)))

    @property
    def _limits(self) -> tuple[float, ...]:
        limits = self.limits
        return (limits.seconds, limits.cpu_seconds, limits.memory_bytes)

    def _known_limit(self, component: Digest, tier: CompileTier) -> CompileFailed | None:
        """The noted failure of a component that reached a limit, if none was raised since."""
        recorded = self._folder.limit_of(component, tier)
        if recorded is None or any(
            now > then for now, then in zip(self._limits, recorded[0], strict=False)
        ):
            return None
        return CompileFailed(FailureKind.LIMIT, recorded[1], (recorded[1],), settled=True)

    def _remember_refusal(self, file: Path, failed: CompileFailed) -> None:
        now = time.monotonic()
        cache = {key: was for key, was in self._refusals.items() if was[0] > now}
        self._refusals = cache | {file: (now + REFUSAL_SECONDS, failed)}

    def _refusal(self, file: Path) -> CompileFailed | None:
        until, failed = self._refusals.get(file, (0.0, None))
        return failed if time.monotonic() < until else None


@dataclass(frozen=True, slots=True)
class _Line:
    """A compiler and the queue before it."""

    compiler: Compiler
    queue: CompileQueue


def _failure(failed: CompileFailed) -> GuestFailure:
    return GuestFailure(failed.kind, failed.message, reason=failed.causes[-1], causes=failed.causes)
