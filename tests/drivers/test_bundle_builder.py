import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from algaenv.bundle import archive, ids
from algaenv.bundle.digest import Digest
from algaenv.drivers.build import bundle_builder
from algaenv.drivers.build.bundle_builder import KEPT_BUNDLES, CachingBundleBuilder
from algaenv.drivers.build.file_tree import STAMP_RESOLUTION_NS
from algaenv.drivers.state import identity, state_dir
from algaenv.model.intent import BuildIntent, ExtensionIntent
from algaenv.model.lock import Environment, LockedExtension
from algaenv.model.problem import Failed, Problem, ResolveError, Where
from tests.bundle.sources import PAGE, manifest, source

WHERE = Where("algaenv.yaml", 7, 13)


def later() -> int:
    """A clock for which every file here is old enough to be believed."""
    return time.time_ns() + 2 * STAMP_RESOLUTION_NS


@dataclass
class Bench:
    """A project with one extension, `hello`, and what is said while it is packed."""

    root: Path
    said: list[str] = field(default_factory=list)

    @property
    def environment(self) -> Environment:
        return identity.identify(self.root / "algaenv.yaml", "demo")

    @property
    def place(self) -> Path:
        return self.root / "hello"

    @property
    def shelf(self) -> Path:
        return self.environment.home / "cache/bundles/hello"

    def intent(self, build: BuildIntent | None = None) -> ExtensionIntent:
        return ExtensionIntent("hello", str(self.place), build, {}, {}, None, True, None, WHERE)

    def told(self, build: BuildIntent | None = None) -> tuple[LockedExtension, tuple[Problem, ...]]:
        self.said.clear()
        return CachingBundleBuilder(self.environment, clock=later).pack(
            self.intent(build), self.said.append
        )

    def pack(self) -> LockedExtension:
        return self.told()[0]

    def fails(self, build: BuildIntent | None = None) -> tuple[Problem, ...]:
        with pytest.raises(ResolveError) as caught:
            self.told(build)
        return caught.value.problems

    @property
    def packed_anew(self) -> bool:
        return any(line.startswith("packing") for line in self.said)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    source(tmp_path / "hello")
    return Bench(tmp_path)


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {str(it): (it.lstat().st_mtime_ns, it.lstat().st_ino) for it in [root, *root.rglob("*")]}


def test_an_extension_becomes_a_bundle(bench: Bench) -> None:
    locked, warnings = bench.told()
    assert locked.intent == bench.intent()
    assert locked.manifest.name == "com.example.demo"
    assert locked.publisher == "example"
    assert locked.archive.is_relative_to(bench.environment.home / "cache")
    assert locked.archive.name == f"{locked.digest.hex}.tar.zst"
    assert Digest.of_file(locked.archive) == locked.digest
    assert locked.archive.stat().st_size == locked.size
    assert locked.page_sha256 == hashlib.sha256(PAGE).hexdigest()
    assert warnings == ()
    assert bench.said == ["packing 2 files"]


def test_nothing_to_do_writes_nothing_and_says_nothing(bench: Bench) -> None:
    first = bench.pack()
    before = snapshot(bench.root)
    assert bench.pack() == first
    assert bench.said == []
    assert snapshot(bench.root) == before


def test_nothing_to_do_reads_no_bundle_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bench.pack()

    def refuse(*_: object) -> None:
        pytest.fail("a known source is not read again")

    for name in ("collect", "fingerprint", "pack", "sha256_of"):
        monkeypatch.setattr(bundle_builder, name, refuse)
    assert bench.pack() == first


def test_a_young_file_is_not_believed(bench: Bench) -> None:
    """It may change once more within one tick of its clock, and look the same."""
    packer = CachingBundleBuilder(bench.environment)
    packer.pack(bench.intent(), bench.said.append)
    index = json.loads((bench.shelf / "index.json").read_text())
    assert [stamp for _, stamp in index["glance"]] == [[0, 0, 0, 0]] * 2
    bench.said.clear()
    packer.pack(bench.intent(), bench.said.append)
    assert bench.said == [], "it is read again, but not packed again"


def test_a_touched_file_is_read_but_not_packed(bench: Bench) -> None:
    first = bench.pack()
    (bench.place / "ui/index.html").touch()
    assert bench.pack() == first
    assert not bench.packed_anew


