"""Bad input and things in the way: a clear error, the documented exit code, nothing changed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from algaenv.cli import main
from tests.params import slow_params
from tests.scenario.project import Project, page


def leftovers(project: Project) -> list[str]:
    """Containers and processes that carry the environment's mark."""
    homes = list((project.root / ".algaenv").glob("*/"))
    if not homes:
        return []
    (home,) = homes
    if project.runtime == "docker":
        found = subprocess.run(
            ["docker", "ps", "-aq", "--filter", f"label=dev.algaenv.environment={home.name}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return found.stdout.split()
    mark = f"ALGAENV_ENVIRONMENT={home.name}".encode()
    alive = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environ.read_bytes():
                alive.append(environ.parent.name)
        except OSError:
            continue
    return alive


@pytest.mark.slow
def test_a_taken_port_is_seen_before_anything_starts(running: Project) -> None:
    project = running
    project.down().ok()
    with socket.create_server(("127.0.0.1", project.ports["redis"])):
        planned = project.text("plan", "--json")
        assert planned.returncode == 7
        kind = "container" if project.runtime == "docker" else "process"
        (blocked,) = json.loads(planned.stdout)["plan"]["blocked"]
        assert blocked["address"] == f"{kind}/redis"
        assert blocked["problem"]["code"] == "port-taken"
        run = project.up()
        assert run.code == 7
        (problem,) = [p for p in run.problems() if p["code"] == "port-taken"]
        assert str(project.ports["redis"]) in problem["summary"]
        assert str(os.getpid()) in problem["summary"]
        assert run.steps() == {}
        for service in project.ports:
            assert _of(project, service) == []
    project.up().ok()
    assert project.page() == page("<h1>hello</h1>")


def _of(project: Project, service: str) -> list[str]:
    if project.runtime != "docker":
        record = project.home / "run" / f"{service}.json"
        return [record.read_text()] if record.exists() else []
    found = subprocess.run(
        ["docker", "ps", "-aq", "--filter", f"label=dev.algaenv.environment={project.id}",
         "--filter", f"label=dev.algaenv.address=container/{service}"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return found.stdout.split()


BAD_SPECS: dict[str, tuple[str | bytes, int, str]] = {
    "unknown key": ("version: 1\nname: demo\nstorre: {}\n", 3, "algaenv.yaml:3:1"),
    "not yaml": ("version: 1\nname: [\n", 3, "algaenv.yaml:"),
    "broken utf-8": (b"version: 1\nname: d\xe9mo\n", 3, "algaenv.yaml:2:8"),
    "newer version": ("version: 2\nname: demo\n", 3, "algaenv.yaml:1:10"),
    "source missing": (
        "version: 1\nname: demo\nextensions:\n  a:\n    source: ./nowhere\n",
        3,
        "algaenv.yaml:5:13",
    ),
    "duplicate": ("version: 1\nname: demo\nname: again\n", 3, "algaenv.yaml:3:1"),
}


def _bad_spec(directory: Path, name: str) -> tuple[Path, int, str]:
    """The file, the exit code and the place that are expected of it."""
    text, code, place = BAD_SPECS[name]
    file = directory / "algaenv.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file, code, place


@pytest.mark.parametrize("name", BAD_SPECS)
@pytest.mark.parametrize("command", ["up", "plan", "validate"])
def test_a_bad_spec_is_refused_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, command: str
) -> None:
    file, code, place = _bad_spec(tmp_path, name)
    assert main([command, "-f", str(file)]) == code
    output = capsys.readouterr().err
    assert place in output
    assert "hint: " in output
    assert not (tmp_path / ".algaenv").exists()


@pytest.mark.parametrize("command", ["up", "plan", "validate"])
def test_the_program_ends_with_the_code_of_a_bad_spec(
    make_project: Callable[..., Project], command: str
) -> None:
    project = make_project("process")
    _, code, place = _bad_spec(project.root, "source missing")
    done = project.text(command)
    assert done.returncode == code
    assert place in done.stderr
    assert "hint: " in done.stderr
    assert not (project.root / ".algaenv").exists()


def _bad_manifest(source: Path) -> str:
    (source / "manifest.json").write_text('{\n  "name": "x",\n  "versio": "1.0.0"\n}\n')
    return "manifest.json:3:3"


def _not_json(source: Path) -> str:
    (source / "manifest.json").write_text('{\n  "name": "x",\n}\n')
    return "manifest.json:2:14"


def _no_manifest(source: Path) -> str:
    (source / "manifest.json").unlink()
    return "manifest.json"


def _link(source: Path) -> str:
    (source / "ui" / "secret.js").symlink_to("/etc/passwd")
    return "secret.js"


def _broken_utf8(source: Path) -> str:
    (source / "ui" / "index.html").write_bytes(b"<p>caf\xe9</p>\n")
    return "index.html:1:7"


@pytest.mark.parametrize(
    "spoil", [_bad_manifest, *slow_params(_not_json, _no_manifest, _link, _broken_utf8)]
)
def test_a_bad_source_is_refused_and_nothing_is_changed(
    running_process: Project, spoil: Callable[[Path], str]
) -> None:
    project = running_process  # sources do not differ between runtimes
    before = project.objects()
    place = spoil(project.root / "hello")
    done = project.text("up")
    assert done.returncode in (3, 8), done.stderr
    assert place in done.stderr
    assert "hint: " in done.stderr
    assert project.objects() == before
    assert project.page() == page("<h1>hello</h1>")


def test_all_complaints_come_at_once(running_process: Project) -> None:
    project = running_process
    first, second = project.extension("first"), project.extension("second")
    _bad_manifest(first)
    _link(second)
    done = project.text("up")
    assert done.returncode == 8
    assert "manifest.json:3:3" in done.stderr
    assert "secret.js" in done.stderr


def test_a_build_that_fails_shows_its_last_lines(running_process: Project) -> None:
    project = running_process
    project.spec["extensions"]["hello"]["build"] = (
        "echo compiling; echo 'no such module' >&2; exit 3"
    )
    project.write()
    run = project.up()
    assert run.code == 8
    (problem,) = run.problems()
    assert problem["code"] == "build-failed"
    assert any("no such module" in line for line in problem["detail"])


def test_a_build_that_works_is_run_once_and_writes_nothing_of_the_authors(
    running_process: Project,
) -> None:
    project = running_process
    source = project.root / "hello"
    project.spec["extensions"]["hello"]["build"] = (
        "mkdir -p ui && sed s/hello/built/ ui/index.html > ui/i && mv ui/i ui/index.html"
        ' && echo ran >> "$COUNT"'
    )
    project.write()
    count = project.root / "count"
    project.environ["COUNT"] = str(count)
    project.up().ok()
    assert project.page() == page("<h1>built</h1>")
    assert (source / "ui" / "index.html").read_text() == page("<h1>hello</h1>")
    assert project.up().ok().changed == 0
    assert count.read_text() == "ran\n"


def test_an_unknown_command_suggests_one(make_project: Callable[..., Project]) -> None:
    project = make_project("process")
    done = project.text("upp")
    assert done.returncode == 64
    assert "up" in done.stderr


@pytest.mark.slow
def test_one_broken_extension_keeps_no_other_back(running_process: Project) -> None:
    project = running_process
    for key in ("other", "third"):
        project.extension(key, f"<h1>{key}</h1>")
    project.up().ok()
    before = set(project.objects())
    project.extension("hello", "<h1>edited</h1>")
    _bad_manifest(project.root / "other")
    project.spec["extensions"]["third"]["build"] = "echo 'no such module' >&2; exit 3"
    project.write()
    planned = project.text("plan")
    assert planned.returncode == 8
    assert "bundle/hello@" in planned.stdout
    assert "manifest.json:3:3" in planned.stdout
    run = project.up()
    assert run.code == 8
    assert {it["code"] for it in run.report["problems"]} >= {"build-failed"}
    assert any("cannot build third" in it["summary"] for it in run.report["problems"])
    assert not [step for step in run.steps() if step.startswith("delete")]
    assert project.page("hello") == page("<h1>edited</h1>")
    assert project.page("other") == page("<h1>other</h1>")
    assert project.page("third") == page("<h1>third</h1>")
    assert before <= set(project.objects())


@pytest.mark.slow
def test_up_of_some_leaves_the_others_as_they_are(running_process: Project) -> None:
    project = running_process
    for key in ("late", "other", "gone"):
        project.extension(key, f"<h1>{key}</h1>")
    run = project.up("other", "gone").ok()
    assert {it for it in run.steps() if "late" in it} == set()
    project.extension("other", "<h1>edited</h1>")
    _bad_manifest(project.root / "other")
    del project.spec["extensions"]["gone"]
    project.write()
    run = project.up("late").ok()
    assert {it for it in run.steps() if "other" in it or "gone" in it} == set()
    assert project.page("late") == page("<h1>late</h1>")
    assert project.page("other") == page("<h1>other</h1>")
    assert project.page("gone") == page("<h1>gone</h1>")
    unknown = project.text("up", "helo")
    assert unknown.returncode == 3
    assert "did you mean `hello`?" in unknown.stderr


@pytest.mark.slow
def test_services_start_while_extensions_are_built(make_project: Callable[..., Project]) -> None:
    """The build waits for the database, which another order would start after it."""
    project = make_project("process")
    project.extension()
    waits = (
        "import socket, sys, time\n"
        "until = time.monotonic() + 120\n"
        "while time.monotonic() < until:\n"
        "    with socket.socket() as s:\n"
        f"        if not s.connect_ex(('127.0.0.1', {project.ports['database']})): sys.exit()\n"
        "    time.sleep(0.05)\n"
        "sys.exit('nobody listens')\n"
    )
    (project.root / "hello" / "wait.py").write_text(waits)
    project.spec["extensions"]["hello"]["build"] = [sys.executable, "wait.py"]
    project.write()
    project.up().ok()
    assert project.page() == page("<h1>hello</h1>")
    assert project.up().ok().changed == 0
