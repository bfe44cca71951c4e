"""Provides images on the engine: pulled, built from a recipe, or built from a Dockerfile.

Images are shared by all environments, so none is ever removed here.
"""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from algaenv.model.kind import Address
from algaenv.model.problem import Failed, Problem
from algaenv.model.resource import Present, Resource
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.docker.engine import BUILD_TIMEOUT, Engine
from algaenv.runtimes.docker.errors import translate_errors
from algaenv.runtimes.docker.images.pull import denied, find_image, pull, require_same_platform
from algaenv.runtimes.docker.images.recipe import load_recipe
from algaenv.runtimes.docker.labels import CONTEXT, IMAGE
from algaenv.runtimes.docker.specs import DockerfileImage, PulledImage, RecipeImage
from algaenv.runtimes.memo import Memo
from algaenv.spec.paths import stacks_root

if TYPE_CHECKING:
    from algaenv.runtimes.docker.images.rootfs import Rootfs

_CHUNK: Final = 1 << 20
_LAST: Final = 20
_LINE: Final = 160
_HEALTHCHECK: Final = "HEALTHCHECK"
_IMAGE_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")


class ImageDriver:
    """Driver of `image`; `cache` is a directory for large temporary files."""

    def __init__(self, engine: Engine, cache: Path) -> None:
        self._engine = engine
        self._cache = cache

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Pull or build it, unless it exists by now. Raises as `pull`, or Failed."""
        image = resource.body
        assert isinstance(image, PulledImage | RecipeImage | DockerfileImage)  # noqa: S101
        with translate_errors(f"look for the image {image.title}"):
            if find_image(self._engine, image) is not None:
                return
        match image:
            case PulledImage():
                pull(self._engine, image, on_progress)
            case RecipeImage():
                self._make(image, on_progress)
            case DockerfileImage():
                self._build(image, on_progress)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """Same as `create`: an image of one name never changes."""
        self.create(resource, on_progress)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Do nothing: other environments may use it."""

    def _make(self, image: RecipeImage, on_progress: OnProgress) -> None:
        # Imported here: other runs have this driver without making an image.
        from algaenv.runtimes.docker.images.assemble import assemble, settings

        with translate_errors(f"make the image {image.title}"):
            require_same_platform(self._engine, image.title)
        recipe = load_recipe(stacks_root() / "images", image.recipe, Memo(None, ""))
        on_progress(f"collecting the files of {image.title}")
        root = assemble(recipe, image.program, image.major)
        repository, _, tag = image.title.rpartition(":")
        marks = {IMAGE: image.recipe, CONTEXT: image.hash}
        with self._write_archive(root) as stream:
            on_progress(f"importing {image.title}, {stream.tell() >> 20} MB")
            changes = settings(recipe, image.program, image.major, marks)
            with translate_errors(f"import the image {image.title}"):
                try:
                    imported = self._import(stream, image.title, changes)
                except Exception as error:
                    # Podman takes no such change. The container is made with the check in any case.
                    if _HEALTHCHECK not in str(error):
                        raise
                    changes = [it for it in changes if not it.startswith(_HEALTHCHECK)]
                    imported = self._import(stream, image.title, changes)
                if imported and self._engine.find(f"/images/{image.title}/json") is None:
                    # Podman imports under no name.
                    query = urlencode({"repo": repository, "tag": tag})
                    self._engine.send("POST", f"/images/{imported}/tag?{query}")

    def _import(self, stream: IO[bytes], title: str, changes: Sequence[str]) -> str:
        """Import an archive; returns the image's id, empty where the engine does not tell it."""
        repository, _, tag = title.rpartition(":")
        stream.seek(0)
        # In chunks: for a whole file the SDK announces a wrong length.
        chunks = iter(lambda: stream.read(_CHUNK), b"")
        answer = self._engine.api.import_image_from_stream(
            chunks, repository=repository, tag=tag, changes=list(changes)
        )
        found: list[str] = _IMAGE_ID.findall(str(answer))
        return found[-1] if found else ""

    def _write_archive(self, root: Rootfs) -> IO[bytes]:
        """The archive in an anonymous file, in the cache directory if possible."""
        try:
            self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            return _archive(root, self._cache)
        except OSError:
            return _archive(root, None)

    def _build(self, image: DockerfileImage, on_progress: OnProgress) -> None:
        request: dict[str, Any] = {
            "tag": image.title,
            "dockerfile": image.dockerfile,
            "buildargs": dict(image.args),
            "labels": {IMAGE: image.recipe, CONTEXT: image.hash},
            # Otherwise every step leaves a container behind.
            "rm": True,
            "forcerm": True,
            "decode": True,
            "timeout": BUILD_TIMEOUT,
        }
        with translate_errors(f"build the image {image.title}"):
            if image.wheel:
                from algaenv.runtimes.docker.images.assemble import wheel_context

                folder = Path(image.context)
                recipe = load_recipe(folder.parent, folder.name, Memo(None, ""))
                request["labels"] = {**recipe.marks, **request["labels"]}
                archive = wheel_context(recipe)
                lines = self._engine.api.build(fileobj=archive, custom_context=True, **request)
            else:
                lines = self._engine.api.build(path=image.context, **request)
            _follow_build(lines, image, on_progress, self._credentials_missed)

    def _credentials_missed(self) -> str:
        from algaenv.runtimes.docker.credentials import missed

        return missed(self._engine.api)


def _follow_build(
    lines: Iterable[Mapping[str, Any]],
    image: DockerfileImage,
    on_progress: OnProgress,
    credentials_missed: Callable[[], str],
) -> None:
    last: collections.deque[str] = collections.deque(maxlen=_LAST)
    message = ""
    for line in lines:
        for text in str(line.get("stream", "") or line.get("status", "")).splitlines():
            if text.strip():
                last.append(text.rstrip())
                on_progress(text.strip()[:_LINE])
        # Read to the end: an answer that is read in part keeps its connection.
        message = message or str(line.get("error", "")).strip()
    if message:
        hint = f"try it by hand: docker build -f {image.dockerfile} {image.context}"
        if "buildkit" in message.lower():
            hint = "build it yourself with BuildKit, and name the image under `runner.image`"
        if (missed := credentials_missed()) and denied(message):
            hint = f"{missed}; or log in with `docker login`"
        summary = f"cannot build {image.title}"
        raise Failed(Problem("image-build-failed", summary, hint, detail=(*last, message)))


def _archive(root: Rootfs, directory: Path | None) -> IO[bytes]:
    """A file that holds `root` as an archive and is gone once it is closed. Raises OSError."""
    import tempfile

    stream = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - the caller closes it
    try:
        root.write(stream)
    except BaseException:
        stream.close()
        raise
    return stream
