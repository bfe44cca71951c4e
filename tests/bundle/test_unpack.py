import io
import os
import stat
import subprocess
import tarfile
import tempfile
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from algaenv.bundle.archive import MAX_NAMED, SkippedEntries, inspect, pack, unpack
from algaenv.bundle.collect import collect
from algaenv.bundle.diagnostics import ArchiveError
from algaenv.bundle.layout import Limits
from tests.bundle.sources import QUICK, member, raw_header, read, source, tar, write, zstd

GOOD = tar([member("manifest.json", b"{}"), member("ui/index.html", b"<p>")])
UNPACKED = {"bundle/manifest.json": b"{}", "ui/index.html": b"<p>"}


def unpacked(
    root: Path, content: bytes, limits: Limits | None = None, skipped: SkippedEntries | None = None
) -> dict[str, bytes]:
    """Unpack these bytes; whatever happens, nothing may appear outside of the destination."""
    archive, destination = root / "bundle.tar.zst", root / "inner/destination"
    archive.write_bytes(content)
    try:
        found = unpack(archive, destination, limits or Limits())
        assert skipped is None or found == skipped
    finally:
        assert {path.name for path in root.iterdir()} == {"bundle.tar.zst", "inner"}
        assert [path.name for path in (root / "inner").iterdir()] == ["destination"]
        assert {path.name for path in destination.iterdir()} == {"ui", "bundle"}
        assert not any(path.is_symlink() for path in destination.rglob("*"))
    return read(destination)


def refusal(root: Path, content: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(ArchiveError) as refused:
        unpacked(root, content, limits)
    assert refused.value.summary.startswith("cannot ")
    assert str(refused.value).encode()
    return refused.value.code


# -- what is unpacked ---------------------------------------------------------------------------


def test_the_page_and_the_rest(tmp_path: Path) -> None:
    assert unpacked(tmp_path, zstd(GOOD)) == UNPACKED
    for path in (tmp_path / "inner").rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    former = os.umask(0o077)
    try:
        unpacked(tmp_path, zstd(GOOD))
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "inner/destination/ui/index.html").stat().st_mode) == 0o444


