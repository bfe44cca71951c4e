"""`dev` and the engine itself: it may go, and come back, while an author goes on editing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenario.dev_process import dev
from tests.scenario.own_engine import OwnEngine
from tests.scenario.project import Project, page, until


@pytest.mark.slow
@pytest.mark.docker
def test_an_engine_that_goes_is_survived(
    make_project: Callable[..., Project], own_engine: OwnEngine
) -> None:
    project = make_project("docker")
    project.environ["DOCKER_HOST"] = own_engine.host
    source = project.extension() / "ui" / "index.html"
    own_engine.start()
    try:
        project.up().ok()
        with dev(project) as watching:
            own_engine.kill()
            source.write_text(page("<h1>meanwhile</h1>"))
            turn = watching.turn()
            assert turn["failed"]
            assert turn["problems"][0]["code"] in {"engine-gone", "no-engine"}
            assert watching.process.poll() is None
            own_engine.start()
            until("it is healed", lambda: not watching.turn()["failed"])
            assert project.page() == page("<h1>meanwhile</h1>")
            assert watching.end() == 0
        assert project.up().ok().changed == 0
    finally:
        if own_engine.process is not None and own_engine.process.poll() is not None:
            own_engine.start()
        project.clean()
        own_engine.remove()
