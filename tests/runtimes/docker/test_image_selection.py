"""Which image is chosen, with a real engine and a registry on loopback."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.model.intent import ContextImage, ImagesChoice, NamedImage, Profile, PullRef
from algaenv.model.lock import Lock
from algaenv.model.pins import Pins, ServicePin, with_pins
from algaenv.model.problem import ResolveError
from algaenv.runtimes.binaries import cache_home, platform_here
from algaenv.runtimes.docker.drivers.images import ImageDriver
from algaenv.runtimes.docker.engine import Engine
from algaenv.runtimes.docker.image_selection import (
    PYTHON_BASE,
    ExistingResources,
    ImageSelector,
    service_pin,
)
from algaenv.runtimes.docker.images.pull import pull
from algaenv.runtimes.docker.lower import ImageChoice, volume_name
from algaenv.runtimes.docker.runtime import DockerRuntime
from algaenv.runtimes.docker.specs import LOCAL_PREFIX, DockerfileImage, PulledImage, RecipeImage
from algaenv.runtimes.services import ServiceName
from tests.runtimes.docker.conftest import QUIET
from tests.runtimes.docker.registry import Registry
from tests.runtimes.locks import MINIO, POSTGRES, VALKEY, make_lock

pytestmark = pytest.mark.docker

NOTHING = ExistingResources({}, frozenset())


def select(
    engine: Engine, lock: Lock, left: ExistingResources = NOTHING, messages: list[str] | None = None
) -> dict[ServiceName, ImageChoice]:
    on_progress = messages.append if messages is not None else QUIET
    cache = cache_home(os.environ)
    return dict(
        ImageSelector(
            engine, lock, left, environ=os.environ, cache=cache, on_progress=on_progress
        ).select()
    )


def _lock(tmp_path: Path, images: ImagesChoice, redis: Profile, **changes: object) -> Lock:
    """The store is redis' program too, so that these need nothing but the wheel."""
    settings: dict[str, object] = {
        "store": replace(VALKEY, ports={"api": 6379}),
        "database": replace(VALKEY, name="third"),
        "runner": NamedImage(PullRef(("registry.invalid/runner",), "1")),
        **changes,
    }
    return make_lock(tmp_path, images=images, redis=redis, **settings)  # type: ignore[arg-type]


def _profile(registry: Registry, name: str = "good", *faults: int) -> Profile:
    """Built from a program of its own, so that no other test has its image."""
    ref = PullRef((registry.repository(name, *faults),), "1", registry.image.digest)
    return replace(VALKEY, image=ref)


@pytest.fixture
def fresh_recipe(tmp_path: Path) -> Path:
    """A program without an image."""
    program = tmp_path / f"valkey-{secrets.token_hex(4)}"
    program.write_text(f"#!/bin/sh\n# {program.name}\n")
    program.chmod(0o755)
    return program


def test_pull_pulls_and_build_builds(engine: Engine, registry: Registry, tmp_path: Path) -> None:
    profile = _profile(registry)
    pulled = select(engine, _lock(tmp_path, "pull", profile))["redis"]
    assert isinstance(pulled.image, PulledImage)
    assert (pulled.user, pulled.kept) == (None, "valkey")
    built = select(engine, _lock(tmp_path, "build", profile))["redis"]
    assert isinstance(built.image, RecipeImage)
    assert built.kept == "valkey-server-local"
    assert built.user is not None
    assert built.note.startswith("made on this machine from /")


def test_auto_pulls_what_a_registry_gives(
    engine: Engine, registry: Registry, tmp_path: Path, fresh_recipe: Path
) -> None:
    profile = replace(_profile(registry), binaries=(str(fresh_recipe),))
    chosen = select(engine, _lock(tmp_path, "auto", profile))["redis"]
    assert isinstance(chosen.image, PulledImage)


