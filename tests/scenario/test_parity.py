"""`parity` of an environment that is up, and of one that its author has given another setting."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.cli.schemas import check
from tests.scenario.project import Project


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.usefixtures("engine")
def test_the_other_side_is_brought_up_compared_and_removed(
    make_project: Callable[..., Project],
) -> None:
    project = make_project("process")
    project.extension()
    project.up().ok()
    before = {it.name for it in project.root.iterdir()}
    done = project.text("parity", "--json")
    found = json.loads(done.stdout)
    check("parity", found)
    assert found["brought_up"] == ["docker"]
    rows = {it["what"]: it for it in found["rows"]}
    assert rows["hello: content hash"]["verdict"] == "same"
    assert rows["database: version"]["verdict"] == "same"
    assert rows["runner: HOST"]["verdict"] == "meant"
    differing = [it for it in found["rows"] if it["verdict"] == "differs"]
    assert done.returncode == (2 if differing else 0), done.stderr
    assert [it for it in differing if it["group"] != "engine"] == []
    assert {it.name for it in project.root.iterdir()} == before
    assert len(list((project.root / ".algaenv").glob("*/state.json"))) <= 1
    # The environment of the spec was left alone.
    assert project.up().ok().changed == 0


@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_what_cannot_be_a_process_ends_as_up_would(make_project: Callable[..., Project]) -> None:
    project = make_project("process")
    project.extension()
    project.spec["runner"] = {"volumes": [f"{project.root}:/x"]}
    project.spec["runtime"] = "auto"
    project.spec["images"] = "pull"
    project.spec["store"] = {"engine": "rclone"}
    project.write()
    done = project.text("parity")
    assert done.returncode == 8, done.stderr
    assert "image-not-pullable" in done.stderr
    assert list(project.root.glob(".algaenv-test-*")) == []
