"""What stays on the disk, and what goes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from algaenv.bundle.digest import Digest
from algaenv.runner.components.compile_cache import (
    FOREIGN_SECONDS,
    GRACE_SECONDS,
    CompileDirectory,
)
from algaenv.runner.eviction import LEFTOVER_SECONDS, CacheEvictor

HOUR = 3600.0


@pytest.fixture
def folder(tmp_path: Path) -> CompileDirectory:
    made = CompileDirectory(tmp_path)
    made.prepare()
    return made


def put(folder: CompileDirectory, name: str, *, size: int = 100, ago: float = HOUR) -> Path:
    file = folder.path_of(Digest.of(name.encode()))
    file.write_bytes(bytes(size))
    moment = time.time() - ago
    os.utime(file, (moment, moment))
    return file


def cache_of(
    folder: CompileDirectory, max_bytes: int, *, grace_seconds: float = GRACE_SECONDS
) -> CacheEvictor:
    return CacheEvictor(folder, max_bytes, grace_seconds=grace_seconds)


def there(folder: CompileDirectory) -> set[Path]:
    return set(folder.path.glob("*.cwasm"))


def test_what_was_not_used_for_longest_goes(folder: CompileDirectory) -> None:
    files = [put(folder, str(n), ago=HOUR + n) for n in range(5)]
    kept = cache_of(folder, 250)
    assert kept.evict() == (files[4], files[3], files[2])
    assert there(folder) == {files[0], files[1]}
    assert kept.evict() == ()


def test_use_is_seen_by_other_processes(folder: CompileDirectory) -> None:
    files = [put(folder, str(n), ago=HOUR + n) for n in range(3)]
    cache_of(folder, 0).touch(files[2])
    assert cache_of(folder, 200, grace_seconds=0).evict() == (files[1],)
    # Written down once a second, not for every call.
    kept = cache_of(folder, 0)
    kept.touch(files[2])
    os.utime(files[2], (1, 1))
    kept.touch(files[2])
    assert files[2].stat().st_mtime == 1


def test_what_must_stay(folder: CompileDirectory) -> None:
    loaded, new, recent, old = (put(folder, name) for name in ("loaded", "new", "recent", "old"))
    kept = cache_of(folder, 0)
    kept.pin(loaded)
    kept.pin(loaded)
    kept.unpin(loaded)
    kept.touch(recent)
    assert kept.evict(keep=new) == (old,)
    kept.unpin(loaded)
    assert set(kept.evict()) == {loaded, new}
    assert there(folder) == {recent}


def test_files_of_other_engines_go_after_a_week(folder: CompileDirectory) -> None:
    def foreign(name: str, ago: float) -> Path:
        file = put(folder, name, ago=ago)
        return file.rename(file.with_name(f"{file.name[:64]}.{'0' * 16}.cwasm"))

    stale = foreign("a", FOREIGN_SECONDS + HOUR)
    fresh = foreign("b", FOREIGN_SECONDS - HOUR)
    own = put(folder, "c", ago=FOREIGN_SECONDS + HOUR)
    kept = cache_of(folder, 1 << 30)
    assert kept.evict() == (stale,)
    assert there(folder) == {fresh, own}


def test_what_dead_processes_left(folder: CompileDirectory) -> None:
    bundle = Digest.of(b"bundle")
    folder.note(bundle, bundle)
    aside = folder.draft(bundle)
    (aside / "half").write_bytes(b"x")
    folder.sweep()
    assert aside.exists()
    moment = time.time() - LEFTOVER_SECONDS - 1
    os.utime(aside, (moment, moment))
    folder.sweep()
    assert not aside.exists()
    assert folder.component_of(bundle) == bundle
    os.utime(folder.bundles / bundle.hex, (1, 1))
    folder.sweep()
    assert folder.component_of(bundle) is None


def test_what_is_not_ours_is_left_alone(folder: CompileDirectory) -> None:
    other = folder.path / "notes.txt"
    other.write_text("x")
    os.utime(other, (1, 1))
    assert cache_of(folder, 0).evict() == ()
    assert other.exists()


def test_nothing_there_yet(tmp_path: Path) -> None:
    kept = cache_of(CompileDirectory(tmp_path / "missing"), 0)
    assert kept.evict() == ()
    kept.touch(tmp_path / "missing")