@pytest.mark.parametrize("reached", [True, False])
def test_auto_makes_what_no_registry_gives_and_gives_a_reason(
    engine: Engine, registry: Registry, tmp_path: Path, fresh_recipe: Path, reached: bool
) -> None:
    repository = registry.repository("bad", *[404] * 9) if reached else "127.0.0.1:1/x"
    ref = PullRef((repository,), "1", registry.image.digest)
    profile = replace(VALKEY, image=ref, binaries=(str(fresh_recipe),))
    chosen = select(engine, _lock(tmp_path, "auto", profile))["redis"]
    assert isinstance(chosen.image, RecipeImage)
    assert ("does not give it out" if reached else "127.0.0.1:1 does not answer") in chosen.note


def test_auto_prefers_what_is_here_and_asks_nobody(
    engine: Engine, registry: Registry, tmp_path: Path, fresh_recipe: Path
) -> None:
    profile = replace(_profile(registry), binaries=(str(fresh_recipe),))
    lock = _lock(tmp_path, "auto", profile)
    pull(engine, PulledImage(profile.image.repositories, "1", profile.image.digest), QUIET)  # type: ignore[union-attr]
    messages: list[str] = []
    chosen = select(engine, lock, messages=messages)["redis"]
    assert isinstance(chosen.image, PulledImage)
    assert not [line for line in messages if registry.host in line]


def test_auto_stays_with_what_there_was(
    engine: Engine, registry: Registry, tmp_path: Path, fresh_recipe: Path
) -> None:
    profile = replace(_profile(registry), binaries=(str(fresh_recipe),))
    lock = _lock(tmp_path, "auto", profile)
    messages: list[str] = []
    left = ExistingResources({"redis": f"{LOCAL_PREFIX}redis:123456123456"}, frozenset())
    assert isinstance(select(engine, lock, left, messages)["redis"].image, RecipeImage)
    left = ExistingResources({"redis": "valkey/valkey:9@sha256:1"}, frozenset())
    assert isinstance(select(engine, lock, left, messages)["redis"].image, PulledImage)
    assert not [line for line in messages if registry.host in line]


def test_auto_stays_with_the_data(
    engine: Engine, registry: Registry, tmp_path: Path, fresh_recipe: Path
) -> None:
    profile = replace(_profile(registry), binaries=(str(fresh_recipe),))
    lock = _lock(tmp_path, "auto", profile)
    built = select(engine, replace(lock, intent=replace(lock.intent, images="build")))["redis"]
    data = frozenset({volume_name(lock, "redis", built)})
    assert isinstance(select(engine, lock, ExistingResources({}, data))["redis"].image, RecipeImage)
    pulled = select(engine, replace(lock, intent=replace(lock.intent, images="pull")))["redis"]
    data = frozenset({volume_name(lock, "redis", pulled)})
    assert isinstance(select(engine, lock, ExistingResources({}, data))["redis"].image, PulledImage)


def test_the_store_that_has_the_data_is_preferred(
    engine: Engine, tmp_path: Path, fresh_recipe: Path
) -> None:
    lock = _lock(tmp_path, "build", VALKEY)
    other = replace(lock.intent.store.profile, name="other", binaries=(str(fresh_recipe),))
    store = replace(lock.intent.store, local=(other,))
    lock = replace(lock, intent=replace(lock.intent, store=store))
    first = select(engine, lock)["store"]
    assert first.profile == store.profile
    data = frozenset({f"algaenv-{lock.environment.id}-store-{fresh_recipe.name}-local"})
    assert select(engine, lock, ExistingResources({}, data))["store"].profile == other


def test_all_that_is_missing_is_reported_at_once(engine: Engine, tmp_path: Path) -> None:
    nothing = replace(VALKEY, binaries=("no-such-program",))
    lock = _lock(
        tmp_path,
        "build",
        nothing,
        store=replace(MINIO, binaries=("no-such-store",)),
        database=replace(POSTGRES, recipe=""),
        volumes=("./not-there:/x",),
    )
    with pytest.raises(ResolveError) as caught:
        select(engine, lock)
    codes = sorted(problem.code for problem in caught.value.problems)
    assert codes == ["binary-missing", "image-no-recipe", "mount-source-missing"]
    text = str(caught.value)
    assert "store: no-such-store" in text
    assert "redis: no-such-program" in text
    assert "put one of them on PATH" in text


