"""`wait`, `exec`, `ps` and `down --all`, as far as no environment has to be up for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from algaenv.cli.commands.ps import age
from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import duration
from algaenv.drivers.state import registry
from algaenv.drivers.state.state_dir import identify
from tests.cli.program import run
from tests.cli.schemas import check


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    (tmp_path / "algaenv.yaml").write_text("name: demo\n")
    return tmp_path


def test_what_does_not_answer_is_named_after_the_time(demo: Path) -> None:
    done = run(demo, "wait", "runner", "database", "--timeout", "0.5s", scenario="noop")
    assert (done.returncode, done.stdout) == (ExitCode.NOT_READY, "")
    assert done.stderr.count("waiting for runner: running (HTTP 503)\n") == 1
    assert "error[wait-timeout]: cannot wait longer for runner: running (HTTP 503)" in done.stderr
    assert "cannot wait longer for database" not in done.stderr


def test_what_answers_is_not_waited_for(demo: Path) -> None:
    done = run(demo, "wait", "database", "redis", scenario="noop")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ready: database, redis after ")
    document = json.loads(run(demo, "wait", "store", "--json", scenario="noop").stdout)
    assert document == {"version": 1, "ready": True, "seconds": document["seconds"]}


def test_an_engine_that_does_not_answer_is_waited_for_but_no_wrong_spec(demo: Path) -> None:
    late = run(demo, "wait", "--timeout", "300ms", "--json", scenario="engine")
    assert late.returncode == ExitCode.NOT_READY
    (problem,) = json.loads(late.stdout)["problems"]
    assert problem["code"] == "wait-timeout"
    assert "cannot go on: engine" in problem["summary"]
    assert run(demo, "wait", "--timeout", "60s", scenario="spec").returncode == ExitCode.SPEC


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["wait", "runnr"], "did you mean runner?"),
        (["wait", "--timeout", "soon"], "is no time such as 90s"),
        (["wait", "--timeout", "0"], "is no time such as 90s"),
        (["exec", "store"], "write a program after `--`"),
        (["exec"], "SERVICE"),
        (["up", "--wait-timeout", "-5"], "no time such as 90s or 5m, up to a day"),
        (["up", "--ttl", "31d"], "no time such as 90s or 5m, up to 30 days"),
        (["up", "--owner-pid", "0"], "is no process id"),
        (["up", "--owner-pid", "2147483647"], "there is no such process"),
        (["up", "--expire-volumes"], "an environment that has no end"),
        (["down", "--all", "-f", "."], "cannot take down both all and one"),
    ],
)
def test_a_wrong_command_line_is_refused(demo: Path, arguments: list[str], said: str) -> None:
    done = run(demo, *arguments, scenario="noop")
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert said in done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("5m", 300), ("1h", 3600), ("250ms", 0.25)]
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert duration(text) == seconds


def test_a_program_gets_the_variables_of_the_service_and_its_code_is_ours(demo: Path) -> None:
    words = ["sh", "-c", 'echo "$SERVICE $KEY $PATH" | cut -c1-16; exit 4']
    done = run(demo, "exec", "store", "--", *words, scenario="noop")
    assert (done.returncode, done.stdout) == (4, "store hidden /x:\n")
    told = run(demo, "exec", "store", "--json", "--", *words, scenario="noop")
    assert json.loads(told.stdout) == {"version": 1, "service": "store", "exit_code": 4}
    assert told.stderr == "store hidden /x:\n"
    assert run(demo, "exec", "store", "--", "no-such", scenario="noop").returncode == 7


def test_environments_are_noted_and_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert list(registry.noted()) == []
    environments = [identify(tmp_path / name / "algaenv.yaml", "x") for name in ("a b", "c")]
    for it in environments:
        it.home.mkdir(parents=True)
        registry.note(it)
        registry.note(it)
    assert {(it.id, it.spec) for it in registry.noted()} == {
        (it.id, it.spec) for it in environments
    }
    registry.forget(environments[0])
    environments[1].home.rename(tmp_path / "gone")
    assert list(registry.noted()) == []
    assert list((tmp_path / "state/algaenv/environments").iterdir()) == []


def test_notes_that_cannot_be_kept_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    registry.note(identify(tmp_path / "algaenv.yaml", "x"))
    assert list(registry.noted()) == []


def test_an_age_is_one_number() -> None:
    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    ages = [timedelta(days=3, hours=5), timedelta(hours=5), timedelta(minutes=2), timedelta(0)]
    assert [age((now - it).isoformat()) for it in ages] == ["3d", "5h", "2m", "0s"]


def test_without_any_environment_nothing_is_listed_or_taken_down(tmp_path: Path) -> None:
    # No engine answers there.
    extra = {"DOCKER_HOST": f"unix://{tmp_path}/none"}
    done = run(tmp_path, "ps", extra=extra)
    assert (done.returncode, done.stdout) == (0, "no environment on this machine\n")
    document = json.loads(run(tmp_path, "ls", "--json", extra=extra).stdout)
    check("ps", document)
    assert document["environments"] == []
    down = run(tmp_path, "down", "--all", extra=extra)
    assert (down.returncode, down.stdout) == (0, "")
    assert "no environment of this machine is up" in down.stderr
