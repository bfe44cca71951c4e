"""Pulling from a real registry on loopback, through the real engine."""

from __future__ import annotations

import pytest

from algaenv.model.address import Address, Tier
from algaenv.model.problem import Refused, Unavailable
from algaenv.model.resource import Resource
from algaenv.runtimes.binaries import cache_home
from algaenv.runtimes.docker.body import PulledImage
from algaenv.runtimes.docker.engine import Engine
from algaenv.runtimes.docker.hands.images import ImageHands
from algaenv.runtimes.docker.images.local import find_image
from algaenv.runtimes.docker.images.pull import pull
from algaenv.runtimes.docker.registry import Registries, registry_of
from tests.runtimes.docker.conftest import QUIET
from tests.runtimes.docker.registry import Registry, make_image, serve

pytestmark = pytest.mark.docker


def _image(registry: Registry, *repositories: str, digest: str | None = None) -> PulledImage:
    return PulledImage(repositories, "1", digest or registry.image.digest)


def test_by_digest(engine: Engine, registry: Registry) -> None:
    image = _image(registry, registry.repository("good"))
    pull(engine, image, QUIET)
    found = find_image(engine, image)
    assert found is not None
    assert found.reference == f"{registry.host}/good@{registry.image.digest}"


def test_by_tag(engine: Engine, registry: Registry) -> None:
    image = PulledImage((registry.repository("good"),), "1", None)
    pull(engine, image, QUIET)
    assert find_image(engine, image) is not None


def test_hands_do_not_pull_what_is_there(engine: Engine, registry: Registry) -> None:
    image = _image(registry, registry.repository("good"))
    resource = Resource(Address("image", "store"), Tier.SUBSTRATE, {}, image)
    hands = ImageHands(engine, cache_home({}))
    hands.create(resource, QUIET)
    asked = len(registry.asked)
    assert asked
    hands.create(resource, QUIET)
    assert len(registry.asked) == asked


@pytest.mark.parametrize("status", [401, 403, 404])
def test_the_next_repository_has_it(engine: Engine, registry: Registry, status: int) -> None:
    first = registry.repository("first", *[status] * 9)
    image = _image(registry, first, registry.repository("second"))
    said: list[str] = []
    pull(engine, image, said.append)
    found = find_image(engine, image)
    assert found is not None
    assert found.reference.startswith(f"{registry.host}/second@")
    assert any(line.startswith(f"{first}: ") for line in said)


def test_denied_by_all_is_final_and_names_each(engine: Engine, registry: Registry) -> None:
    image = _image(
        registry, registry.repository("one", *[401] * 9), registry.repository("two", *[404] * 9)
    )
    with pytest.raises(Refused) as caught:
        pull(engine, image, QUIET)
    problem = caught.value.problem
    assert problem.code == "image-denied"
    assert "logging in does not help" in problem.hint
    assert [line.partition("@")[0] for line in problem.detail] == [
        f"{registry.host}/one",
        f"{registry.host}/two",
    ]
    assert len([line for line in registry.asked if "manifests" in line]) <= 4


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_passing_fault_is_tried_again(engine: Engine, registry: Registry, status: int) -> None:
    image = _image(registry, registry.repository("good", status))
    said: list[str] = []
    pull(engine, image, said.append)
    assert find_image(engine, image) is not None
    assert any("try 2 of" in line for line in said), said


def test_a_fault_that_lasts_may_pass_later(engine: Engine, registry: Registry) -> None:
    image = _image(registry, registry.repository("good", *[503] * 40))
    with pytest.raises(Unavailable) as caught:
        pull(engine, image, QUIET)
    assert caught.value.problem.code == "image-unreachable"


def test_a_registry_that_is_not_there(engine: Engine, registry: Registry) -> None:
    image = _image(registry, "127.0.0.1:1/nobody")
    with pytest.raises(Unavailable) as caught:
        pull(engine, image, QUIET)
    assert caught.value.problem.code == "image-unreachable"


def test_another_image_under_the_digest(engine: Engine, registry: Registry) -> None:
    image = _image(registry, registry.repository("forged", 0))
    with pytest.raises(Refused) as caught:
        pull(engine, image, QUIET)
    assert caught.value.problem.code == "image-wrong-digest"
    assert find_image(engine, image) is None


def test_the_wrong_architecture_is_refused_at_once(engine: Engine) -> None:
    strange = make_image("strange", "s390x" if engine.facts.arch != "s390x" else "amd64")
    with serve(strange, strange) as registry:
        image = _image(registry, registry.repository("one"), registry.repository("two"))
        with pytest.raises(Refused) as caught:
            pull(engine, image, QUIET)
        assert caught.value.problem.code == "image-architecture"
        assert not [line for line in registry.asked if line.startswith("two")]
        engine.api.remove_image(image.references[0], force=True)


def test_asking_registries(engine: Engine, registry: Registry) -> None:
    said: list[str] = []
    registries = Registries(engine, said.append)
    assert registries.refusal(_image(registry, registry.repository("good"))) == ""
    refused = registries.refusal(_image(registry, registry.repository("bad", *[401] * 9)))
    assert refused == f"{registry.host} does not give it out"
    silent = PulledImage(("127.0.0.1:1/x", "127.0.0.1:1/y"), "1", registry.image.digest)
    assert registries.refusal(silent) == "127.0.0.1:1 does not answer"
    assert len([line for line in said if "127.0.0.1:1 " in line]) == 1


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        ("redis:7", "docker.io"),
        ("pgsty/silo@sha256:0", "docker.io"),
        ("quay.io/minio/minio:1", "quay.io"),
        ("localhost/x:1", "localhost"),
        ("127.0.0.1:5000/x:1", "127.0.0.1:5000"),
    ],
)
def test_registry_of(reference: str, host: str) -> None:
    assert registry_of(reference) == host