def test_auto_with_no_way_at_all_reports_both(
    engine: Engine, registry: Registry, tmp_path: Path
) -> None:
    profile = replace(_profile(registry, "bad", *[401] * 9), binaries=("no-such-program",))
    with pytest.raises(ResolveError) as caught:
        select(engine, _lock(tmp_path, "auto", profile))
    codes = {problem.code for problem in caught.value.problems}
    assert codes == {"image-unreachable", "binary-missing"}


def test_pull_of_what_has_no_image(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(ResolveError) as caught:
        select(engine, _lock(tmp_path, "pull", replace(VALKEY, image=None)))
    assert [p.code for p in caught.value.problems] == ["image-not-pullable"]


def test_a_runner_of_the_authors_own(engine: Engine, tmp_path: Path) -> None:
    context = tmp_path / "runner"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\n")
    image = ContextImage(str(context), "Dockerfile", {"A": "1"})
    chosen = select(engine, _lock(tmp_path, "build", VALKEY, runner=image))["runner"]
    assert isinstance(chosen.image, DockerfileImage)
    (context / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    again = select(engine, _lock(tmp_path, "build", VALKEY, runner=image))["runner"]
    assert isinstance(again.image, DockerfileImage)
    assert again.image.hash != chosen.image.hash
    gone = ContextImage(str(tmp_path / "no"), "Dockerfile", {})
    with pytest.raises(ResolveError, match="there is no directory"):
        select(engine, _lock(tmp_path, "build", VALKEY, runner=gone))


def test_the_bundled_runner(engine: Engine, tmp_path: Path) -> None:
    lock = make_lock(
        tmp_path,
        store=replace(VALKEY, ports={"api": 6379}),
        database=replace(VALKEY, name="third"),
    )

    def runner(images: ImagesChoice, left: ExistingResources = NOTHING) -> ImageChoice:
        changed = replace(lock, intent=replace(lock.intent, images=images))
        return select(engine, changed, left)["runner"]

    built = runner("build")
    assert isinstance(built.image, RecipeImage)
    assert built.read_only
    left = ExistingResources({"runner": f"{LOCAL_PREFIX}runner-public:123456123456"}, frozenset())
    public = runner("auto", left)
    assert isinstance(public.image, DockerfileImage)
    assert public.image.wheel
    assert public.note == f"built on {PYTHON_BASE.title}"
    left = ExistingResources({"runner": f"{LOCAL_PREFIX}runner:123456123456"}, frozenset())
    assert runner("auto", left).image == built.image


def test_a_lowering_that_changes_nothing_is_repeatable_and_quick(
    runtime: DockerRuntime, tmp_path: Path
) -> None:
    """The second time nothing is computed: no SDK, no recipe parsed, no registry asked."""
    bare = replace(VALKEY, files={}, ports={"api": 6379})
    lock = make_lock(tmp_path, store=bare, database=bare)
    messages: list[str] = []
    one, two = runtime.lower(lock, messages.append), runtime.lower(lock, messages.append)
    assert one == two
    assert messages == []


def test_hands_make_what_was_chosen(engine: Engine, tmp_path: Path) -> None:
    chosen = select(engine, _lock(tmp_path, "build", VALKEY))["redis"]
    from algaenv.model.kind import Address, Tier
    from algaenv.model.resource import Resource

    resource = Resource(Address("image", "redis"), Tier.SUBSTRATE, {}, chosen.image)
    ImageDriver(engine, cache_home(os.environ)).create(resource, QUIET)
    found = engine.find(f"/images/{chosen.image.title}/json")
    assert found is not None


@pytest.mark.parametrize("images", ["auto", "build"])
def test_a_version_that_is_not_here_is_refused(
    engine: Engine, tmp_path: Path, images: ImagesChoice
) -> None:
    unreachable = PullRef(("127.0.0.1:1/pg",), "17", f"sha256:{'7' * 64}")
    database = replace(POSTGRES, name="postgres-17", version="17", image=unreachable)
    lock = _lock(tmp_path, images, VALKEY, database=database)
    with pytest.raises(ResolveError) as caught:
        select(engine, lock)
    problem = caught.value.problems[-1]
    assert problem.code == "program-version"
    assert "not 17" in problem.summary
    assert "images: pull" in problem.hint


def test_data_of_another_version_is_named(engine: Engine, tmp_path: Path) -> None:
    lock = _lock(tmp_path, "build", VALKEY, database=replace(POSTGRES, version="18"))
    older = f"algaenv-{lock.environment.id}-database-postgres-17"
    with pytest.raises(ResolveError) as caught:
        select(engine, lock, ExistingResources({}, frozenset({older})))
    (problem,) = caught.value.problems
    assert problem.code == "data-version"
    assert older in problem.summary
    assert f"docker volume rm {older}" in problem.hint
    wanted = select(engine, lock)["database"]
    both = frozenset({older, volume_name(lock, "database", wanted)})
    assert select(engine, lock, ExistingResources({}, both))["database"] == wanted


def _pins(engine: Engine, lock: Lock) -> dict[str, ServicePin]:
    chosen = select(engine, lock)
    return {it: service_pin(engine, lock, it, choice) for it, choice in chosen.items()}


def test_a_tag_is_locked_and_pulled_by_the_digest_of_its_registry(
    engine: Engine, registry: Registry, tmp_path: Path
) -> None:
    repository = registry.repository("good")
    profile = replace(VALKEY, image=PullRef((repository,), "1"))
    runner = NamedImage(PullRef((repository,), "1"))
    server = replace(VALKEY, ports={"api": 6379}, image=profile.image)
    lock = _lock(
        *(tmp_path, "pull", profile),
        store=server,
        database=replace(profile, name="third"),
        runner=runner,
    )
    found = _pins(engine, lock)
    for pin in (found["redis"], found["runner"]):
        assert (pin.origin, pin.digest) == ("pulled", registry.image.digest)
        assert (pin.repositories, pin.tag) == ((repository,), "1")
    pins = Pins("", "", tuple(found.values()))
    locked = replace(lock, intent=with_pins(lock.intent, pins, platform_here()))
    for service in ("redis", "runner"):
        image = select(engine, locked)[service].image
        assert image.references == (f"{repository}@{registry.image.digest}",)
    assert _pins(engine, locked) == found


def test_a_tag_whose_digest_nobody_tells_cannot_be_locked(engine: Engine, tmp_path: Path) -> None:
    lock = _lock(tmp_path, "build", VALKEY)
    with pytest.raises(ResolveError) as caught:
        _pins(engine, lock)
    assert caught.value.problem.code == "lock-digest-unknown"
    assert "registry.invalid/runner:1" in caught.value.problem.summary


def test_auto_does_as_the_lock_file_says(
    engine: Engine, registry: Registry, tmp_path: Path, fresh_recipe: Path
) -> None:
    profile = replace(_profile(registry), binaries=(str(fresh_recipe),))
    lock = _lock(tmp_path, "auto", profile)
    choice = select(engine, lock)["redis"]
    assert isinstance(choice.image, PulledImage)
    pin = replace(service_pin(engine, lock, "redis", choice), origin="built", digest="sha256:x")
    pinned = with_pins(lock.intent, Pins("", "", (pin,)), platform_here())
    built = select(engine, replace(lock, intent=pinned))["redis"]
    assert isinstance(built.image, RecipeImage)
    assert built.note.endswith("(as the lock file says)")
    digest = service_pin(engine, lock, "redis", built).digest
    assert digest == f"sha256:{built.image.hash}"
    data = volume_name(lock, "redis", choice)
    stays = ExistingResources({}, frozenset({data}))
    kept = select(engine, replace(lock, intent=pinned), stays)["redis"]
    assert isinstance(kept.image, PulledImage), "data is not left behind"
