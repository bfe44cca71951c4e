"""Puts what an offline archive holds in its place, after all of it has been checked."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from algaenv.bundle.value import dataclass
from algaenv.drivers.build import node_packages
from algaenv.drivers.state import private_files
from algaenv.model.problem import AlgaenvError, Failed, Problem
from algaenv.offline.archive import Entry, Manifest, unpack
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.binaries import PROGRAMS, cache_home, platform_here
from algaenv.runtimes.docker.engine import Engine, NoEngine
from algaenv.runtimes.docker.errors import translate_errors
from algaenv.runtimes.docker.runtime import DockerRuntime
from algaenv.runtimes.installed_packages import packages_here
from algaenv.spec import lock_file
from algaenv.wiring import Container

WHEELS: Final = "wheels"
"""The directory of the cache with the wheels of archives."""
ESBUILD: Final = "esbuild-"
"""The beginning of the installation that `dev` runs handlers from source with."""
_STAGING: Final = ".import-"
_CHUNK: Final = 1 << 20
_EXECUTABLE: Final = 0o755


@dataclass(frozen=True, slots=True)
class Imported:
    """What an archive brought. `skipped` is a path in it → why it was left.

    `packages` are distributions that this Python lacks, or has in another version: `wheels` is the
    directory to install them from.
    """

    manifest: Manifest
    skipped: Mapping[str, str]
    packages: Mapping[str, str]
    wheels: Path


def restore(
    path: Path, spec: Path | None, environ: Mapping[str, str], on_progress: OnProgress
) -> Imported:
    """Import an archive; `spec` gets its lock file, if it has none yet.

    It may be repeated: what is there already stays. Until all of the archive has been read and
    checked, nothing changes. Raises Failed (`offline-invalid`, `offline-platform`,
    `offline-unwritable`), and what the engine raises.
    """
    cache = cache_home(environ)
    try:
        cache.mkdir(mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        for left in cache.glob(f"{_STAGING}*"):  # Of imports that were killed.
            if _is_abandoned(left):
                private_files.remove_path(left)
        with tempfile.TemporaryDirectory(prefix=f"{_STAGING}{os.getpid()}-", dir=cache) as name:
            on_progress(f"checking {path}")
            manifest = unpack(path, Path(name))
            if manifest.platform != platform_here():
                raise Failed(_other_platform(path, manifest))
            importer = _Importer(Path(name), cache, spec, environ, on_progress)
            return importer.run(manifest)
    except OSError as error:
        place = error.filename or cache
        summary = f"cannot import {path}: {place}: {error.strerror or error}"
        hint = "let the current user read the archive, and write to the cache, with room for it"
        raise Failed(Problem("offline-unwritable", summary, hint)) from error


def _is_abandoned(staging: Path) -> bool:
    pid = staging.name.removeprefix(_STAGING).partition("-")[0]
    return pid.isdecimal() and not Path(f"/proc/{pid}").exists()


class _Importer:
    """Puts the files of one archive in their places."""

    def __init__(
        self,
        staging: Path,
        cache: Path,
        spec: Path | None,
        environ: Mapping[str, str],
        on_progress: OnProgress,
    ) -> None:
        self._staging = staging
        self._cache = cache
        self._spec = spec
        self._environ = environ
        self._on_progress = on_progress
        self._skipped: dict[str, str] = {}

    def run(self, manifest: Manifest) -> Imported:
        engine = self._engine(manifest)
        for entry in manifest.entries:
            source = self._staging / entry.path
            match entry.kind:
                case "wheel":
                    self._place(source, self._cache / WHEELS / entry.name, 0o644)
                case "program":
                    self._place(source, self._cache / PROGRAMS / entry.name, _EXECUTABLE)
                case "node":
                    self._node(entry, source)
                case "image" if engine is not None:
                    self._image(engine, entry, source)
                case "lock":
                    self._lock(entry, source)
        here = packages_here(None)
        lacking = {it: v for it, v in manifest.packages.items() if here.get(it) != v}
        return Imported(manifest, self._skipped, lacking, self._cache / WHEELS)

    def _engine(self, manifest: Manifest) -> Engine | None:
        """The engine that answers; None, with the images skipped, without one."""
        images = [it for it in manifest.entries if it.kind == "image"]
        if not images:
            return None
        container = Container(self._environ)
        found = container.engine()
        if isinstance(found, NoEngine):
            self._skipped |= {it.path: f"no engine answers: {found.reason}" for it in images}
            return None
        runtime = container.runtime("docker")
        assert isinstance(runtime, DockerRuntime)  # noqa: S101
        return runtime.engine

    def _place(self, source: Path, target: Path, mode: int) -> None:
        target.parent.mkdir(mode=private_files.PRIVATE_DIRECTORY, exist_ok=True)
        source.chmod(mode)
        source.replace(target)

    def _node(self, entry: Entry, source: Path) -> None:
        of_dev = entry.name.startswith(ESBUILD)
        cache = self._cache if of_dev else node_packages.cache_directory(self._environ)
        cache.mkdir(mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        place = cache / entry.name.removesuffix(".tar")
        if place.is_dir():
            os.utime(place)
            return
        self._on_progress(f"unpacking {entry.path}")
        fresh = self._staging / f"unpacked-{place.name}"
        fresh.mkdir(mode=private_files.PRIVATE_DIRECTORY)
        try:
            with tarfile.open(source, "r:") as tar:
                # Nothing outside of the directory, no devices, no foreign owners.
                tar.extractall(fresh, filter="data")
        except tarfile.TarError as error:
            summary = f"cannot unpack {entry.path}: {error}"
            hint = "write the archive anew with `algaenv bundle export FILE`"
            raise Failed(Problem("offline-invalid", summary, hint)) from error
        with contextlib.suppress(FileExistsError):
            fresh.rename(place)

    def _image(self, engine: Engine, entry: Entry, source: Path) -> None:
        title = entry.details.get("title", entry.name)
        self._on_progress(f"loading the image {title}")
        try:
            with translate_errors(f"load the image {title}"):
                with source.open("rb") as stream:
                    # In chunks: for a whole file the SDK announces a wrong length.
                    for _ in engine.api.load_image(iter(lambda: stream.read(_CHUNK), b"")):
                        pass
                if name := entry.details.get("name"):
                    repository, _, tag = name.rpartition(":")
                    engine.api.tag(entry.details["id"], repository, tag=tag)
        except AlgaenvError as error:
            self._skipped[entry.path] = error.problem.summary

    def _lock(self, entry: Entry, source: Path) -> None:
        if self._spec is None:
            self._skipped[entry.path] = "there is no spec here"
            return
        target = lock_file.path_of(self._spec)
        if not target.exists():
            shutil.copyfile(source, self._staging / "lock-file")
            self._place(self._staging / "lock-file", target, 0o644)
        elif target.read_bytes() != source.read_bytes():
            self._skipped[entry.path] = f"{target} says otherwise, and stays"


def _other_platform(path: Path, manifest: Manifest) -> Problem:
    return Problem(
        "offline-platform",
        f"cannot import {path}: it is for {manifest.platform}, and this machine is "
        f"{platform_here()}",
        "export one on a machine like this",
    )