@pytest.mark.parametrize(
    "tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_every_tar_format(tmp_path: Path, tar_format: Literal[0, 1, 2]) -> None:
    long = "ui/" + "/".join(["d" * 60] * 3) + "/a.js"
    assert unpacked(tmp_path, zstd(tar([member(long, b"1")], tar_format))) == {long: b"1"}


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_very_long_and_foreign_names(tmp_path: Path, tar_format: Literal[1, 2]) -> None:
    long = "ui/" + "/".join(["\u00fc" * 100] * 6)
    assert unpacked(tmp_path, zstd(tar([member(long, b"1")], tar_format))) == {long: b"1"}


def test_what_alga_packs(tmp_path: Path) -> None:
    """Its packer pipes `tar -cf - <names>` into zstd; directories come as entries."""
    write(
        tmp_path / "stage",
        {"manifest.json": b"{}", "ui/a/index.html": b"<p>", "dist/main.wasm": b"1"},
    )
    packed = subprocess.run(
        ["tar", "-C", "stage", "-cf", "-", "dist", "manifest.json", "ui"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    ).stdout
    (tmp_path / "work").mkdir()
    assert unpacked(tmp_path / "work", zstd(packed)) == {
        "bundle/manifest.json": b"{}",
        "bundle/dist/main.wasm": b"1",
        "ui/a/index.html": b"<p>",
    }


def test_concatenated_and_skippable_frames(tmp_path: Path) -> None:
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0junk"
    content = zstd(GOOD[:700]) + skippable + zstd(GOOD[700:]) + skippable
    assert unpacked(tmp_path, content) == UNPACKED


def test_an_unmarked_end(tmp_path: Path) -> None:
    assert unpacked(tmp_path, zstd(GOOD[:-1024])) == UNPACKED


def test_names_are_taken_or_skipped(tmp_path: Path) -> None:
    taken = {
        "./a": "bundle/a",
        "././ui/b": "ui/b",
        "ui": "bundle/ui",
        "uix/c": "bundle/uix/c",
        "UI/d": "bundle/UI/d",
        "dist/ui/e": "bundle/dist/ui/e",
        "ui/back\\slash": "ui/back\\slash",
    }
    skipped = [
        "/abs",
        "../up",
        "ui/../up",
        "ui/a..b",
        ".hidden",
        "ui/.hidden/x",
        "ui//x",
        "./",
        ".",
        "",
    ]
    skipped += [
        "ui/x/",
        "./../x",
        "./.x",
        "ui/./x",
        "a/..",
        "ui/\udcff",
        "bundle/.ready",
        "..",
        "./ui//y",
    ]
    entries = [member(name, name.encode("utf-8", "surrogateescape")) for name in [*taken, *skipped]]
    assert unpacked(tmp_path, zstd(tar(entries, tarfile.GNU_FORMAT))) == {
        place: name.encode() for name, place in taken.items()
    }


def test_directories_and_unknown_kinds_are_passed_over(tmp_path: Path) -> None:
    entries = [
        member("ui", type=tarfile.DIRTYPE, mode=0o777),
        member("ui/sub/", type=tarfile.DIRTYPE),
        member("ui/contiguous", b"x" * 600, type=tarfile.CONTTYPE),
        member("ui/volume", b"x" * 600, type=b"V"),
        member("ui/strange", b"x" * 600, type=b"Z"),
        member("ui/old", b"1", type=tarfile.AREGTYPE),
    ]
    assert unpacked(tmp_path, zstd(tar(entries))) == {"ui/old": b"1"}


def test_of_two_entries_the_later_wins(tmp_path: Path) -> None:
    entries = [member("ui/a", b"first"), member("ui/b"), member("./ui/a", b"2nd")]
    assert unpacked(tmp_path, zstd(tar(entries))) == {"ui/a": b"2nd", "ui/b": b""}


@pytest.mark.parametrize("part", ["ui", "bundle"])
def test_a_destination_in_use_is_not_touched(tmp_path: Path, part: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "destination").mkdir()
    (tmp_path / "destination" / part).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a").write_bytes(zstd(GOOD))
    with pytest.raises(FileExistsError):
        unpack(tmp_path / "a", tmp_path / "destination")
    assert read(tmp_path / "elsewhere") == {}


def test_pax_sizes_count(tmp_path: Path) -> None:
    pax = _pax({"path": "ui/\u00fc", "size": "3"})
    content = pax + raw_header(b"x", b"00000000000\0") + b"123".ljust(512, b"\0")
    assert unpacked(tmp_path, zstd(content)) == {"ui/\u00fc": b"123"}


# -- what is passed over ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (member("ui/l", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "a symbolic link"),
        (member("ui/l", type=tarfile.SYMTYPE, linkname="a"), "a symbolic link"),
        (member("ui/l", type=tarfile.SYMTYPE, linkname="../../../.."), "a symbolic link"),
        (member("manifest.json", type=tarfile.SYMTYPE, linkname="ui/a"), "a symbolic link"),
        (member("dist/main.wasm", type=tarfile.LNKTYPE, linkname="ui/a"), "a hard link"),
        (member("ui/l", type=tarfile.LNKTYPE, linkname="../../bundle.tar.zst"), "a hard link"),
        (member("ui/d", type=tarfile.CHRTYPE, devmajor=1, devminor=3), "a character device"),
        (member("ui/d", type=tarfile.BLKTYPE), "a block device"),
        (member("ui/f", type=tarfile.FIFOTYPE), "a FIFO"),
    ],
)
def test_links_and_devices(tmp_path: Path, entry: tuple[tarfile.TarInfo, bytes], kind: str) -> None:
    content = tar([member("ui/a", b"1"), entry, member("ui/b", b"2")])
    skipped = SkippedEntries(1, [f"{entry[0].name}: {kind}"])
    assert unpacked(tmp_path, zstd(content), skipped=skipped) == {"ui/a": b"1", "ui/b": b"2"}