def test_an_edit_is_packed(bench: Bench) -> None:
    first = bench.pack()
    (bench.place / "ui/index.html").write_bytes(PAGE + b"!")
    second = bench.pack()
    assert second.digest != first.digest
    assert second.page_sha256 == hashlib.sha256(PAGE + b"!").hexdigest()
    assert first.archive.exists(), "a rollback needs it"


def test_an_edit_of_the_same_size_and_time_is_seen(bench: Bench) -> None:
    first = bench.pack()
    path = bench.place / "ui/index.html"
    was = path.stat()
    path.write_bytes(PAGE.replace(b"demo", b"DEMO"))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert bench.pack().digest != first.digest


def test_an_added_and_a_removed_file_are_seen(bench: Bench) -> None:
    first = bench.pack()
    added = bench.place / "ui/app.js"
    added.write_bytes(b"1;\n")
    assert bench.pack().digest != first.digest
    added.unlink()
    assert bench.pack() == first
    assert not bench.packed_anew, "the bundle of before is still there"


def test_a_page_that_is_built_wins_as_soon_as_it_is_there(bench: Bench) -> None:
    bench.pack()
    built = bench.place / "dist/ui/index.html"
    built.parent.mkdir(parents=True)
    built.write_bytes(b"<!doctype html><title>built</title>")
    assert bench.pack().page_sha256 == hashlib.sha256(built.read_bytes()).hexdigest()


@pytest.mark.parametrize("damage", ["gone", "cut", "link"])
def test_a_damaged_bundle_is_packed_again(bench: Bench, damage: str) -> None:
    first = bench.pack()
    content = first.archive.read_bytes()
    first.archive.unlink()
    if damage == "cut":
        first.archive.write_bytes(content[:-1])
    elif damage == "link":
        other = bench.root / "other"
        other.write_bytes(content)
        first.archive.symlink_to(other)
    assert bench.pack() == first
    assert bench.packed_anew
    assert not first.archive.is_symlink()
    assert first.archive.read_bytes() == content


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b"{}", b'{"algaenv": "0"}', b"[" * 100_000]
)
def test_a_damaged_index_costs_time_and_nothing_else(bench: Bench, content: bytes) -> None:
    first = bench.pack()
    (bench.shelf / "index.json").write_bytes(content)
    assert bench.pack() == first


def test_every_cut_of_the_index_is_survived(bench: Bench) -> None:
    first = bench.pack()
    whole = (bench.shelf / "index.json").read_bytes()
    for length in range(0, len(whole), 41):
        (bench.shelf / "index.json").write_bytes(whole[:length])
        assert bench.pack() == first


def test_the_cache_is_bounded(bench: Bench) -> None:
    locked = []
    for number in range(KEPT_BUNDLES + 3):
        (bench.place / "ui/index.html").write_bytes(PAGE + b"%d" % number)
        locked.append(bench.pack())
    kept = {path.name for path in bench.shelf.glob("*.tar.zst")}
    assert kept == {it.archive.name for it in locked[-KEPT_BUNDLES:]}
    # What is used again counts as new.
    (bench.place / "ui/index.html").write_bytes(PAGE + b"%d" % (KEPT_BUNDLES - 1))
    again = bench.pack()
    (bench.place / "ui/index.html").write_bytes(PAGE + b"last")
    bench.pack()
    assert again.archive.exists()


def test_what_a_killed_run_left_on_the_shelf_goes(bench: Bench) -> None:
    bench.pack()
    stray = bench.shelf / ".half.tar.zst.x1"
    stray.write_bytes(b"half")
    (bench.place / "ui/index.html").write_bytes(PAGE + b"!")
    bench.pack()
    assert not stray.exists()


def test_extensions_do_not_share_a_shelf(bench: Bench) -> None:
    first = bench.pack()
    twin = replace(bench.intent(), name="twin")
    other, _ = CachingBundleBuilder(bench.environment, clock=later).pack(twin, bench.said.append)
    assert other.digest == first.digest
    assert other.archive != first.archive


