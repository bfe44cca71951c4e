"""What is shipped: stacks that load, profiles that are whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from algaenv.model.problem import SpecError
from algaenv.spec.diagnostics import Diagnostics
from algaenv.spec.merge import real_path
from algaenv.spec.paths import (
    SPEC_FILE,
    names_in,
    profile,
    profile_names,
    stacks_root,
)
from algaenv.spec.resolve.engines import EngineRegistry
from algaenv.spec.services import ManagedSpec

STORES = ("silo", "minio", "rustfs", "rclone")


def test_the_root_holds_engines() -> None:
    assert (stacks_root() / "engines").is_dir()
    assert real_path(stacks_root()) == real_path(Path(__file__).parents[2] / "stacks")


def test_stacks_are_the_directories_with_a_spec() -> None:
    names = names_in(stacks_root())
    assert "engines" not in names
    for name in names:
        assert (stacks_root() / name / SPEC_FILE).is_file()


def test_the_engines_that_are_shipped() -> None:
    assert profile_names() == (
        "minio",
        "postgres-17",
        "postgres-18",
        "rclone",
        "redis",
        "rustfs",
        "silo",
        "valkey",
    )
    with pytest.raises(SpecError, match="did you mean `silo`"):
        profile("sillo")


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_is_whole(name: str) -> None:
    shipped = profile(name)
    assert shipped.name == name
    assert shipped.command
    assert shipped.process
    assert shipped.binaries
    assert shipped.data.startswith("/")
    assert set(shipped.ports) in ({"main"}, {"api"}, {"api", "console"})
    assert shipped.image or shipped.recipe
    if shipped.image:
        assert shipped.image.digest
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", shipped.image.digest)
        assert len(set(shipped.image.repositories)) == len(shipped.image.repositories)


@pytest.mark.parametrize("name", profile_names())
def test_listeners_are_told_their_place(name: str) -> None:
    """A process that forgets its host or port would listen on every address of the machine."""
    shipped = profile(name)
    reported = " ".join(
        [*shipped.process, *shipped.process_environment.values(), *shipped.files.values()]
    )
    assert "{host}" in reported
    assert "{port}" in reported
    assert ("{console_port}" in reported) is ("console" in shipped.ports)


@pytest.mark.parametrize("name", STORES)
def test_local_stores_prefer_the_named_one(name: str) -> None:
    local = [each.name for each in EngineRegistry(Diagnostics({})).local(profile(name))]
    assert local[0] == name
    assert sorted(local) == sorted({name, "minio", "silo", "rclone"})


def test_every_version_has_its_profile() -> None:
    versions = {name.removeprefix("postgres-") for name in profile_names() if "postgres" in name}
    for version in versions:
        assert ManagedSpec.model_validate({"version": int(version)}).version == int(version)
    assert len(versions) == 2


def test_a_cluster_lies_in_its_volume() -> None:
    for name in ("postgres-17", "postgres-18"):
        shipped = profile(name)
        assert (shipped.environment["PGDATA"] + "/").startswith(shipped.data + "/")