@pytest.mark.parametrize("name", [".l", "ui/.l", "../l", "ui/.git/l", "/l"])
def test_links_that_would_be_skipped_as_files_are_not_named(tmp_path: Path, name: str) -> None:
    entry = member(name, type=tarfile.SYMTYPE, linkname="x")
    content = zstd(tar([entry, member("ui/a", b"1")]))
    assert unpacked(tmp_path, content, skipped=SkippedEntries()) == {"ui/a": b"1"}


def test_a_link_does_not_take_the_place_of_a_file_or_a_directory(tmp_path: Path) -> None:
    entries = [
        member("ui/a", b"1"),
        member("ui/a", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("ui/d", type=tarfile.SYMTYPE, linkname="../../.."),
        member("ui/d/b", b"2"),
    ]
    skipped = SkippedEntries(2, ["ui/a: a symbolic link", "ui/d: a symbolic link"])
    found = unpacked(tmp_path, zstd(tar(entries)), skipped=skipped)
    assert found == {"ui/a": b"1", "ui/d/b": b"2"}


def test_a_link_with_content_of_its_own(tmp_path: Path) -> None:
    """The content is passed over too, as its size says."""
    link = raw_header(b"ui/l", b"%011o\0" % 600, tarfile.LNKTYPE) + b"x" * 1024
    content = zstd(link + tar([member("ui/a", b"1")]))
    skipped = SkippedEntries(1, ["ui/l: a hard link"])
    assert unpacked(tmp_path, content, skipped=skipped) == {"ui/a": b"1"}


def test_many_links_are_counted(tmp_path: Path) -> None:
    entries = [
        member(f"ui/{number}", type=tarfile.SYMTYPE, linkname="x")
        for number in range(MAX_NAMED + 5)
    ]
    named = [f"ui/{number}: a symbolic link" for number in range(MAX_NAMED)]
    skipped = SkippedEntries(MAX_NAMED + 5, named)
    assert unpacked(tmp_path, zstd(tar(entries)), skipped=skipped) == {}


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_sparse_files(tmp_path: Path, blocks: int) -> None:
    """Of the old form, whose map goes on in blocks behind the header."""
    header = bytearray(raw_header(b"ui/s", b"%011o\0" % 3, tarfile.GNUTYPE_SPARSE))
    header[482] = blocks > 0
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    more = b"".join(
        bytes(504) + bytes([number < blocks - 1]) + bytes(7) for number in range(blocks)
    )
    old = bytes(header) + more + b"abc".ljust(512, b"\0")
    skipped = SkippedEntries(1, ["ui/s: a sparse file"])
    content = zstd(old + tar([member("ui/a", b"1")]))
    assert unpacked(tmp_path, content, skipped=skipped) == {"ui/a": b"1"}


@pytest.mark.parametrize("key", ["GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.major"])
def test_sparse_files_in_extended_headers(tmp_path: Path, key: str) -> None:
    headers = _pax({key: "1", "GNU.sparse.name": "ui/s"}) + raw_header(b"GNUSparseFile.0/s")
    skipped = SkippedEntries(1, ["ui/s: a sparse file"])
    content = zstd(headers + tar([member("ui/a", b"1")]))
    assert unpacked(tmp_path, content, skipped=skipped) == {"ui/a": b"1"}


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("ui/a", "ui/a/b"), ("ui/a/b", "ui/a"), ("ui/a", "ui/a/b/c/d")])
def test_a_file_and_a_directory_at_once(tmp_path: Path, names: tuple[str, str]) -> None:
    entries = [member(name, b"1") for name in names]
    assert refusal(tmp_path, zstd(tar(entries))) == "archive-collision"


