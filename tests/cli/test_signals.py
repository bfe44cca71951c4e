"""Ctrl-C and SIGTERM, sent to a real process: the steps under way end, or are abandoned."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.cli.program import Piped, Screen


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "algaenv.yaml").write_text("name: demo\n")
    return tmp_path


UNDER_WAY = ("network/main: working on main", "+ create volume/store", "+ create volume/database")
STOPPING = "stopping after the steps under way; press Ctrl-C again to abandon them"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_lets_what_is_under_way_end(place: Path, number: signal.Signals) -> None:
    extra = {"FAKE_GATE": str(place / "gate")}
    with Piped.start(place, "up", "-v", scenario="stuck", extra=extra) as program:
        program.until(*UNDER_WAY)
        program.signal(number)
        program.until(STOPPING)
        (place / "gate").touch()
        code, out, err = program.end()
    assert (code, out) == (130, "")
    lines = err.splitlines()
    assert any(line.startswith("+ create network/main (missing)") for line in lines)
    assert ". create container/store  not begun" in lines
    assert lines[-1].startswith("interrupted: 9 not begun, 3 changed in ")


def test_the_second_abandons_what_is_under_way(place: Path) -> None:
    with Piped.start(place, "up", "-v", scenario="stuck") as program:
        program.until(*UNDER_WAY)
        program.signal(signal.SIGINT)
        program.until(STOPPING)
        asked = time.monotonic()
        program.signal(signal.SIGINT)
        code, _, err = program.end()
    assert code == 130
    assert time.monotonic() - asked < 5
    assert ". create network/main  abandoned" in err.splitlines()
    assert err.splitlines()[-1] == "interrupted"


def test_another_sigterm_abandons_nothing(place: Path) -> None:
    extra = {"FAKE_GATE": str(place / "gate")}
    with Piped.start(place, "up", "-v", scenario="stuck", extra=extra) as program:
        program.until(*UNDER_WAY)
        program.signal(signal.SIGTERM)
        program.until(STOPPING)
        program.signal(signal.SIGTERM)
        (place / "gate").touch()
        code, _, err = program.end()
    assert code == 130
    assert err.splitlines()[-1].startswith("interrupted: 9 not begun, 3 changed")


@pytest.mark.parametrize("strokes", [1, 2])
def test_programs_read_that_it_was_interrupted(place: Path, strokes: int) -> None:
    extra = {"FAKE_GATE": str(place / "gate")}
    with Piped.start(place, "up", "--json", scenario="stuck", extra=extra) as program:
        assert program.process.stdout is not None
        line = b""
        while b"working on main" not in line:
            line = program.process.stdout.readline()
        program.signal(signal.SIGINT)
        program.until(STOPPING)
        if strokes == 1:
            (place / "gate").touch()
        else:
            program.signal(signal.SIGINT)
        code, out, err = program.end()
    report = json.loads(out.splitlines()[-1])
    assert (code, err) == (130, f"{STOPPING}\n")
    assert (report["event"], report["interrupted"]) == ("report", True)


def test_at_a_keyboard(place: Path) -> None:
    extra = {"FAKE_GATE": str(place / "gate")}
    with Screen.start(place, "up", scenario="stuck", extra=extra) as screen:
        screen.until("working on main", "2 of 12 steps")
        screen.press("\x03")
        screen.until(STOPPING)
        (place / "gate").touch()
        assert screen.end() == 130
    assert "interrupted: 9 not begun, 3 changed" in screen.text
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rindex("\x1b[?25l")


def test_twice_at_a_keyboard_leaves_the_screen_tidy(place: Path) -> None:
    with Screen.start(place, "up", scenario="stuck") as screen:
        screen.until("working on main", "2 of 12 steps")
        screen.press("\x03")
        screen.until(STOPPING)
        screen.press("\x03")
        assert screen.end() == 130
    assert screen.text.splitlines()[-2:] == [". create network/main  abandoned", "interrupted"]
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rindex("\x1b[?25l")
