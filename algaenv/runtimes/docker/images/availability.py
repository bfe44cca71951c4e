"""Whether an image is on the engine, can run on its processor, or is provided by a registry."""

from __future__ import annotations

import os
from typing import Final

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Problem, Refused, Unavailable
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.docker.engine import Engine
from algaenv.runtimes.docker.errors import ApiError, message_of
from algaenv.runtimes.docker.specs import ImageSpec, PulledImage

_GO_NAMES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image that is there."""

    reference: str
    id: str


def find_image(engine: Engine, image: ImageSpec) -> LocalImage | None:
    """The first reference of `image` that is there; None when none is.

    Raises Refused (`image-architecture`) when it is made for another kind of processor.
    """
    for reference in image.references:
        found = engine.find(f"/images/{reference}/json")
        if found is not None:
            arch = str(found.get("Architecture", ""))
            if arch and arch != engine.facts.arch:
                raise wrong_architecture(reference, arch, engine.facts.arch)
            return LocalImage(reference, str(found.get("Id")))
    return None


def usable_image(engine: Engine, image: ImageSpec) -> LocalImage:
    """As `find_image`; raises Unavailable (`image-gone`) when there is none."""
    found = find_image(engine, image)
    if found is None:
        summary = f"cannot use the image {image.title}, which is no longer there"
        raise Unavailable(Problem("image-gone", summary, "run `algaenv up` again"))
    return found


def wrong_architecture(reference: str, theirs: str, ours: str) -> Refused:
    """The error for an image of another architecture: emulation is slow and fails obscurely."""
    return Refused(
        Problem(
            "image-architecture",
            f"cannot run {reference} on an engine of {ours}: it is made for {theirs or 'others'}",
            "name an image for this processor, or set `images: build`",
        )
    )


def require_same_platform(engine: Engine, title: str) -> None:
    """Raise Refused (`image-architecture`) unless programs of this machine run on the engine."""
    here = os.uname()
    arch = _GO_NAMES.get(here.machine, here.machine)
    if (here.sysname.lower(), arch) != (engine.facts.os, engine.facts.arch):
        summary = (
            f"cannot make {title} here: its engine is of {engine.facts.os}/{engine.facts.arch}"
        )
        hint = f"set `images: pull`: programs of {here.sysname}/{arch} do not run there"
        raise Refused(Problem("image-architecture", summary, hint))


_TIMEOUT: Final = 3.0
"""Seconds for a registry to answer: this runs before planning."""
_UNREACHABLE: Final = (
    "no such host",
    "dial tcp",
    "i/o timeout",
    "deadline exceeded",
    "Client.Timeout",
    "server misbehaving",
    "connection refused",
)


class Registries:
    """Queries registries through the engine, which knows mirrors and proxies.

    A registry that failed to answer once is not queried again. Lives for one lowering.
    """

    def __init__(self, engine: Engine, on_progress: OnProgress) -> None:
        self._engine = engine
        self._on_progress = on_progress
        self._unreachable: dict[str, str] = {}

    def refusal(self, image: PulledImage) -> str:
        """Why `image` cannot be pulled from any of its repositories; empty when it can."""
        reasons = []
        for reference in image.references:
            reason = self._query(reference)
            if not reason:
                return ""
            reasons.append(reason)
        return "; ".join(dict.fromkeys(reasons))

    def _query(self, reference: str) -> str:
        host = registry_of(reference)
        if host not in self._unreachable:
            self._on_progress(f"asking {host} for {reference}")
            try:
                self._engine.get(f"/distribution/{reference}/json", timeout=_TIMEOUT)
            except TimeoutError:
                self._unreachable[host] = f"{host} does not answer"
            except ApiError as error:
                if not is_unreachable(message_of(error)):
                    return f"{host} does not give it out"
                self._unreachable[host] = f"{host} does not answer"
        return self._unreachable.get(host, "")


def registry_of(reference: str) -> str:
    """The host of the registry: the first component if it looks like a host, else Docker Hub."""
    first, slash, _ = reference.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return first if named else "docker.io"


def is_unreachable(message: str) -> bool:
    """Whether the engine's message means that the registry could not be reached."""
    return any(phrase in message for phrase in _UNREACHABLE)
