import io
import os
import random
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import algaenv
from algaenv.bundle.archive import pack, unpack
from algaenv.bundle.collect import collect
from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import Limits
from algaenv.bundle.names import casefold_path
from algaenv.bundle.source_tree import SourceError, fingerprint
from tests.bundle.sources import PAGE, QUICK, read, source, write

FILES = {
    "ui/app.js": b"console.log(1)\n" * 100,
    "ui/sub/empty.js": b"",
    "ui/\u00fcber/" + "long" * 40 + ".css": b"p {}\n",
    "dist/main.wasm": bytes(range(256)) * 300,
    "wit/world.wit": b"world w {}\n",
}
GOLDEN = "5dd9c3ca67c8e04e53ac5cae562e647682d4dedcbdd7affc33fa05542f636ce5"


def plain(archive: Path) -> bytes:
    with archive.open("rb") as file:
        return zstandard.ZstdDecompressor().stream_reader(file).read()


def test_the_bytes_of_a_known_tree(tmp_path: Path) -> None:
    """Changes only with the layout or the zstd library; then every bundle changes its name."""
    packed = pack(collect(source(tmp_path / "in", FILES)), tmp_path / "bundle.tar.zst")
    assert packed.digest.hex == GOLDEN


def test_what_is_told_is_what_was_written(tmp_path: Path) -> None:
    tree = collect(source(tmp_path / "in", FILES))
    archive = tmp_path / "new/deep/bundle.tar.zst"
    packed = pack(tree, archive)
    assert packed.digest == Digest.of_file(archive)
    assert packed.size == archive.stat().st_size
    assert packed.fingerprint == fingerprint(tree)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o644
    assert list(archive.parent.iterdir()) == [archive]


def test_headers_tell_nothing_of_the_machine(tmp_path: Path) -> None:
    pack(collect(source(tmp_path / "in", FILES)), tmp_path / "bundle.tar.zst")
    with tarfile.open(fileobj=io.BytesIO(plain(tmp_path / "bundle.tar.zst"))) as tar:
        headers = tar.getmembers()
    assert [it.name for it in headers] == sorted({"manifest.json", "ui/index.html", *FILES})
    for it in headers:
        assert (it.type, it.mode, it.mtime) == (tarfile.REGTYPE, 0o644, 0)
        assert (it.uid, it.gid, it.uname, it.gname) == (0, 0, "", "")
        assert set(it.pax_headers) <= {"path"}


def test_frames_carry_a_checksum_and_no_size(tmp_path: Path) -> None:
    pack(collect(source(tmp_path / "in")), tmp_path / "bundle.tar.zst")
    frame = zstandard.get_frame_parameters((tmp_path / "bundle.tar.zst").read_bytes())
    assert frame.has_checksum
    assert frame.content_size == zstandard.CONTENTSIZE_UNKNOWN