def test_all_complaints_come_at_once_with_their_places(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.root)
    (bench.place / "manifest.json").write_bytes(
        b'{\n  "name": "x",\n  "version": "one",\n  "runtime": "wasm",\n  "colour": 1\n}\n'
    )
    (bench.place / "ui/index.html").unlink()
    (bench.place / "ui/app.js").write_bytes(b"")
    problems = bench.fails()
    found = [(it.code, str(it.where)) for it in problems]
    assert ("manifest-version", "hello/manifest.json:3:14") in found
    assert ("manifest-unknown-key", "hello/manifest.json:5:3") in found
    assert ("source-ui-index", "hello/ui/index.html:1:1") in found
    assert all(it.summary.startswith("cannot ") and it.hint for it in problems)
    assert not any(it.code == "manifest-publisher-missing" for it in problems), "a mere warning"


def test_broken_text_is_located(bench: Bench) -> None:
    (bench.place / "manifest.json").write_bytes(b'{\n "name": "\xff"}')
    (problem,) = bench.fails()
    assert problem.code == "source-encoding"
    assert str(problem.where) == f"{bench.place}/manifest.json:2:11"


def test_a_missing_source_is_located(bench: Bench) -> None:
    (bench.place / "manifest.json").unlink()
    assert "source-manifest-missing" in [it.code for it in bench.fails()]
    gone = replace(bench.intent(), source=str(bench.root / "gone"))
    with pytest.raises(ResolveError) as caught:
        CachingBundleBuilder(bench.environment).pack(gone, bench.said.append)
    assert caught.value.problem.code == "source-missing"


def test_a_broken_source_does_not_forget_the_bundles(bench: Bench) -> None:
    first = bench.pack()
    (bench.place / "manifest.json").write_bytes(b"{")
    bench.fails()
    (bench.place / "manifest.json").write_bytes(manifest())
    assert bench.pack() == first
    assert not bench.packed_anew


def test_warnings_are_given_each_time(bench: Bench) -> None:
    page = PAGE + b"<script>alert(1)</script>\n"
    (bench.place / "ui/index.html").write_bytes(page)
    _, first = bench.told()
    _, again = bench.told()
    assert [it.code for it in first] == ["source-csp"]
    assert first[0].where == Where(f"{bench.place}/ui/index.html", 2, 1)
    assert again == first
    assert bench.said == []


def built(root: Path, command: str) -> BuildIntent:
    return BuildIntent((command,), True, str(root / "hello"), {}, 30.0)


def test_a_build_comes_first(bench: Bench) -> None:
    how = built(bench.root, "mkdir -p dist/ui && echo '<title>built</title>' > dist/ui/index.html")
    locked, _ = bench.told(how)
    assert locked.page_sha256 == hashlib.sha256(b"<title>built</title>\n").hexdigest()
    assert not (bench.place / "dist").exists()
    assert bench.told(how)[0] == locked
    assert bench.said == []


def test_complaints_about_a_mirrored_file_name_the_authors(bench: Bench) -> None:
    (bench.place / "manifest.json").write_bytes(manifest(version="one"))
    (problem,) = bench.fails(built(bench.root, "true"))
    assert problem.where is not None
    assert problem.where.file == f"{bench.place}/manifest.json"


def test_complaints_about_a_made_file_name_the_mirrors(bench: Bench) -> None:
    (bench.place / "manifest.json").unlink()
    (problem,) = bench.fails(built(bench.root, "echo '{' > manifest.json"))
    assert problem.where is not None
    assert problem.where.file == str(bench.environment.home / "build/hello/tree/manifest.json")


def test_a_failing_build_is_told(bench: Bench) -> None:
    (problem,) = bench.fails(built(bench.root, "exit 1"))
    assert problem.code == "build-failed"