@pytest.mark.parametrize("name", ["ui/" + "n" * 300, "ui/" + "d/" * 3000 + "x"])
def test_names_no_file_system_takes(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, zstd(tar([member(name)], tarfile.GNU_FORMAT))) == "archive-name"


def test_names_with_nul(tmp_path: Path) -> None:
    content = _pax({"path": "ui/a\0b"}) + raw_header(b"x")
    assert refusal(tmp_path, zstd(content)) == "archive-name"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"not an archive at all",
        b"\x1f\x8b\x08\0gzip",
        GOOD,
        zstd(b"not a tar" * 100),
        zstd(GOOD)[:-1],
        zstd(GOOD)[:-4],
        zstd(GOOD)[:9],
        zstd(GOOD) + b"x",
        zstd(GOOD) + zstd(GOOD)[:7],
        zstd(GOOD)[:-1] + bytes([zstd(GOOD)[-1] ^ 1]),
        zstd(GOOD[:1300]),
        zstd(GOOD[:1536]),
        zstd(GOOD[:1024] + b"x" + GOOD[1025:]),
        zstd(GOOD[:512] + GOOD[700:]),
        zstd(raw_header(b"ui/a", b"\xff" * 12)),
        zstd(raw_header(b"ui/a", b"no number!\0\0")),
        zstd(raw_header(b"ui/a", b"00000001000\0")),
        zstd(raw_header(b"x", b"00000000013\0", b"x") + b"nonsense 12".ljust(512, b"\0")),
        zstd(raw_header(b"x", b"00000000013\0", b"x") + b"99 path=a/b\n".ljust(512, b"\0")),
        zstd(raw_header(b"x", b"00000000013\0", b"x") + b"0 path=a/b/\n".ljust(512, b"\0")),
        zstd(raw_header(b"x", b"00000000013\0", b"x") + b"11 path:a/b\n".ljust(512, b"\0")),
    ],
)
def test_damage(tmp_path: Path, content: bytes) -> None:
    assert refusal(tmp_path, content) == "archive-damaged"


def test_negative_sizes(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="negative size"):
        unpacked(tmp_path, zstd(raw_header(b"ui/a", b"\xff" * 12)))


def test_windows_that_take_too_much_memory(tmp_path: Path) -> None:
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([(31 - 10) << 3]) + b"\x01\0\0"
    with pytest.raises(ArchiveError, match="too much memory"):
        unpacked(tmp_path, frame)


@pytest.mark.parametrize("size", ["-512", "", "1e3", "9" * 30, "+1", " 1"])
def test_damaged_sizes_in_extended_headers(tmp_path: Path, size: str) -> None:
    content = _pax({"size": size}) + raw_header(b"ui/a")
    assert refusal(tmp_path, zstd(content)) == "archive-damaged"


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K", b"X"])
def test_endless_headers(tmp_path: Path, kind: bytes) -> None:
    content = raw_header(b"x", b"%011o\0" % (1 << 20), kind) + b"1" * (1 << 20)
    assert refusal(tmp_path, zstd(content)) == "archive-header"


def test_a_chain_of_headers_needs_no_stack(tmp_path: Path) -> None:
    content = _pax({"comment": "x"}) * 5000 + raw_header(b"ui/a")
    assert unpacked(tmp_path, zstd(content)) == {"ui/a": b""}


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(compressed=50), "archive-too-large"),
        (Limits(file=999), "archive-too-large"),
        (Limits(total=2999), "archive-too-large"),
        (Limits(entries=2), "archive-too-large"),
        (Limits(total=100, entries=1), "archive-bomb"),
        (Limits(ratio=5, ratio_from=1000), "archive-bomb"),
    ],
)
def test_limits(tmp_path: Path, limits: Limits, code: str) -> None:
    entries = [member(f"ui/{index}", b"x" * 1000) for index in range(3)]
    assert refusal(tmp_path, zstd(tar(entries)), limits) == code


