from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from algaenv.system import locks


class Busy(Exception):
    pass


def acquire(path: Path, seconds: float = 0.0) -> int:
    return locks.acquire(
        path,
        time.monotonic() + seconds,
        0.001,
        prepare=lambda: path.parent.mkdir(exist_ok=True),
        busy=lambda _: Busy(),
    )


def test_a_lock_is_held_until_its_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not locks.is_locked(path)
    assert not path.exists(), "asking makes no file"
    with locks.file_lock(path):
        assert locks.is_locked(path)
        assert locks.open_locked(path) is None
    assert not locks.is_locked(path)


def test_a_wait_ends_at_its_deadline(tmp_path: Path) -> None:
    held = acquire(tmp_path / "lock")
    with pytest.raises(Busy):
        acquire(tmp_path / "lock", 0.01)
    os.close(held)
    os.close(acquire(tmp_path / "lock"))


def test_the_lock_of_a_removed_file_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "below" / "lock"
    removed = acquire(path)
    path.unlink()
    path.parent.rmdir()
    fresh = acquire(path)
    assert os.fstat(fresh).st_ino == path.stat().st_ino
    assert locks.is_locked(path)
    for descriptor in (removed, fresh):
        os.close(descriptor)