def test_other_checkouts_give_the_same_bytes(tmp_path: Path) -> None:
    first = source(tmp_path / "first", FILES)
    expected = pack(collect(first), tmp_path / "1.tar.zst")
    names = list(read(first))
    random.Random(7).shuffle(names)
    second = tmp_path / "second"
    for name in names:
        (second / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(first / name, second / name)
        (second / name).chmod(0o755)
        os.utime(second / name, (1, 10**9))
    write(second, {"ui/.hidden": b"", "src/x.ts": b"", "ui/node_modules/x.js": b""})
    (second / "ui/nothing").mkdir()
    assert pack(collect(second), tmp_path / "2.tar.zst") == expected
    assert (tmp_path / "1.tar.zst").read_bytes() == (tmp_path / "2.tar.zst").read_bytes()


PACKER = """
import os, sys
from pathlib import Path
os.umask(int(sys.argv[1], 8))
from algaenv.bundle.archive import pack
from algaenv.bundle.collect import collect
print(pack(collect(Path("in")), Path(sys.argv[2])).digest.hex)
"""


@pytest.mark.parametrize(
    ("umask", "environment"),
    [
        ("077", {"TZ": "Pacific/Auckland", "PYTHONHASHSEED": "1", "LC_ALL": "C"}),
        ("000", {"TZ": "America/New_York", "PYTHONHASHSEED": "2", "PYTHONUTF8": "0"}),
    ],
)
def test_other_processes_give_the_same_bytes(
    tmp_path: Path, umask: str, environment: dict[str, str]
) -> None:
    expected = pack(collect(source(tmp_path / "in", FILES)), tmp_path / "here.tar.zst")
    answer = subprocess.run(
        [sys.executable, "-c", PACKER, umask, "there.tar.zst"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(algaenv.__file__).parents[1]), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == expected.digest.hex
    assert stat.S_IMODE((tmp_path / "there.tar.zst").stat().st_mode) == 0o644


def test_fingerprints_tell_trees_apart(tmp_path: Path) -> None:
    variants: list[dict[str, bytes]] = [
        {},
        {"ui/a.js": b""},
        {"ui/a.js": b"1"},
        {"ui/b.js": b"1"},
        {"ui/a.js": b"1", "ui/b.js": b""},
        {"ui/a.js": b"", "ui/b.js": b"1"},
        {"ui/a.js": b"ui/b.js"},
    ]
    found = {
        fingerprint(collect(source(tmp_path / str(index), files)))
        for index, files in enumerate(variants)
    }
    assert len(found) == len(variants)
    again = source(tmp_path / "again", variants[4])
    assert fingerprint(collect(again)) in found


@pytest.mark.parametrize("change", ["shorter", "longer", "gone", "link"])
def test_a_file_that_changes_meanwhile(tmp_path: Path, change: str) -> None:
    tree = collect(source(tmp_path / "in", {"ui/app.js": b"12345"}))
    path = tmp_path / "in/ui/app.js"
    match change:
        case "shorter":
            path.write_bytes(b"1234")
        case "longer":
            path.write_bytes(b"123456")
        case "gone":
            path.unlink()
        case _:
            path.rename(tmp_path / "other")
            path.symlink_to(tmp_path / "other")
    archive = tmp_path / "out/bundle.tar.zst"
    write(tmp_path, {"out/bundle.tar.zst": b"former"})
    with pytest.raises(SourceError) as refused:
        pack(tree, archive)
    assert [it.code for it in refused.value.diagnostics] == ["source-changed"]
    with pytest.raises(SourceError, match="source-changed"):
        fingerprint(tree)
    assert read(tmp_path / "out") == {"bundle.tar.zst": b"former"}


def test_what_nobody_would_unpack_is_not_packed(tmp_path: Path) -> None:
    tree = collect(source(tmp_path / "in", {"ui/app.js": b"\0" * 1_000_000}))
    limits = Limits(ratio=100, ratio_from=1_000_000)
    with pytest.raises(SourceError) as refused:
        pack(tree, tmp_path / "out/bundle.tar.zst", limits)
    assert [it.code for it in refused.value.diagnostics] == ["source-too-large"]
    assert "ui/app.js" in refused.value.diagnostics[0].hint
    assert read(tmp_path / "out") == {}


SEGMENT = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/\\"), min_size=1
)
NAME = SEGMENT.filter(lambda it: not it.startswith((".", "#")) and ".." not in it and len(it) < 40)
TREES = st.dictionaries(
    st.lists(NAME, min_size=1, max_size=3).map("/".join), st.binary(max_size=2000), max_size=6
)


def _is_possible(files: dict[str, bytes]) -> bool:
    keys = [casefold_path(name) for name in files]
    clash = any(one != other and other.startswith(f"{one}/") for one in keys for other in keys)
    return len(set(keys)) == len(keys) and not clash


@QUICK
@given(TREES.filter(_is_possible), TREES.filter(_is_possible))
def test_what_is_packed_comes_back(page: dict[str, bytes], rest: dict[str, bytes]) -> None:
    junk = ("~", "node_modules", "__pycache__")
    page, rest = (
        {
            name: content
            for name, content in it.items()
            if not name.endswith(junk)
            and not any(
                part.endswith("~") or part.lower() in {*junk, "thumbs.db"}
                for part in name.split("/")
            )
        }
        for it in (page, rest)
    )
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        files = {
            f"ui/{name}": content for name, content in page.items() if "index.html" not in name
        }
        files |= {f"artifacts/{name}": content for name, content in rest.items()}
        tree = collect(source(root / "in", files))
        pack(tree, root / "bundle.tar.zst")
        unpack(root / "bundle.tar.zst", root / "out")
        expected = {"manifest.json": (root / "in/manifest.json").read_bytes(), **files}
        expected["ui/index.html"] = PAGE
        assert read(root / "out") == {
            name if name.startswith("ui/") else f"bundle/{name}": content
            for name, content in expected.items()
        }