def test_files_that_do_not_rest_are_a_problem(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = archive.pack

    def restless(*arguments: Any) -> Any:
        path = bench.place / "ui/index.html"
        path.write_bytes(path.read_bytes().swapcase())
        return pack(*arguments)

    monkeypatch.setattr(bundle_builder, "pack", restless)
    (problem,) = bench.fails()
    assert problem.code == "source-restless"
    assert problem.where == WHERE
    assert list(bench.shelf.glob("[0-9a-f]*.tar.zst")) == []


def test_a_file_that_changes_once_while_it_is_packed_is_packed_as_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, edits = archive.pack, [PAGE.swapcase()]

    def once(*arguments: Any) -> Any:
        if edits:
            (bench.place / "ui/index.html").write_bytes(edits.pop())
        return pack(*arguments)

    monkeypatch.setattr(bundle_builder, "pack", once)
    locked = bench.pack()
    assert locked.page_sha256 == hashlib.sha256(PAGE.swapcase()).hexdigest()
    assert bench.pack() == locked


def test_a_cache_that_cannot_be_written_is_a_problem(bench: Bench) -> None:
    (state_dir.open_state_dir(bench.environment) / "cache").write_text("in the way")
    with pytest.raises(Failed) as caught:
        bench.told()
    assert caught.value.problem.code == "home-broken"


def test_nothing_to_do_loads_neither_tar_nor_zstd(bench: Bench) -> None:
    bench.pack()
    code = "\n".join(
        [
            "import sys",
            "from pathlib import Path",
            "from tests.drivers.test_bundle_builder import Bench",
            # What the words of these tests have loaded themselves does not count.
            "for name in [*sys.modules]:",
            "    if name.split('.')[0] in ('zstandard', 'tarfile', 'html'): del sys.modules[name]",
            "bench = Bench(Path(sys.argv[1]))",
            "bench.pack()",
            "wanted = ('zstandard', 'tarfile', 'html.parser', 'algaenv.drivers.build.builds')",
            "print(bench.said, [it for it in wanted if it in sys.modules])",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bench.root)], capture_output=True, text=True, check=True
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


def test_nothing_to_do_opens_no_file_but_manifest_and_index(bench: Bench) -> None:
    (bench.place / "dist").mkdir()
    (bench.place / "dist/main.wasm").write_bytes(os.urandom(12_000_000))
    openings, packer = Openings(bench.root), CachingBundleBuilder(bench.environment, clock=later)

    def pack() -> None:
        packer.pack(bench.intent(), bench.said.append)

    assert "hello/dist/main.wasm" in openings.of(pack)
    index = str((bench.shelf / "index.json").relative_to(bench.root))
    assert sorted(openings.of(pack)) == sorted(["hello/manifest.json", index])


def test_nothing_to_do_opens_two_files_for_each_of_many(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    intents = []
    for number in range(200):
        place = source(
            tmp_path / f"x{number}", {"ui/app.js": b"%d;" % number}, name=f"com.example.x{number}"
        )
        intents.append(replace(bench.intent(), name=f"x{number}", source=str(place)))
    packer = CachingBundleBuilder(bench.environment, clock=later)

    def all_of_them() -> None:
        for intent in intents:
            packer.pack(intent, bench.said.append)

    all_of_them()
    bench.said.clear()
    openings = Openings(tmp_path).of(all_of_them)
    assert len(openings) == len(set(openings)) == 2 * len(intents)
    assert bench.said == []


def test_a_hidden_name_costs_no_reading_and_its_warning_comes_and_goes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.pack()
    hidden = bench.place / "ui/.assets"
    hidden.mkdir()
    for _ in range(2):
        assert [it.code for it in bench.told()[1]] == ["source-hidden"]
    with monkeypatch.context() as patched:
        patched.setattr(bundle_builder, "collect", None)
        assert [it.code for it in bench.told()[1]] == ["source-hidden"]
    hidden.rmdir()
    assert bench.told()[1] == ()


def test_warnings_stand_beside_errors(bench: Bench) -> None:
    (bench.place / "ui/index.html").write_text("<script>go()</script>")
    (bench.place / "ui/other.js").symlink_to("index.html")
    with pytest.raises(ResolveError) as caught:
        bench.told()
    assert [it.code for it in caught.value.problems] == ["source-link"]
    assert [it.code for it in caught.value.warnings] == ["source-csp"]


def test_a_registry_id_is_known_without_a_bundle(bench: Bench) -> None:
    packer = CachingBundleBuilder(bench.environment)
    made = bench.pack()
    (bench.place / "ui/index.html").unlink()
    known = ids.registry_id(made.publisher, made.manifest.name)
    assert packer.registry_id(bench.intent()) == known
    (bench.place / "manifest.json").write_text("{")
    assert packer.registry_id(bench.intent()) is None
