import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from algaenv.bundle import archive, layout
from algaenv.bundle.digest import Digest
from algaenv.drivers.build import bundle_builder
from algaenv.drivers.build.bundle_builder import KEPT_BUNDLES, CachingBundleBuilder
from algaenv.drivers.build.file_tree import STAMP_RESOLUTION_NS
from algaenv.drivers.state import state_dir
from algaenv.model.intent import BuildIntent, BuildStep, ExtensionIntent
from algaenv.model.lock import Environment, LockedExtension
from algaenv.model.problem import Failed, Problem, ResolveError, Where
from algaenv.system import locks
from tests.bundle.sources import PAGE, manifest, source
from tests.scenario.project import until

WHERE = Where("algaenv.yaml", 7, 13)


def later() -> int:
    """A clock for which every file here is old enough to be believed."""
    return time.time_ns() + 2 * STAMP_RESOLUTION_NS


@dataclass
class BundleProject:
    """A project with one extension, `hello`, and the progress of its packing."""

    root: Path
    messages: list[str] = field(default_factory=list)

    @property
    def environment(self) -> Environment:
        return state_dir.identify(self.root / "algaenv.yaml", "demo")

    @property
    def place(self) -> Path:
        return self.root / "hello"

    @property
    def cache_directory(self) -> Path:
        return self.environment.home / "cache/bundles/hello"

    def intent(self, build: BuildIntent | None = None) -> ExtensionIntent:
        return ExtensionIntent("hello", str(self.place), build, {}, {}, None, True, None, WHERE)

    def pack_with_warnings(
        self, build: BuildIntent | None = None
    ) -> tuple[LockedExtension, tuple[Problem, ...]]:
        self.messages.clear()
        return CachingBundleBuilder(self.environment, clock=later).pack(
            self.intent(build), self.messages.append
        )

    def pack(self) -> LockedExtension:
        return self.pack_with_warnings()[0]

    def fails(self, build: BuildIntent | None = None) -> tuple[Problem, ...]:
        with pytest.raises(ResolveError) as caught:
            self.pack_with_warnings(build)
        return caught.value.problems

    @property
    def packed_anew(self) -> bool:
        return any(line.startswith("packing") for line in self.messages)


@pytest.fixture
def project(tmp_path: Path) -> BundleProject:
    source(tmp_path / "hello")
    return BundleProject(tmp_path)


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {str(it): (it.lstat().st_mtime_ns, it.lstat().st_ino) for it in [root, *root.rglob("*")]}


def test_an_extension_becomes_a_bundle(project: BundleProject) -> None:
    locked, warnings = project.pack_with_warnings()
    assert locked.intent == project.intent()
    assert locked.manifest.name == "com.example.demo"
    assert locked.publisher == "example"
    assert locked.archive.is_relative_to(project.environment.home / "cache")
    assert locked.archive.name == f"{locked.digest.hex}.tar.zst"
    assert Digest.of_file(locked.archive) == locked.digest
    assert locked.archive.stat().st_size == locked.size
    assert locked.page_sha256 == hashlib.sha256(PAGE).hexdigest()
    assert warnings == ()
    assert project.messages == ["packing 2 files"]


def test_nothing_to_do_writes_nothing_and_says_nothing(project: BundleProject) -> None:
    first = project.pack()
    before = snapshot(project.root)
    assert project.pack() == first
    assert project.messages == []
    assert snapshot(project.root) == before


