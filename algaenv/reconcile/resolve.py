"""Settles the bundles: every extension built, packed and hashed before anything is planned."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from algaenv.model.address import Address
from algaenv.model.event import Emit, Resolved, Resolving, StepProgress, Warned
from algaenv.model.intent import ExtensionIntent
from algaenv.model.lock import LockedExtension
from algaenv.model.problem import AlgaenvError, Problem, ResolveError
from algaenv.plan.proof import declares
from algaenv.reconcile.protocols import Say

WORTH_TELLING = 0.05
"""Seconds below which a bundle was simply known already."""


class Packs(Protocol):
    """Builds, checks and packs one extension into the cache."""

    def pack(
        self, intent: ExtensionIntent, say: Say
    ) -> tuple[LockedExtension, tuple[Problem, ...]]:
        """The extension with its bundle, and warnings; raises ResolveError with all complaints."""
        ...


def resolve(
    intents: Iterable[ExtensionIntent], packer: Packs, emit: Emit
) -> tuple[LockedExtension, ...]:
    """All extensions locked, in the order of the spec.

    Raises ResolveError with the complaints of all of them at once.
    """
    locked: list[LockedExtension] = []
    problems: list[Problem] = []
    for intent in intents:
        try:
            locked.append(_one(intent, packer, emit))
        except AlgaenvError as error:
            problems += error.problems
    problems += _twins(locked)
    problems += _undeclared(locked)
    if problems:
        raise ResolveError(*problems)
    return tuple(locked)


def _one(intent: ExtensionIntent, packer: Packs, emit: Emit) -> LockedExtension:
    started = time.monotonic()
    subject = Address("bundle", intent.name)
    if intent.build is not None:
        emit(Resolving(str(subject), "build"))
    extension, warnings = packer.pack(intent, lambda note: emit(StepProgress(subject, note)))
    seconds = time.monotonic() - started
    for warning in warnings:
        emit(Warned(warning))
    if intent.build is not None or seconds >= WORTH_TELLING:
        emit(Resolved(str(subject), f"{extension.digest.short}, {extension.size} bytes", seconds))
    return extension


def _twins(extensions: Iterable[LockedExtension]) -> list[Problem]:
    """Two entries of the spec that are the same extension would fight over its rows."""
    first: dict[tuple[str, str], LockedExtension] = {}
    problems = []
    for extension in extensions:
        identity = (extension.publisher, extension.manifest.name)
        twin = first.setdefault(identity, extension)
        if twin is not extension:
            problems.append(
                Problem(
                    code="extension-twice",
                    summary=f"cannot install {extension.name}: {'/'.join(identity)} is already "
                    f"installed by {twin.name}",
                    hint="remove one of the two, or change a manifest's name",
                    where=extension.intent.where,
                )
            )
    return problems


def _undeclared(extensions: Iterable[LockedExtension]) -> list[Problem]:
    """The gateway denies what a manifest does not declare, so such a probe could never answer."""
    return [
        Problem(
            code="probe-undeclared",
            summary=f"cannot ask GET {probe.path} of {extension.name}: its manifest declares no "
            "such endpoint",
            hint="declare it under api.endpoints of the manifest, or correct `probe`",
            where=probe.where,
        )
        for extension in extensions
        for probe in extension.intent.probes
        if not declares(extension.manifest, probe.path)
    ]
