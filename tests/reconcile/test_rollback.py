"""Earlier versions: what is listed of them, which one is meant, and what is packed in its place."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from algaenv.bundle.archive import inspect, pack
from algaenv.bundle.collect import collect
from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import bundle_key
from algaenv.bundle.manifest.model import parse
from algaenv.bundle.value import replace
from algaenv.model.content import ContentIds
from algaenv.model.kind import BUNDLE, RELEASE, Address
from algaenv.model.lock import Lock
from algaenv.model.problem import Problem, Refused
from algaenv.model.resource import Observation, Present, Resource
from algaenv.reconcile.protocols import FetchedBundle, ResourceDriver
from algaenv.reconcile.rollback import KeptBundleBuilder, choose_version, kept_versions
from tests.cli.fake_application import VERSIONS
from tests.reconcile.memory_dependencies import MemoryDependencies
from tests.runtimes.locks import make_lock
from tests.scaffold.alga import manifest

TENANT, REGISTRY = (str(uuid.UUID(int=number)) for number in (1, 2))


class Store:
    """A content host with bundles of `hello`, each an archive on the disk, the oldest first."""

    def __init__(self, archives: Sequence[Path], current: int) -> None:
        self.fetched: list[str] = []
        self.ids = ContentIds("t", "t", {})
        self._archives: dict[str, Path] = {}
        self._seen: dict[Address, Observation] = {}
        for number, archive in enumerate(archives):
            digest = Digest.of_file(archive)
            handle = f"extensions/{bundle_key(TENANT, REGISTRY, digest)}"
            self._archives[handle] = archive
            self._seen[BUNDLE.address(f"hello@{digest.short}")] = Present(
                "f", {}, handle=handle, note=f"2026-11-30T19:0{number}:00Z"
            )
        served = Digest.of_file(archives[current]).prefixed
        self._seen[RELEASE.address("hello")] = Present("f", {"bundle": served}, handle="i")
        self._seen[BUNDLE.address("hello@000000000000")] = Present("f", {}, handle="never released")

    def snapshot(self, lock: Lock) -> Store:
        return self

    def observe(self, wanted: Sequence[Resource]) -> Mapping[Address, Observation]:
        return self._seen

    def blockers(self, wanted: Sequence[Resource]) -> Mapping[Address, Problem]:
        return {}

    def drivers(self) -> Mapping[str, ResourceDriver]:
        return {}

    def fetch(self, handle: str, directory: Path) -> FetchedBundle:
        self.fetched.append(handle)
        archive = self._archives[handle]
        text, page = inspect(archive)
        digest = Digest.of_file(archive)
        return FetchedBundle(archive, digest, parse(text).manifest, page)


def packed(root: Path, version: str) -> Path:
    source = manifest(root / version, name="hello", version=version, runtime="ui-only@1")
    (source / "manifest.json").write_text(
        (source / "manifest.json")
        .read_text()
        .replace("}", ', "ui": UI}')
        .replace("UI", '{"type": "iframe", "entry": "ui/index.html"}')
    )
    (source / "ui").mkdir()
    (source / "ui/index.html").write_text(f"<!doctype html><title>{version}</title>")
    archive = root / f"{version}.tar.zst"
    pack(collect(source), archive)
    return archive


@pytest.fixture
def archives(tmp_path: Path) -> list[Path]:
    return [packed(tmp_path, version) for version in ("0.1.0", "0.2.0")]


def test_versions_are_listed_newest_first(tmp_path: Path, archives: list[Path]) -> None:
    store, lock = Store(archives, current=1), make_lock(tmp_path)
    found = kept_versions(lock, "hello", store, tmp_path)
    assert [(it.manifest.version, it.current) for it in found] == [
        ("0.2.0", True),
        ("0.1.0", False),
    ]
    assert len(store.fetched) == 2
    older = found[1]
    page = (tmp_path / "0.1.0/ui/index.html").read_bytes()
    assert older.page_sha256 == Digest.of(page).hex
    assert older.size == archives[0].stat().st_size


def test_what_is_not_installed_has_no_versions(tmp_path: Path, archives: list[Path]) -> None:
    with pytest.raises(Refused, match="extension-absent"):
        kept_versions(make_lock(tmp_path), "other", Store(archives, current=1), tmp_path / "kept")


@pytest.mark.parametrize(
    ("wanted", "digit"),
    [("0.2.0", "c"), ("b" * 12, "b"), ("sha256:aaaa", "a"), ("c", "c")],
)
def test_a_version_is_named_by_its_manifest_or_its_digest(wanted: str, digit: str) -> None:
    assert choose_version("hello", VERSIONS, wanted).digest.hex[0] == digit


def test_of_several_builds_of_a_version_the_current_one_is_not_meant() -> None:
    assert choose_version("hello", VERSIONS[:2], "0.1.0") == VERSIONS[1]
    rebuilt = (replace(VERSIONS[1], current=True), replace(VERSIONS[2], current=False))
    assert choose_version("hello", rebuilt, "0.1.0") == rebuilt[1]


@pytest.mark.parametrize(
    ("wanted", "code"),
    [("0.1.0", "version-ambiguous"), ("9", "version-unknown"), ("", "version-unknown")],
)
def test_a_version_that_is_not_clear_is_refused_with_those_there_are(
    wanted: str, code: str
) -> None:
    with pytest.raises(Refused, match=code) as raised:
        choose_version("hello", VERSIONS, wanted)
    assert "bbbbbbbbbbbb" in raised.value.problem.hint


def test_going_back_is_an_up_with_the_bundle_that_was_kept(tmp_path: Path) -> None:
    memory = MemoryDependencies(tmp_path)
    memory.archives = {"hello": b"first", "other": b"other"}
    memory.application.up(memory.request, memory.events.append)
    request = replace(
        memory.request,
        extensions=("hello",),
        wrap_builder=lambda builder: KeptBundleBuilder(builder, "hello", VERSIONS[1]),
    )
    report = memory.application.up(request, memory.events.append)
    assert report.failed == 0
    written = {str(it.step.address) for it in report.ended if it.step.writes}
    assert written == {"bundle/hello@bbbbbbbbbbbb", "release/hello"}
    builder = KeptBundleBuilder(memory, "hello", VERSIONS[1])
    intents = {it.name: it for it in memory.load_spec(request)[0].extensions}
    digests = {name: builder.pack(it, lambda _: None)[0].digest for name, it in intents.items()}
    assert digests == {"hello": VERSIONS[1].digest, "other": Digest.of(b"other")}
    assert builder.registry_id(intents["other"]) is None


def test_a_restart_starts_services_and_touches_no_content(tmp_path: Path) -> None:
    memory = MemoryDependencies(tmp_path)
    memory.application.up(memory.request, memory.events.append)
    memory.archives["hello"] = b"edited"
    report = memory.application.restart(memory.request, ("runner",), memory.events.append)
    assert [str(it.step) for it in report.ended if it.step.writes] == [
        "start process/runner: restarted"
    ]
    everything = memory.application.restart(memory.request, (), memory.events.append)
    assert everything.changed == 5
    assert everything.failed == 0


@pytest.mark.parametrize("name", ["", "runners"])
def test_a_restart_of_what_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    memory = MemoryDependencies(tmp_path)
    if name:
        memory.application.up(memory.request, memory.events.append)
    report = memory.application.restart(memory.request, (name,) if name else (), lambda _: None)
    expected = "service-unknown" if name else "not-up"
    assert [it.code for it in report.problems] == [expected]
