"""Which program runs each service: the first engine of the spec's list that this machine has.

An engine that already holds data of this environment goes before one that does not: installing
another program must not make an environment look empty.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from algaenv.bundle.value import dataclass
from algaenv.model.intent import (
    BundledGateway,
    BundledImage,
    Intent,
    ManagedDatabase,
    Profile,
)
from algaenv.model.lock import Lock
from algaenv.model.problem import Problem, ResolveError
from algaenv.runtimes.binaries import Binary, find, missing
from algaenv.runtimes.services import ServiceName

_RUNNER_NEEDS: Final = ("starlette", "uvicorn", "httpx", "wasmtime")
_GATEWAY_NEEDS: Final = ("starlette", "uvicorn", "httpx", "jinja2", "psycopg_pool", "redis")


@dataclass(frozen=True, slots=True)
class Supply:
    """A service's engine, and the program for it."""

    profile: Profile
    binary: Binary

    @property
    def note(self) -> str:
        """One phrase for people."""
        return f"{self.profile.name} by {self.binary.path}, from {self.binary.origin}"


Supplies = Mapping[ServiceName, Supply]
HoldsData = Callable[[ServiceName, Profile], bool]


def choose(
    lock: Lock, environ: Mapping[str, str], cache: Path | None, holds_data: HoldsData
) -> Supplies:
    """A program for each service but runner and gateway, which this package brings along.

    Raises ResolveError with everything that is missing, and everything the spec asks for that
    processes cannot do (`binary-missing`, `runtime-cannot`).
    """
    problems = list(_cannot(lock.intent))
    supplies: dict[ServiceName, Supply] = {}
    absent: dict[str, Iterable[str]] = {}
    for service, profiles in _candidates(lock.intent).items():
        found = list(_found(service, profiles, environ, cache))
        keeping = [each for each in found if holds_data(service, each.profile)]
        if found:
            supplies[service] = (keeping or found)[0]
        else:
            absent[service] = dict.fromkeys(name for each in profiles for name in each.binaries)
    ours: dict[str, tuple[str, ...]] = {"runner": _RUNNER_NEEDS}
    if isinstance(lock.intent.gateway, BundledGateway):
        ours["gateway"] = _GATEWAY_NEEDS
    for name, needs in ours.items():
        if packages := [each for each in needs if not importlib.util.find_spec(each)]:
            absent[name] = [f"for Python: {', '.join(packages)}"]
    if absent:
        problems += missing(absent).problems
    if problems:
        raise ResolveError(*problems)
    return supplies


def _candidates(intent: Intent) -> Mapping[ServiceName, tuple[Profile, ...]]:
    candidates: dict[ServiceName, tuple[Profile, ...]] = {
        "store": intent.store.local or (intent.store.profile,),
        "redis": (intent.redis.profile,),
    }
    if isinstance(intent.database, ManagedDatabase):
        candidates["database"] = (intent.database.profile,)
    return candidates


def _found(
    service: ServiceName,
    profiles: Iterable[Profile],
    environ: Mapping[str, str],
    cache: Path | None,
) -> Iterator[Supply]:
    for profile in profiles:
        binary = find(profile.binaries, environ, cache)
        # PostgreSQL without the program that makes its data directory is of no use.
        if binary and (service != "database" or binary.path.with_name("initdb").is_file()):
            yield Supply(profile, binary)


def _cannot(intent: Intent) -> Iterator[Problem]:
    if sys.platform != "linux":
        yield Problem(
            "runtime-cannot",
            f"cannot run services as processes on {sys.platform}: only on Linux",
            "use `runtime: docker`",
        )
    if not isinstance(intent.runner.image, BundledImage):
        yield Problem(
            "runtime-cannot",
            "cannot run an image as a process: runner.image names one",
            "use `image: bundled`, or `runtime: docker`",
        )
    if intent.runner.volumes:
        yield Problem(
            "runtime-cannot",
            "cannot mount volumes into a process: runner.volumes names some",
            "remove runner.volumes (a process sees every directory), or use `runtime: docker`",
        )
