"""Resolves bundles: builds, packs and hashes every extension before its content is planned."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from algaenv.bundle.value import dataclass, replace
from algaenv.model.event import Emit, Resolved, Resolving, StepProgress, Warned
from algaenv.model.intent import ExtensionIntent, Intent
from algaenv.model.kind import BUNDLE
from algaenv.model.lock import BrokenExtension, LockedExtension
from algaenv.model.problem import AlgaenvError, Problem, ResolveError, SpecError
from algaenv.plan.readiness import declares_endpoint
from algaenv.reconcile.protocols import OnProgress
from algaenv.system.processes import usable_cores

PLACES = 3
"""Number of places that are listed for further warnings of one kind."""
REPORT_SECONDS = 0.05
"""Seconds above which the resolution of a bundle is reported; below it was cached."""


class BundleBuilder(Protocol):
    """Builds, checks and packs one extension into the cache."""

    def pack(
        self, intent: ExtensionIntent, on_progress: OnProgress
    ) -> tuple[LockedExtension, tuple[Problem, ...]]:
        """The extension with its bundle, and warnings; raises ResolveError with every problem."""
        ...

    def registry_id(self, intent: ExtensionIntent) -> str | None:
        """The registry id of its manifest, without building; None without a manifest."""
        ...


@dataclass(frozen=True, slots=True)
class Resolution:
    """The extensions with a bundle, and those without."""

    extensions: tuple[LockedExtension, ...] = ()
    broken: tuple[BrokenExtension, ...] = ()


def resolve(
    intents: Iterable[ExtensionIntent], bundle_builder: BundleBuilder, emit: Emit
) -> Resolution:
    """Lock every extension; a broken one does not stop the others.

    Builds run side by side, at most one a core. `emit` may be called by several threads at once.
    """
    locked: list[LockedExtension] = []
    broken: list[BrokenExtension] = []
    warnings: list[Problem] = []
    for found in _lock_all(tuple(intents), bundle_builder, emit):
        warnings += found.warnings
        if isinstance(found.extension, LockedExtension):
            locked.append(found.extension)
        else:
            broken.append(found.extension)
    for warning in _one_of_each_kind(warnings):
        emit(Warned(warning))
    rejected = [*_duplicates(locked), *_undeclared(locked)]
    for name in dict.fromkeys(name for name, _ in rejected):
        problems = tuple(problem for of, problem in rejected if of == name)
        broken.append(BrokenExtension(name, problems, ResolveError.__name__))
    sound = tuple(it for it in locked if it.name not in {name for name, _ in rejected})
    return Resolution(sound, tuple(broken))


class BackgroundResolver:
    """Runs `resolve` on the first call of `result`, or with `in_background` in a thread at once.

    `resolve` gets a callable that returns True once it should end early.
    """

    def __init__(
        self,
        resolve: Callable[[Callable[[], bool]], Resolution],
        cancelled: Callable[[], bool],
        *,
        in_background: bool,
    ) -> None:
        self._resolve = resolve
        self._cancelled = cancelled
        self._stopped = threading.Event()
        self._resolution: Resolution | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        if in_background:
            self._thread = threading.Thread(target=self._run, name="bundles", daemon=True)
            self._thread.start()

    def ready_within(self, seconds: float) -> bool:
        """True when `result` needs no further waiting for the thread."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()

    def result(self) -> Resolution:
        """Wait for the result. Raises what `resolve` raised."""
        if self._thread is None and self._resolution is None and self._error is None:
            self._run()
        elif self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._resolution or Resolution()

    def stop(self) -> None:
        """Stop the resolution, and wait for its thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._resolution = self._resolve(lambda: self._stopped.is_set() or self._cancelled())
        except BaseException as error:  # raised again in `result`
            self._error = error


@dataclass(frozen=True, slots=True)
class _Found:
    extension: LockedExtension | BrokenExtension
    warnings: Sequence[Problem]


def _lock_all(
    intents: Sequence[ExtensionIntent], bundle_builder: BundleBuilder, emit: Emit
) -> Sequence[_Found]:
    """What becomes of each extension, in their order."""

    def lock(intent: ExtensionIntent) -> _Found:
        return _lock_extension(intent, bundle_builder, emit)

    builds = sum(intent.build is not None for intent in intents)
    most = min(builds, usable_cores())
    if most < 2:
        return [lock(intent) for intent in intents]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(most, thread_name_prefix="build") as pool:
        pending = [pool.submit(lock, it) if it.build is not None else None for it in intents]
        packed = [lock(it) if it.build is None else None for it in intents]
        found = zip(pending, packed, strict=True)
        return [it for future, own in found if (it := future.result() if future else own)]


def _lock_extension(intent: ExtensionIntent, bundle_builder: BundleBuilder, emit: Emit) -> _Found:
    started = time.monotonic()
    subject = BUNDLE.address(intent.name)
    if intent.build is not None:
        emit(Resolving(str(subject), "build"))
    try:
        extension, warnings = bundle_builder.pack(
            intent, lambda note: emit(StepProgress(subject, note))
        )
    except AlgaenvError as error:
        failed = BrokenExtension(intent.name, error.problems, type(error).__name__)
        return _Found(failed, error.warnings)
    seconds = time.monotonic() - started
    if intent.build is not None or seconds >= REPORT_SECONDS:
        emit(Resolved(str(subject), f"{extension.digest.short}, {extension.size} bytes", seconds))
    return _Found(extension, warnings)


def _one_of_each_kind(warnings: Iterable[Problem]) -> list[Problem]:
    """The first warning of each code, with the places of the others."""
    kinds: dict[str, list[Problem]] = {}
    for warning in warnings:
        kinds.setdefault(warning.code, []).append(warning)
    return [_with_places(first, more) for first, *more in kinds.values()]


def _with_places(first: Problem, more: Sequence[Problem]) -> Problem:
    if not more:
        return first
    places = list(dict.fromkeys(str(it.where) for it in more if it.where))
    listed = ", ".join(places[:PLACES]) + (", …" if len(places) > PLACES else "")
    there = f": {listed}" if listed else ""
    return replace(first, summary=f"{first.summary} (and {len(more)} more of this kind{there})")


def _duplicates(extensions: Iterable[LockedExtension]) -> list[tuple[str, Problem]]:
    """Entries of the spec that are the same extension: they would overwrite each other's rows."""
    first: dict[tuple[str, str], LockedExtension] = {}
    problems = []
    for extension in extensions:
        identity = (extension.publisher, extension.manifest.name)
        first_entry = first.setdefault(identity, extension)
        if first_entry is not extension:
            problem = Problem(
                code="extension-twice",
                summary=f"cannot install {extension.name}: {'/'.join(identity)} is already "
                f"installed by {first_entry.name}",
                hint="remove one of the two, or change a manifest's name",
                where=extension.intent.where,
            )
            problems.append((extension.name, problem))
    return problems


