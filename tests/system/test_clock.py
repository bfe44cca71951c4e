"""Points in time as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from algaenv.system.clock import rfc3339


def test_a_time_is_utc_with_milliseconds() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_764_558_408_007) == "2025-12-01T03:06:48.007Z"


def test_without_a_time_it_is_now() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    assert before <= datetime.fromisoformat(rfc3339()) <= datetime.now(UTC)
