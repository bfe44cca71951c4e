"""Pulling from a real registry on loopback, through the real engine."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.model.kind import Address, Tier
from algaenv.model.problem import DriverError, Refused, Unavailable
from algaenv.model.resource import Resource
from algaenv.runtimes.binaries import cache_home
from algaenv.runtimes.docker import credentials
from algaenv.runtimes.docker.drivers.images import ImageDriver
from algaenv.runtimes.docker.endpoint import locate
from algaenv.runtimes.docker.engine import Engine
from algaenv.runtimes.docker.images.pull import Registries, find_image, pull, registry_of
from algaenv.runtimes.docker.specs import DockerfileImage, PulledImage
from tests.params import slow_params
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
    driver = ImageDriver(engine, cache_home({}))
    driver.create(resource, QUIET)
    asked = len(registry.asked)
    assert asked
    driver.create(resource, QUIET)
    assert len(registry.asked) == asked


@pytest.mark.parametrize("status", [401, 403, 404])
def test_the_next_repository_has_it(engine: Engine, registry: Registry, status: int) -> None:
    first = registry.repository("first", *[status] * 9)
    image = _image(registry, first, registry.repository("second"))
    messages: list[str] = []
    pull(engine, image, messages.append)
    found = find_image(engine, image)
    assert found is not None
    assert found.reference.startswith(f"{registry.host}/second@")
    assert any(line.startswith(f"{first}: ") for line in messages)


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
    messages: list[str] = []
    pull(engine, image, messages.append)
    assert find_image(engine, image) is not None
    assert any("try 2 of" in line for line in messages), messages


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


@pytest.mark.parametrize(
    ("repository", "code"), [("one", "image-denied"), ("", "image-unreachable")]
)
def test_an_image_of_the_author_cannot_be_built_instead(
    engine: Engine, registry: Registry, repository: str, code: str
) -> None:
    place = registry.repository(repository, *[404] * 9) if repository else "127.0.0.1:1/nobody"
    with pytest.raises(DriverError) as caught:
        pull(engine, replace(_image(registry, place), buildable=False), QUIET)
    assert caught.value.problem.code == code
    assert "load it into the engine" in caught.value.problem.hint
    assert "images: build" not in caught.value.problem.hint


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
    messages: list[str] = []
    registries = Registries(engine, messages.append)
    assert registries.refusal(_image(registry, registry.repository("good"))) == ""
    refused = registries.refusal(_image(registry, registry.repository("bad", *[401] * 9)))
    assert refused == f"{registry.host} does not give it out"
    silent = PulledImage(("127.0.0.1:1/x", "127.0.0.1:1/y"), "1", registry.image.digest)
    assert registries.refusal(silent) == "127.0.0.1:1 does not answer"
    assert len([line for line in messages if "127.0.0.1:1 " in line]) == 1


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


HELPERS = {
    "stale": None,
    "failing": "echo it is locked >&2; exit 3",
    "chatty": "echo not json",
    "empty": "echo credentials not found in native keychain; exit 1",
}


@pytest.mark.parametrize(
    "helper", ["stale", *slow_params(*(it for it in HELPERS if it != "stale"))]
)
@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_a_helper_for_credentials_that_is_of_no_use_is_passed_over(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, helper: str
) -> None:
    script = HELPERS[helper]
    if script is not None:
        program = tmp_path / f"docker-credential-{helper}"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    named = helper if key == "credsStore" else {registry.host: helper}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {}, key: named}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with closing(Engine(locate(environ), environ)) as engine:
        image = _image(registry, registry.repository("good"))
        pull(engine, image, QUIET)
        assert find_image(engine, image) is not None
        missing = _image(registry, registry.repository("denied", *[401] * 9))
        with pytest.raises(Refused) as caught:
            pull(engine, replace(missing, digest=make_image("other").digest), QUIET)
        hint = caught.value.problem.hint
        _build(engine, tmp_path)
    if helper == "empty":
        assert "docker-credential" not in hint
    else:
        assert f"docker-credential-{helper}" in hint
        assert key in hint
        assert str(tmp_path / "config.json") in hint


def _build(engine: Engine, tmp_path: Path) -> None:
    """A build asks for the credentials of every registry."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nLABEL algaenv.test=1\n")
    image = DockerfileImage("test", secrets.token_hex(6), str(context), "Dockerfile", {})
    resource = Resource(Address("image", "test"), Tier.SUBSTRATE, {}, image)
    try:
        ImageDriver(engine, cache_home({})).create(resource, QUIET)
    finally:
        engine.api.remove_image(image.title)


def test_a_helper_that_works_is_asked(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "docker-credential-good"
    answer = json.dumps({"Username": "u", "Secret": "s"})
    # The shell's variables are for such a program, too.
    program.write_text(f"#!/bin/sh\ncat >/dev/null\ntest -n \"$AWS_PROFILE\" && echo '{answer}'\n")
    program.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {registry.host: "good"}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "AWS_PROFILE": "there"}
    found = credentials.load(environ)
    assert found.resolve_authconfig(registry.host) == {
        "ServerAddress": registry.host,
        "Username": "u",
        "Password": "s",
    }
    assert registry.host in found.get_all_credentials()
    assert not found.missed


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[1]", "no JSON object"),
        ("null", "no JSON object"),
        ('{"auths": []}', "`auths`"),
        ('{"auths": {"x": 1}}', "`auths.x`"),
        ('{"auths": {"x": {"auth": "?"}}}', "`auths.x.auth`"),
        ('{"auths": {"x": {"auth": 3}}}', "`auths.x.auth`"),
        ('{"credsStore": {}}', "`credsStore`"),
        ('{"credHelpers": "x"}', "`credHelpers`"),
        ('{"proxies": {"default": "x"}}', "`proxies.default`"),
        ('{"HttpHeaders": []}', "`HttpHeaders`"),
    ],
)
def test_a_malformed_configuration_is_named(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, named: str
) -> None:
    (tmp_path / "config.json").write_text(content)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(Refused) as caught:
        engine.api.version()
    assert caught.value.problem.code == "docker-config"
    assert named in caught.value.problem.summary
    assert str(tmp_path / "config.json") in caught.value.problem.summary


@pytest.mark.parametrize(
    "content",
    ["{", *slow_params("", '{"auths": null, "credsStore": ""}', '{"credHelpers": {"x": 3}}')],
)
def test_what_is_no_configuration_is_no_obstacle(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "config.json").write_text(content)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    _build(engine, tmp_path)
