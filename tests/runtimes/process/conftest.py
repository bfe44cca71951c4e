"""Environments of processes, swept after every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runtimes.process.harness import Harness, shipped_lock


@pytest.fixture
def make_harness(tmp_path: Path) -> Iterator[Callable[..., Harness]]:
    made: list[Harness] = []

    def make(*, bare: bool = False, **changes: object) -> Harness:
        home = tmp_path / f"home{len(made)}"
        harness = Harness(home, None if bare else shipped_lock(home, **changes))  # type: ignore[arg-type]
        made.append(harness)
        return harness

    yield make
    for harness in made:
        harness.sweep()


@pytest.fixture
def harness(make_harness: Callable[..., Harness]) -> Harness:
    """An environment with the shipped profiles."""
    return make_harness()


@pytest.fixture
def bare(make_harness: Callable[..., Harness]) -> Harness:
    """An environment without a spec."""
    return make_harness(bare=True)
