"""Parameters of tests."""

from __future__ import annotations

import pytest
from _pytest.mark.structures import ParameterSet


def slow_params(*values: object) -> list[ParameterSet]:
    """Parameters that are left to `make test-slow`; a tuple is the values of one."""
    return [
        pytest.param(*(it if isinstance(it, tuple) else (it,)), marks=pytest.mark.slow)
        for it in values
    ]