def test_nothing_to_do_reads_no_bundle_file(
    project: BundleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = project.pack()

    def refuse(*_: object) -> None:
        pytest.fail("a known source is not read again")

    for name in ("collect", "fingerprint", "pack", "sha256_of"):
        monkeypatch.setattr(bundle_builder, name, refuse)
    assert project.pack() == first


def test_a_young_file_is_not_believed(project: BundleProject) -> None:
    """It may change once more within one tick of its clock, and look the same."""
    packer = CachingBundleBuilder(project.environment)
    packer.pack(project.intent(), project.messages.append)
    index = json.loads((project.cache_directory / "index.json").read_text())
    assert [stamp for _, stamp in index["glance"]] == [[0, 0, 0, 0]] * 2
    project.messages.clear()
    packer.pack(project.intent(), project.messages.append)
    assert project.messages == [], "it is read again, but not packed again"


def test_a_touched_file_is_read_but_not_packed(project: BundleProject) -> None:
    first = project.pack()
    (project.place / "ui/index.html").touch()
    assert project.pack() == first
    assert not project.packed_anew


def test_an_edit_is_packed(project: BundleProject) -> None:
    first = project.pack()
    (project.place / "ui/index.html").write_bytes(PAGE + b"!")
    second = project.pack()
    assert second.digest != first.digest
    assert second.page_sha256 == hashlib.sha256(PAGE + b"!").hexdigest()
    assert first.archive.exists(), "a rollback needs it"


def test_an_edit_of_the_same_size_and_time_is_seen(project: BundleProject) -> None:
    first = project.pack()
    path = project.place / "ui/index.html"
    was = path.stat()
    path.write_bytes(PAGE.replace(b"demo", b"DEMO"))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert project.pack().digest != first.digest


def test_an_added_and_a_removed_file_are_seen(project: BundleProject) -> None:
    first = project.pack()
    added = project.place / "ui/app.js"
    added.write_bytes(b"1;\n")
    assert project.pack().digest != first.digest
    added.unlink()
    assert project.pack() == first
    assert not project.packed_anew, "the bundle of before is still there"


def test_a_page_that_is_built_wins_as_soon_as_it_is_there(project: BundleProject) -> None:
    project.pack()
    built = project.place / "dist/ui/index.html"
    built.parent.mkdir(parents=True)
    built.write_bytes(b"<!doctype html><title>built</title>")
    assert project.pack().page_sha256 == hashlib.sha256(built.read_bytes()).hexdigest()


@pytest.mark.parametrize("damage", ["gone", "cut", "link"])
def test_a_damaged_bundle_is_packed_again(project: BundleProject, damage: str) -> None:
    first = project.pack()
    content = first.archive.read_bytes()
    first.archive.unlink()
    if damage == "cut":
        first.archive.write_bytes(content[:-1])
    elif damage == "link":
        other = project.root / "other"
        other.write_bytes(content)
        first.archive.symlink_to(other)
    assert project.pack() == first
    assert project.packed_anew
    assert not first.archive.is_symlink()
    assert first.archive.read_bytes() == content


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b"{}", b'{"algaenv": "0"}', b"[" * 100_000]
)
def test_a_damaged_index_costs_time_and_nothing_else(
    project: BundleProject, content: bytes
) -> None:
    first = project.pack()
    (project.cache_directory / "index.json").write_bytes(content)
    assert project.pack() == first


def test_every_cut_of_the_index_is_survived(project: BundleProject) -> None:
    first = project.pack()
    whole = (project.cache_directory / "index.json").read_bytes()
    for length in range(0, len(whole), 41):
        (project.cache_directory / "index.json").write_bytes(whole[:length])
        assert project.pack() == first


def test_the_cache_is_bounded(project: BundleProject) -> None:
    locked = []
    for number in range(KEPT_BUNDLES + 3):
        (project.place / "ui/index.html").write_bytes(PAGE + b"%d" % number)
        locked.append(project.pack())
    kept = {path.name for path in project.cache_directory.glob("*.tar.zst")}
    assert kept == {it.archive.name for it in locked[-KEPT_BUNDLES:]}
    # What is used again counts as new.
    (project.place / "ui/index.html").write_bytes(PAGE + b"%d" % (KEPT_BUNDLES - 1))
    again = project.pack()
    (project.place / "ui/index.html").write_bytes(PAGE + b"last")
    project.pack()
    assert again.archive.exists()


def test_what_a_killed_run_left_on_the_shelf_goes(project: BundleProject) -> None:
    project.pack()
    stray = project.cache_directory / ".half.tar.zst.x1"
    stray.write_bytes(b"half")
    (project.place / "ui/index.html").write_bytes(PAGE + b"!")
    project.pack()
    assert not stray.exists()


def test_extensions_do_not_share_a_shelf(project: BundleProject) -> None:
    first = project.pack()
    twin = replace(project.intent(), name="twin")
    other, _ = CachingBundleBuilder(project.environment, clock=later).pack(
        twin, project.messages.append
    )
    assert other.digest == first.digest
    assert other.archive != first.archive


