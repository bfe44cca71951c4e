"""What goes into an offline archive: all that an `up` of one spec needs beside its sources."""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Final

import algaenv
from algaenv.bundle.value import dataclass, replace
from algaenv.dependencies import Request
from algaenv.drivers.build import node_packages
from algaenv.drivers.build.detection.node import NODE_PACKAGES
from algaenv.drivers.build.workspace import make_job
from algaenv.drivers.dev_shell import bundler
from algaenv.model.intent import Intent
from algaenv.model.lock import Credentials, Environment, Lock, Ports
from algaenv.model.pins import with_pins
from algaenv.model.problem import AlgaenvError, Failed, Problem, ResolveError
from algaenv.model.secret import Secret
from algaenv.offline.archive import Content, Manifest, write
from algaenv.offline.wheels import wheels
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.binaries import cache_home, platform_here
from algaenv.runtimes.docker.errors import translate_errors
from algaenv.runtimes.docker.images.pull import find_image
from algaenv.runtimes.docker.runtime import DockerRuntime
from algaenv.runtimes.docker.specs import ImageSpec, PulledImage
from algaenv.runtimes.installed_packages import packages_here
from algaenv.runtimes.process.runtime import ProcessRuntime
from algaenv.spec import lock_file
from algaenv.wiring import Container

_NOBODY: Final = Credentials(*[Secret("")] * 7)
_CHUNK: Final = 1 << 20
_FETCHES: Final = re.compile(
    r"\b(?:(?:npm|pnpm|yarn|bun) (?:ci|i|install)|cargo (?:component )?build|(?:tiny)?go build|"
    r"pip install)\b"
)
"""Commands of builds that may ask a registry for packages that an archive does not hold."""
_HINT: Final = "bring it up once with `algaenv up` where there is a network, then export it"


@dataclass(frozen=True, slots=True)
class Exported:
    """An archive that was written; `left_out` is what → why."""

    manifest: Manifest
    left_out: Mapping[str, str]


def export(path: Path, request: Request, on_progress: OnProgress) -> Exported:
    """Write an archive for the spec of `request` to `path`.

    It has what an earlier `up` has pulled, built and installed. Raises Failed (`offline-missing`)
    with everything that is not there, Failed (`offline-unwritable`), and as `load_spec`.
    """
    container = Container(request.environ)
    intent, _ = container.load_spec(request)
    if request.runtime is not None:
        intent = replace(intent, runtime=request.runtime)
    if request.images is not None:
        intent = replace(intent, images=request.images)
    if (pins := container.read_pins(request.spec)) is not None:
        intent = with_pins(intent, pins, container.platform)
    environment = container.identify(request.spec, intent.name)
    parts = Parts(container, request, intent, environment)
    contents = [*parts.images(), *parts.node(), *parts.programs(), *parts.lock()]
    if parts.missing:
        raise Failed(*parts.missing)
    packages = packages_here(None)
    about = Manifest(algaenv.__version__, platform_here(), intent.name, packages, ())
    try:
        manifest = write(path, [*wheels(packages), *contents], about, on_progress)
    except OSError as error:
        summary = f"cannot write {path}: {error.strerror or error}"
        hint = "name a file in a directory with room that the current user may write to"
        raise Failed(Problem("offline-unwritable", summary, hint)) from error
    return Exported(manifest, parts.left_out)


