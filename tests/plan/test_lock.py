"""Which extensions a run may change, and which it leaves as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.model.lock import BrokenExtension
from tests.runtimes.locks import make_lock


@pytest.mark.parametrize(
    ("only", "name", "about"),
    [
        (None, "hello", True),
        (None, "gone", True),
        (None, "orphan~1a2b3c4d", True),
        (None, "broken", False),
        (None, "broken~1a2b3c4d", False),
        (("hello",), "hello", True),
        (("hello",), "hello~1a2b3c4d", True),
        (("hello",), "gone", False),
        (("hello",), "orphan~1a2b3c4d", False),
        (("broken",), "broken", False),
    ],
)
def test_what_a_run_is_about(
    tmp_path: Path, only: tuple[str, ...] | None, name: str, about: bool
) -> None:
    broken = (BrokenExtension("broken", (), "ResolveError"),)
    lock = replace(make_lock(tmp_path), only=only, broken=broken)
    assert lock.is_about(name) is about
