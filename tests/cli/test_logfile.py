"""The log of an environment: there when something happened, and only then."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

from algaenv.cli.output.sinks import (
    MAX_BYTES,
    LogFile,
    MultiSink,
    environment_log_path,
    log_traceback,
    open_log,
)
from algaenv.drivers.state.state_dir import identify
from algaenv.model.event import Event, Report, Reported, StepEnded, StepStarted
from tests.cli.event_samples import FAILURE, OPENING, PAGE, PLACED, SUCCESS


def spec_with_home(directory: Path) -> Path:
    spec = directory / "algaenv.yaml"
    identify(spec, "").home.mkdir(parents=True)
    return spec


def logged(spec: Path, events: tuple[Event, ...]) -> LogFile:
    log = LogFile("up", spec)
    for event in events:
        log.emit(event)
    log.close()
    return log


def test_a_run_that_does_something_is_told_from_its_beginning(tmp_path: Path) -> None:
    spec = spec_with_home(tmp_path)
    log = logged(spec, (*OPENING, *SUCCESS))
    assert log.path is not None
    assert log.path == environment_log_path(spec)
    lines = log.path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(OPENING) + len(SUCCESS)
    stamp, _, first = lines[0].partition("Z up[")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", stamp)
    assert json.loads(first.partition("] ")[2])["event"] == "runtime_chosen"
    assert '"event": "report"' in lines[-1]


def test_the_log_is_its_owners(tmp_path: Path) -> None:
    log = logged(spec_with_home(tmp_path), FAILURE)
    assert log.path is not None
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.path.parent.stat().st_mode) == 0o700


def test_a_run_with_nothing_to_do_leaves_no_trace(tmp_path: Path) -> None:
    spec = spec_with_home(tmp_path)
    quiet = (OPENING[0], StepStarted(PAGE), StepEnded(PAGE, "done", 0.0), Reported(Report("up")))
    assert logged(spec, quiet).path is None
    assert [path.name for path in identify(spec, "").home.iterdir()] == []


def test_where_there_is_no_home_none_is_made(tmp_path: Path) -> None:
    failed = Reported(Report("up", problems=(PLACED,), error="SpecError"))
    assert logged(tmp_path / "algaenv.yaml", (failed,)).path is None
    assert list(tmp_path.iterdir()) == []


def test_runs_follow_one_another_and_an_old_log_is_set_aside(tmp_path: Path) -> None:
    spec = spec_with_home(tmp_path)
    first = logged(spec, FAILURE)
    assert first.path is not None
    logged(spec, FAILURE)
    assert len(first.path.read_text().splitlines()) == 2 * len(FAILURE)
    with open_log(first.path) as file:
        file.write("x" * MAX_BYTES)
    logged(spec, FAILURE)
    assert len(first.path.read_text().splitlines()) == len(FAILURE)
    assert first.path.with_name("algaenv.log.1").stat().st_size > MAX_BYTES


def test_a_traceback_goes_to_the_home_or_to_the_user(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
    homeless = log_traceback("up", None, environ, "Traceback: here\n")
    assert homeless == tmp_path / "state/algaenv/algaenv.log"
    assert homeless.read_text().endswith("] traceback\nTraceback: here\n")
    spec = spec_with_home(tmp_path)
    assert log_traceback("up", spec, environ, "Traceback: there\n") == environment_log_path(spec)
    (tmp_path / "full").write_text("")
    assert log_traceback("up", None, {"XDG_STATE_HOME": str(tmp_path / "full")}, "lost") is None


def test_a_sink_that_cannot_write_hears_no_more_and_disturbs_nobody(tmp_path: Path) -> None:
    class Broken:
        heard = 0

        def emit(self, event: Event) -> None:
            self.heard += 1
            raise BrokenPipeError

        def stopping(self) -> None:
            raise OSError

        def close(self) -> None:
            raise OSError

    broken = Broken()
    log = LogFile("up", spec_with_home(tmp_path))
    with MultiSink([broken, log]) as fan:
        fan.stopping()
        for event in FAILURE:
            fan.emit(event)
    assert broken.heard == 1
    assert log.path is not None
    assert len(log.path.read_text().splitlines()) == len(FAILURE)
