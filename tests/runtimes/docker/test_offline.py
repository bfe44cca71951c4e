"""Images in an offline archive, saved from and loaded into a real engine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.model import kind
from algaenv.model.intent import PullRef
from algaenv.model.kind import Tier
from algaenv.model.resource import Resource
from algaenv.offline import archive
from algaenv.offline.archive import Manifest
from algaenv.offline.contents import image_content
from algaenv.offline.restore import restore
from algaenv.runtimes.binaries import platform_here
from algaenv.runtimes.docker.drivers.images import ImageDriver
from algaenv.runtimes.docker.engine import Engine
from algaenv.runtimes.docker.images.pull import find_image, pull
from algaenv.runtimes.docker.runtime import DockerRuntime
from algaenv.runtimes.docker.specs import PulledImage
from tests.runtimes.docker.conftest import QUIET
from tests.runtimes.docker.registry import Registry
from tests.runtimes.docker.test_image_selection import _lock, select
from tests.runtimes.locks import VALKEY

pytestmark = pytest.mark.docker


def test_a_pulled_image_is_found_by_its_digest_where_no_registry_answers(
    engine: Engine, registry: Registry, tmp_path: Path
) -> None:
    image = PulledImage((registry.repository("good"),), "1", registry.image.digest)
    pull(engine, image, QUIET)
    there = find_image(engine, image)
    assert there is not None
    runtime = DockerRuntime(os.environ, tmp_path, engine.facts)
    path, about = tmp_path / "a.tar.zst", Manifest("0.1.0", platform_here(), "demo", {}, ())
    archive.write(path, [image_content(runtime, "redis", image, there.id)], about, QUIET)
    engine.api.remove_image(there.id, force=True)
    assert find_image(engine, image) is None
    try:
        for _ in range(2):  # It may be repeated.
            found = restore(path, None, os.environ, QUIET)
            assert found.skipped == {}
            loaded = find_image(engine, image)
            assert loaded is not None
            assert loaded.reference == image.imported
        # It counts as there: nobody is asked, and nothing is pulled.
        gone = replace(image, repositories=("127.0.0.1:1/x",))
        profile = replace(VALKEY, image=PullRef(gone.repositories, "1", gone.digest))
        chosen = select(engine, _lock(tmp_path, "auto", profile))["redis"]
        assert chosen.image == gone
        resource = Resource(kind.IMAGE.address("redis"), Tier.SUBSTRATE, {}, gone)
        ImageDriver(engine, tmp_path).create(resource, QUIET)
    finally:
        engine.api.remove_image(image.imported, force=True)
