from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from algaenv.system.files import TEMPORARY_SUFFIX, replacing, write_atomic, write_once


def test_a_file_is_private_unless_a_mode_is_given(tmp_path: Path) -> None:
    write_atomic(tmp_path / "private", b"secret")
    write_atomic(tmp_path / "shared", b"text", mode=0o644, fsync=True)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("private", "shared")]
    assert modes == [0o600, 0o644]
    assert (tmp_path / "private").read_bytes() == b"secret"


def test_a_failure_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    try:
        with replacing(path) as stream:
            stream.write(b"half")
            raise RuntimeError
    except RuntimeError:
        pass
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("prefix", "begin"), [("", ".file."), (".spec-", ".spec-")])
def test_the_name_of_a_temporary_file(tmp_path: Path, prefix: str, begin: str) -> None:
    with replacing(tmp_path / "file", prefix=prefix):
        (fresh,) = tmp_path.iterdir()
    assert re.fullmatch(re.escape(begin) + TEMPORARY_SUFFIX, fresh.name)


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"theirs")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomic(tmp_path / "link", b"ours")
    assert (tmp_path / "target").read_bytes() == b"theirs"
    assert not (tmp_path / "link").is_symlink()


def test_what_is_written_once_stays(tmp_path: Path) -> None:
    write_once(tmp_path / "file", b"first")
    write_once(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