def _undeclared(extensions: Sequence[LockedExtension]) -> list[tuple[str, Problem]]:
    """Probes of endpoints that a manifest does not declare: the gateway would deny them."""
    return [
        (
            extension.name,
            Problem(
                code="probe-undeclared",
                summary=f"cannot ask GET {probe.path} of {extension.name}: its manifest declares "
                "no such endpoint",
                hint="declare it under api.endpoints of the manifest, or correct `probe`",
                where=probe.where,
            ),
        )
        for extension in extensions
        for probe in extension.intent.probes
        if not declares_endpoint(extension.manifest, probe.path)
    ]


def worth_background(intent: Intent) -> bool:
    """True when services can start while bundles are built.

    False with a `ui_dev_server`: the gateway's settings hold the ids of such extensions, which are
    known only from their manifests.
    """
    extensions = intent.extensions
    return any(it.build for it in extensions) and not any(it.ui_dev_server for it in extensions)


def selected(intent: Intent, names: Sequence[str]) -> frozenset[str]:
    """The names of the extensions that a run is about, all for none; SpecError for an unknown."""
    refuse_unknown(intent, names)
    return frozenset(names or [it.name for it in intent.extensions])


def refuse_unknown(intent: Intent, names: Sequence[str]) -> None:
    """Raise SpecError (`extension-unknown`) for every name that no extension of the spec has."""
    known = [it.name for it in intent.every_extension]
    unknown = [it for it in names if it not in known]
    if unknown:
        from algaenv.spec.diagnostics import suggestion

        raise SpecError(
            *(
                Problem(
                    "extension-unknown",
                    f"cannot bring up {name}: the spec has no extension of that name",
                    suggestion(name, known, "add it under `extensions`"),
                )
                for name in unknown
            )
        )
