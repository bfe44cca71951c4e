"""The live view on a real pseudo-terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from algaenv.cli.exit_codes import ExitCode
from tests.cli.program import Screen
from tests.params import slow_params


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "algaenv.yaml").write_text("name: demo\n")
    return tmp_path


PACE = {"FAKE_PACE": "0.2"}


def test_rows_while_it_runs_and_lines_when_it_is_over(place: Path) -> None:
    with Screen.start(place, "up", scenario="fresh", extra=PACE) as screen:
        screen.until("compiling hello")
        screen.until("waits for network/main")
        screen.until("of 12 steps")
        assert screen.end() == 0
    after = screen.text.rpartition("of 12 steps")[2]
    lines = after.splitlines()
    created = [line for line in lines if re.match(r"\+ create \S+ \(missing\)  \d\.\ds$", line)]
    assert len(created) == 12
    assert any(line.startswith("done: 12 changed in ") for line in lines)
    assert "demo  on docker, from " in after
    assert screen.raw.count("\x1b[?25l") == screen.raw.count("\x1b[?25h") == 1


def test_a_failure_stays_on_the_screen(place: Path) -> None:
    with Screen.start(place, "up", scenario="failing", extra=PACE) as screen:
        screen.until("✗")
        assert screen.end() == ExitCode.RESOURCE
    tail = screen.text.splitlines()[-6:]
    assert tail[0].startswith("error[service-ended]: cannot bring up container/store")
    assert "more: algaenv explain service-ended" in tail
    assert tail[-1].startswith("failed: 1 failed, 4 skipped, 7 changed in ")


def test_nothing_is_drawn_when_there_is_nothing_to_do(place: Path) -> None:
    with Screen.start(place, "up", scenario="noop") as screen:
        assert screen.end() == 0
    assert "done: nothing to change in " in screen.text
    assert "\x1b[?25l" not in screen.raw


@pytest.mark.parametrize(
    ("options", "extra"),
    [((), {"NO_COLOR": "1"}), (("--no-color",), {})],
    ids=["NO_COLOR", "--no-color"],
)
def test_without_colour_it_moves_but_has_none(
    place: Path, options: tuple[str, ...], extra: dict[str, str]
) -> None:
    with Screen.start(place, "up", *options, scenario="fresh", extra=PACE | extra) as screen:
        screen.until("of 12 steps")
        assert screen.end() == 0
    assert re.findall(r"\x1b\[[0-9;]*m", screen.raw) == []


def test_with_colour_it_has_some(place: Path) -> None:
    with Screen.start(place, "up", scenario="fresh", extra=PACE) as screen:
        screen.until("of 12 steps")
        assert screen.end() == 0
    assert "\x1b[32;1m+\x1b[0m create" in screen.raw


@pytest.mark.parametrize("extra", [{"TERM": "dumb"}, {"CI": "true"}], ids=["dumb", "CI"])
def test_nothing_is_redrawn_where_it_cannot_be_or_nobody_looks(
    place: Path, extra: dict[str, str]
) -> None:
    with Screen.start(place, "up", scenario="fresh", extra=PACE | extra) as screen:
        assert screen.end() == 0
    assert "\x1b[?25l" not in screen.raw
    assert "+ create network/main (missing)" in screen.text


@pytest.mark.parametrize("size", [(40, 8), *slow_params(((60, 10),), ((200, 50),))])
def test_a_frame_never_overflows_the_screen(place: Path, size: tuple[int, int]) -> None:
    width, height = size
    with Screen.start(place, "up", scenario="fresh", size=size, extra=PACE) as screen:
        screen.until("of 12 steps")
        assert screen.end() == 0
    ups = [int(n or 1) for n in re.findall(r"\x1b\[(\d*)A", screen.raw)]
    drawn = re.findall(r"[⠀-⣿·✓] (?:create|await) .*", screen.text)
    assert ups
    assert drawn
    assert max(len(line) for line in drawn) <= width
    frames = re.split(r"(?:\x1b\[1A\x1b\[2K)+", screen.raw)
    rows = [len(re.findall(r"[⠀-⣿·✓].* (?:create|await|settle) ", frame)) for frame in frames]
    assert max(rows) < height


def test_data_goes_only_after_a_yes(place: Path) -> None:
    question = "Delete all data of demo (store, redis, database) for good? [y/N] "
    for answer, code in (("n", 130), ("", 130), ("y", 0)):
        with Screen.start(place, "down", "--volumes", scenario="fresh") as screen:
            screen.until(question)
            screen.press(f"{answer}\n")
            assert screen.end() == code
        assert ("- delete volume/store" in screen.text) is (code == 0)
        assert ("nothing was removed" in screen.text) is (code != 0)


def test_a_plan_shows_its_builds_and_leaves_only_the_plan(place: Path) -> None:
    with Screen.start(place, "plan", scenario="fresh", extra=PACE) as screen:
        screen.until("settle  bundle/hello")
        assert screen.end() == 0
    assert "waits for" not in screen.text
    assert "Plan: 12 to create, 0 to update, 0 to delete." in screen.text
