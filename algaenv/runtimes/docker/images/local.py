"""The image as this engine has it: under which name, and whether its processor can run it."""

from __future__ import annotations

import os
from typing import Final

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Problem, Refused, Unavailable
from algaenv.runtimes.docker.body import ImageBody
from algaenv.runtimes.docker.engine import Engine

_GO_NAMES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image that is there."""

    reference: str
    id: str


def find_image(engine: Engine, image: ImageBody) -> LocalImage | None:
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


def usable_image(engine: Engine, image: ImageBody) -> LocalImage:
    """The same; raises Unavailable (`image-gone`) when there is none."""
    found = find_image(engine, image)
    if found is None:
        summary = f"cannot use the image {image.title}, which is no longer there"
        raise Unavailable(Problem("image-gone", summary, "run `algaenv up` again"))
    return found


def wrong_architecture(reference: str, theirs: str, ours: str) -> Refused:
    """Emulation would start it, slowly, and fail in ways nobody can read."""
    return Refused(
        Problem(
            "image-architecture",
            f"cannot run {reference} on an engine of {ours}: it is made for {theirs or 'others'}",
            "name an image for this processor, or set `images: build`",
        )
    )


def demand_same_machine(engine: Engine, title: str) -> None:
    """Raise Refused (`image-architecture`) unless programs of this machine run on the engine."""
    here = os.uname()
    arch = _GO_NAMES.get(here.machine, here.machine)
    if (here.sysname.lower(), arch) != (engine.facts.os, engine.facts.arch):
        summary = (
            f"cannot make {title} here: its engine is of {engine.facts.os}/{engine.facts.arch}"
        )
        hint = f"set `images: pull`: programs of {here.sysname}/{arch} do not run there"
        raise Refused(Problem("image-architecture", summary, hint))
