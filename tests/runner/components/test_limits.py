"""The variables behind the bounds."""

from __future__ import annotations

import os

import pytest

from algaenv.runner.components.compiler import CompileLimits


def test_nothing_set() -> None:
    limits = CompileLimits.read({})
    assert limits == CompileLimits()
    assert limits.max_bytes == 4 * 1024**3
    assert limits.loaded_max == 32
    assert limits.at_once == max(1, len(os.sched_getaffinity(0)) // 2)
    assert limits.tiers == 2


def test_everything_set() -> None:
    env = {
        "RUNNER_COMPILED_MAX_BYTES": "1",
        "RUNNER_LOADED_MAX": "2",
        "RUNNER_COMPILE_SECONDS": "3",
        "RUNNER_COMPILE_CPU_SECONDS": "4",
        "RUNNER_COMPILE_MEMORY_BYTES": "5",
        "RUNNER_COMPILES_AT_ONCE": "6",
        "RUNNER_COMPILE_TIERS": "1",
    }
    assert CompileLimits.read(env) == CompileLimits(1, 2, 3, 4, 5, 6, 1)


@pytest.mark.parametrize("text", ["", " ", "-1", "1e9", "4 GiB", "٤", "9" * 30])
def test_what_is_no_number_counts_as_unset(text: str) -> None:
    assert CompileLimits.read({"RUNNER_COMPILED_MAX_BYTES": text}) == CompileLimits()


def test_nothing_can_be_set_to_none_at_all() -> None:
    env = {"RUNNER_LOADED_MAX": "0", "RUNNER_COMPILES_AT_ONCE": "0", "RUNNER_COMPILE_SECONDS": "0"}
    limits = CompileLimits.read(env)
    assert (limits.loaded_max, limits.at_once, limits.seconds) == (1, 1, 1)
