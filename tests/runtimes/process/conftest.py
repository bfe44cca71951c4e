"""Environments of processes, swept after every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runtimes.process.house import House, shipped_lock


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def make(*, bare: bool = False, **changes: object) -> House:
        home = tmp_path / f"home{len(made)}"
        house = House(home, None if bare else shipped_lock(home, **changes))  # type: ignore[arg-type]
        made.append(house)
        return house

    yield make
    for house in made:
        house.sweep()


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    """An environment with the shipped profiles."""
    return make_house()


@pytest.fixture
def bare(make_house: Callable[..., House]) -> House:
    """An environment without a spec."""
    return make_house(bare=True)
