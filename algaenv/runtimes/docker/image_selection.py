"""Selects the image of each service: pulled from a registry, or built on this machine.

`auto` keeps the images of existing containers, then prefers images that the engine has, then pulls
if a registry answers, and else builds. Nothing is changed here: drivers pull and build.

Containers of images that are built here run as the user of this program. A root user gets a uid of
the environment's own instead: a fixed uid could be a person's on this machine, who could then read
the memory of its processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

import algaenv
from algaenv.bundle.value import dataclass, field, replace
from algaenv.model.intent import (
    BundledGateway,
    BundledImage,
    ContextImage,
    ExternalDatabase,
    ImagePin,
    ImagesChoice,
    NamedImage,
    Profile,
    PullRef,
)
from algaenv.model.lock import Lock
from algaenv.model.pins import PULLED, ServicePin, asked_of
from algaenv.model.problem import DriverError, Problem, ResolveError
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.binaries import (
    Binary,
    candidates,
    engine_name,
    major_of,
    missing_programs,
    platform_here,
    version_of,
    wrong_version,
)
from algaenv.runtimes.docker.engine import Engine, as_list, as_map
from algaenv.runtimes.docker.images.identity import context_identity, identity
from algaenv.runtimes.docker.images.pull import Registries, digest_of
from algaenv.runtimes.docker.images.recipe import Recipe, load_recipe
from algaenv.runtimes.docker.lower import ImageChoice, extra_mount, volume_name
from algaenv.runtimes.docker.specs import (
    FIRST_UID,
    LOCAL_PREFIX,
    DockerfileImage,
    ImageSpec,
    ImageUser,
    PulledImage,
    RecipeImage,
    local_names,
)
from algaenv.runtimes.memo import Memo
from algaenv.runtimes.services import ServiceName
from algaenv.spec.paths import is_directory, stacks_root

PYTHON_BASE: Final = PulledImage(("docker.io/library/python",), "3.12-slim", None)
_BUILT_HERE: Final = "made on this machine"
_PINNED: Final = "as the lock file says"
BUILT: Final = "built"
"""The origin of an image that is made here from packages, in a lock file."""


@dataclass(slots=True)
class _SelectionProblems:
    """Collects problems, so that all are reported at once."""

    problems: list[Problem] = field(default_factory=list)
    programs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    other_versions: dict[str, Problem] = field(default_factory=dict)
    """Profile → its program is here, but not in the version asked for."""


@dataclass(frozen=True, slots=True)
class ExistingResources:
    """What an environment already has on the engine.

    `images` maps each service to the title of its container's image; `volumes` are the names of its
    volumes; `users` are the users of its containers, `<uid>:<gid>`.
    """

    images: Mapping[str, str]
    volumes: frozenset[str]
    users: frozenset[str] = frozenset()


class ImageSelector:
    """Selects for one lock. `cache` is the directory that keeps hashes and paths between runs.

    `own_hashes` has those of the services of this package that are known: their code is that of
    this process, which stays what it was.
    """

    def __init__(
        self,
        engine: Engine,
        lock: Lock,
        left: ExistingResources,
        *,
        environ: Mapping[str, str],
        cache: Path,
        on_progress: OnProgress,
        own_hashes: dict[str, str] | None = None,
    ) -> None:
        self._engine = engine
        self._own_hashes = own_hashes if own_hashes is not None else {}
        self._lock = lock
        self._existing = left
        self._environ = environ
        self._cache = cache
        self._memo = Memo(cache, "images")
        self._registries = Registries(engine, on_progress)
        self._recipes = stacks_root() / "images"
        self._problems_found = _SelectionProblems()
        self._chosen_user: ImageUser | None = None

    def select(self) -> Mapping[ServiceName, ImageChoice]:
        """One image per service. Raises ResolveError with all problems at once."""
        intent = self._lock.intent
        store = intent.store
        servers: dict[ServiceName, tuple[Profile, ...]] = {
            "store": (store.profile, *store.local),
            "redis": (intent.redis.profile,),
        }
        if not isinstance(intent.database, ExternalDatabase):
            servers["database"] = (intent.database.profile,)
        chosen = {name: self._server(name, profiles) for name, profiles in servers.items()}
        self._check_data(chosen.get("database"))
        chosen["runner"] = self._runner()
        if isinstance(intent.gateway, BundledGateway):
            chosen["gateway"] = self._bundled("gateway", intent.images)
        self._check_mounts()
        if self._problems_found.programs:
            self._problems_found.problems += missing_programs(
                self._problems_found.programs
            ).problems
        if self._problems_found.problems:
            raise ResolveError(*self._problems_found.problems)
        return {name: choice for name, choice in chosen.items() if choice is not None}

    def _server(self, service: ServiceName, profiles: tuple[Profile, ...]) -> ImageChoice | None:
        profile, images = profiles[0], self._lock.intent.images
        pin = self._lock.intent.image_pins.get(service)
        pulled = _pulled(profile, pin)
        if images == "pull":
            return pulled or self._problem(_not_pullable(service, profile))
        built = self._built(service, profiles)
        if images == "build":
            return built or self._cannot_build(service, profiles)
        return self._choose_auto(service, pulled, built) or self._unobtainable(
            service, profiles, pulled
        )

    def _choose_auto(
        self, service: ServiceName, pulled: ImageChoice | None, built: ImageChoice | None
    ) -> ImageChoice | None:
        """The choice of `auto`; None when the image can neither be pulled nor built."""
        used = self._existing.images.get(service, "")
        if pulled is None or built is None:
            return built or (pulled if pulled and self._obtainable(pulled.image) else None)
        if used:
            return built if used.startswith(LOCAL_PREFIX) else pulled
        if self._has_data(service, pulled) != self._has_data(service, built):
            return pulled if self._has_data(service, pulled) else built
        if pin := self._lock.intent.image_pins.get(service):
            return pulled if pin.pull else _with_reason(built, _PINNED)
        if self._is_here(pulled.image):
            return pulled
        if self._is_here(built.image):
            return built
        refusal = self._refusal(pulled.image)
        return _with_reason(built, refusal) if refusal else pulled

    def _obtainable(self, image: ImageSpec) -> bool:
        return self._is_here(image) or not self._refusal(image)

    def _refusal(self, image: ImageSpec) -> str:
        return self._registries.refusal(image) if isinstance(image, PulledImage) else ""

    def _is_here(self, image: ImageSpec) -> bool:
        names = local_names(image)
        return any(self._engine.find(f"/images/{name}/json") is not None for name in names)

    def _has_data(self, service: ServiceName, choice: ImageChoice) -> bool:
        return volume_name(self._lock, service, choice) in self._existing.volumes

    def _built(self, service: ServiceName, profiles: Iterable[Profile]) -> ImageChoice | None:
        """The image of the first profile that has data, else of the first that has a program."""
        possible = []
        for profile in profiles:
            program = self._program(profile) if profile.recipe else None
            if program is None:
                continue
            choice = self._from_recipe(profile, program)
            if choice is None or self._has_data(service, choice):
                return choice
            possible.append(choice)
        return possible[0] if possible else None

    def _program(self, profile: Profile) -> Binary | None:
        """The first program of the profile with the version it asks for."""
        found = candidates(profile.binaries, self._environ, self._cache)
        if not profile.version:
            return next(found, None)
        others = []
        for program in found:
            try:
                version = version_of(program, self._memo)
            except DriverError:
                continue
            if major_of(version) == profile.version:
                return program
            others.append((program, version))
        if others:
            remedy = "set `images: pull`" if profile.image else "choose another engine"
            self._problems_found.other_versions[profile.name] = wrong_version(
                profile, others, remedy
            )
        return None

    def _from_recipe(self, profile: Profile, program: Binary) -> ImageChoice | None:
        try:
            recipe = load_recipe(self._recipes, profile.recipe, self._memo)
            version = version_of(program, self._memo) if recipe.versioned else program.version
            major = major_of(version) if recipe.versioned else ""
            image = RecipeImage(recipe.name, identity(recipe, program, self._memo), program, major)
        except DriverError as error:
            return self._problem(*error.problems)
        kept = f"{program.name}{major}-local"
        note = f"{_BUILT_HERE} from {program.path}"
        user = self._user(recipe)
        return _local_choice(recipe, image, profile, user, version=version, note=note, kept=kept)

    def _runner(self) -> ImageChoice | None:
        image = self._lock.intent.runner.image
        match image:
            case NamedImage(ref):
                pin = self._lock.intent.image_pins.get("runner")
                body = PulledImage(ref.repositories, ref.tag, _digest(ref, pin))
                return ImageChoice(body, None, f"pulled as {body.title}", ref.tag)
            case ContextImage():
                return self._from_context(image)
            case BundledImage():
                return self._bundled("runner", self._lock.intent.images)

    def _from_context(self, image: ContextImage) -> ImageChoice | None:
        context = Path(image.context)
        if not is_directory(image.context):
            hint = "correct `runner.image.build.context`"
            summary = f"cannot build the runner's image: there is no directory {context}"
            return self._problem(Problem("image-build-failed", summary, hint))
        hash_ = context_identity(context, image.dockerfile, image.args, self._memo)
        body = DockerfileImage("runner-context", hash_, str(context), image.dockerfile, image.args)
        return ImageChoice(body, None, f"built from {context}")

    def _bundled(
        self, service: Literal["runner", "gateway"], images: ImagesChoice
    ) -> ImageChoice | None:
        """A service of this package, built here or on a public base image."""
        try:
            recipe = load_recipe(self._recipes, service, self._memo)
            if service not in self._own_hashes:
                self._own_hashes[service] = identity(recipe, None, self._memo)
            hash_ = self._own_hashes[service]
        except DriverError as error:
            return self._problem(*error.problems)
        version = algaenv.__version__
        image = RecipeImage(service, hash_, None)
        user = self._user(recipe)
        note = f"{_BUILT_HERE} from what is installed"
        built = _local_choice(recipe, image, None, user, version=version, note=note)
        folder = str(recipe.folder)
        body = DockerfileImage(f"{service}-public", hash_, folder, "Dockerfile", {}, wheel=True)
        note = f"built on {PYTHON_BASE.title}"
        public = _local_choice(recipe, body, None, user, version=version, note=note)
        if images != "auto":
            return public if images == "pull" else built
        used = self._existing.images.get(service, "")
        if used:
            return public if used.startswith(f"{LOCAL_PREFIX}{body.recipe}:") else built
        if pin := self._lock.intent.image_pins.get(service):
            return _with_reason(built if pin.origin == BUILT else public, _PINNED)
        if self._is_here(built.image):
            return built
        refusal = self._refusal(PYTHON_BASE)
        return _with_reason(built, refusal) if refusal else public

    def _user(self, recipe: Recipe) -> ImageUser:
        """The user of containers of an image built from `recipe`.

        Requests the engine's settings at most once, and only if no container ran as that user yet.
        """
        if self._chosen_user is None:
            wanted = container_user(self._lock.environment.id, os.geteuid(), os.getegid())
            facts = self._engine.facts
            known = wanted.uid <= LAST_COMMON_UID or str(wanted) in self._existing.users
            # Podman tells only among its settings whether an ordinary user runs it.
            asked = facts.podman or not known
            maps = facts.rootless or (asked and maps_users(self._engine))
            self._chosen_user = ImageUser(recipe.user, recipe.user) if maps else wanted
        return self._chosen_user

    def _check_data(self, database: ImageChoice | None) -> None:
        """Report volumes of another PostgreSQL: an environment never starts empty silently."""
        if database is None or self._has_data("database", database):
            return
        prefix = volume_name(self._lock, "database", replace(database, kept="")) + "-"
        left = sorted(name for name in self._existing.volumes if name.startswith(prefix))
        if left:
            engine = f"PostgreSQL {major_of(database.version)}".rstrip()
            self._problem(
                Problem(
                    "data-version",
                    f"cannot use the data of this environment with {engine} of {database.note}: "
                    f"another PostgreSQL made the volume {', '.join(left)}",
                    "set `database.version` and `images` as they were, or start empty: "
                    f"`docker volume rm {' '.join(left)}`",
                )
            )

    def _check_mounts(self) -> None:
        for text in self._lock.intent.runner.volumes:
            mount = extra_mount(self._lock, text)
            if not os.path.exists(mount.source):  # noqa: PTH110 - never raises
                summary = f"cannot mount {mount.source}, which does not exist, into the runner"
                hint = "create it, or correct `runner.volumes`"
                self._problem(Problem("mount-source-missing", summary, hint))

    def _problem(self, *problems: Problem) -> ImageChoice | None:
        self._problems_found.problems += [
            p for p in problems if p not in self._problems_found.problems
        ]
        return None

    def _cannot_build(self, service: str, profiles: tuple[Profile, ...]) -> ImageChoice | None:
        names = tuple(name for p in profiles if p.recipe for name in p.binaries)
        if problem := self._problems_found.other_versions.get(profiles[0].name):
            self._problem(problem)
        elif names:
            self._problems_found.programs[service] = tuple(dict.fromkeys(names))
        elif not self._problems_found.problems:
            self._problem(_no_recipe(service, profiles[0]))
        return None

    def _unobtainable(
        self, service: str, profiles: tuple[Profile, ...], pulled: ImageChoice | None
    ) -> ImageChoice | None:
        if pulled is not None:
            refusal = self._refusal(pulled.image)
            summary = f"cannot get an image for {service}: {refusal}"
            hint = "look at the engine's network, or choose another engine in the spec"
            self._problem(Problem("image-unreachable", summary, hint))
        return self._cannot_build(service, profiles)


def service_pin(
    engine: Engine, lock: Lock, service: ServiceName, choice: ImageChoice
) -> ServicePin:
    """What a lock file has of the image of a service.

    Raises ResolveError (`lock-digest-unknown`) for a tag whose digest nobody can tell.
    """
    image = choice.image
    origin, digest = BUILT, ""
    repositories: tuple[str, ...] = ()
    tag = ""
    match image:
        case PulledImage():
            repositories, tag = image.repositories, image.tag
            origin, digest = PULLED, digest_of(engine, image)
            if not digest:
                raise ResolveError(_no_digest(service, image))
        case RecipeImage(hash=hash_):
            digest = f"sha256:{hash_}"
        case DockerfileImage(hash=hash_, wheel=wheel):
            digest = f"sha256:{hash_}"
            origin = f"{BUILT} on {PYTHON_BASE.title}" if wheel else BUILT
    name = engine_name(choice.profile) if choice.profile else "bundled"
    if choice.profile is None and not choice.version:
        name = "image"
    asked = asked_of(lock.intent, "docker").get(service, "")
    key = "docker", platform_here(), service
    return ServicePin(*key, asked, name, choice.version, origin, digest, repositories, tag)


def _no_digest(service: str, image: PulledImage) -> Problem:
    return Problem(
        "lock-digest-unknown",
        f"cannot lock the image of {service}: no repository tells the digest of {image.title}, and "
        "the engine does not have it",
        "bring it up once with `algaenv up`, name a digest in the spec, or look at the engine's "
        "network",
    )


def _digest(ref: PullRef, pin: ImagePin | None) -> str | None:
    """That of the spec, else that of the lock file."""
    return ref.digest or (pin.digest if pin is not None and pin.pull and pin.digest else None)


def _pulled(profile: Profile, pin: ImagePin | None) -> ImageChoice | None:
    if profile.image is None:
        return None
    ref = profile.image
    body = PulledImage(ref.repositories, ref.tag, _digest(ref, pin))
    version = profile.version or ref.tag
    return ImageChoice(body, profile, f"pulled as {body.title}", version, kept=profile.name)


def _local_choice(
    recipe: Recipe,
    image: ImageSpec,
    profile: Profile | None,
    user: ImageUser,
    *,
    version: str,
    note: str,
    kept: str = "",
) -> ImageChoice:
    return ImageChoice(
        image,
        profile,
        note,
        version,
        user=user,
        chown=recipe.chown,
        healthcheck=recipe.healthcheck,
        read_only=recipe.read_only,
        kept=kept,
        environment=recipe.container,
        tmpfs=recipe.tmpfs,
    )


def _with_reason(choice: ImageChoice, reason: str) -> ImageChoice:
    return replace(choice, note=f"{choice.note} ({reason})")


def _not_pullable(service: str, profile: Profile) -> Problem:
    summary = f"cannot pull an image for {service}: engine {profile.name} has none"
    return Problem("image-not-pullable", summary, "set `images: build`, or choose another engine")


def _no_recipe(service: str, profile: Profile) -> Problem:
    summary = f"cannot make an image for {service}: there is no recipe for engine {profile.name}"
    return Problem("image-no-recipe", summary, "set `images: pull`, or choose another engine")


UID_SPAN: Final = 146_000_000
"""All uids fit into 31 bits, the limit of some programs."""
LAST_COMMON_UID: Final = 65_535
"""The last uid that every engine has, even one that maps users of containers."""


def container_user(environment_id: str, uid: int, gid: int) -> ImageUser:
    """The user for the containers of an environment that `uid` and `gid` bring up."""
    if uid:
        return ImageUser(uid, gid)
    number = FIRST_UID + int(environment_id, 16) % UID_SPAN
    return ImageUser(number, number)


def maps_users(engine: Engine) -> bool:
    """Whether the engine maps users of containers to other uids outside."""
    found = as_map(engine.get("/info"))
    options = as_list(found.get("SecurityOptions"))
    by_option = any(str(one).startswith(("name=userns", "name=rootless")) for one in options)
    return by_option or found.get("Rootless") is True