def test_limits_allow_what_they_say(tmp_path: Path) -> None:
    entries = [member(f"ui/{index}", b"x" * 1000) for index in range(3)]
    limits = Limits(file=1000, total=3000, entries=3, compressed=len(zstd(tar(entries))))
    assert len(unpacked(tmp_path, zstd(tar(entries)), limits)) == 3


@pytest.mark.parametrize("name", ["ui/a", ".skipped", "../skipped"])
def test_a_declared_size_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    content = raw_header(name.encode(), b"\x80" + (1 << 62).to_bytes(11, "big"))
    assert refusal(tmp_path, zstd(content)) == "archive-too-large"


def test_a_bomb_is_noticed_early_and_in_little_memory(tmp_path: Path) -> None:
    content = zstd(tar([member("ui/a", b"\0" * (256 << 20))]))
    assert len(content) < 32_000
    tracemalloc.start()
    try:
        assert refusal(tmp_path, content, Limits(file=1 << 30, total=1 << 30)) == "archive-bomb"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


def test_a_bomb_behind_the_end_of_the_tar(tmp_path: Path) -> None:
    content = zstd(GOOD) + zstd(b"\0" * (32 << 20))
    assert refusal(tmp_path, content) == "archive-bomb"


# -- arbitrary input ---------------------------------------------------------------------


def _packed() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        pack(collect(source(root / "in", {"ui/\u00fc" * 40: b"1" * 999})), root / "out")
        return (root / "out").read_bytes()


def _fuzz(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory, suppress(ArchiveError):
        unpacked(Path(directory), content, Limits(total=1 << 20, entries=100))


CHANGES = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=6)


def _changed(content: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(content)
    for at, byte in changes:
        changed[at % len(changed)] = byte
    return bytes(changed)


@QUICK
@given(st.binary(max_size=3000), st.booleans())
def test_random_bytes(content: bytes, compressed: bool) -> None:
    _fuzz(zstd(content) if compressed else content)


@QUICK
@given(CHANGES, st.integers(0, 5000))
def test_changed_archives(changes: list[tuple[int, int]], cut: int) -> None:
    packed = _packed()
    _fuzz(_changed(packed, changes)[: cut or None])


NAMES = st.one_of(
    st.lists(
        st.sampled_from(["..", ".", "", "ui", "a", "bundle", ".x", "\\", "a..b"]), max_size=5
    ).map("/".join),
    st.text(max_size=20),
)
KINDS = st.sampled_from(
    [b"0", b"\0", b"1", b"2", b"3", b"5", b"7", b"L", b"K", b"x", b"g", b"S", b"Z"]
)


@QUICK
@given(st.lists(st.tuples(NAMES, KINDS, st.binary(max_size=600), NAMES), max_size=5), CHANGES)
def test_strange_tars(entries: list[Any], changes: list[tuple[int, int]]) -> None:
    built = [
        member(name.encode("utf-8", "replace").decode(), content, type=kind, linkname=link)
        for name, kind, content, link in entries
    ]
    try:
        content = tar(built, tarfile.GNU_FORMAT)
    except UnicodeEncodeError:
        return
    _fuzz(zstd(content))
    _fuzz(zstd(_changed(content, changes)))


def _pax(records: dict[str, str]) -> bytes:
    body = b""
    for key, value in records.items():
        record = f" {key}={value}\n".encode()
        length = len(record)
        while len(str(length)) + len(record) != length:
            length = len(str(length)) + len(record)
        body += str(length).encode() + record
    return raw_header(b"pax", b"%011o\0" % len(body), b"x") + body + b"\0" * (-len(body) % 512)


def test_an_archive_without_a_manifest_cannot_be_inspected(tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as written:
        written.addfile(tarfile.TarInfo("ui/index.html"))
    archive = tmp_path / "a.tar.zst"
    archive.write_bytes(zstandard.ZstdCompressor().compress(content.getvalue()))
    with pytest.raises(ArchiveError) as raised:
        inspect(archive)
    assert raised.value.code == "archive-manifest"
