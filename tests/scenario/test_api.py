"""The library, and the examples of its page, against real services."""

from __future__ import annotations

import contextlib
import inspect
import io
from pathlib import Path

import pytest

from algaenv import api
from algaenv.model.event import Reported
from tests.docs.pages import blocks, read
from tests.scenario.handler_project import add_handler
from tests.scenario.project import Project

PAGE = read("docs/reference/api.md")


def example(number: int, directory: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run an example of the page in a directory; the lines that it prints."""
    monkeypatch.chdir(directory)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(blocks(PAGE, "python")[number].text, {})
    return out.getvalue().splitlines()


def test_the_page_names_what_is_there_and_no_more() -> None:
    public = {
        name
        for name, it in inspect.getmembers(api.Environment, inspect.isfunction)
        if not name.startswith("_")
    }
    section = PAGE.partition("| method |")[2].partition("\n\n")[0]
    rows = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {row.partition("(")[0] for row in rows} == public
    for row in rows:
        name, _, listed = row.rstrip(")").partition("(")
        parameters = list(inspect.signature(getattr(api.Environment, name)).parameters)[1:]
        named = [it.partition("=")[0].strip("* ") for it in listed.split(",")]
        assert [it for it in named if it] == parameters


def test_a_wrong_spec_is_one_of_the_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert example(1, tmp_path, monkeypatch) == ["spec-missing 3"]
    (tmp_path / "algaenv.yaml").write_text("name: 1\n")
    with pytest.raises(api.RunFailed) as raised:
        api.Environment(tmp_path).up()
    assert raised.value.exit_code == 3
    assert raised.value.problem.where is not None
    with pytest.raises(api.AlgaenvError):
        api.Environment(tmp_path).plan()


def test_what_was_up_before_stays_up(
    running_process: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    project = running_process
    add_handler(project, "hi")
    seen: list[api.Event] = []
    with api.Environment(project.root, on_event=seen.append) as env:
        assert env.plan().changes
        status = env.up(wait_timeout=120)
        assert [it.ready for it in status.extensions] == [True]
        assert env.call("hello", "/x").status == 200
        refused = env.call("hello", "/none", json={"a": 1}, headers={"X-Own": "1"})
        assert refused.status == 404
        with pytest.raises(api.AlgaenvError) as unknown:
            env.call("other", "/x")
        assert unknown.value.problem.code
    assert isinstance(seen[-1], Reported)
    assert {it["state"] for it in project.status()["services"]} == {"ready"}
    assert capfd.readouterr() == ("", "")
    assert example(2, project.root, monkeypatch) == ["True"]


@pytest.mark.slow
def test_the_first_example_brings_up_what_it_takes_down(
    running_process: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = running_process
    add_handler(project, "hi")
    project.down()
    first, second = example(0, project.root, monkeypatch)
    assert first == "['hello']"
    assert second.startswith("200 ")
    # What an exception ends is taken down as well.
    with pytest.raises(api.AlgaenvError), api.Environment(project.root) as env:
        env.up() and env.call("other", "/x")
    assert {it["state"] for it in project.status()["services"]} != {"ready"}
    project.up().ok()
