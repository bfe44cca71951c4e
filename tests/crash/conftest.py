"""Projects as the scenarios have them."""

from __future__ import annotations

from tests.scenario.conftest import (
    engine,
    make_project,
    running_docker,
    running_environments,
    running_process,
)

__all__ = ["engine", "make_project", "running_docker", "running_environments", "running_process"]