class Parts:
    """Collects; `missing` are problems, `left_out` is what → why it is not in the archive."""

    def __init__(
        self, container: Container, request: Request, intent: Intent, environment: Environment
    ) -> None:
        self._container = container
        self._environ = request.environ
        self._spec = request.spec
        self._intent = intent
        self._environment = environment
        self._lock = Lock(environment, intent, Ports(0, 0, 0, 0, 0, 0), _NOBODY, ())
        self.missing: list[Problem] = []
        self.left_out: dict[str, str] = {}

    def images(self) -> list[Content]:
        """Those of the engine; with `runtime: auto` none where an image is not there."""
        if self._intent.runtime == "process":
            return []
        try:
            runtime = self._container.runtime("docker")
            assert isinstance(runtime, DockerRuntime)  # noqa: S101
            chosen = runtime.images(self._lock)
            with translate_errors("look at images"):
                found = {it: find_image(runtime.engine, image) for it, image in chosen.items()}
        except AlgaenvError as error:
            if self._intent.runtime == "docker":
                raise
            self.left_out["images"] = error.problem.summary
            return []
        absent = [service for service, image in found.items() if image is None]
        if absent and self._intent.runtime != "docker":
            self.left_out["images"] = f"the engine has none for {', '.join(absent)}"
            return []
        for service in absent:
            summary = f"cannot export the image of {service}: the engine does not have it"
            self.missing.append(Problem("offline-missing", summary, _HINT))
        return [
            image_content(runtime, service, chosen[service], image.id)
            for service, image in found.items()
            if image is not None
        ]

    def node(self) -> list[Content]:
        """The packages of npm that builds install, and the tools that this package brings."""
        projects: dict[Path, str] = {}
        for extension in self._intent.extensions:
            if extension.build is None:
                continue
            try:
                job = make_job(extension, extension.build, self._environment, self._environ)
            except ResolveError as error:
                self.missing += error.problems
                continue
            for step in job.steps:
                match step.command[len(NODE_PACKAGES) :]:
                    case ["install", directory] if _is_ours(step.command):
                        projects[job.workspace / job.below / directory] = extension.name
                    case ["run", *_] if _is_ours(step.command):
                        projects[node_packages.TOOLS] = extension.name
                    case _ if found := _FETCHES.search(" ".join(step.command)):
                        what = f"what {extension.name} is built of"
                        self.left_out[what] = f"`{found[0]}` has a cache or registry of its own"
        taken: dict[str, Content] = {}
        for project, name in projects.items():
            try:
                key = node_packages.installation_key(project, self._environ)
            except node_packages.InstallError as error:
                self.missing.append(Problem("offline-missing", str(error), _HINT))
                continue
            place = node_packages.cache_directory(self._environ) / key
            if not place.is_dir():
                summary = f"cannot export the packages that {name} is built with: none are here"
                self.missing.append(Problem("offline-missing", summary, _HINT))
                continue
            taken[key] = Content("node", f"{key}.tar", _directory(place), {"extension": name})
        # What `dev` runs handlers from source with.
        esbuild = bundler.installation(cache_home(self._environ))
        if esbuild.is_dir() and self._intent.extensions:
            taken[esbuild.name] = Content("node", f"{esbuild.name}.tar", _directory(esbuild))
        return list(taken.values())

    def programs(self) -> list[Content]:
        """Programs of this machine that no wheel brings and that need nothing beside them."""
        if self._intent.runtime == "docker":
            return []
        found = []
        try:
            runtime = self._container.runtime("process")
            assert isinstance(runtime, ProcessRuntime)  # noqa: S101
            chosen = runtime.pins(self._lock)
        except AlgaenvError as error:
            if self._intent.runtime == "process":
                raise
            self.left_out["programs"] = error.problem.summary
            return []
        for service, path in runtime.programs(self._lock).items():
            origin = next(it.origin for it in chosen if it.service == service)
            if origin != "program":
                continue
            if service == "database":
                self.left_out["PostgreSQL"] = f"{path} is not of a wheel, and needs its own files"
                continue
            details = {"service": service}
            found.append(Content("program", path.name, _file(path), details))
        for it in self._intent.services:
            if it.process:
                self.left_out[f"the program of {it.name}"] = f"{it.process[0]} is the author's own"
        return found

    def lock(self) -> list[Content]:
        """The lock file."""
        path = lock_file.path_of(self._spec)
        return [Content("lock", path.name, _file(path))] if path.is_file() else []


def _is_ours(command: tuple[str, ...]) -> bool:
    return command[1 : len(NODE_PACKAGES)] == NODE_PACKAGES[1:]


def image_content(runtime: DockerRuntime, service: str, image: ImageSpec, id_: str) -> Content:
    """The image of a service as the engine saves it; `id_` is the engine's."""
    pulled = isinstance(image, PulledImage) and image.digest is not None
    # An engine keeps a tag when it saves an image, and loses the digest.
    saved = id_ if pulled else image.references[0]
    details = {"service": service, "title": image.title, "id": id_}
    if isinstance(image, PulledImage) and pulled:
        details["name"] = image.imported

    def save(stream: IO[bytes]) -> None:
        with translate_errors(f"save the image {image.title}"):
            for chunk in runtime.engine.api.get_image(saved):
                stream.write(chunk)

    return Content("image", f"{service}.tar", save, details)


def _file(path: Path) -> Callable[[IO[bytes]], None]:
    def write_file(stream: IO[bytes]) -> None:
        with path.open("rb") as source:
            shutil.copyfileobj(source, stream, _CHUNK)

    return write_file


def _directory(place: Path) -> Callable[[IO[bytes]], None]:
    """Writes a directory as a tar, without owners and times."""

    def write_directory(stream: IO[bytes]) -> None:
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(place.rglob("*")):
                header = tar.gettarinfo(path, path.relative_to(place).as_posix())
                header.uid = header.gid = header.mtime = 0
                header.uname = header.gname = ""
                if header.islnk():  # Another name of a file that came before.
                    header.type, header.size = tarfile.REGTYPE, path.stat().st_size
                if header.isreg():
                    with path.open("rb") as source:
                        tar.addfile(header, source)
                else:
                    tar.addfile(header)

    return write_directory
