"""Who opened a page is known to all workers."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from algaenv.bundle.digest import Digest
from algaenv.runner.pages import tenancy
from algaenv.runner.pages.tenancy import TenantHints

from .tinies import lines, tiny

ONE, TWO = Digest("1" * 64), Digest("2" * 64)


def test_the_last_one_counts_whoever_heard_it(tmp_path: Path) -> None:
    first, second = TenantHints(tmp_path), TenantHints(tmp_path)
    assert second.get("e", ONE) == ""
    first.record("e", ONE, "a")
    assert (first.get("e", ONE), second.get("e", ONE)) == ("a", "a")
    second.record("e", ONE, "b")
    assert (first.get("e", ONE), second.get("e", ONE)) == ("b", "b")
    assert (first.get("e", TWO), first.get("other", ONE)) == ("", "")


def test_one_that_was_overwritten_elsewhere_is_told_again(tmp_path: Path) -> None:
    first, second = TenantHints(tmp_path), TenantHints(tmp_path)
    first.record("e", ONE, "a")
    second.record("e", ONE, "b")
    first.record("e", ONE, "a")
    assert second.get("e", ONE) == "a"


def test_what_was_only_hinted_overwrites_nothing(tmp_path: Path) -> None:
    first, second = TenantHints(tmp_path), TenantHints(tmp_path)
    first.record("e", ONE, "a")
    assert second.get("e", ONE) == "a"
    first.record("e", ONE, "b")
    second.record("e", ONE, "a", hinted=True)
    assert (first.get("e", ONE), second.get("e", ONE)) == ("b", "b")
    second.record("e", ONE, "a")
    assert (first.get("e", ONE), second.get("e", ONE)) == ("a", "a")


def test_a_hint_that_is_used_does_not_expire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = TenantHints(tmp_path), TenantHints(tmp_path)
    first.record("e", ONE, "a")
    second.record("e", ONE, "a", hinted=True)
    database = tmp_path / ".algaenv" / "hints" / "values.sqlite3"
    for passed, writes in ((0.0, 1), (tenancy.REPEAT_SECONDS, 2)):
        later = time.monotonic() + passed
        monkeypatch.setattr("algaenv.runner.pages.tenancy.monotonic", lambda at=later: at)
        for _ in range(3):
            second.record("e", ONE, "a", hinted=True)
        assert _written(database) == writes


def _written(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        (position,) = connection.execute("SELECT max(position) FROM entries").fetchone()
    # Each write moves it on.
    return int(position) // (tenancy._BOUNDS.max_bytes // tenancy._BOUNDS.max_entries)


def test_the_same_again_costs_nothing(tmp_path: Path) -> None:
    known = TenantHints(tmp_path)
    for _ in range(1000):
        known.record("e", ONE, "a")
    database = tmp_path / ".algaenv" / "hints" / "values.sqlite3"
    assert _written(database) == 1


def test_they_outlive_the_service(tmp_path: Path) -> None:
    TenantHints(tmp_path).record("e", ONE, "ünlü")
    assert TenantHints(tmp_path).get("e", ONE) == "ünlü"


@pytest.mark.parametrize("root", ["none", "unusable"])
def test_in_memory(tmp_path: Path, root: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".algaenv").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        known = TenantHints(None if root == "none" else tmp_path)
        known.record("e", ONE, "a")
        known.record("e", TWO, "b")
        known.record("e", ONE, "c")
    assert (known.get("e", ONE), known.get("e", TWO), known.get("x", ONE)) == ("c", "b", "")
    assert len(caplog.records) == (root == "unusable")


def test_a_database_that_was_busy_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("algaenv.runner.shared_values._BUSY_SECONDS", 0.01)
    first, second = TenantHints(tmp_path), TenantHints(tmp_path)
    first.record("e", ONE, "a")
    assert second.get("e", ONE) == "a"
    database = tmp_path / ".algaenv" / "hints" / "values.sqlite3"
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for tenant in ("b", "c"):
            first.record("e", ONE, tenant)
        other.execute("ROLLBACK")
    assert len(caplog.records) == 1
    first.record("e", ONE, "d")
    assert second.get("e", ONE) == "d"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenancy, "MAX_HINTS", 3)
    known = TenantHints(None)
    for number in range(5):
        known.record(f"e{number}", ONE, "a")
    assert [known.get(f"e{number}", ONE) for number in range(5)] == ["", "", "a", "a", "a"]


def test_across_workers(tmp_path: Path) -> None:
    with tiny(2, tmp_path) as service:
        first, second = lines(service, 2)
        assert second.ask("/hint") == ""
        for number in range(20):
            one, other = (first, second) if number % 2 else (second, first)
            one.ask(f"/served/t{number}")
            assert (one.ask("/hint"), other.ask("/hint")) == (f"t{number}", f"t{number}")
