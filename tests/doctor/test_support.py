"""The archive of a support bundle: bounded, private, and never in the way of an error."""

from __future__ import annotations

import io
import os
import threading
import time
import zipfile
from pathlib import Path

import pytest

from algaenv.doctor import support
from algaenv.doctor.subject import Subject
from algaenv.model.problem import Failed, Problem
from tests.cli.program import run
from tests.doctor.test_doctor import demo, home

__all__ = ["demo"]


def test_what_is_late_or_broken_is_said_and_the_rest_is_there() -> None:
    release = threading.Event()

    def hang() -> str:
        release.wait(30)
        return "late"

    def fail() -> str:
        raise Failed(Problem("x", "cannot read it"))

    def bug() -> str:
        raise KeyError("planted")

    parts = {"hang": hang, "fail": fail, "bug": bug, "fine": lambda: "password=planted-secret\n"}
    deadline = time.monotonic() + 0.2
    found = support.collect(Subject(None, {}), {"given": "token: abcdef\n"}, parts, deadline)
    release.set()
    assert found["hang"] == "could not be read in the time there was\n"
    assert "cannot read it" in found["fail"]
    assert found["bug"] == "cannot be read: KeyError\n"
    assert found["fine"] == "password=***\n"
    assert found["given"] == "token: ***\n"


def test_an_archive_that_is_too_large_loses_its_largest_texts() -> None:
    noise = os.urandom(2 << 20).hex()
    content = support.archive_of({"huge.log": noise, "small.json": "{}"}, "up")
    assert len(content) <= support.MAX_BYTES
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["README.txt", "small.json"]
        assert "huge.log: left out" in archive.read("README.txt").decode()


def test_the_newest_are_kept_with_their_modes_and_foreign_files_stay(tmp_path: Path) -> None:
    made = [support.write_kept(tmp_path, f"v{number}", b"zip") for number in range(1)]
    directory = made[0].parent
    assert made[0].stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700
    for number in range(8):
        (directory / f"2020010{number + 1}T000000Z-1-up.zip").write_bytes(b"old")
    (directory / "notes.zip").write_bytes(b"mine")
    newest = support.write_kept(tmp_path, "up", b"zip")
    names = sorted(it.name for it in directory.iterdir())
    assert len(names) == support.KEPT + 1
    assert {newest.name, "notes.zip"} <= set(names)
    assert "20200101T000000Z-1-up.zip" not in names


def test_a_bundle_by_hand_is_private_and_writes_over_nothing(demo: Path) -> None:
    (demo / ".env").write_text("UNSUSPICIOUS=planted-secret-1\n")
    done = run(demo, "doctor", "--bundle", "x.zip", extra={"MY_TOKEN": "planted-secret-2"})
    assert done.returncode == 0
    assert done.stderr.endswith(f"support bundle: {demo}/x.zip\n")
    made = demo / "x.zip"
    assert made.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(made) as archive:
        texts = {it: archive.read(it).decode() for it in archive.namelist()}
    assert {"README.txt", "doctor.json", "versions.json", "spec/algaenv.yaml"} <= set(texts)
    assert not [it for it, text in texts.items() if "planted-secret" in text]
    assert '"algaenv": "' in texts["versions.json"]
    for target, words in (("x.zip", "it exists"), ("no/x.zip", "there is no such directory")):
        refused = run(demo, "doctor", "--bundle", target)
        assert (refused.returncode, refused.stdout) == (64, "")
        assert words in refused.stderr
        assert "hint: " in refused.stderr


ON = {"ALGAENV_SUPPORT_BUNDLE": "on"}


def bundles(demo: Path) -> list[Path]:
    return list((demo / ".algaenv").glob("*/support/*.zip"))


def test_a_failing_doctor_writes_one_unless_it_is_told_not_to(demo: Path) -> None:
    (demo / "hello" / "manifest.json").write_text("{")
    assert run(demo, "doctor", extra=ON).returncode == 10
    assert not (demo / ".algaenv").exists()
    home(demo)
    for arguments, extra in ((("--no-bundle",), ON), ((), {"ALGAENV_SUPPORT_BUNDLE": "off"})):
        assert run(demo, "doctor", *arguments, extra=extra).returncode == 10
        assert bundles(demo) == []
    done = run(demo, "doctor", "--json", extra=ON)
    (made,) = bundles(demo)
    assert done.returncode == 10
    assert done.stdout.endswith("}\n")
    assert done.stderr.splitlines()[-1] == f"support bundle: {made}"
    assert made.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("obstacle", ["a file", "a link"])
def test_a_bundle_that_cannot_be_written_hides_no_error(
    demo: Path, tmp_path: Path, obstacle: str
) -> None:
    (demo / "hello" / "manifest.json").write_text("{")
    state = home(demo)
    if obstacle == "a file":
        (state / "support").write_text("in the way")
    else:
        (tmp_path / "elsewhere").mkdir()
        (state / "support").symlink_to(tmp_path / "elsewhere")
    done = run(demo, "doctor", "-q", extra=ON)
    assert done.returncode == 10
    assert "manifest.json" in done.stdout
    assert done.stderr == ""
    assert not list(tmp_path.glob("elsewhere/*"))


def test_errors_that_explain_themselves_write_none(demo: Path) -> None:
    (demo / "algaenv.yaml").write_text("storre: {}\n")
    home(demo)
    done = run(demo, "up", extra=ON)
    assert done.returncode == 3
    assert "support bundle" not in done.stderr
    assert bundles(demo) == []
