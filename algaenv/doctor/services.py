"""Checks of what runs the services: the engine, images, programs and ports."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence

from algaenv.bundle.value import field_names
from algaenv.doctor.finding import Finding, good, of_problems, skipped
from algaenv.doctor.subject import Subject
from algaenv.model import kind
from algaenv.model.problem import AlgaenvError, DriverError, EngineGone
from algaenv.reconcile.protocols import Lowered
from algaenv.runtimes.binaries import GO_NAMES
from algaenv.runtimes.docker.engine import NoEngine
from algaenv.runtimes.docker.images.pull import Registries, find_image
from algaenv.runtimes.docker.inventory import PortUser, engine_details, published_ports
from algaenv.runtimes.docker.runtime import DockerRuntime
from algaenv.runtimes.docker.specs import DockerfileImage, PulledImage, RecipeImage
from algaenv.runtimes.ports import PortHolder, find_port_holder


def engine(subject: Subject) -> Sequence[Finding]:
    """The Docker engine: whether it answers, its versions, its storage."""
    found = subject.engine()
    if isinstance(found, NoEngine):
        if subject.intent is not None and subject.intent.runtime == "process":
            return skipped("the spec runs processes, which needs no engine")
        hint = found.hint or "start the Docker engine"
        if subject.wants_docker:
            return [Finding("failed", found.reason, hint)]
        return [Finding("warning", found.reason, f"{hint}, or go on with `runtime: process`")]
    details = engine_details(subject.environ, found)
    rootless = ", rootless" if found.rootless else ""
    summary = f"Docker engine {found.version} answers at {found.host}{rootless}"
    if details is None:
        return good(summary)
    lines = (
        f"API {details.api}, of which {found.api_version} is used",
        f"storage driver {details.storage}, data in {details.root}",
    )
    if details.storage == "vfs":
        hint = "have the engine use overlay2; vfs copies every layer of an image"
        return [Finding("warning", f"{summary}, with the storage driver vfs", hint, lines)]
    return good(summary, *lines)


def architecture(subject: Subject) -> Sequence[Finding]:
    """The processor of this machine against the engine's."""
    found = subject.engine()
    if isinstance(found, NoEngine):
        return skipped("no engine answers")
    here = os.uname().machine
    name = GO_NAMES.get(here, here)
    if name == found.arch:
        return good(f"this machine and the engine are {name}")
    return [
        Finding(
            "warning",
            f"this machine is {name}, and the engine is {found.arch}",
            "set `images: pull`: images made of programs of this machine do not run there",
        )
    ]


def runtime(subject: Subject) -> Sequence[Finding]:
    """Which runtime the environment has, and whether its programs or images can be had."""
    lock = subject.lock()
    if lock is None:
        return skipped(_no_spec(subject))
    try:
        chosen = subject.runtime()
        lowered = chosen.lower(lock, lambda _note: None)
    except AlgaenvError as error:
        return of_problems(error.problems)
    engines = tuple(f"{it.service}: {it}" for it in lowered.engines)
    if isinstance(chosen, DockerRuntime):
        return [*_images(chosen, lowered), *good("runs with docker", *engines)]
    return good("runs with processes, and every program is there", *engines)


def _no_spec(subject: Subject) -> str:
    return "there is no spec" if subject.spec is None else "there is no spec that can be read"


def _images(chosen: DockerRuntime, lowered: Lowered) -> list[Finding]:
    """What images are not there yet, and whether their registries answer."""
    registries = Registries(chosen.engine, lambda _note: None)
    found: list[Finding] = []
    for resource in lowered.resources:
        image = resource.body
        if resource.address not in kind.IMAGE or not isinstance(
            image, PulledImage | RecipeImage | DockerfileImage
        ):
            continue
        try:
            if find_image(chosen.engine, image) is not None:
                continue
            why = registries.refusal(image) if isinstance(image, PulledImage) else ""
        except EngineGone:
            raise
        except DriverError as error:
            found += of_problems(error.problems)
            continue
        what = f"the image of {resource.address.name}, {image.title},"
        if why:
            buildable = not isinstance(image, PulledImage) or image.buildable
            other = "set `images: build`" if buildable else "load it into the engine"
            hint = f"look at the network of the engine, or {other}"
            found.append(Finding("warning", f"{what} is not there: {why}", hint))
        else:
            how = "pulled" if isinstance(image, PulledImage) else "built"
            found.append(Finding("ok", f"{what} is {how} by the next `algaenv up`"))
    return found


def ports(subject: Subject) -> Sequence[Finding]:
    """The ports of the spec, and what holds them."""
    lock = subject.lock()
    if lock is None:
        return skipped(_no_spec(subject))
    engine_found = subject.engine()
    containers: Mapping[int, PortUser] = {}
    if not isinstance(engine_found, NoEngine):
        containers = published_ports(subject.environ, engine_found)
    ours = [name for name in field_names(lock.ports) if name != "services"]
    wanted = {**{name: getattr(lock.ports, name) for name in ours}, **lock.ports.services}
    found: list[Finding] = []
    lines: list[str] = []
    for name, number in wanted.items():
        if not number:
            continue
        container = containers.get(number)
        holder = None if container else find_port_holder(number)
        own = lock.environment.id in (
            container.environment if container else "",
            holder.environment if holder else "",
        )
        if own or (container is None and holder is None):
            lines.append(f"{name} {number}: {'held by this environment' if own else 'free'}")
        else:
            found.append(_taken(name, number, container, holder))
    return found or good("free, or held by this environment", *lines)


def _taken(
    name: str, number: int, container: PortUser | None, holder: PortHolder | None
) -> Finding:
    other = f"set another `{name}.port` in the spec"
    if name == "console":
        other = "set another `store.console_port` in the spec"
    elif "." in name:
        other = f"set another port in `services.{name.replace('.', '.ports.')}` of the spec"
    if container is not None:
        known = container.spec and os.path.exists(container.spec)  # noqa: PTH110
        free = f"run `docker stop {container.container}`"
        if known:
            free = f"run `algaenv down -f {shlex.quote(container.spec)}`"
        who = f"the container {container.container}"
        who += f" of the environment of {container.spec}" if container.spec else ""
    else:
        who, free = str(holder), holder.remedy if holder else ""
    hint = f"{free}, or {other}" if free else other
    return Finding("failed", f"port {number}, for {name}, is held by {who}", hint)