def test_all_complaints_come_at_once_with_their_places(
    project: BundleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    (project.place / "manifest.json").write_bytes(
        b'{\n  "name": "x",\n  "version": "one",\n  "runtime": "wasm",\n  "colour": 1\n}\n'
    )
    (project.place / "ui/index.html").unlink()
    (project.place / "ui/app.js").write_bytes(b"")
    problems = project.fails()
    found = [(it.code, str(it.where)) for it in problems]
    assert ("manifest-version", "hello/manifest.json:3:14") in found
    assert ("manifest-unknown-key", "hello/manifest.json:5:3") in found
    assert ("source-ui-index", "hello/ui/index.html:1:1") in found
    assert all(it.summary.startswith("cannot ") and it.hint for it in problems)
    assert not any(it.code == "manifest-publisher-missing" for it in problems), "a mere warning"


def test_broken_text_is_located(project: BundleProject) -> None:
    (project.place / "manifest.json").write_bytes(b'{\n "name": "\xff"}')
    (problem,) = project.fails()
    assert problem.code == "source-encoding"
    assert str(problem.where) == f"{project.place}/manifest.json:2:11"


def test_a_missing_source_is_located(project: BundleProject) -> None:
    (project.place / "manifest.json").unlink()
    assert "source-manifest-missing" in [it.code for it in project.fails()]
    gone = replace(project.intent(), source=str(project.root / "gone"))
    with pytest.raises(ResolveError) as caught:
        CachingBundleBuilder(project.environment).pack(gone, project.messages.append)
    assert caught.value.problem.code == "source-missing"


def test_a_broken_source_does_not_forget_the_bundles(project: BundleProject) -> None:
    first = project.pack()
    (project.place / "manifest.json").write_bytes(b"{")
    project.fails()
    (project.place / "manifest.json").write_bytes(manifest())
    assert project.pack() == first
    assert not project.packed_anew


def test_warnings_are_given_each_time(project: BundleProject) -> None:
    page = PAGE + b"<script>alert(1)</script>\n"
    (project.place / "ui/index.html").write_bytes(page)
    _, first = project.pack_with_warnings()
    _, again = project.pack_with_warnings()
    assert [it.code for it in first] == ["source-csp"]
    assert first[0].where == Where(f"{project.place}/ui/index.html", 2, 1)
    assert again == first
    assert project.messages == []


def built(root: Path, command: str) -> BuildIntent:
    step = BuildStep("build", (command,), True, {}, 30.0)
    return BuildIntent((step,), str(root / "hello"), {}, 30.0)


def test_a_source_that_has_to_be_built_first_gets_a_hint(project: BundleProject) -> None:
    (project.place / "ui/index.html").unlink()
    (project.place / "ui").rmdir()
    found = "add `build: auto` to hello in the spec: it finds vite"
    assert not any(found in it.hint for it in project.fails())
    (project.place / "package.json").write_text('{"scripts": {"build": "vite build"}}')
    assert any(it.hint == found for it in project.fails())
    (project.place / "package.json").write_text('{"scripts": {"test": "vitest"}}')
    assert not any(found in it.hint for it in project.fails())


def test_a_build_comes_first(project: BundleProject) -> None:
    how = built(
        project.root, "mkdir -p dist/ui && echo '<title>built</title>' > dist/ui/index.html"
    )
    locked, _ = project.pack_with_warnings(how)
    assert locked.page_sha256 == hashlib.sha256(b"<title>built</title>\n").hexdigest()
    assert not (project.place / "dist").exists()
    assert project.pack_with_warnings(how)[0] == locked
    assert project.messages == []


def test_complaints_about_a_mirrored_file_name_the_authors(project: BundleProject) -> None:
    (project.place / "manifest.json").write_bytes(manifest(version="one"))
    (problem,) = project.fails(built(project.root, "true"))
    assert problem.where is not None
    assert problem.where.file == f"{project.place}/manifest.json"


def test_complaints_about_a_made_file_name_the_mirrors(project: BundleProject) -> None:
    (project.place / "manifest.json").unlink()
    (problem,) = project.fails(built(project.root, "echo '{' > manifest.json"))
    assert problem.where is not None
    assert problem.where.file == str(project.environment.home / "build/hello/tree/manifest.json")


def test_a_failing_build_is_told(project: BundleProject) -> None:
    (problem,) = project.fails(built(project.root, "exit 1"))
    assert problem.code == "build-failed"


def test_files_that_do_not_rest_are_a_problem(
    project: BundleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = archive.pack

    def restless(*arguments: Any) -> Any:
        path = project.place / "ui/index.html"
        path.write_bytes(path.read_bytes().swapcase())
        return pack(*arguments)

    monkeypatch.setattr(bundle_builder, "pack", restless)
    (problem,) = project.fails()
    assert problem.code == "source-restless"
    assert problem.where == WHERE
    assert list(project.cache_directory.glob("[0-9a-f]*.tar.zst")) == []


def test_a_file_that_changes_once_while_it_is_packed_is_packed_as_it_is(
    project: BundleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, edits = archive.pack, [PAGE.swapcase()]

    def once(*arguments: Any) -> Any:
        if edits:
            (project.place / "ui/index.html").write_bytes(edits.pop())
        return pack(*arguments)

    monkeypatch.setattr(bundle_builder, "pack", once)
    locked = project.pack()
    assert locked.page_sha256 == hashlib.sha256(PAGE.swapcase()).hexdigest()
    assert project.pack() == locked


def test_a_cache_that_cannot_be_written_is_a_problem(project: BundleProject) -> None:
    (state_dir.open_state_dir(project.environment) / "cache").write_text("in the way")
    with pytest.raises(Failed) as caught:
        project.pack_with_warnings()
    assert caught.value.problem.code == "home-broken"


def test_nothing_to_do_loads_neither_tar_nor_zstd(project: BundleProject) -> None:
    project.pack()
    code = "\n".join(
        [
            "import sys",
            "from pathlib import Path",
            "from tests.drivers.test_bundle_builder import BundleProject",
            # What the words of these tests have loaded themselves does not count.
            "for name in [*sys.modules]:",
            "    if name.split('.')[0] in ('zstandard', 'tarfile', 'html'): del sys.modules[name]",
            "project = BundleProject(Path(sys.argv[1]))",
            "project.pack()",
            "wanted = ('zstandard', 'tarfile', 'html.parser', 'algaenv.drivers.build.builds')",
            "print(project.messages, [it for it in wanted if it in sys.modules])",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(project.root)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] []"


class Openings:
    """The files below a folder that are opened while it is asked to listen; hooks stay for good."""

    def __init__(self, root: Path) -> None:
        self._root, self._listening = f"{root}/", False
        self.names: list[str] = []
        sys.addaudithook(self._hear)

    def of(self, run: Callable[[], object]) -> list[str]:
        self.names = []
        self._listening = True
        try:
            run()
        finally:
            self._listening = False
        return self.names

    def _hear(self, event: str, args: tuple[object, ...]) -> None:
        if self._listening and event == "open" and str(args[0]).startswith(self._root):
            self.names.append(str(args[0]).removeprefix(self._root))


def test_nothing_to_do_opens_no_file_but_manifest_and_index(project: BundleProject) -> None:
    (project.place / "dist").mkdir()
    (project.place / "dist/main.wasm").write_bytes(os.urandom(12_000_000))
    openings, packer = (
        Openings(project.root),
        CachingBundleBuilder(project.environment, clock=later),
    )

    def pack() -> None:
        packer.pack(project.intent(), project.messages.append)

    assert "hello/dist/main.wasm" in openings.of(pack)
    index = str((project.cache_directory / "index.json").relative_to(project.root))
    assert sorted(openings.of(pack)) == sorted(["hello/manifest.json", index])


@pytest.mark.slow
def test_nothing_to_do_opens_two_files_for_each_of_many(tmp_path: Path) -> None:
    project = BundleProject(tmp_path)
    intents = []
    for number in range(200):
        place = source(
            tmp_path / f"x{number}", {"ui/app.js": b"%d;" % number}, name=f"com.example.x{number}"
        )
        intents.append(replace(project.intent(), name=f"x{number}", source=str(place)))
    packer = CachingBundleBuilder(project.environment, clock=later)

    def all_of_them() -> None:
        for intent in intents:
            packer.pack(intent, project.messages.append)

    all_of_them()
    project.messages.clear()
    openings = Openings(tmp_path).of(all_of_them)
    assert len(openings) == len(set(openings)) == 2 * len(intents)
    assert project.messages == []


def test_a_hidden_name_costs_no_reading_and_its_warning_comes_and_goes(
    project: BundleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.pack()
    hidden = project.place / "ui/.assets"
    hidden.mkdir()
    for _ in range(2):
        assert [it.code for it in project.pack_with_warnings()[1]] == ["source-hidden"]
    with monkeypatch.context() as patched:
        patched.setattr(bundle_builder, "collect", None)
        assert [it.code for it in project.pack_with_warnings()[1]] == ["source-hidden"]
    hidden.rmdir()
    assert project.pack_with_warnings()[1] == ()


def test_warnings_stand_beside_errors(project: BundleProject) -> None:
    (project.place / "ui/index.html").write_text("<script>go()</script>")
    (project.place / "ui/other.js").symlink_to("index.html")
    with pytest.raises(ResolveError) as caught:
        project.pack_with_warnings()
    assert [it.code for it in caught.value.problems] == ["source-link"]
    assert [it.code for it in caught.value.warnings] == ["source-csp"]


def test_a_registry_id_is_known_without_a_bundle(project: BundleProject) -> None:
    packer = CachingBundleBuilder(project.environment)
    made = project.pack()
    (project.place / "ui/index.html").unlink()
    known = layout.registry_id(made.publisher, made.manifest.name)
    assert packer.registry_id(project.intent()) == known
    (project.place / "manifest.json").write_text("{")
    assert packer.registry_id(project.intent()) is None


def test_runs_side_by_side_pack_one_after_the_other(project: BundleProject) -> None:
    """`plan` may be run while `dev` packs the same extension."""
    project.pack()
    (project.place / "ui/index.html").write_bytes(PAGE + b"<!-- changed -->")
    with ThreadPoolExecutor(1) as pool:
        with locks.file_lock(project.cache_directory / "lock"):
            other = pool.submit(project.pack)
            until("it waits", lambda: bool(project.messages))
            assert project.messages == ["waiting until another run of algaenv is done with it"]
        assert Digest.of_file(other.result(60).archive) == other.result().digest
    assert project.packed_anew
