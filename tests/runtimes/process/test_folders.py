"""Folders are made in one step, and only our own are ever removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from algaenv.model.kind import Address, Tier
from algaenv.model.problem import Conflict, Failed
from algaenv.model.resource import Absent, Present, Resource
from algaenv.runtimes.process.drivers.folders import MARKER
from algaenv.runtimes.process.layout import content, private_directory
from algaenv.runtimes.process.specs import FolderSpec
from tests.runtimes.process.harness import Harness, quiet


def folder(harness: Harness, name: str = "redis-valkey", service: str = "redis") -> Resource:
    path = harness.layout.folder(name)
    address = Address("folder", service)
    return Resource(address, Tier.SUBSTRATE, {"path": name}, FolderSpec(path), retained=True)


def look(harness: Harness, resource: Resource) -> object:
    return harness.observer.observe([resource])[resource.address]


def present(harness: Harness, resource: Resource) -> Present:
    found = look(harness, resource)
    assert isinstance(found, Present)
    return found


def test_it_is_made_private_and_carries_its_marker(bare: Harness) -> None:
    resource = folder(bare)
    assert look(bare, resource) == Absent()
    bare.create(resource)
    seen = present(bare, resource)
    assert seen.recorded == resource.fingerprint
    assert seen.inputs == resource.inputs
    assert seen.retained
    assert seen.running is None
    assert seen.drift == ()
    path = Path(seen.handle)
    for directory in (path, content(path), path.parent):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_what_is_in_it_stays_when_it_is_made_again(bare: Harness) -> None:
    resource = folder(bare)
    bare.create(resource)
    kept = content(bare.layout.folder("redis-valkey")) / "kept"
    kept.write_text("data")
    bare.create(resource)
    assert kept.read_text() == "data"


def test_a_missing_content_directory_is_drift_and_is_mended(bare: Harness) -> None:
    resource = folder(bare)
    bare.create(resource)
    content(bare.layout.folder("redis-valkey")).rmdir()
    seen = present(bare, resource)
    assert len(seen.drift) == 1
    bare.folders.update(resource, seen, quiet)
    assert present(bare, resource).drift == ()


def test_a_strangers_directory_is_neither_taken_nor_removed(bare: Harness) -> None:
    resource = folder(bare)
    path = private_directory(bare.layout.folder("redis-valkey"))
    (path / "thesis").write_text("the only copy")
    seen = present(bare, resource)
    assert seen.recorded is None
    with pytest.raises(Conflict) as caught:
        bare.create(resource)
    assert caught.value.problem.code == "not-ours"
    with pytest.raises(Conflict):
        bare.folders.delete(resource.address, seen, quiet)
    assert (path / "thesis").exists()
    assert [entry.name for entry in bare.layout.data.iterdir()] == ["redis-valkey"]


def test_a_folder_of_another_environment_is_a_strangers(bare: Harness, tmp_path: Path) -> None:
    resource = folder(bare)
    bare.create(resource)
    marker = bare.layout.folder("redis-valkey") / MARKER
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "environment": "another"}))
    seen = present(bare, resource)
    assert seen.recorded is None
    with pytest.raises(Conflict):
        bare.folders.delete(resource.address, seen, quiet)


@pytest.mark.parametrize("broken", ["", "[]", "{}", "{", '{"environment": 1}', "\udcff"])
def test_a_broken_marker_is_no_marker(bare: Harness, broken: str) -> None:
    resource = folder(bare)
    bare.create(resource)
    marker = bare.layout.folder("redis-valkey") / MARKER
    marker.write_text(broken, errors="surrogateescape")
    assert present(bare, resource).recorded is None


def test_a_link_is_never_followed(bare: Harness, tmp_path: Path) -> None:
    elsewhere = private_directory(tmp_path / "elsewhere")
    (elsewhere / "thesis").write_text("the only copy")
    other = folder(bare, "store-x", "store")
    bare.create(other)
    (elsewhere / MARKER).write_text((bare.layout.folder("store-x") / MARKER).read_text())
    resource = folder(bare)
    bare.layout.folder("redis-valkey").symlink_to(elsewhere)
    seen = present(bare, resource)
    assert seen.recorded is None
    with pytest.raises(Conflict):
        bare.create(resource)
    with pytest.raises(Conflict):
        bare.folders.delete(resource.address, seen, quiet)
    assert (elsewhere / "thesis").exists()


def test_a_link_inside_is_removed_and_not_followed(bare: Harness, tmp_path: Path) -> None:
    elsewhere = private_directory(tmp_path / "elsewhere")
    (elsewhere / "thesis").write_text("the only copy")
    resource = folder(bare)
    bare.create(resource)
    (content(bare.layout.folder("redis-valkey")) / "link").symlink_to(elsewhere)
    bare.folders.delete(resource.address, present(bare, resource), quiet)
    assert look(bare, resource) == Absent()
    assert (elsewhere / "thesis").exists()


@pytest.mark.parametrize(
    "outside", ["{home}", "{home}/data", "{home}/..", "/", "{home}/data/redis-valkey/.."]
)
def test_nothing_outside_of_the_data_directory_is_removed(bare: Harness, outside: str) -> None:
    bare.create(folder(bare))
    path = Path(outside.format(home=bare.environment.home))
    with pytest.raises(Conflict) as caught:
        bare.folders.delete(Address("folder", "redis"), Present("x", handle=str(path)), quiet)
    assert caught.value.problem.code == "not-ours"
    assert bare.layout.folder("redis-valkey").exists()


def test_removing_is_complete_and_may_be_repeated(bare: Harness) -> None:
    resource = folder(bare)
    bare.create(resource)
    (content(bare.layout.folder("redis-valkey")) / "data").write_text("x")
    seen = present(bare, resource)
    bare.folders.delete(resource.address, seen, quiet)
    bare.folders.delete(resource.address, seen, quiet)
    assert list(bare.layout.data.iterdir()) == []


def test_what_a_killed_run_left_half_done_is_neither_seen_nor_kept(bare: Harness) -> None:
    resource = folder(bare)
    bare.create(resource)
    path = bare.layout.folder("redis-valkey")
    gone = path.rename(bare.layout.data / ".algaenv-1-0")
    assert look(bare, resource) == Absent()
    assert bare.observer.observe([]) == {}
    bare.create(resource)
    assert not gone.exists()


def test_a_folder_in_use_is_not_removed(bare: Harness) -> None:
    resource = folder(bare)
    bare.create(resource)
    path = bare.layout.folder("redis-valkey")
    bare.start("/bin/sleep", "60", folder=path)
    with pytest.raises(Conflict) as caught:
        bare.folders.delete(resource.address, present(bare, resource), quiet)
    assert caught.value.problem.code == "folder-in-use"
    bare.delete()
    bare.folders.delete(resource.address, present(bare, resource), quiet)


def test_the_folder_of_an_earlier_engine_is_seen_beside_its_successor(bare: Harness) -> None:
    old, new = folder(bare, "store-rclone", "store"), folder(bare, "store-minio", "store")
    bare.create(old)
    assert look(bare, new) == Absent()
    bare.create(new)
    seen = bare.observer.observe([new])
    assert seen.keys() == {new.address, Address("folder", "store-rclone")}
    for address, found in seen.items():
        assert isinstance(found, Present)
        assert found.retained, address
        bare.folders.delete(address, found, quiet)
    assert list(bare.layout.data.iterdir()) == []


def test_without_a_spec_every_folder_is_still_seen(bare: Harness) -> None:
    for name in ("store-rclone", "store-minio"):
        bare.create(folder(bare, name, "store"))
    seen = bare.observer.observe([])
    assert set(map(str, seen)) == {"folder/store", "folder/store-rclone"}


def test_a_disk_that_refuses_is_a_problem_with_a_place(bare: Harness) -> None:
    bare.layout.home.joinpath("data").write_text("a file where a directory should be")
    with pytest.raises(Failed) as caught:
        bare.create(folder(bare))
    assert caught.value.problem.code == "disk-failed"
    assert str(bare.layout.data) in caught.value.problem.summary
