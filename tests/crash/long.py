"""The long form: each boundary in an environment of its own, and random moments, on both runtimes.

Not collected by itself: `make test-crash`. Figures are printed; CRASH_SEED and CRASH_TIMES choose
the random moments.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.crash.driver import Scene, at_random, one_by_one
from tests.crash.scenes import SCENES
from tests.scenario.project import Project

SEED = int(os.environ.get("CRASH_SEED", "1"))
TIMES = int(os.environ.get("CRASH_TIMES", "10"))

each_runtime = pytest.mark.parametrize(
    "runtime", ["process", pytest.param("docker", marks=pytest.mark.docker)]
)
each_scene = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)


@pytest.fixture(autouse=True)
def _engine(request: pytest.FixtureRequest, runtime: str) -> None:
    if runtime == "docker":
        request.getfixturevalue("engine")


@each_scene
@each_runtime
@pytest.mark.timeout(3600)
def test_each_boundary_by_itself(
    make_project: Callable[..., Project], runtime: str, scene: Scene
) -> None:
    seconds = []
    for boundary, after in one_by_one(lambda: make_project(runtime), scene):
        seconds.append(after)
        print(f"{runtime}: {scene.name}: {' '.join(boundary)}: converged in {after:.1f} s")  # noqa: T201
    print(f"{runtime}: {scene.name}: {len(seconds)} kills, slowest {max(seconds):.1f} s")  # noqa: T201


@each_scene
@each_runtime
@pytest.mark.timeout(3600)
def test_random_moments(make_project: Callable[..., Project], runtime: str, scene: Scene) -> None:
    seconds = []
    for moment, after in at_random(lambda: make_project(runtime), scene, SEED, TIMES):
        seconds.append(after)
        print(f"{runtime}: {scene.name}: at {moment:.2f} s: converged in {after:.1f} s")  # noqa: T201
    print(f"{runtime}: {scene.name}: {len(seconds)} kills, slowest {max(seconds):.1f} s")  # noqa: T201
